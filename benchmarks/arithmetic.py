"""The arithmetic of a step, counted from the shapes of a network's layers.

A step is a forward pass up to the cut and the gradient with respect to the input. Both take one
multiplication and one addition for each weight that meets each output element; nothing else counts
(activations, pooling, the blur), and no gradient of a parameter is needed.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from harness.settings import MLP, Images, Network, ResNet
from harness.subjects.resnet import build_resnet, cut_resnet


def forward_macs(module: nn.Module, inputs: Tensor) -> int:
    """Multiply-accumulates of the convolutions and linear layers in one forward pass.

    Parameters
    ----------
    module : nn.Module
        Of `nn.Conv2d` and `nn.Linear`, and of layers whose arithmetic does not count.
    inputs : tensor
        On the module's device; on "meta" nothing is computed.
    """
    total = 0

    def add(layer: nn.Conv2d | nn.Linear, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        # A weight's first axis is the output's channels: the others are what one element takes.
        total += output.numel() * layer.weight[0].numel()

    handles = [
        layer.register_forward_hook(add)
        for layer in module.modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear))
    ]
    try:
        with torch.no_grad():
            module(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return total


def step_flops(network: Network, images: Images) -> int:
    """Floating-point operations of a step on one image: two a multiply-accumulate, forward and
    back."""
    match network:
        case MLP():
            macs = sum(
                inputs * outputs for inputs, outputs in pairwise((network.inputs, *network.widths))
            )
        case ResNet():
            with torch.device("meta"):
                module = cut_resnet(build_resnet(network, seed=0), cut=network.cut)
                macs = forward_macs(module, torch.empty(1, *images.shape))
    return 2 * 2 * macs
