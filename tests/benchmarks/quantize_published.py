"""Models as others publish them, given to `quantize` as shipped: what is approved, and is it true?

    python -m tests.benchmarks.quantize_published

Ten files out of four wheels and ten scikit-learn exports. Wheels and scikit-learn are installed into
a temporary environment at run time (they come from the package index; nothing of theirs is kept).
Rows are made up here, labels are the source's answers with a share changed, so that there is
something to lose. Each model may lose one point of accuracy (a cosine of 0.99, one percent of the
mean error). What is approved is run on rows that no tool was given, by plain onnxruntime.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

WHEELS = (
    "magika==1.0.3",
    "rapidocr_onnxruntime==1.4.4",
    "brainmaze_eeg_models==0.1.0",
    "silero_vad==6.2.3",
)
EXPORTERS = ("scikit-learn", "skl2onnx", "onnxruntime", "pillow")
LINES = Path(__file__).parent / "peers" / "rendered_lines.py"
EXPORTS = Path(__file__).parent / "peers" / "sklearn_exports.py"
NOISE = 0.05  # of labels
Arrays = dict[str, Any]
SMALLER = {"metric": "size_ratio", "max": 0.9}
ACCURATE = {"metric": "accuracy", "compared_to": "source", "max_drop": 0.01}
NEAR = {"metric": "cosine", "min": 0.99}


@dataclass
class Project:
    """One model, its rows, and what the spec says of it besides."""

    model: Path
    feeds: Arrays
    counts: tuple[int, int]  # calibration, evaluation; the rest is held out
    label: np.ndarray | None = None
    output: str | None = None
    options: Arrays = field(default_factory=dict)
    inputs: Arrays = field(default_factory=dict)
    constant: Arrays = field(default_factory=dict)  # inputs that the spec fills itself


def magika(folder: Path) -> Project:
    """Which of 214 kinds of files is it?"""
    model = folder / "magika/models/standard_v3_3/model.onnx"
    rows = files(np.random.default_rng(0), 4200)
    return Project(model, {"bytes": rows}, (200, 2000), options={"classify": 214})


def direction(folder: Path) -> Project:
    """Is a line of text upside down?"""
    with np.load(folder / "lines.npz") as rendered:
        lines = rendered["x"]
    return Project(
        folder / "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        {"x": lines},
        (80, 1320),
        inputs={"x": {"columns": ["x"], "shape": [3, 48, 192]}},
        options={"classify": 2},
    )


NEARNESS: Arrays = {"task": "embedding", "gates": [NEAR, SMALLER], "batch_size": 4}


def spindles(folder: Path) -> Project:
    """Where are the spindles in 30 s of a sleeper's EEG?"""
    rng = np.random.default_rng(0)
    signal = rng.normal(0, 1, (260, 1, 7500)).astype(np.float32).cumsum(2)
    signal = (signal - signal.mean(2, keepdims=True)) / signal.std(2, keepdims=True)
    spectrum = np.abs(rng.normal(0, 1, (260, 15, 7500))).astype(np.float32)
    return Project(
        folder / "brainmaze_eeg_models/spindles/_models/spindle-detector-eeg.onnx",
        {"raw_signal": signal, "spectrogram": spectrum},
        (40, 120),
        output="segmentation",
        options=NEARNESS,
    )


def seizures(folder: Path) -> Project:
    """An LSTM whose outputs are [time, batch, 4]."""
    rows = np.random.default_rng(0).normal(0, 1, (3400, 100, 40)).astype(np.float32)
    return Project(
        folder / "brainmaze_eeg_models/seizure/_models/modelA_paper.onnx",
        {"x": rows},
        (60, 3000),
        output="probs",
        options={**NEARNESS, "batch_axis": {"probs": 1, "logits": 1}},
    )


def voice(path: Path) -> Project:
    """Frames of 36 ms at 16 kHz: a buzz of harmonics that comes and goes in noise."""
    rng = np.random.default_rng(0)
    count = 2600
    pitch = rng.uniform(90, 280, (count, 1))
    loud = rng.uniform(0, 0.5, (count, 1))
    when = np.arange(576)[None] / 16000
    buzz = sum(np.sin(2 * np.pi * k * pitch * when) / k for k in range(1, 12))
    sound = loud * buzz + rng.normal(0, 0.05, (count, 576))
    ports = {port.name: port for port in session(path).get_inputs()}
    feeds: Arrays = {"input": sound.astype(np.float32)}
    constant: Arrays = {}
    inputs: Arrays = {}
    axes: dict[str, int] = {}
    for name, port in ports.items():
        if name == "sr":
            feeds["sr"] = np.full(count, 16000)
        elif name != "input":
            axis = 1 if port.shape[0] == 2 else 0
            axes |= {name: axis} if axis else {}
            row = [2 if axis else 1, 128] if axis else [1, 128]
            inputs[name] = {"synthetic": "zeros", "shape": [1, *row]}
            constant[name] = np.zeros((port.shape[0], 1, 128), np.float32)
    return Project(
        path,
        feeds,
        (100, 1400),
        inputs=inputs,
        constant=constant,
        options={"classify": 1, "batch_axis": axes},
    )


