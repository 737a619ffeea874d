"""Two runs side by side: verdicts that changed, and effects with their paired differences.

Replicates of the same number draw the same seeds, so that another machine, precision, version or
network is compared replicate by replicate.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Iterable, Mapping, Sequence

from harness.claim import Scale
from harness.statistics.intervals import median_interval
from harness.verdict.results import ConditionResult, Run
from harness.verdict.verdict import Effect, Verdict, decide_claim
from reports import words
from reports.documents.build import plain
from reports.page.provenance import facts
from reports.page.template import environment
from reports.summary import condition_name, deciding_part, effect_of, extent_text, setting_text

PAGE, TABLE = "comparison.html", "comparison.csv"

LEVEL = 0.95
"""Of the intervals of differences; they describe, and no verdict depends on them."""

_TOLD_APART = ("Ended", "Time", "Cells", "Throughput", "Machine ceiling")
"""What differs between any two runs."""

Key = tuple[str, str, tuple[tuple[str, object], ...]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """A claim of which both runs measured something, judged in each on what both did."""

    claim: str
    statement: str
    before: Verdict
    after: Verdict
    restated: bool

    @property
    def changed(self) -> bool:
        """Whether their verdicts differ."""
        return self.before is not self.after


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """A condition that both runs measured.

    Parameters
    ----------
    claim, name : str
        Which one; its name tells of a network that was replaced.
    confirmatory : bool
        Whether it decides its claim.
    before, after : Verdict
        In the first run and in the second.
    effect_before, effect_after : Effect or None
        The effect of the deciding part.
    difference : Effect or None
        Median over the replicates of second less first, with its interval; None where fewer than
        two replicates are paired, or where the two runs draw other seeds.
    pairs : int
        Replicates that are paired.
    """

    claim: str
    name: str
    confirmatory: bool
    before: Verdict
    after: Verdict
    effect_before: Effect | None
    effect_after: Effect | None
    difference: Effect | None
    pairs: int

    @property
    def changed(self) -> bool:
        """Whether their verdicts differ."""
        return self.before is not self.after

    @property
    def difference_text(self) -> str:
        """The difference in words: a factor for ratios."""
        if self.difference is None:
            return "-"
        times = "×" if self.difference.scale is Scale.LOG else ""
        value = words.quantity(self.difference.value, self.difference.scale)
        return f"{value}{times} {words.interval(self.difference)}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """What two runs have in common and what not.

    Parameters
    ----------
    before, after : Run
        The runs.
    claims : tuple of Change
        Claims of which both measured something.
    pairs : tuple of Pair
        Conditions that both measured, those that changed first.
    missing, added : tuple of str
        Conditions that the first run alone measured, and the second.
    settings : tuple of (str, str, str)
        What the runs' provenance says otherwise: name, first, second.
    """

    before: Run
    after: Run
    claims: tuple[Change, ...]
    pairs: tuple[Pair, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]
    settings: tuple[tuple[str, str, str], ...]

    @property
    def changed(self) -> bool:
        """Whether the verdict of a claim, or of a condition that decides one, changed."""
        return any(item.changed for item in self.claims) or any(
            item.changed and item.confirmatory for item in self.pairs
        )


def compare(before: Run, after: Run) -> Comparison:
    """Compare two runs, the second against the first, on what both measured."""
    matched, missing, added = _matched(
        *([item for item in run.conditions if item.measured] for run in (before, after))
    )
    paired = _seeds(before) is not None and _seeds(before) == _seeds(after)
    pairs = [_pair(one, other, paired=paired) for one, other in matched]
    by_claim: dict[str, list[tuple[ConditionResult, ConditionResult]]] = {}
    for one, other in matched:
        by_claim.setdefault(other.claim.id, []).append((one, other))
    return Comparison(
        before=before,
        after=after,
        claims=tuple(_change(by_claim[claim.id]) for claim in after.claims if claim.id in by_claim),
        pairs=tuple(sorted(pairs, key=lambda pair: (not pair.changed, not pair.confirmatory))),
        missing=tuple(map(_full_name, missing)),
        added=tuple(map(_full_name, added)),
        settings=_settings(before, after),
    )


def compared_text(found: Comparison) -> str:
    """How much was compared, "12 compared, 227 not measured by B"."""
    alone = [
        f"{len(names)} not measured by {run}"
        for names, run in ((found.added, "A"), (found.missing, "B"))
        if names
    ]
    return ", ".join([f"{len(found.pairs)} compared", *alone])


def render(found: Comparison, *, names: tuple[str, str]) -> str:
    """The page of a comparison; `names` are what the two runs were asked for by."""
    return (
        environment()
        .get_template("compare.html")
        .render(
            found=found,
            names=names,
            compared=compared_text(found),
            setting_text=setting_text,
            extent_text=extent_text,
            effect_text=words.effect_text,
            level=LEVEL,
        )
    )


def to_csv(found: Comparison) -> str:
    """A row per condition of both runs; effects with scale "log" and their differences are logs."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        [
            *("claim", "condition", "confirmatory", "verdict_a", "verdict_b", "changed", "effect"),
            *("scale", "value_a", "low_a", "high_a", "value_b", "low_b", "high_b"),
            *("difference", "difference_low", "difference_high", "pairs"),
        ]
    )
    for pair in found.pairs:
        known = pair.effect_before or pair.effect_after
        writer.writerow(
            [
                pair.claim,
                pair.name,
                str(pair.confirmatory).lower(),
                pair.before.value,
                pair.after.value,
                str(pair.changed).lower(),
                known.name if known else "",
                known.scale.value if known else "",
                *_numbers(pair.effect_before),
                *_numbers(pair.effect_after),
                *_numbers(pair.difference),
                pair.pairs,
            ]
        )
    return buffer.getvalue()


