"""What was approved is known by its content, and nothing that was altered since is."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlgate.check import keep
from mlgate.cli import cli
from mlgate.error_codes import CODES
from mlgate.errors import MlgateError, StoreError
from mlgate.evidence import Evidence, artifact, canonical, measured
from mlgate.files import FOLDER
from mlgate.gate import judge_all
from mlgate.run.plan import resolve
from mlgate.run.record import Checked
from mlgate.run.report import Errored, Ran
from mlgate.run.scheduler import blocked
from mlgate.run.store import Store
from mlgate.run.verdict import Record
from mlgate.spec.lint import load
from mlgate.verify import Verification, verify
from tests.fakes.fixtures import SMALL, fakes, project
from tests.fakes.hostile import HOSTILE

__all__ = ["fakes", "project"]

Call = Callable[..., Result]

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SPEC = SMALL.replace("ran: RAN, ", "") + "profiles: {quick: {confidence: 0.9}}\n"


@dataclass
class Runs:
    """Runs of the small spec in a folder, their evidence made by hand."""

    folder: Path
    port: str = "copy"
    reads: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "mlgate.yaml").write_text(SPEC)
        (self.folder / "a.bin").write_bytes(b"hello")

    @property
    def store(self) -> Store:
        return Store(self.folder / FOLDER)

    def made(self, stage: str, inputs: Mapping[str, str], size: int, uses: str = "weigh") -> Ran:
        """What a stage came to that measured `size`, and made a file that says so."""
        file = self.folder / "copy.bin"
        file.write_bytes(f"{stage} {size}".encode())
        output = artifact(file)
        self.store.adopt(file, output)
        evidence = Evidence(
            uses=uses,
            inputs={**inputs, **self.reads},
            measurements=(measured("bytes", size, unit="B"),),
            outputs={self.port: output},
        )
        node = resolve(self.spec()).node(stage)
        gates = judge_all(node.options.gates, evidence, confidence=self.spec().confidence)
        return Ran(evidence, self.store.put(evidence.canonical()), gates, node.gate_lines, False)

    def spec(self, profile: str | None = None) -> Any:
        return load(self.folder / "mlgate.yaml", profile=profile)

    def run(
        self,
        *,
        size: int = 5,
        only: tuple[str, ...] = (),
        profile: str | None = None,
        broken: bool = False,
        edit: Callable[[dict[str, Any]], None] = lambda results: None,
        name: str = "one",
    ) -> Checked:
        spec = self.spec(profile)
        source = f"sha256:{'5' * 64}" if size != 5 else artifact(self.folder / "a.bin").digest
        results: dict[str, Any] = {}
        plan = resolve(spec, only=only)
        for node in plan.nodes:
            read = results["data"].evidence.outputs if node.id == "int8" else None
            digest = source if read is None else read[self.port].digest
            results[node.id] = self.made(node.id, {"file": digest}, size)
            if broken and node.id == "other":
                results[node.id] = Errored("no scales", "buy some")
        edit(results)
        results = {node.id: blocked(node, results) or results[node.id] for node in plan.nodes}
        return keep(plan, results, run=name, started=NOW, ended=NOW)

    def verify(self, checked: Checked, *artifacts: str, **how: Any) -> Verification:
        """With the spec at hand, unless `spec` says otherwise."""
        own = how.pop("spec", self.spec(how.get("profile")))
        return verify(Record(checked.folder, self.store), artifacts, spec=own, **how)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "p")


def codes(found: Verification) -> list[str]:
    assert all(refusal.code in CODES for refusal in found.refusals)
    assert found.verified == (not found.refusals) == (found.exit_code == 0)
    return sorted({refusal.code for refusal in found.refusals})


def copy_of(runs: Runs, checked: Checked, stage: str = "int8") -> str:
    return str(checked.folder / "outputs" / stage / "copy.bin")


@pytest.mark.parametrize("at_hand", [True, False])
def test_what_a_passed_run_made_and_judged_is_verified(runs: Runs, at_hand: bool) -> None:
    checked = runs.run()
    spec = runs.spec() if at_hand else None
    names = [copy_of(runs, checked), str(runs.folder / "a.bin")]
    found = runs.verify(checked, *names, spec=spec)
    assert codes(found) == []
    assert [known.known_as for known in found.artifacts] == [
        ("int8.copy",),
        ("data.file", "other.file"),
    ]
    assert (found.stages, found.whole, found.absent, found.links) == (3, 3, 0, 1)
    assert found.spec == ("same" if at_hand else None)
    assert not found.signed


def test_a_warning_is_an_approval(runs: Runs) -> None:
    def only_other(results: dict[str, Any]) -> None:
        results["other"] = runs.made("other", results["other"].evidence.inputs, 11)

    checked = runs.run(edit=only_other)
    assert checked.report.exit_code == 0
    assert codes(runs.verify(checked)) == []


def test_the_record_alone_is_enough(runs: Runs, tmp_path: Path) -> None:
    checked = runs.run()
    away = tmp_path / "downloaded"
    shutil.copytree(checked.folder, away)
    shutil.rmtree(runs.folder / FOLDER)
    found = verify(Record(away), [str(away / "outputs/int8/copy.bin")])
    assert codes(found) == []
    assert found.whole == 3
    shutil.rmtree(away / "outputs")
    found = verify(Record(away))
    assert (codes(found), found.whole, found.absent) == ([], 0, 3)
    (away / "evidence/data.json").unlink()
    assert codes(verify(Record(away))) == ["MG401", "MG404"]


def _verdict(runs: Runs, checked: Checked, **changes: Any) -> None:
    file = checked.folder / "verdict.json"
    file.write_bytes(canonical({**json.loads(file.read_bytes()), **changes}))


def _row(runs: Runs, checked: Checked, stage: str, **changes: Any) -> None:
    rows = json.loads((checked.folder / "verdict.json").read_bytes())["stages"]
    rows = [{**row, **changes} if row["id"] == stage else row for row in rows]
    _verdict(runs, checked, stages=rows)


def _blob(runs: Runs, checked: Checked, stage: str, of: str = "evidence") -> Path:
    result = checked.report.results[stage]
    assert isinstance(result, Ran)
    return runs.store.path(
        result.digest if of == "evidence" else result.evidence.outputs["copy"].digest
    )


def _alter(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _swap(runs: Runs, checked: Checked) -> None:
    """Evidence of another run, whole, under this verdict."""
    other = runs.run(size=6, name="two").report.results["data"]
    assert isinstance(other, Ran)
    _row(runs, checked, "data", evidence=other.digest)


def _looser_record(runs: Runs, checked: Checked) -> None:
    file = checked.folder / "run.json"
    file.write_text(file.read_text().replace('"max":10', '"max":99'))


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda r, c: _blob(r, c, "data").unlink(), ["MG401", "MG404"]),
        (lambda r, c: _alter(_blob(r, c, "other")), ["MG402"]),
        (lambda r, c: _fifo(_blob(r, c, "other")), ["MG401"]),
        (lambda r, c: _device(_blob(r, c, "other")), ["MG401"]),
        (lambda r, c: _alter(_blob(r, c, "int8", "output")), ["MG402"]),
        (lambda r, c: _verdict(r, c, outcome="warn"), ["MG403"]),
        (lambda r, c: _verdict(r, c, outcome="fail"), ["MG403", "MG406"]),
        (lambda r, c: _verdict(r, c, left_out=["release"]), ["MG403", "MG407"]),
        (lambda r, c: _verdict(r, c, name="other"), ["MG403"]),
        (lambda r, c: _verdict(r, c, more=1), ["MG403"]),
        (lambda r, c: _verdict(r, c, stages=[]), ["MG403", "MG405"]),
        (lambda r, c: _row(r, c, "other", outcome="warn"), ["MG403"]),
        (lambda r, c: _row(r, c, "other", gates=[]), ["MG403"]),
        (lambda r, c: _row(r, c, "data", id="../data"), ["MG403", "MG404", "MG405"]),
        (lambda r, c: _row(r, c, "other", uses="attest"), ["MG403"]),
        (lambda r, c: _row(r, c, "other", evidence=f"sha256:{'0' * 64}"), ["MG401", "MG402"]),
        (_swap, ["MG402", "MG403", "MG404"]),
        (_looser_record, []),  # the spec at hand judges
    ],
)  # fmt: skip
def test_every_alteration_has_its_code(
    runs: Runs, spoil: Callable[[Runs, Checked], object], expected: list[str]
) -> None:
    checked = runs.run()
    spoil(runs, checked)
    assert codes(runs.verify(checked)) == expected


def _copy(path: Path, text: bytes = b"copied") -> None:
    """A file of its own in the place of a link to the store's, or where none was."""
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)


