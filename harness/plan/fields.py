"""What all settings share: metadata of fields, and checks of their values."""

from __future__ import annotations

from harness.errors import SettingError, UnknownNameError

OUTSIDE_IDENTITY = {"identity": False}
"""Field metadata of a location, which is no part of a cell's identity."""

SCHEDULES = ("fixed", "decreasing")


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
