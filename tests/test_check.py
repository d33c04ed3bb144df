"""The main job's record: what is kept, that it is judged again to the same bytes, and what it lacks."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mlgate.check import check, keep, rendered
from mlgate.errors import StoreError, UsageError
from mlgate.run.plan import resolve
from mlgate.run.record import compare_with_stored, judge_stored, run_name, stored_runs
from mlgate.spec.lint import load
from tests.projects import NOW, probe, run, stages, tree

pytestmark = pytest.mark.usefixtures("fake_stages")


def project(folder: Path, **blocks: Any) -> Path:
    return tree(folder, {"mlgate.yaml": stages(**blocks)})


def test_a_run_leaves_its_whole_record(tmp_path: Path) -> None:
    checked = run(project(tmp_path, a=probe(0.5, makes="x"), b=probe(act="raise")))
    names = {path.name for path in checked.folder.iterdir()}
    assert {
        "run.json",
        "verdict.json",
        "journal.jsonl",
        "outputs",
        *rendered(checked),
    } <= names
    verdict = json.loads((checked.folder / "verdict.json").read_bytes())
    assert (verdict["schema"], verdict["exit_code"]) == ("mlgate/verdict/v1", 3)


def test_the_verdict_has_no_time_no_host_and_no_place(tmp_path: Path) -> None:
    import platform

    verdicts = set()
    for name, later in (("one", 0), ("two/deeper", 1000)):
        folder = project(tmp_path / name, a=probe(0.5, makes="x"), b=probe(file="gone"))
        spec = load(folder / "mlgate.yaml")
        moment = NOW + timedelta(days=later)
        checked = check(spec, now=lambda moment=moment: moment)  # type: ignore[misc]
        verdicts.add(checked.report.verdict())
    assert len(verdicts) == 1
    [verdict] = verdicts
    for word in (str(tmp_path), platform.node(), "2026", "2028"):
        assert word.encode() not in verdict


def test_judged_again_it_is_the_same(tmp_path: Path) -> None:
    folder = project(tmp_path, a=probe(2.0), b=probe(needs=["a"]), c=probe(act="raise"), d=probe())
    checked = run(folder)
    again = judge_stored(folder / ".mlgate", None)
    assert again.report.verdict() == checked.report.verdict()
    assert again.report.results == checked.report.results
    compare_with_stored(again)


def test_runs_are_listed_by_time_and_named_apart(tmp_path: Path) -> None:
    folder = project(tmp_path, a=probe())
    spec = load(folder / "mlgate.yaml")
    for hours in (0, 1, 2):
        check(spec, now=lambda hours=hours: NOW + timedelta(hours=hours))  # type: ignore[misc]
    names = stored_runs(folder / ".mlgate")
    assert list(names) == sorted(names)
    assert (folder / ".mlgate" / "latest").resolve().name == names[-1]
    assert run_name(NOW) != run_name(NOW)
    assert stored_runs(tmp_path / "nothing") == ()


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc"])
def test_a_run_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is not a run's name"):
        judge_stored(tmp_path, name)


def test_what_a_stage_printed_is_kept(tmp_path: Path) -> None:
    checked = run(project(tmp_path, a=probe(act="bug")))
    assert "an unforeseen thing" in (checked.folder / "logs" / "a-0.log").read_text()


def test_a_run_that_cannot_be_kept_is_an_error(tmp_path: Path) -> None:
    folder = project(tmp_path, a=probe())
    tree(folder, {".mlgate/runs": "no folder"})
    with pytest.raises(StoreError, match="cannot be written"):
        run(folder)


@pytest.mark.parametrize("lost", ["run.json", "verdict.json", "report.html"])
def test_without_its_whole_record_a_run_hands_on_no_model(tmp_path: Path, lost: str) -> None:
    folder = tree(tmp_path, {"mlgate.yaml": stages(a=probe(0.5, makes="weights"))})
    checked = run(folder)
    assert (checked.folder / "outputs" / "a").is_dir()
    spec = load(folder / "mlgate.yaml")
    stopped = folder / ".mlgate" / "runs" / "stopped"
    (stopped / lost / "in the way").mkdir(parents=True)
    with pytest.raises(StoreError):
        keep(resolve(spec), checked.report.results, run="stopped", started=NOW, ended=NOW)
    assert not (stopped / "outputs").exists()


def test_every_rendering_is_the_same_twice(tmp_path: Path) -> None:
    folder = project(tmp_path, a=probe(0.5), b=probe(act="raise"))
    assert rendered(run(folder)) == rendered(judge_stored(folder / ".mlgate", None))


def test_a_folder_may_hold_several_specs(tmp_path: Path) -> None:
    tree(tmp_path, {"mlgate.yaml": stages(a=probe(0.5)), "other.yaml": stages(a=probe(2.0))})
    good, bad = (
        check(load(tmp_path / name), now=lambda: NOW).folder
        for name in ("mlgate.yaml", "other.yaml")
    )
    root = tmp_path / ".mlgate"
    assert judge_stored(root, None, file="mlgate.yaml").folder == good
    assert judge_stored(root, None, file="other.yaml").folder == bad
    assert judge_stored(root, None, file="other.yaml").report.exit_code == 1
    with pytest.raises(UsageError, match=r"gone\.yaml has not been checked"):
        judge_stored(root, None, file="gone.yaml")


def test_an_older_run_does_not_pass_for_one_that_cannot_be_read(tmp_path: Path) -> None:
    root = project(tmp_path, a=probe(0.5)) / ".mlgate"
    run(tmp_path)
    last = check(load(tmp_path / "mlgate.yaml"), now=lambda: NOW + timedelta(days=1)).folder
    (last / "run.json").write_text("{")
    with pytest.raises(StoreError, match=last.name):
        judge_stored(root, None, file="mlgate.yaml")


@pytest.mark.parametrize(("repository", "called"), [(".git", "ml/other.yaml"), ("x", "other.yaml")])
def test_stored_files_call_the_spec_as_its_repository_does(
    tmp_path: Path, repository: str, called: str
) -> None:
    tree(tmp_path, {"ml/other.yaml": stages(a=probe(2.0)), f"{repository}/HEAD": ""})
    folder = check(load(tmp_path / "ml/other.yaml"), now=lambda: NOW).folder
    [result] = json.loads((folder / "results.sarif").read_bytes())["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert place == called
    assert f'file="{called}"' in (folder / "junit.xml").read_text()
    assert "mlgate.yaml" not in (folder / "report.md").read_text()


def test_the_page_says_when_and_where_the_run_was_and_the_verdict_does_not(tmp_path: Path) -> None:
    checked = run(project(tmp_path, a=probe()))
    page = (checked.folder / "report.html").read_text()
    for said in (f"run {checked.folder.name}", "2026-01-02 03:04 UTC", "Python 3.", " cores"):
        assert said in page
        assert said.encode() not in checked.report.verdict()
    assert judge_stored(tmp_path / ".mlgate", None).about == checked.about


def test_a_record_of_an_older_version_is_judged_and_an_impossible_time_is_refused(
    tmp_path: Path,
) -> None:
    file = run(project(tmp_path, a=probe())).folder / "run.json"
    record = json.loads(file.read_bytes())
    file.write_text(json.dumps({**record, "started": "0001-01-01T00:00:00+14:00"}))
    with pytest.raises(StoreError, match="cannot be read"):
        judge_stored(tmp_path / ".mlgate", None)
    for name in ("started", "hardware", "python"):
        del record[name]
    file.write_text(json.dumps(record))
    assert judge_stored(tmp_path / ".mlgate", None).report.exit_code == 0
