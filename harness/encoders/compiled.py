"""A traced graph, run without autograd.

A `CompiledPlan` turns the nodes of a traced graph into operations for inputs of one shape, since
the fastest form of a convolution depends on the shape. Sums and ReLUs are fused into the affine
operations that they follow.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from harness.encoders.encoder import JVP, VJP
from harness.encoders.layout import accumulate, channels_last
from harness.encoders.operations.affine import Affine
from harness.encoders.operations.arithmetic import Sum
from harness.encoders.operations.elementwise import ReLU
from harness.encoders.operations.operation import Memory, Op, UntraceableError, Value
from harness.encoders.operations.rearrangement import unsqueeze
from harness.encoders.operations.table import CHOOSES, FORMS
from harness.encoders.tracing import Attribute, Node, Result, TracedGraph


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
    spent: tuple[int, ...] = ()


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

    @torch.no_grad()
    def __init__(
        self, graph: TracedGraph, inputs: Tensor, *, without: Collection[str] = ()
    ) -> None:
        builder = _Builder(inputs, without=without)
        last = {number: node.number for node in graph.nodes for number in node.uses}
        for node in graph.nodes:
            builder.add(node)
            for number in node.uses:
                if last[number] == node.number:
                    builder.forget(number)
        self._output = builder.result(graph.output)
        self._steps = _spent(_fused(builder.steps, self._output), self._output)

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
            return channels_last(tangents[self._output])

        @torch.no_grad()
        def vjp(cotangent: Tensor) -> Tensor:
            # A copy, since operations may overwrite the cotangents that they are given.
            cotangents = {self._output: channels_last(cotangent.clone())}
            for step, memory in zip(reversed(self._steps), reversed(memories), strict=True):
                # An affine operation yields two, even where it has one input.
                found = step.op.apply_vjp(memory, cotangents.pop(step.output))
                for value, each in zip(step.inputs, found, strict=False):
                    cotangents[value] = accumulate(each, cotangents.get(value))
            return channels_last(cotangents[0])

        return output, jvp, vjp

    def _forward(self, inputs: Tensor, remember: Callable[[Memory], None]) -> Tensor:
        """Run all steps; each one's memory is handed on, or freed."""
        values = {0: channels_last(inputs)}
        for step in self._steps:
            values[step.output], memory = step.op.forward(*(values[value] for value in step.inputs))
            remember(memory)
            for value in step.spent:
                del values[value]
        return channels_last(values[self._output])


class _Builder:
    """The steps of a plan so far, with what the nodes yield for inputs of its shape."""

    def __init__(self, inputs: Tensor, *, without: Collection[str]) -> None:
        self.steps: list[Step] = []
        self._without = without
        self._dtype, self._batch = inputs.dtype, inputs.shape[:1]
        self._found: dict[int, Any] = {0: Value(0, channels_last(inputs))}

    def add(self, node: Node) -> None:
        """Add what a node does."""
        args, kwargs = fx.node.map_aggregate((node.args, dict(node.kwargs)), self._argument)
        try:
            self._found[node.number] = self._made(node, args, kwargs)
        except UntraceableError as error:
            raise UntraceableError(f"{node.place} has no compiled form: {error}") from error
        except TypeError as error:  # arguments that no operation takes
            raise UntraceableError(f"{node.place} has no compiled form as it is called") from error

    def forget(self, number: int) -> None:
        """Free what a node yielded."""
        del self._found[number]

    def result(self, number: int) -> int:
        """The number of the value that a node yields, with two axes at least."""
        value = self._found[number]
        if not isinstance(value, Value) or value.shape[:1] != self._batch:
            raise UntraceableError("it does not return one tensor with a row a sample")
        if len(value.shape) == 1:
            value = self._value(unsqueeze(value, 1), [value])
        return value.number

    def _argument(self, argument: Any) -> Any:
        match argument:
            case Result(number):
                return self._found[number]
            case Attribute():
                return argument.read()
        return argument

    def _made(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not node.flows:
            args, kwargs = fx.node.map_aggregate((args, kwargs), _example)
            return node.call(*args, **kwargs)
        if node.name == "getitem" and isinstance(args[0], tuple):
            return args[0][args[1]]  # a part that has been made already
        if node.name in CHOOSES:
            kwargs = {**kwargs, "without": self._without}
        made = FORMS[node.name](*args, **kwargs)
        inputs = [value for value in _leaves((args, kwargs)) if isinstance(value, Value)]
        if isinstance(made, tuple):
            return tuple(self._value(op, inputs) for op in made)
        return made if isinstance(made, Value) else self._value(made, inputs)

    def _value(self, op: Op, inputs: Sequence[Value]) -> Value:
        """What an operation yields, as a new value."""
        output, _ = op.forward(*(value.example for value in inputs))
        if output.dtype != self._dtype:
            raise UntraceableError(f"it yields {str(output.dtype).removeprefix('torch.')}")
        self.steps.append(Step(op, tuple(value.number for value in inputs), len(self.steps) + 1))
        return Value(len(self.steps), output)


def _example(argument: Any) -> Any:
    return argument.example if isinstance(argument, Value) else argument


def _leaves(arguments: Any) -> list[Any]:
    found: list[Any] = []
    fx.node.map_aggregate(arguments, found.append)
    return found


def _fused(steps: Sequence[Step], output: int) -> list[Step]:
    """Fuse sums and ReLUs into the affine operations that they follow, and drop idle steps."""
    uses = collections.Counter(value for step in steps for value in step.inputs)
    uses[output] += 1
    joined: dict[int, Step] = {}

    def take(value: int, *, most: int = 2) -> tuple[Affine, tuple[int, ...]] | None:
        """Remove and return the operation of a value, if something can be fused into it."""
        step = joined.get(value)
        if not step or not isinstance(step.op, Affine) or step.op.relu:
            return None
        if uses[value] > 1 or len(step.inputs) > most:
            return None
        del joined[value]
        return step.op, step.inputs

    for step in steps:
        new = step
        if isinstance(step.op, ReLU) and (maker := take(step.inputs[0])):
            op, inputs = maker
            new = Step(dataclasses.replace(op, relu=True), inputs, step.output)
        elif isinstance(step.op, Sum) and step.op.plain:
            for first, second in (step.inputs, step.inputs[::-1]):
                if maker := take(first, most=1):
                    op, inputs = maker
                    new = Step(op, (*inputs, second), step.output)
                    break
        joined[new.output] = new
    needed = {output}
    for step in reversed(joined.values()):
        if step.output in needed:
            needed.update(step.inputs)
    return [step for step in joined.values() if step.output in needed]


def _spent(steps: Iterable[Step], output: int) -> tuple[Step, ...]:
    """The steps, each with the values that none after it takes."""
    steps = tuple(steps)
    last = {value: step.output for step in steps for value in step.inputs}
    last[output] = -1
    return tuple(
        dataclasses.replace(
            step,
            spent=tuple({value for value in step.inputs if last[value] == step.output}),
        )
        for step in steps
    )
