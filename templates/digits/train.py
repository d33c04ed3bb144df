"""Train a small convolutional network on data/train.parquet and write it as models/digits.onnx.

The model takes `image`, float32 [N, 1, 8, 8] with values in 0…1, and returns `logits`, float32 [N,
10]; N is free. One thread and fixed seeds: the same machine gives the same bytes; another processor
may differ in the last digits. Needs torch, onnx, onnxruntime and pyarrow; takes about half a
minute.
"""

import argparse
import hashlib
import io
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from torch import nn

HERE = Path(__file__).parent
LABEL = "digit"
SIDE = 8


class DigitsNet(nn.Module):
    """Three 3 x 3 convolutions, a pooling between them, the mean over the image, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *block(1, 24), *block(24, 48), nn.MaxPool2d(2), *block(48, 96), nn.AdaptiveAvgPool2d(1)
        )
        self.classify = nn.Linear(96, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.classify(self.features(image).flatten(1))


def block(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images as float32 [N, 1, 8, 8] and labels as int64 [N]."""
    table = pq.read_table(path)
    pixels = [table[name].to_numpy() for name in table.column_names if name != LABEL]
    return np.stack(pixels, axis=1).reshape(-1, 1, SIDE, SIDE), table[LABEL].to_numpy()


def shifted(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image moved by at most one pixel: 1,000 images teach more than 1,000 positions."""
    padded = F.pad(images, (1, 1, 1, 1))
    down, right = torch.randint(0, 3, (2, len(images)), generator=generator)
    rows = (down[:, None] + torch.arange(SIDE))[:, :, None]
    columns = (right[:, None] + torch.arange(SIDE))[:, None, :]
    return padded[torch.arange(len(images))[:, None, None], 0, rows, columns][:, None]


def train(images: np.ndarray, labels: np.ndarray, *, seed: int, epochs: int) -> DigitsNet:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = torch.tensor(images), torch.tensor(labels)
    model = DigitsNet()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-3)
    batches = -(-len(inputs) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=epochs * batches)
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs), generator=generator).split(64):
            loss = F.cross_entropy(
                model(shifted(inputs[rows], generator)), targets[rows], label_smoothing=0.05
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def to_onnx(model: DigitsNet, *, trained_on: str) -> bytes:
    """The model with its batch normalisation folded in, and nothing of this machine in it."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The newer exporter writes stack traces and file paths into every node; this one does not.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            model, (torch.zeros(1, 1, SIDE, SIDE),), buffer, dynamo=False, opset_version=17,
            input_names=["image"], output_names=["logits"],
            dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
        )  # fmt: skip
    exported = onnx.load_from_string(buffer.getvalue())
    exported.graph.name = "digits"
    exported.doc_string = exported.graph.doc_string = ""
    for node in exported.graph.node:
        node.doc_string = ""
    onnx.helper.set_model_props(exported, {"trained_on": trained_on})
    onnx.checker.check_model(exported, full_check=True)
    return exported.SerializeToString(deterministic=True)


def accuracy(model: bytes, images: np.ndarray, labels: np.ndarray) -> float:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": images})
    return float((np.argmax(logits, axis=1) == labels).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE / "data")
    parser.add_argument("--out", type=Path, default=HERE / "models" / "digits.onnx")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=40)
    options = parser.parse_args()
    source = options.data / "train.parquet"
    digest = f"sha256:{hashlib.sha256(source.read_bytes()).hexdigest()}"
    model = train(*read(source), seed=options.seed, epochs=options.epochs)
    exported = to_onnx(model, trained_on=digest)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(exported)
    right = accuracy(exported, *read(options.data / "holdout.parquet"))
    print(f"{options.out.name}: {len(exported):,} bytes, accuracy on holdout {right:.4f}")


if __name__ == "__main__":
    main()
