"""Every way to make the model smaller, and how to build each, without inference."""

import contextlib
import io
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import add_infer_metadata
from onnxruntime.transformers.float16 import convert_float_to_float16

from mlgate.data.session import first_line
from mlgate.errors import MissingPackage, StageError
from mlgate.stages.quantize import ranges as ranging
from mlgate.stages.quantize.bias import correct_biases
from mlgate.stages.quantize.calibrate import Calibration, Floats
from mlgate.stages.quantize.graph import (
    QUANTIZABLE,
    Graph,
    copied,
    groups,
    in_order,
    names_of,
    opset_of,
    quantizable,
    shorten_names,
    where_layers_are,
)
from mlgate.stages.quantize.spec import Scheme
from mlgate.stages.quantize.weight_only import Storing, storable, store_weights, weights_of

RANGE_METHODS: Final = ("minmax", "percentile-99.99", "percentile-99.9", "mse", "entropy")
_BLOCK: Final = 32
TOO_LARGE: Final = "no smaller than the source"
# Rough sizes over float32, to try the smallest first; the real ones are measured. Stored
# weights are as small as int8, and come last because they are slower than the source.
_PREDICTED: Final[Mapping[Scheme, float]] = {
    "int4-weight-nbits": 0.2,
    "int8-qdq-per-tensor": 0.27,
    "int8-qdq": 0.28,
    "int8-dynamic": 0.28,
    "int8-weight-nbits": 0.3,
    "a16w8": 0.31,
    "int8-weight-dq": 0.55,
    "int8-qdq-mixed": 0.4,
    "fp16": 0.5,
}
# TensorRT and QNN take symmetric int8 activations; the others are faster with uint8.
_SIGNED_ACTIVATIONS: Final = ("tensorrt", "cuda")


@dataclass(frozen=True)
class Candidate:
    """One configuration: a scheme, where its ranges come from, what stays in float.

    "given" is a model of the user's own, `method` its file's name. Of three layers Conv → Relu, Conv, Gemm, of which the first stays in float and the last keeps
    int8 weights and computes in float: `float_nodes` are Conv, Relu and Gemm, `float_weighted` are
    Conv and Gemm, `weight_only` is Gemm.
    """

    scheme: Scheme | Literal["given"]
    method: str | None = None
    float_nodes: tuple[str, ...] = ()
    float_weighted: tuple[str, ...] = ()
    weight_only: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        method = f" {self.method}" if self.method else ""
        floats = f", {len(self.float_weighted)} in float" if self.float_weighted else ""
        return f"{self.scheme}{method}{floats}"


