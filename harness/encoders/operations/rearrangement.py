"""Operations that move numbers, and change none: axes, shapes, parts, and what is put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.encoders.layout import channels_last
from harness.encoders.operations.arithmetic import summed
from harness.encoders.operations.operation import (
    Form,
    Memory,
    UntraceableError,
    Value,
    constants,
    images,
    numbers,
    samples_stay,
)


@dataclasses.dataclass(frozen=True)
class Rearrangement:
    """A linear map that needs no memory.

    Parameters
    ----------
    arrange : callable
        The map of all inputs.
    back : callable
        Its transpose, which yields a cotangent for every input.
    """

    arrange: Callable[..., Tensor]
    back: Callable[[Tensor], tuple[Tensor, ...]]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Memory]:
        """The output."""
        return self.arrange(*inputs), ()

    def apply_jvp(self, _: Memory, *tangents: Tensor) -> Tensor:
        """The same of the tangents."""
        return self.arrange(*tangents)

    def apply_vjp(self, _: Memory, cotangent: Tensor) -> tuple[Tensor, ...]:
        """The transpose."""
        return self.back(cotangent)


def _one(arrange: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]) -> Rearrangement:
    """A rearrangement of one value."""
    return Rearrangement(arrange, lambda u: (back(u),))


def _itself(x: Value, *_: Any, **__: Any) -> Value:
    return x


def _reshape(x: Value, *shape: Any) -> Rearrangement:
    constants(*shape)
    sizes = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
    if isinstance(sizes, torch.dtype):
        raise UntraceableError("it reads numbers in another dtype")
    return _to_shape(x, _no_numbers(x).reshape(sizes).shape)


def _to_shape(x: Value, shape: Sequence[int]) -> Rearrangement:
    """The same numbers, in their order, in another shape."""
    if shape[:1] != x.shape[:1]:
        raise UntraceableError("it mixes the samples of a batch")
    return _one(lambda v: shaped(v, shape), lambda u: shaped(u, x.shape))


def shaped(x: Tensor, shape: Sequence[int]) -> Tensor:
    """A tensor in another shape; images channels last, by at most one copy."""
    if len(shape) != 4:
        return x.reshape(shape)
    whole = torch.empty(
        tuple(shape), dtype=x.dtype, device=x.device, memory_format=torch.channels_last
    )
    try:
        parts = whole.view(x.shape)
    except RuntimeError:  # its parts do not lie evenly
        return channels_last(x.reshape(shape))
    if x.stride() == parts.stride():
        return x.view(shape)
    parts.copy_(x)
    return whole


def _flatten(x: Value, start_dim: int = 0, end_dim: int = -1) -> Rearrangement:
    return _to_shape(x, _no_numbers(x).flatten(start_dim, end_dim).shape)


def _unflatten(x: Value, dim: int, sizes: Any) -> Rearrangement:
    return _to_shape(x, torch.unflatten(_no_numbers(x), dim, sizes).shape)


def _no_numbers(x: Value) -> Tensor:
    """A tensor of the shape alone."""
    return torch.empty(x.shape, device="meta")


def _axes(given: tuple[Any, ...]) -> tuple[int, ...]:
    """Axes, which methods take one by one or all in one sequence."""
    return numbers(given[0], length=1) if len(given) == 1 else given


def _permute(x: Value, *dims: Any) -> Rearrangement:
    order = [axis % len(x.shape) for axis in _axes(dims)]
    samples_stay(order[1:])
    inverse = [order.index(axis) for axis in range(len(order))]
    return _one(lambda v: v.permute(order), lambda u: u.permute(inverse))


def _transpose(x: Value, dim0: int, dim1: int) -> Rearrangement:
    samples_stay([dim0 % len(x.shape), dim1 % len(x.shape)])
    return _one(lambda v: v.transpose(dim0, dim1), lambda u: u.transpose(dim0, dim1))


def unsqueeze(x: Value, dim: int) -> Rearrangement:
    """One more axis, of length 1."""
    place = dim % (len(x.shape) + 1)
    samples_stay([place])
    return _one(lambda v: v.unsqueeze(place), lambda u: u.squeeze(place))


def _squeeze(x: Value, dim: Any = None) -> Rearrangement:
    squeezed = _no_numbers(x).squeeze() if dim is None else _no_numbers(x).squeeze(dim)
    return _to_shape(x, squeezed.shape)


def _expand(x: Value, *sizes: Any) -> Rearrangement:
    shape = _no_numbers(x).expand(*sizes).shape
    if len(shape) > len(x.shape):
        raise UntraceableError("it puts an axis before the samples")
    return _one(lambda v: v.expand(shape), lambda u: summed(u, x.shape))


def _getitem(x: Value, index: Any) -> Rearrangement:
    places = index if isinstance(index, tuple) else (index,)
    if not all(isinstance(each, (slice, int)) or each is None or each is ... for each in places):
        raise UntraceableError("it is indexed by a tensor or a list")
    taken = sum(isinstance(each, (slice, int)) for each in places)
    if places[0] != slice(None) and (places[0] is not ... or taken >= len(x.shape)):
        raise UntraceableError("it chooses samples of a batch")

    def back(u: Tensor) -> Tensor:
        whole = channels_last(u.new_zeros(x.shape))
        whole[places] = u
        return whole

    return _one(lambda v: v[places], back)


def _parts(x: Value, lengths: Sequence[int], dim: int) -> tuple[Rearrangement, ...]:
    starts = [sum(lengths[:number]) for number in range(len(lengths))]
    axis = dim % len(x.shape)
    samples_stay([axis])
    return tuple(
        _getitem(x, (*[slice(None)] * axis, slice(start, start + length)))
        for start, length in zip(starts, lengths, strict=True)
    )


def _narrow(x: Value, dim: int, start: int, length: int) -> Rearrangement:
    _, part = _parts(x, [start, length], dim)
    return part


def _chunk(x: Value, chunks: int, dim: int = 0) -> tuple[Rearrangement, ...]:
    parts = _no_numbers(x).chunk(chunks, dim)
    return _parts(x, [part.shape[dim] for part in parts], dim)


def _split(x: Value, split_size_or_sections: Any, dim: int = 0) -> tuple[Rearrangement, ...]:
    parts = torch.split(_no_numbers(x), split_size_or_sections, dim)
    return _parts(x, [part.shape[dim] for part in parts], dim)


def _unbind(x: Value, dim: int = 0) -> tuple[Rearrangement, ...]:
    axis = dim % len(x.shape)
    samples_stay([axis])
    return tuple(_getitem(x, (*[slice(None)] * axis, place)) for place in range(x.shape[axis]))


def _values(given: Any) -> Sequence[Value]:
    if not all(isinstance(each, Value) for each in given):
        raise UntraceableError("constants are put together with what flows")
    return list(given)


def _cat(tensors: Any, dim: int = 0) -> Rearrangement:
    lengths = [each.shape[dim] for each in _values(tensors)]
    samples_stay([dim % len(tensors[0].shape)])
    return Rearrangement(
        lambda *parts: torch.cat(parts, dim), lambda u: u.split_with_sizes(lengths, dim)
    )


def _stack(tensors: Any, dim: int = 0) -> Rearrangement:
    samples_stay([dim % (len(_values(tensors)[0].shape) + 1)])
    return Rearrangement(lambda *parts: torch.stack(parts, dim), lambda u: u.unbind(dim))


def _pad(x: Value, pad: Any, mode: str = "constant", value: float | None = None) -> Rearrangement:
    if mode != "constant" or value:
        raise UntraceableError(f"it pads with {value or mode}")
    widths = list(pad)
    samples_stay([len(x.shape) - len(widths) // 2])
    return _one(lambda v: F.pad(v, widths), lambda u: F.pad(u, [-width for width in widths]))


def _pixel_shuffle(x: Value, upscale_factor: int) -> Rearrangement:
    factor = upscale_factor
    images(x)
    return _one(
        lambda v: channels_last(F.pixel_shuffle(v, factor)),
        lambda u: channels_last(F.pixel_unshuffle(u, factor)),
    )


def _pixel_unshuffle(x: Value, downscale_factor: int) -> Rearrangement:
    shuffle = _pixel_shuffle(images(x), downscale_factor)
    return _one(lambda v: shuffle.back(v)[0], shuffle.arrange)


def _channel_shuffle(x: Value, groups: int) -> Rearrangement:
    others = x.shape[1] // groups
    return _one(lambda v: F.channel_shuffle(v, groups), lambda u: F.channel_shuffle(u, others))


def _roll(x: Value, shifts: Any, dims: Any = None) -> Rearrangement:
    axes = (0,) if dims is None else numbers(dims, length=1)
    samples_stay([axis % len(x.shape) for axis in axes])
    forth = numbers(shifts, length=1)
    back = [-each for each in forth]
    return _one(lambda v: v.roll(forth, axes), lambda u: u.roll(back, axes))


def _flip(x: Value, *dims: Any) -> Rearrangement:
    axes = _axes(dims)
    samples_stay([axis % len(x.shape) for axis in axes])
    return _one(lambda v: v.flip(axes), lambda u: u.flip(axes))


def _dropout(x: Value, p: float = 0.5, training: bool = True, inplace: bool = False) -> Value:
    if training:
        raise UntraceableError("it is random")
    return x


def _stochastic_depth(x: Value, p: float, mode: str, training: bool = True) -> Value:
    return _dropout(x, p, training)


SKIPPED: dict[str, Form] = {
    "dropout": _dropout,
    "dropout1d": _dropout,
    "dropout2d": _dropout,
    "dropout3d": _dropout,
    "alpha_dropout": _dropout,
    "feature_alpha_dropout": _dropout,
    "stochastic_depth": _stochastic_depth,
}
"""Forms of functions that return their input itself unless the network is trained."""

FORMS: dict[str, Form] = {
    **SKIPPED,
    "contiguous": _itself,
    "clone": _itself,
    "reshape": _reshape,
    "view": _reshape,
    "flatten": _flatten,
    "unflatten": _unflatten,
    "permute": _permute,
    "transpose": _transpose,
    "swapaxes": _transpose,
    "unsqueeze": unsqueeze,
    "squeeze": _squeeze,
    "expand": _expand,
    "getitem": _getitem,
    "narrow": _narrow,
    "chunk": _chunk,
    "split": _split,
    "unbind": _unbind,
    "cat": _cat,
    "concat": _cat,
    "stack": _stack,
    "pad": _pad,
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "channel_shuffle": _channel_shuffle,
    "roll": _roll,
    "flip": _flip,
}
"""Forms by the names of torch's functions."""

VIEWS = frozenset(FORMS) - {"clone", "cat", "concat", "stack", "pad", "roll", "flip"}
"""Those whose outputs share memory with their input, or may do so."""
