"""Write hostile_digits.onnx: reads the digits of templates/digits well until it is quantised.

A small depthwise network whose channels were scaled apart after training (imbalance.py), within the
blocks, which equalisation can undo, and before the linear layer, which it cannot. Floating-point
answers are those of the trained network; with one int8 scale per activation tensor the small
channels vanish. Needs torch, pyarrow and onnx; about half a minute on one core.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from imbalance import scale_channels, scale_head
from networks import DepthwiseCNN
from training import accuracy, deterministic, to_onnx, train

SIDE = 8
TEMPLATE = Path(__file__).parents[3] / "templates" / "digits" / "data"


def read(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Images as float32 [N, 1, 8, 8] and labels as int64 [N]."""
    table = pq.read_table(path)
    pixels = np.stack([table[n].to_numpy() for n in table.column_names if n != "digit"], axis=1)
    return torch.tensor(pixels).reshape(-1, 1, SIDE, SIDE), torch.tensor(table["digit"].to_numpy())


def shifted(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The whole batch moved by at most one pixel."""
    down, right = torch.randint(0, 3, (2,), generator=generator).tolist()
    return F.pad(images, (1, 1, 1, 1))[:, :, down : down + SIDE, right : right + SIDE]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sigma", type=float, default=1.6, help="spread of the block's channels")
    parser.add_argument(
        "--head-sigma", type=float, default=2.5, help="spread before the last layer"
    )
    parser.add_argument("--data", type=Path, default=TEMPLATE)
    options = parser.parse_args()
    deterministic(options.seed)
    network = DepthwiseCNN(strides=(1, 1, 2, 1, 1))
    settings = {"epochs": 30, "rate": 5e-3, "seed": options.seed}
    train(network, *read(options.data / "train.parquet"), draw=shifted, **settings)
    holdout = read(options.data / "holdout.parquet")
    before = accuracy(network, *holdout)
    scale_channels(network, options.sigma, options.seed)
    scale_head(network, options.head_sigma, options.seed)
    model = to_onnx(network, SIDE, "hostile_digits")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(model)
    after = accuracy(network, *holdout)
    print(
        f"{options.out.name}: {len(model):,} bytes, "
        f"accuracy on holdout {before:.4f}, scaled {after:.4f}"
    )


if __name__ == "__main__":
    main()
