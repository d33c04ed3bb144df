"""The ground that stages stand on: one door, typed records, and what a newcomer adds."""

import json
import os
import sys
import types
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from mlgate import schema
from mlgate.cli import cli
from mlgate.documents import DOCUMENTS
from mlgate.evidence import Evidence, Measured, digest_of
from mlgate.render import FORMATS
from mlgate.stage import Stage
from mlgate.stages import STAGES
from tests.fakes.stages import Weigh
from tests.projects import mlgate, tree

SECRET = "made-up-secret"
# A driver prints its URL and dies.
DRIVER = """
import os, sys
if len(sys.argv) > 1 or "mlgate.run.worker" in " ".join(sys.orig_argv):
    if "mlgate.run.worker" in " ".join(sys.orig_argv):
        print("FATAL: gave up on", os.environ["DB_URL"], flush=True)
        os._exit(7)
"""
SPEC = """
version: 1
name: s
stages:
  data:
    uses: validate
    dataset: {sql: {url: {env: DB_URL}, table: t}}
    expectations: [{type: expect_table_row_count_to_be_between, kwargs: {min_value: 1}}]
    gates: [{metric: expectations.failed, max: 0}]
"""


def leaking(folder: Path) -> dict[str, str]:
    """A project whose worker prints its secret and dies; the environment to run it in."""
    tree(folder, {"mlgate.yaml": SPEC, "driver/sitecustomize.py": DRIVER})
    return {
        **os.environ,
        "DB_URL": f"sqlite:///x.db?token={SECRET}",
        "PYTHONPATH": str(folder / "driver"),
    }


@pytest.mark.parametrize("door", [("check", "."), ("run", "data")])
def test_g7_g8_each_door_masks_secrets_and_leaves_logs_and_a_journal(
    tmp_path: Path, door: tuple[str, ...]
) -> None:
    env = leaking(tmp_path)
    done = mlgate(*door, cwd=tmp_path, env=env)
    assert done.returncode == 3
    assert "gave up on ***" in done.stdout
    joined = mlgate("run", "--verdict", cwd=tmp_path, env=env)
    assert SECRET not in done.stdout + done.stderr + joined.stdout + joined.stderr
    kept = [path for path in (tmp_path / ".mlgate").rglob("*") if path.is_file()]
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]
    logs = [path for path in kept if path.parent.name == "logs"]
    assert [path.read_text() for path in logs] == ["FATAL: gave up on ***\n"]
    assert any(path.name == "journal.jsonl" for path in kept)
    assert str(logs[0].relative_to(tmp_path)) in done.stderr


@pytest.mark.usefixtures("fake_stages")
def test_g14_every_document_is_read_by_its_model_and_fits_the_schema_that_is_printed() -> None:
    for name, model in DOCUMENTS.items():
        assert model.model_fields["schema_"].default == f"mlgate/{name}/v1"
        jsonschema.Draft7Validator.check_schema(schema.document(name))
        with pytest.raises(ValueError, match=r"\w"):
            model.read(b"[" * 100_000)
        with pytest.raises(ValueError, match=r"\w"):
            model.read(b"{}")


def test_g14_what_commands_print_fits(tmp_path: Path) -> None:
    tree(tmp_path, {"mlgate.yaml": GOOD, "d.csv": "x\n1\n2\n"})
    commands = {
        "report": ("check", ".", "--format", "json"),
        "verification": ("verify", "--format", "json"),
        "history": ("history", "rows", "--format", "json"),
        "plan": ("plan", ".", "--format", "json"),
        "problems": ("lint", ".", "--format", "json"),
        "error": ("judge", "gone", "--format", "json"),
        "doctor": ("doctor", "--format", "json"),
    }
    printed = {name: mlgate(*command, cwd=tmp_path).stdout for name, command in commands.items()}
    run = (tmp_path / ".mlgate/latest").resolve()
    printed["diff"] = mlgate("diff", run.name, "--format", "json", cwd=tmp_path).stdout
    printed["run"] = (run / "run.json").read_text()
    printed["verdict"] = (run / "verdict.json").read_text()
    assert mlgate("run", "data", cwd=tmp_path).returncode == 0
    printed["result"] = (tmp_path / ".mlgate/ci/results/data.json").read_text()
    assert set(printed) == set(DOCUMENTS)
    for name, text in printed.items():
        jsonschema.validate(json.loads(text), schema.document(name), jsonschema.Draft7Validator)
        DOCUMENTS[name].read(text.encode())


