"""Stacks of fully connected layers, one set of weights a sample, batched."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from harness.settings import MLP
from harness.subjects.encoder import AffineEncoder, Encoder, Pullback, Pushforward

_LEAK = 0.01
"""Slope of a leaky rectifier left of 0, torch's own."""

_ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "relu": (torch.relu, lambda y: (y > 0).to(y.dtype)),
    "leaky-relu": (
        functools.partial(nn.functional.leaky_relu, negative_slope=_LEAK),
        lambda y: torch.full_like(y, _LEAK).masked_fill_(y > 0, 1),
    ),
    "tanh": (torch.tanh, lambda y: 1 - y * y),
    "sigmoid": (torch.sigmoid, lambda y: y * (1 - y)),
}
"""Activations, and their derivatives as functions of what they yield."""


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


@dataclasses.dataclass(frozen=True)
class StackEncoder:
    """Affine maps with an activation between them, a stack for each network.

    Derivatives are written by hand: what autograd notes for layers this small takes longer than the
    layers.

    Parameters
    ----------
    layers : tuple of AffineEncoder
        The maps, with the same number of networks.
    activation : str
        Between them; one of `harness.settings.ACTIVATIONS` other than "none".
    """

    layers: tuple[AffineEncoder, ...]
    activation: str

    def encode(self, inputs: Float[Tensor, "batch n"]) -> Float[Tensor, "batch m"]:
        """Outputs of a batch of inputs, before any activation of the last layer."""
        return self._forward(inputs)[-1]

    def pull(self, inputs: Float[Tensor, "batch n"]) -> tuple[Float[Tensor, "batch m"], Pullback]:
        """Outputs of a batch of inputs, and the pullback there."""
        *slopes, output = self._slopes(inputs)
        return output, functools.partial(self._pull, slopes)

    def linearize(
        self, inputs: Float[Tensor, "batch n"]
    ) -> tuple[Float[Tensor, "batch m"], Pushforward, Pullback]:
        """Outputs of a batch of inputs, the pushforward and the pullback there."""
        *slopes, output = self._slopes(inputs)
        return output, functools.partial(self._push, slopes), functools.partial(self._pull, slopes)

    def _forward(self, inputs: Tensor) -> list[Tensor]:
        """What each activation yields, and last the output."""
        activate, _ = _ACTIVATIONS[self.activation]
        *hidden, last = self.layers
        found = [inputs]
        for layer in hidden:
            found.append(activate(layer.encode(found[-1])))
        return [*found[1:], last.encode(found[-1])]

    def _slopes(self, inputs: Tensor) -> list[Tensor]:
        """The derivative of each activation, and last the output."""
        _, slope = _ACTIVATIONS[self.activation]
        *hidden, output = self._forward(inputs)
        return [*map(slope, hidden), output]

    def _push(self, slopes: Sequence[Tensor], tangent: Tensor) -> Tensor:
        first, *others = self.layers
        moved = first.push(tangent)
        for slope, layer in zip(slopes, others, strict=True):
            moved = layer.push(moved * slope)
        return moved

    def _pull(self, slopes: Sequence[Tensor], cotangent: Tensor) -> Tensor:
        *others, last = self.layers
        moved = last.pull_back(cotangent)
        for slope, layer in zip(reversed(slopes), reversed(others), strict=True):
            moved = layer.pull_back(moved * slope)
        return moved


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
    maps = tuple(AffineEncoder(layer.weight, layer.bias) for layer in placed)
    return maps[0] if network.linear else StackEncoder(maps, network.activation)
