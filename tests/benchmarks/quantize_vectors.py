"""Recall against memory of vector codes, on embeddings that `models/embeddings.py` wrote.

Peers in the same run: 8 bits per dimension, and FAISS's product quantization where faiss is
installed. Size counts everything that is needed to search: codes, codebooks and rotation.
Recall@k is the share of the exact k nearest (Euclidean) that are found, over all queries.
"""

import argparse
import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from mlgate.metrics.values import shared
from mlgate.stages.quantize.vector_codes import Rotation, aware_codes, product_codes, sizes
from mlgate.stages.quantize.vectors import nearest

Found = tuple[str, np.ndarray, int]


def plain_bytes(vectors: np.ndarray) -> Found:
    """One byte per dimension between its extrema."""
    low, high = vectors.min(axis=0), vectors.max(axis=0)
    step = np.maximum(high - low, 1e-12) / 255
    decoded = np.round((vectors - low) / step) * step + low
    return "8 bits per dimension", decoded, vectors.size + 8 * vectors.shape[1]


def codes(vectors: np.ndarray) -> Iterator[Found]:
    rotation = Rotation.of(vectors)
    for size in sizes(vectors.shape[1]):
        aware = aware_codes(vectors, rotation, size)
        yield f"mlgate, dimension-aware, {size} B", aware.decode(), len(aware.file())
        product = product_codes(vectors, rotation, size, 0)
        yield f"mlgate, product, {size} B", product.decode(), len(product.file())


def faiss_codes(vectors: np.ndarray) -> Iterator[Found]:
    if importlib.util.find_spec("faiss") is None:
        return
    faiss: Any = importlib.import_module("faiss")
    faiss.omp_set_num_threads(1)
    dimensions = vectors.shape[1]
    for size in sizes(dimensions):
        if dimensions % size == 0:
            quantizer = faiss.ProductQuantizer(dimensions, size, 8)
            quantizer.train(vectors)
            decoded = quantizer.decode(quantizer.compute_codes(vectors))
            stored = len(vectors) * size + 4 * 256 * dimensions
            yield f"FAISS product, {size} B", decoded, stored


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("embeddings", type=Path)
    parser.add_argument("-k", type=int, default=10)
    options = parser.parse_args()
    with np.load(options.embeddings) as file:
        vectors, queries = file["vectors"], file["queries"]
    search: Any = SimpleNamespace(k=options.k, space="l2")
    truth = nearest(vectors, queries, search)
    print(f"{len(vectors)} vectors of {vectors.shape[1]}, {len(queries)} queries")
    print(f"| codes | times smaller | recall@{options.k} | CPU s to code |")
    print("|---|---|---|---|")
    begin = time.process_time()
    for found in (iter([plain_bytes(vectors)]), codes(vectors), faiss_codes(vectors)):
        for name, decoded, stored in found:
            spent = time.process_time() - begin
            near = nearest(decoded.astype(np.float32), queries, search)
            recall = shared(truth, near).mean()
            print(
                f"| {name} | {vectors.nbytes / stored:.1f} | {recall:.3f} | {spent:.2f} |",
                flush=True,
            )
            begin = time.process_time()


if __name__ == "__main__":
    main()
