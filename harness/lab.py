"""The lab: what a claim's test asks for, measured, decided and kept.

A test states one condition of one claim: which cells a replicate consists of and which effects it
yields. The lab does the rest: replicates look by look, records from the store or from workers, the
decision. The same statement serves to plan a run without running it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from harness.asides import asides, labelled
from harness.cells import NON_FINITE, Cell, Draw, Inversion, identity
from harness.claim import Claim, Estimand, Kind
from harness.crossing import Block
from harness.plan import Profile, context, replicates
from harness.results import ConditionResult, Table
from harness.scheduler import Scheduler
from harness.sentinel import at_precision, disagreement, sentinel
from harness.settings import ImageFolder, Images, ResNet, WeightsFile
from harness.statistics.clusters import Beyond, beyond
from harness.statistics.components import Components
from harness.statistics.multiverse import Choice, Multiverse, multiverse
from harness.store import WEIGHTS, Record, Store
from harness.variations import LOOKS, REPLICATES, Variation, around
from harness.verdict import Decision, Replicate, Stop, Verdict, decide

Cells = Callable[[Draw], Mapping[str, Cell]]
"""What a replicate consists of, by role."""

Effects = Callable[[Mapping[str, Record]], Mapping[str, float]]
"""What a replicate yields, from its records by role: the effects that its estimand judges, and
whatever else is to be shown beside them, in units that a reader understands."""

Control = Callable[[Mapping[str, Record]], str | None]
"""The control that a replicate failed, in words; None where all held."""

Tables = Callable[[Sequence[Mapping[str, Record]]], tuple[Table, ...]]
"""Further numbers for the report, from the records of all replicates."""


def _no_control(_: Mapping[str, Record]) -> str | None:
    return None


def _no_tables(_: Sequence[Mapping[str, Record]]) -> tuple[Table, ...]:
    return ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assay:
    """One condition of a claim as a test states it.

    Parameters
    ----------
    claim : Claim
        The claim.
    estimand : str
        Name of its estimand.
    parameters : mapping
        What the test was parametrized with.
    cells, effects : callable
        A replicate's cells by role, and its effects from their records.
    gallery : mapping of str to Cell
        Cells measured for the report alone, by role.
    tables : callable
        Further numbers for the report.
    confirmatory : bool
        Whether it decides the claim or stands beside it.
    most : int
        Replicates at most; fixed before anything is measured.
    family : str or None
        Name of a family of claims for whose effects this condition's crossed block stands.
    varied : bool
        Whether the multiverse around it is measured.
    control : callable
        What has to hold besides, for a replicate to speak.
    absent : str or None
        Why the condition cannot be measured here; None where it can.
    """

    claim: Claim
    estimand: str
    parameters: Mapping[str, str | int | float]
    cells: Cells
    effects: Effects
    gallery: Mapping[str, Cell]
    tables: Tables
    confirmatory: bool
    most: int
    family: str | None = None
    varied: bool = False
    control: Control = _no_control
    absent: str | None = None

    @property
    def looks(self) -> tuple[tuple[int, float], ...]:
        """The claim's looks as far as the replicates reach."""
        return tuple(look for look in self.claim.looks if look[0] <= self.most)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Replicates at each look; a condition too small for any look has them all at once."""
        return tuple(n for n, _ in self.looks) or (self.most,)

    def cells_up_to(self, number: int) -> list[Cell]:
        """All cells of the first replicates, and those of the gallery."""
        if self.absent is not None:
            return []
        cells = [cell for draw in replicates(number) for cell in self.cells(draw).values()]
        beside = [*self.block.cells] if self.block else []
        beside += [variation.cells for variations in self.variations() for variation in variations]
        return [
            *cells,
            *self.sentinels(),
            *self.gallery.values(),
            *(cell for by_role in beside for cell in by_role.values()),
        ]

    @property
    def block(self) -> Block | None:
        """The crossed block, where it is measured."""
        return Block.of(self.cells) if self.family is not None else None

    @property
    def inverts(self) -> bool:
        """Whether a replicate inverts anything."""
        return bool(around(self.cells(Draw(replicate=0))))

    def variations(self) -> list[tuple[Variation, ...]]:
        """The cells of the multiverse, by replicate, where it is measured."""
        draws = replicates(REPLICATES) if self.varied else ()
        return [around(self.cells(draw)) for draw in draws]

    def sentinels(self) -> list[Cell]:
        """What the first look is measured again as, where its precision needs to be vouched for."""
        asked = [cell for draw in replicates(self.sizes[0]) for cell in self.cells(draw).values()]
        return [other for cell in asked if (other := sentinel(cell)) != cell]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Custom:
    """The user's own network, weights or images; with any of them a run only reports."""

    network: str | None = None
    weights: WeightsFile | None = None
    images: ImageFolder | None = None

    def described(self) -> dict[str, str]:
        """What was given, for the report."""
        given = {
            "network": self.network,
            "weights": self.weights and f"{self.weights.path} ({self.weights.sha256[:12]})",
            "images": self.images and f"{self.images.path} ({self.images.sha256[:12]})",
        }
        return {key: value for key, value in given.items() if value}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lab:
    """What a test sees: the profile, the subjects, and `judge`.

    Parameters
    ----------
    profile : Profile
        Sizes and numbers of this run.
    custom : Custom
        The user's own subjects.
    precision : str
        One of `harness.settings.PRECISIONS`, for all that a claim does not put into float64 itself.
    parameters : mapping
        Of the test.
    receive : callable
        Takes the assay that the test states.
    weights : Path
        The folder of weights that are trained here.
    imagenet : WeightsFile or None
        ImageNet weights of ResNet-50, where this machine has them.
    """

    profile: Profile
    custom: Custom
    precision: str
    parameters: Mapping[str, str | int | float]
    receive: Callable[[Assay], None]
    weights: Path = Path(".store", WEIGHTS)
    imagenet: WeightsFile | None = None

    def resnet(self, name: str, cut: str) -> ResNet:
        """A ResNet cut at a layer, with the user's weights where there are any."""
        return ResNet(name=name, cut=cut, weights=self.custom.weights)

    def stands_for(self, network: str, *, article: str) -> bool:
        """Whether a network is the article's, or the user's in its place."""
        return network == (self.custom.network or article)

    def photographs(self, *, pixels: int, rows: int | None = None, channels: int = 3) -> Images:
        """Crops of the bundled photographs, or of the user's images."""
        folder = self.custom.images
        return Images(
            pixels=pixels,
            rows=rows,
            channels=channels,
            source="folder" if folder else "photographs",
            folder=folder,
        )

    def judge(
        self,
        claim: Claim,
        *,
        cells: Cells,
        effects: Effects,
        estimand: str | None = None,
        gallery: Mapping[str, Cell] | None = None,
        tables: Tables = _no_tables,
        confirmatory: bool = True,
        most: int = 48,
        family: str | None = None,
        control: Control = _no_control,
        absent: str | None = None,
    ) -> None:
        """State the condition; parameters as in `Assay`.

        `estimand` may be left out where the claim has one.
        """

        def placed(asked: Mapping[str, Cell]) -> dict[str, Cell]:
            return {role: at_precision(cell, self.precision) for role, cell in asked.items()}

        self.receive(
            Assay(
                claim=claim,
                estimand=estimand or next(iter(claim.estimands)),
                parameters=self.parameters,
                cells=lambda draw: placed(cells(draw)),
                effects=effects,
                gallery=placed(gallery or {}),
                tables=tables,
                confirmatory=confirmatory,
                most=most,
                family=family,
                control=control,
                absent=absent,
            )
        )

    def record(self, claim: Claim) -> None:
        """State a claim that nothing could test; it is listed with its reason."""
        self.judge(claim, cells=lambda _: {}, effects=lambda _: {})