def files(rng: np.random.Generator, count: int) -> np.ndarray:
    """First and last kilobyte of the files of this Python's library, cut at random places."""
    paths = [
        path
        for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*"))
        if path.is_file() and not path.is_symlink() and 64 < path.stat().st_size < 2e6
    ]
    found: dict[bytes, np.ndarray] = {}
    while len(found) < count:
        path = paths[rng.integers(len(paths))]
        data = path.read_bytes()
        start = int(rng.integers(0, len(data) // 2)) if rng.random() < 0.5 else 0
        first, last = data[start:][:4096].lstrip()[:1024], data[-4096:].rstrip()[-1024:]
        row = np.full(2048, 256, np.int32)
        row[: len(first)] = list(first)
        row[2048 - len(last) :] = list(last)
        found[row.tobytes()] = row
    return np.stack(list(found.values()))


def exported(where: Path) -> Project:
    """One of the exports."""
    with np.load(where / "all.npz") as rows:
        feeds = {name: rows[name] for name in rows.files}
    label = feeds.pop("label")
    options: Arrays = {}
    if label.dtype.kind == "f":
        gate = {"metric": "mae", "compared_to": "source", "max_increase": "1%"}
        options |= {"task": "regression", "gates": [gate, SMALLER]}
    return Project(where / "model.onnx", feeds, (200, 2000), label, options=options)


def makers(models: Path, exports: Path) -> dict[str, Callable[[], Project]]:
    """How each project is made, by its name."""
    found: dict[str, Callable[[], Project]] = {
        "magika": partial(magika, models),
        "RapidOCR, direction": partial(direction, models),
        "EEG, spindles": partial(spindles, models),
        "EEG, seizures": partial(seizures, models),
    }
    for path in sorted((models / "silero_vad/data").glob("*.onnx")):
        found[f"Silero, {path.stem}"] = partial(voice, path)
    for where in sorted(path for path in exports.iterdir() if path.is_dir()):
        found[f"sklearn, {where.name}"] = partial(exported, where)
    return found


def session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(path), options, ["CPUExecutionProvider"])


def answers(project: Project, path: Path, rows: slice) -> np.ndarray:
    """The scored output for some rows, one by one where that is how the model takes them."""
    loaded = session(path)
    names = [port.name for port in loaded.get_outputs()]
    output = project.output or names[0]
    fixed = loaded.get_inputs()[0].shape[0] == 1
    axis = project.options.get("batch_axis", {}).get(output, 0)
    parts = []
    count = range(*rows.indices(len(next(iter(project.feeds.values())))))
    size = 1 if fixed else 16
    for start in range(count.start, count.stop, size):
        feeds: Arrays = {}
        own = slice(start, min(start + size, count.stop))
        for port in loaded.get_inputs():
            if port.name in project.constant:
                value = project.constant[port.name]
                many = own.stop - own.start if port.shape[0] == 2 else 1
                feeds[port.name] = np.repeat(value, many, axis=1)
            else:
                value = project.feeds[port.name][own]
                feeds[port.name] = value if port.shape else np.asarray(value[0])
        parts.append(np.moveaxis(loaded.run([output], feeds)[0], axis, 0))
    return np.concatenate(parts)


def write(make: Callable[[], Project], folder: Path) -> None:
    """The project as a user would have it: model, rows, and a spec."""
    project = make()
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(project.model.read_bytes())
    options = dict(project.options)
    classes = options.pop("classify", None)
    rng = np.random.default_rng(1)
    if classes is not None:
        said = answers(project, project.model, slice(None)).reshape(
            len(next(iter(project.feeds.values()))), -1
        )
        if classes == 1:
            options["threshold"] = float(np.median(said))
            said = np.concatenate([-said, said - 2 * np.median(said)], axis=1)
            classes = 2
        other = rng.integers(0, classes, len(said))
        project.label = np.where(rng.random(len(said)) < NOISE, other, said.argmax(1))
    columns = {**project.feeds} | ({} if project.label is None else {"label": project.label})
    first, second = project.counts
    places = {"cal": slice(0, first), "eval": slice(first, first + second)}
    for name, place in places.items():
        np.savez(folder / f"{name}.npz", **{k: v[place] for k, v in columns.items()})
    evaluation: Arrays = {"dataset": "eval.npz", "inputs": project.inputs}
    if project.label is not None:
        evaluation["label"] = "label"
    stage = {
        "uses": "quantize",
        "model": "model.onnx",
        "calibration": {"dataset": "cal.npz"},
        "evaluation": evaluation,
        "gates": [ACCURATE, SMALLER],
        **options,
    }
    if project.output is not None:
        stage["output"] = project.output
    spec = folder / "mlgate.yaml"
    # JSON is YAML.
    spec.write_text(json.dumps({"version": 1, "name": "published", "stages": {"q": stage}}))
    np.savez(folder / "held.npz", **{k: v[first + second :] for k, v in columns.items()})
    (folder / "threshold.json").write_text(json.dumps(options.get("threshold")))


def held_out(make: Callable[[], Project], folder: Path, made: Path) -> tuple[float, bool]:
    """(what is lost on held-out rows, whether that is within the gate)."""
    project = make()
    with np.load(folder / "held.npz") as held:
        truth = held["label"] if "label" in held.files else None
    threshold = json.loads((folder / "threshold.json").read_text())
    rows = slice(sum(project.counts), None)
    sides = [answers(project, path, rows) for path in (project.model, made)]
    task = project.options.get("task", "classification")
    if task == "embedding":
        a, b = (side.reshape(len(side), -1).astype(np.float64) for side in sides)
        near = (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))
        return float(1 - near.mean()), bool(near.mean() >= 0.99)
    if task == "regression":
        errors = [float(np.abs(side.reshape(-1) - truth).mean()) for side in sides]
        return errors[1] / errors[0] - 1, errors[1] <= errors[0] * 1.01
    right = []
    for side in sides:
        said = side
        if side.dtype.kind == "f":
            said = side.reshape(len(side), -1)
            said = said.argmax(1) if said.shape[1] > 1 else (said[:, 0] >= threshold).astype(int)
        right.append(float((said == truth).mean()))
    return right[0] - right[1], right[0] - right[1] <= 0.01


