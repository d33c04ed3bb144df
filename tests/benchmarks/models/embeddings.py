"""Write real embeddings of digit images, for benchmarks of vector indexes.

The vectors are the penultimate layer of a network trained on other source images: float32 [N, 96],
not normalised, never negative, in ten uneven clusters, as embeddings of real data are and random
vectors are not. One npz file: `vectors` [rows, 96], `queries` [queries, 96], the int64 labels of
both, and, so that a benchmark need not compute it, `neighbours` int64 [queries, 100]: the exact
nearest vectors by Euclidean distance, nearest first. Needs torch, scikit-learn and numpy; about a
minute on one core.
"""

import argparse
import zipfile
from io import BytesIO
from pathlib import Path

import images
import numpy as np
import torch
from networks import PlainCNN
from training import accuracy, deterministic, train

NEIGHBOURS = 100
EPOCHS = 20
BATCH = 500


@torch.no_grad()
def embed(network: PlainCNN, part: str, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`rows` embeddings and labels of drawn images of one set."""
    draws = -(-rows // images.SOURCES[part])
    drawn, labels = images.drawn_set(part, seed, draws)
    vectors = torch.cat([network.embed(batch) for batch in drawn[:rows].split(BATCH)])
    return vectors.numpy(), labels[:rows].numpy()


def nearest(vectors: np.ndarray, queries: np.ndarray, count: int) -> np.ndarray:
    """Rows of the `count` nearest vectors of each query; of equal distances the lower row first."""
    wide = vectors.astype(np.float64)
    lengths = (wide**2).sum(axis=1)
    found = []
    for start in range(0, len(queries), BATCH):
        distance = lengths - 2 * queries[start : start + BATCH].astype(np.float64) @ wide.T
        found.append(np.argsort(distance, axis=1, kind="stable")[:, :count])
    return np.concatenate(found)


def write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """numpy.savez, but without the time of writing: the same arrays give the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in sorted(arrays.items()):
            buffer = BytesIO()
            np.save(buffer, array, allow_pickle=False)
            member = zipfile.ZipInfo(f"{name}.npy")
            archive.writestr(member, buffer.getvalue(), zipfile.ZIP_DEFLATED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the npz file to write")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    deterministic(options.seed)
    network = PlainCNN()
    settings = {"epochs": EPOCHS, "rate": 5e-3, "seed": options.seed}
    train(network, *images.sources(options.seed)["train"], draw=images.draw, **settings)
    vectors, labels = embed(network, "confirm", options.rows, options.seed)
    queries, query_labels = embed(network, "search", options.queries, options.seed)
    found = nearest(vectors, queries, NEIGHBOURS)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write(
        options.out,
        {
            "vectors": vectors,
            "labels": labels,
            "queries": queries,
            "query_labels": query_labels,
            "neighbours": found,
        },
    )
    right = accuracy(network, *images.drawn_set("search", options.seed))
    same = float((labels[found[:, 0]] == query_labels).mean())
    print(
        f"{options.out.name}: vectors {vectors.shape}, queries {queries.shape}; "
        f"the network is right on {right:.4f}, "
        f"the nearest vector has the query's label in {same:.4f}"
    )


if __name__ == "__main__":
    main()
