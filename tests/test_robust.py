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


def lint(folder: Path, spec: str, command: str = "lint") -> tuple[int, str]:
    """What a command says of a spec, and its exit code."""
    tree(folder, {"mlgate.yaml": spec})
    done = mlgate(command, ".", cwd=folder, timeout=20)
    return done.returncode, done.stdout + done.stderr


def one_line(gates: int) -> str:
    wrong = ", ".join("{metric: rows, mxx: 1}" for _ in range(gates))
    stage = f"{{uses: validate, dataset: d.csv, gates: [{wrong}]}}"
    return f"{{version: 1, name: s, stages: {{data: {stage}}}}}"


def test_r8_r9_the_caret_stands_under_the_word_whatever_the_line_is_long(tmp_path: Path) -> None:
    spec = one_line(3_000)
    code, said = lint(tmp_path, spec)
    assert code == 2
    assert len(said) < 10 * len(spec) + 65_536
    lines = said.splitlines()
    at = next(i for i, line in enumerate(lines) if "unknown key" in line)
    shown, caret = lines[at + 1], lines[at + 2]
    assert shown[caret.index("^") :].startswith("mxx: 1")


def test_r10_a_hundred_problems_are_told_and_the_rest_is_counted(tmp_path: Path) -> None:
    spec = SPEC + "".join(f"k{i}: 1\n" for i in range(2_000))
    code, said = lint(tmp_path, spec)
    assert code == 2
    assert "… and 1,900 more problems" in said
    assert "mlgate: 2000 problems in the spec" in said
    assert said.count("error[MG104]") == 100


def test_r11_what_many_files_extend_is_read_once(tmp_path: Path) -> None:
    for i in range(30):
        (tmp_path / f"f{i}.yaml").write_text(f"extends: [f{i + 1}.yaml, f{i + 1}.yaml]\n")
    (tmp_path / "f30.yaml").write_text("confidence: 0.9\n")
    code, said = lint(tmp_path, "extends: f0.yaml\n" + SPEC)
    assert code == 0, said


def test_r12_a_pipe_is_no_spec(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    code, said = lint(tmp_path, "extends: pipe.yaml\n" + SPEC)
    assert (code, "pipe.yaml is no regular file" in said) == (2, True)


def test_r13_a_long_chain_of_files_is_told_at_its_place(tmp_path: Path) -> None:
    for i in range(1_200):
        (tmp_path / f"f{i}.yaml").write_text(f"extends: f{i + 1}.yaml\n")
    code, said = lint(tmp_path, "extends: f0.yaml\n" + SPEC)
    assert code == 2
    assert "error[MG108]" in said
    assert "more than the 50 files" in said


@pytest.mark.parametrize("named", ["../secret", "../secret.yaml", "own", "link.yaml"])
def test_r14_a_wrong_extends_shows_nothing_of_another_file(tmp_path: Path, named: str) -> None:
    tree(tmp_path, {"secret": "token-5f3a9c: 1", "secret.yaml": "token-5f3a9c: 1"})
    folder = tree(tmp_path / "project", {"own": "token-5f3a9c: 1"})
    (folder / "link.yaml").symlink_to(tmp_path / "secret.yaml")
    code, said = lint(folder, f"extends: {named}\n" + SPEC)
    assert (code, "token-5f3a9c" in said) == (2, False)


HOSTILE = r"a\e[31mb\r::error::c\n::add-mask::d\n##[error]e\u202Ef"


@pytest.mark.parametrize("command", ["lint", "plan", "check"])
def test_r16_nothing_in_a_spec_commands_a_terminal_or_a_runner(
    tmp_path: Path, command: str
) -> None:
    spec = SPEC.replace("name: s", f'name: "{HOSTILE}"').replace("d.csv", f'"{HOSTILE}.csv"')
    _, said = lint(tmp_path, spec, command)
    assert "\x1b" not in said
    assert "\u202e" not in said
    lines = said.replace("\r", "\n").split("\n")
    assert not [line for line in lines if line.lstrip().startswith("::") or "##[" in line]


def test_r17_names_out_of_data_stay_text_in_every_report(tmp_path: Path) -> None:
    name = "a\x1b[31m\u202eb"
    between = BETWEEN.replace("column: x", f"column: {json.dumps(name)}")
    folder = tree(
        tmp_path / "in\n::error::folder",
        {"mlgate.yaml": SPEC.replace(BETWEEN, between), "d.csv": f'"{name}"\n9\n'},
    )
    done = mlgate("check", ".", cwd=folder)
    assert done.returncode == 1
    assert not [line for line in done.stderr.split("\n") if line.startswith("::")]
    latest = folder / ".mlgate/latest"
    for file in ("report.html", "report.md", "junit.xml"):
        text = (latest / file).read_text()
        assert "\x1b" not in text
        assert "\u202e" not in text, file


@pytest.mark.parametrize("command", ["lint", "plan", "check"])
def test_r31_a_password_in_a_url_is_never_repeated(tmp_path: Path, command: str) -> None:
    url = "https://user:open-sesame@host.invalid/x.parquet?token=open-sesame"
    spec = SPEC.replace("expectations: [", f'disjoint_from: "{url}"\n    expectations: [')
    code, said = lint(tmp_path, spec, command)
    assert (code, "open-sesame" in said) == (2, False)
    assert "host.invalid" in said
    done = mlgate(command, ".", "--format", "json", cwd=tmp_path)
    assert "open-sesame" not in done.stdout + done.stderr
