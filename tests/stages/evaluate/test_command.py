"""A program of the user's: its answers, its limits, and every way in which it may break."""

import http.server
import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlgate.errors import StageError
from tests.stages.evaluate.projects import Churn, change, evaluate, row

ANSWER = """
import json, sys
for line in sys.stdin:
    row = json.loads(line)
    assert "churn" not in row, "the label is not told"
    said = "yes" if row["months"] > 0.5 else "no"
    print(json.dumps({"key": row["key"], "answer": said, "scores": {"no": 0.4, "yes": 0.6}}))
"""


@pytest.fixture
def churn(tmp_path: Path) -> Churn:
    return Churn(tmp_path)


def command(churn: Churn, code: str, **changes: Any) -> dict[str, Any]:
    script = churn.folder / "score.py"
    script.write_text(code)
    return {"run": [sys.executable, {"file": str(script)}], **changes}


def refused(churn: Churn, code: str, **changes: Any) -> StageError:
    with pytest.raises(StageError) as caught:
        evaluate(churn.options(command=command(churn, code, **changes)), churn.folder / "work")
    return caught.value


def test_f13_any_framework_answers_through_a_command(churn: Churn) -> None:
    found = evaluate(churn.options(command=command(churn, ANSWER)), churn.folder / "work")
    months = churn.table["months"].to_numpy()
    right = (months > 0.5) == churn.left
    assert row(found, "accuracy").value == pytest.approx(right.mean())
    assert row(found, "rows").value == 600


def test_a_command_and_a_file_are_compared(churn: Churn) -> None:
    options = churn.options(
        command=command(churn, ANSWER),
        baseline={"predictions": churn.predictions("old.csv", churn.good)},
    )
    assert change(evaluate(options, churn.folder / "w"), "accuracy").difference[0].high < 0


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit('no model here')", "exited with 1: no model here"),
        ("import os; os.kill(os.getpid(), 9)", "died of SIGKILL"),
        ("print('{\"key\": 1000, \"answer\"', end='')", "ends in the middle of line 1"),
        ("print('loading the model')", "line 1 of its output is no JSON"),
        ("print('{\"answer\": 1}')", "line 1 of its output has no key"),
        ("", "gave no answers"),
        ('print(\'{"key": 1000, "answer": "no"}\')', "have no answer for 599 of 600 rows"),
        ('print(\'{"key": 7, "answer": "no"}\')', "keys that no evaluation row has"),
        ("print('x' * (1 << 21))", "is over 1 MiB"),
    ],
)
def test_a_command_that_breaks_is_told_by_what_it_did(
    churn: Churn, code: str, message: str
) -> None:
    assert message in refused(churn, code).message


def test_a_command_that_hangs_is_stopped_with_all_that_it_started(churn: Churn) -> None:
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(churn.folder / 'pid')!r}, 'w').write(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    assert "took over 2s" in refused(churn, code, timeout="2s").message
    pid = int((churn.folder / "pid").read_text())
    until = time.monotonic() + 10
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(pid)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_a_command_has_no_more_memory_than_the_spec_says(churn: Churn) -> None:
    error = refused(churn, "x = bytearray(1 << 30)", memory="512MB")
    assert "MemoryError" in error.message


def test_a_command_sees_no_variable_that_is_not_listed(
    churn: Churn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "secret")
    code = "import os, sys; sys.exit(os.environ.get('TOKEN', 'nothing'))"
    assert refused(churn, code).message.endswith(": nothing")
    assert refused(churn, code, environment=["TOKEN"]).message.endswith(": secret")
    assert "ABSENT is not set" in refused(churn, code, environment=["ABSENT"]).message


def test_a_program_that_is_not_there(churn: Churn) -> None:
    options = churn.options(command=["no-such-program"])
    with pytest.raises(StageError, match="no-such-program: No such file") as caught:
        evaluate(options, churn.folder / "w")
    assert caught.value.hint == "is the program installed here, and on the PATH?"


class Served(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["instances"]
        if self.path == "/broken":
            self.send_error(503)
            return
        answers: list[Any] = [[0.2, 0.8] if r["months"] > 0.5 else [0.7, 0.3] for r in rows]
        body = {"predictions": answers[:-1] if self.path == "/short" else answers}
        text = json.dumps(body if self.path != "/other" else {"outputs": []}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def served() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Served)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_served_model_answers_over_http(churn: Churn, served: str) -> None:
    options = churn.options(http={"url": served}, classes=["no", "yes"])
    found = evaluate(options, churn.folder / "w")
    months = churn.table["months"].to_numpy()
    assert row(found, "accuracy").value == pytest.approx(np.mean((months > 0.5) == churn.left))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/broken", "answered 503"),
        ("/short", "32 rows were sent, 31 answers came"),
        ("/other", "answered no"),
    ],
)
def test_a_service_that_does_not_answer_each_row(
    churn: Churn, served: str, path: str, message: str
) -> None:
    options = churn.options(http={"url": served + path}, classes=["no", "yes"])
    with pytest.raises(StageError, match=message):
        evaluate(options, churn.folder / "w")
