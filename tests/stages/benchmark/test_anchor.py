"""The anchor: a frozen model measured beside the candidate, for ratios that outlive the machine."""

from pathlib import Path

import pytest

from mlgate.errors import StageError
from mlgate.stages.benchmark import STAGE
from mlgate.stages.benchmark.run import recompute
from mlgate.stages.benchmark.spec import shortest
from tests.stages.benchmark.onnx_models import write_chain
from tests.stages.benchmark.test_declaration import options
from tests.stages.benchmark.test_run import SHORT_EPOCHS, Bench


def test_the_anchor_is_compared_beside_the_baseline_and_read_back_from_the_file(
    tmp_path: Path,
) -> None:
    model = str(write_chain(tmp_path / "model.onnx", layers=12, width=256))
    anchor = str(write_chain(tmp_path / "anchor.onnx", layers=2, width=256))
    evidence, workdir = Bench(tmp_path).run(
        model=model, baseline=model, anchor=anchor, **SHORT_EPOCHS
    )
    medians = {c.to: c for c in evidence.comparisons if c.name == "latency_ms.p50"}
    assert set(medians) == {"baseline", "anchor"}
    found = medians["anchor"]
    assert found.value is not None
    assert found.reference is not None
    assert found.value / found.reference > 2
    assert found.ratio[0].low is not None
    assert found.ratio[0].low > 1.5
    assert evidence.inputs["anchor"] != evidence.inputs["model"]
    again = recompute((workdir / "latencies.bin").read_bytes(), (0.95,))
    assert again.comparisons == evidence.comparisons
    # What the comparison says of the machine comes from the baseline alone, once.
    assert sum(m.name == "preempted" for m in evidence.measurements) == 1
    (ratio,) = [f for f in STAGE.figures(evidence) if f.title == "Latency against the baseline"]
    assert max(ratio.series[0].y) < 2


def test_an_anchor_with_other_inputs_is_an_error(tmp_path: Path) -> None:
    model = str(write_chain(tmp_path / "model.onnx"))
    other = str(write_chain(tmp_path / "other.onnx", name="z"))
    with pytest.raises(StageError, match="the anchor has inputs z, the model x"):
        Bench(tmp_path).run(model=model, anchor=other, **SHORT_EPOCHS)
    with pytest.raises(StageError, match="there is no anchor at"):
        Bench(tmp_path).run(model=model, anchor=str(tmp_path / "none.onnx"), **SHORT_EPOCHS)


def test_an_anchor_takes_time_and_a_single_scenario() -> None:
    alone, both = options(), options(anchor="a.onnx", baseline="b.onnx")
    assert shortest(both) - shortest(alone) == pytest.approx(2 * 8 * 0.35)
    flawed = options(anchor="a.onnx", scenarios=[{"kind": "cold_start"}])
    assert [path for path, _, _ in STAGE.conflicts(flawed)] == [("anchor",)]
