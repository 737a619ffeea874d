"""Cells grouped into buckets of work."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

from harness.plan.cells import Cell, Inversion, block
from harness.plan.costs import estimate
from harness.plan.identity import canonical, context, identity
from harness.plan.networks import RESNET_LAYERS, ResNet
from harness.plan.training_cells import Train


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Blocks of cells for one worker, in order; blocks of one network and replicate share it.

    Parameters
    ----------
    blocks : tuple of tuple of Cell
        Each is measured as one batch.
    ids : tuple of tuple of str
        Identities, in the same shape.
    seconds : float
        Estimated time of one core, or of a process beside a GPU, for order and time left.
    """

    blocks: tuple[tuple[Cell, ...], ...]
    ids: tuple[tuple[str, ...], ...]
    seconds: float

    def part(self, numbers: Sequence[int]) -> Bucket:
        """Some of the blocks, by their numbers; they share the estimate evenly."""
        return Bucket(
            blocks=tuple(self.blocks[number] for number in numbers),
            ids=tuple(self.ids[number] for number in numbers),
            seconds=self.seconds * len(numbers) / len(self.blocks),
        )


LONGEST = 300.0
"""Seconds of a bucket that is not parted further: what a lost worker costs, and an unlucky end of a
run; building a network once more costs less than one of them."""


def buckets(cells: Iterable[Cell], *, device: str) -> tuple[Bucket, ...]:
    """Cells with their batch mates, grouped by replicate and network; longest first.

    Equal cells are measured once. In a group a training comes first, then one cut after the other,
    since cells of one cut share its encoder. Groups that take longer than `LONGEST` are parted
    between blocks.
    """
    settings = context(device=device)
    blocks: dict[str, tuple[Cell, ...]] = {}
    for cell in cells:
        mates = block(cell)
        blocks.setdefault(identity(mates[0], context=settings), mates)
    groups: dict[object, list[tuple[Cell, ...]]] = {}
    for mates in blocks.values():
        groups.setdefault(_shared(mates[0]), []).append(mates)
    made = [
        Bucket(
            blocks=tuple(part),
            ids=tuple(tuple(identity(cell, context=settings) for cell in mates) for mates in part),
            seconds=sum(estimate(mates, device=device) for mates in part),
        )
        for group in groups.values()
        for part in _parts(sorted(group, key=_place), device=device)
    ]
    return tuple(sorted(made, key=lambda bucket: -bucket.seconds))


def _parts(group: Iterable[tuple[Cell, ...]], *, device: str) -> list[list[tuple[Cell, ...]]]:
    """Blocks in their order, in runs of at most `LONGEST` or of a single block."""
    parts: list[list[tuple[Cell, ...]]] = []
    seconds = math.inf
    for mates in group:
        seconds += estimate(mates, device=device)
        if seconds > LONGEST:
            parts.append([])
            seconds = estimate(mates, device=device)
        parts[-1].append(mates)
    return parts


def _place(mates: tuple[Cell, ...]) -> int:
    """The place of a block in its group: that of its cut among all, after what has none."""
    network = getattr(mates[0], "network", None)
    if not isinstance(network, ResNet) or isinstance(mates[0], Train):
        return -1
    return (
        RESNET_LAYERS.index(network.layer) if network.layer in RESNET_LAYERS else len(RESNET_LAYERS)
    )


def _shared(cell: Cell) -> object:
    """What the cells of a bucket have in common: the network of a replicate, or the cell itself."""
    network = getattr(cell, "network", None)
    if isinstance(network, ResNet):
        # Other sizes of images need other programs; a training is no part of any.
        pixels = None if network.training or not isinstance(cell, Inversion) else cell.images.pixels
        return cell.seeds, dataclasses.replace(network, layer=RESNET_LAYERS[-1]), pixels
    return str(canonical(cell))
