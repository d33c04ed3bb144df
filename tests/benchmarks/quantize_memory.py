"""Peak memory of calibration against the number of samples, beside onnxruntime's calibraters.

Each figure is a process of its own on a convolutional model with 32 channels of 16 x 16; the rows
are random, written as Parquet and read in batches.
"""

import argparse
import contextlib
import io
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnxruntime.quantization.calibrate import (
    CalibrationDataReader,
    CalibrationMethod,
    create_calibrator,
)

from mlgate.data.rows import open_rows
from mlgate.data.session import Port
from mlgate.stage import Dataset
from mlgate.stages.quantize.calibrate import calibrate
from mlgate.stages.quantize.samples import read_samples
from tests.stages.quantize.models import convolutional

SIDE = 16
TOOLS = ("mlgate", "MinMax", "Entropy", "Percentile")


class Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, batches: Iterator[dict[str, np.ndarray]]) -> None:
        self.batches = batches

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)


def write(folder: Path, count: int) -> None:
    """model.onnx and rows.parquet with one list column."""
    onnx.save(convolutional(side=SIDE, filters=32), str(folder / "model.onnx"))
    values = np.random.default_rng(0).random((count, SIDE * SIDE), dtype=np.float32)
    flat = pa.array(values.ravel())
    column = pa.FixedSizeListArray.from_arrays(flat, SIDE * SIDE)
    pq.write_table(pa.table({"x": column}), folder / "rows.parquet", row_group_size=256)


def measure(tool: str, folder: Path) -> int:
    """Peak resident KiB of this process after one calibration."""
    path = str(folder / "rows.parquet")
    port = Port("x", "float32", (None, 1, SIDE, SIDE))
    inputs = {"x": {"columns": "x"}}
    dataset = Dataset.model_validate({"dataset": path, "inputs": inputs}, strict=False)
    samples = read_samples(
        open_rows(path, None), dataset, [port], {}, role="calibration", keep=2**20
    )
    model = folder / "model.onnx"
    if tool == "mlgate":
        calibrate(onnx.load(str(model)), samples.batches(32))
    else:
        augmented = str(folder / f"{tool}.onnx")
        method = CalibrationMethod[tool]
        with contextlib.redirect_stdout(io.StringIO()):
            calibrator = create_calibrator(model, None, augmented, calibrate_method=method)
            calibrator.collect_data(Reader(samples.batches(32)))
            calibrator.compute_data()
    return peak()


def peak() -> int:
    """Peak resident KiB of this process: getrusage's figure starts at that of whoever started it."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, nargs=2, default=(64, 4096))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(measure(options.child[0], Path(options.child[1])))
        return
    few, many = options.samples
    print(f"| tool | {few} samples, MiB | {many} samples, MiB | ratio |")
    print("|---|---|---|---|")
    for tool in TOOLS:
        peaks = []
        for count in (few, many):
            with tempfile.TemporaryDirectory() as folder:
                write(Path(folder), count)
                command = [sys.executable, __file__, "--child", tool, folder]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                peaks.append(int(done.stdout) / 1024)
        print(f"| {tool} | {peaks[0]:.0f} | {peaks[1]:.0f} | {peaks[1] / peaks[0]:.2f} |")


if __name__ == "__main__":
    main()
