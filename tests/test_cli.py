"""The command line as a process: exit codes, one JSON document, help that teaches, no traceback."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from mlgate import schema
from mlgate.cli import COMMANDS, cli, main
from mlgate.error_codes import CODES, EXITS
from mlgate.run.scheduler import Execution
from mlgate.stages import STAGES
from tests import probed, probes
from tests.probed import environment, mlgate, started
from tests.projects import probe, stages, tree

Record = tuple[Path, str, str]


def spread(low: float, high: float, **gate: Any) -> dict[str, Any]:
    return {
        "uses": "spread",
        "low": low,
        "high": high,
        "gates": [{"metric": "spread", "max": 1, **gate}],
    }


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """A project with two runs, of which the last failed; and the names of the runs."""
    folder = tmp_path_factory.mktemp("record")
    for value in (0.5, 2.0):
        blocks = {"a": probe(value, makes="x"), "b": {**probe(), "model": {"from": "a.model"}}}
        tree(folder, {"mlgate.yaml": stages(**blocks, c=spread(0.25, 0.75))})
        mlgate("check", cwd=folder)
    first, last = sorted(path.name for path in (folder / ".mlgate" / "runs").iterdir())
    return folder, first, last


@pytest.fixture
def copied(record: Record, tmp_path: Path) -> Record:
    """A copy of it that a test may break."""
    folder = tmp_path / "copy"
    shutil.copytree(record[0], folder, symlinks=True)
    return folder, record[1], record[2]


@dataclass
class Done:
    """What a command line came to."""

    returncode: int
    stdout: str
    stderr: str


Here = Callable[..., Done]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Here]:
    """The command line's own `main`, in this process: for what needs no process of its own."""
    for uses, stage in {**probes.FAKES, "spread": probed.SPREAD}.items():
        monkeypatch.setitem(STAGES, uses, stage)
    monkeypatch.setattr(Execution, "worker", (sys.executable, probed.__file__))
    before = signal.getsignal(signal.SIGTERM)

    def call(*arguments: str, cwd: Path) -> Done:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["mlgate", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Done(int(left.value.code or 0), out, err)

    yield call
    signal.signal(signal.SIGTERM, before)


# Exit codes


@pytest.mark.parametrize(
    ("blocks", "code", "says"),
    [
        ({"a": probe(0.5)}, 0, "PASS  t may ship (1 pass)"),
        ({"a": spread(2, 3, severity="warn")}, 0, "WARN  t may ship, with warnings (1 warn)"),
        ({"a": probe(2.0)}, 1, "FAIL  t may not ship (1 fail)"),
        ({"a": {"uses": "probe"}}, 2, ""),
        (
            {"a": probe(act="nothing")},
            3,
            "ERROR  t may not ship: something could not be measured (1 error)",
        ),
        ({"a": probe(act="raise")}, 3, "ERROR  t may not ship: something could not be measured"),
        ({"a": spread(0, 2)}, 4, "INCONCLUSIVE  t undecided: there is not enough evidence"),
        ({"a": probe(act="raise"), "b": probe(2.0), "c": spread(0, 2)}, 1, "FAIL  t may not ship"),
        ({"a": probe(act="raise"), "c": spread(0, 2)}, 3, "ERROR  t may not ship"),
        ({"a": spread(0, 2), "b": probe(needs=["a"])}, 4, "INCONCLUSIVE  t undecided"),
    ],
)
def test_the_exit_code_and_one_json_document(
    here: Here, tmp_path: Path, blocks: dict[str, Any], code: int, says: str
) -> None:
    tree(tmp_path, {"mlgate.yaml": stages(**blocks)})
    text = here("check", cwd=tmp_path)
    assert text.returncode == code
    assert says in text.stdout
    done = here("check", "--format", "json", cwd=tmp_path)
    assert done.returncode == code
    document = json.loads(done.stdout)  # the whole of it: nothing before and nothing after
    assert document["exit_code"] == code
    if code == 2:
        assert document["problems"][0]["code"] == "MG207"
        assert text.stdout == ""
    else:
        jsonschema.validate(document, schema.document("report"), cls=jsonschema.Draft7Validator)


def test_what_failed_is_named_with_its_line_in_the_spec(here: Here, copied: Record) -> None:
    folder = copied[0]
    done = here("check", str(folder), cwd=folder.parent)
    assert f"{folder}/mlgate.yaml:9: error[a/probe]: probe 2 > 1" in done.stdout
    assert '"metric"' in (folder / "mlgate.yaml").read_text().splitlines()[9]
    assert "not run: a did not pass" in done.stdout


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A shell starts background jobs with SIGINT ignored, and their children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stopped_from_outside(tmp_path: Path, how: signal.Signals) -> None:
    tree(tmp_path, {"mlgate.yaml": stages(a=probe(0.5), b=probe(act="sleep", needs=["a"]))})
    process = started("check", "--format", "json", cwd=tmp_path)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("b: started"):
            break
    process.send_signal(how)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "what was finished is kept" in err
    assert json.loads(out)["exit_code"] == 130
    assert list((tmp_path / ".mlgate" / "work").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["chek"], "Did you mean 'check'?"),
        (["check", "--formt", "json"], "Did you mean '--format'?"),
        (["check", "--format", "yaml"], "is not one of 'github', 'html', 'json'"),
        (["lint", "gone"], "gone does not exist"),
        (["lint", "--set", "x"], "write --set NAME=VALUE"),
        (["lint", "--set", "x=1"], "there is no parameter 'x'"),
        (["lint", "--profile", "p"], "there is no profile 'p'"),
        (["check", "--only", "aa"], "there is no stage 'aa'"),
        (["report", "nope"], "there is no run 'nope'"),
        (["judge", "../runs"], "'../runs' is not a run's name"),
        (["diff"], "Missing argument 'A'"),
        (["history", "nope"], "no stored run measured nope"),
        (["history", "probe", "--where", "x"], "write --where LABEL=VALUE"),
        (["explain", "MG999"], "nothing is known of 'MG999'"),
        (["explain", "prob"], "did you mean 'probe'?"),
        (["init", "--template", "digit"], "did you mean 'digits'?"),
        (["completion", "csh"], "is not one of 'bash', 'zsh', 'fish'"),
        (["schema", "x"], "is not one of 'spec', 'report'"),
    ],
)
def test_a_wrong_command_line_is_explained(
    here: Here, record: Record, arguments: list[str], says: str
) -> None:
    done = here(*arguments, cwd=record[0])
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert says in done.stderr


