"""A device without a GPU: tensors that compute on the CPU, and say that they are elsewhere.

What a GPU refuses is refused: tensors of both places in one operation, numbers drawn there by a
generator from here, memory read as if it were the host's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from graphs import tensors_in
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_map_only

ELSEWHERE = torch.device("lazy:0")
"""A kind of device that every build of torch knows by name, and none has operators for."""

_MOVES = (
    torch.ops.aten.copy_.default,
    torch.ops.aten._to_copy.default,
    # Indices from here are copied there.
    torch.ops.aten.index.Tensor,
)
"""Operations that take tensors of both places."""


class There(Tensor):
    """A tensor on the device; what it holds lies on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> There:
        there: There = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=ELSEWHERE,
        )
        there.held = held
        return there

    def __repr__(self) -> str:  # type: ignore[override]
        return f"There({self.held})"

    def tolist(self) -> Any:
        """The numbers; torch reads no memory of subclasses."""
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(
        cls, operator: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        return _run(operator, args, kwargs or {})


class Device(TorchDispatchMode):
    """Has a device elsewhere, on which tensors can be made."""

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        return _run(operator, args, kwargs or {})


def _run(operator: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Run an operation on what tensors hold."""
    places = _places(args, kwargs)
    assert len(places) < 2 or operator in _MOVES, f"{operator} of tensors in two places"
    asked = kwargs.get("device")
    there = ELSEWHERE in places if asked is None else torch.device(asked) == ELSEWHERE
    drawn = kwargs.get("generator")
    assert drawn is None or not there, f"{operator} draws there by a generator from here"
    held_args, held_kwargs = tree_map_only(There, lambda tensor: tensor.held, (args, kwargs))
    if asked is not None:
        held_kwargs["device"] = torch.device("cpu")
    result = operator(*held_args, **held_kwargs)
    if operator is torch.ops.aten.copy_.default:
        return args[0]
    if there:
        result = tree_map_only(Tensor, There, result)
    return return_and_correct_aliasing(operator, tuple(args), kwargs, result)


def _places(*values: object) -> set[torch.device]:
    """Where the tensors among nested values are; numbers from here are welcome there."""
    found: set[torch.device] = set()
    numbers: set[torch.device] = set()
    for tensor in tensors_in(*values):
        (found if tensor.dim() else numbers).add(tensor.device)
    return found | (numbers - {torch.device("cpu")} if found else numbers)
