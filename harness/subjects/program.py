"""A module read once as a short list of operations, and run without autograd.

That takes two steps. `read` needs no shapes: every layer of the module's graph becomes a node, an
in-place operation renames the value that it overwrites, and sums and rectifiers join the layer that
they follow. A `Program` turns the nodes into operations for inputs of one shape, since the fastest
form of a convolution depends on it.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import operator
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from harness.subjects.encoder import Pullback, Pushforward
from harness.subjects.maps import (
    Map,
    PlainConvolution,
    Product,
    Sampled,
    Unfolded,
    laid_out,
    summed,
)
from harness.subjects.ops import (
    Affine,
    AvgPool,
    Flatten,
    MaxPool,
    Mean,
    Memory,
    Op,
    Rectifier,
    Scale,
    Sum,
)
from harness.subjects.packed import PackedConvolution, packs
from harness.subjects.winograd import Winograd, best_tile

_FEW_ROWS = 256
"""Rows below which a product is faster than oneDNN's convolution of single pixels."""

_NARROW = 4
"""Columns below which oneDNN's convolution leaves most registers empty, and unfolding is faster."""


class UnreadableError(Exception):
    """A module that is no list of the operations known here; says why."""


class Add(nn.Module):
    """The layer that a sum of two values is."""

    def __init__(self, *, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace


@dataclasses.dataclass(frozen=True)
class Node:
    """A layer applied to values, which are numbered; 0 is the input of the whole.

    Parameters
    ----------
    layer : nn.Module
        What is done.
    inputs : tuple of int
        Values that it takes; a second one is added to what an affine layer makes of the first.
    output : int
        The value that it makes.
    rectified : bool
        Whether max(0, .) follows.
    """

    layer: nn.Module
    inputs: tuple[int, ...]
    output: int
    rectified: bool = False

    @property
    def open(self) -> bool:
        """Whether a sum or a rectifier can join."""
        return isinstance(self.layer, (nn.Conv2d, nn.Linear)) and not self.rectified


@dataclasses.dataclass(frozen=True)
class Reading:
    """The nodes of a module in the order in which they run, and the value that it returns."""

    nodes: tuple[Node, ...]
    output: int


def read(module: nn.Module) -> Reading:
    """What a module in eval mode does.

    Raises
    ------
    UnreadableError
        Where it does anything that no operation stands for.
    """
    if any(part._forward_hooks or part._forward_pre_hooks for part in module.modules()):
        raise UnreadableError("it has hooks")
    whole = nn.Sequential(module)  # a layer by itself would be read as the functions it calls
    try:
        graph = _traced(whole)
    except Exception as error:  # the module's own code can fail on a symbol in any way
        raise UnreadableError(f"its graph cannot be traced: {error}") from error
    values: dict[object, int] = {}
    nodes: list[Node] = []
    for step in graph.nodes:
        if step.op == "placeholder":
            if values:
                raise UnreadableError("it takes more than one input")
            values[step] = 0
        elif step.op == "output":
            (result,) = step.args
        else:
            _note(step, _layer(step, whole), values, nodes)
    if result not in values:
        raise UnreadableError("it does not return one tensor")
    return _joined(nodes, values[result])


def _traced(module: nn.Module) -> fx.Graph:
    """The graph of a module, through which nothing of it is kept alive.

    A tracer refers to itself and to the module, whose weights would stay on a device until Python
    happens to collect its garbage.
    """
    tracer = fx.Tracer()
    try:
        return tracer.trace(module)
    finally:
        vars(tracer).clear()


def _dropout(p: float = 0.5, *, training: bool = True, inplace: bool = False) -> nn.Module:
    return nn.Dropout(p, inplace=inplace).train(training)


_FUNCTIONS: dict[object, Callable[..., nn.Module]] = {
    F.relu: nn.ReLU,
    torch.relu: nn.ReLU,
    "relu": nn.ReLU,
    torch.relu_: lambda: nn.ReLU(inplace=True),
    "relu_": lambda: nn.ReLU(inplace=True),
    operator.add: Add,
    torch.add: Add,
    "add": Add,
    operator.iadd: lambda: Add(inplace=True),
    "add_": lambda: Add(inplace=True),
    torch.flatten: lambda start_dim=0, end_dim=-1: nn.Flatten(start_dim, end_dim),
    "flatten": lambda start_dim=0, end_dim=-1: nn.Flatten(start_dim, end_dim),
    F.max_pool2d: nn.MaxPool2d,
    F.avg_pool2d: nn.AvgPool2d,
    F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    F.dropout: _dropout,
}
"""The layers that functions and methods stand for, by the arguments after the tensors."""


def _layer(step: fx.Node, module: nn.Module) -> nn.Module:
    """The layer that a step of a graph is, for inputs that are all tensors."""
    extra = [value for value in step.args if not isinstance(value, fx.Node)]
    try:
        if step.op == "call_module":
            layer = module.get_submodule(str(step.target))
            known = not extra and not step.kwargs
        else:
            layer = _FUNCTIONS[step.target](*extra, **step.kwargs)
            known = True
    except (KeyError, TypeError) as error:
        raise UnreadableError(f"nothing stands for {step.format_node()}") from error
    if not (known and _is_known(layer)):
        raise UnreadableError(f"nothing stands for {step.format_node()}: {layer}")
    return layer


def _is_known(layer: nn.Module) -> bool:
    """Whether an operation does what a layer does."""
    kind = type(layer)  # a class derived from torch's may do something else
    if kind is nn.Conv2d:
        return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    if kind is nn.BatchNorm2d:
        return not layer.training and layer.running_mean is not None
    if kind is nn.MaxPool2d:
        return not layer.return_indices
    if kind is nn.AdaptiveAvgPool2d:
        return layer.output_size in (1, (1, 1))
    if kind is nn.Flatten:
        return bool(layer.start_dim == 1 and layer.end_dim == -1)
    if kind is nn.Dropout:
        return not layer.training
    return kind in (nn.Linear, nn.ReLU, nn.AvgPool2d, nn.Identity, Add)


def _note(step: fx.Node, layer: nn.Module, values: dict[object, int], nodes: list[Node]) -> None:
    """Add what a step does to the nodes and the values so far."""
    inputs = tuple(values[each] for each in step.args if isinstance(each, fx.Node))
    if len(inputs) != 1 + isinstance(layer, Add):
        raise UnreadableError(f"nothing stands for {step.format_node()}")
    if isinstance(layer, (nn.Identity, nn.Dropout)):
        values[step] = inputs[0]
        return
    output = len(nodes) + 1
    if getattr(layer, "inplace", False):
        overwritten = inputs[0]
        for node in nodes:
            if isinstance(node.layer, nn.Flatten) and overwritten in (*node.inputs, node.output):
                raise UnreadableError(f"{step.format_node()} overwrites what has two shapes")
        # Whoever reads the overwritten value from here on reads the new one.
        values.update({name: output for name, value in values.items() if value == overwritten})
    nodes.append(Node(layer, inputs, output))
    values[step] = output


def _joined(nodes: Sequence[Node], result: int) -> Reading:
    """Nodes with sums and rectifiers joined to the layers that they follow, and none idle."""
    uses = collections.Counter(value for node in nodes for value in node.inputs)
    uses[result] += 1
    joined: dict[int, Node] = {}

    def take(value: int, *, most: int = 2) -> Node | None:
        """Take away the node that made a value, where something can join it."""
        node = joined.get(value)
        free = node and node.open and uses[value] == 1 and len(node.inputs) <= most
        return joined.pop(value) if free else None

    for node in nodes:
        new = node
        if isinstance(node.layer, nn.ReLU) and (maker := take(node.inputs[0])):
            new = dataclasses.replace(maker, output=node.output, rectified=True)
        elif isinstance(node.layer, Add):
            for first, second in (node.inputs, node.inputs[::-1]):
                if maker := take(first, most=1):
                    new = Node(maker.layer, (*maker.inputs, second), node.output)
                    break
        joined[new.output] = new
    needed = {result}
    for node in reversed(joined.values()):
        if node.output in needed:
            needed.update(node.inputs)
    return Reading(tuple(node for node in joined.values() if node.output in needed), result)


@dataclasses.dataclass(frozen=True)
class Step:
    """An operation in its place.

    Parameters
    ----------
    op : Op
        What is done.
    inputs : tuple of int
        Values that it takes.
    output : int
        The value that it makes.
    spent : tuple of int
        Values that nobody needs afterwards.
    """

    op: Op
    inputs: tuple[int, ...]
    output: int
    spent: tuple[int, ...]


class Program:
    """An encoder of inputs of one shape: operations one after the other, without autograd.

    Parameters
    ----------
    reading : Reading
        What is done.
    inputs : tensor
        Of the shape, dtype and device that the program is for.

    Raises
    ------
    UnreadableError
        Where an operation does not fit inputs of this shape.
    """

    def __init__(self, reading: Reading, inputs: Tensor) -> None:
        self._output = reading.output
        last = {value: node.output for node in reading.nodes for value in node.inputs}
        last[reading.output] = -1
        values = {0: laid_out(inputs)}
        steps = []
        for node in reading.nodes:
            taken = [values[value] for value in node.inputs]
            op = _operation(node, taken)
            values[node.output], _ = op.forward(*taken)
            spent = {value for value in node.inputs if last[value] == node.output}
            steps.append(Step(op, node.inputs, node.output, tuple(spent)))
        self._steps = tuple(steps)

    @torch.no_grad()
    def encode(self, inputs: Tensor) -> Tensor:
        """Outputs of a batch of inputs."""
        values = {0: laid_out(inputs)}
        for step in self._steps:
            values[step.output], _ = step.op.forward(*(values[value] for value in step.inputs))
            for value in step.spent:
                del values[value]
        return values[self._output]

    def pull(self, inputs: Tensor) -> tuple[Tensor, Pullback]:
        """Outputs of a batch of inputs, and the pullback there."""
        output, _, pullback = self.linearize(inputs)
        return output, pullback

    @torch.no_grad()
    def linearize(self, inputs: Tensor) -> tuple[Tensor, Pushforward, Pullback]:
        """Outputs of a batch of inputs, the pushforward and the pullback there."""
        values = {0: laid_out(inputs)}
        memories: list[Memory] = []
        for step in self._steps:
            taken = [values[value] for value in step.inputs]
            values[step.output], memory = step.op.forward(*taken)
            memories.append(memory)
            for value in step.spent:
                del values[value]

        @torch.no_grad()
        def pushforward(tangent: Tensor) -> Tensor:
            tangents = {0: laid_out(tangent)}
            for step, memory in zip(self._steps, memories, strict=True):
                taken = [tangents[value] for value in step.inputs]
                tangents[step.output] = step.op.push(memory, *taken)
                for value in step.spent:
                    del tangents[value]
            return tangents[self._output]

        @torch.no_grad()
        def pullback(cotangent: Tensor) -> Tensor:
            # A copy, since operations overwrite the cotangents that they are given.
            cotangents = {self._output: laid_out(cotangent.clone())}
            for step, memory in zip(reversed(self._steps), reversed(memories), strict=True):
                onto = cotangents.pop(step.inputs[0], None)
                pulled = step.op.pull(memory, cotangents.pop(step.output), onto)
                cotangents[step.inputs[0]] = pulled[0]
                for value in step.inputs[1:]:
                    cotangents[value] = summed(pulled[1], cotangents.get(value))
            return cotangents[0]

        return values[self._output], pushforward, pullback


def _operation(node: Node, inputs: Sequence[Tensor]) -> Op:
    """The operation of a node for inputs of the shapes given."""
    layer, x = node.layer, inputs[0]
    whatever = isinstance(layer, (nn.ReLU, Add))
    if not whatever and x.dim() != (2 if isinstance(layer, nn.Linear) else 4):
        raise UnreadableError(f"{layer} of inputs of shape {tuple(x.shape)}")
    match layer:
        case nn.Conv2d():
            return _affine(fastest(PlainConvolution.of(layer, x.shape)), node, inputs)
        case nn.Linear():
            return _affine(Product.linear(layer, rows=len(x)), node, inputs)
        case nn.ReLU():
            return Rectifier()
        case Add() if x.shape == inputs[1].shape:
            return Sum()
        case nn.BatchNorm2d():
            return Scale.of(layer)
        case nn.MaxPool2d():
            return MaxPool.of(layer)
        case nn.AvgPool2d():
            return AvgPool.of(layer)
        case nn.AdaptiveAvgPool2d():
            return Mean()
        case nn.Flatten():
            return Flatten()
        case _:
            raise UnreadableError(f"nothing stands for {layer}")


def _affine(form: Map, node: Node, inputs: Sequence[Tensor]) -> Affine:
    """An affine operation, for whose second input, if any, nothing has to be repeated."""
    for second in inputs[1:]:
        if second.shape != form.push(inputs[0]).shape:
            raise UnreadableError(f"{node.layer} plus {tuple(second.shape)}")
    return Affine(form, node.rectified)


def fastest(plain: PlainConvolution) -> Map:
    """The fastest form of a convolution for inputs of its shape.

    The choice depends on shapes, dtype and device and never on a timing, since the forms differ in
    rounding.
    """
    batch, onto, where = plain.shape[0], plain.outside, plain.weight.device.type
    if not plain.simple:
        return plain
    if plain.pointwise and plain.stride != (1, 1):
        return Sampled(fastest(plain.sampled()), plain.stride, plain.inside)
    if plain.pointwise:
        # Where there are many rows, it counts that bias and summand take no pass of their own.
        few = batch * math.prod(onto) < _FEW_ROWS
        return Product.pointwise(plain) if few or not packs(plain) else PackedConvolution.of(plain)
    if where == "cpu" and (tile := best_tile(plain)):
        return Winograd.of(plain, tile)
    if plain.small:
        return Product.dense(plain)
    if where == "cpu" and batch > 1 and onto[1] < _NARROW:
        return Unfolded.of(plain)
    return PackedConvolution.of(plain) if packs(plain) else plain
