"""Conditions of claims, as their tests state them.

A condition says which cells a replicate consists of and which effects it yields. Planning,
measuring and deciding all use it.
"""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from harness.claim import Claim
from harness.lab.crossed_design import Cells, CrossedBlock
from harness.lab.multiverse import REPLICATES, Variation, around
from harness.lab.precision_check import reference_cell
from harness.plan.cells import Cell
from harness.plan.fields import check, is_a, known
from harness.plan.seeds import ReplicateSeeds, replicates
from harness.store import Named, Record
from harness.verdict.results import Table

Effects = Callable[[Mapping[str, Record]], Mapping[str, float]]
"""What a replicate yields, from its records by role: the effects that its estimand judges, and
other numbers for the report."""

Control = Callable[[Mapping[str, Record]], str | None]
"""A description of the control that a replicate failed; None if it passed."""

Tables = Callable[[Sequence[Mapping[str, Record]]], tuple[Table, ...]]
"""Further numbers for the report, from the records of all replicates."""


def no_control(_: Mapping[str, Record]) -> str | None:
    """No control: every replicate is valid."""
    return None


def no_tables(_: Sequence[Mapping[str, Record]]) -> tuple[Table, ...]:
    """No tables."""
    return ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Condition:
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
        Whether it decides the claim, or is exploratory.
    max_replicates : int
        Replicates at most; fixed before anything is measured.
    family : str or None
        Family of claims that this condition's crossed block describes; None without a block.
    varied : bool
        Whether the multiverse around it is measured.
    control : callable
        What a replicate must pass to be valid.
    skip_reason : str or None
        Why the condition cannot be measured here; None if it can.
    external_weights : bool
        Whether its network is not the one that the claim is about; no verdict is locked then.

    Raises
    ------
    UnknownNameError
        Where the claim has no such estimand.
    SettingError
        Where there would be no replicate.
    """

    claim: Claim
    estimand: str
    parameters: Mapping[str, str | int | float]
    cells: Cells
    effects: Effects
    gallery: Mapping[str, Cell]
    tables: Tables
    confirmatory: bool
    max_replicates: int
    family: str | None = None
    varied: bool = False
    control: Control = no_control
    skip_reason: str | None = None
    external_weights: bool = False

    def __post_init__(self) -> None:
        known(self.estimand, tuple(self.claim.estimands), what=f"estimand of {self.claim.id}")
        check(
            is_a(numbers.Integral, self.max_replicates) and self.max_replicates > 0,
            f"max_replicates={self.max_replicates!r} of {self.claim.id}",
            rule="a condition is measured in one replicate or more",
            remedy="Choose 12, 24 or 48, at which a verdict can be reached",
        )

    def effects_of(self, records: Mapping[str, Record]) -> Mapping[str, float]:
        """What a replicate yields, from its records by role.

        Raises
        ------
        UnknownNameError
            Where an effect that is judged is not among them, or the effects ask for a role or a
            value that there is not.
        SettingError
            Where they are not numbers by name.
        """
        found: Any = self.effects(Named(records, what=f"role of a cell of {self.claim.id}"))
        numbered = isinstance(found, Mapping) and all(
            isinstance(value, numbers.Real) for value in found.values()
        )
        check(
            numbered,
            f"{found!r}".partition("\n")[0],
            rule="the effects of a replicate are numbers by name",
            remedy='Return a dict of floats, as {"r": records["role"].values["r"]}',
        )
        for criterion in self.claim.estimands[self.estimand].criteria:
            known(criterion.effect, tuple(found), what="effect among those that the test yields")
        return cast(Mapping[str, float], found)

    @property
    def looks(self) -> tuple[tuple[int, float], ...]:
        """The claim's looks that `max_replicates` reaches."""
        return tuple(look for look in self.claim.looks if look[0] <= self.max_replicates)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Replicates at each look; all at once if there are too few for any look."""
        return tuple(n for n, _ in self.looks) or (self.max_replicates,)

    def cells_up_to(self, number: int) -> list[Cell]:
        """All cells of the first `number` replicates, and those of the gallery."""
        if self.skip_reason is not None:
            return []
        cells = [cell for seeds in replicates(number) for cell in self.cells(seeds).values()]
        described = [*self.block.cells] if self.block else []
        described += [each.cells for variations in self.variations() for each in variations]
        return [
            *cells,
            *self.reference_cells(),
            *self.gallery.values(),
            *(cell for by_role in described for cell in by_role.values()),
        ]

    @property
    def block(self) -> CrossedBlock | None:
        """The crossed block; None if it is not measured."""
        return CrossedBlock.of(self.cells) if self.family is not None else None

    @property
    def inverts(self) -> bool:
        """Whether a replicate inverts anything."""
        return self.skip_reason is None and bool(around(self.cells(ReplicateSeeds(replicate=0))))

    def variations(self) -> list[tuple[Variation, ...]]:
        """The cells of the multiverse by replicate; empty if it is not measured."""
        varied = replicates(REPLICATES) if self.varied else ()
        return [around(self.cells(seeds)) for seeds in varied]

    def reference_cells(self) -> list[Cell]:
        """The float64 cells of the precision check, which repeat the first look."""
        asked = [cell for seeds in replicates(self.sizes[0]) for cell in self.cells(seeds).values()]
        return [other for cell in asked if (other := reference_cell(cell)) != cell]