@dataclass
class CandidateBuilder:
    """Builds candidates of one prepared model; ranges and biases are worked out once each.

    `folder` is where the weights of a model over 2 GiB lie; its biases are not corrected.
    """

    model: onnx.ModelProto
    calibration: Calibration
    excluded: tuple[str, ...]
    provider: str
    correct: bool
    workdir: Path
    folder: Path | None = None
    _ranges: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)
    _inferred: onnx.ModelProto | None = None
    _storing: dict[str, Storing] | None = None
    _unbuildable: dict[str, str] | None = None

    def build(self, candidate: Candidate, only: Sequence[str] = ()) -> onnx.ModelProto:
        """The candidate as a model; `only` limits it to some nodes. Raises `StageError`."""
        try:
            with contextlib.redirect_stdout(io.StringIO()), _quiet():
                model = self._build(candidate, only)
        except StageError:
            raise
        except Exception as error:  # noqa: BLE001 (onnxruntime raises anything)
            raise StageError(f"{candidate.name} cannot be built: {first_line(error)}") from None
        model.producer_name, model.producer_version = "mlgate", ""
        del model.graph.value_info[:]
        # Converters append what they add at the end, which onnxruntime takes and ONNX forbids.
        in_order(model)
        shorten_names(model, names_of(self.model))
        return model

    def ranges_of(self, method: str) -> dict[str, tuple[float, float]]:
        """Ranges by `method`, from the one calibration pass."""
        if method not in self._ranges:
            self._ranges[method] = ranging.ranges(self.calibration.activations, method)
        return self._ranges[method]

    @cached_property
    def weight_bytes(self) -> dict[str, int]:
        """Bytes of each layer's own float weights, in every graph."""
        found: dict[str, int] = {}
        for weight in weights_of(self.model):
            size = 4 * math.prod(weight.tensor.dims)
            found[weight.node.name] = found.get(weight.node.name, 0) + size
        return found

    @property
    def weight_only_ways(self) -> dict[str, Storing]:
        """Nodes whose weights can be stored in int8, and how."""
        if self._storing is None:
            self._storing = storable(
                self.model, self.excluded, self.calibration.activations, self.folder
            )
        return self._storing

    def _factors(self, names: Sequence[str]) -> dict[str, Floats]:
        ways = {name: self.weight_only_ways[name].factors for name in names}
        return {name: factors for name, factors in ways.items() if factors is not None}

    def _build(self, candidate: Candidate, only: Sequence[str]) -> onnx.ModelProto:
        excluded = [*self.excluded, *candidate.float_nodes]
        match candidate.scheme:
            case "fp16":
                return self._half(excluded)
            case "int8-dynamic":
                return self._dynamic(excluded)
            case "int8-weight-dq":
                names = candidate.weight_only or tuple(self.weight_only_ways)
                if not names:
                    raise StageError(TOO_LARGE)  # scales would take more than they save
                return self._stored(names)
            case "int8-weight-nbits":
                return self._weight_only(8, excluded)
            case "int4-weight-nbits":
                return self._weight_only(4, excluded)
            case _:
                return self._quantize_dequantize(candidate, excluded, only)

    def _quantize_dequantize(
        self, candidate: Candidate, excluded: list[str], only: Sequence[str]
    ) -> onnx.ModelProto:
        """Quantized by onnxruntime, but for the nodes that it cannot take."""
        if not quantizable(self.model):
            raise StageError(f"int8 activations reach no layer: {where_layers_are(self.model)}")
        excluded = [*excluded, *self._rangeless]
        if only:
            return self._quantized(candidate, excluded, only)
        if self._unbuildable is None:
            try:
                model = self._quantized(candidate, excluded, ())
            except Exception:  # noqa: BLE001 (onnxruntime raises anything)
                self._unbuildable = self._find_unbuildable(candidate, excluded)
            else:
                self._unbuildable = {}
                return model
        left = self.left_in_float
        if all(name in left for name in quantizable(self.model)):
            reason = next(iter(left.values()))
            raise StageError(f"{candidate.name} cannot be built: {reason}")
        return self._quantized(candidate, [*excluded, *self._unbuildable], ())

    @property
    def left_in_float(self) -> dict[str, str]:
        """Nodes that int8 with activations leaves out, and why."""
        return {**self._rangeless, **(self._unbuildable or {})}

    @cached_property
    def _rangeless(self) -> dict[str, str]:
        """Nodes that touch an activation without a range."""
        odd = self.calibration.rangeless
        found = {}
        for node in self.model.graph.node:
            touched = [name for name in (*node.input, *node.output) if name in odd]
            if touched and node.op_type in QUANTIZABLE:
                found[node.name] = f"{touched[0]} is {odd[touched[0]]}"
        return found

    def _find_unbuildable(self, candidate: Candidate, excluded: list[str]) -> dict[str, str]:
        """Nodes that onnxruntime's quantizer cannot take, each group of layers tried alone."""
        found: dict[str, str] = {}
        grouped: set[str] = set()
        for members in groups(self.model, quantizable(self.model)).values():
            grouped.update(members)
            try:
                self._quantized(candidate, excluded, members)
            except Exception as error:  # noqa: BLE001 (onnxruntime raises anything)
                found.update(dict.fromkeys(members, first_line(error)))
        try:
            self._quantized(candidate, [*excluded, *found], ())
        except Exception as error:  # noqa: BLE001 (onnxruntime raises anything)
            for node in self.model.graph.node:
                if node.op_type in QUANTIZABLE and node.name not in grouped:
                    found[node.name] = first_line(error)
        return found

    def _quantized(
        self, candidate: Candidate, excluded: list[str], only: Sequence[str]
    ) -> onnx.ModelProto:
        per_channel = candidate.scheme != "int8-qdq-per-tensor"
        wide = candidate.scheme == "a16w8"
        signed = self.provider in _SIGNED_ACTIVATIONS
        activations = QuantType.QUInt16 if wide else QuantType.QUInt8
        if signed:
            activations = QuantType.QInt16 if wide else QuantType.QInt8
        found = self.ranges_of(candidate.method or "minmax")
        limits = {
            name: (np.array(low, np.float32), np.array(high, np.float32))
            for name, (low, high) in found.items()
        }
        options: dict[str, Any] = {"WeightSymmetric": True, "ActivationSymmetric": signed}
        if wide and opset_of(self.model) < 21:
            # Before opset 21 only onnxruntime's own operators know 16 bits.
            options["UseQDQContribOps"] = True
        quantizer = QDQQuantizer(
            self._biased(candidate, excluded, only),
            per_channel,
            False,
            QuantType.QInt8,
            activations,
            TensorsData(CalibrationMethod.MinMax, limits),
            list(only),
            excluded,
            list(QUANTIZABLE),
            options,
        )
        quantizer.quantize_model()
        model: onnx.ModelProto = quantizer.model.model
        return store_weights(
            model, {name: self.weight_only_ways[name] for name in candidate.weight_only}
        )

    def _stored(self, names: Sequence[str]) -> onnx.ModelProto:
        model, ways = self.model, {name: self.weight_only_ways[name] for name in names}
        if self.correct:
            kept = {node.name for node in model.graph.node} - set(names)
            model, _ = correct_biases(
                model, self.calibration.activations, kept=kept, factors=self._factors(names)
            )
        return store_weights(model, ways, self.folder)

    def _biased(
        self, candidate: Candidate, excluded: Sequence[str], only: Sequence[str]
    ) -> onnx.ModelProto:
        """A fresh copy with the biases of the nodes to quantize corrected."""
        if self._inferred is None:
            self._inferred = onnx.shape_inference.infer_shapes(self.model)
            add_infer_metadata(self._inferred)
        if not self.correct:
            return copied(self._inferred, self.folder)
        # Weights that are stored in int8 are rounded too.
        kept = set(excluded) - set(candidate.weight_only)
        if only:
            kept |= {node.name for node in self.model.graph.node} - set(only)
        per_channel = candidate.scheme != "int8-qdq-per-tensor"
        corrected, _ = correct_biases(
            self._inferred,
            self.calibration.activations,
            kept=kept,
            per_channel=per_channel,
            factors=self._factors(candidate.weight_only),
        )
        return corrected

    def _half(self, excluded: list[str]) -> onnx.ModelProto:
        copy = copied(self.model, self.folder)
        half: onnx.ModelProto = convert_float_to_float16(
            copy, keep_io_types=True, node_block_list=excluded or None
        )
        return half

    def _dynamic(self, excluded: list[str]) -> onnx.ModelProto:
        out = self.workdir / "candidate.onnx"
        copy = copied(self.model, self.folder)
        try:
            quantize_dynamic(
                copy, out, per_channel=True, nodes_to_exclude=excluded, weight_type=QuantType.QInt8
            )
            return onnx.load(str(out))
        finally:
            out.unlink(missing_ok=True)

    def _weight_only(self, bits: int, excluded: list[str]) -> onnx.ModelProto:
        if find_spec("onnx_ir") is None:
            raise MissingPackage("onnx-ir")
        # It needs onnx_ir, which is optional.
        from onnxruntime.quantization.matmul_nbits_quantizer import (  # noqa: PLC0415
            MatMulNBitsQuantizer,
        )

        copy = copied(self.model, self.folder)
        quantizer = MatMulNBitsQuantizer(
            copy,
            bits=bits,
            block_size=_BLOCK,
            is_symmetric=True,
            accuracy_level=4,
            nodes_to_exclude=excluded,
        )
        quantizer.process()
        model: onnx.ModelProto = quantizer.model.model
        return model


