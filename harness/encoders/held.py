"""What a module holds beside its layers and parameters: tensors, and the containers around them."""

from __future__ import annotations

import collections
import contextlib
import copy
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from harness.encoders.first_use import first_line
from harness.errors import ModuleError

_MUTABLE = (dict, collections.OrderedDict, collections.defaultdict, list, set)

M = TypeVar("M", bound=nn.Module)


def copied(module: M) -> M:
    """A deep copy of a module; what it keeps of earlier runs is copied without their graphs.

    Torch refuses to copy results with a graph, which pruning, the older `weight_norm` and
    `spectral_norm`, and networks that keep their activations all hold.
    """
    results = (each for each in _held(module) if isinstance(each, Tensor) and not each.is_leaf)
    return copy.deepcopy(module, {id(each): each.detach().clone() for each in results})


def working_copy(module: nn.Module, *, name: str, device: torch.device) -> nn.Module:
    """A copy of a module for computing, which leaves the caller's as it is.

    It is in eval mode, and its parameters take no gradients.

    Raises
    ------
    ModuleError
        If it cannot be copied; `name` is the network's.
    """
    try:
        with torch.no_grad():  # or scripted modules would have no leaves
            own = copied(module).to(device)
        # A cut makes containers anew, in train mode.
        for part in own.modules():
            part.training = False
        for weight in own.parameters():
            weight.requires_grad_(False)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # the module's own code can fail in any way
        raise ModuleError(
            name,
            rule=f"it cannot be copied ({first_line(error)})",
            remedy="Give a module that copy.deepcopy takes",
        ) from error
    return own


@contextlib.contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Put back what a module's own code, run by a tracer, changes about it.

    These are its attributes and buffers, what its lists and dictionaries hold, and the values of
    tensors other than parameters.
    """
    containers, tensors = [], []
    for each in _held(module):
        if not isinstance(each, Tensor):
            containers.append((each, copy.copy(each)))
        elif not (isinstance(each, nn.Parameter) or each.is_inference() or each.is_meta):
            tensors.append((each, each._version, each.detach().clone()))
    try:
        yield
    finally:
        for held, before in containers:
            held.clear()
            (held.extend if isinstance(held, list) else held.update)(before)
        with torch.no_grad():
            for tensor, version, values in tensors:
                if tensor._version != version:
                    tensor.copy_(values)


def _held(module: nn.Module) -> Iterator[Any]:
    """Every tensor that is no lazy one, and every container that may change, from outside in."""
    seen: set[int] = set()
    left: list[Any] = [vars(part) for part in module.modules()]
    while left:
        each = left.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, Tensor):
            if not nn.parameter.is_lazy(each):
                yield each
        elif type(each) in _MUTABLE or isinstance(each, tuple):
            if not isinstance(each, tuple):
                yield each
            left.extend(each.values() if isinstance(each, dict) else each)
