"""Vectors: codes decode to what was coded, spend bits where it matters, and pass or are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlgate.errors import StageError
from mlgate.stages.quantize.figures import figures
from mlgate.stages.quantize.vector_codes import (
    Rotation,
    allocation,
    aware_codes,
    product_codes,
    read_codes,
    sizes,
)
from tests.stages.quantize.jobs import quantize

Options = dict[str, Any]


def clustered(count: int, *, seed: int, dimensions: int = 12) -> np.ndarray:
    """Vectors of uneven variance around a few centres, as embeddings are."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(7).normal(size=(8, dimensions)) * 2
    scale = 0.9 ** np.arange(dimensions)
    noise = rng.normal(size=(count, dimensions)) * scale
    return (centers[rng.integers(0, 8, count)] * scale + noise).astype(np.float32)


@pytest.mark.parametrize("kind", ["pq", "aware"])
def test_more_bytes_are_less_error_and_a_file_decodes_alike(kind: str) -> None:
    vectors = clustered(1000, seed=1)
    rotation = Rotation.of(vectors)
    errors = []
    for size in (2, 4, 8, 12):
        made = (
            product_codes(vectors, rotation, size, 0)
            if kind == "pq"
            else aware_codes(vectors, rotation, size)
        )
        data = made.file()
        assert np.array_equal(read_codes(data).decode(), made.decode())
        assert len(data) < 1000 * size + 60_000
        errors.append(float(((made.decode() - vectors) ** 2).sum(axis=1).mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.05 * errors[0]


def test_bits_go_where_the_variance_is() -> None:
    given = allocation(np.array([64.0, 4.0, 1.0, 1e-6]), 8)
    assert given.tolist() == [5, 2, 1, 0]
    assert allocation(np.array([1.0]), 100).tolist() == [8]


def test_sizes_ascend() -> None:
    assert list(sizes(96)) == sorted(set(sizes(96)))
    assert sizes(3)[0] >= 1


@pytest.fixture
def embedding(tmp_path: Path) -> Options:
    np.save(tmp_path / "v.npy", clustered(600, seed=1))
    np.save(tmp_path / "q.npy", clustered(200, seed=2))
    vectors = {"matrix": str(tmp_path / "v.npy"), "queries": str(tmp_path / "q.npy"), "k": 10}
    return {
        "vectors": vectors,
        "gates": [{"metric": "recall_at_k", "min": 0.8}, {"metric": "size_bytes", "max": 29_000}],
    }


@pytest.mark.parametrize("space", ["cosine", "ip", "l2"])
def test_an_index_passes_under_a_recall_gate(
    embedding: Options, tmp_path: Path, space: str
) -> None:
    embedding["vectors"]["space"] = space
    evidence = quantize(embedding, tmp_path / "w")
    assert set(evidence.outputs) == {"index"}, evidence.details["refused"]
    codes = read_codes((tmp_path / "w" / evidence.outputs["index"].name).read_bytes())
    assert codes.decode().shape == (600, 12)
    assert figures(evidence)
    assert quantize(embedding, tmp_path / "x").canonical() == evidence.canonical()


def test_an_impossible_recall_is_refused(embedding: Options, tmp_path: Path) -> None:
    embedding["gates"] = [{"metric": "recall_at_k", "min": 0.9999}]
    assert set(quantize(embedding, tmp_path / "w").outputs) == {"best_effort"}


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((300, 11), np.float32), "12 dimensions, queries 11"),
        (np.full((300, 12), np.nan, np.float32), "holds NaN"),
        (np.zeros((300, 12), np.int32), "not a matrix of floats"),
        (np.zeros((300, 12), np.float32), "1 distinct queries are too few"),
    ],
)
def test_queries_that_do_not_fit(
    embedding: Options, tmp_path: Path, array: np.ndarray, said: str
) -> None:
    np.save(tmp_path / "q.npy", array)
    with pytest.raises(StageError, match=said):
        quantize(embedding, tmp_path / "w")
