"""The table of all operations, by the names of torch's functions."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
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

CHOOSES = frozenset({"conv2d"})
"""Functions whose forms take `without`, algorithms that are not to be taken."""


def overwrites(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a function is told to overwrite its input, by its argument `inplace`."""
    try:
        bound = inspect.signature(FORMS[name]).bind(*args, **kwargs)
    except (KeyError, TypeError):  # no operation, or not with these arguments
        return bool(kwargs.get("inplace"))
    return bool(bound.arguments.get("inplace"))
