"""What only the whole spec can tell: MG2xx, each with its place and hint, and all at once."""

import json
from pathlib import Path

import pytest

from mlgate.error_codes import CODES
from mlgate.errors import SpecError
from mlgate.spec.lint import load, upstream
from mlgate.stage import Metric
from tests import probes
from tests.projects import probe, stages, tree

pytestmark = pytest.mark.usefixtures("fake_stages")

HEAD = "version: 1\nname: t\nstages:\n"
GATES = "gates: [{metric: probe, max: 1}]"
A = f"  a: {{uses: probe, {GATES}}}\n"
DATA = "  d: {uses: validate, dataset: d.csv, "


def problems(folder: Path, text: str) -> list[tuple[str, str, str, str | None]]:
    tree(folder, {"mlgate.yaml": text})
    with pytest.raises(SpecError) as caught:
        load(folder / "mlgate.yaml")
    assert caught.value.exit_code == 2
    return [
        (p.code, f"{p.position.line}:{p.position.column}", p.message, p.hint)
        for p in caught.value.problems
    ]


@pytest.mark.parametrize(
    ("text", "code", "place", "message", "hint"),
    [
        (
            A + f"  b: {{uses: probe, needs: [a, c], {GATES}}}\n",
            "MG201",
            "5:31",
            "there is no stage 'c' to need",
            None,
        ),
        (
            A.replace("a:", "alpha:") + f"  b: {{uses: probe, needs: [alhpa], {GATES}}}\n",
            "MG201",
            "5:28",
            "there is no stage 'alhpa' to need",
            "did you mean 'alpha'?",
        ),
        (
            A + f"  b: {{uses: probe, model: {{from: c.model}}, {GATES}}}\n",
            "MG201",
            "5:34",
            "there is no stage 'c' to read from",
            None,
        ),
        (
            A + f"  b: {{uses: probe, model: {{from: a.modell}}, {GATES}}}\n",
            "MG202",
            "5:34",
            "a does not make 'modell'",
            "it makes: model",
        ),
        (
            DATA + "gates: [{metric: rows, min: 1}]}\n"
            f"  b: {{uses: probe, model: {{from: d.profile}}, {GATES}}}\n",
            "MG202",
            "5:34",
            "d.profile is a profile, and a model is wanted here",
            None,
        ),
        (
            A.replace("uses: probe,", "uses: probe, needs: [b],")
            + f"  b: {{uses: probe, model: {{from: a.model}}, {GATES}}}\n",
            "MG203",
            "4:3",
            "stages wait for each other: a → b → a",
            None,
        ),
        (
            f"  a: {{uses: probe, needs: [a], {GATES}}}\n",
            "MG203",
            "4:3",
            "stages wait for each other: a → a",
            None,
        ),
        (
            A.replace("metric: probe", "metric: prob"),
            "MG204",
            "4:37",
            "probe does not measure 'prob'",
            "did you mean 'probe'?",
        ),
        (
            A.replace("metric: probe", "metric: zzz"),
            "MG204",
            "4:37",
            "probe does not measure 'zzz'",
            "it measures: probe",
        ),
        (
            DATA + "reference: r.csv, gates: [{metric: drift.psi, where: {colunm: x}, max: 1}]}\n",
            "MG205",
            "4:93",
            "drift.psi has no label 'colunm'",
            "did you mean 'column'?",
        ),
        (
            A.replace("max: 1", "max: 1, where: {x: 1}"),
            "MG205",
            "4:60",
            "probe has no label 'x'",
            "labels: none",
        ),
        (
            A.replace("max: 1", "compared_to: baseline, max_drop: 1"),
            "MG206",
            "4:57",
            "probe is not compared to a baseline",
            "it can be compared to: source",
        ),
        (
            DATA + "gates: [{metric: rows, compared_to: source, max_drop: 1}]}\n",
            "MG206",
            "4:75",
            "rows is not compared to a source",
            "state min, max or equals instead",
        ),
        ("  a: {uses: probe}\n", "MG207", "4:3", "a has no gates, so nothing", "add gates: ["),
        ("  a: {uses: probe, gates: []}\n", "MG207", "4:3", "a has no gates", "add gates: ["),
        (
            DATA + "gates: [{metric: drift.psi, max: 1}]}\n",
            "MG208",
            "4:56",
            "drift.psi is measured only with reference",
            "add reference: to this stage",
        ),
        (
            A.replace("max: 1", "max: 20ms"),
            "MG210",
            "4:49",
            "probe: 20ms is a time, the metric is a share (in 1)",
            None,
        ),
        (
            A.replace("max: 1", "compared_to: source, max_drop: 1MB"),
            "MG210",
            "4:75",
            "1MB is a bytes",
            None,
        ),
    ],
)
def test_each_problem_has_its_place_and_hint(
    tmp_path: Path, text: str, code: str, place: str, message: str, hint: str | None
) -> None:
    [(found, at, said, advice)] = problems(tmp_path, HEAD + text)
    assert (found, at) == (code, place)
    assert message in said
    assert advice == hint or (hint is not None and hint in (advice or ""))
    assert found in CODES


def test_all_problems_of_both_kinds_come_at_once(tmp_path: Path) -> None:
    text = (
        f"{HEAD}  a: {{uses: probe, needs: [z], retries: 1, gates: [{{metric: no, max: 1}}]}}\n"
        "  b: {uses: probe, vlue: 1}\n"
        "  c: {uses: probe, needs: [b]}\n"
    )
    found = [(code, place) for code, place, _, _ in problems(tmp_path, text)]
    assert found == [("MG201", "4:28"), ("MG204", "4:61"), ("MG104", "5:20"), ("MG207", "6:3")]


