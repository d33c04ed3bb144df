"""Write train, calibration, search, confirm and heldout sets of 16 x 16 digit images as Parquet.

scikit-learn's 1,797 real digits are too few to resolve a one-point difference, so each is drawn
several times: turned, scaled, moved, faded, with noise, all from the seed. The five sets share no
source image, and no tool ever gets `heldout`. Draws of one source image are related: intervals
that take the rows of `confirm` (three draws of each of 400 images) or `heldout` (five of each of
400) as independent are somewhat too narrow.

Columns: pixel_0_0 … pixel_15_15 (float, 0…1) and digit (int64). Needs torch, scikit-learn and
pyarrow.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SIDE = 16
LABEL = "digit"
SOURCES = {"train": 697, "calibration": 100, "search": 200, "confirm": 400, "heldout": 400}
DRAWS = {"train": 1, "calibration": 3, "search": 3, "confirm": 3, "heldout": 5}
NOISE = 0.08


def sources(seed: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """The source images of each set, float32 [N, 1, 8, 8] in 0…1, with their labels, int64 [N]."""
    loaded = load_digits()
    left = np.arange(len(loaded.target))
    parts = {}
    for name, count in list(SOURCES.items())[1:]:
        left, taken = train_test_split(
            left, test_size=count, random_state=seed, stratify=loaded.target[left]
        )
        parts[name] = taken
    parts = {"train": left, **parts}
    images = torch.tensor(loaded.images / 16, dtype=torch.float32)[:, None]
    labels = torch.tensor(loaded.target, dtype=torch.int64)
    return {name: (images[rows], labels[rows]) for name, rows in parts.items()}


def draw(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image drawn once by another hand: [N, 1, 8, 8] to [N, 1, 16, 16]."""

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(len(images), generator=generator)

    turn, size, slant = uniform(-0.3, 0.3), uniform(0.85, 1.2), uniform(-0.2, 0.2)
    right, down = uniform(-0.2, 0.2), uniform(-0.2, 0.2)
    cos, sin = turn.cos() / size, turn.sin() / size
    rows = [torch.stack([cos, slant - sin, right], 1), torch.stack([sin, cos, down], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), [len(images), 1, SIDE, SIDE], align_corners=False)
    drawn = F.grid_sample(images, grid, align_corners=False)
    ink = uniform(0.6, 1.0)[:, None, None, None]
    noise = NOISE * torch.randn(drawn.shape, generator=generator)
    return (drawn * ink + noise).clamp(0, 1)


def drawn_set(name: str, seed: int, draws: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Images [N, 1, 16, 16] and labels [N] of one set; the same seed gives the same images."""
    images, labels = sources(seed)[name]
    generator = torch.Generator().manual_seed(1000 * seed + list(SOURCES).index(name))
    repeated = DRAWS[name] if draws is None else draws
    drawn = torch.cat([draw(images, generator) for _ in range(repeated)])
    return drawn, labels.repeat(repeated)


def as_table(images: torch.Tensor, labels: torch.Tensor) -> pa.Table:
    pixels = images.reshape(len(images), -1).numpy()
    columns = {
        f"pixel_{row}_{column}": pixels[:, row * SIDE + column]
        for row in range(SIDE)
        for column in range(SIDE)
    }
    return pa.table(columns | {LABEL: labels.numpy()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the five files")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for name, count in SOURCES.items():
        table = as_table(*drawn_set(name, options.seed))
        pq.write_table(table, options.out / f"{name}.parquet", compression="zstd")
        print(f"{name}.parquet: {table.num_rows} rows of {count} source images")


if __name__ == "__main__":
    main()
