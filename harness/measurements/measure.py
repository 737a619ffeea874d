"""Measure cells: from settings to numbers, a block of replicates at a time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from harness.checkpoint import Checkpoint
from harness.measurements.active_units import count_active
from harness.measurements.blur_loss import blur_loss
from harness.measurements.conditioning import conditioning, spread_rate
from harness.measurements.early_updates import early_updates
from harness.measurements.exact_inverse import invert_exactly
from harness.measurements.gradients import gradient_norms
from harness.measurements.inversion import invert_block
from harness.measurements.jacobian_spectrum import jacobian_spectrum
from harness.measurements.linear_probe import linear_probe
from harness.measurements.local_rank import local_rank
from harness.measurements.measurement import Measurement
from harness.measurements.neighbours import neighbour_law, neighbours
from harness.measurements.null_space_error import error_in_null_space
from harness.measurements.pooled_rank import pooled_rank
from harness.measurements.reflection import reflection
from harness.measurements.search import search
from harness.measurements.square_layer import square_layer
from harness.measurements.training import train, train_for
from harness.measurements.zero_units import zero_units
from harness.plan import cells as kinds
from harness.plan.cells import Cell, Inversion, OfReconstruction

_MEASUREMENTS: Mapping[type[Cell], Callable[..., Measurement]] = {
    kinds.ActiveUnits: count_active,
    kinds.BlurLoss: blur_loss,
    kinds.Conditioning: conditioning,
    kinds.EarlyUpdates: early_updates,
    kinds.ErrorInNullSpace: error_in_null_space,
    kinds.ExactInverse: invert_exactly,
    kinds.GradientNorms: gradient_norms,
    kinds.JacobianSpectrum: jacobian_spectrum,
    kinds.LinearProbe: linear_probe,
    kinds.LocalRank: local_rank,
    kinds.NeighbourLaw: neighbour_law,
    kinds.Neighbours: neighbours,
    kinds.PooledRank: pooled_rank,
    kinds.Reflection: reflection,
    kinds.Search: search,
    kinds.SpreadRate: spread_rate,
    kinds.SquareLayer: square_layer,
    kinds.Train: train,
    kinds.ZeroUnits: zero_units,
}
"""What measures a cell of each kind except inversions; it also takes the run, if there is one."""


def measure(
    cells: Sequence[Cell], *, device: str, checkpoint: Checkpoint | None = None
) -> tuple[Measurement, ...]:
    """Measure a block of cells that differ in their replicates alone.

    Parameters
    ----------
    cells : sequence of Cell
        One block, as `harness.plan.cells.block` composes it.
    device : str
        "cpu" or "cuda".
    checkpoint : Checkpoint or None
        Of the block's run; removed by the caller once the results are safe.

    Raises
    ------
    DeviceError
        Where the device lacks the memory for one replicate, or does not support the precision.
    """
    began = time.perf_counter()
    for cell in cells:
        train_for(cell)
    results = _measure(cells, device=torch.device(device), checkpoint=checkpoint)
    share = (time.perf_counter() - began) / len(cells)
    return tuple(dataclasses.replace(result, seconds=share) for result in results)


def _measure(
    cells: Sequence[Cell], *, device: torch.device, checkpoint: Checkpoint | None
) -> tuple[Measurement, ...]:
    inversions = [cell for cell in cells if isinstance(cell, Inversion)]
    if inversions:
        return invert_block(inversions, device=device, checkpoint=checkpoint)
    measure_one = _MEASUREMENTS[type(cells[0])]
    results = []
    for number, cell in enumerate(cells):
        if isinstance(cell, OfReconstruction):
            (run,) = invert_block(
                [cell.inversion], device=device, checkpoint=checkpoint and checkpoint.part(number)
            )
            results.append(measure_one(cell, run))
        else:
            results.append(measure_one(cell))
    return tuple(results)