def test_a_stage_whose_block_is_wrong_is_not_called_missing(tmp_path: Path) -> None:
    text = f"{HEAD}  a: {{uses: prob, {GATES}}}\n  b: {{uses: probe, needs: [a], {GATES}}}\n"
    assert [code for code, *_ in problems(tmp_path, text)] == ["MG107"]


def test_own_keys_are_no_stages_to_need(tmp_path: Path) -> None:
    text = f"{HEAD}  x-a: 1\n  b: {{uses: probe, needs: [x-a], {GATES}}}\n"
    assert [code for code, *_ in problems(tmp_path, text)] == ["MG201"]


def test_a_problem_after_extends_stands_in_the_base(tmp_path: Path) -> None:
    tree(
        tmp_path, {"base.yaml": HEAD + "  a: {uses: probe}\n", "mlgate.yaml": "extends: base.yaml"}
    )
    with pytest.raises(SpecError) as caught:
        load(tmp_path / "mlgate.yaml")
    assert [str(p.position) for p in caught.value.problems] == ["base.yaml:4:3"]


def test_metrics_with_a_star_stand_for_all_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses

    from mlgate.stages import STAGES

    many = dataclasses.replace(probes.PROBE, metrics=(Metric("task.*", "any", labels=("*",)),))
    monkeypatch.setitem(STAGES, "probe", many)
    gates = [{"metric": "task.f1", "where": {"anything": 1}, "min": 0}]
    load(tree(tmp_path, {"mlgate.yaml": stages(a=probe(gates=gates))}) / "mlgate.yaml")
    text = stages(a=probe(gates=[{"metric": "tusk.f1", "min": 0}]))
    assert [code for code, *_ in problems(tmp_path, text)] == ["MG204"]


def test_upstream_is_in_order_and_without_doubles(tmp_path: Path) -> None:
    blocks = {n: probe(makes="x") for n in ("b", "a")}
    last = {**probe(needs=["a", "b", "a"]), "model": {"from": "b.model"}}
    spec = load(tree(tmp_path, {"mlgate.yaml": stages(**blocks, c=last)}) / "mlgate.yaml")
    assert upstream(spec.stages["c"]) == ("b", "a")


def test_every_code_that_the_source_names_is_explained_and_the_other_way_round() -> None:
    import re

    import mlgate

    source = Path(mlgate.__file__).parent
    named = set()
    for file in source.rglob("*.py"):
        if file.name != "codes.py":
            named |= set(re.findall(r'"(MG\d{3})"', file.read_text(encoding="utf-8")))
    assert named == set(CODES)


@pytest.mark.parametrize(
    ("gate", "says", "advice"),
    [
        ({"metric": "leakage.score", "max": 95}, "max: 95 it can never fail", "did you mean 95%?"),
        ({"metric": "leakage.score", "max": 1}, "can never fail", "did you mean 1%?"),
        ({"metric": "leakage.score", "min": 2}, "can never pass", "did you mean 2%?"),
        ({"metric": "leakage.score", "max": "100%"}, "can never fail", None),
        ({"metric": "leakage.score", "max": 0.95}, None, None),
        ({"metric": "leakage.score", "min": 1}, None, None),
    ],
)
def test_a_limit_beyond_the_largest_value_decides_nothing(
    tmp_path: Path, gate: dict[str, object], says: str | None, advice: str | None
) -> None:
    block = {"uses": "validate", "dataset": "d.csv", "leakage": {"label": "y"}, "gates": [gate]}
    text = json.dumps({"version": 1, "name": "t", "stages": {"data": block}})
    if says is None:
        load(tree(tmp_path, {"mlgate.yaml": text}) / "mlgate.yaml")
    else:
        [(code, _, said, hint)] = problems(tmp_path, text)
        assert code == "MG211"
        assert says in said
        assert hint == advice


@pytest.mark.parametrize(
    ("gate", "code", "advice"),
    [
        ({"metric": "accuracy", "max_increase": 0.01}, "MG212", "did you mean max_drop?"),
        ({"metric": "accuracy", "max_drop": 0.01}, None, None),
        ({"metric": "accuracy", "max_drop": 0.01, "max_increase": 0.1}, None, None),
        ({"metric": "size_bytes", "max_drop": "5%"}, "MG212", "did you mean max_increase?"),
        ({"metric": "fpr", "max_increase": 0.01}, None, None),
        ({"metric": "accuracy", "max_drop": "100%"}, "MG211", None),
        ({"metric": "custom.mine", "max_increase": 1}, None, None),  # nobody knows its direction
    ],
)
def test_a_comparison_has_to_limit_the_loss(
    tmp_path: Path, gate: dict[str, object], code: str | None, advice: str | None
) -> None:
    block = {
        "uses": "quantize",
        "model": "m.onnx",
        "calibration": "c.csv",
        "evaluation": {"dataset": "e.csv", "label": "y"},
        "metrics": {"mine": {"python": "m.py"}},
        "gates": [{"compared_to": "source", **gate}],
    }
    if gate["metric"] != "custom.mine":
        del block["metrics"]
    text = json.dumps({"version": 1, "name": "t", "stages": {"int8": block}})
    if code is None:
        load(tree(tmp_path, {"mlgate.yaml": text}) / "mlgate.yaml")
    else:
        [(found, _, _, hint)] = problems(tmp_path, text)
        assert (found, hint) == (code, advice)
