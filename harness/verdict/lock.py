"""Locked verdicts of earlier runs, and new decisions compared with them.

The file `claims/verdicts.toml` holds, by profile and condition, the digest of the claim that was
judged, the verdict, and the effects with their intervals::

    schema = 2

    [quick."A1 layer=conv1"]
    claim = "9f86d0..."
    verdict = "supported"
    n = 12

    [quick."A1 layer=conv1".effects.r]
    value = 0.12
    low = 0.1
    high = 0.15

A limit that is left out is unbounded. The file is written by ``--update-verdicts``.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import cattrs
import tomli_w

from harness.errors import LockError
from harness.files import write_atomically
from harness.verdict.verdict import Decision, Verdict

SCHEMA = 2
HEADER = (
    "# Locked verdicts by profile and condition. Written by `pytest claims/ --update-verdicts`.\n"
)
RENAMED_PARAMETERS: Mapping[int, Mapping[str, str]] = {1: {"cut": "layer"}}
"""By schema, parameters that have another name today."""

_REWRITE = "Correct it, or delete the file and run with --update-verdicts"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Locked:
    """The effect of a locked condition; a limit of None is unbounded."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A locked condition.

    Parameters
    ----------
    claim : str
        Digest of the claim that was judged.
    verdict : Verdict
        What was decided.
    n : int or None
        Replicates judged; None in older locks, which do not have it.
    effects : mapping of str to Locked
        By name.
    """

    claim: str
    verdict: Verdict
    n: int | None = None
    effects: Mapping[str, Locked] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, decision: Decision, claim_digest: str) -> Entry:
        """The entry that locks a decision."""
        effects = [part.effect for part in decision.parts if part.effect is not None]
        return cls(
            claim=claim_digest,
            verdict=decision.verdict,
            n=decision.n,
            effects={
                effect.name: Locked(
                    value=_rounded(effect.value),
                    low=None if effect.low is None else _rounded(effect.low),
                    high=None if effect.high is None else _rounded(effect.high),
                )
                for effect in effects
            },
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lock:
    """All locked conditions: entries by profile and key (see `condition_key`)."""

    profiles: Mapping[str, Mapping[str, Entry]] = dataclasses.field(default_factory=dict)

    def get(self, profile: str, key: str) -> Entry | None:
        """The entry of a condition; None if it is not locked."""
        return self.profiles.get(profile, {}).get(key)

    def updated(
        self,
        profile: str,
        entries: Mapping[str, Entry],
        *,
        claims: Iterable[str] | None = None,
        conditions: Iterable[str] | None = None,
    ) -> Lock:
        """The lock with entries of one profile replaced or added; all others stay.

        Parameters
        ----------
        profile : str
            The profile that ran.
        entries : mapping of str to Entry
            What the run found, by key. Conditions that did not run keep their old entries.
        claims : iterable of str, optional
            Digests of all current claims; entries with any other digest are dropped.
        conditions : iterable of str, optional
            Keys of all current conditions, from a run that collected every claim; entries with any
            other key are dropped. A run that collected only some of the claims cannot tell which
            conditions are gone, and leaves this out.
        """
        ran = {k: entry for k, entry in entries.items() if entry.verdict is not Verdict.NOT_RUN}
        merged = {**self.profiles.get(profile, {}), **ran}
        if claims is not None:
            current = set(claims)
            merged = {key: entry for key, entry in merged.items() if entry.claim in current}
        if conditions is not None:
            stated = {*conditions, *ran}
            merged = {key: entry for key, entry in merged.items() if key in stated}
        return Lock(profiles={**self.profiles, profile: merged})


def _rounded(value: float) -> float:
    """Six digits: enough to compare by eye, and the same on other machines."""
    return float(f"{value:.6g}")


def condition_key(
    claim_id: str, parameters: Mapping[str, str | int | float], *, estimand: str | None = None
) -> str:
    """The key of a condition: ``"A1 layer=conv1 network=resnet50"``, parameters by name.

    Parameters
    ----------
    claim_id : str
        The claim's id.
    parameters : mapping of str to str, int or float
        What was varied.
    estimand : str, optional
        Name of the estimand, for a claim that has several.
    """
    head = claim_id if estimand is None else f"{claim_id}/{estimand}"
    return " ".join([head, *(f"{name}={parameters[name]}" for name in sorted(parameters))])


# --- the file -------------------------------------------------------------------------------


def read_lock(path: str | os.PathLike[str]) -> Lock:
    """The locked verdicts of a file; an empty lock if there is no file.

    Raises
    ------
    LockError
        If the file cannot be read or is malformed, with the line or the key.
    """
    file = Path(path)
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Lock()
    except tomllib.TOMLDecodeError as error:
        raise LockError(file, rule=f"not valid TOML: {error}", remedy=_REWRITE) from error
    except (OSError, UnicodeDecodeError) as error:
        raise LockError(
            file, rule=f"the file cannot be read ({error})", remedy="Make it readable UTF-8"
        ) from error
    schema = content.pop("schema", None)
    if schema != SCHEMA and schema not in RENAMED_PARAMETERS:
        known = ", ".join(map(str, (*RENAMED_PARAMETERS, SCHEMA)))
        raise LockError(
            f"{file}, schema", rule=f"it is {schema!r}, this version reads {known}", remedy=_REWRITE
        )
    try:
        profiles = _CONVERTER.structure(content, dict[str, dict[str, Entry]])
    except cattrs.BaseValidationError as error:
        where, rule = _first_fault(error)
        raise LockError(f"{file}, {where}", rule=rule, remedy=_REWRITE) from error
    renamed = RENAMED_PARAMETERS.get(schema, {})
    return Lock(
        profiles={
            profile: {_current_key(key, renamed): entry for key, entry in entries.items()}
            for profile, entries in profiles.items()
        }
    )


def _strictly(*accepted: type) -> Callable[[object, Any], object]:
    """A hook that converts nothing: a value of another type is an error."""

    def structure(value: object, expected: Any) -> object:
        if isinstance(value, bool) or not isinstance(value, accepted):
            raise TypeError(f"{value!r} is not of type {expected.__name__}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{value!r} is not finite; leave out a limit that is unbounded")
        return expected(value)

    return structure


def _verdict(value: object, _: Any) -> Verdict:
    if value not in list(Verdict):
        raise ValueError(f"{value!r} is no verdict (one of {', '.join(Verdict)})")
    return Verdict(str(value))


_CONVERTER = cattrs.Converter(omit_if_default=True)
_CONVERTER.register_structure_hook(str, _strictly(str))
_CONVERTER.register_structure_hook(int, _strictly(int))
_CONVERTER.register_structure_hook(float, _strictly(int, float))
_CONVERTER.register_structure_hook(Verdict, _verdict)


def _first_fault(error: cattrs.BaseValidationError) -> tuple[str, str]:
    """Key and rule of the first fault."""

    def message(fault: BaseException, _: object) -> str:
        match fault:
            case KeyError():
                return "it is missing"
            case AttributeError():
                return "it is not a table"
        return str(fault)

    rule, _, key = cattrs.transform_error(error, "", message)[0].rpartition(" @ ")
    return key, rule


def _current_key(key: str, renamed: Mapping[str, str]) -> str:
    """A key with its parameters under today's names."""
    if not renamed:
        return key
    # A value may hold spaces; what follows one and ends at "=" is a name.
    head, *parameters = re.split(r" (?=\w+=)", key)
    pairs = [parameter.split("=", maxsplit=1) for parameter in parameters]
    found = sorted((renamed.get(name, name), value) for name, value in pairs)
    return " ".join([head, *("=".join(pair) for pair in found)])


