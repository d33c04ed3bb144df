"""Train the models of the quantisation benchmark and write them with their data.

  plain.onnx            plain convolutions
  depthwise.onnx        depthwise convolutions, as trained
  depthwise_1.2.onnx    the same function, channels scaled apart with sigma 1.2
  depthwise_1.6.onnx    the same function, sigma 1.6
  vit.onnx              a vision transformer, as trained
  vit_outliers.onnx     the same function, some LayerNorm gammas 30 to 60 times larger
  data/*.parquet        train, calibration, search, confirm, heldout (see images.py)

The scaled models favour tools that equalise channels, by construction; report the natural ones
beside them. Needs torch, scikit-learn, pyarrow and onnx; about two minutes on one core.
"""

import argparse
import copy
import time
from pathlib import Path

import images
import pyarrow.parquet as pq
from imbalance import scale_channels, scale_norms
from networks import DepthwiseCNN, PlainCNN, VisionTransformer
from torch import nn
from training import accuracy, deterministic, to_onnx, train

SIGMAS = (1.2, 1.6)
LARGEST_GAMMA = 60.0
NETWORKS = {"plain": PlainCNN, "depthwise": DepthwiseCNN, "vit": VisionTransformer}
EPOCHS = {"plain": 40, "depthwise": 60, "vit": 200}
RATES = {"plain": 5e-3, "depthwise": 5e-3, "vit": 3e-3}


def variants(name: str, network: nn.Module, seed: int) -> dict[str, nn.Module]:
    """The trained network and its harder twins, by file name."""
    made = {name: network}
    if isinstance(network, DepthwiseCNN):
        for sigma in SIGMAS:
            twin = copy.deepcopy(network)
            scale_channels(twin, sigma, seed)
            made[f"{name}_{sigma}"] = twin
    if isinstance(network, VisionTransformer):
        twin = copy.deepcopy(network)
        scale_norms(twin, LARGEST_GAMMA, seed)
        made[f"{name}_outliers"] = twin
    return made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for models and data")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=sorted(NETWORKS), action="append", help="default: all")
    options = parser.parse_args()
    (options.out / "data").mkdir(parents=True, exist_ok=True)
    deterministic(options.seed)
    for part in images.SOURCES:
        table = images.as_table(*images.drawn_set(part, options.seed))
        pq.write_table(table, options.out / "data" / f"{part}.parquet", compression="zstd")
    source, labels = images.sources(options.seed)["train"]
    search, heldout = (images.drawn_set(part, options.seed) for part in ("search", "heldout"))
    for name, build in NETWORKS.items():
        if options.only and name not in options.only:
            continue
        deterministic(options.seed)
        network, began = build(), time.process_time()
        settings = {"epochs": EPOCHS[name], "rate": RATES[name], "seed": options.seed}
        train(network, source, labels, draw=images.draw, **settings)
        spent = time.process_time() - began
        for file, variant in variants(name, network, options.seed).items():
            model = to_onnx(variant, images.SIDE, file)
            (options.out / f"{file}.onnx").write_bytes(model)
            print(
                f"{file}.onnx: {len(model):,} bytes, trained in {spent:.0f} CPU s, "
                f"accuracy on search {accuracy(variant, *search):.4f}, "
                f"on heldout {accuracy(variant, *heldout):.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