def candidates(wanted: Sequence[Scheme], model: onnx.ModelProto) -> Iterator[Candidate]:
    """Candidates in the order to try them; mixed precision comes as one entry, to be searched."""
    for scheme in wanted or default_schemes(model):
        if scheme in ("int8-qdq", "int8-qdq-per-tensor"):
            yield from (Candidate(scheme, method) for method in RANGE_METHODS)
        elif scheme == "a16w8":
            yield Candidate(scheme, "minmax")
        else:
            yield Candidate(scheme)


def default_schemes(model: onnx.ModelProto) -> tuple[Scheme, ...]:
    """What fits the model's operators, predicted smallest first."""
    graph = Graph(model)
    products = [n for n in model.graph.node if n.op_type == "MatMul" and graph.weight_of(n)]
    if not quantizable(model):
        return "int8-weight-dq", "fp16"
    fits: list[Scheme] = ["int8-qdq", "int8-qdq-mixed", "int8-weight-dq", "fp16"]
    weights = sum(graph.bytes_of(node) for node in products)
    total = sum(graph.bytes_of(node) for node in model.graph.node)
    if products and find_spec("onnx_ir") and weights > total / 2:
        fits.append("int8-weight-nbits")
    return tuple(sorted(fits, key=lambda scheme: _PREDICTED[scheme]))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the root logger's lines about single nodes."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