def _same_copy(path: Path) -> None:
    _copy(path, path.read_bytes())


def _link(path: Path, to: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.symlink_to(to)


@pytest.mark.parametrize(
    ("spoil", "named", "expected"),
    [
        (_same_copy, "outputs/int8/copy.bin", []),
        (_same_copy, "evidence/int8.json", []),
        (Path.unlink, "outputs/int8/copy.bin", []),
        (Path.unlink, "evidence/int8.json", []),
        (shutil.rmtree, "outputs", []),
        (lambda path: (path / "empty").mkdir(), "outputs", []),
        (_copy, "outputs/int8/copy.bin", ["MG402"]),
        (_copy, "evidence/int8.json", ["MG402"]),
        (_fifo, "outputs/int8/copy.bin", ["MG402"]),
        (_device, "evidence/int8.json", ["MG402"]),
        (_copy, "outputs/int8/other.bin", ["MG405"]),
        (_copy, "outputs/nobody/copy.bin", ["MG405"]),
        (_copy, "outputs/copy.bin", ["MG405"]),
        (_copy, "outputs/int8/sub/copy.bin", ["MG405"]),
        (_copy, "evidence/int8.json.orig", ["MG405"]),
        (_copy, "outputs/int8/.hidden", ["MG405"]),
        (lambda path: _link(path, Path("data")), "outputs/int8", ["MG405"]),
        (lambda path: _link(path, path.parent / "nowhere"), "outputs/int8/dangling", ["MG405"]),
        (lambda path: _link(path, Path("../data/copy.bin")), "outputs/int8/copy.bin", ["MG402"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stored", [True, False])
def test_what_lies_in_the_runs_own_folder_is_verified_too(
    runs: Runs, spoil: Callable[[Path], object], named: str, expected: list[str], stored: bool
) -> None:
    """Those are what people and CI pick up, whatever the store holds."""
    checked = runs.run()
    if not stored:  # as it was downloaded, with a store beside the verdict
        shutil.copytree(runs.folder / FOLDER / "store", checked.folder / "store")
    spoil(checked.folder / named)
    record = Record(checked.folder, runs.store if stored else None)
    found = verify(record, spec=runs.spec())
    if expected and not stored and named == "evidence/int8.json":  # it is the very evidence
        expected = ["MG401", "MG402"] if spoil is _device else ["MG402"]
    if not stored and named == "outputs/int8":  # through the link, it has another's content
        expected = ["MG402", "MG405"]
    assert codes(found) == expected
    assert not expected or not stored or any(named in r.message for r in found.refusals)


def test_a_link_to_the_right_content_is_no_alteration(runs: Runs) -> None:
    checked = runs.run()
    _link(checked.folder / "outputs/int8/copy.bin", _blob(runs, checked, "int8", "output"))
    assert codes(runs.verify(checked)) == []


def test_a_name_that_is_no_text_is_refused(call: Call, runs: Runs) -> None:
    checked = runs.run()
    _copy(checked.folder / "outputs" / os.fsdecode(b"a\xff"))
    for form in ("text", "json", "github"):
        done = call("--format", form)
        assert (done.exit_code, "MG405" in done.output) == (1, True), done.output


def test_without_the_spec_the_record_judges(runs: Runs) -> None:
    checked = runs.run()
    _looser_record(runs, checked)
    assert codes(runs.verify(checked, spec=None)) == ["MG403"]


@pytest.mark.parametrize("how", [{"size": 11}, {"broken": True}])
@pytest.mark.parametrize("at_hand", [True, False])
def test_no_failed_run_approves(runs: Runs, how: dict[str, Any], at_hand: bool) -> None:
    checked = runs.run(**how)
    spec = runs.spec() if at_hand else None
    assert codes(runs.verify(checked, spec=spec)) == ["MG406"]
    _verdict(runs, checked, outcome="pass", exit_code=0)
    assert codes(runs.verify(checked, spec=spec)) == ["MG403"]


@pytest.mark.parametrize("at_hand", [True, False])
def test_a_part_is_not_the_whole(runs: Runs, at_hand: bool) -> None:
    checked = runs.run(only=("data",))
    spec = runs.spec() if at_hand else None
    assert codes(runs.verify(checked, spec=spec)) == ["MG407"]
    document = json.loads((checked.folder / "verdict.json").read_bytes())
    del document["left_out"]
    (checked.folder / "verdict.json").write_bytes(canonical(document))
    assert codes(runs.verify(checked, spec=spec)) == ["MG403"]


@pytest.mark.parametrize("at_hand", [True, False])
def test_the_chain_is_by_digest(runs: Runs, at_hand: bool) -> None:
    """Each stage is green; int8 was measured on what another run's data made."""

    def elsewhere(results: dict[str, Any]) -> None:
        results["int8"] = runs.made("int8", {"file": f"sha256:{'1' * 64}"}, 5)

    checked = runs.run(edit=elsewhere)
    spec = runs.spec() if at_hand else None
    assert codes(runs.verify(checked, spec=spec)) == ["MG404"]
    runs.reads = {"model": f"sha256:{'2' * 64}"}
    assert codes(runs.verify(runs.run(name="two"), spec=spec)) == ["MG404"]


def test_evidence_of_another_kind(runs: Runs) -> None:
    def attested(results: dict[str, Any]) -> None:
        results["other"] = runs.made("other", results["other"].evidence.inputs, 5, "attest")

    assert codes(runs.verify(runs.run(edit=attested))) == ["MG403"]


def test_another_spec_says_so(runs: Runs) -> None:
    checked = runs.run()
    file = runs.folder / "mlgate.yaml"
    file.write_text(SPEC.replace("max: 10", "max: 9", 1))
    assert codes(runs.verify(checked)) == ["MG408"]
    assert codes(runs.verify(checked, spec=None)) == []
    file.write_text(f"# the same, and every gate a line below\n{SPEC}")
    assert codes(runs.verify(checked)) == []
    _looser_record(runs, checked)
    assert codes(runs.verify(checked)) == []
    (checked.folder / "run.json").unlink()
    assert codes(runs.verify(checked)) == ["MG403"]


def test_a_profile_has_to_be_asked_for(runs: Runs) -> None:
    checked = runs.run(profile="quick")
    assert codes(runs.verify(checked)) == ["MG409"]
    assert codes(runs.verify(checked, spec=None)) == ["MG409"]
    assert codes(runs.verify(checked, profile="quick")) == []
    assert codes(runs.verify(runs.run(name="two"), profile="quick")) == ["MG409"]


def test_a_best_effort_is_not_approved(runs: Runs) -> None:
    runs.port = "best_effort"
    spec = runs.spec()
    checked = runs.run(only=("data", "other"))
    refused = verify(
        Record(checked.folder, runs.store), [copy_of(runs, checked, "data")], spec=spec
    )
    assert "MG410" in codes(refused)


def test_what_was_only_read_is_not_approved(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "baseline").write_bytes(b"old")
    (tmp_path / "stranger").write_bytes(b"who?")
    runs.reads = {"baseline": artifact(tmp_path / "baseline").digest}
    checked = runs.run()
    found = runs.verify(checked, str(tmp_path / "baseline"), str(tmp_path / "stranger"))
    only, unknown = (r.message for r in found.refusals if r.code == "MG405")
    assert "only read, as baseline of data" in only
    assert "is not a file of this run" in unknown


def test_a_folder_is_known_by_all_of_its_files(runs: Runs) -> None:
    (runs.folder / "parts").mkdir()
    for name in ("a", "b"):
        (runs.folder / "parts" / name).write_text(name)
    from mlgate.sources import DigestCache
    from mlgate.stage import DataInput

    digest = (
        DigestCache(runs.folder / "none", 0).located(DataInput(path="parts"), runs.folder).digest
    )
    assert digest is not None

    def folder(results: dict[str, Any]) -> None:
        results["other"] = runs.made("other", {"file": digest}, 5)

    checked = runs.run(edit=folder)
    found = runs.verify(checked, str(runs.folder / "parts"))
    assert found.artifacts[0].known_as == ("other.file",)
    (runs.folder / "parts" / "b").write_text("c")
    assert codes(runs.verify(checked, str(runs.folder / "parts"))) == ["MG405"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "verdict.json").unlink(),
        lambda folder: (folder / "verdict.json").write_text("{"),
        lambda folder: (folder / "verdict.json").write_text('{"schema": "mlgate/verdict/v2"}'),
        lambda folder: (folder / "verdict.json").write_bytes(b"[" * 100_000),
        lambda folder: _device(folder / "verdict.json"),
        lambda folder: (folder / "verdict.json").write_text(
            (folder / "verdict.json").read_text().replace('"sha256:', '"sha256:../../')
        ),
        lambda folder: (folder / "run.json").unlink(),
        lambda folder: (folder / "run.json").write_text("[]"),
        lambda folder: (folder / "run.json").write_text(
            (folder / "run.json").read_text().replace('"from":{', '"from":[{').replace("}", "}]", 1)
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_an_error(runs: Runs, spoil: Callable[[Path], object]) -> None:
    checked = runs.run()
    spoil(checked.folder)
    with pytest.raises(StoreError):
        runs.verify(checked, spec=None)


@pytest.mark.parametrize("name", ["../x", "sub/x", "a\0b", ".", "..", "", "a" * 300])
def test_a_stage_leads_nowhere_out_of_the_record(runs: Runs, name: str) -> None:
    checked = runs.run()
    _row(runs, checked, "other", id=name)
    record = Record(checked.folder)
    (checked.folder / "evidence/sub").mkdir()
    if len(name) > 255:
        with pytest.raises(StoreError):
            verify(record, spec=runs.spec())
        return
    if "/" in name:  # where it would lead lies the very evidence
        lured = checked.folder / "evidence" / f"{name}.json"
        shutil.copy(checked.folder / "evidence/other.json", lured)
    assert "MG401" in codes(verify(record, spec=runs.spec()))


@pytest.fixture
def byte_by_byte(tmp_path_factory: pytest.TempPathFactory) -> tuple[Runs, Checked]:
    runs = Runs(tmp_path_factory.mktemp("flip") / "p")
    return runs, runs.run()


@settings(
    max_examples=300, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(data=st.data())
def test_no_flipped_byte_is_overlooked(byte_by_byte: tuple[Runs, Checked], data: Any) -> None:
    runs, checked = byte_by_byte
    artifact_file = copy_of(runs, checked)
    spec_before = runs.spec().digest
    kind = data.draw(st.sampled_from(["verdict", "evidence", "output", "spec", "artifact"]))
    stage = data.draw(st.sampled_from(["data", "other", "int8"]))
    path = {
        "verdict": checked.folder / "verdict.json",
        "evidence": _blob(runs, checked, stage),
        "output": _blob(runs, checked, stage, "output"),
        "spec": runs.folder / "mlgate.yaml",
        "artifact": runs.folder / "candidate.bin",
    }[kind]
    shutil.copyfile(artifact_file, runs.folder / "candidate.bin")
    before = path.read_bytes()
    at = data.draw(st.integers(0, len(before) - 1))
    flipped = bytes([before[at] ^ data.draw(st.integers(1, 255))])
    path.chmod(0o644)
    path.write_bytes(before[:at] + flipped + before[at + 1 :])
    try:
        code = runs.verify(checked, str(runs.folder / "candidate.bin")).exit_code
        same_spec = kind == "spec" and runs.spec().digest == spec_before
    except MlgateError as error:
        code, same_spec = error.exit_code, False
    path.write_bytes(before)
    assert code in (1, 2, 3) or same_spec
    assert codes(runs.verify(checked, str(runs.folder / "candidate.bin"))) == []


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


def _places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place within a JSON value."""
    found = [path]
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            found += _places(item, (*path, key))
    return found


def _with(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed: Any = dict(value) if isinstance(value, dict) else list(value)
    changed[path[0]] = _with(value[path[0]], path[1:], new)
    return changed


@settings(
    max_examples=300, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(data=st.data(), at_hand=st.booleans())
def test_any_other_json_is_refused_or_an_error(
    byte_by_byte: tuple[Runs, Checked], data: Any, at_hand: bool
) -> None:
    """Whatever stands at any place of the record: an answer or an error of ours, never a pass."""
    runs, checked = byte_by_byte
    path = checked.folder / data.draw(st.sampled_from(["verdict.json", "run.json"]))
    before = path.read_bytes()
    document = json.loads(before)
    place = data.draw(st.sampled_from(_places(document)))
    changed = _with(document, place, data.draw(_JSON))
    try:
        path.write_bytes(canonical(changed))
    except ValueError:  # NaN, or a number that JSON has no room for
        path.write_text(json.dumps(changed))
    try:
        found = runs.verify(checked, spec=runs.spec() if at_hand else None)
        passed, same = found.verified, path.name == "run.json"
    except MlgateError:
        passed = same = False
    finally:
        path.write_bytes(before)
    assert not passed or same or changed == document  # times and hosts of run.json prove nothing


@pytest.fixture
def call(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.chdir(runs.folder)

    def invoke(*words: str) -> Result:
        done = CliRunner().invoke(cli, ["verify", *words])
        if isinstance(done.exception, MlgateError):
            done.exit_code = done.exception.exit_code
        return done

    return invoke


def test_exit_codes_and_words(call: Call, runs: Runs) -> None:
    assert call().exit_code == 2  # nothing has been checked here
    runs.run()
    done = call()
    assert done.exit_code == 0
    assert "the record alone, no file" in done.output
    assert "who made them is not proven: give --policy or --key" in done.output
    done = call("a.bin", "mlgate.yaml")
    assert done.exit_code == 1
    assert "a.bin: data.file, other.file" in done.output
    assert "refused[MG405]: mlgate.yaml" in done.output
    assert "REFUSED  digits (2 files)" in done.output
    wrong: tuple[tuple[str, ...], ...] = (
        ("--run", "nope"), ("--run", "../one"), ("--run", "one", "--verdict", "x/verdict.json"),
        ("--store", "."), ("--verdict", "other.json"), ("--spec", "nope.yaml"),
        ("--verdict", ".mlgate/latest", "--set", "a=b"), ("--params", "[]"),
    )  # fmt: skip
    for words in wrong:
        assert call(*words).exit_code == 2, words
    for words in (("nope",), ("--verdict", "nowhere/verdict.json"), ("/dev/zero",)):
        assert call(*words).exit_code == 3, words


def test_a_verdict_from_elsewhere(call: Call, runs: Runs) -> None:
    folder = runs.run().folder
    for words in (
        ("--verdict", str(folder)),
        ("--verdict", str(folder / "verdict.json")),
        ("--verdict", str(folder), "--store", FOLDER),
        ("--verdict", str(folder), "--spec", "mlgate.yaml"),
    ):
        assert call("a.bin", *words).exit_code == 0, words
    assert call("--verdict", str(folder), "--store", str(folder)).exit_code == 1


def test_json_is_one_document(call: Call, runs: Runs) -> None:
    runs.run()
    document = json.loads(call("--format", "json", "a.bin", "mlgate.yaml").output)
    assert document["schema"] == "mlgate/verification/v1"
    assert (document["verified"], document["exit_code"], document["signed"]) == (False, 1, False)
    assert document["artifacts"][0]["known_as"] == ["data.file", "other.file"]
    assert [row["code"] for row in document["refusals"]] == ["MG405"]
    assert json.loads(call("--format", "json", "nope").output)["schema"] == "mlgate/error/v1"


@pytest.mark.parametrize("given", ["", "\n \n"])
def test_a_job_that_names_no_file_is_wrong(
    call: Call, runs: Runs, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    runs.run()
    monkeypatch.setenv("MLGATE_ARTIFACTS", given)
    assert call().exit_code == 2
    monkeypatch.setenv("MLGATE_ARTIFACTS", "a.bin\nmlgate.yaml\n")
    assert call().exit_code == 1
    monkeypatch.setenv("MLGATE_ARTIFACTS", "a.bin\n")
    assert call().exit_code == 0


@pytest.mark.parametrize("text", [t for t in HOSTILE if "\n" not in t and len(t) < 200])
def test_hostile_names_are_only_names(call: Call, runs: Runs, text: str) -> None:
    runs.run()
    path = runs.folder / text.replace("/", "_")
    path.write_bytes(b"hello")
    done = call("--format", "github", "--", path.name)
    assert done.exit_code == 0, done.output
    path.write_bytes(b"other")
    done = call("--format", "github", "--", path.name)
    assert done.exit_code == 1
    assert "\x1b" not in done.output
    commands = [line for line in done.output.splitlines() if line.startswith("::")]
    assert commands[2].startswith("::error title=mlgate verify MG405::")
    assert len(commands) == 3
    assert call("--", text + "-gone").exit_code == 3
    assert not (runs.folder / "pwned").exists()


def test_a_profile_that_was_hidden(runs: Runs) -> None:
    checked = runs.run(profile="quick")
    terms = replace(checked.report.terms, profile=None)
    report = replace(checked.report, terms=terms)
    (checked.folder / "verdict.json").write_bytes(report.verdict())
    assert codes(runs.verify(checked)) == ["MG403", "MG408"]
