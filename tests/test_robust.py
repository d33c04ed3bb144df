"""A pass is about these bytes and this job: files that change, stores that lie, hostile text.

Each test is named by its case; the kinds are in docs/design.md.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlgate.evidence import canonical
from mlgate.sources import DigestCache
from mlgate.stage import ModelInput
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


def test_r15_a_signal_while_an_error_is_told_ends_with_130_and_no_traceback(
    tmp_path: Path,
) -> None:
    tree(tmp_path, {"mlgate.yaml": SPEC + "".join(f"k{i}: {'v' * 400}\n" for i in range(2_000))})
    command = [sys.executable, "-m", "mlgate", "lint", "."]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        first = process.stderr.read(100)  # and no more: it waits for us while it tells
        time.sleep(0.5)
        process.terminate()
        rest_of_it = process.stderr.read()
        code = process.wait(timeout=20)
    assert code in (2, 130)
    assert b"Traceback" not in first + rest_of_it


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_r29_every_signal_that_stops_ends_with_130(tmp_path: Path, number: int) -> None:
    good(tmp_path)

    def heeded() -> None:
        """As from a terminal: whoever started the tests in the background has them ignored."""
        for one in (signal.SIGHUP, signal.SIGTERM):
            signal.signal(one, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    code = (
        "import os, sys, threading, time\n"
        "from mlgate.cli import main\n"
        "import mlgate.cli.check as module\n"
        f"kill = threading.Timer(0.2, lambda: os.kill(os.getpid(), {int(number)}))\n"
        "module.check = lambda *_, **__: (kill.start(), time.sleep(20))\n"
        "sys.argv = ['mlgate', 'check', '.']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        preexec_fn=heeded,
    )
    assert (done.returncode, done.stderr.strip()) == (130, "mlgate: stopped")


@pytest.mark.parametrize(
    "damaged", ["cache/digests.json", "cache/KEY.json", "cache/stages/data.json"]
)
@pytest.mark.parametrize("how", ["deep", "pipe"])
def test_r18_r19_a_damaged_cache_is_a_miss(tmp_path: Path, damaged: str, how: str) -> None:
    folder = good(tmp_path)
    assert mlgate("check", ".", cwd=folder).returncode == 0
    plan = json.loads(mlgate("plan", ".", "--format", "json", cwd=folder).stdout)
    key = plan["stages"][0]["key"].removeprefix("sha256:")
    file = folder / ".mlgate" / damaged.replace("KEY", key)
    file.unlink(missing_ok=True)
    if how == "deep":
        file.write_text("[" * 200_000)
    else:
        os.mkfifo(file)
    assert mlgate("check", ".", cwd=folder, timeout=30).returncode == 0
    (folder / "d.csv").write_text("x\n2\n")
    assert mlgate("plan", ".", cwd=folder, timeout=30).returncode == 0


def test_r19_a_pipe_for_a_record_is_a_record_that_cannot_be_read(tmp_path: Path) -> None:
    folder = good(tmp_path)
    assert mlgate("check", ".", cwd=folder).returncode == 0
    record = (folder / ".mlgate/latest").resolve() / "run.json"
    record.unlink()
    os.mkfifo(record)
    done = mlgate("judge", record.parent.name, cwd=folder, timeout=20)
    assert (done.returncode, "no regular file" in done.stderr) == (3, True)


@pytest.mark.usefixtures("fake_stages")
def test_r20_r21_what_dead_runs_left_is_removed(tmp_path: Path) -> None:
    folder = tree(tmp_path, {"mlgate.yaml": stages(a=probe(0.5))})
    run(folder)
    root = folder / ".mlgate"
    (root / "work/20240101T000000Z-aaaaaa/data-0").mkdir(parents=True)
    (root / "work/20990101T000000Z-aaaaaa").mkdir()  # about to be locked, for all we know
    killed = tree(root / "runs/20240101T000000Z-bbbbbb", {"journal.jsonl": "{}\n"})
    temporary = root / "store/sha256/.0000.aaaaaaaaaaaaaaaa"
    temporary.write_text("x")
    for old in (root / "work/20240101T000000Z-aaaaaa", temporary):
        os.utime(old, (0, 0))
    run(folder)
    assert [path.name for path in (root / "work").iterdir()] == ["20990101T000000Z-aaaaaa"]
    assert not killed.exists()
    assert not temporary.exists()
    assert (root / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize("target", ["closed", "/dev/full"])
def test_r24_a_verdict_does_not_need_listeners(tmp_path: Path, target: str) -> None:
    folder = good(tmp_path)
    where = "2>&-" if target == "closed" else f"2>{target}"
    command = f"exec {sys.executable} -m mlgate check . {where}"
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, "PASS" in done.stdout) == (0, True)


def test_r25_warnings_as_errors_decide_nothing(tmp_path: Path) -> None:
    folder = good(tmp_path)
    done = mlgate("check", ".", cwd=folder, env={**os.environ, "PYTHONWARNINGS": "error"})
    assert done.returncode == 0, done.stderr + done.stdout


def test_r26_too_few_files_are_told_as_that(tmp_path: Path) -> None:
    folder = good(tmp_path)
    command = f"ulimit -n 12; exec {sys.executable} -m mlgate check ."
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (0, 3)
    assert "cannot be written" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("kind", "says"), [("link", "is a link to nowhere"), ("file", "is a file")]
)
def test_r27_a_mlgate_that_is_no_folder_is_told_with_what_to_do(
    tmp_path: Path, kind: str, says: str
) -> None:
    folder = good(tmp_path)
    if kind == "link":
        (folder / ".mlgate").symlink_to("nowhere")
    else:
        (folder / ".mlgate").write_text("x")
    done = mlgate("check", ".", cwd=folder)
    assert done.returncode == 3
    assert f"hint: {folder}/.mlgate {says}" in done.stderr


def test_r30_what_made_a_gate_weaker_stands_in_the_report(tmp_path: Path) -> None:
    spec = SPEC.replace("stages:", "params: {limit: {type: integer, default: 0}}\nstages:")
    spec = spec.replace("max: 0}}", 'max: "${params.limit}"}').replace(
        "failed, max: 0}", 'failed, max: "${params.limit}"}'
    )
    folder = good(tmp_path, spec)
    (folder / "d.csv").write_text(BAD)
    assert mlgate("check", ".", cwd=folder).returncode == 1
    env = {**os.environ, "MLGATE_PARAM_LIMIT": "1000"}
    done = mlgate("check", ".", cwd=folder, env=env)
    assert done.returncode == 0
    said = "limit=1000 (MLGATE_PARAM_LIMIT, default 0)"
    latest = folder / ".mlgate/latest"
    assert said in done.stdout
    assert said in (latest / "report.html").read_text()
    assert "MLGATE" in (latest / "report.md").read_text()
    assert (
        b'"changed":[{"default":"0","name":"limit","value":"1000"}]'
        in (latest / "verdict.json").read_bytes()
    )
    assert mlgate("verify", "d.csv", cwd=folder, env=env).returncode == 0
    assert mlgate("verify", "d.csv", "--set", "limit=1000", cwd=folder).returncode == 0
    empty = {**os.environ, "MLGATE_PARAM_LIMIT": ""}
    assert mlgate("check", ".", cwd=folder, env=empty).returncode == 1


@pytest.mark.parametrize("kind", ["dangling", "text"])
def test_r32_a_lost_pointer_loses_no_record(tmp_path: Path, kind: str) -> None:
    folder = good(tmp_path)
    assert mlgate("check", ".", cwd=folder).returncode == 0
    latest = folder / ".mlgate/latest"
    name = latest.resolve().name
    latest.unlink()
    if kind == "dangling":
        latest.symlink_to("runs/20240101T000000Z-000000")
    else:
        latest.write_text(f"runs/{name}\n")
    for command in ("verify", "judge"):
        assert mlgate(command, cwd=folder).returncode == 0


def test_r22_a_confidence_below_a_half_is_no_confidence(tmp_path: Path) -> None:
    spec = SPEC.replace("failed, max: 0}", "failed, max: 0, confidence: 0.001}")
    code, said = lint(tmp_path, spec)
    assert (code, "mlgate.yaml:9:63: error[MG107]" in said) == (2, True), said
    assert lint(tmp_path, SPEC + "confidence: 0.3\n")[0] == 2


@pytest.mark.parametrize(
    ("gate", "why"),
    [
        ("metric: accuracy, compared_to: source, max_drop: 99.999%", "a fall by as much passes"),
        ("metric: accuracy, compared_to: source, max_drop: 0.9", "half of all that there is"),
        ("metric: size_ratio, max: 1e9", "never that large"),
        ("metric: trials, min: 0", "never below 0"),
    ],
)
def test_r33_a_gate_that_no_model_can_miss_is_warned_about(
    tmp_path: Path, gate: str, why: str
) -> None:
    spec = f"""
