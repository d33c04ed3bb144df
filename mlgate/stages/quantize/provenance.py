"""Where a quantized model comes from, written into the model itself, and its final bytes."""

import platform
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import EncodeError
from pydantic import JsonValue

from mlgate.errors import StageError
from mlgate.evidence import canonical
from mlgate.stages.quantize import ranges
from mlgate.stages.quantize.candidates import Candidate, CandidateBuilder
from mlgate.stages.quantize.graph import LARGEST


def tools() -> dict[str, str]:
    """Versions of the libraries that decide the bytes."""
    return {
        "numpy": np.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def origin(
    model: str, calibration: str, batch_size: int, options: Mapping[str, JsonValue]
) -> dict[str, str]:
    """What every candidate of one search has in common; digests as `sha256:<hex>`."""
    return {
        "mlgate.source": model,
        "mlgate.calibration": calibration,
        "mlgate.batch_size": str(batch_size),
        "mlgate.options": canonical(options).decode(),
        "mlgate.tools": canonical(tools()).decode(),
    }


def finished(
    model: onnx.ModelProto,
    candidate: Candidate,
    builder: CandidateBuilder,
    common: Mapping[str, str],
) -> bytes:
    """The candidate's file, with its origin in `metadata_props`; equal models have equal bytes."""
    properties = {entry.key: entry.value for entry in model.metadata_props}
    properties |= common
    properties["mlgate.scheme"] = candidate.scheme
    properties["mlgate.float"] = canonical(sorted(candidate.float_weighted)).decode()
    if candidate.method:
        properties["mlgate.ranges"] = ranges.digest(builder.ranges_of(candidate.method))
    del model.metadata_props[:]
    for key in sorted(properties):
        model.metadata_props.append(onnx.StringStringEntryProto(key=key, value=properties[key]))
    try:
        data = bytes(model.SerializeToString(deterministic=True))
    except (EncodeError, ValueError):
        data = None  # a protobuf ends at 2 GiB
    if data is None or len(data) > LARGEST:
        raise StageError(
            f"{candidate.name} is over the 2 GiB of one ONNX file",
            hint="a smaller scheme may fit: int4-weight-nbits",
        )
    return data


def instruction_sets() -> list[str]:
    """The processor's matrix instructions, which decide onnxruntime's int8 kernels."""
    wanted = {"avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return [platform.machine()]
    flags = next((x for x in lines if x.lower().startswith(("flags", "features"))), "")
    return sorted(wanted & set(flags.split())) or [platform.machine()]
