"""What all settings share: metadata of fields, and checks of their values."""

from __future__ import annotations

import dataclasses
import functools
import numbers
import types
import typing
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


def is_a(kind: type | types.UnionType, value: object) -> bool:
    """Whether a value is of a kind; truth values are no numbers."""
    return isinstance(value, kind) and not isinstance(value, bool)


def check_types(settings: DataclassInstance) -> None:
    """Refuse what is not of its field's kind: a number, a name, or settings.

    Fields of other kinds, such as tuples, are not looked at.

    Raises
    ------
    SettingError
        For the first such field.
    """
    for name, (what, kind) in _kinds(type(settings)).items():
        value = getattr(settings, name)
        if not is_a(kind, value):
            raise SettingError(
                f"{name}={_one_line(value)} of {type(settings).__name__}",
                rule=f"it is {what}",
                remedy=_REMEDIES.get(name, f"Give {what}"),
            )


_REMEDIES = {
    "network": "Give one of these; a network of your own by its name, as "
    'module("my_net.py:make", layer="features.3")'
}
"""Of what is easily mistaken, by field."""


@functools.cache
def _kinds(settings: type[DataclassInstance]) -> dict[str, tuple[str, typing.Any]]:
    """What each field has to be, in words and as a type; of those that can be told."""
    found: dict[str, tuple[str, typing.Any]] = {}
    hints = typing.get_type_hints(settings)
    for field in dataclasses.fields(settings):
        annotation, _, optional = str(field.type).partition(" | ")
        hint = hints[field.name]
        if annotation in _TYPES:
            what, kind = _TYPES[annotation]
            found[field.name] = what, kind | None if optional else kind
        elif isinstance(hint, type | types.UnionType) and hint is not bool:
            kinds = typing.get_args(hint) or (hint,)
            names = ("None" if each is types.NoneType else each.__name__ for each in kinds)
            found[field.name] = " or ".join(names), hint
    return found


def _one_line(value: object) -> str:
    first, _, more = repr(value).partition("\n")
    return f"{first[:80]}..." if more or len(first) > 80 else first


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
