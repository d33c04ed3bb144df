"""The quantize search against a plain loop over onnxruntime's own quantizer, on the same models.

Both get calibration.parquet, search.parquet and confirm.parquet of a folder that
`models/quantization_suite.py` wrote, and may lose one point of accuracy. The plain loop is what
most tools do: calibrate anew for each setting, take the first whose point estimate on the search
rows is good enough. `held out` is the loss on the confirm rows, which the plain loop never sees.

Models named *_1.2, *_1.6 and *_outliers have channels scaled apart on purpose, which favours
equalization; the rows with `equalize` off are printed beside them.

CPU seconds are user + system of this process, imports excluded. Needs one core for some minutes.
"""

import argparse
import contextlib
import io
import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from mlgate.evidence import Evidence
from mlgate.stages.quantize.session import Session
from tests.stages.quantize.jobs import quantize

POINT = 0.01
SIDE = 16
VARIANTS: dict[str, dict[str, Any]] = {
    "mlgate": {},
    "mlgate, no equalize": {"prepare": ["preprocess", "bias-correct"]},
    "mlgate, int8 only": {"ladder": ["int8-qdq", "int8-qdq-mixed"]},
}
METHODS = {
    "MinMax": CalibrationMethod.MinMax,
    "Entropy": CalibrationMethod.Entropy,
    "Percentile": CalibrationMethod.Percentile,
}


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Calibration batches of 32, whole ones only: onnxruntime's histograms need equal shapes."""

    def __init__(self, name: str, images: np.ndarray) -> None:
        count = len(images) // 32 * 32
        self.batches = iter([{name: images[i : i + 32]} for i in range(0, count, 32)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)


def rows(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(images [n, 1, side, side], labels [n])."""
    table = pq.read_table(path)
    pixels = np.stack([table[c].to_numpy() for c in table.column_names if c != "digit"], axis=1)
    return pixels.reshape(-1, 1, SIDE, SIDE).astype(np.float32), table["digit"].to_numpy()


def right(model: Path, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which answers are right [n]."""
    session = Session(model)
    name = session.inputs[0].name
    feeds = ({name: images[i : i + 32]} for i in range(0, len(images), 32))
    scores = np.concatenate([next(iter(out.values())) for out in session.stream(feeds)])
    found: np.ndarray = scores.argmax(axis=1) == labels
    return found


def settings(model: Path, out: Path, name: str, images: np.ndarray) -> Iterator[str]:
    """Write each setting's model to `out`, and yield its name."""
    pre = out.with_suffix(".pre.onnx")
    quant_pre_process(model, pre, skip_symbolic_shape=True)
    quantize_dynamic(pre, out, weight_type=QuantType.QInt8)
    yield "dynamic"
    for method, calibration in METHODS.items():
        for per_channel in (False, True):
            quantize_static(
                pre,
                out,
                Reader(name, images),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=per_channel,
                calibrate_method=calibration,
            )
            yield f"{method} {'per-channel' if per_channel else 'per-tensor'}"


def plain(model: Path, data: Path) -> dict[str, Any]:
    """The plain loop: the first setting whose point estimate on the search rows is good enough."""
    begin = time.process_time()
    calibration, _ = rows(data / "calibration.parquet")
    search, confirm = rows(data / "search.parquet"), rows(data / "confirm.parquet")
    name = Session(model).inputs[0].name
    base = right(model, *search).mean()
    found: dict[str, Any] = {"winner": "none", "size": 1.0, "drop": 0.0, "approved": False}
    trials = 0
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        out = Path(folder) / "q.onnx"
        for setting in settings(model, out, name, calibration[:256]):
            trials += 1
            if right(out, *search).mean() >= base - POINT:
                found["cpu"] = time.process_time() - begin
                found["winner"], found["approved"] = setting, True
                found["size"] = out.stat().st_size / model.stat().st_size
                found["drop"] = right(model, *confirm).mean() - right(out, *confirm).mean()
                break
    found.setdefault("cpu", time.process_time() - begin)
    samples = len(search[1])
    inferences = (trials + 1) * samples + max(trials - 1, 0) * 256
    return {**found, "trials": trials, "passes": max(trials - 1, 0), "inferences": inferences}


def searched(model: Path, data: Path, **changes: Any) -> dict[str, Any]:
    """One run of the stage."""
    options = {
        "model": str(model),
        "calibration": {"dataset": str(data / "calibration.parquet"), "samples": 256},
        "search": {"dataset": str(data / "search.parquet"), "label": "digit"},
        "evaluation": {
            "dataset": str(data / "confirm.parquet"),
            "label": "digit",
            "confirm": 1,
            "inputs": {Session(model).inputs[0].name: {"columns": "pixel_*"}},
        },
        "gates": [{"metric": "accuracy", "compared_to": "source", "max_drop": POINT}],
        **changes,
    }
    with tempfile.TemporaryDirectory() as folder:
        begin = time.process_time()
        evidence = quantize(options, Path(folder))
        cpu = time.process_time() - begin
    return {"cpu": cpu, "winner": evidence.details["winner"], **figures(evidence)}


def figures(evidence: Evidence) -> dict[str, Any]:
    values = {m.name: m.value for m in evidence.measurements if not m.labels}
    (accuracy,) = (c for c in evidence.comparisons if c.name == "accuracy")
    return {
        "approved": evidence.details["approved"],
        "size": values["size_ratio"],
        "drop": (accuracy.reference or 0) - (accuracy.value or 0),
        "trials": values["trials"],
        "passes": values["calibration_passes"],
        "inferences": values["sample_inferences"],
    }


def line(model: str, tool: str, found: dict[str, Any], base: float) -> str:
    verdict = "approved" if found["approved"] else "refused"
    return (
        f"| {model} | {tool} | {found['trials']:.0f} | {found['passes']:.0f} | "
        f"{found['inferences']:.0f} | {found['cpu']:.2f} | {found['cpu'] / base:.2f} | "
        f"{found['size']:.3f} | {100 * found['drop']:+.2f} | {verdict} | {found['winner']} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+", help="folders of the training script")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    print(
        "| model | tool | trials | calibration passes | sample inferences | CPU s | CPU over ",
        end="",
    )
    print("plain | size | held out, points | verdict | winner |")
    print("|" + "---|" * 11)
    lost: dict[str, list[bool]] = {}
    for folder in options.folders:
        for model in sorted(folder.glob("*.onnx")):
            data = folder / "data"
            peer = plain(model, data)
            title = f"{model.stem} ({folder.name})"
            print(line(title, "plain loop", peer, peer["cpu"]), flush=True)
            if peer["approved"]:
                lost.setdefault("plain loop", []).append(peer["drop"] > POINT)
            for tool, changes in VARIANTS.items():
                found = searched(model, data, **changes)
                print(line(title, tool, found, peer["cpu"]), flush=True)
                if found["approved"]:
                    lost.setdefault(tool, []).append(found["drop"] > POINT)
    for tool, failures in lost.items():
        print(f"{tool}: {sum(failures)} of {len(failures)} winners lose over a point, held out")


if __name__ == "__main__":
    main()
