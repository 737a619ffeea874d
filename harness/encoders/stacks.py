"""Encoders of stacks of fully connected layers, one stack a network."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from harness.encoders.encoder import JVP, VJP, AffineEncoder
from harness.encoders.sparse_rows import combined, dotted

_LEAK = 0.01
"""Slope of a leaky ReLU below 0, torch's default."""


_ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "relu": (torch.relu, lambda v, y: torch.ops.aten.threshold_backward(v, y, 0)),
    "leaky-relu": (
        functools.partial(nn.functional.leaky_relu, negative_slope=_LEAK),
        lambda v, y: torch.ops.aten.leaky_relu_backward(v, y, _LEAK, True),
    ),
    "tanh": (torch.tanh, torch.ops.aten.tanh_backward),
    "sigmoid": (torch.sigmoid, torch.ops.aten.sigmoid_backward),
}
"""Activations, and their VJP as a function of a vector and of the activation's output."""


def compose(layers: Sequence[AffineEncoder]) -> AffineEncoder:
    """A linear stack as one affine map."""
    matrix, offset = layers[0].matrix, layers[0].offset
    for layer in layers[1:]:
        matrix = layer.matrix @ matrix
        offset = (layer.matrix @ offset[..., None]).squeeze(-1) + layer.offset
    return AffineEncoder(matrix, offset)


@dataclasses.dataclass(frozen=True)
class StackEncoder:
    """Affine maps with an activation between them, a stack for each network.

    Derivatives are written by hand, since for layers this small autograd's bookkeeping takes longer
    than the arithmetic.

    Parameters
    ----------
    layers : tuple of AffineEncoder
        The maps, with the same number of networks.
    activation : str
        Between them; one of `harness.plan.networks.ACTIVATIONS` other than "none".
    """

    layers: tuple[AffineEncoder, ...]
    activation: str

    def encode(self, inputs: Float[Tensor, "batch n"]) -> Float[Tensor, "batch m"]:
        """Outputs of a batch of inputs, before any activation of the last layer."""
        return self._forward(inputs)[0]

    def vjp(self, inputs: Float[Tensor, "batch n"]) -> tuple[Float[Tensor, "batch m"], VJP]:
        """Outputs of a batch of inputs, and their VJP."""
        output, hidden = self._forward(inputs)
        return output, functools.partial(self._vjp, hidden)

    def linearize(
        self, inputs: Float[Tensor, "batch n"]
    ) -> tuple[Float[Tensor, "batch m"], JVP, VJP]:
        """Outputs of a batch of inputs, their JVP and their VJP."""
        output, hidden = self._forward(inputs)
        return output, functools.partial(self._jvp, hidden), functools.partial(self._vjp, hidden)

    def _forward(self, inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The output, and the outputs of the activations."""
        activate, _ = _ACTIVATIONS[self.activation]
        first, *others = self.layers
        found, hidden = first.encode(inputs), []
        for layer in others:
            hidden.append(activate(found))
            found = layer.encode(hidden[-1])
        return found, hidden

    def _jvp(self, hidden: Sequence[Tensor], tangent: Tensor) -> Tensor:
        _, through = _ACTIVATIONS[self.activation]
        first, *others = self.layers
        moved = first.apply_jvp(tangent)
        for yielded, layer in zip(hidden, others, strict=True):
            moved = layer.apply_jvp(through(moved, yielded))
        return moved

    def _vjp(self, hidden: Sequence[Tensor], cotangent: Tensor) -> Tensor:
        _, through = _ACTIVATIONS[self.activation]
        first, *others = self.layers
        for yielded, layer in zip(reversed(hidden), reversed(others), strict=True):
            cotangent = through(layer.apply_vjp(cotangent), yielded)
        return first.apply_vjp(cotangent)


@dataclasses.dataclass(frozen=True)
class WideStackEncoder:
    """A ReLU stack whose layers exceed the cache: weights of inactive units are not read.

    Parameters
    ----------
    stack : StackEncoder
        With ReLUs, at least two layers, and all matrices but the first laid out by their inputs. It
        takes over where several samples share a network, and so its weights.
    """

    stack: StackEncoder

    def encode(self, inputs: Float[Tensor, "batch n"]) -> Float[Tensor, "batch m"]:
        """Outputs of a batch of inputs, before any activation of the last layer."""
        return self.linearize(inputs)[0]

    def vjp(self, inputs: Float[Tensor, "batch n"]) -> tuple[Float[Tensor, "batch m"], VJP]:
        """Outputs of a batch of inputs, and their VJP."""
        output, _, vjp = self.linearize(inputs)
        return output, vjp

    def linearize(
        self, inputs: Float[Tensor, "batch n"]
    ) -> tuple[Float[Tensor, "batch m"], JVP, VJP]:
        """Outputs of a batch of inputs, their JVP and their VJP."""
        if len(inputs) != len(self.stack.layers[0].matrix):
            return self.stack.linearize(inputs)
        outputs, jvps, vjps = zip(*map(self._one, range(len(inputs)), inputs), strict=True)
        return torch.stack(outputs), _each(jvps), _each(vjps)

    def _one(self, network: int, x: Tensor) -> tuple[Tensor, JVP, VJP]:
        """The output of one network, its JVP and its VJP, all of vectors."""
        first, *others = self.stack.layers
        entry = first.matrix[network]
        matrices = [layer.matrix[network].T for layer in others]
        y, opened = torch.addmv(first.offset[network], entry, x), []
        for matrix, layer in zip(matrices, others, strict=True):
            y, rows = combined(matrix, y.relu())
            y += layer.offset[network]
            opened.append(rows)

        def jvp(tangent: Tensor) -> Tensor:
            moved = entry @ tangent
            for matrix, rows in zip(matrices, opened, strict=True):
                let_through = torch.zeros_like(moved).index_copy_(0, rows, moved[rows])
                moved, _ = combined(matrix, let_through)
            return moved

        def vjp(cotangent: Tensor) -> Tensor:
            for matrix, rows in zip(reversed(matrices), reversed(opened), strict=True):
                cotangent = dotted(matrix, cotangent, rows)
            return combined(entry, cotangent)[0]

        return y, jvp, vjp


def _each(maps: Sequence[Callable[[Tensor], Tensor]]) -> Callable[[Tensor], Tensor]:
    """Maps of vectors as one of a batch."""
    return lambda batch: torch.stack([map_(x) for map_, x in zip(maps, batch, strict=True)])