def check(spec: Path) -> tuple[int, Arrays, float, float]:
    """(exit code, the verdict, CPU s, the largest process's MB) of `mlgate check`."""
    command = [sys.executable, "-m", "mlgate", "check", str(spec), "--format", "json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    verdict = json.loads(said) if said.strip() else {}
    spent = used.ru_utime + used.ru_stime
    return os.waitstatus_to_exitcode(status), verdict, spent, used.ru_maxrss / 1024


def fetch(folder: Path) -> tuple[Path, Path]:
    """(unpacked wheels, exports), by way of a temporary environment."""
    environment = folder / "environment"
    venv.create(environment, with_pip=True)
    python = str(environment / "bin" / "python")
    wheels = folder / "wheels"
    quiet = ["-q", "--disable-pip-version-check"]
    download = [python, "-m", "pip", "download", *quiet, "--no-deps", "-d", str(wheels), *WHEELS]
    subprocess.run(download, check=True, stderr=subprocess.DEVNULL)
    install = [python, "-m", "pip", "install", *quiet, *EXPORTERS]
    subprocess.run(install, check=True, stderr=subprocess.DEVNULL)
    models = folder / "models"
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(models, [n for n in archive.namelist() if n.endswith(".onnx")])
    exports = folder / "exports"
    drawn = [python, str(LINES), str(models / "lines.npz"), "2400"]
    subprocess.run(drawn, check=True, stderr=subprocess.DEVNULL)
    subprocess.run([python, str(EXPORTS), str(exports)], check=True, stderr=subprocess.DEVNULL)
    return models, exports


def outcome(name: str, make: Callable[[], Project], folder: Path) -> tuple[str, str]:
    """(a row of the table, `true`, `false` or `refused`).

    Rows are made, and the held-out ones are run, in processes that end: the memory that is told is
    that of `mlgate` alone.
    """
    with apart() as pool:
        pool.submit(write, make, folder).result()
    code, verdict, spent, memory = check(folder / "mlgate.yaml")
    spending = f"{spent:.0f} | {memory:.0f}"
    (stage,) = verdict.get("stages", [{}])
    made = stage.get("outputs", {}).get("model")
    if code == 0 and made is not None:
        path = folder / made["path"]
        with apart() as pool:
            lost, within = pool.submit(held_out, make, folder, path).result()
        size = path.stat().st_size / (folder / "model.onnx").stat().st_size
        mark = "" if within else " **beyond**"
        row = f"| {name} | approved | {size:.3f} | {lost:+.4f}{mark} | {spending} | |"
        return row, str(within).lower()
    failed = [gate["message"] for gate in stage.get("gates", ()) if gate["outcome"] != "pass"]
    reason = " → ".join(filter(None, (stage.get("reason"), stage.get("hint"), *failed)))
    return f"| {name} | exit {code} | – | – | {spending} | {reason} |", "refused"


def apart() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default="", help="part of the names of those to run")
    parser.add_argument("--folder", type=Path, help="keep what is fetched here, and find it again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        models, exports = folder / "models", folder / "exports"
        if not exports.exists():
            models, exports = fetch(folder)
        print("| model | outcome | size | lost, held out | CPU s | MB | reason → way on |")
        print("|---|---|---|---|---|---|---|")
        ended = []
        for name, make in makers(models, exports).items():
            if options.only in name:
                with tempfile.TemporaryDirectory() as place:
                    row, how = outcome(name, make, Path(place) / "project")
                print(row, flush=True)
                ended.append(how)
    print(
        f"of {len(ended)}: {ended.count('true')} approved and within the gate on held-out rows, "
        f"{ended.count('false')} approved and beyond it, {ended.count('refused')} refused"
    )


if __name__ == "__main__":
    main()
