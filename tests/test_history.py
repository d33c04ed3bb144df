"""The history of a metric: which runs make a trend, and what the gate on it says."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mlgate.check import keep
from mlgate.cli import main
from mlgate.evidence import Bounds, Comparison, Evidence, Measurement, canonical, digest_of
from mlgate.files import FOLDER
from mlgate.gate import judge_all
from mlgate.run.plan import resolve
from mlgate.run.record import run_name
from mlgate.run.report import Errored, Ran
from mlgate.run.store import Store
from mlgate.spec.lint import load
from tests.projects import NOW, stages, tree

METRIC = "latency_ms.p50"
BLOCK = {
    "uses": "benchmark",
    "model": "m.onnx",
    "anchor": "a.onnx",
    "gates": [{"metric": METRIC, "max": "1s"}],
}


@dataclass
class Project:
    """A project whose runs were measured on stated days: no model is run for it."""

    folder: Path
    call: Callable[..., tuple[int, str, str]]
    runs: list[Path] = field(default_factory=list)

    def ran(
        self,
        day: float,
        ratio: float | None,
        *,
        anchor: str = "a",
        hardware: str | None = None,
        cached: bool = False,
        ms: float = 2.0,
        file: str = "mlgate.yaml",
        batches: int = 1,
    ) -> None:
        """A run on a day, whose p50 was `ms` and `ratio` times the anchor's."""
        labels = {"scenario": "single", "batch": "1"}
        made = Evidence(
            uses="benchmark",
            inputs={"anchor": digest_of(anchor.encode())},
            measurements=tuple(
                Measurement(
                    name=METRIC, value=ms, labels={**labels, "batch": str(batch + 1)}, unit="ms"
                )
                for batch in range(batches)
            ),
            comparisons=(
                Comparison(
                    name=METRIC,
                    to="anchor",
                    labels=labels,
                    value=None if ratio is None else 2.0 * ratio,
                    reference=None if ratio is None else 2.0,
                    reason="too noisy" if ratio is None else None,
                    unit="ms",
                    ratio=()
                    if ratio is None
                    else (Bounds(confidence=0.95, low=ratio - 0.01, high=ratio + 0.01),),
                ),
            ),
            details={} if cached else {"measured": len(self.runs)},
        )
        spec = load(self.folder / file)
        judged = judge_all(spec.stages["latency"].gates, made, confidence=0.95)
        digest = Store(self.folder / FOLDER).put(made.canonical())
        at = NOW + timedelta(days=day)
        checked = keep(
            resolve(spec),
            {"latency": Ran(made, digest, judged, (1,), cached)},
            run=run_name(at),
            started=at,
            ended=at,
        )
        self.runs.append(checked.folder)
        if hardware is not None:
            record = json.loads((checked.folder / "run.json").read_bytes())
            record["hardware"] = {"processor": hardware}
            (checked.folder / "run.json").write_bytes(canonical(record))

    def broke(self, day: float) -> None:
        """A run on a day whose stage could not measure."""
        spec = load(self.folder / "mlgate.yaml")
        at = NOW + timedelta(days=day)
        keep(
            resolve(spec),
            {"latency": Errored("no")},
            run=run_name(at),
            started=at,
            ended=at,
        )

    def grown(self, weekly: float, days: Iterable[float] = range(0, 20, 2)) -> "Project":
        """Runs whose ratio grows by so much a week, with a little noise."""
        for i, day in enumerate(days):
            self.ran(day, (1 + weekly) ** (day / 7) * math.exp(0.002 * (i % 3 - 1)))
        return self

    def gate(self, *more: str) -> tuple[int, str]:
        code, out, err = self.call(
            "history", METRIC, "--compared-to", "anchor", "--max-growth", "10%/week", *more
        )
        return code, out + err

    def document(self, *more: str) -> Any:
        return json.loads(self.call("history", METRIC, *more, "--format", "json")[1])


