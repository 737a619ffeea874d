"""What all settings share: metadata of fields, and how a value out of range is refused."""

from __future__ import annotations

from harness.errors import SettingError, UnknownNameError

OUTSIDE_IDENTITY = {"identity": False}
"""Field metadata of what says where something lies, not what it is."""

LATER = {"later": True}
"""Field metadata of a setting that came later: identities say nothing of it where it has its
default, so that they stay what they were before there was a choice."""


SCHEDULES = ("fixed", "decreasing")


def known(name: str, names: tuple[str, ...], *, what: str) -> None:
    """Refuse a name that is not among those there are.

    Raises
    ------
    UnknownNameError
        Where it is not.
    """
    if name not in names:
        raise UnknownNameError.nearest(name, names, what=what)


def check(holds: bool, value: object, *, rule: str, remedy: str) -> None:
    """Refuse a value by an error, where a condition does not hold; one with nan never does.

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
