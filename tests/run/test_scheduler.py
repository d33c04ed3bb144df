"""Running a plan: order, cache, crashes, time limits, two at once, kill -9."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mlgate.errors import Interrupted, StoreError
from mlgate.run.report import Errored, Ran, Skipped
from mlgate.run.store import Store
from tests.projects import Heard, probe, run, stages, tree

pytestmark = pytest.mark.usefixtures("fake_stages")


def project(folder: Path, **blocks: Any) -> Path:
    return tree(folder, {"mlgate.yaml": stages(**blocks)})


def test_a_pass_and_its_record(tmp_path: Path) -> None:
    checked = run(project(tmp_path, a=probe(0.5)))
    assert checked.report.exit_code == 0
    record = json.loads((checked.folder / "run.json").read_bytes())
    assert record["stages"][0]["id"] == "a"
    assert (tmp_path / ".mlgate" / "latest").resolve() == checked.folder
    journal = (checked.folder / "journal.jsonl").read_text().splitlines()
    assert [json.loads(line)["what"] for line in journal] == ["started", "finished"]


def test_what_a_library_prints_goes_to_the_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checked = run(project(tmp_path, a=probe()))
    assert capfd.readouterr() == ("", "")
    assert "a library talks" in (checked.folder / "logs" / "a-0.log").read_text()


def test_a_second_run_is_all_cached_and_says_the_same(tmp_path: Path) -> None:
    folder = project(tmp_path, a=probe(counter=str(tmp_path / "runs")), b=probe(0.1))
    first, heard = run(folder), Heard()
    second = run(folder, heard)
    assert heard.of("a") == ["cached"]
    assert (tmp_path / "runs").read_text().count("start") == 1
    assert first.report.verdict() == second.report.verdict()
    anew = Heard()
    run(folder, anew, use_cache=False)
    assert "started" in anew.of("a")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"value": 0.25}, "options.value: 0.5 → 0.25"),
        ({"sleep_s": 0.01}, "options.sleep_s: 0 → 0.01"),
    ],
)
def test_a_miss_names_what_changed(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    run(project(tmp_path, a=probe(0.5)))
    heard = Heard()
    run(project(tmp_path, a=probe(**{"value": 0.5, **change})), heard)
    assert heard.events[0].detail == why


def test_a_changed_input_is_named(tmp_path: Path) -> None:
    folder = tree(tmp_path, {"mlgate.yaml": stages(a=probe(file="data.txt")), "data.txt": "1"})
    run(folder)
    tree(folder, {"data.txt": "2"})
    heard = Heard()
    checked = run(folder, heard)
    assert heard.events[0].detail == "file changed"
    ran = checked.report.results["a"]
    assert isinstance(ran, Ran)
    assert ran.evidence.details["read"] == "2"


def test_a_changed_limit_is_judged_without_measuring(tmp_path: Path) -> None:
    run(project(tmp_path, a=probe(0.5, limit=1)))
    heard = Heard()
    checked = run(project(tmp_path, a=probe(0.5, limit=0.1)), heard)
    assert heard.of("a") == ["cached"]
    assert checked.report.exit_code == 1


def test_an_output_is_handed_on(tmp_path: Path) -> None:
    folder = project(
        tmp_path, a=probe(makes="weights"), b={**probe(), "model": {"from": "a.model"}}
    )
    checked = run(folder)
    ran = checked.report.results["b"]
    assert isinstance(ran, Ran)
    assert ran.evidence.details["read"] == "weights"
    assert list(ran.evidence.inputs) == ["model"]
    assert (checked.folder / "outputs" / "a" / "made.bin").read_text() == "weights"


def test_what_waits_for_a_failure_is_not_run(tmp_path: Path) -> None:
    folder = project(tmp_path, a=probe(2.0), b=probe(needs=["a"]), c=probe(needs=["b"]))
    checked = run(folder)
    assert checked.report.results["b"] == Skipped("a did not pass", checked.report.outcome)
    assert isinstance(checked.report.results["c"], Skipped)
    assert checked.report.exit_code == 1


@pytest.mark.parametrize(
    ("act", "says"),
    [
        ("raise", "the probe broke"),
        ("abort", "SIGABRT"),
        ("kill", "SIGKILL"),
        ("memory", "out of memory"),
        ("bug", "an unforeseen thing"),
        ("exit", "exit code 0"),
        ("touch", "changed while it was read"),
    ],
)
def test_however_a_stage_breaks_it_is_an_error_with_its_cause(
    tmp_path: Path, act: str, says: str
) -> None:
    folder = tree(
        tmp_path,
        {"mlgate.yaml": stages(a=probe(act=act, file="data.txt"), b=probe()), "data.txt": "1"},
    )
    checked = run(folder)
    broke = checked.report.results["a"]
    assert isinstance(broke, Errored)
    assert says in broke.message
    assert str(folder) not in broke.message
    assert isinstance(checked.report.results["b"], Ran)
    assert checked.report.exit_code == 3


def test_failures_are_never_cached(tmp_path: Path) -> None:
    folder = project(tmp_path, a=probe(act="raise"), b=probe(act="nothing"))
    heard = Heard()
    run(folder)
    run(folder, heard)
    assert heard.of("a") == ["started", "progress", "finished", "logged"]
    assert "started" in heard.of("b")


@pytest.mark.parametrize(("uses", "again"), [("probe", "cached"), ("timing", "started")])
def test_b2_an_inconclusive_time_is_no_answer_to_keep(
    tmp_path: Path, uses: str, again: str
) -> None:
    """Rows are the same next time; the machine may be quieter."""
    heard = Heard()
    folder = project(tmp_path, a={**probe(act="unsure"), "uses": uses})
    assert run(folder).report.exit_code == 4
    run(folder, heard)
    assert heard.of("a")[0] == again


def test_a_stage_that_lies_about_its_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="did not make it"):
        run(project(tmp_path, a=probe(makes="x", act="lie")))


def test_a_timeout(tmp_path: Path) -> None:
    started = time.monotonic()
    checked = run(project(tmp_path, a=probe(act="sleep", timeout="1500ms")))
    broke = checked.report.results["a"]
    assert isinstance(broke, Errored)
    assert "longer than its timeout of 1500ms" in broke.message
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(("act", "tries"), [("raise", 2), ("nothing", 2), ("measure", 0)])
def test_retries(tmp_path: Path, act: str, tries: int) -> None:
    heard = Heard()
    run(project(tmp_path, a=probe(act=act, retries=2)), heard)
    assert heard.of("a").count("retry") == tries


def test_stages_run_side_by_side_and_an_exclusive_one_alone(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    timing = {**probe(sleep_s=0.3, counter=log), "uses": "timing"}
    blocks = {n: probe(sleep_s=0.5, counter=log) for n in ("a", "b")}
    run(project(tmp_path, **blocks, t=timing))
    spans: dict[str, list[float]] = {}
    for line in Path(log).read_text().splitlines():
        stage, at, _ = line.split()
        spans.setdefault(stage, []).append(float(at))
    if (os.cpu_count() or 1) > 1:
        assert spans["a"][0] < spans["b"][1]
        assert spans["b"][0] < spans["a"][1]
    for other in ("a", "b"):
        assert spans["t"][0] > spans[other][1] or spans["t"][1] < spans[other][0]


def test_a_missing_input_breaks_its_stage_alone(tmp_path: Path) -> None:
    checked = run(project(tmp_path, a=probe(file="gone.txt"), b=probe()))
    broke = checked.report.results["a"]
    assert isinstance(broke, Errored)
    assert broke.message == "gone.txt does not exist"
    assert broke.hint == "is the path relative to mlgate.yaml?"
    spec = (tmp_path / "mlgate.yaml").read_text().splitlines()
    assert (
        spec[(broke.line or 0) - 1].strip().startswith('"file": "gone.txt"')
    )  # the option at fault
    assert checked.report.results["b"].outcome.name == "PASS"


def test_ctrl_c_stops_the_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project(tmp_path, a=probe(act="sleep"))

    def interrupt(news: Any) -> None:
        if news.what == "progress":
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        run(folder, interrupt)
    assert list((folder / ".mlgate" / "work").iterdir()) == []


def test_a_full_disk_is_an_error_that_says_so(tmp_path: Path) -> None:
    import resource

    code = (
        "import resource, sys; from tests.projects import run; from tests.probes import install;"
        "from pathlib import Path; install();"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10));"
        "run(Path(sys.argv[1]))"
    )
    assert resource.RLIMIT_FSIZE  # a file that may not grow stands for a disk that is full
    folder = project(tmp_path, a=probe())
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )
    assert "StoreError" in done.stderr
    assert "cannot be written" in done.stderr
    assert run(folder).report.exit_code == 0


def test_a_corrupt_blob_is_measured_again(tmp_path: Path) -> None:
    folder = project(tmp_path, a=probe(0.5, makes="x"))
    first = run(folder).report
    for blob in (folder / ".mlgate" / "store" / "sha256").iterdir():
        blob.chmod(0o644)
        blob.write_bytes(blob.read_bytes()[:-1])
    heard = Heard()
    second = run(folder, heard).report
    assert "started" in heard.of("a")
    assert first.verdict() == second.verdict()


def test_two_runs_at_once(tmp_path: Path) -> None:
    folder = project(tmp_path, **{n: probe(0.5, makes=n, sleep_s=0.05) for n in ("a", "b", "c")})
    verdicts: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: verdicts.append(run(folder).report.verdict()))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(verdicts)) == 1
    assert len(verdicts) == 3


def test_kill_9_at_any_moment_and_the_next_run_goes_on(tmp_path: Path) -> None:
    """Ten kills here; tests/benchmarks/kill.py makes two hundred."""
    from tests.benchmarks.kill import kill_and_go_on

    assert kill_and_go_on(tmp_path, times=6, seed=0) == 6


def test_dead_runs_leave_no_work_behind(tmp_path: Path) -> None:
    folder = project(tmp_path, a=probe())
    left = folder / ".mlgate" / "work" / "dead"
    left.mkdir(parents=True)
    (left / "lock").touch()
    run(folder)
    assert not left.exists()


def test_a_worker_dies_with_its_parent(tmp_path: Path) -> None:
    folder = project(tmp_path, a=probe(act="sleep", counter=str(tmp_path / "runs")))
    code = (
        "import sys; from tests.projects import run; from tests import probes;"
        "from mlgate.run.scheduler import Execution; from pathlib import Path; probes.install();"
        "Execution.worker = probes.WORKER; run(Path(sys.argv[1]))"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    parent = subprocess.Popen([sys.executable, "-c", code, str(folder)], env=env)
    while not (tmp_path / "runs").exists():
        time.sleep(0.05)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 20
    while _workers(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _workers(folder) == []


def _workers(folder: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in text and "order.json" in text:
            found.append(text)
    return found


def test_the_store_refuses_what_was_altered(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = store.put(b"evidence")
    store.path(digest).write_bytes(b"forged")
    with pytest.raises(StoreError, match="was altered"):
        store.get(digest)


def test_secrets_reach_neither_logs_nor_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROBE_URL", "postgres://me:hunter2-secret@db/x")
    checked = run(project(tmp_path, a=probe(act="blab", secret={"env": "PROBE_URL"})))
    broke = checked.report.results["a"]
    assert isinstance(broke, Errored)
    assert broke.message == "cannot connect with *** as me:***"
    for file in checked.folder.rglob("*"):
        assert not file.is_file() or b"hunter2" not in file.read_bytes()
    assert "***" in (checked.folder / "logs" / "a-0.log").read_text()