@pytest.fixture
def project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Project:
    tree(tmp_path, {"mlgate.yaml": stages(latency=BLOCK), "m.onnx": "m", "a.onnx": "a"})

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["mlgate", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return Project(tmp_path, call)


@pytest.mark.parametrize(
    ("weekly", "code", "word"), [(0.0, 0, "✓ pass"), (0.3, 1, "✗ fail"), (0.1, 4, "? inconclusive")]
)
def test_a_trend_is_a_gate(project: Project, weekly: float, code: int, word: str) -> None:
    found, told = project.grown(weekly).gate()
    assert found == code, told
    assert word in told
    assert "latency: latency_ms.p50{batch=1, scenario=single} vs anchor grows" in told
    assert "(10 runs over 18 days)" in told


def test_without_the_gate_a_history_is_shown_and_exits_with_0(project: Project) -> None:
    code, told, _ = project.grown(0.3).call("history", METRIC, "--compared-to", "anchor")
    assert code == 0
    assert "▁▂▂▃▄▄▅▆▇█" in told
    assert "grows 30" in told


def test_a_short_history_is_inconclusive(project: Project) -> None:
    code, told = project.grown(0.0, range(7)).gate()
    assert (code, "at least 8 runs over a day are needed" in told) == (4, True)
    project.ran(7, 1.0)
    assert project.gate()[0] == 0


def test_many_runs_of_one_day_are_inconclusive(project: Project) -> None:
    code, told = project.grown(0.0, [i / 24 for i in range(20)]).gate()
    assert (code, "at least 8 runs over a day are needed" in told) == (4, True)


def test_a_window_counts_from_the_last_run(project: Project) -> None:
    project.grown(0.3, range(10))
    for day in range(20, 30):
        project.ran(day, 2.0)
    assert project.gate("--window", "9.5d")[0] == 0
    assert project.gate()[0] != 0


def test_cached_results_and_other_anchors_are_no_points(project: Project) -> None:
    for day in range(9):
        project.ran(day, 9.0 if day % 2 else 1.0, anchor="old")
    for day in range(10, 14):
        project.ran(day, 1.0)
    for day in range(14, 24):
        project.ran(day, 1.0, cached=True)
    found = project.document("--compared-to", "anchor")
    marks = [row["left_out"] for row in found["rows"]]
    # The first cached row is of evidence that no run before it had: it counts.
    assert marks == ["another anchor"] * 9 + [None] * 5 + ["cached"] * 9
    assert found["trends"][0]["runs"] == 5
    assert project.gate()[0] == 4


def test_plain_times_are_compared_on_one_kind_of_hardware_only(project: Project) -> None:
    for day in range(10):
        project.ran(day, 1.0, ms=50.0, hardware="slow")
    for day in range(10, 20):
        project.ran(day, 1.0, ms=2.0 + 0.001 * (day % 2), hardware="fast")
    found = project.document()
    assert [row["left_out"] for row in found["rows"]] == ["other hardware"] * 10 + [None] * 10
    assert abs(found["trends"][0]["growth_per_week"]) < 0.01
    assert {row["left_out"] for row in project.document("--compared-to", "anchor")["rows"]} == {
        None
    }


def test_a_run_that_did_not_measure_it_is_an_error_and_no_pass_on_older_runs(
    project: Project,
) -> None:
    project.grown(0.0)
    project.ran(21, None)
    code, told = project.gate()
    assert code == 3
    assert "could not be measured in the last run: too noisy" in told
    project.broke(22)
    code, told = project.gate()
    assert code == 3
    assert "was not measured in the last run" in told


def test_an_unreadable_last_run_is_an_error_and_an_older_one_is_named(project: Project) -> None:
    project.grown(0.0)
    (project.runs[2] / "run.json").write_text("{}")
    code, told = project.gate()
    assert code == 0
    assert f"not readable: {project.runs[2].name}" in told
    assert "(9 runs over 18 days)" in told
    (project.runs[-1] / "run.json").write_text("{}")
    code, told = project.gate()
    assert code == 3
    assert "is unreadable" in told


def test_a_gate_on_what_was_never_measured_is_an_error(project: Project) -> None:
    project.grown(0.0, range(2))
    code, _, err = project.call("history", "nope", "--max-growth", "10%")
    assert (code, "no stored run measured nope" in err) == (3, True)
    code, _, err = project.call("history", METRIC, "--compared-to", "source", "--max-growth", "10%")
    assert (code, "measured latency_ms.p50 against source" in err) == (3, True)
    assert project.call("history", "nope")[0] == 2


def test_values_without_a_growth_are_an_error(project: Project) -> None:
    for day in range(10):
        project.ran(day, 1.0, ms=0.0)
    code, out, _ = project.call("history", METRIC, "--max-growth", "10%")
    assert code == 3
    assert "has no growth: a growth is of finite numbers above 0" in out
    assert "reason" in project.document()["trends"][0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--max-growth", "soon"), "write --max-growth 10%/week"),
        (("--max-growth", "10ms/week"), "write --max-growth 10%/week"),
        (("--max-growth", "10%/day"), "write --max-growth 10%/week"),
        (("--window", "a while"), "is not a duration"),
        (("--compared-to", "yesterday"), "is not one of"),
    ],
)
def test_wrong_usage_is_exit_2(project: Project, arguments: tuple[str, ...], says: str) -> None:
    code, _, err = project.call("history", METRIC, *arguments)
    assert (code, says in err) == (2, True)


