"""The runner: conditions measured, decided and recorded.

Replicates are measured look by look; records come from the store or from workers. Descriptions of a
verdict (crossed blocks, the multiverse, distinct photographs) are measured with the first look.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

from harness.claim import Estimand, Kind
from harness.execution.scheduler import Scheduler
from harness.lab.condition import Condition
from harness.lab.multiverse import LOOKS
from harness.lab.precision_check import disagreement, reference_cell
from harness.lab.tables import describing_tables, labelled
from harness.plan.cells import FAILED, Cell, Inversion
from harness.plan.identity import context, identity
from harness.plan.seeds import replicates
from harness.statistics.clusters import Beyond, beyond
from harness.statistics.components import Components
from harness.statistics.multiverse import Choice, Multiverse, multiverse
from harness.store import Record, Store
from harness.verdict.evidence import Replicate
from harness.verdict.results import ConditionResult
from harness.verdict.verdict import Decision, Stop, Verdict, decide


class Runner:
    """Measures and decides conditions against one store.

    Parameters
    ----------
    store : Store
        Where records are.
    scheduler : Scheduler
        Measures cells that the store lacks.
    device : str
        Part of the identity of cells.
    """

    def __init__(self, *, store: Store, scheduler: Scheduler, device: str) -> None:
        self._store = store
        self._scheduler = scheduler
        self._context = context(device=device)
        self._records: dict[str, Record] = {}
        self.used: set[str] = set()
        self.components: dict[str, Components] = {}
        self._choices: dict[tuple[str, str], list[Choice]] = {}

    @property
    def multiverses(self) -> dict[str, dict[str, Multiverse]]:
        """Summaries of the multiverses measured so far, by claim and estimand."""
        found: dict[str, dict[str, Multiverse]] = {}
        for (claim, estimand), choices in self._choices.items():
            found.setdefault(claim, {})[estimand] = multiverse(_with_all_factors(choices))
        return found

    def prepare(self, conditions: Iterable[Condition]) -> None:
        """Queue the first look of conditions that will run, in their order.

        Neighbours of one headline, or else of one claim, are queued together: they share networks.
        """
        groups = itertools.groupby(
            conditions, key=lambda condition: condition.claim.headline or condition.claim.id
        )
        for priority, (_, group) in enumerate(groups):
            cells = [
                cell for condition in group for cell in condition.cells_up_to(condition.sizes[0])
            ]
            self._scheduler.offer(cells, priority=priority)

    def run(self, condition: Condition, *, label: str, command: str) -> ConditionResult:
        """Measure a condition look by look until it is decided."""
        estimand = condition.claim.estimands[condition.estimand]
        if estimand.kind is Kind.UNTESTABLE:
            return not_run(condition, reason=estimand.text, command=command)
        if condition.skip_reason is not None:
            return not_run(condition, reason=condition.skip_reason, command=command)
        decision = Decision(verdict=Verdict.NOT_RUN, reason="no replicate was measured", n=0)
        records: list[Mapping[str, Record]] = []
        judged: list[Replicate] = []
        for size in condition.sizes:
            self._scheduler.need(condition.cells_up_to(size), label=label)
            records += [
                self._read_all(condition.cells(seeds)) for seeds in replicates(size)[len(records) :]
            ]
            judged = _replicates(records, condition)
            decision = _decide(condition, judged)
            if decision.final:
                break
        decision = self._check_precision(condition, decision, judged)
        self._describe(condition)
        roles = {
            role: tuple(by_role[role].id for by_role in records) for role in (records or [{}])[0]
        }
        return ConditionResult(
            claim=condition.claim,
            estimand=condition.estimand,
            parameters=condition.parameters,
            confirmatory=condition.confirmatory,
            decision=decision,
            records=roles,
            command=command,
            tables=(
                *condition.tables(records),
                *describing_tables(estimand, decision, judged, records),
            ),
            gallery={role: self._read(cell).id for role, cell in condition.gallery.items()},
            beyond=_beyond(estimand, decision, judged, records, size=condition.sizes[0]),
        )

    def _describe(self, condition: Condition) -> None:
        """Record what a condition's crossed block and multiverse show; they decide nothing."""
        estimand = condition.claim.estimands[condition.estimand]
        block = condition.block
        if condition.family is not None and block is not None:
            name = estimand.criteria[0].effect
            effects = [condition.effects_of(self._read_all(cells))[name] for cells in block.cells]
            found = block.components(effects)
            if found is not None:
                self.components[condition.family] = found
        for cells in zip(*condition.variations(), strict=True):
            records = [self._read_all(variation.cells) for variation in cells]
            decision = decide(
                estimand,
                _replicates(records, condition),
                alpha=condition.claim.alpha,
                looks=LOOKS,
            )
            effect = decision.parts[0].effect if decision.parts else None
            self._choices.setdefault((condition.claim.id, condition.estimand), []).append(
                Choice(
                    factors={**condition.parameters, **cells[0].factors},
                    verdict=decision.verdict.value,
                    effect=None if effect is None else effect.value,
                )
            )

    def _read_all(self, cells: Mapping[str, Cell]) -> dict[str, Record]:
        return {role: self._read(cell) for role, cell in cells.items()}

    def _check_precision(
        self, condition: Condition, decision: Decision, judged: Sequence[Replicate]
    ) -> Decision:
        """The decision, or "invalid" where float64 disagrees on the first look's replicates."""
        if not condition.reference_cells():
            return decision
        first = condition.sizes[0]
        records = [
            {
                role: self._read(reference_cell(cell))
                for role, cell in condition.cells(seeds).items()
            }
            for seeds in replicates(first)
        ]
        reason = disagreement(
            condition.claim.estimands[condition.estimand],
            low=_decide(condition, judged[:first]),
            high=_decide(condition, _replicates(records, condition)),
        )
        if reason is None:
            return decision
        return dataclasses.replace(
            decision,
            verdict=Verdict.INVALID,
            stop=Stop.INVALID,
            reason=f"the precision does not suffice: {reason}",
        )

    def _read(self, cell: Cell) -> Record:
        key = identity(cell, context=self._context)
        self.used.add(key)
        if key not in self._records:
            self._records[key] = self._store.read(key)
        return self._records[key]


