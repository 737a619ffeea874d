"""Results of a run: each condition of each claim with its decision and its records."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from harness.claim import Claim, Estimand
from harness.statistics.clusters import Beyond
from harness.statistics.components import Components
from harness.statistics.multiplicity import Family
from harness.statistics.multiverse import Multiverse
from harness.verdict.verdict import Decision, Verdict

NOT_SELECTED = "not selected"
"""The reason of a condition that a run was not to measure."""

ENDED_BEFORE = "the run ended before"
"""The reason of a condition that was selected but not reached."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A table of further numbers of a condition.

    Parameters
    ----------
    title : str
        What the table shows, a sentence.
    columns : tuple of str
        Headings.
    rows : tuple of tuple
        One cell a column, text or number.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | float, ...], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConditionResult:
    """One condition of a claim, judged.

    Parameters
    ----------
    claim : Claim
        The claim.
    estimand : str
        Name of the estimand, a key of ``claim.estimands``.
    parameters : mapping of str to str, int or float
        What was varied ("network": "resnet50"), in the order in which it is shown.
    confirmatory : bool
        Whether the condition decides the claim, or is exploratory.
    decision : Decision
        Verdict, reason, effect and evidence.
    records : mapping of str to tuple of str
        Identities of the stored records by their role in the estimand, one per replicate.
    command : str
        The command line that measures exactly this condition again.
    tables : tuple of Table
        Further numbers for the report; they decide nothing.
    gallery : mapping of str to str
        Identities of records with images large enough to look at, by what they show.
    beyond : Beyond or None
        The test on distinct photographs, each counted once; None if there is none.
    custom : tuple of str
        Which of the user's own subjects it was measured with: "network", "weights", "images".
    """

    claim: Claim
    estimand: str
    parameters: Mapping[str, str | int | float]
    confirmatory: bool
    decision: Decision
    records: Mapping[str, tuple[str, ...]]
    command: str
    tables: tuple[Table, ...] = ()
    gallery: Mapping[str, str] = dataclasses.field(default_factory=dict)
    beyond: Beyond | None = None
    custom: tuple[str, ...] = ()

    @property
    def judged_by(self) -> Estimand:
        """The estimand."""
        return self.claim.estimands[self.estimand]

    @property
    def selected(self) -> bool:
        """Whether the run was to measure it."""
        return self.decision.reason != NOT_SELECTED

    @property
    def measured(self) -> bool:
        """Whether there was anything to judge."""
        return self.decision.verdict not in (Verdict.NOT_RUN, Verdict.NOT_TESTABLE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A run of the claims: what was selected, under which settings, and what was found.

    Parameters
    ----------
    profile, device : str
        As chosen.
    claims_digest : str
        SHA-256 of the canonical claims.
    claims : tuple of Claim
        Every claim, in order; one without conditions here was not run.
    conditions : tuple of ConditionResult
        The conditions of the claims that were collected.
    provenance : mapping
        Commit, dirty flag, package versions, device, precision flags, seeds' stream.
    measured, reused : int
        Cells measured in this run and cells found in the store.
    seconds : float
        Wall time of the run.
    ended : str
        Date and time of the end, ISO 8601 with offset.
    custom : mapping of str to str
        The user's own images, network or weights, if any condition was measured with them.
    multiverses : mapping of str to (mapping of str to Multiverse)
        By claim and estimand, the cells around the confirmatory ones; those that were not measured
        are absent. Effects are those of the estimand's first criterion.
    components : mapping of str to Components
        By family of claims, the sources of an effect's spread.
    every_condition : bool
        Whether `conditions` are all that the claims have.
    family : Family or None
        Error rates of all claims together, if the run was read from a document that has them.
    """

    profile: str
    device: str
    claims_digest: str
    claims: tuple[Claim, ...]
    conditions: tuple[ConditionResult, ...]
    provenance: Mapping[str, object]
    measured: int
    reused: int
    seconds: float
    ended: str
    custom: Mapping[str, str] = dataclasses.field(default_factory=dict)
    multiverses: Mapping[str, Mapping[str, Multiverse]] = dataclasses.field(default_factory=dict)
    components: Mapping[str, Components] = dataclasses.field(default_factory=dict)
    every_condition: bool = True
    family: Family | None = None

    @property
    def whole(self) -> bool:
        """Whether every condition of every claim was selected and reached."""
        stated = {item.claim.id for item in self.conditions}
        known = self.every_condition and stated.issuperset(claim.id for claim in self.claims)
        return known and all(
            item.decision.reason not in (NOT_SELECTED, ENDED_BEFORE) for item in self.conditions
        )
