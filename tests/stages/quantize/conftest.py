"""A tiny convolutional model with its calibration and evaluation rows, made once."""

from pathlib import Path
from typing import Any

import pytest

from tests.stages.quantize.models import balanced, convolutional, save, write_rows

Options = dict[str, Any]


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model.onnx, calibration.npz (x, y) and evaluation.npz (x, y)."""
    folder = tmp_path_factory.mktemp("quantize")
    model = balanced(convolutional(filters=32), (1, 6, 6))
    save(folder / "model.onnx", model)
    write_rows(folder / "calibration.npz", model, 128, seed=1)
    write_rows(folder / "evaluation.npz", model, 800, seed=2)
    return folder


@pytest.fixture
def options(project: Path) -> Options:
    """What a spec would say: an accuracy gate and a size gate."""
    return {
        "model": str(project / "model.onnx"),
        "calibration": str(project / "calibration.npz"),
        "evaluation": {"dataset": str(project / "evaluation.npz"), "label": "y"},
        "gates": [
            {"metric": "accuracy", "compared_to": "source", "max_drop": 0.02},
            {"metric": "agreement", "min": 0.9},
        ],
    }
