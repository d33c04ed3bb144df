"""Does a local check open a socket, or print anything that is not its document?

    python -m tests.benchmarks.offline

Checks the digits template with an audit hook in every Python process that it starts; prints every
socket that was made, connected or bound, every host that was looked up, and every stray byte on
standard output. One socket is known: urllib3, which Great Expectations imports, binds one to ::1 at
import, to learn whether there is IPv6, and closes it; nothing is ever connected.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

# Loaded by every Python that has its folder in PYTHONPATH, before anything else.
HOOK = """
import os, sys
_file = os.open(os.environ["AUDIT"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(_file, f"process {sys.argv[:3]}\\n".encode()) if hasattr(sys, "argv") else os.write(_file, b"process\\n")
def _heard(event, arguments):
    if event.startswith("socket."):
        os.write(_file, f"{event} {arguments!r}\\n".encode())
sys.addaudithook(_heard)
"""


def audited(folder: Path, *arguments: str) -> tuple["subprocess.CompletedProcess[str]", list[str]]:
    """A command line of ours, and what the hook heard: a line per process and per socket event."""
    hook = folder / "hook"
    hook.mkdir(exist_ok=True)
    (hook / "sitecustomize.py").write_text(HOOK)
    log = folder / "audit.log"
    log.write_text("")
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
    done = subprocess.run(
        [sys.executable, "-m", "mlgate", *arguments],
        cwd=folder,
        env={**kept, "PYTHONPATH": f"{hook}{os.pathsep}{ROOT}", "AUDIT": str(log)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done, log.read_text().splitlines()


def template(folder: Path, name: str) -> Path:
    """A copy of a template that has never been checked."""
    copy = folder / name
    shutil.copytree(ROOT / "templates" / name, copy, ignore=shutil.ignore_patterns(".mlgate"))
    return copy


def reaching(heard: list[str]) -> list[str]:
    """Events by which something could leave this machine, or arrive."""
    known = ("socket.__new__", "socket.bind (<socket.socket fd", "socket.gethostname")
    return [
        line
        for line in heard
        if line.startswith("socket.")
        and not (line.startswith(known) and ("bind" not in line or "('::1', 0)" in line))
    ]


def stray(output: str) -> int:
    """Bytes of standard output that are not part of its one document."""
    text = output.lstrip()
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return len(output.encode())
    rest = (output[: len(output) - len(text)] + text[end:]).removesuffix("\n")
    return len(rest.encode())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--template", default="digits")
    parser.add_argument("--only", default="", help="only this stage")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        only = ["--only", arguments.only] if arguments.only else []
        copy = template(folder, arguments.template)
        done, heard = audited(folder, "check", str(copy), "--format", "json", *only)
    processes = sum(line.startswith("process") for line in heard)
    sockets = [line for line in heard if line.startswith("socket.")]
    for line in sockets:
        print(line)
    loose, out = stray(done.stdout), reaching(heard)
    print(
        f"exit code {done.returncode}, {processes} Python processes, {len(sockets)} socket events, "
        f"{len(out)} that reach out, {loose} stray bytes on standard output"
    )
    return 1 if out or loose or not processes else 0


if __name__ == "__main__":
    sys.exit(main())
