"""Locked verdicts: what earlier runs decided, and what a new decision means beside it.

The file `claims/verdicts.toml` holds, per profile and condition, the verdict, the effects with
their intervals, and the digest of the claim that was judged::

    schema = 1

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
import json
import math
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

import tomli_w

from harness.errors import LockError
from harness.files import write_atomically
from harness.verdict.verdict import Decision, Verdict

SCHEMA = 1
HEADER = (
    "# Locked verdicts by profile and condition. Written by `pytest claims/ --update-verdicts`.\n"
)
_REWRITE = "Correct it, or delete the file and run with --update-verdicts"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Locked:
    """The effect of a locked condition, as far as it was shown; a limit None is unbounded."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A locked condition.

    Parameters
    ----------
    verdict : Verdict
        What was decided.
    claim : str
        Digest of the claim that was judged.
    n : int or None
        Replicates that it was decided on; None where an older lock does not tell.
    effects : mapping of str to Locked
        By name.
    """

    verdict: Verdict
    claim: str
    n: int | None = None
    effects: Mapping[str, Locked] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, decision: Decision, claim_digest: str) -> Entry:
        """What is locked of a decision."""
        effects = [part.effect for part in decision.parts if part.effect is not None]
        return cls(
            verdict=decision.verdict,
            claim=claim_digest,
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
    """All locked conditions: entries by key (see `condition_key`), by profile."""

    profiles: Mapping[str, Mapping[str, Entry]] = dataclasses.field(default_factory=dict)

    def get(self, profile: str, key: str) -> Entry | None:
        """The entry of a condition, None where it is not locked."""
        return self.profiles.get(profile, {}).get(key)

    def updated(
        self,
        profile: str,
        entries: Mapping[str, Entry],
        *,
        claims: Iterable[str] | None = None,
        conditions: Iterable[str] | None = None,
    ) -> Lock:
        """The lock with entries of a profile replaced or added; the others stay.

        Parameters
        ----------
        profile : str
            The profile that ran.
        entries : mapping of str to Entry
            What the run found, by key; what it did not run leaves the old entry as it is.
        claims : iterable of str, optional
            Digests of all claims as they are now; entries of others are dropped.
        conditions : iterable of str, optional
            Keys of all conditions that the claims have now, where a run has collected every one of
            them, whether it ran them or not. Entries of others, whose parameters have gone, are
            dropped; without it they stay, since the run cannot tell them from what it left out.
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
    """Six digits: what a person compares, and free of the last bits of another machine."""
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
    """The locked verdicts of a file; an empty lock where there is no file.

    Raises
    ------
    LockError
        Where the file cannot be read or is not well formed, with the line.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Lock()
    except (OSError, UnicodeDecodeError) as error:
        raise LockError(
            file, rule=f"the file cannot be read ({error})", remedy="Make it readable UTF-8"
        ) from error
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"\(at line (\d+)", str(error))
        number = int(line[1]) if line else text.count("\n") + 1
        what = re.sub(r" \(at .*\)$", "", str(error))
        raise LockError(
            f"{file}, line {number}", rule=f"not valid TOML: {what}", remedy=_REWRITE
        ) from error
    return _Reader(file, text).lock(content)


class _Reader:
    """Checks what TOML cannot, and finds the line of what is wrong."""

    def __init__(self, file: Path, text: str) -> None:
        self._file = file
        self._lines = text.splitlines()

    def lock(self, content: dict[str, object]) -> Lock:
        schema = content.pop("schema", None)
        if schema != SCHEMA:
            raise self._error(["schema"], f"schema is {schema!r}, this version reads {SCHEMA}")
        return Lock(
            profiles={
                profile: {
                    key: self._entry(self._table(table, [profile, key]), [profile, key])
                    for key, table in self._table(tables, [profile]).items()
                }
                for profile, tables in content.items()
            }
        )

    def _entry(self, table: dict[str, object], at: list[str]) -> Entry:
        verdict, claim = table.get("verdict"), table.get("claim")
        if verdict not in list(Verdict):
            rule = f"{verdict!r} is no verdict (one of {', '.join(Verdict)})"
            raise self._error([*at, "verdict"], rule)
        if not isinstance(claim, str):
            raise self._error([*at, "claim"], "claim is the digest of the claim, a string")
        n = table.get("n")
        if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 0):
            raise self._error([*at, "n"], f"n is {n!r}, not a number of replicates")
        effects = self._table(table.get("effects", {}), [*at, "effects"])
        return Entry(
            verdict=Verdict(str(verdict)),
            claim=claim,
            n=n,
            effects={
                name: self._locked(
                    self._table(effect, [*at, "effects", name]), [*at, "effects", name]
                )
                for name, effect in effects.items()
            },
        )

    def _locked(self, table: dict[str, object], at: list[str]) -> Locked:
        numbers: dict[str, float] = {}
        for name in ("value", "low", "high"):
            number = table.get(name)
            if number is None and name != "value":
                continue
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                raise self._error([*at, name], f"{name} is {number!r}, not a number")
            if not math.isfinite(number):
                raise self._error([*at, name], f"{name} is not finite; leave out what is unbounded")
            numbers[name] = float(number)
        return Locked(value=numbers["value"], low=numbers.get("low"), high=numbers.get("high"))

    def _table(self, value: object, at: list[str]) -> dict[str, object]:
        if not isinstance(value, dict):
            raise self._error(at, f"{at[-1]} is {value!r}, not a table")
        return value

    def _error(self, at: list[str], rule: str) -> LockError:
        return LockError(f"{self._file}, line {self._line(at)}", rule=rule, remedy=_REWRITE)

    def _line(self, at: list[str]) -> int:
        """The line of the longest part of a path that the text spells out.

        tomllib keeps no positions, so the names are sought one within the other.
        """
        line = 0
        for name in at:
            quoted = (re.escape(name), re.escape(json.dumps(name, ensure_ascii=False)))
            found = re.compile(rf"(^|[\s.\[{{])({'|'.join(quoted)})\s*([=\].])")
            line = next(
                (i for i in range(line, len(self._lines)) if found.search(self._lines[i])), line
            )
        return line + 1


def write_lock(lock: Lock, path: str | os.PathLike[str]) -> None:
    """Write the locked verdicts, sorted, so that equal locks are equal files.

    The file is replaced at once: a run that is interrupted leaves the old one.
    """
    content: dict[str, object] = {"schema": SCHEMA}
    for profile in sorted(lock.profiles):
        entries = lock.profiles[profile]
        if entries:
            content[profile] = {key: _plain(entries[key]) for key in sorted(entries)}
    file = Path(path)
    try:
        write_atomically(file, (HEADER + tomli_w.dumps(content)).encode())
    except OSError as error:
        raise LockError(
            file,
            rule=f"the file cannot be written ({error.strerror})",
            remedy="Make its folder writable"
            if file.parent.is_dir()
            else f"Make the folder {file.parent.name}, or run where it is",
        ) from error


def _plain(entry: Entry) -> dict[str, object]:
    plain: dict[str, object] = {"claim": entry.claim, "verdict": str(entry.verdict)}
    if entry.n is not None:
        plain["n"] = entry.n
    effects = {
        name: {
            key: number
            for key, number in dataclasses.asdict(entry.effects[name]).items()
            if number is not None
        }
        for name in sorted(entry.effects)
    }
    return plain | ({"effects": effects} if effects else {})


def diff(old: Lock, new: Lock) -> str:
    """What changes from one lock to another, a line each; empty where nothing does."""
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


# --- a new decision beside it ---------------------------------------------------------------


class LockStatus(enum.StrEnum):
    """What a decision is to pytest."""

    PASS = "pass"
    SKIP = "skip"
    XFAIL = "xfail"
    FAIL = "fail"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LockOutcome:
    """What pytest reports of a condition.

    Parameters
    ----------
    status : Status
        How it ends.
    message : str
        Verdict and reason, and the locked verdict where it matters.
    warning : str or None
        For the summary of warnings.
    dropped : Verdict or None
        What was locked for the claim as it was before it changed.
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
    """What a decision means beside the locked one.

    Parameters
    ----------
    entry : Entry or None
        The locked condition, if any. One that another digest of the claim produced is dropped.
    decision : Decision
        The decision of this run; its verdict may also be a claim's ("mixed").
    claim_digest : str
        Digest of the claim as it is now.
    report_only : bool
        For runs with the user's own images, network or weights: locks are ignored, supported
        passes, and everything else is skipped with its verdict, since the article's statement is
        not what such a run puts to the test.
    rounding : bool
        Whether effects are what rounding leaves, of exact claims: another in every processor.
    """
    verdict = decision.verdict
    told = f"{verdict}: {decision.reason}"
    if report_only:
        passed = verdict is Verdict.SUPPORTED
        return LockOutcome(status=LockStatus.PASS if passed else LockStatus.SKIP, message=told)
    if entry is not None and entry.claim != claim_digest:
        unlocked = compare(None, decision, claim_digest, rounding=rounding)
        return dataclasses.replace(unlocked, dropped=entry.verdict)
    warning = None
    locked = entry.verdict if entry is not None and entry.verdict in _DEFINITE else None
    if entry is not None and locked is verdict and not rounding:
        warning = _moved(entry, decision)
    if verdict not in _DEFINITE:
        if locked is not None:
            warning = f"{locked} is locked, but this run is {told}"
        return LockOutcome(status=LockStatus.SKIP, message=told, warning=warning)
    if locked is not None and locked is not verdict:
        return LockOutcome(
            status=LockStatus.FAIL, message=f"{locked} is locked, but this run is {told}"
        )
    if verdict is Verdict.SUPPORTED:
        return LockOutcome(status=LockStatus.PASS, message=told, warning=warning)
    if locked is verdict:
        return LockOutcome(status=LockStatus.XFAIL, message=f"{told} (as locked)", warning=warning)
    return LockOutcome(status=LockStatus.FAIL, message=told, warning=warning)


def _moved(entry: Entry, decision: Decision) -> str | None:
    """A warning where an effect lies outside its locked interval."""
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