GOOD = """
version: 1
name: s
stages:
  data: {uses: validate, dataset: d.csv, gates: [{metric: rows, min: 1}]}
"""


def test_g15_a_renderer_is_a_module_and_a_line_and_every_command_lists_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`report`, `check` and `judge` all offer what one registry lists."""
    csv = types.ModuleType("toy_csv")
    csv.__dict__["render"] = lambda report, *, file, about: f"outcome\n{report.outcome}\n"
    monkeypatch.setitem(sys.modules, "toy_csv", csv)
    monkeypatch.setitem(FORMATS, "csv", "toy_csv")
    for name in ("check", "judge", "report"):
        sys.modules.pop(f"mlgate.cli.{name}", None)
    tree(tmp_path, {"mlgate.yaml": GOOD, "d.csv": "x\n1\n2\n"})
    monkeypatch.chdir(tmp_path)
    for command in ("check", "judge", "report"):
        done = CliRunner().invoke(cli, [command, "--format", "csv"])
        assert (done.exit_code, done.stdout) == (0, "outcome\npass\n"), done.output
    for name in ("check", "judge", "report"):
        sys.modules.pop(f"mlgate.cli.{name}", None)


def test_g12_a_stage_that_does_not_say_what_it_judges_is_no_stage() -> None:
    with pytest.raises(TypeError, match="judged"):
        Stage(uses="x", summary="", options=Weigh, measure=lambda _: Measured(), metrics=())  # type: ignore[call-arg]


def test_every_declaration_fits_its_options_and_its_metrics() -> None:
    for stage in STAGES.values():
        assert set(stage.best_effort) <= set(stage.outputs)
        named = {reference for metric in stage.metrics for reference in metric.compared_to}
        assert named <= set(stage.references), stage.uses
        fields = {info.alias or name for name, info in stage.options.model_fields.items()}
        assert {port.split(".")[0] for port in stage.judged} <= fields, stage.uses


TOY_STAGE = '''
from pathlib import Path
from mlgate.evidence import Measured, measured
from mlgate.stage import Job, Metric, ModelInput, Options, Stage


class Heft(Options):
    """Weighs a model with its weights."""

    model: ModelInput


def measure(job: Job[Heft]) -> Measured:
    located = job.inputs[job.options.model]
    size = sum(path.stat().st_size for path in located.files)
    return Measured(measurements=(measured("heft", size, unit="B"),))


STAGE = Stage(
    uses="heft",
    summary="Weigh a model",
    options=Heft,
    measure=measure,
    metrics=(Metric("heft", "Bytes.", "B"),),
    judged=("model",),
    packages=("pydantic",),
)
'''
TOY_SPEC = """
version: 1
name: toy
stages:
  size: {uses: heft, model: m.bin, gates: [{metric: heft, max: 1kB}]}
"""
# What a line in mlgate/stages/__init__.py would do, in every process.
REGISTERED = """
import sys
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parent))
import heft
from mlgate.stages import STAGES
STAGES["heft"] = heft.STAGE
"""


def test_g11_g13_a_stage_is_a_module_and_a_line_and_the_spine_makes_its_evidence(
    tmp_path: Path,
) -> None:
    files = {"mlgate.yaml": TOY_SPEC, "m.bin": "weights", "toys/heft.py": TOY_STAGE}
    tree(tmp_path, {**files, "toys/sitecustomize.py": REGISTERED})
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "toys")}
    for command in (["lint"], ["explain", "heft"], ["check"], ["check"], ["verify", "m.bin"]):
        done = mlgate(*command, cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stderr + done.stdout
    evidence = Evidence.model_validate_json(
        (tmp_path / ".mlgate/latest/evidence/size.json").read_bytes()
    )
    assert evidence.inputs == {"model": digest_of(b"weights")}
    assert set(evidence.tools) == {"mlgate", "pydantic"}
    assert evidence.measurements[0].value == 7