version: 1
name: s
stages:
  int8:
    uses: quantize
    model: m.onnx
    calibration: d.parquet
    evaluation: {{dataset: d.parquet, label: y}}
    gates: [{{{gate}}}]
"""
    code, said = lint(tmp_path, spec)
    assert code == 0, said
    assert f"warning: {gate.split()[1][:-1]}: " in said
    assert why in said


def test_r34_without_its_spec_nothing_is_verified_unasked(tmp_path: Path) -> None:
    folder = good(tmp_path)
    assert mlgate("check", ".", cwd=folder).returncode == 0
    (folder / "mlgate.yaml").unlink()
    done = mlgate("verify", "d.csv", cwd=folder)
    assert (done.returncode, "--verdict .mlgate/latest" in done.stderr) == (2, True)
    assert mlgate("verify", "d.csv", "--verdict", ".mlgate/latest", cwd=folder).returncode == 0


@pytest.mark.usefixtures("fake_stages")
@pytest.mark.parametrize("name", ["m.model", "m.onnx"])
def test_r5_weights_beside_a_model_are_part_of_it_whatever_it_is_called(
    tmp_path: Path, name: str
) -> None:
    """A serialised entry of external data, as onnx.proto has it, and the file that it names."""
    entry = b"\x0a\x08location\x12\x0bweights.bin"
    model = tmp_path / name
    model.write_bytes(b"graph" + b"\x6a" + bytes([len(entry)]) + entry)
    weights = tmp_path / "weights.bin"
    found = []
    for content in (b"one", b"two"):
        weights.write_bytes(content)
        located = DigestCache(tmp_path / "memory", 0).located(ModelInput(path=str(model)), tmp_path)
        assert located.files == (model, weights)
        found.append(located.digest)
    assert found[0] != found[1]
