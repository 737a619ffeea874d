"""Measure cells: from settings to numbers, a block of replicates at a time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
from harness.plan import probes, training_cells
from harness.plan.cells import ActiveUnits, Cell, ExactInverse, Inversion, LocalRank

_ONE_BY_ONE: Mapping[type, Callable[[Any], Measurement]] = {
    ExactInverse: invert_exactly,
    ActiveUnits: count_active,
    LocalRank: local_rank,
    probes.Search: search,
    probes.Conditioning: conditioning,
    probes.SpreadRate: spread_rate,
    probes.Neighbours: neighbours,
    probes.NeighbourLaw: neighbour_law,
    probes.GradientNorms: gradient_norms,
    probes.SquareLayer: square_layer,
    probes.PooledRank: pooled_rank,
    probes.ZeroUnits: zero_units,
    probes.BlurLoss: blur_loss,
    training_cells.Train: train,
    training_cells.JacobianSpectrum: jacobian_spectrum,
    training_cells.LinearProbe: linear_probe,
    training_cells.EarlyUpdates: early_updates,
}
"""Kinds of cells that are measured one replicate at a time, on the CPU."""

_WITH_A_RECONSTRUCTION: Mapping[type, Callable[..., Measurement]] = {
    probes.ErrorInNullSpace: error_in_null_space,
    training_cells.Reflection: reflection,
}
"""Those that recover an image on the device first."""


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
        Where the device has not the memory for one replicate, or not the precision.
    """
    began = time.perf_counter()
    place = torch.device(device)
    for cell in cells:
        train_for(cell)
    if isinstance(cells[0], Inversion):
        results = invert_block(
            [cell for cell in cells if isinstance(cell, Inversion)],
            device=place,
            checkpoint=checkpoint,
        )
    elif type(cells[0]) in _WITH_A_RECONSTRUCTION:
        with_a_reconstruction = _WITH_A_RECONSTRUCTION[type(cells[0])]
        results = tuple(
            with_a_reconstruction(
                cell, device=place, checkpoint=checkpoint and checkpoint.part(number)
            )
            for number, cell in enumerate(cells)
        )
    else:
        one = _ONE_BY_ONE[type(cells[0])]
        results = tuple(map(one, cells))
    share = (time.perf_counter() - began) / len(cells)
    return tuple(dataclasses.replace(result, seconds=share) for result in results)
