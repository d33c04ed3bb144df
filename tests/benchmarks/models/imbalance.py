"""Make a trained network hard to quantise without changing what it computes.

Both rescalings undo themselves in the next layer, so the floating-point function stays and only the
ranges of weights and activations move apart, as they do in real MobileNets (Nagel et al., Data-Free
Quantization, arXiv:1906.04721) and in real transformers (Bondarenko et al., arXiv:2109.12948).
"""

import torch
from networks import DepthwiseCNN, VisionTransformer
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


@torch.no_grad()
def scale_channels(network: DepthwiseCNN, sigma: float, seed: int) -> None:
    """Scale channel c between the two convolutions of each block by exp(sigma * normal).

    ReLU is positively homogeneous, relu(s * x) = s * relu(x) for s > 0, so dividing the input
    weights of the second convolution by s restores the function. Batch normalisation is folded
    first: it would undo the scale.
    """
    generator = torch.Generator().manual_seed(seed)
    fold_batch_norm(network)
    for block in network.blocks:
        within, across = block.within[0], block.across[0]
        scale = torch.exp(sigma * torch.randn(within.out_channels, generator=generator))
        within.weight.mul_(scale[:, None, None, None])
        within.bias.mul_(scale)
        across.weight.div_(scale[None, :, None, None])


@torch.no_grad()
def scale_head(network: DepthwiseCNN, sigma: float, seed: int) -> None:
    """Scale the channels of the last convolution likewise; the linear layer undoes it.

    Equalisation of neighbouring convolutions does not reach across the mean. Needs folded batch
    normalisation.
    """
    generator = torch.Generator().manual_seed(seed)
    last, classify = network.blocks[-1].across[0], network.classify
    scale = torch.exp(sigma * torch.randn(last.out_channels, generator=generator))
    last.weight.mul_(scale[:, None, None, None])
    last.bias.mul_(scale)
    classify.weight.div_(scale[None])


def fold_batch_norm(network: DepthwiseCNN) -> None:
    pairs = [network.stem]
    pairs += [part for block in network.blocks for part in (block.within, block.across)]
    for pair in pairs:
        pair[0] = fuse_conv_bn_eval(pair[0], pair[1])
        pair[1] = nn.Identity()


@torch.no_grad()
def scale_norms(network: VisionTransformer, largest: float, seed: int, channels: int = 3) -> None:
    """Multiply some gammas of each LayerNorm by largest / 2 … largest; the next layer undoes it."""
    generator = torch.Generator().manual_seed(seed)
    for block in network.blocks:
        for norm, linear in (
            (block.norm_attention, block.query_key_value),
            (block.norm_network, block.widen),
        ):
            width = len(norm.weight)
            chosen = torch.randperm(width, generator=generator)[:channels]
            scale = torch.ones(width)
            scale[chosen] = largest * (0.5 + 0.5 * torch.rand(channels, generator=generator))
            norm.weight.mul_(scale)
            norm.bias.mul_(scale)
            linear.weight.div_(scale[None])
