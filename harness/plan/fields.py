"""What all settings share: metadata of fields, and checks of their values."""

from __future__ import annotations

import dataclasses
import numbers
from typing import TYPE_CHECKING

from harness.errors import SettingError, UnknownNameError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

OUTSIDE_IDENTITY = {"identity": False}
"""Field metadata of a location, which is no part of a cell's identity."""

SCHEDULES = ("fixed", "decreasing")


_TYPES = {
    "int": ("a whole number", numbers.Integral),
    "float": ("a number", numbers.Real),
    "str": ("a name", str),
}


def is_a(kind: type, value: object) -> bool:
    """Whether a value is of a kind; truth values are no numbers."""
    return isinstance(value, kind) and not isinstance(value, bool)


def check_types(settings: DataclassInstance) -> None:
    """Refuse a whole number, a number or a name that is none, in fields annotated so.

    Raises
    ------
    SettingError
        For the first such field.
    """
    for field in dataclasses.fields(settings):
        annotation, _, optional = str(field.type).partition(" | ")
        value = getattr(settings, field.name)
        if annotation not in _TYPES or (optional and value is None):
            continue
        what, kind = _TYPES[annotation]
        check(
            is_a(kind, value),
            f"{field.name}={value!r} of {type(settings).__name__}",
            rule=f"it is {what}",
            remedy=f"Give {what}",
        )


def known(name: str, names: tuple[str, ...], *, what: str) -> None:
    """Refuse an unknown name.

    Raises
    ------
    UnknownNameError
        Where it is not among the names.
    """
    if name not in names:
        raise UnknownNameError.nearest(name, names, what=what)


def check(holds: bool, value: object, *, rule: str, remedy: str) -> None:
    """Refuse a value where a condition does not hold; comparisons with nan never do.

    Parameters
    ----------
    holds : bool
        The condition.
    value, rule, remedy
        As in `harness.errors.DepthClaimsError`.

    Raises
    ------
    SettingError
        Where it does not hold.
    """
    if not holds:
        raise SettingError(value, rule=rule, remedy=remedy)