@pytest.mark.parametrize("command", ["check", "lint", "plan"])
def test_a_wrong_spec_is_a_document_too(here: Here, tmp_path: Path, command: str) -> None:
    tree(tmp_path, {"mlgate.yaml": stages(a={"uses": "probe", "gats": []})})
    done = here(command, "--format", "json", cwd=tmp_path)
    assert done.returncode == 2
    document = json.loads(done.stdout)
    assert document["schema"] == "mlgate/error/v1"
    assert document["problems"][0] == {
        "code": "MG104",
        "message": "unknown key 'gats'",
        "hint": "did you mean 'gates'?",
        "file": "mlgate.yaml",
        "line": 7,
        "column": 4,
    }
    assert "mlgate.yaml:7:4: error[MG104]" in done.stderr


@pytest.mark.parametrize("command", ["judge", "report", "diff", "history"])
def test_an_error_is_a_document_too(here: Here, tmp_path: Path, command: str) -> None:
    arguments = {"diff": ["a"], "history": ["probe"]}.get(command, [])
    done = here(command, *arguments, "--format", "json", cwd=tmp_path)
    assert done.returncode == 2
    assert json.loads(done.stdout)["exit_code"] == 2


def test_every_command_is_a_process_with_an_exit_code(copied: Record) -> None:
    folder, first, _ = copied
    told = {
        "init": ["p"],
        "check": [],
        "lint": [],
        "plan": [],
        "judge": [first],
        "report": [],
        "diff": [first],
        "history": ["probe"],
        "verify": ["--run", first],
        "schema": [],
        "explain": ["MG104"],
        "doctor": [],
        "completion": ["bash"],
    }
    codes = {name: mlgate(name, *rest, cwd=folder).returncode for name, rest in told.items()}
    assert codes == dict.fromkeys(told, 0) | {"check": 1, "verify": 1}
    own = {"canary", "compile", "policy", "promote", "run", "sign"}  # which have tests of their own
    assert {*COMMANDS} - {*told} == own


# Help


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_begins_as_the_table_says_and_teaches(name: str) -> None:
    import click

    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.help is not None
    assert command.help.splitlines()[0].strip() == COMMANDS[name]
    flagged = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    shown = [o for o in flagged if not o.help and not isinstance(o.type, click.Choice)]
    assert [o.name for o in shown] == []


