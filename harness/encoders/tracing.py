"""A module's graph, traced once, as a short list of calls.

Layers are traced as the functions that they call, so a layer that was derived, replaced or changed
afterwards is traced for what it does. No shapes are needed. An in-place operation renames the value
that it overwrites.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import operator
import types
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from harness.encoders.first_use import first_line
from harness.encoders.held import unchanged
from harness.encoders.operations.operation import UntraceableError
from harness.encoders.operations.table import FORMS, SKIPPED, VIEWS, option
from harness.encoders.overrides import overriding_reason
from harness.encoders.part import Part, whole_of
from harness.encoders.tracer import Tracer
from harness.encoders.transforms import is_normalize, normalize

__all__ = ["Attribute", "Node", "Result", "TracedGraph", "UntraceableError", "trace"]

_SHAPES = frozenset({"shape", "ndim", "dtype", "device"})
"""Attributes of a tensor that do not depend on its numbers."""

_SHAPE_FUNCTIONS = frozenset({"size", "dim", "ndimension", "numel", "getattr"})
"""Functions of a tensor that do not depend on its numbers."""

_NAMES = {
    function: name
    for space in (torch, F, operator)
    for name, function in vars(space).items()
    if inspect.isroutine(function) and (function is torch._assert or not name.startswith("_"))
}
"""Names of functions."""

_UNKNOWN = "the function "
"""How the names of other functions begin; they may do anything."""

_OTHERS = {"torchvision.ops.stochastic_depth": "stochastic_depth"}
"""Functions of other libraries, by their modules."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a node yields.

    Parameters
    ----------
    number : int
        Of the node; 0 is the input of the network.
    """

    number: int


@dataclasses.dataclass(frozen=True)
class Attribute:
    """A parameter or a buffer, read when a plan is made.

    Parameters
    ----------
    owner : nn.Module
        The module that has it.
    name : str
        Its name there.
    """

    owner: nn.Module
    name: str

    def read(self) -> Any:
        """What the module has now."""
        value = getattr(self.owner, self.name)
        return value.detach() if isinstance(value, Tensor) else value


@dataclasses.dataclass(frozen=True)
class Node:
    """A call of a function.

    Parameters
    ----------
    name : str
        Of the function, as in `harness.encoders.operations.table.FORMS`.
    call : callable
        The function itself, for arguments that do not depend on the input.
    args, kwargs : tuple and dict
        Its arguments, with a `Result` for each that another node yields and an `Attribute` for
        each that a module has.
    number : int
        Of its result.
    flows : bool
        Whether it is a function of numbers that depend on the input.
    place : str
        What is called and in which layer, in words.
    """

    name: str
    call: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    number: int
    flows: bool
    place: str

    @property
    def uses(self) -> set[int]:
        """Numbers of the results that it takes."""
        found: set[int] = set()

        def note(argument: Any) -> Any:
            if isinstance(argument, Result):
                found.add(argument.number)
            return argument

        fx.node.map_aggregate((self.args, dict(self.kwargs)), note)
        return found


@dataclasses.dataclass(frozen=True)
class TracedGraph:
    """The nodes of a module in the order of execution, and the result that it returns."""

    nodes: tuple[Node, ...]
    output: int


def trace(module: nn.Module) -> TracedGraph:
    """The calls of a module in eval mode.

    Raises
    ------
    UntraceableError
        If it does anything for which there is no operation.
    """
    if reason := overriding_reason(whole_of(module)):
        raise UntraceableError(reason)
    whole = nn.Sequential(module)  # which calls it as a layer, whatever it is
    values: dict[fx.Node, Any] = {}
    notes = _Notes()
    result: Any = None
    with unchanged(module):
        graph = _traced(whole)
    for step in graph.nodes:
        match step.op:
            case "placeholder":
                values[step] = Result(0)
            case "get_attr":
                owner, _, name = str(step.target).rpartition(".")
                values[step] = Attribute(whole.get_submodule(owner), name)
            case "output":
                (result,) = notes.replaced(step.args, values)
                notes.refuse_stale({result.number} if isinstance(result, Result) else set())
            case _:
                notes.add(step, values)
    if not isinstance(result, Result) or result.number not in notes.flowing:
        raise UntraceableError("it does not return one tensor that depends on its input")
    return _needed(notes.nodes, result.number)


class _Tracer(Tracer):
    """Traces layers as the functions that they call, and buffers as what may be overwritten.

    Parameters
    ----------
    module : nn.Module
        The module that will be traced.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        held = [*module.named_parameters(), *module.named_buffers()]
        self._held = {id(each): name for name, each in held}

    def getattr(self, _: str, attr_val: Any, parameter_proxy_cache: dict[str, fx.Proxy]) -> Any:
        """A symbol for a parameter or a buffer; torch's own search looks at all of them."""
        name = self._held.get(id(attr_val))
        if name is None:
            return attr_val
        if name not in parameter_proxy_cache:
            parameter_proxy_cache[name] = self.create_proxy("get_attr", name, (), {})
        return parameter_proxy_cache[name]

    def is_leaf_module(self, *_: Any) -> bool:
        """No layer is one: none is known but by what it calls."""
        return False

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """Leave out checks of an input's dimensions, which ask for a shape."""
        if is_normalize(m):
            weights = (each.dtype for each in self.root.parameters() if each.is_floating_point())
            dtype = next(weights, torch.get_default_dtype())
            forward = functools.partial(normalize, m, dtype=dtype)
        elif isinstance(m, _BatchNorm) and type(m).forward is _BatchNorm.forward:
            forward = types.MethodType(_normalised, m)
        return super().call_module(m, forward, args, kwargs)


