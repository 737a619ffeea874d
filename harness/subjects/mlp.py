"""Stacks of fully connected layers with separate weights for each sample of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from harness.encoders.encoder import AffineEncoder, Encoder
from harness.encoders.sparse_rows import is_worthwhile
from harness.encoders.stacks import StackEncoder, WideStackEncoder, compose
from harness.plan.networks import MLP
from harness.plan.seeds import ReplicateSeeds, Source
from harness.subjects.generators import torch_generator


def draw_weight(
    *, out: int, inputs: int, initialisation: str, generator: torch.Generator
) -> Float[Tensor, "out in"]:
    """Weights of one layer in float64.

    Parameters
    ----------
    out, inputs : int
        Units and fan-in.
    initialisation : str
        One of `harness.plan.networks.INITIALISATIONS`.
    generator : torch.Generator
        Source of randomness.
    """
    weight = torch.empty(out, inputs, dtype=torch.float64)
    bound: float = inputs**-0.5
    match initialisation:
        case "default":
            return weight.uniform_(-bound, bound, generator=generator)
        case "gaussian":
            return weight.normal_(0, bound, generator=generator)
        case "orthogonal":
            return nn.init.orthogonal_(weight, generator=generator)
        case _:
            raise ValueError(f"no such initialisation: {initialisation!r}")


def draw_layers(
    network: MLP, *, generators: Sequence[torch.Generator]
) -> tuple[AffineEncoder, ...]:
    """Layers of one network per generator, in float64, so that every dtype has the same weights."""
    layers = []
    inputs = network.inputs
    for out in network.widths:
        weights, biases = [], []
        for generator in generators:
            weights.append(
                draw_weight(
                    out=out,
                    inputs=inputs,
                    initialisation=network.initialisation,
                    generator=generator,
                )
            )
            bias = torch.zeros(out, dtype=torch.float64)
            if network.bias:
                bound: float = inputs**-0.5
                bias.uniform_(-bound, bound, generator=generator)
            biases.append(bias)
        layers.append(AffineEncoder(torch.stack(weights), torch.stack(biases)))
        inputs = out
    return tuple(layers)


def draw_stack(network: MLP, seeds: ReplicateSeeds) -> list[tuple[Tensor, Tensor]]:
    """Weights, shape (out, in), and biases of a replicate's layers, in float64."""
    layers = draw_layers(network, generators=[torch_generator(seeds, Source.WEIGHTS)])
    return [(layer.matrix[0], layer.offset[0]) for layer in layers]


def mlp_encoder(
    network: MLP,
    *,
    generators: Sequence[torch.Generator],
    dtype: torch.dtype,
    device: torch.device,
) -> Encoder:
    """Encoder of freshly drawn networks; linear stacks are composed in float64 first."""
    layers = draw_layers(network, generators=generators)
    if network.linear:
        layers = (compose([layer.to(device) for layer in layers]),)
    maps = [layer.to(device, dtype) for layer in layers]
    if network.linear:
        return maps[0]
    if network.activation != "relu" or not is_worthwhile([each.matrix for each in maps]):
        return StackEncoder(tuple(maps), network.activation)
    first, *others = maps
    others = [AffineEncoder(each.matrix.mT.contiguous().mT, each.offset) for each in others]
    return WideStackEncoder(StackEncoder((first, *others), network.activation))
