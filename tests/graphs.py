"""CUDA graphs without a GPU: what may be captured, and a stand-in that captures and replays."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_WAITS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
_DRAWS = {torch.Tag.nondeterministic_seeded}

_INDEXING = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default)
"""Wait where they are given masks, and only then."""

_UNREPORTED = (
    torch.ops.aten.linalg_vector_norm.default,
    torch.ops.aten.linalg_solve_triangular.default,
)
"""Named after linear algebra, but reductions and cuBLAS, which cannot fail."""


class OnGPU(torch.Tensor):
    """Says that it is on a GPU."""

    is_cuda = True


def tensors_in(*values: object) -> list[Tensor]:
    """All tensors in nested arguments, but for those in layouts of a library's own."""
    leaves = (value for value in tree_leaves(values) if isinstance(value, Tensor))
    return [value for value in leaves if value.layout is torch.strided]


def refuse(operator: Any, *args: Any) -> None:
    """Fail where an operation of a CUDA device would wait for it, or cannot be captured.

    Parameters
    ----------
    operator : OpOverload
        What is called.
    args
        Its arguments.
    """
    masked = any(value.dtype in (torch.bool, torch.uint8) for value in tensors_in(args[1:2]))
    if operator in _INDEXING:
        assert not masked, f"{operator} counts a mask on the host"
        return
    tags = set(operator.tags)
    assert not tags & _WAITS, f"{operator} needs values on the host"
    assert not tags & _DRAWS, f"{operator} draws, and would draw the same at every replay"
    # cuSOLVER's report on success is read on the host.
    assert "linalg" not in operator.name() or operator in _UNREPORTED, f"{operator} waits"


class Capturing(TorchDispatchMode):
    """Runs operations and notes them, so that they can be run again on the same memory.

    Of what an operation makes, the memory stays its own; what it overwrites is put back at the end
    of the capture, since a device runs nothing while it captures.
    """

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, Any, Any, list[Tensor]]] = []
        self._made: set[int] = set()
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        refuse(operator, *args)
        given = {_memory(value) for value in tensors_in(args, kwargs)}
        for value in tensors_in(args, kwargs):
            if _memory(value) not in self._made | self._before.keys():
                whole = _whole(value)
                self._before[_memory(value)] = whole, whole.clone()
        result = operator(*args, **kwargs)
        made = [value for value in tensors_in(result) if _memory(value) not in given]
        self._made |= set(map(_memory, made))
        self._calls.append((operator, args, kwargs, made))
        return result

    def forget(self) -> None:
        """Undo what was run: what was made holds nothing of use until it is replayed."""
        for place, before in self._before.values():
            place.copy_(before)
        for *_, made in self._calls:
            for value in made:
                if value.is_floating_point():
                    value.detach().fill_(torch.nan)

    @torch.no_grad()
    def replay(self) -> None:
        """Run the operations again, on the memory that they were noted with."""
        for operator, args, kwargs, made in self._calls:
            again = operator(*args, **kwargs)
            given = {_memory(value) for value in tensors_in(args, kwargs)}
            fresh = [value for value in tensors_in(again) if _memory(value) not in given]
            for place, value in zip(made, fresh, strict=True):
                place.detach().copy_(value)


class Graph:
    """In place of `torch.cuda.CUDAGraph`."""

    def __init__(self) -> None:
        self.calls = Capturing()
        self.stream: object = None

    def replay(self) -> None:
        """Run what was captured."""
        self.calls.replay()


@contextlib.contextmanager
def _graph(graph: Graph, *, stream: object = None) -> Iterator[None]:
    """In place of `torch.cuda.graph`."""
    graph.stream = stream
    with graph.calls:
        yield
    graph.calls.forget()


NEEDS_GPU = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
"""Marks of a test that only a GPU can run."""


@pytest.fixture(name="device", params=["cpu", pytest.param("cuda", marks=NEEDS_GPU)])
def any_device(request: pytest.FixtureRequest) -> torch.device:
    """A device with graphs: a GPU with its own, and a CPU with a stand-in's."""
    if request.param == "cpu":
        request.getfixturevalue("graphs")
    return torch.device(request.param)


@pytest.fixture(name="graphs")
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets `torch.cuda` capture and replay what runs on the CPU."""

    def stream(*_: object) -> SimpleNamespace:
        return SimpleNamespace(wait_stream=lambda _: None)

    for name, stand_in in {
        "CUDAGraph": Graph,
        "Stream": stream,
        "current_stream": stream,
        "graph": _graph,
        "stream": lambda _: contextlib.nullcontext(),
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)


def _memory(value: Tensor) -> int:
    """What is the same for all views of one memory."""
    return value.untyped_storage().data_ptr()


def _whole(value: Tensor) -> Tensor:
    """All of the memory that a tensor is a view of."""
    storage = value.detach().untyped_storage()
    return torch.empty(0, dtype=value.dtype).set_(storage)  # type: ignore[arg-type, call-overload]
