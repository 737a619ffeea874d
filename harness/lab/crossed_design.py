"""A crossed block of a condition: its networks with its images with its starts.

Measured once for a family of claims, to see which source of randomness their effects owe their
spread to. It describes; no verdict rests on it.
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
"""Levels of each source. Starts turn out alike, and every level more multiplies the block."""

Cells = Callable[[ReplicateSeeds], Mapping[str, Cell]]
"""What a replicate consists of, by role."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossedBlock:
    """The combinations of a condition.

    Parameters
    ----------
    levels : mapping of str to int
        Of the sources that the condition draws from; cells without a descent have no start.
    cells : tuple of mapping of str to Cell
        By role, in the order of the combinations; measured one by one, since what a batch has in
        common is its settings and the order of replicates.
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
        """The variance components of an effect, given by combination; None as there."""
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
