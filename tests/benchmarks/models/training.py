"""Train on one thread with fixed seeds; export ONNX that says nothing of where it was made."""

import io
import warnings
from collections.abc import Callable

import onnx
import torch
import torch.nn.functional as F
from torch import nn

Draw = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


def train(
    network: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    draw: Draw,
    epochs: int,
    rate: float,
    seed: int,
    batch: int = 64,
) -> None:
    """AdamW with one cycle of the learning rate; `draw` varies each batch. Ends in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-3)
    steps = epochs * -(-len(images) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    network.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(images), generator=generator).split(batch):
            loss = F.cross_entropy(network(draw(images[rows], generator)), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()


def deterministic(seed: int) -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)


@torch.no_grad()
def accuracy(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    return float((network(images).argmax(1) == labels).float().mean())


def to_onnx(network: nn.Module, side: int, name: str) -> bytes:
    """Opset 17, one input `image` [N, 1, side, side], one output `logits` [N, 10], N free."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The newer exporter writes stack traces and file paths into every node; this one does not.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (torch.zeros(1, 1, side, side),),
            buffer,
            dynamo=False,
            opset_version=17,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
        )
    model = onnx.load_from_string(buffer.getvalue())
    model.graph.name = name
    for node in model.graph.node:
        node.doc_string = ""
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)
