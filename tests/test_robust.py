"""A pass is about these bytes and this job: files that change, stores that lie, hostile text.

Each test is named by its case; the kinds are in docs/design.md.
"""

import json
import os
import time
from pathlib import Path

import pytest

from mlgate.evidence import canonical
from tests.projects import Heard, mlgate, probe, run, stages, tree

BETWEEN = (
    "{type: expect_column_values_to_be_between, kwargs: {column: x, min_value: 0, max_value: 5}}"
)
SPEC = f"""
version: 1
name: s
stages:
  data:
    uses: validate
    dataset: d.csv
    expectations: [{BETWEEN}]
    gates: [{{metric: expectations.failed, max: 0}}]
"""
GOOD, BAD = "x\n1\n1\n", "x\n9\n9\n"


def good(folder: Path, spec: str = SPEC, **files: str) -> Path:
    return tree(folder, {"mlgate.yaml": spec, "d.csv": GOOD, **files})


def rest() -> None:
    """Until what was just written may be remembered."""
    time.sleep(2.1)


@pytest.mark.usefixtures("fake_stages")
def test_r1_what_changes_between_its_digest_and_its_stage_is_no_pass(tmp_path: Path) -> None:
    """d.csv is another file while `second` would read it: nothing is kept of that."""
    folder = tree(
        tmp_path,
        {
            "mlgate.yaml": stages(
                first=probe(0.5, sleep_s=0.5), second=probe(0.5, file="d.csv", needs=["first"])
            ),
            "d.csv": BAD,
        },
    )

    def change(event: object) -> None:
        if getattr(event, "stage", "") == "first" and getattr(event, "what", "") == "finished":
            (folder / "d.csv").write_text(GOOD)

    checked = run(folder, change)
    second = checked.report.results["second"]
    assert "d.csv changed since the run began" in str(second)
    assert checked.report.exit_code == 3
    heard = Heard()
    assert run(folder, heard).report.exit_code == 0
    assert "cached" not in heard.of("second")


@pytest.mark.parametrize("how", ["copied over", "edited in place"])
def test_r2_content_with_the_same_size_time_and_inode_is_other_content(
    tmp_path: Path, how: str
) -> None:
    folder = good(tmp_path)
    file = folder / "d.csv"
    before = file.stat()
    rest()
    assert mlgate("check", ".", cwd=folder).returncode == 0
    with file.open("r+") as text:
        text.write(BAD)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = file.stat()
    assert (again.st_size, again.st_mtime_ns, again.st_ino) == (
        before.st_size,
        before.st_mtime_ns,
        before.st_ino,
    )
    more = ("--no-cache",) if how == "copied over" else ()
    assert mlgate("check", ".", *more, cwd=folder).returncode == 1
    file.write_text(GOOD)
    assert mlgate("check", ".", cwd=folder).returncode == 0


@pytest.mark.usefixtures("fake_stages")
def test_r6_an_output_that_was_altered_in_place_is_made_anew(tmp_path: Path) -> None:
    folder = tree(tmp_path, {"mlgate.yaml": stages(a=probe(0.5, makes="weights"))})
    checked = run(folder)
    copy = next((checked.folder / "outputs").rglob("*.*"))
    copy.chmod(0o644)
    copy.write_bytes(b"WEIGHTS")  # a copy: the store does not know of it
    heard = Heard()
    again = run(folder, heard)
    assert heard.of("a") == ["cached"]
    made = next((again.folder / "outputs").rglob("*.*"))
    assert made.read_bytes() == b"weights"
    ran = again.report.results["a"]
    blob = folder / ".mlgate/store/sha256" / ran.evidence.outputs["model"].digest[7:]  # type: ignore[union-attr]
    blob.chmod(0o644)
    blob.write_bytes(b"WEIGHTS")  # as many bytes
    heard = Heard()
    last = run(folder, heard)
    assert "cached" not in heard.of("a")
    assert next((last.folder / "outputs").rglob("*.*")).read_bytes() == b"weights"


def test_r7_a_cache_entry_that_names_evidence_of_another_file_is_a_miss(tmp_path: Path) -> None:
    folder = good(tmp_path)
    assert mlgate("check", ".", cwd=folder).returncode == 0
    entry = next((folder / ".mlgate/cache").glob("[0-9a-f]*.json"))
    evidence = json.loads(entry.read_bytes())
    (folder / "d.csv").write_text(BAD)
    plan = json.loads(mlgate("plan", ".", "--format", "json", cwd=folder).stdout)
    key = plan["stages"][0]["key"].removeprefix("sha256:")
    (entry.parent / f"{key}.json").write_bytes(canonical(evidence))
    assert mlgate("check", ".", cwd=folder).returncode == 1
    plan = json.loads(mlgate("plan", ".", "--format", "json", cwd=folder).stdout)
    assert plan["stages"][0]["cached"]  # what the check measured
