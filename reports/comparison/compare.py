"""Two runs compared: verdicts that changed, and effects with their paired differences.

Replicates of the same number have the same seeds, so that another machine, precision, version or
network is compared replicate by replicate.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence

from harness.claim import Claim, Scale
from harness.statistics.intervals import median_interval
from harness.verdict.evidence import Effect, Part
from harness.verdict.results import ConditionResult, Run
from harness.verdict.verdict import Verdict, decide_claim
from reports import words
from reports.documents.build import plain
from reports.page.provenance import facts
from reports.page.template import environment
from reports.summary import (
    condition_name,
    deciding_part,
    effect_of,
    extent_text,
    full_name,
    setting_text,
)

PAGE = "comparison.html"

LEVEL = 0.95
"""Of the intervals of differences; these are descriptive, and no verdict depends on them."""

_ALWAYS_DIFFERENT = ("Ended", "Time", "Cells", "Throughput", "Peak rate")

Matched = tuple[ConditionResult, ConditionResult]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Compared:
    """A claim or a condition with its verdicts in the first run and in the second."""

    claim: str
    before: Verdict
    after: Verdict

    @property
    def changed(self) -> bool:
        """Whether the verdicts differ."""
        return self.before is not self.after


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change(_Compared):
    """A claim, judged in both runs by the conditions that both measured.

    `restated` says whether the rules that decide the claim differ between the runs.
    """

    statement: str
    restated: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair(_Compared):
    """A condition that both runs measured.

    Parameters
    ----------
    name : str
        Its name in both runs, if a network was replaced.
    confirmatory : bool
        Whether it decides its claim.
    effect_before, effect_after : Effect or None
        The effect of the deciding part.
    difference : Effect or None
        Median over the replicates of second minus first, with its interval; None if fewer than two
        replicates are paired, as when the runs have different seeds.
    pairs : int
        Replicates that are paired.
    """

    name: str
    confirmatory: bool
    effect_before: Effect | None
    effect_after: Effect | None
    difference: Effect | None
    pairs: int

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
    """What two runs have in common, and how they differ.

    Parameters
    ----------
    before, after : Run
        The runs.
    claims : tuple of Change
        Claims with a condition that both measured.
    pairs : tuple of Pair
        Conditions that both measured, those that changed first.
    missing, added : tuple of str
        Conditions that only the first run measured, and only the second.
    settings : tuple of (str, str, str)
        Facts about the runs that differ: name, first, second.
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
        """Whether the verdict of a claim or of a confirmatory condition changed."""
        deciding = (pair for pair in self.pairs if pair.confirmatory)
        return any(item.changed for item in (*self.claims, *deciding))


def rules(claim: Claim) -> Hashable:
    """What decides a claim: its estimands without their wording, its alpha and its looks.

    Claims of two runs with the same rules are the same, whatever their wording.
    """
    estimands = tuple(
        (
            name,
            estimand.kind,
            estimand.presupposes_descent,
            tuple(dataclasses.replace(criterion, label="") for criterion in estimand.criteria),
        )
        for name, estimand in claim.estimands.items()
    )
    return estimands, claim.alpha, claim.looks


def compare(before: Run, after: Run) -> Comparison:
    """Compare the second run with the first, on the conditions that both measured."""
    matched, missing, added = _matched(before, after)
    seeds = [plain(run.provenance.get("seeds")) for run in (before, after)]
    paired = seeds[0] is not None and seeds[0] == seeds[1]
    pairs = [_pair(one, other, paired=paired) for one, other in matched]
    by_claim: dict[str, list[Matched]] = {}
    for one, other in matched:
        by_claim.setdefault(other.claim.id, []).append((one, other))
    return Comparison(
        before=before,
        after=after,
        claims=tuple(_change(by_claim[claim.id]) for claim in after.claims if claim.id in by_claim),
        pairs=tuple(sorted(pairs, key=lambda pair: (not pair.changed, not pair.confirmatory))),
        missing=tuple(map(full_name, missing)),
        added=tuple(map(full_name, added)),
        settings=_settings(before, after),
    )


