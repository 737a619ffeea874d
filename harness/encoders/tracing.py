"""A module's graph, traced once, as a short list of layers.

No shapes are needed: every layer of the graph becomes a node, an in-place operation renames the
value that it overwrites, and sums and ReLUs are fused into the layer that they follow.
"""

from __future__ import annotations

import collections
import dataclasses
import operator
import reprlib
from collections.abc import Callable, Sequence

import torch
from torch import fx, nn
from torch.nn import functional as F

_HOOKS = nn.modules.module
"""Where torch has hooks that hold for all modules."""


class UntraceableError(Exception):
    """A module does something for which there is no operation; says what."""


class Add(nn.Module):
    """The sum of two values as a layer."""

    def __init__(self, *, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace


@dataclasses.dataclass(frozen=True)
class Node:
    """A layer applied to values, which are numbered; 0 is the input of the network.

    Parameters
    ----------
    layer : nn.Module
        The layer.
    inputs : tuple of int
        Values that it takes; an affine layer adds the second one, if any, to its output.
    output : int
        The value that it yields.
    relu : bool
        Whether a ReLU follows.
    """

    layer: nn.Module
    inputs: tuple[int, ...]
    output: int
    relu: bool = False

    @property
    def open(self) -> bool:
        """Whether a sum or a ReLU can be fused into it."""
        return isinstance(self.layer, (nn.Conv2d, nn.Linear)) and not self.relu


@dataclasses.dataclass(frozen=True)
class TracedGraph:
    """The nodes of a module in the order of execution, and the value that it returns."""

    nodes: tuple[Node, ...]
    output: int


def trace(module: nn.Module) -> TracedGraph:
    """The layers of a module in eval mode.

    Raises
    ------
    UntraceableError
        If it does anything for which there is no operation.
    """
    everywhere = (_HOOKS._global_forward_hooks, _HOOKS._global_forward_pre_hooks)
    for part in module.modules():
        if part._forward_hooks or part._forward_pre_hooks or any(everywhere):
            raise UntraceableError("it has hooks")
        if "forward" in vars(part):
            raise UntraceableError(f"the forward pass of a {type(part).__name__} is replaced")
    whole = nn.Sequential(module)  # a layer by itself would be traced as the functions it calls
    try:
        graph = _traced(whole)
    except Exception as error:  # the module's own code can fail on a symbol in any way
        said = str(error).partition("\n")[0]
        raise UntraceableError(f"its graph cannot be traced: {said}") from error
    values: dict[object, int] = {}
    nodes: list[Node] = []
    for step in graph.nodes:
        if step.op == "placeholder":
            if values:
                raise UntraceableError("it takes more than one input")
            values[step] = 0
        elif step.op == "output":
            (result,) = step.args
        else:
            _note(step, whole, values, nodes)
    if result not in values:
        raise UntraceableError("it does not return one tensor")
    return _joined(nodes, values[result])


def _traced(module: nn.Module) -> fx.Graph:
    """The graph of a module, which keeps nothing of the module alive.

    A tracer refers to itself and to the module, whose weights would stay on a device until the next
    garbage collection.
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
"""Layers that do what functions and methods do, made of the arguments after the tensors."""


def _layer(step: fx.Node, module: nn.Module) -> nn.Module:
    """A step of a graph as a layer."""
    extra = [value for value in step.args if not isinstance(value, fx.Node)]
    try:
        if step.op == "call_module":
            layer = module.get_submodule(str(step.target))
            known = not extra and not step.kwargs
        else:
            layer = _FUNCTIONS[step.target](*extra, **step.kwargs)
            known = True
    except (KeyError, TypeError) as error:
        raise UntraceableError(f"there is no operation for {_named(step, module)}") from error
    if not (known and _is_known(layer)):
        raise UntraceableError(f"there is no operation for {_named(step, module)}")
    return layer


def _named(step: fx.Node, module: nn.Module) -> str:
    """A step of a graph in words: a layer with its name, or a call."""
    # The first part of a name is that of the module in the sequence around it.
    place = str(step.target).partition(".")[2]
    match step.op:
        case "call_module":
            layer = str(module.get_submodule(str(step.target))).partition("(\n")[0]
            return f"the layer {place}, {layer}" if place else layer
        case "get_attr":
            return f"a use of {place} outside of its layer"
    name = step.target if isinstance(step.target, str) else step.target.__name__
    arguments = [*map(reprlib.repr, step.args), *(f"{k}={v!r}" for k, v in step.kwargs.items())]
    return f"{name}({', '.join(arguments)})"


def _is_known(layer: nn.Module) -> bool:
    """Whether there is an operation for a layer."""
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


def _note(step: fx.Node, module: nn.Module, values: dict[object, int], nodes: list[Node]) -> None:
    """Add a step to the nodes and the values so far."""
    layer = _layer(step, module)
    inputs = tuple(values[each] for each in step.args if isinstance(each, fx.Node))
    if len(inputs) != 1 + isinstance(layer, Add):
        raise UntraceableError(f"there is no operation for {_named(step, module)}")
    if isinstance(layer, (nn.Identity, nn.Dropout)):
        values[step] = inputs[0]
        return
    output = len(nodes) + 1
    if getattr(layer, "inplace", False):
        overwritten = inputs[0]
        for node in nodes:
            if isinstance(node.layer, nn.Flatten) and overwritten in (*node.inputs, node.output):
                raise UntraceableError(f"{_named(step, module)} overwrites what has two shapes")
        # From here on every name of the overwritten value means the new one.
        values.update({name: output for name, value in values.items() if value == overwritten})
    nodes.append(Node(layer, inputs, output))
    values[step] = output


def _joined(nodes: Sequence[Node], result: int) -> TracedGraph:
    """Fuse sums and ReLUs into the layers that they follow, and drop nodes without use."""
    uses = collections.Counter(value for node in nodes for value in node.inputs)
    uses[result] += 1
    joined: dict[int, Node] = {}

    def take(value: int, *, most: int = 2) -> Node | None:
        """Remove and return the node of a value, if something can be fused into it."""
        node = joined.get(value)
        free = node and node.open and uses[value] == 1 and len(node.inputs) <= most
        return joined.pop(value) if free else None

    for node in nodes:
        new = node
        if isinstance(node.layer, nn.ReLU) and (maker := take(node.inputs[0])):
            new = dataclasses.replace(maker, output=node.output, relu=True)
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
    return TracedGraph(tuple(node for node in joined.values() if node.output in needed), result)
