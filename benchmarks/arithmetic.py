"""The work of a step, counted from the shapes of a network's layers: operations and bytes.

A step is a forward pass up to the cut and the gradient with respect to the input. Both take one
multiplication and one addition for each weight that meets each output element; nothing else counts
(activations, pooling, the blur), and no gradient of a parameter is needed. As counters of
operations do, this takes every tap of a kernel at every output, also where it meets padding. Both
passes read each weight once; what they read and write besides does not count either.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from benchmarks.cases import Case
from harness.plan.networks import MLP, Network, ResNet
from harness.subjects.resnet import build_resnet, truncated_resnet

PASSES = 2
"""Forward and back."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """What a step takes where every tap is multiplied.

    Parameters
    ----------
    flops : int
        Floating-point operations.
    weights : int
        Weights read.
    """

    flops: int
    weights: int


def count(module: nn.Module, inputs: Tensor) -> tuple[int, int]:
    """Multiply-accumulates of one forward pass in convolutions and linear layers, and weights.

    Parameters
    ----------
    module : nn.Module
        Of `nn.Conv2d` and `nn.Linear`, and of layers whose arithmetic does not count.
    inputs : tensor
        On the module's device; on "meta" nothing is computed.
    """
    macs = weights = 0

    def add(layer: nn.Conv2d | nn.Linear, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs, weights
        # A weight's first axis is the output's channels: the others are what one element takes.
        macs += output.numel() * layer.weight[0].numel()
        weights += layer.weight.numel()

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
    return macs, weights


def step_work(case: Case) -> Work:
    """The work of a step on all images of a case."""
    with torch.device("meta"):
        shape = case.images.shape if isinstance(case.network, ResNet) else (case.images.elements,)
        macs, weights = count(_skeleton(case.network), torch.empty(1, *shape))
    return Work(flops=2 * PASSES * macs * case.batch, weights=PASSES * weights * case.networks)


def _skeleton(network: Network) -> nn.Module:
    """A network of the right shapes."""
    match network:
        case MLP():
            widths = (network.inputs, *network.widths)
            return nn.Sequential(*map(nn.Linear, widths, widths[1:]))
        case ResNet():
            return truncated_resnet(build_resnet(network, seed=0), layer=network.layer)
