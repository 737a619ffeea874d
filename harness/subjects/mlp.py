"""Stacks of fully connected layers, one set of weights a sample, batched."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from harness.settings import MLP
from harness.subjects.encoder import AffineEncoder, Encoder, ModuleEncoder

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "leaky-relu": nn.functional.leaky_relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


@dataclasses.dataclass(frozen=True)
class Layer:
    """Weights of one layer for a batch of networks.

    Parameters
    ----------
    weight : tensor, shape (batch, out, in)
    bias : tensor, shape (batch, out)
    """

    weight: Float[Tensor, "batch out in"]
    bias: Float[Tensor, "batch out"]


def draw_weight(
    *, out: int, inputs: int, initialisation: str, generator: torch.Generator
) -> Float[Tensor, "out in"]:
    """Weights of one layer in float64.

    Parameters
    ----------
    out, inputs : int
        Units and fan-in.
    initialisation : str
        One of `harness.settings.INITIALISATIONS`.
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


def draw_layers(network: MLP, *, generators: Sequence[torch.Generator]) -> tuple[Layer, ...]:
    """Layers of one network a generator, in float64, so that every dtype has the same draw."""
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
        layers.append(Layer(torch.stack(weights), torch.stack(biases)))
        inputs = out
    return tuple(layers)


def compose(layers: Sequence[Layer]) -> Layer:
    """The one affine map that a linear stack is."""
    matrix, offset = layers[0].weight, layers[0].bias
    for layer in layers[1:]:
        matrix = layer.weight @ matrix
        offset = (layer.weight @ offset[..., None]).squeeze(-1) + layer.bias
    return Layer(matrix, offset)


class Stack(nn.Module):
    """Layers with an activation between them."""

    def __init__(self, layers: Sequence[Layer], *, activation: str) -> None:
        super().__init__()
        self.weights = [layer.weight.transpose(1, 2).contiguous() for layer in layers]
        self.biases = [layer.bias for layer in layers]
        self.activation = _ACTIVATIONS[activation]

    def forward(self, inputs: Float[Tensor, "batch n"]) -> Float[Tensor, "batch m"]:
        """Outputs before any activation of the last layer."""
        hidden = inputs
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if number:
                hidden = self.activation(hidden)
            hidden = torch.bmm(hidden[:, None], weight).squeeze(1) + bias
        return hidden


def mlp_encoder(
    network: MLP,
    *,
    generators: Sequence[torch.Generator],
    dtype: torch.dtype,
    device: torch.device,
) -> Encoder:
    """Encoder of a batch of freshly drawn networks; a linear stack is composed in float64 first."""
    layers = draw_layers(network, generators=generators)
    if network.linear:
        layers = (compose(layers),)
    placed = [
        Layer(layer.weight.to(device, dtype), layer.bias.to(device, dtype)) for layer in layers
    ]
    if network.linear:
        return AffineEncoder(placed[0].weight, placed[0].bias)
    return ModuleEncoder(Stack(placed, activation=network.activation))