def _normalised(layer: _BatchNorm, x: Any) -> Any:
    """What a BatchNorm in eval mode computes."""
    mean, variance = layer.running_mean, layer.running_var
    training = layer.training or (mean is None and variance is None)
    return F.batch_norm(x, mean, variance, layer.weight, layer.bias, training, 0.0, layer.eps)


def _traced(module: nn.Module) -> fx.Graph:
    """The graph of a module, which keeps nothing of the module alive.

    A tracer refers to itself and to the module, whose weights would stay on a device until the next
    garbage collection.
    """
    tracer = _Tracer(module)
    try:
        with torch.enable_grad():
            return tracer.trace(module)
    except UntraceableError:
        raise
    except Exception as error:  # the module's own code can fail on a symbol in any way
        layer, place = _innermost(tracer.module_stack)
        if layer.__module__.startswith("torch.nn"):
            raise UntraceableError(_at(layer.__name__, place) + " has no compiled form") from error
        said, _, _ = first_line(error).partition(". ")  # without torch's advice to who traces
        raise UntraceableError(f"its graph cannot be traced: {said}") from error
    finally:
        vars(tracer).clear()


def _innermost(stack: Mapping[str, tuple[str, type]] | None) -> tuple[type, str]:
    """The class of the innermost of the layers that are called, and its name in the network."""
    if not stack:
        return object, ""
    place, layer = list(stack.values())[-1]
    # Names begin with that of the network in the sequence, and in the parts, around it.
    around = 1 + sum(issubclass(kind, Part) for _, kind in stack.values())
    return layer, ".".join(place.split(".")[around:])


def _at(what: str, place: str) -> str:
    return f"{what} at {place}" if place else what


