"""A crossed block of a condition: every network with every image with every start.

It is measured once for a family of claims, to see which source of randomness causes the spread of
their effects. It is descriptive; no verdict depends on it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from harness.plan.cells import Cell, Inversion
from harness.plan.seeds import CrossedSeeds, ReplicateSeeds, Source, Stream
from harness.statistics.components import Components, components

LEVELS = {"network": 6, "image": 6, "start": 3}
"""Levels of each source. Starts matter little, and each further level multiplies the block."""

Cells = Callable[[ReplicateSeeds], Mapping[str, Cell]]
"""What a replicate consists of, by role."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossedBlock:
    """The combinations of a condition.

    Parameters
    ----------
    levels : mapping of str to int
        Levels of the sources that the condition draws from; without a descent there is no start.
    cells : tuple of mapping of str to Cell
        By role, in the order of the combinations; each is measured by itself, since a batch
        consists of consecutive replicates.
    """

    levels: Mapping[str, int]
    cells: tuple[Mapping[str, Cell], ...]

    @classmethod
    def of(cls, cells: Cells) -> CrossedBlock:
        """The block of what a replicate consists of."""
        starts = any(
            isinstance(cell, Inversion) for cell in cells(ReplicateSeeds(replicate=0)).values()
        )
        levels = {name: count for name, count in LEVELS.items() if starts or name != "start"}
        combinations = itertools.product(*map(range, levels.values()))
        return cls(
            levels=levels,
            cells=tuple(
                {
                    role: dataclasses.replace(cell, batch=1)
                    for role, cell in cells(_crossing(number, levels, chosen)).items()
                }
                for number, chosen in enumerate(combinations)
            ),
        )

    def components(self, effects: Sequence[float]) -> Components | None:
        """The variance components of an effect, given its value for every combination."""
        return components(
            np.reshape(effects, tuple(self.levels.values())),
            factors=tuple(self.levels),
            rng=ReplicateSeeds(replicate=0, stream=Stream.CROSSED).rng(Source.NOISE),
        )


def _crossing(number: int, levels: Mapping[str, int], chosen: Sequence[int]) -> CrossedSeeds:
    at = dict(zip(levels, chosen, strict=True))
    return CrossedSeeds(
        replicate=number, network=at["network"], image=at["image"], start=at.get("start", 0)
    )