def compared_text(found: Comparison) -> str:
    """How many conditions were compared, "12 compared, 227 not measured by B"."""
    alone = [
        f"{len(names)} not measured by {run}"
        for names, run in ((found.added, "A"), (found.missing, "B"))
        if names
    ]
    return ", ".join([f"{len(found.pairs)} compared", *alone])


def render(found: Comparison, *, names: tuple[str, str]) -> str:
    """The page of a comparison; `names` are those by which the user named the runs."""
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


def _matched(
    before: Run, after: Run
) -> tuple[list[Matched], list[ConditionResult], list[ConditionResult]]:
    """Conditions that both runs measured, only the first, and only the second.

    Conditions without an exact match are matched by everything but the network, if that is
    unambiguous: in a run with a network of the user's own, this replaces the article's.
    """
    matched: list[Matched] = []
    left, right = ([item for item in run.conditions if item.measured] for run in (before, after))
    for ignored in ("", "network"):
        ours, theirs = _by_key(left, ignored), _by_key(right, ignored)
        matched += [
            (own[0], theirs[key][0])
            for key, own in ours.items()
            if len(own) == len(theirs.get(key, ())) == 1
        ]
        known = {id(item) for pair in matched for item in pair}
        left, right = ([item for item in side if id(item) not in known] for side in (left, right))
    return matched, left, right


def _by_key(
    conditions: Iterable[ConditionResult], ignored: str
) -> Mapping[object, list[ConditionResult]]:
    """Conditions by everything that names them, except for one parameter."""
    found: dict[object, list[ConditionResult]] = {}
    for item in conditions:
        parameters = tuple(each for each in item.parameters.items() if each[0] != ignored)
        found.setdefault((item.claim.id, item.estimand, parameters), []).append(item)
    return found


def _change(matched: Sequence[Matched]) -> Change:
    before, after = (item.claim for item in matched[0])
    deciding = [pair for pair in matched if all(item.confirmatory for item in pair)]
    return Change(
        claim=after.id,
        statement=after.statement,
        before=decide_claim(one.decision for one, _ in deciding)[0],
        after=decide_claim(other.decision for _, other in deciding)[0],
        restated=rules(before) != rules(after),
    )


def _pair(one: ConditionResult, other: ConditionResult, *, paired: bool) -> Pair:
    before, after = deciding_part(one), deciding_part(other)
    part = before or after
    differences: list[float] = []
    if part is not None and paired:
        name = part.criterion.effect
        values = (item.decision.values.get(name, ()) for item in (one, other))
        differences = [d for a, b in zip(*values, strict=False) if math.isfinite(d := b - a)]
        # The same effect of both runs, whichever part decides in the second.
        after = next((p for p in other.decision.parts if p.criterion.effect == name), after)
    names = dict.fromkeys(condition_name(item) for item in (one, other))
    return Pair(
        claim=one.claim.id,
        name=" → ".join(names),
        confirmatory=one.confirmatory and other.confirmatory,
        before=one.decision.verdict,
        after=other.decision.verdict,
        effect_before=effect_of(before),
        effect_after=effect_of(after),
        difference=_difference(differences, part),
        pairs=len(differences),
    )


def _difference(values: Sequence[float], part: Part | None) -> Effect | None:
    if part is None or len(values) < 2:
        return None
    found = median_interval(values, tail=(1 - LEVEL) / 2)
    if found is None:
        return None
    return Effect(
        **dataclasses.asdict(found),
        name=part.criterion.effect,
        label=f"difference of {part.criterion.effect}",
        scale=part.criterion.scale,
    )


def _settings(before: Run, after: Run) -> tuple[tuple[str, str, str], ...]:
    """The facts about the runs that differ."""
    one, other = dict(facts(before)), dict(facts(after))
    return tuple(
        (name, one.get(name, "-"), other.get(name, "-"))
        for name in dict.fromkeys([*one, *other])
        if name not in _ALWAYS_DIFFERENT and one.get(name) != other.get(name)
    )
