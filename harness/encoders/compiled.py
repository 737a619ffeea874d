"""A traced graph, run without autograd.

A `CompiledPlan` turns the nodes of a traced graph into operations for inputs of one shape, since
the fastest form of a convolution depends on the shape.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor, nn

from harness.encoders.convolutions.choose import affine_map
from harness.encoders.convolutions.convolution import AffineMap, Convolution
from harness.encoders.convolutions.products import Product
from harness.encoders.encoder import JVP, VJP
from harness.encoders.layout import accumulate, channels_last
from harness.encoders.ops import (
    Affine,
    AvgPool,
    ChannelScale,
    Flatten,
    MaxPool,
    Mean,
    Memory,
    Op,
    ReLU,
    Sum,
)
from harness.encoders.tracing import Add, Node, TracedGraph, UntraceableError


@dataclasses.dataclass(frozen=True)
class Step:
    """An operation in its place in a plan.

    Parameters
    ----------
    op : Op
    inputs : tuple of int
        Numbers of the values that it takes.
    output : int
        Number of the value that it makes.
    spent : tuple of int
        Values that are not needed afterwards.
    """

    op: Op
    inputs: tuple[int, ...]
    output: int
    spent: tuple[int, ...]


class CompiledPlan:
    """An encoder of inputs of one shape: a sequence of operations, without autograd.

    Parameters
    ----------
    graph : TracedGraph
        The traced module.
    inputs : tensor
        Of the shape, dtype and device that the plan is for.
    without : collection of str
        Members of `harness.encoders.convolutions.choose.FORMS` that are not to be taken.

    Raises
    ------
    UntraceableError
        Where an operation does not fit inputs of this shape.
    """

    def __init__(
        self, graph: TracedGraph, inputs: Tensor, *, without: Collection[str] = ()
    ) -> None:
        self._output = graph.output
        last = {value: node.output for node in graph.nodes for value in node.inputs}
        last[graph.output] = -1
        values = {0: channels_last(inputs)}
        steps = []
        for node in graph.nodes:
            taken = [values[value] for value in node.inputs]
            op = _operation(node, taken, without=without)
            values[node.output], _ = op.forward(*taken)
            spent = {value for value in node.inputs if last[value] == node.output}
            steps.append(Step(op, node.inputs, node.output, tuple(spent)))
        self._steps = tuple(steps)

    @torch.no_grad()
    def encode(self, inputs: Tensor) -> Tensor:
        """Outputs of a batch of inputs."""
        return self._forward(inputs, lambda _: None)

    def vjp(self, inputs: Tensor) -> tuple[Tensor, VJP]:
        """Outputs of a batch of inputs, and their VJP."""
        output, _, vjp = self.linearize(inputs)
        return output, vjp

    @torch.no_grad()
    def linearize(self, inputs: Tensor) -> tuple[Tensor, JVP, VJP]:
        """Outputs of a batch of inputs, their JVP and their VJP."""
        memories: list[Memory] = []
        output = self._forward(inputs, memories.append)

        @torch.no_grad()
        def jvp(tangent: Tensor) -> Tensor:
            tangents = {0: channels_last(tangent)}
            for step, memory in zip(self._steps, memories, strict=True):
                taken = [tangents[value] for value in step.inputs]
                tangents[step.output] = step.op.apply_jvp(memory, *taken)
                for value in step.spent:
                    del tangents[value]
            return tangents[self._output]

        @torch.no_grad()
        def vjp(cotangent: Tensor) -> Tensor:
            # A copy, since operations may overwrite the cotangents that they are given.
            cotangents = {self._output: channels_last(cotangent.clone())}
            for step, memory in zip(reversed(self._steps), reversed(memories), strict=True):
                # An affine operation yields two, even where it has one input.
                found = step.op.apply_vjp(memory, cotangents.pop(step.output))
                for value, each in zip(step.inputs, found, strict=False):
                    cotangents[value] = accumulate(each, cotangents.get(value))
            return cotangents[0]

        return output, jvp, vjp

    def _forward(self, inputs: Tensor, remember: Callable[[Memory], None]) -> Tensor:
        """Run all steps; each one's memory is handed on, or freed."""
        values = {0: channels_last(inputs)}
        for step in self._steps:
            values[step.output], memory = step.op.forward(*(values[value] for value in step.inputs))
            remember(memory)
            for value in step.spent:
                del values[value]
        return values[self._output]


def _operation(node: Node, inputs: Sequence[Tensor], *, without: Collection[str]) -> Op:
    """The operation of a node for inputs of the shapes given."""
    layer, x = node.layer, inputs[0]
    whatever = isinstance(layer, (nn.ReLU, Add))
    if not whatever and x.dim() != (2 if isinstance(layer, nn.Linear) else 4):
        raise UntraceableError(f"{layer} of inputs of shape {tuple(x.shape)}")
    match layer:
        case nn.Conv2d():
            convolution = Convolution.of(layer, x.shape)
            return _affine(affine_map(convolution, _bias(layer), without=without), node, inputs)
        case nn.Linear():
            product = Product.of(layer.weight.detach(), rows=len(x))
            return _affine(AffineMap(product, product.transpose, _bias(layer)), node, inputs)
        case nn.ReLU():
            return ReLU()
        case Add() if x.shape == inputs[1].shape:
            return Sum()
        case nn.BatchNorm2d():
            return ChannelScale.of(layer)
        case nn.MaxPool2d():
            return MaxPool.of(layer)
        case nn.AvgPool2d():
            return AvgPool.of(layer)
        case nn.AdaptiveAvgPool2d():
            return Mean()
        case nn.Flatten():
            return Flatten()
        case _:
            raise UntraceableError(f"there is no operation for {layer}")


def _bias(layer: nn.Conv2d | nn.Linear) -> Tensor | None:
    return None if layer.bias is None else layer.bias.detach()


def _affine(map_: AffineMap, node: Node, inputs: Sequence[Tensor]) -> Affine:
    """An affine operation whose second input, if any, has the shape of its output."""
    for second in inputs[1:]:
        if second.shape != map_.linear(inputs[0], None).shape:
            raise UntraceableError(f"{node.layer} plus {tuple(second.shape)}")
    return Affine(map_, node.relu)