def not_run(condition: Condition, *, reason: str, command: str) -> ConditionResult:
    """The result of a condition without a measurement; what is not testable stays so."""
    untestable = condition.claim.estimands[condition.estimand].kind is Kind.UNTESTABLE
    verdict = Verdict.NOT_TESTABLE if untestable else Verdict.NOT_RUN
    return ConditionResult(
        claim=condition.claim,
        estimand=condition.estimand,
        parameters=condition.parameters,
        confirmatory=condition.confirmatory,
        decision=Decision(verdict=verdict, reason=reason, n=0),
        records={},
        command=command,
    )


def _decide(condition: Condition, judged: Sequence[Replicate]) -> Decision:
    return decide(
        condition.claim.estimands[condition.estimand],
        judged,
        alpha=condition.claim.alpha,
        looks=condition.looks or condition.claim.looks[:1],
    )


def _replicates(records: Sequence[Mapping[str, Record]], condition: Condition) -> list[Replicate]:
    return [_replicate(number, by_role, condition) for number, by_role in enumerate(records)]


def _replicate(number: int, records: Mapping[str, Record], condition: Condition) -> Replicate:
    descents = [record for record in records.values() if record.cell["type"] == Inversion.__name__]
    return Replicate(
        index=number,
        effects=condition.effects_of(records),
        descended=all(record.values["m_g"] <= record.values["m_g0"] / 2 for record in descents)
        if descents
        else None,
        failed_control=_failure(records) or condition.control(records),
        shown=next(labelled(records, "counterexample"), None),
    )


def _failure(records: Mapping[str, Record]) -> str | None:
    """What went wrong with a measurement itself, if anything did."""
    outcomes = {record.outcome for record in records.values()}
    return next((said for outcome, said in FAILED.items() if outcome in outcomes), None)


def _beyond(
    estimand: Estimand,
    decision: Decision,
    replicates: Sequence[Replicate],
    records: Sequence[Mapping[str, Record]],
    *,
    size: int,
) -> Beyond | None:
    """What the first look says about photographs in general; its size is fixed beforehand.

    None if an estimand has several criteria or counts no events, or if no photographs are drawn.
    """
    if len(estimand.criteria) > 1 or estimand.kind in (Kind.EXACT, Kind.EXISTENTIAL):
        return None
    drawn = [_photograph(by_role) for by_role in records[:size]]
    known = [photograph for photograph in drawn if photograph is not None]
    if len(known) < size:
        return None
    (criterion,) = estimand.criteria
    values = [
        math.nan if place in decision.failed else replicate.effects[criterion.effect]
        for place, replicate in enumerate(replicates[:size])
    ]
    return beyond(criterion, values, photographs=known)


def _photograph(records: Mapping[str, Record]) -> str | None:
    """The photograph of a replicate; None if it has no image or a synthetic one."""
    for record in records.values():
        images = record.cell.get("images")
        if isinstance(images, Mapping) and images.get("source") in ("photographs", "folder"):
            return record.labels.get("image")
    return None


def _with_all_factors(choices: Sequence[Choice]) -> list[Choice]:
    """The choices, each with all factors: conditions may vary different ones."""
    names = dict.fromkeys(name for choice in choices for name in choice.factors)
    return [
        dataclasses.replace(choice, factors={name: choice.factors.get(name, "") for name in names})
        for choice in choices
    ]
