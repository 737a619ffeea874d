"""Cells grouped into buckets of work."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

from harness.plan.cells import Cell, Inversion, Train, block
from harness.plan.costs import estimate
from harness.plan.identity import canonical, context, identity
from harness.plan.networks import RESNET_LAYERS, ResNet


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Blocks of cells for one worker, in order; they share the network of a replicate.

    Parameters
    ----------
    blocks : tuple of tuple of Cell
        Each is measured as one batch.
    ids : tuple of tuple of str
        Identities, in the same shape.
    seconds : float
        Estimated time of one core, or of a process that shares a GPU; for the order of work and
        the forecast.
    """

    blocks: tuple[tuple[Cell, ...], ...]
    ids: tuple[tuple[str, ...], ...]
    seconds: float

    def part(self, numbers: Sequence[int]) -> Bucket:
        """Some of the blocks, by number, with an equal share each of the estimate."""
        return Bucket(
            blocks=tuple(self.blocks[number] for number in numbers),
            ids=tuple(self.ids[number] for number in numbers),
            seconds=self.seconds * len(numbers) / len(self.blocks),
        )


LONGEST = 300.0
"""Seconds beyond which a bucket is split. A lost worker and an uneven end of a run cost this much;
building a network again costs less."""


def buckets(cells: Iterable[Cell], *, device: str) -> tuple[Bucket, ...]:
    """Cells with their batch mates, grouped by replicate and network, the longest first.

    Equal cells are measured once. In a group, training comes first, then layer after layer, since
    cells of one layer share its encoder. Groups that take longer than `LONGEST` are split between
    blocks.
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
        for part in _split(sorted(group, key=_depth), device=device)
    ]
    return tuple(sorted(made, key=lambda bucket: -bucket.seconds))


def _split(group: Iterable[tuple[Cell, ...]], *, device: str) -> list[list[tuple[Cell, ...]]]:
    """Blocks in order, in runs of at most `LONGEST` or of a single block."""
    parts: list[list[tuple[Cell, ...]]] = []
    seconds = math.inf
    for mates in group:
        seconds += estimate(mates, device=device)
        if seconds > LONGEST:
            parts.append([])
            seconds = estimate(mates, device=device)
        parts[-1].append(mates)
    return parts


def _depth(mates: tuple[Cell, ...]) -> int:
    """How deep the block's layer is; -1 for trainings and whatever has none."""
    network = getattr(mates[0], "network", None)
    if not isinstance(network, ResNet) or isinstance(mates[0], Train):
        return -1
    return RESNET_LAYERS.index(network.layer)


def _shared(cell: Cell) -> object:
    """What the cells of a bucket have in common: the network of a replicate, or the cell itself."""
    network = getattr(cell, "network", None)
    if isinstance(network, ResNet):
        # Another size of images needs another encoder, but waits for the same training.
        pixels = None if network.training or not isinstance(cell, Inversion) else cell.images.pixels
        return cell.seeds, dataclasses.replace(network, layer=RESNET_LAYERS[-1]), pixels
    return str(canonical(cell))
