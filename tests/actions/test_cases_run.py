"""Cases that people met on a runner: what CI says of a job outranks what any file says of it."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.actions.runner import ROOT, Runner
from tests.fakes.fixtures import SMALL, workflow

Make = Callable[..., Runner]


def _small(project: Path) -> str:
    (project / "mlgate.yaml").write_text(SMALL.replace("RAN", str(project.parent / "ran")))
    return workflow(project)


def _stages(run: Runner) -> dict[str, str]:
    document: dict[str, Any] = json.loads(
        (run.artifacts / "mlgate-report" / "verdict.json").read_bytes()
    )
    return {row["id"]: row["outcome"] for row in document["stages"]}


def test_c5_a_cancelled_job_is_not_judged_by_what_an_earlier_attempt_left(
    runner: Make, project: Path
) -> None:
    text = _small(project)
    first = runner()
    first.workflow(text)
    assert first.jobs["mlgate-verdict"].result == "success"
    shutil.rmtree(first.server / "caches")  # so that everything is measured again
    again = runner(attempt=2, cancel=frozenset({"other"}))
    again.workflow(text)
    assert again.jobs["mlgate-verdict"].result == "failure"
    assert _stages(again)["other"] == "error"
    assert "its job was cancelled" in again.jobs["mlgate-verdict"].log


def test_c5_a_result_counts_only_from_its_own_job(runner: Make, project: Path) -> None:
    text = _small(project)

    def forge(job: str, artifacts: Path) -> None:
        """Job `other` leaves a result under the name of `data`."""
        if job == "other":
            mine = artifacts / "mlgate-stage-data/results/data.json"
            row = json.loads(mine.read_bytes())
            mine.write_text(json.dumps({**row, "cached": True}))

    run = runner(spoil=forge)
    run.workflow(text)
    assert run.jobs["mlgate-verdict"].result == "failure"
    assert "not the one that its job left" in run.jobs["mlgate-verdict"].log


def test_c12_a_red_run_carries_on_what_earlier_ones_knew(runner: Make, project: Path) -> None:
    text = _small(project)
    runner().workflow(text)
    (project / "a.bin").write_bytes(b"far too long a file")
    red = runner(run_id="2")
    red.workflow(text)
    assert red.jobs["mlgate-verdict"].result == "failure"
    kept = max((red.server / "caches").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert {path.stem for path in (kept / "results").iterdir()} == {"data", "other", "int8"}


@contextmanager
def _server(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer(self)

        do_POST = do_PATCH = do_GET

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = HTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _says(body: bytes, *, length: int | None = None, status: int = 200) -> Any:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body) if length is None else length))
        request.end_headers()
        request.wfile.write(body)

    return answer


def _comment(url: str, report: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", ROOT / "actions/lib/comment.py", report],
        env={
            "MLGATE_COMMENT": "mlgate-yaml",
            "MLGATE_PULL_REQUEST": "7",
            "MLGATE_COMMIT": "c" * 40,
            "MLGATE_RUN": "https://github.example.com/acme/digits/actions/runs/1",
            "GITHUB_API_URL": url,
            "GITHUB_REPOSITORY": "acme/digits",
            "GH_TOKEN": "t0ken",
        },
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: request.connection.close(),
        _says(b"[", length=999),
        _says(b'{"message": "x"}'),
        _says(b"[1]"),
        _says(b'[{"user": null}]'),
        _says(b"<html>"),
        _says(b"[]", status=403),
    ],
    ids=["dropped", "cut off", "an object", "numbers", "no user", "a page", "forbidden"],
)
def test_c7_no_answer_turns_a_green_check_red(answer: Any, tmp_path: Path) -> None:
    (tmp_path / "report.md").write_text("## report")
    with _server(answer) as url:
        done = _comment(url, str(tmp_path / "report.md"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("::warning title=mlgate::no comment was written: ")
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize("report", ["", "missing.md"])
def test_c6_a_push_without_a_verdict_replaces_the_last_one(report: str) -> None:
    sent: list[dict[str, Any]] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        ours = {"id": 1, "user": {"type": "Bot"}, "body": "<!-- mlgate:mlgate-yaml -->\n## PASS"}
        if request.command == "GET":
            _says(json.dumps([ours]).encode())(request)
        else:
            sent.append({"method": request.command})
            _says(b"{}")(request)

    with _server(answer) as url:
        done = _comment(url, report)
    assert (done.returncode, done.stdout) == (0, "")
    assert sent == [{"method": "PATCH"}]


def test_c6_the_comment_is_written_whatever_became_of_the_report() -> None:
    from mlgate.ci import actions
    from mlgate.ci.servers import GITHUB

    report = actions.report(GITHUB)["runs"]
    assert isinstance(report, dict)
    step = report["steps"][-1]
    assert "report-folder" not in step["if"]
    assert {"MLGATE_COMMIT", "MLGATE_RUN"} <= set(step["env"])