class Bench:
    """Measures and decides assays against one store.

    Parameters
    ----------
    store : Store
        Where records are.
    scheduler : Scheduler
        Brings missing cells into the store.
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
        self._choices: dict[str, list[Choice]] = {}

    @property
    def multiverses(self) -> dict[str, Multiverse]:
        """What the multiverses measured so far say together, by claim."""
        return {name: multiverse(_alike(choices)) for name, choices in self._choices.items()}

    def prepare(self, assays: Iterable[Assay]) -> None:
        """Queue the first look of assays that will run, in their order."""
        for priority, assay in enumerate(assays):
            self._scheduler.offer(assay.cells_up_to(assay.sizes[0]), priority=priority)

    def run(self, assay: Assay, *, label: str, command: str) -> ConditionResult:
        """Measure an assay look by look until it is decided."""
        estimand = assay.claim.estimands[assay.estimand]
        if estimand.kind is Kind.UNTESTABLE:
            return _unmeasured(assay, Verdict.NOT_TESTABLE, reason=estimand.text, command=command)
        if assay.absent is not None:
            return not_run(assay, reason=assay.absent, command=command)
        decision = Decision(verdict=Verdict.NOT_RUN, reason="no replicate was measured", n=0)
        records: list[Mapping[str, Record]] = []
        judged: list[Replicate] = []
        for size in assay.sizes:
            self._scheduler.need(assay.cells_up_to(size), label=label)
            records += [self._all(assay.cells(draw)) for draw in replicates(size)[len(records) :]]
            judged = _replicates(records, assay)
            decision = _decide(assay, judged)
            if decision.final:
                break
        decision = self._vouched(assay, decision, judged)
        self._describe(assay)
        roles = {
            role: tuple(by_role[role].id for by_role in records) for role in (records or [{}])[0]
        }
        return ConditionResult(
            claim=assay.claim,
            estimand=assay.estimand,
            parameters=assay.parameters,
            confirmatory=assay.confirmatory,
            decision=decision,
            records=roles,
            command=command,
            tables=(*assay.tables(records), *asides(estimand, decision, judged, records)),
            gallery={role: self._read(cell).id for role, cell in assay.gallery.items()},
            beyond=_beyond(estimand, judged, records, size=assay.sizes[0]),
        )

    def _describe(self, assay: Assay) -> None:
        """Note what the crossed block and the multiverse of an assay say; they decide nothing."""
        estimand = assay.claim.estimands[assay.estimand]
        block = assay.block
        if assay.family is not None and block is not None:
            name = estimand.criteria[0].effect
            effects = [assay.effects(self._all(cells))[name] for cells in block.cells]
            found = block.components(effects)
            if found is not None:
                self.components[assay.family] = found
        for cells in zip(*assay.variations(), strict=True):
            records = [self._all(variation.cells) for variation in cells]
            decision = decide(
                estimand,
                _replicates(records, assay),
                alpha=assay.claim.alpha,
                looks=LOOKS,
            )
            effect = decision.parts[0].effect if decision.parts else None
            self._choices.setdefault(assay.claim.id, []).append(
                Choice(
                    factors={**assay.parameters, **cells[0].factors},
                    verdict=decision.verdict.value,
                    effect=None if effect is None else effect.value,
                )
            )

    def _all(self, cells: Mapping[str, Cell]) -> dict[str, Record]:
        return {role: self._read(cell) for role, cell in cells.items()}

    def _vouched(self, assay: Assay, decision: Decision, judged: Sequence[Replicate]) -> Decision:
        """The decision, or "invalid" where float64 disagrees on the first look's replicates."""
        if not assay.sentinels():
            return decision
        first = assay.sizes[0]
        records = [
            {role: self._read(sentinel(cell)) for role, cell in assay.cells(draw).items()}
            for draw in replicates(first)
        ]
        reason = disagreement(
            assay.claim.estimands[assay.estimand],
            low=_decide(assay, judged[:first]),
            high=_decide(assay, _replicates(records, assay)),
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


def not_run(assay: Assay, *, reason: str, command: str) -> ConditionResult:
    """The result of an assay that this run left out."""
    return _unmeasured(assay, Verdict.NOT_RUN, reason=reason, command=command)


def _unmeasured(assay: Assay, verdict: Verdict, *, reason: str, command: str) -> ConditionResult:
    return ConditionResult(
        claim=assay.claim,
        estimand=assay.estimand,
        parameters=assay.parameters,
        confirmatory=assay.confirmatory,
        decision=Decision(verdict=verdict, reason=reason, n=0),
        records={},
        command=command,
    )


def _decide(assay: Assay, judged: Sequence[Replicate]) -> Decision:
    return decide(
        assay.claim.estimands[assay.estimand],
        judged,
        alpha=assay.claim.alpha,
        looks=assay.looks or assay.claim.looks[:1],
    )


def _replicates(records: Sequence[Mapping[str, Record]], assay: Assay) -> list[Replicate]:
    return [_replicate(number, by_role, assay) for number, by_role in enumerate(records)]


def _replicate(number: int, records: Mapping[str, Record], assay: Assay) -> Replicate:
    descents = [record for record in records.values() if record.cell["type"] == Inversion.__name__]
    return Replicate(
        index=number,
        effects=assay.effects(records),
        descended=all(record.values["m_g"] <= record.values["m_g0"] / 2 for record in descents)
        if descents
        else None,
        failed_control="a value became infinite or not a number"
        if any(record.status == NON_FINITE for record in records.values())
        else assay.control(records),
        shown=next(labelled(records, "counterexample"), None),
    )


def _beyond(
    estimand: Estimand,
    replicates: Sequence[Replicate],
    records: Sequence[Mapping[str, Record]],
    *,
    size: int,
) -> Beyond | None:
    """What the first look's replicates say of images at large, the number being fixed beforehand.

    None where an estimand has several criteria, no share to count, or no images drawn.
    """
    if len(estimand.criteria) > 1 or estimand.kind in (Kind.EXACT, Kind.EXISTENTIAL):
        return None
    drawn = [_photograph(next(iter(by_role.values()))) for by_role in records[:size]]
    known = [photograph for photograph in drawn if photograph is not None]
    if len(known) < size:
        return None
    (criterion,) = estimand.criteria
    values = [replicate.effects[criterion.effect] for replicate in replicates[:size]]
    return beyond(criterion, values, photographs=known)


def _photograph(record: Record) -> str | None:
    """The photograph of a replicate; None where its image was made."""
    images = record.cell.get("images")
    if not isinstance(images, Mapping) or images.get("source") not in ("photographs", "folder"):
        return None
    return record.labels.get("image")


def _alike(choices: Sequence[Choice]) -> list[Choice]:
    """Choices that all name the same factors: conditions may differ in what they vary."""
    names = dict.fromkeys(name for choice in choices for name in choice.factors)
    return [
        dataclasses.replace(choice, factors={name: choice.factors.get(name, "") for name in names})
        for choice in choices
    ]
