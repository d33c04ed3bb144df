"""The quantize search against a plain loop over onnxruntime's own quantizer, over many seeds.

    python -m tests.benchmarks.quantize_search suite/*

Each folder is what `models/quantization_suite.py` wrote for one seed. Both tools get calibration
and search rows and may lose one point of accuracy; mlgate has rows to confirm its winner on besides.
The plain loop is what most tools do: calibrate anew for each setting, take the first whose point
estimate on the search rows is good enough. `held out` is the loss on rows that no tool is given. A
winner *fails* there when it loses more than a point; that is *proven* when the lower end of the
paired 95 % interval is over a point too.

Models marked † have channels scaled apart on purpose, which favours equalization; the rows with
`equalize` off are printed beside them. Models of one seed share their data, and those of one kind
their weights, so the rows are fewer independent cases than they are many.

CPU seconds are user + system of this process, imports excluded, one thread.
"""

import argparse
import contextlib
import io
import json
import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from mlgate.data.session import Session
from mlgate.statistics.binomial import clopper_pearson
from tests.benchmarks.quantize_suite import POINT, TITLES, held_out, models, right, rows, searched

CALIBRATION = 256
PLAIN = "plain loop"
VARIANTS: dict[str, dict[str, Any]] = {
    "mlgate": {},
    "mlgate, no equalize": {"prepare": ["preprocess", "bias-correct"]},
}
METHODS = {
    "MinMax": CalibrationMethod.MinMax,
    "Entropy": CalibrationMethod.Entropy,
    "Percentile": CalibrationMethod.Percentile,
}
Found = dict[str, Any]


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Calibration batches of 32, whole ones only: onnxruntime's histograms need equal shapes."""

    def __init__(self, name: str, images: np.ndarray) -> None:
        count = len(images) // 32 * 32
        self.batches = iter([{name: images[i : i + 32]} for i in range(0, count, 32)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)


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


def plain(model: Path) -> Found:
    """The plain loop: the first setting whose point estimate on the search rows is good enough."""
    begin = time.process_time()
    data = model.parent / "data"
    calibration, _ = rows(data / "calibration.parquet")
    search = rows(data / "search.parquet")
    name = Session(model).inputs[0].name
    base = right(model, *search).mean()
    found: Found = {"winner": "none", "size": 1.0, "approved": False}
    trials = 0
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        out = Path(folder) / "q.onnx"
        for setting in settings(model, out, name, calibration[:CALIBRATION]):
            trials += 1
            if right(out, *search).mean() >= base - POINT - 1e-12:
                found |= {"winner": setting, "approved": True, "bytes": out.read_bytes()}
                found["size"] = out.stat().st_size / model.stat().st_size
                break
    found["cpu"] = time.process_time() - begin
    passes = max(trials - 1, 0)
    inferences = (trials + 1) * len(search[1]) + passes * CALIBRATION
    return {**found, "trials": trials, "passes": passes, "inferences": inferences}


def timed(model: Path, **changes: Any) -> Found:
    """One run of the stage, with its CPU seconds."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.process_time()
        found = searched(model, Path(folder), **changes)
        return {**found, "cpu": time.process_time() - begin}


def with_loss(found: Found, model: Path) -> Found:
    """`found` with what an approved model loses on the held-out rows, its bytes left out."""
    data = found.pop("bytes", b"")
    if found["approved"]:
        loss = held_out(model, data)
        found |= {"drop": loss.drop, "fails": loss.over, "proven": loss.proven}
    return found


def compared(model: Path, seed: str) -> Iterator[Found]:
    """What each tool found for one model."""
    peer = with_loss(plain(model), model)
    yield {"model": model.stem, "seed": seed, "tool": PLAIN, "ratio": 1.0, **peer}
    for tool, changes in VARIANTS.items():
        found = with_loss(timed(model, **changes), model)
        ratio = found["cpu"] / peer["cpu"]
        yield {"model": model.stem, "seed": seed, "tool": tool, "ratio": ratio, **found}


def line(found: Found) -> str:
    loss = f"{100 * found['drop']:+.2f}" if found["approved"] else "–"
    return (
        f"| {TITLES[found['model']]} | {found['seed']} | {found['tool']} | {found['trials']:.0f} | "
        f"{found['passes']:.0f} | {found['inferences']:,.0f} | {found['cpu']:.2f} | "
        f"{found['ratio']:.2f} | {found['size']:.3f} | {loss} | {found['winner']} |"
    )


def spread(values: list[float], form: str) -> str:
    """The median, and the largest in brackets where it is another."""
    middle, most = format(median(values), form), format(max(values), form)
    return middle if middle == most else f"{middle} ({most})"


def summary(model: str, tool: str, group: list[Found]) -> str:
    """One row over all seeds: medians, with the largest in brackets."""
    good = [found for found in group if found["approved"]]
    cells = [TITLES[model], tool, f"{len(good)} of {len(group)}"]
    forms = {"trials": ".0f", "passes": ".0f", "inferences": ",.0f", "cpu": ".2f", "ratio": ".2f"}
    cells += [spread([found[key] for found in group], form) for key, form in forms.items()]
    if good:
        drops = [100 * found["drop"] + 0.0 for found in good]
        cells += [
            spread([found["size"] for found in good], ".3f"),
            f"{mean(drops):+.2f} ({max(drops):+.2f})",
            f"{sum(found['fails'] for found in good)}",
            f"{sum(found['proven'] for found in good)}",
        ]
    else:
        cells += ["–"] * 4
    return "| " + " | ".join(cells) + " |"


def failures(tool: str, group: list[Found]) -> Iterator[str]:
    """How many winners fail on held-out rows, with the exact one-sided 95 % bound."""
    good = [found for found in group if found["approved"]]
    for word in ("fails", "proven"):
        count = sum(found[word] for found in good)
        high = clopper_pearson(count, len(good), 0.95)[2] if good else 1.0
        yield (
            f"{tool}: of {len(good)} winners, {count} lose over a point on held-out rows"
            f"{', proven' if word == 'proven' else ''}; the rate is at most {100 * high:.1f} % "
            "(Clopper–Pearson, one-sided 95 %)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+", help="folders of the training script")
    parser.add_argument("--models", nargs="+", choices=sorted(TITLES), help="default: all")
    parser.add_argument("--rows", action="store_true", help="print every run, too")
    parser.add_argument("--json", type=Path, help="keep runs here; those in it are not repeated")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    found: list[Found] = []
    if options.json and options.json.exists():
        found = [json.loads(one) for one in options.json.read_text().splitlines()]
    there = {(one["model"], one["seed"]) for one in found}
    if options.rows:
        print(
            "| model | seed | tool | trials | calibration passes | sample inferences | CPU s ",
            end="",
        )
        print("| CPU over plain | size | held out, points | winner |\n|" + "---|" * 11)
    for folder in options.folders:
        for model in models(folder, options.models):
            if (model.stem, folder.name) in there:
                continue
            more = list(compared(model, folder.name))
            found += more
            if options.rows:
                print(*map(line, more), sep="\n", flush=True)
            if options.json:
                with options.json.open("a") as file:
                    file.writelines(json.dumps(one, default=float) + "\n" for one in more)
    print(
        "\n| model | tool | approved | trials | calibration passes | sample inferences | CPU s ",
        end="",
    )
    print("| CPU over plain | size | held out, points | fail | proven |\n|" + "---|" * 12)
    tools = [PLAIN, *VARIANTS]
    for name in TITLES:
        for tool in tools:
            group = [one for one in found if (one["model"], one["tool"]) == (name, tool)]
            if group:
                print(summary(name, tool, group))
    for tool in tools:
        print(*failures(tool, [one for one in found if one["tool"] == tool]), sep="\n")


if __name__ == "__main__":
    main()