def test_help_names_every_command_and_every_exit_code(here: Here, tmp_path: Path) -> None:
    done = here("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert all(re.search(rf"^  {name} ", done.stdout, re.MULTILINE) for name in COMMANDS)
    assert all(re.search(rf"\b{code}  ", done.stdout) for code in (0, 1, 2, 3, 4))
    assert here(cwd=tmp_path).stderr.startswith("Usage: mlgate")
    version = here("--version", cwd=tmp_path)
    assert re.fullmatch(r"mlgate, version \d+\.\d+\.\d+\S*\n", version.stdout)


# What is kept, and judged again


def test_judge_gives_the_same_verdict_bytes(record: Record) -> None:
    folder, *runs = record
    for run, code in zip(runs, (0, 1), strict=True):
        done = mlgate("judge", run, "--format", "verdict", cwd=folder)
        stored = (folder / ".mlgate" / "runs" / run / "verdict.json").read_bytes()
        assert done.returncode == code
        assert done.stdout.encode() == stored


def test_judge_and_report_need_no_spec_and_no_data(here: Here, copied: Record) -> None:
    folder, _, last = copied
    (folder / "mlgate.yaml").unlink()
    shutil.rmtree(folder / ".mlgate" / "cache")
    assert here("judge", cwd=folder).returncode == 1
    assert here("judge", "--spec", str(folder), cwd=folder.parent).returncode == 1
    done = here("report", last, "--format", "json", cwd=folder)
    assert done.returncode == 0
    assert json.loads(done.stdout)["outcome"] == "fail"


@pytest.mark.parametrize("form", ["text", "json", "html", "junit", "sarif", "markdown", "github"])
def test_every_format_of_a_report(here: Here, copied: Record, form: str) -> None:
    folder = copied[0]
    printed = here("report", "--format", form, cwd=folder)
    assert printed.returncode == 0
    assert printed.stdout
    assert here("report", "--format", form, "--out", "r", cwd=folder).stdout == ""
    assert (folder / "r").read_text() == printed.stdout


@pytest.fixture
def two(here: Here, tmp_path: Path) -> Path:
    """A folder above one that holds two specs, both checked: the one with the usual name passed."""
    specs = {"mlgate.yaml": stages(a=probe(0.5)), "b1.yaml": stages(a=probe(2.0))}
    tree(tmp_path / "d", specs)
    for name in specs:
        here("check", f"d/{name}", cwd=tmp_path)
    return tmp_path


def test_a_stored_run_is_called_by_its_own_spec_seen_from_here(here: Here, two: Path) -> None:
    for command in ("judge", "report"):
        done = here(command, "--spec", "d/b1.yaml", cwd=two)
        assert re.search(r"^d/b1.yaml:\d+: error\[a/probe\]", done.stdout, re.MULTILINE)
        assert done.stderr == "spec: d/b1.yaml\n"
        done = here(command, cwd=two / "d")
        assert re.search(r"^b1.yaml:\d+: error\[a/probe\]", done.stdout, re.MULTILINE)
        assert done.stderr == "spec: b1.yaml\n"
    for form in ("github", "sarif", "junit", "markdown"):
        told = here("report", "--spec", "d/b1.yaml", "--format", form, cwd=two).stdout
        assert "b1" in told
        assert "mlgate.yaml" not in told


def test_a_folder_means_its_own_spec_and_no_other_in_it(here: Here, two: Path) -> None:
    for spec in ("d", "d/mlgate.yaml"):
        done = here("judge", "--spec", spec, cwd=two)
        assert (done.returncode, done.stderr) == (0, "")
        assert "PASS" in here("report", "--spec", spec, cwd=two).stdout
        assert here("verify", "--spec", spec, cwd=two).returncode == 0
    runs = (two / "d/.mlgate/runs").iterdir()
    [first] = [run.name for run in runs if b'"exit_code":0' in (run / "verdict.json").read_bytes()]
    done = here("diff", first, "--spec", "d", cwd=two)
    assert (done.stdout, done.stderr) == ("pass → pass\nno measurement differs\n", "")
    assert here("judge", cwd=two / "d").returncode == 1
    done = here("diff", first, cwd=two / "d")
    assert "pass → fail" in done.stdout
    assert done.stderr == "different specs: mlgate.yaml → b1.yaml\n"


def _evidence(folder: Path, run: str) -> Path:
    row = json.loads((folder / ".mlgate" / "runs" / run / "run.json").read_bytes())["stages"][0]
    digest: str = row["evidence"].removeprefix("sha256:")
    return folder / ".mlgate" / "store" / "sha256" / digest


RUN_JSON: dict[str, str] = {
    "empty": "",
    "no object": "[1, 2]",
    "half of it": '{"schema": "mlgate/run/v1", "stages": [{"id"',
    "another version": '{"schema": "mlgate/run/v9"}',
    "stages are text": '{"schema": "mlgate/run/v1", "stages": ["a"]}',
    "deep": "[" * 100_000,
    "not text": "\udcff",
}


@pytest.mark.parametrize("content", RUN_JSON.values(), ids=RUN_JSON)
@pytest.mark.parametrize("command", ["judge", "report"])
def test_a_damaged_record_is_said_to_be_one(
    here: Here, copied: Record, content: str, command: str
) -> None:
    folder, _, last = copied
    (folder / ".mlgate" / "runs" / last / "run.json").write_bytes(
        content.encode(errors="surrogateescape")
    )
    done = here(command, cwd=folder)
    assert done.returncode == 3
    assert "unexpected" not in done.stderr
    assert "the record of" in done.stderr or "another version" in done.stderr


@pytest.mark.parametrize(
    "change",
    [
        {"lines": []},
        {"evidence": 5},
        {"evidence": "sha256:../../../mlgate.yaml"},
        {"gates": [{"metric": "probe"}]},
        {"gates": "x"},
        {"id": ["a"]},
        {"uses": 5},
        {"cached": None},
        {"errored": 5, "hint": []},
    ],
)
def test_a_forged_row_is_not_believed(here: Here, copied: Record, change: dict[str, Any]) -> None:
    folder, _, last = copied
    file = folder / ".mlgate" / "runs" / last / "run.json"
    document = json.loads(file.read_bytes())
    document["stages"][0] |= change
    file.write_text(json.dumps(document))
    done = here("judge", cwd=folder)
    assert done.returncode == 3, done.stderr
    assert "unexpected" not in done.stderr


def test_altered_evidence_and_verdicts_are_found(here: Here, copied: Record) -> None:
    folder, first, last = copied
    verdict = folder / ".mlgate" / "runs" / last / "verdict.json"
    verdict.write_bytes(verdict.read_bytes().replace(b'"fail"', b'"pass"'))
    done = here("judge", cwd=folder)
    assert done.returncode == 3
    assert "the stored verdict.json is not what the evidence says" in done.stderr
    verdict.unlink()
    assert "has no verdict.json" in here("judge", cwd=folder).stderr
    evidence = _evidence(folder, first)
    evidence.chmod(0o644)
    evidence.write_bytes(evidence.read_bytes().replace(b"0.5", b"0.1"))
    done = here("judge", first, cwd=folder)
    assert done.returncode == 3
    assert "was altered" in done.stderr
    evidence.unlink()
    done = here("judge", first, cwd=folder)
    assert done.returncode == 3
    assert "is not in the store" in done.stderr


def test_a_deleted_run_and_a_folder_without_any(here: Here, copied: Record) -> None:
    folder, first, last = copied
    shutil.rmtree(folder / ".mlgate" / "runs" / last)
    done = here("judge", cwd=folder)  # latest points nowhere
    assert (done.returncode, done.stdout) == (2, "")
    assert f"the last one that is whole: {first}" in done.stderr
    assert here("judge", first, cwd=folder).returncode == 0
    shutil.rmtree(folder / ".mlgate")
    assert "nothing has been checked here yet" in here("report", cwd=folder).stderr


def test_a_mlgate_folder_that_is_a_file_or_cannot_be_written(here: Here, tmp_path: Path) -> None:
    folder = tree(tmp_path, {"mlgate.yaml": stages(a=probe()), ".mlgate": "no folder"})
    for command in ("check", "judge", "report"):
        done = here(command, cwd=folder)
        assert done.returncode in (2, 3)
        assert "unexpected" not in done.stderr
    assert here("plan", cwd=folder).returncode == 0
    (folder / ".mlgate").unlink()
    (folder / ".mlgate").symlink_to("/proc")  # nobody may write there, not even root
    done = here("check", cwd=folder)
    assert done.returncode == 3
    assert "cannot be written" in done.stderr
    assert here("plan", cwd=folder).returncode == 0


def test_diff_and_history(here: Here, record: Record) -> None:
    folder, first, last = record
    assert (
        here("diff", first, cwd=folder).stdout == "pass → fail\n"
        "a: probe ≤ 1: pass → fail\nb: probe ≤ 1: pass → –\n"
        "a: probe  0.5 → 2\nb: probe  1 → –\n"
    )
    same = here("diff", last, last, cwd=folder).stdout
    assert same == "fail → fail\nno measurement differs\n"
    document = json.loads(here("diff", first, last, "--all", "--format", "json", cwd=folder).stdout)
    assert {row["name"] for row in document["measurements"]} == {
        "a: probe", "b: probe", "c: spread{name=x}"
    }  # fmt: skip
    rows = json.loads(here("history", "probe", "--format", "json", cwd=folder).stdout)["rows"]
    assert [(row["stage"], row["value"]) for row in rows] == [("a", 0.5), ("b", 1), ("a", 2)]
    told = here("history", "spread", "--where", "name=x", cwd=folder).stdout
    assert "[0.25, 0.75]" in told


def test_plan_says_what_is_cached_and_why_not(here: Here, copied: Record) -> None:
    folder = copied[0]
    document = json.loads(here("plan", "--format", "json", cwd=folder).stdout)
    assert [(s["id"], s["cached"]) for s in document["stages"]] == [
        ("a", True), ("c", True), ("b", False)
    ]  # fmt: skip
    mermaid = here("plan", "--format", "mermaid", cwd=folder).stdout
    assert mermaid == (
        'flowchart LR\n  s_a["a<br>probe"]\n  s_c["c<br>spread"]\n'
        '  s_b["b<br>probe"]\n  s_a --> s_b\n'
    )
    text = (folder / "mlgate.yaml").read_text().replace('"value": 2.0', '"value": 0.25')
    tree(folder, {"mlgate.yaml": text})
    assert "would run: options.value: 2" in here("plan", cwd=folder).stdout


# The rest


def test_init_writes_a_project_and_never_over_one(here: Here, tmp_path: Path) -> None:
    dry = here("init", "p", "--dry-run", cwd=tmp_path)
    assert dry.returncode == 0
    assert "would write p/mlgate.yaml" in dry.stdout
    assert list(tmp_path.iterdir()) == []
    assert here("init", "p", cwd=tmp_path).returncode == 0
    assert here("lint", "p", cwd=tmp_path).returncode == 0
    json.loads((tmp_path / "p" / ".mlgate" / "mlgate.schema.json").read_bytes())
    (tmp_path / "p" / "mlgate.yaml").write_text("mine")
    again = here("init", "p", cwd=tmp_path)
    assert again.returncode == 2
    assert "exists already: nothing was written" in again.stderr
    assert (tmp_path / "p" / "mlgate.yaml").read_text() == "mine"
    (tmp_path / "file").write_text("")
    assert here("init", "file", cwd=tmp_path).returncode == 3
    listed = here("init", "--list", cwd=tmp_path).stdout
    assert "digits" in listed
    assert "tabular" in listed


def test_a_wrong_spec_is_annotated_on_github(here: Here, tmp_path: Path) -> None:
    tree(tmp_path, {"mlgate.yaml": "version: 1\nname: x\nstages:\n  a: {uses: nope}\n"})
    for line in (["check", "--format", "github"], ["run", "a", "--github"]):
        done = here(*line, cwd=tmp_path)
        assert done.returncode == 2
        (said,) = [text for text in done.stdout.splitlines() if text.startswith("::error")]
        assert said.startswith("::error title=mlgate MG")
        assert "file=mlgate.yaml,line=4::" in said


def test_lint_tells_of_data_that_is_not_there_yet(here: Here, tmp_path: Path) -> None:
    tree(tmp_path, {"mlgate.yaml": stages(a=probe(file="data/trin.csv")), "data/train.csv": ""})
    done = here("lint", cwd=tmp_path)
    assert (done.returncode, "no problems, 1 warning" in done.stdout) == (0, True)
    assert "did you mean 'data/train.csv'?" in done.stderr
    (warning,) = json.loads(here("lint", "--format", "json", cwd=tmp_path).stdout)["warnings"]
    assert "data/trin.csv" in warning["message"]


def test_an_explained_metric_shows_a_gate_that_protects(here: Here, tmp_path: Path) -> None:
    for metric, gate in {
        "latency_ms.p99": "compared_to: baseline, max_increase: …",
        "accuracy": "compared_to: source, max_drop: …",
        "throughput_qps": "{metric: throughput_qps, min: …}",
        "drift.psi": "{metric: drift.psi, max: …}",
    }.items():
        assert gate in here("explain", metric, cwd=tmp_path).stdout


def test_everything_is_explained(here: Here, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from mlgate.stages import STAGES

    names = [*CODES, *(str(code) for code in EXITS), *STAGES]
    names += [metric.name for stage in STAGES.values() for metric in stage.metrics]
    for name in names:
        done = CliRunner().invoke(cli, ["explain", name])
        assert done.exit_code == 0, name
        assert len(done.output) > 40, name
    listed = here("explain", cwd=tmp_path).stdout
    assert all(code in listed for code in CODES)


def test_doctor_says_what_is_there_and_is_never_an_error(here: Here, tmp_path: Path) -> None:
    done = here("doctor", "--format", "json", cwd=tmp_path)
    assert done.returncode == 0
    checks = {row["name"]: row for row in json.loads(done.stdout)["checks"]}
    assert {"mlgate", "machine", "validate", "spark", "gpu", "bytecode"} <= checks.keys()
    assert all(row["hint"] for row in checks.values() if not row["ok"] and row["name"] != "gpu")
    assert here("doctor", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(here: Here, tmp_path: Path, shell: str) -> None:
    script = here("completion", shell, cwd=tmp_path).stdout
    assert "_MLGATE_COMPLETE" in script


def test_completion_completes(tmp_path: Path) -> None:
    env = {"_MLGATE_COMPLETE": "bash_complete", "COMP_WORDS": "mlgate ju", "COMP_CWORD": "1"}
    assert mlgate(cwd=tmp_path, env=env).stdout == "plain,judge\n"


@pytest.mark.parametrize("what", ["spec", "report"])
def test_schemas_are_schemas(here: Here, tmp_path: Path, what: str) -> None:
    document = json.loads(here("schema", what, cwd=tmp_path).stdout)
    jsonschema.Draft7Validator.check_schema(document)


def test_an_output_that_cannot_be_written_is_not_a_pass(copied: Record) -> None:
    with open("/dev/full", "w") as full:
        process = started("check", "--only", "c", "--format", "json", cwd=copied[0], stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "standard output cannot be written: No space left on device" in err


def test_a_closed_output_and_a_reader_that_left(record: Record) -> None:
    command = f"{sys.executable} -m tests.probed lint"
    run: Any = {"shell": True, "cwd": record[0], "env": environment(), "text": True}
    closed = subprocess.run(f"{command} >&-", stderr=subprocess.PIPE, check=False, **run)
    assert (closed.returncode, closed.stderr) == (0, "")
    left = subprocess.run(
        f"{sys.executable} -m tests.probed explain | true",
        stderr=subprocess.PIPE,
        check=False,
        **run,
    )
    assert left.stderr == ""


def test_a_terminal_without_unicode_gets_its_verdict(record: Record) -> None:
    done = mlgate("judge", record[1], cwd=record[0], env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "PASS  t may ship" in done.stdout


def test_text_from_data_cannot_command_the_terminal(here: Here, tmp_path: Path) -> None:
    block = {**spread(2, 3), "label": "\x1b[2J\x1b]0;owned\x07\r\nPASS"}
    tree(tmp_path, {"mlgate.yaml": stages(a=block)})
    done = here("check", cwd=tmp_path)
    assert done.returncode == 1
    assert "\x1b" not in done.stdout + done.stderr
    assert "\nPASS" not in done.stdout


def test_an_unexpected_error_is_one_line_and_a_log(tmp_path: Path) -> None:
    code = (
        "from mlgate import cli; from mlgate.cli import lint\n"
        "def broken(*_a, **_k): raise RuntimeError('password=hunter2')\n"
        "lint.read_spec = broken\ncli.main()"
    )
    env = environment({"TMPDIR": str(tmp_path)})
    done = subprocess.run(
        [sys.executable, "-c", code, "lint"], capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode == 3
    assert done.stdout == ""
    found = re.fullmatch(r"mlgate: unexpected RuntimeError: see (\S+)\n", done.stderr)
    assert found is not None
    assert "RuntimeError" in Path(found[1]).read_text()
    assert oct(Path(found[1]).stat().st_mode)[-3:] == "600"


def test_a_second_check_is_quick_and_says_the_same(here: Here, copied: Record) -> None:
    folder = copied[0]
    started_at = time.monotonic()
    done = here("check", cwd=folder)
    assert time.monotonic() - started_at < 30
    assert "c: pass (cached)" in done.stderr
    runs = sorted((folder / ".mlgate" / "runs").iterdir())
    assert (runs[-1] / "verdict.json").read_bytes() == (runs[-2] / "verdict.json").read_bytes()
