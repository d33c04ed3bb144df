"""Results that travel: what arrives is judged anew, what does not is an error."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlgate.ci.exchange import JobResults, join, refuse_stale, run_stage
from mlgate.evidence import Evidence, artifact, measured, unmeasured
from mlgate.gate import Outcome
from mlgate.run.plan import Node, Plan, resolve
from mlgate.run.report import Errored, Ran, Skipped
from mlgate.run.store import Store
from mlgate.spec.lint import load
from mlgate.spec.spec import Spec, written_digest
from tests.fakes.fixtures import SMALL, fakes, project

__all__ = ["fakes", "project"]

NOW = datetime(2026, 1, 2, tzinfo=UTC)
STAGES = ("data", "other", "int8")


class Ci:
    """One CI run of the small spec: a folder of results, filled by hand."""

    def __init__(self, folder: Path, run: str = "1") -> None:
        (folder / "mlgate.yaml").write_text(SMALL.replace("ran: RAN, ", ""))
        self.folder = folder
        self.spec: Spec = load(folder / "mlgate.yaml")
        self.plan: Plan = resolve(self.spec, include_deploys=True)
        self.relay = JobResults(folder / "ci", self.spec, run)
        self.store = Store(folder / "machine")

    def node(self, stage: str) -> Node:
        return self.plan.node(stage)

    def ran(self, stage: str, size: int = 5, reads: dict[str, str] | None = None) -> Ran:
        """A stage that measured `size` and made a file."""
        made = self.folder / f"{stage}-copy"
        made.write_bytes(stage.encode())
        output = artifact(made)
        self.store.adopt(made, output)
        evidence = Evidence(
            uses="weigh",
            inputs=reads or {},
            measurements=(measured("bytes", size, unit="B"),),
            outputs={"copy": output},
        )
        result = Ran(evidence, self.store.put(evidence.canonical()), (), (), cached=False)
        self.relay.write(self.node(stage), f"sha256:{'a' * 64}", result, self.store)
        return result

    def everything(self) -> None:
        made = self.ran("data").evidence.outputs["copy"].digest
        self.ran("other")
        self.ran("int8", reads={"file": made})

    def joined(self, **how: str) -> dict[str, Outcome]:
        relay = JobResults(self.relay.folder, self.spec, how.get("run", "1"))
        checked = join(self.spec, STAGES, results=relay, now=NOW)
        return {stage: result.outcome for stage, result in checked.report.results.items()}


@pytest.fixture
def ci(project: Path) -> Ci:
    return Ci(project)


def test_all_that_arrived_is_judged_by_the_spec_at_hand(ci: Ci) -> None:
    ci.everything()
    assert set(ci.joined().values()) == {Outcome.PASS}
    ci.ran("other", size=11)  # its gate only warns
    assert ci.joined()["other"] is Outcome.WARN
    ci.ran("data", size=11)
    assert ci.joined()["data"] is Outcome.FAIL


def test_a_stage_behind_a_failed_one_need_not_arrive(ci: Ci) -> None:
    ci.ran("data", size=11)
    ci.ran("other")
    checked = join(ci.spec, STAGES, results=ci.relay, now=NOW)
    assert checked.report.results["int8"] == Skipped("data did not pass", Outcome.FAIL)


def test_a_result_behind_a_failed_stage_does_not_count(ci: Ci) -> None:
    ci.everything()
    made = ci.ran("data", size=11).evidence.outputs["copy"].digest
    ci.ran("int8", reads={"file": made})
    assert ci.joined() == {"data": Outcome.FAIL, "other": Outcome.PASS, "int8": Outcome.FAIL}
    checked = join(ci.spec, STAGES, results=ci.relay, now=NOW)
    assert isinstance(checked.report.results["int8"], Skipped)


def _result(ci: Ci, stage: str) -> Path:
    return ci.relay.folder / "results" / f"{stage}.json"


def _edit(key: str, value: object) -> Callable[[Ci], None]:
    def edit(ci: Ci) -> None:
        row = json.loads(_result(ci, "other").read_bytes())
        _result(ci, "other").write_text(json.dumps({**row, key: value}))

    return edit


def _blob(change: Callable[[Path], object]) -> Callable[[Ci], None]:
    def edit(ci: Ci) -> None:
        row = json.loads(_result(ci, "other").read_bytes())
        blob = Store(ci.relay.folder).path(row["evidence"])
        blob.chmod(0o644)
        change(blob)

    return edit


def _other_upstream(ci: Ci) -> None:
    """`other` is green, `int8` was measured on what an earlier `data` made."""
    ci.ran("int8", reads={"file": f"sha256:{'0' * 64}"})


def _foreign_evidence(ci: Ci) -> None:
    evidence = Evidence(uses="attest", inputs={}, measurements=(measured("bytes", 1, unit="B"),))
    _edit("evidence", Store(ci.relay.folder).put(evidence.canonical()))(ci)


def _lost_file(ci: Ci) -> None:
    for blob in (Store(ci.relay.folder).root / "store/sha256").glob("*"):
        if blob.read_bytes() == b"other":
            blob.unlink()


def _altered_file(ci: Ci) -> None:
    for blob in (Store(ci.relay.folder).root / "store/sha256").glob("*"):
        if blob.read_bytes() == b"other":
            blob.chmod(0o644)
            blob.write_bytes(b"mother"[1:].upper())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda ci: _result(ci, "other").unlink(),
        lambda ci: _result(ci, "other").write_text("{"),
        lambda ci: _result(ci, "other").write_text("[]"),
        _edit("schema", "mlgate/result/v0"),
        _edit("run", "0"),
        _edit("spec", f"sha256:{'0' * 64}"),
        _edit("stage", "data"),
        _edit("uses", "attest"),
        _edit("evidence", f"sha256:{'0' * 64}"),
        _edit("evidence", "../../../etc/passwd"),
        _edit("evidence", None),
        _blob(Path.unlink),
        _blob(lambda blob: blob.write_text(blob.read_text().replace("5", "1"))),
        _foreign_evidence,
        _lost_file,
        _altered_file,
        _other_upstream,
    ],
)
def test_what_is_not_whole_is_an_error_never_a_pass(ci: Ci, spoil: Callable[[Ci], None]) -> None:
    ci.everything()
    spoil(ci)
    outcomes = ci.joined()
    assert list(outcomes) == list(STAGES)
    assert sorted(outcomes.values()) == [Outcome.PASS, Outcome.PASS, Outcome.ERROR]


def test_a_stage_whose_upstream_left_nothing_says_what_to_run_first(ci: Ci) -> None:
    result = run_stage(ci.spec, "int8", upstream=ci.relay, own=ci.relay, now=lambda: NOW)
    assert result == Skipped("there is no result of data here: mlgate run data", Outcome.ERROR)


def test_results_of_another_run_did_not_arrive(ci: Ci) -> None:
    ci.everything()
    assert set(ci.joined(run="2").values()) == {Outcome.ERROR}


def test_why_a_stage_broke_travels(ci: Ci) -> None:
    ci.everything()
    ci.relay.write(ci.node("other"), None, Errored("no memory", "give it more"), ci.store)
    checked = join(ci.spec, STAGES, results=ci.relay, now=NOW)
    assert checked.report.results["other"] == Errored("no memory", "give it more")


def test_the_bytes_of_the_verdict_are_equal(ci: Ci) -> None:
    ci.everything()
    verdicts = {
        (join(ci.spec, STAGES, results=ci.relay, now=NOW).folder / "verdict.json").read_bytes()
        for _ in range(100)
    }
    assert len(verdicts) == 1


def test_only_what_was_measured_is_kept_for_later(ci: Ci, tmp_path: Path) -> None:
    ci.everything()
    kept = JobResults(tmp_path / "kept", ci.spec)
    ci.relay.write(ci.node("other"), f"sha256:{'b' * 64}", Errored("no"), ci.store)
    join(ci.spec, STAGES, results=ci.relay, cache=kept, now=NOW)
    assert sorted(f.name for f in (tmp_path / "kept/results").iterdir()) == [
        "data.json",
        "int8.json",
    ]
    key = f"sha256:{'a' * 64}"
    again = kept.cached(ci.node("data"), key, Store(tmp_path / "later"))
    assert again is not None
    assert again.cached
    assert kept.cached(ci.node("data"), f"sha256:{'c' * 64}", ci.store) is None


def test_what_could_not_be_measured_is_not_kept(ci: Ci, tmp_path: Path) -> None:
    evidence = Evidence(uses="weigh", inputs={}, measurements=(unmeasured("bytes", "it floats"),))
    result = Ran(evidence, ci.store.put(evidence.canonical()), (), (), cached=False)
    ci.relay.write(ci.node("data"), f"sha256:{'a' * 64}", result, ci.store)
    join(ci.spec, STAGES, results=ci.relay, cache=JobResults(tmp_path / "kept", ci.spec), now=NOW)
    assert not (tmp_path / "kept").exists()


def test_the_written_digest_is_of_the_file_alone(project: Path) -> None:
    file = project / "mlgate.yaml"
    spec = SMALL.replace("ran: RAN, ", "").replace(
        "digits\n", "digits\nparams: {limit: {type: integer, default: 10}}\n", 1
    )
    file.write_text(spec.replace("max: 10", 'max: "${params.limit}"'))
    plain, given = load(file), load(file, params={"limit": "4"})
    assert plain.digest != given.digest
    assert written_digest(file, plain) == written_digest(file, given)
    refuse_stale(file, given, written_digest(file, plain))
    before = written_digest(file, plain)
    file.write_text(file.read_text().replace("default: 10", "default: 11"))
    assert written_digest(file, load(file)) != before
