"""Inversions: recover the images of a block of replicates."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from harness.checkpoint import Checkpoint
from harness.encoders.adapters import Cast, Reshaped
from harness.encoders.encoder import Encoder
from harness.encoders.runtime import Precision, precision_of
from harness.errors import DeviceError
from harness.inversion.checked import recover_checked
from harness.inversion.recover import Spread, recover
from harness.measurements.measurement import Measurement
from harness.measurements.reconstruction_quality import reconstruction_quality
from harness.plan.cells import Inversion
from harness.plan.networks import ModuleFactory, ResNet
from harness.subjects.factory import FactoryEncoder
from harness.subjects.images.originals import draw_original
from harness.subjects.images.starts import draw_noise, draw_starts
from harness.subjects.last import forget_encoder
from harness.subjects.networks import build_encoder

_FULL = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
"""Messages of CUDA and its libraries where memory is full."""


def invert_block(
    cells: Sequence[Inversion],
    *,
    device: torch.device,
    checkpoint: Checkpoint | None,
    together: int | None = None,
) -> tuple[Measurement, ...]:
    """Invert a block in one batch, or in halves of it where memory runs out.

    Parameters
    ----------
    cells : sequence of Inversion
        The block.
    device : torch.device
        Where.
    checkpoint : Checkpoint or None
        Of the block's run.
    together : int or None
        Starts of each image that run in one batch; None for all.

    Raises
    ------
    DeviceError
        Where the memory is too small for one start of one image.
    """
    together = together or cells[0].restarts
    try:
        with precision_of(cells[0].precision, device=device) as precision:
            return _invert(
                cells,
                precision=precision,
                device=device,
                checkpoint=checkpoint,
                together=together,
            )
    except RuntimeError as error:
        if not lacks_memory(error):
            raise
        if len(cells) == together == 1:
            raise DeviceError(
                device.type,
                rule="its memory is too small to invert one image from one start",
                remedy="Choose a smaller profile, or another --device",
            ) from error
    # Outside the handler, whose error still refers to what was allocated.
    forget_encoder()
    gc.collect()
    torch.cuda.empty_cache()
    if len(cells) == 1:
        half = (together + 1) // 2
        (result,) = invert_block(cells, device=device, checkpoint=checkpoint, together=half)
        return (_labelled(result, f"{half} starts at a time"),)
    half = (len(cells) + 1) // 2
    return tuple(
        _labelled(result, f"{len(part)} at a time")
        for number, part in enumerate((cells[:half], cells[half:]))
        for result in invert_block(
            part, device=device, checkpoint=checkpoint and checkpoint.part(number)
        )
    )


def lacks_memory(error: BaseException | None) -> bool:
    """Whether an error, or one of its causes, says that a device's memory is full.

    Where memory runs out while a graph is captured, ending the capture fails as well, and that
    error is raised. Libraries have messages of their own.
    """
    while error is not None:
        words = str(error)
        if isinstance(error, torch.OutOfMemoryError) or any(each in words for each in _FULL):
            return True
        error = error.__cause__ or error.__context__
    return False


def _labelled(result: Measurement, memory: str) -> Measurement:
    """A result labelled with what fitted into memory, unless it has a smaller label already."""
    return dataclasses.replace(result, labels={"memory": memory, **result.labels})


def _invert(
    cells: Sequence[Inversion],
    *,
    precision: Precision,
    device: torch.device,
    checkpoint: Checkpoint | None,
    together: int,
) -> tuple[Measurement, ...]:
    cell = cells[0]
    replicates = [each.seeds for each in cells]
    drawn = [draw_original(cell.images, seeds) for seeds in replicates]
    originals = torch.stack([image for image, _ in drawn])
    starts = torch.cat(
        [
            draw_starts(cell.start, cell.images, seeds, restarts=cell.restarts)
            for seeds in replicates
        ]
    )
    noised = originals + torch.stack(
        [draw_noise(cell.noise, cell.images, seeds) for seeds in replicates]
    )
    network = build_encoder(
        cell.network,
        replicates,
        dtype=precision.network,
        device=device,
    )
    # Where the network takes vectors, only priors need rows and columns.
    of_vectors = not isinstance(cell.network, ResNet | ModuleFactory)
    vectors = of_vectors and not cell.decoder.takes_images

    def of_images(encoder: Encoder) -> Encoder:
        if precision.network != precision.images:
            encoder = Cast(encoder, inside=precision.network, outside=precision.images)
        return Reshaped(encoder) if of_vectors and not vectors else encoder

    def placed(images: Tensor) -> Tensor:
        return (images.flatten(1) if vectors else images).to(device, precision.images)

    images, start, near = map(placed, (originals, starts, noised))
    run: dict[str, Any] = {
        "start": start,
        "noised": near,
        "decoder": cell.decoder,
        "iterations": cell.iterations,
        "checkpoint": checkpoint,
        "together": together,
    }
    left_out = ""
    if isinstance(cell.network, ModuleFactory):
        assert isinstance(network, FactoryEncoder)  # by its settings
        name, dtype = cell.network.text, precision.network
        recovery, _ = recover_checked(
            network, images, wrap=of_images, name=name, dtype=dtype, **run
        )
        left_out = ", ".join(network.left_out)
    else:
        recovery = recover(of_images(network), images, **run)
    begun, reconstructions = (
        images.reshape(originals.shape).cpu().double()
        for images in (recovery.begun, recovery.images)
    )
    traces = {name: table.cpu().double() for name, table in recovery.traces.items()}
    half = recovery.points.index(cell.iterations // 2)
    results = []
    for sample in range(len(cells)):
        along = {name: tuple(table[:, sample].tolist()) for name, table in traces.items()}
        m_i = float(recovery.m_i[sample])
        results.append(
            Measurement(
                values={
                    "m_g": float(recovery.m_g[sample]),
                    "m_i": m_i,
                    "m_r": float(recovery.m_r[sample]),
                    "m_n": float(recovery.m_n[sample]),
                    "m_g0": along["m_g"][0],
                    "m_i0": along["m_i"][0],
                    "m_i_half": along["m_i"][half],
                    "r": m_i / along["m_i"][0],
                    "rho": along["rho"][-1],
                    "scale": float(recovery.scale[sample]),
                    "at": float(recovery.at[sample]),
                    **_restarts(recovery.spread, sample),
                    **reconstruction_quality(
                        cells[sample],
                        original=originals[sample],
                        noised=noised[sample],
                        reconstruction=reconstructions[sample],
                    ),
                },
                outcome=recovery.outcomes[sample].value,
                traces={"iteration": tuple(map(float, recovery.points)), **along},
                labels={
                    "image": drawn[sample][1],
                    "termination_reason": recovery.reasons[sample].name.lower(),
                    **({"left_out": left_out} if left_out else {}),
                },
                images={
                    "target": originals[sample].numpy(),
                    "start": begun[sample].numpy(),
                    "noised": noised[sample].numpy(),
                    "reconstruction": reconstructions[sample].numpy(),
                },
            )
        )
    return tuple(results)


def _restarts(spread: Spread, sample: int) -> dict[str, float]:
    """How far apart the restarts of an image ended; empty for a single start."""
    m_g, m_i = spread.m_g[sample], spread.m_i[sample]
    if len(m_g) == 1:
        return {}
    return {
        "m_g_largest": float(m_g.max()),
        "m_i_least": float(m_i.min()),
        "m_i_largest": float(m_i.max()),
        "apart": float(spread.apart[sample]),
        "apart_start": float(spread.apart_start[sample]),
    }
