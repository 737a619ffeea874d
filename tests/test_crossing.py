"""Crossed blocks: which levels share what, and that planted components come back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from small_cells import cell, rank

from harness.lab.crossed_design import LEVELS, CrossedBlock
from harness.plan.cells import Cell, Inversion
from harness.plan.identity import canonical
from harness.plan.seeds import CrossedSeeds, ReplicateSeeds, Source, Stream


def inversions(seeds: ReplicateSeeds) -> Mapping[str, Cell]:
    return {"reconstruction": Inversion(**{**vars(cell(0, batch=12)), "seeds": seeds})}


def ranks(seeds: ReplicateSeeds) -> Mapping[str, Cell]:
    return {"rank": type(rank(0))(**{**vars(rank(0)), "seeds": seeds})}


def crossings(block: CrossedBlock) -> list[CrossedSeeds]:
    found = [next(iter(by_role.values())).seeds for by_role in block.cells]
    return [seeds for seeds in found if isinstance(seeds, CrossedSeeds)]


@pytest.mark.parametrize(
    ("source", "levels"),
    [
        (Source.WEIGHTS, "network"),
        (Source.IMAGE, "image"),
        (Source.NOISE, "image"),
        (Source.START, "start"),
        (Source.PRIOR, "start"),
        (Source.EXAMPLES, "network"),
    ],
)
def test_two_combinations_share_a_seed_where_they_share_its_level(
    source: Source, levels: str
) -> None:
    draws = crossings(CrossedBlock.of(inversions))
    assert len(draws) == np.prod(list(LEVELS.values()))
    for one in draws:
        for other in draws:
            alike = getattr(one, levels) == getattr(other, levels)
            assert (one.seed(source) == other.seed(source)) == alike


def test_its_seeds_are_those_of_no_other_stream() -> None:
    own = {
        seeds.seed(source) for seeds in crossings(CrossedBlock.of(inversions)) for source in Source
    }
    for stream in Stream:
        if stream is not Stream.CROSSED:
            others = [ReplicateSeeds(replicate=number, stream=stream) for number in range(48)]
            assert own.isdisjoint({seeds.seed(source) for seeds in others for source in Source})


def test_every_combination_is_a_cell_of_its_own_measured_alone() -> None:
    cells = [by_role["reconstruction"] for by_role in CrossedBlock.of(inversions).cells]
    assert {each.batch for each in cells} == {1}
    assert len({str(canonical(each)) for each in cells}) == len(cells)


def test_cells_that_descend_nowhere_have_no_start_to_cross() -> None:
    block = CrossedBlock.of(ranks)
    assert block.levels == {"network": LEVELS["network"], "image": LEVELS["image"]}
    assert {seeds.start for seeds in crossings(block)} == {0}