def write_lock(lock: Lock, path: str | os.PathLike[str]) -> None:
    """Write the locked verdicts, sorted, so that equal locks are equal files.

    The file is replaced in one step: an interrupted run leaves the old one.
    """
    profiles = {
        profile: {
            key: dataclasses.replace(entry, effects=dict(sorted(entry.effects.items())))
            for key, entry in sorted(entries.items())
        }
        for profile, entries in sorted(lock.profiles.items())
        if entries
    }
    text = tomli_w.dumps({"schema": SCHEMA, **_CONVERTER.unstructure(profiles)})
    file = Path(path)
    try:
        write_atomically(file, (HEADER + text).encode())
    except OSError as error:
        raise LockError(
            file,
            rule=f"the file cannot be written ({error.strerror})",
            remedy="Make its folder writable"
            if file.parent.is_dir()
            else f"Make the folder {file.parent.name}, or run where it is",
        ) from error


def diff(old: Lock, new: Lock) -> str:
    """The changes from one lock to another, a line each."""
    lines = []
    for profile in sorted({*old.profiles, *new.profiles}):
        before, after = old.profiles.get(profile, {}), new.profiles.get(profile, {})
        for key in sorted({*before, *after}):
            was, now = before.get(key), after.get(key)
            if was == now:
                continue
            name = f"{profile}: {key}"
            if was is None and now is not None:
                lines.append(f"+ {name}: {_shown(now)}")
            elif now is None and was is not None:
                lines.append(f"- {name}: {_shown(was)}")
            elif was is not None and now is not None:
                changed = " (claim changed)" if was.claim != now.claim else ""
                lines.append(f"~ {name}: {_shown(was)} -> {_shown(now)}{changed}")
    return "\n".join(lines)


