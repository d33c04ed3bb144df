"""Make a model ready for quantization: folded, shaped, equalized; every step proved harmless."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnxruntime.quantization.shape_inference import quant_pre_process

from mlgate.data.session import Array, Feeds, Session, first_line
from mlgate.errors import StageError
from mlgate.stages.quantize import graph
from mlgate.stages.quantize.equalize import equalize
from mlgate.stages.quantize.normal import (
    flatten_biases,
    has_double_weights,
    in_single_precision,
    normalised,
)

_TOLERANCE: Final = 1e-4


@dataclass(frozen=True)
class Prepared:
    """The model to quantize, and what was done: step → what came of it."""

    model: onnx.ModelProto
    steps: dict[str, str]


def prepare(
    source: onnx.ModelProto,
    wanted: Sequence[str],
    probe: Feeds,
    workdir: Path,
    batch_axis: Mapping[str, int] | None = None,
) -> Prepared:
    """Lift, fold and equalize `source`, checking the outputs for `probe` after each step.

    A step that changes an output by more than 1e-4 of its largest value is dropped.
    """
    if graph.weights_outside(source):
        return _unprepared(source, wanted)
    axes = batch_axis or {}
    reference = _outputs(source, probe, axes)
    model, steps = normalised(source)
    model = graph.named(model)
    if steps:
        _must_equal(model, probe, reference, axes, f"rewriting {', '.join(steps)}")
    opset = graph.opset_of(model)
    if opset < graph.OLDEST_OPSET:
        model = graph.named(graph.lifted(model))
        _must_equal(model, probe, reference, axes, f"lifting opset {opset}")
        steps["opset"] = f"lifted from {opset} to {graph.opset_of(model)}"
    if has_double_weights(model):
        single = graph.named(in_single_precision(model))
        said = "weights and arithmetic in float"
        model, steps["double"] = _if_equal(model, single, said, probe, reference, axes)
    if "preprocess" in wanted:
        folded, said = _preprocessed(model, workdir)
        model, steps["preprocess"] = _if_equal(model, folded, said, probe, reference, axes)
        model = graph.named(model)
    if "equalize" in wanted:
        even, pairs = equalize(model)
        if pairs:
            model, steps["equalize"] = _if_equal(
                model, even, f"{pairs} pairs of layers", probe, reference, axes
            )
        else:
            steps["equalize"] = "no pair of layers that it applies to"
    return Prepared(model, steps)


def _unprepared(source: onnx.ModelProto, wanted: Sequence[str]) -> Prepared:
    """A model over 2 GiB, as it is: its weights are not changed before they are quantized."""
    opset = graph.opset_of(source)
    if opset < graph.OLDEST_OPSET:
        raise StageError(
            f"a model over 2 GiB cannot be lifted from opset {opset}",
            hint=f"export it with opset {graph.OLDEST_OPSET} or later",
        )
    model, steps = normalised(source)
    said = "left out: the model is over 2 GiB"
    return Prepared(graph.named(model), steps | dict.fromkeys(wanted, said))


def _preprocessed(model: onnx.ModelProto, workdir: Path) -> tuple[onnx.ModelProto | None, str]:
    before, after = workdir / "prepare.in.onnx", workdir / "prepare.out.onnx"
    try:
        onnx.save(model, str(before))
        with contextlib.redirect_stdout(io.StringIO()):
            # Symbolic shape inference wants sympy, which nothing else here does.
            quant_pre_process(before, after, skip_symbolic_shape=True)
        folded = onnx.load(str(after))
        flatten_biases(folded)  # folding makes a Gemm of MatMul and Add, with a bias [1, N]
        return folded, "shapes inferred, constants and normalization folded"
    except Exception as error:  # noqa: BLE001 (whatever fails, the step is left out)
        return None, f"dropped: {first_line(error)}"
    finally:
        for path in workdir.glob("prepare.*.onnx*"):
            path.unlink()


def _if_equal(
    before: onnx.ModelProto,
    after: onnx.ModelProto | None,
    said: str,
    probe: Feeds,
    reference: dict[str, Array],
    axes: Mapping[str, int],
) -> tuple[onnx.ModelProto, str]:
    if after is None:
        return before, said
    try:
        changed = _change(reference, _outputs(after, probe, axes))
    except StageError as error:
        return before, f"dropped: {error.message}"
    if changed > _TOLERANCE:
        return before, f"dropped: it changes the outputs by {changed:.2g} of their range"
    return after, said


def _must_equal(
    model: onnx.ModelProto,
    probe: Feeds,
    reference: dict[str, Array],
    axes: Mapping[str, int],
    what: str,
) -> None:
    changed = _change(reference, _outputs(model, probe, axes))
    if changed > _TOLERANCE:
        raise StageError(
            f"{what} changes the outputs by {changed:.2g} of their range",
            hint=f"export the model with opset {graph.OLDEST_OPSET} or later",
        )


def _outputs(model: onnx.ModelProto, probe: Feeds, axes: Mapping[str, int]) -> dict[str, Array]:
    data = model.SerializeToString(deterministic=True)
    return next(Session(data, batch_axis=axes).stream([probe]))


def _change(a: dict[str, Array], b: dict[str, Array]) -> float:
    """The largest change of any output, as a share of that output's largest absolute value."""
    worst = 0.0
    for name, value in a.items():
        if value.dtype.kind not in "fiub" or value.shape != b[name].shape:
            worst = max(worst, 0.0 if np.array_equal(value, b[name]) else np.inf)
            continue
        before, after = value.astype(np.float64), b[name].astype(np.float64)
        scale = float(np.abs(before[np.isfinite(before)]).max(initial=0.0)) or 1.0
        same = (before == after) | (np.isnan(before) & np.isnan(after))
        change = float(np.abs(np.where(same, 0.0, before - after)).max(initial=0.0)) / scale
        worst = max(worst, change if np.isfinite(change) else np.inf)
    return worst
