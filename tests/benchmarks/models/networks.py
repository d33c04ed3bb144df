"""Three small image classifiers in torch: plain and depthwise convolutions, a transformer.

Each takes float32 [N, 1, S, S] and returns logits, float32 [N, 10].
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn


def convolution(inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, groups=groups), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class PlainCNN(nn.Module):
    """Five 3 x 3 convolutions: the model that every tool quantises well."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            convolution(1, 24),
            convolution(24, 48, stride=2),
            convolution(48, 48),
            convolution(48, 96, stride=2),
            convolution(96, 96),
        )
        self.classify = nn.Linear(96, 10)

    def embed(self, image: torch.Tensor) -> torch.Tensor:
        """The penultimate layer, [N, 96]."""
        return self.features(image).mean((2, 3))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.classify(self.embed(image))


class DepthwiseBlock(nn.Module):
    """A 3 x 3 convolution within each channel, then a 1 x 1 across them (arXiv:1704.04861)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.within = convolution(inputs, inputs, stride, groups=inputs)
        self.across = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs), nn.ReLU()
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.across(self.within(image))


class DepthwiseCNN(nn.Module):
    """A small MobileNet; `strides` has one entry per block."""

    def __init__(self, strides: tuple[int, ...] = (2, 1, 2, 1, 1)) -> None:
        super().__init__()
        self.stem = convolution(1, 32)
        widths = (32, 64, 64, *[128] * (len(strides) - 2))
        self.blocks = nn.ModuleList(
            DepthwiseBlock(inputs, outputs, stride)
            for (inputs, outputs), stride in zip(pairwise(widths), strides, strict=True)
        )
        self.classify = nn.Linear(widths[-1], 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        image = self.stem(image)
        for block in self.blocks:
            image = block(image)
        return self.classify(image.mean((2, 3)))


class TransformerBlock(nn.Module):
    """Attention and a two-layer network, each after a LayerNorm and beside a shortcut."""

    def __init__(self, count: int, width: int, heads: int) -> None:
        super().__init__()
        # Kept as numbers: sizes read off a tensor would become nodes of the exported graph.
        self.joined = (-1, count, width)
        self.split = (-1, count, 3, heads, width // heads)
        self.norm_attention = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)
        self.norm_network = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        split = self.query_key_value(self.norm_attention(tokens)).reshape(self.split)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (query @ key.transpose(-1, -2) * self.split[-1] ** -0.5).softmax(-1)
        seen = (weights @ value).transpose(1, 2).reshape(self.joined)
        tokens = tokens + self.join(seen)
        return tokens + self.narrow(F.relu(self.widen(self.norm_network(tokens))))


class VisionTransformer(nn.Module):
    """Patches of 4 x 4 pixels, three blocks (ViT, arXiv:2010.11929), the mean over the patches."""

    def __init__(self, side: int = 16, width: int = 64, depth: int = 3, heads: int = 4) -> None:
        super().__init__()
        count = (side // 4) ** 2
        self.tokens = (-1, width, count)
        self.patches = nn.Conv2d(1, width, 4, 4)
        self.position = nn.Parameter(torch.randn(1, count, width) * 0.1)
        self.blocks = nn.ModuleList(TransformerBlock(count, width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.classify = nn.Linear(width, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(image).reshape(self.tokens).transpose(1, 2) + self.position
        for block in self.blocks:
            tokens = block(tokens)
        return self.classify(self.norm(tokens).mean(1))