def _shown(entry: Entry) -> str:
    effects = "; ".join(
        f"{name} {effect.value:.3g} {_interval(effect)}" for name, effect in entry.effects.items()
    )
    return f"{entry.verdict}, {effects}" if effects else str(entry.verdict)


def _interval(effect: Locked) -> str:
    low = "-inf" if effect.low is None else f"{effect.low:.3g}"
    high = "inf" if effect.high is None else f"{effect.high:.3g}"
    return f"[{low}, {high}]"


# --- a new decision -------------------------------------------------------------------------


class LockStatus(enum.StrEnum):
    """How pytest reports a decision."""

    PASS = "pass"
    SKIP = "skip"
    XFAIL = "xfail"
    FAIL = "fail"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LockOutcome:
    """What pytest reports of a condition.

    Parameters
    ----------
    status : LockStatus
        How the test ends.
    message : str
        Verdict and reason, and the locked verdict if they disagree.
    warning : str or None
        For the summary of warnings.
    dropped : Verdict or None
        The verdict of a lock that no longer counts, because the claim has changed since.
    """

    status: LockStatus
    message: str
    warning: str | None = None
    dropped: Verdict | None = None


_DEFINITE = (Verdict.SUPPORTED, Verdict.REFUTED, Verdict.MIXED)


def compare(
    entry: Entry | None,
    decision: Decision,
    claim_digest: str,
    *,
    report_only: bool = False,
    rounding: bool = False,
) -> LockOutcome:
    """What a decision means, given the locked one.

    Parameters
    ----------
    entry : Entry or None
        The locked condition, if any. An entry with another digest of the claim does not count.
    decision : Decision
        The decision of this run.
    claim_digest : str
        Digest of the claim as it is now.
    report_only : bool
        For runs with the user's own images, network or weights, which do not test the article's
        statement: locks are ignored, supported passes, everything else is skipped.
    rounding : bool
        Whether effects are rounding errors, as those of exact claims are, which differ between
        processors; then their size is not compared.
    """
    verdict = decision.verdict
    message = f"{verdict}: {decision.reason}"
    if report_only:
        passed = verdict is Verdict.SUPPORTED
        return LockOutcome(status=LockStatus.PASS if passed else LockStatus.SKIP, message=message)
    if entry is not None and entry.claim != claim_digest:
        unlocked = compare(None, decision, claim_digest, rounding=rounding)
        return dataclasses.replace(unlocked, dropped=entry.verdict)
    warning = None
    locked = entry.verdict if entry is not None and entry.verdict in _DEFINITE else None
    if entry is not None and locked is verdict and not rounding:
        warning = _moved(entry, decision)
    if verdict not in _DEFINITE:
        if locked is not None:
            warning = f"{locked} is locked, but this run is {message}"
        return LockOutcome(status=LockStatus.SKIP, message=message, warning=warning)
    if locked is not None and locked is not verdict:
        return LockOutcome(
            status=LockStatus.FAIL, message=f"{locked} is locked, but this run is {message}"
        )
    if verdict is Verdict.SUPPORTED:
        return LockOutcome(status=LockStatus.PASS, message=message, warning=warning)
    if locked is verdict:
        return LockOutcome(
            status=LockStatus.XFAIL, message=f"{message} (as locked)", warning=warning
        )
    return LockOutcome(status=LockStatus.FAIL, message=message, warning=warning)


def _moved(entry: Entry, decision: Decision) -> str | None:
    """A warning if an effect lies outside its locked interval."""
    now = Entry.of(decision, entry.claim).effects
    moved = []
    for name, locked in entry.effects.items():
        if name not in now:
            continue
        value = now[name].value
        low = -math.inf if locked.low is None else locked.low
        high = math.inf if locked.high is None else locked.high
        if not low <= value <= high:
            moved.append(f"{name} is {value:.3g}, outside the locked {_interval(locked)}")
    if not moved:
        return None
    return f"still {decision.verdict}, but {' and '.join(moved)}"