def test_formats_agree(project: Project) -> None:
    project.grown(0.3)
    arguments = ("history", METRIC, "--compared-to", "anchor", "--max-growth", "10%")
    code, out, _ = project.call(*arguments, "--format", "json")
    document = json.loads(out)
    assert code == 1
    assert document["schema"] == "mlgate/history/v1"
    assert document["outcome"] == document["gates"][0]["outcome"] == "fail"
    assert document["gates"][0]["low"] > 0.1
    code, out, err = project.call(*arguments, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 1
    assert "✗ fail" in err
    assert [float(row["value"]) for row in rows] == [row["value"] for row in document["rows"]]
    assert rows[0]["labels"] == "batch=1,scenario=single"


def test_a_trend_is_of_one_specs_runs_and_the_others_are_counted(project: Project) -> None:
    tree(project.folder, {"other.yaml": stages(latency=BLOCK)})
    project.grown(0.0)
    for day in range(20, 24):
        project.ran(day, 9.0, file="other.yaml")
    code, told = project.gate()
    assert code == 0, told
    assert "left out: 4 runs of other specs than mlgate.yaml" in told
    document = project.document("--spec", "other.yaml")
    assert (document["file"], document["runs_of_other_specs"]) == ("other.yaml", 10)
    assert len(document["rows"]) == 4
    assert len(project.document("--spec", ".")["rows"]) == 10
    code, _, err = project.call("history", "nope")
    assert (code, "no stored run of mlgate.yaml measured nope" in err) == (2, True)
    assert "--spec FILE selects one" in err


def test_a_folder_without_the_usual_spec_shows_the_last_ones(project: Project) -> None:
    for name in ("one.yaml", "two.yaml"):
        tree(project.folder, {name: stages(latency=BLOCK)})
        project.ran(float(len(project.runs)), 1.0, file=name)
    code, out, err = project.call("history", METRIC)
    assert (code, out.count("latency_ms"), out.count(project.runs[1].name)) == (0, 0, 1)
    assert "spec: two.yaml" in err
    assert "left out: 1 run of other specs than two.yaml" in err


def test_many_label_sets_are_a_line_each(project: Project) -> None:
    for day in range(3):
        project.ran(day, 1.0, batches=13)
    lines = project.call("history", METRIC)[1].splitlines()
    assert len(lines) == 14
    assert lines[0].startswith("latency: latency_ms.p50{batch=1, scenario=single}  2  ▄▄▄  grows")
    assert lines[-1] == "13 label sets, a line each: --where LABEL=VALUE shows their runs"
    assert len(project.document()["rows"]) == 39
    assert project.call("history", METRIC, "--format", "csv")[1].count("\n") == 40
    assert project.runs[0].name in project.call("history", METRIC, "--where", "batch=2")[1]
