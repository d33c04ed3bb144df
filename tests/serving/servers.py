"""Small HTTP servers of the standard library, as commands."""

import sys
from pathlib import Path

_SERVER = """
import http.server, json, os, sys, time, uuid
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *a): pass
    def do_GET(self):
        self.say(200 if self.path == "/healthz" else 404, {{"ok": True}})
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.say(200, {{"sum": sum(json.loads(body)) + {bias}, "id": str(uuid.uuid4())}})
    def say(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
print("starting", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def adder(folder: Path, bias: float = 0) -> tuple[str, ...]:
    """A server that answers POST with a sum and a new id each time, GET /healthz with 200."""
    file = folder / f"adder{bias}.py"
    file.write_text(_SERVER.format(bias=bias))
    return (sys.executable, str(file), "{port}")