class _Notes:
    """The nodes so far, and which results are stale since their memory was overwritten."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.flowing = {0}
        self._memory = {0: 0}  # of results that may share memory, the first
        self._stale: dict[int, str] = {}
        self._unknown: set[int] = set()  # of functions that may return a part of their input

    def add(self, step: fx.Node, values: dict[fx.Node, Any]) -> None:
        """Add a call, and its result to the values so far."""
        name, in_place = _name(step)
        args, kwargs = self.replaced((step.args, dict(step.kwargs)), values)
        kwargs = dict(kwargs)
        if not args and "input" in kwargs:  # as torch calls its first argument
            args = (kwargs.pop("input"),)
        if name == "getattr" and args[1] not in _SHAPES:
            name = f"the attribute {args[1]}"
        if kwargs.get("out") is not None:
            raise UntraceableError(f"{name} writes into a tensor that exists")
        if name in SKIPPED and option(name, "training", args, kwargs) is False:
            values[step] = args[0]  # another name for it
            return
        in_place = in_place or bool(option(name, "inplace", args, kwargs))
        layer, place = _innermost(step.meta.get("nn_module_stack"))
        what = layer.__name__ if layer.__module__.startswith("torch.nn.modules") else name
        node = Node(name, _call(step), args, kwargs, len(self.nodes) + 1, False, _at(what, place))
        self.refuse_stale(node.uses)
        if node.uses & self.flowing and name not in _SHAPE_FUNCTIONS:
            node = dataclasses.replace(node, flows=True)
            self.flowing.add(node.number)
            if name not in FORMS:
                self._unknown.add(node.number)
        self.nodes.append(node)
        values[step] = Result(node.number)
        first = args[0] if args else None
        self._memory[node.number] = node.number
        if isinstance(first, Result) and first.number in self.flowing:
            if in_place or name in VIEWS:
                self._memory[node.number] = self._memory[first.number]
            if in_place and self._memory[first.number] in self._unknown:
                raise UntraceableError(f"{node.place} overwrites what may be part of another")
            if in_place:
                self._overwrite(first, node, values)
        elif in_place:
            raise UntraceableError(f"{node.place} overwrites a constant")

    def refuse_stale(self, numbers: set[int]) -> None:
        """Refuse to use results whose memory was overwritten under another name."""
        if stale := self._stale.keys() & numbers:
            raise UntraceableError(f"{self._stale[min(stale)]} overwrites what is used afterwards")

    def _overwrite(self, target: Result, node: Node, values: dict[fx.Node, Any]) -> None:
        """Let every name of an overwritten value mean the new one, and no view of it be used."""
        for step, value in values.items():
            if value == target:
                values[step] = Result(node.number)
        for number, memory in self._memory.items():
            if memory == self._memory[node.number] and number != node.number:
                self._stale[number] = node.place

    def replaced(self, arguments: Any, values: Mapping[fx.Node, Any]) -> Any:
        """Arguments with results in place of steps."""
        return fx.node.map_aggregate(
            arguments, lambda each: values[each] if isinstance(each, fx.Node) else each
        )


def _name(step: fx.Node) -> tuple[str, bool]:
    """The name of a function, and whether it is one that overwrites its input."""
    name = step.target if isinstance(step.target, str) else _function_name(step.target)
    if step.target in vars(operator).values():  # operator.iadd stands for +=
        in_place = name[0] == "i" and name[1:] in vars(operator)
        return name[in_place:], in_place
    if name.endswith("_") and not name.startswith("_"):
        return name[:-1], True
    return name, False


def _function_name(function: Any) -> str:
    """The name of a function of torch; of another, one that no operation has."""
    if function is getattr:
        return "getattr"
    others = _OTHERS.get(getattr(function, "__module__", ""))
    own = getattr(function, "__name__", type(function).__name__)
    return _NAMES.get(function) or others or _UNKNOWN + own


def _call(step: fx.Node) -> Callable[..., Any]:
    if callable(step.target):
        return step.target
    name = str(step.target)
    return lambda tensor, *args, **kwargs: getattr(tensor, name)(*args, **kwargs)


def _needed(nodes: list[Node], output: int) -> TracedGraph:
    """The graph without nodes that its result does not need.

    Raises
    ------
    UntraceableError
        If there is no operation for one of the others.
    """
    wanted, kept = {output}, []
    wanted |= {node.number for node in nodes if node.name.startswith(_UNKNOWN)}
    for node in reversed(nodes):
        if node.number in wanted:
            wanted |= node.uses
            kept.append(node)
    for node in reversed(kept):
        if not _is_known(node):
            raise UntraceableError(f"{node.place} has no compiled form")
    return TracedGraph(tuple(reversed(kept)), output)


def _states_number_of_samples(node: Node) -> bool:
    """Whether a shape starts with a number of its own, and so fits a batch by chance."""
    if node.name not in ("reshape", "view") or not node.flows:
        return False
    sizes = node.args[1] if len(node.args) == 2 else node.args[1:]
    first = sizes[0] if isinstance(sizes, (tuple, list)) and sizes else sizes
    return isinstance(first, int) and first != -1


def _is_known(node: Node) -> bool:
    """Whether there is an operation for a node, or it can be computed when a plan is made."""
    if node.flows or node.name in FORMS:
        return node.name in FORMS and not _states_number_of_samples(node)
    return node.name in _SHAPE_FUNCTIONS or node.call in vars(operator).values()
