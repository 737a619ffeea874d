"""The table of all operations, by the names of torch's functions."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from harness.encoders.operations import (
    affine,
    arithmetic,
    elementwise,
    normalisation,
    pooling,
    rearrangement,
)
from harness.encoders.operations.operation import Form

FORMS: Mapping[str, Form] = {
    **affine.FORMS,
    **arithmetic.FORMS,
    **elementwise.FORMS,
    **normalisation.FORMS,
    **pooling.FORMS,
    **rearrangement.FORMS,
}
"""What makes the operation of a call; layers are traced as the functions that they call."""

VIEWS = rearrangement.VIEWS
"""Functions whose outputs share memory with their input, or may do so."""

SKIPPED = rearrangement.SKIPPED
"""Functions that return their input itself unless they are told that the network is trained."""

CHOOSES = frozenset({"conv2d"})
"""Functions whose forms take `without`, algorithms that are not to be taken."""


@functools.cache
def _signature(name: str) -> inspect.Signature:
    return inspect.signature(FORMS[name])


def option(name: str, argument: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """An argument that a function is called with, or that it has by default; None without one."""
    try:
        bound = _signature(name).bind(*args, **kwargs)
    except (KeyError, TypeError):  # no operation, or not with these arguments
        return kwargs.get(argument)
    bound.apply_defaults()
    return bound.arguments.get(argument)