def _change(matched: Sequence[tuple[ConditionResult, ConditionResult]]) -> Change:
    """A claim, by its conditions that both runs measured."""
    before, after = (item.claim for item in matched[0])
    deciding = [
        (one.decision, other.decision)
        for one, other in matched
        if one.confirmatory and other.confirmatory
    ]
    return Change(
        claim=after.id,
        statement=after.statement,
        before=decide_claim(one for one, _ in deciding)[0],
        after=decide_claim(other for _, other in deciding)[0],
        restated=before.digest != after.digest,
    )


def _pair(one: ConditionResult, other: ConditionResult, *, paired: bool) -> Pair:
    before, after = deciding_part(one), deciding_part(other)
    part = before or after
    differences: list[float] = []
    if part is not None and paired:
        name = part.criterion.effect
        rows = zip(
            one.decision.values.get(name, ()), other.decision.values.get(name, ()), strict=False
        )
        differences = [b - a for a, b in rows if math.isfinite(a) and math.isfinite(b)]
        # The same effect of both runs, whichever part decides in the second.
        after = next((p for p in other.decision.parts if p.criterion.effect == name), after)
    return Pair(
        claim=one.claim.id,
        name=_name(one, other),
        confirmatory=one.confirmatory and other.confirmatory,
        before=one.decision.verdict,
        after=other.decision.verdict,
        effect_before=effect_of(before),
        effect_after=effect_of(after),
        difference=None
        if part is None
        else _difference(differences, name=part.criterion.effect, scale=part.criterion.scale),
        pairs=len(differences),
    )


def _difference(values: Sequence[float], *, name: str, scale: Scale) -> Effect | None:
    if len(values) < 2:
        return None
    found = median_interval(values, tail=(1 - LEVEL) / 2)
    if found is None:
        return None
    return Effect(
        name=name,
        label=f"difference of {name}",
        value=found.value,
        low=found.low,
        high=found.high,
        level=found.level,
        scale=scale,
    )


def _matched(
    before: Iterable[ConditionResult], after: Iterable[ConditionResult]
) -> tuple[
    list[tuple[ConditionResult, ConditionResult]], list[ConditionResult], list[ConditionResult]
]:
    """Conditions of both runs, of the first alone, and of the second alone.

    What is left after an exact match is matched by everything but the network, where that leaves
    one on either side: a run with a network of one's own replaces the article's.
    """
    matched = []
    left, right = list(before), list(after)
    for without in ((), ("network",)):
        ours, theirs = _by_key(left, without), _by_key(right, without)
        for key, own in ours.items():
            others = theirs.get(key, [])
            if len(own) == len(others) == 1:
                matched.append((own[0], others[0]))
        known = {id(item) for pair in matched for item in pair}
        left = [item for item in left if id(item) not in known]
        right = [item for item in right if id(item) not in known]
    return matched, left, right


def _by_key(
    conditions: Iterable[ConditionResult], without: Sequence[str]
) -> Mapping[Key, list[ConditionResult]]:
    found: dict[Key, list[ConditionResult]] = {}
    for item in conditions:
        parameters = tuple(
            (name, value) for name, value in item.parameters.items() if name not in without
        )
        found.setdefault((item.claim.id, item.estimand, parameters), []).append(item)
    return found


def _name(one: ConditionResult, other: ConditionResult) -> str:
    names = (condition_name(one), condition_name(other))
    return names[0] if names[0] == names[1] else " → ".join(names)


def _full_name(condition: ConditionResult) -> str:
    return f"{condition.claim.id} {condition_name(condition)}".strip()


def _seeds(run: Run) -> object:
    return plain(run.provenance.get("seeds"))


def _settings(before: Run, after: Run) -> tuple[tuple[str, str, str], ...]:
    """Facts that the two runs tell differently."""
    one, other = dict(facts(before)), dict(facts(after))
    return tuple(
        (name, one.get(name, "-"), other.get(name, "-"))
        for name in dict.fromkeys([*one, *other])
        if name not in _TOLD_APART and one.get(name) != other.get(name)
    )


def _numbers(effect: Effect | None) -> list[object]:
    return ["", "", ""] if effect is None else [effect.value, effect.low, effect.high]
