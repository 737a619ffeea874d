"""The page of findings, from the locked verdicts: `python -m claims.findings > docs/findings.md`.

Claim by claim, what holds, what does not, and under which conditions. What is true where the
article is refuted, and other remarks on verdicts, are written by hand in `claims/instead.toml`.
"""

from __future__ import annotations

import argparse
import re
import textwrap
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from claims.plugin.registry import all_claims
from harness.claim import HEADLINES, Claim, Criterion, Estimand, Kind
from harness.errors import LockError
from harness.plan.profile import PROFILES
from harness.verdict.evidence import Effect
from harness.verdict.lock import Entry, Lock, Locked, read_lock
from harness.verdict.verdict import Decision, Verdict, decide_claim
from reports.words import VERDICT_MARKS, counts_text, effect_text, parts_text, without_tex

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "claims" / "verdicts.toml"
INSTEAD = ROOT / "claims" / "instead.toml"

_INTRODUCTION = """\
What the profile `{profile}` found: {counts}. Each line is a condition with its verdict, its effect
(median over n replicates) and an interval of level .995 or higher. `pytest claims/ --profile
{profile}` measures everything again, [statistics.md](statistics.md) explains how it is judged, and
`python -m claims.findings` makes this page from the locked verdicts. A verdict holds for the sizes
of its profile; `quick` has photographs of 32 pixels for ResNets (16 where ranks are counted) and of
8 to 32 for fully connected networks, and inverts ResNets in 200 steps instead of the article's 500
unless a claim says otherwise."""

_WIDTH = 100


def page(claims: Sequence[Claim], lock: Lock, instead: Mapping[str, str], *, profile: str) -> str:
    """The page, as Markdown.

    `instead` says, by claim id, what is true instead of a refuted claim, or has a remark on another
    verdict.
    """
    entries = {claim.id: _entries(claim, lock, profile) for claim in claims}
    verdicts = {claim.id: _verdict(claim, entries[claim.id]) for claim in claims}
    parts = [
        "# Findings",
        _wrapped(_INTRODUCTION.format(profile=profile, counts=counts_text(verdicts.values()))),
        "## Headlines",
        "\n".join(_headlines(claims, verdicts)),
    ]
    for section in dict.fromkeys(claim.section for claim in claims):
        parts.append(f"## {section}")
        for claim in claims:
            if claim.section == section:
                parts += _claim(claim, entries[claim.id], verdicts[claim.id], instead.get(claim.id))
    return "\n\n".join(parts) + "\n"


def _entries(claim: Claim, lock: Lock, profile: str) -> dict[str, Entry]:
    """The locked conditions of the claim's current wording."""
    locked = lock.profiles.get(profile, {})
    return {key: entry for key, entry in locked.items() if entry.claim == claim.digest}


def _verdict(claim: Claim, entries: Mapping[str, Entry]) -> Verdict:
    if all(estimand.kind is Kind.UNTESTABLE for estimand in claim.estimands.values()):
        return Verdict.NOT_TESTABLE
    decisions = [Decision(verdict=entry.verdict, reason="", n=0) for entry in entries.values()]
    return decide_claim(decisions)[0]


def _headlines(claims: Sequence[Claim], verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    for key, statement in HEADLINES.items():
        own = [claim.id for claim in claims if claim.headline == key]
        decided = ", ".join(f"{name} {verdicts[name]}" for name in own)
        yield _item(f"**{statement}**: {decided}.")


def _claim(
    claim: Claim, entries: Mapping[str, Entry], verdict: Verdict, instead: str | None
) -> Iterator[str]:
    yield f"### {claim.id} {VERDICT_MARKS[verdict]} {verdict}"
    yield _wrapped(claim.statement)
    if claim.source:
        source = without_tex(claim.source).rstrip(".")
        yield _wrapped(f'In the article: "{source}".')
    if verdict is Verdict.NOT_TESTABLE:
        yield _wrapped(" ".join(estimand.text for estimand in claim.estimands.values()))
        return
    for name, estimand in claim.estimands.items():
        placed = ((*_judged_by(key, claim), entry) for key, entry in entries.items())
        own = [(parameters, entry) for judged_by, parameters, entry in placed if judged_by == name]
        if own:
            yield _wrapped(f"Claimed: {parts_text(estimand)}.")
            yield "\n".join(_condition(*each, estimand) for each in own)
    if not entries:
        yield "Not measured in this profile."
    if instead is not None:
        refuted = any(entry.verdict is Verdict.REFUTED for entry in entries.values())
        yield _wrapped(f"**{'What is true instead' if refuted else 'Remark'}.** {instead}")


def _judged_by(key: str, claim: Claim) -> tuple[str, str]:
    """The estimand and the parameters of a condition, by `harness.verdict.lock.condition_key`."""
    if len(claim.estimands) == 1:
        return next(iter(claim.estimands)), key.removeprefix(claim.id).strip()
    for name in sorted(claim.estimands, key=len, reverse=True):
        head = f"{claim.id}/{name}"
        if key == head or key.startswith(f"{head} "):
            return name, key.removeprefix(head).strip()
    raise LockError(
        key,
        rule=f"its estimand is none of {claim.id}'s",
        remedy="Lock it anew with --update-verdicts",
    )


def _condition(parameters: str, entry: Entry, estimand: Estimand) -> str:
    # A value may hold spaces; what follows one and ends at "=" is a name.
    named = re.sub(r" (?=\w+=)", ", ", parameters).replace("=", " ") or "as it is"
    effects = [
        f"{criterion.label} {effect_text(_effect(criterion, entry.effects[name]))}"
        for name, criterion in {each.effect: each for each in estimand.criteria}.items()
        if name in entry.effects
    ]
    if entry.n:
        effects.append(f"n = {entry.n}")
    found = "; ".join(effects) or "no effect could be given"
    return _item(f"{VERDICT_MARKS[entry.verdict]} {named}: {entry.verdict}, {found}")


def _effect(criterion: Criterion, locked: Locked) -> Effect:
    return Effect(
        name=criterion.effect,
        label=criterion.label,
        value=locked.value,
        low=locked.low,
        high=locked.high,
        level=1.0,
        scale=criterion.scale,
    )


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), _WIDTH, break_long_words=False)


def _item(text: str) -> str:
    return textwrap.fill(f"- {text}", _WIDTH, subsequent_indent="  ", break_long_words=False)


def findings(profile: str) -> str:
    """The page of this suite, from the locked verdicts of a profile."""
    return page(
        all_claims(ROOT, planned=()),
        read_lock(LOCK),
        tomllib.loads(INSTEAD.read_text("utf-8")),
        profile=profile,
    )


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description="the findings, from the locked verdicts")
    parser.add_argument("--profile", default="quick", choices=PROFILES)
    print(findings(parser.parse_args().profile), end="")


if __name__ == "__main__":
    main()
