"""Measure cells: from settings to numbers, a block of replicates at a time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.cells import (
    NON_FINITE,
    ActiveUnits,
    Cell,
    ExactInverse,
    Inversion,
    LocalRank,
    Source,
)
from harness.distances import l2
from harness.errors import DeviceError
from harness.inversion.checkpoint import Checkpoint
from harness.inversion.invert import Spread, invert
from harness.settings import ARTICLE_START, MLP
from harness.spectrum import decompose, jacobian
from harness.subjects import draws
from harness.subjects.adapters import Cast, Reshaped
from harness.subjects.mlp import Layer, draw_layers, draw_weight
from harness.subjects.precision import Precision, precision_of

_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_MEASURED = "measured"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one cell yielded, on the host.

    Parameters
    ----------
    values : mapping of str to float
        Numbers by name; may be non-finite.
    status : str
        How a run ended, or "measured".
    traces : mapping of str to tuple of float
        Numbers along a run; ``traces["iteration"]`` says when.
    labels : mapping of str to str
        What was drawn.
    images : mapping of str to array, shape (channels, rows, columns)
        Target, start, noised target and copy.
    seconds : float
        Wall time, shared evenly by the block.
    """

    values: Mapping[str, float]
    status: str = _MEASURED
    traces: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    images: Mapping[str, NDArray[np.float64]] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0


def measure(
    cells: Sequence[Cell], *, device: str, checkpoint: Checkpoint | None = None
) -> tuple[Measurement, ...]:
    """Measure a block of cells that differ in their replicates alone.

    Parameters
    ----------
    cells : sequence of Cell
        One block, as `harness.cells.block` composes it.
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
    first = cells[0]
    match first:
        case Inversion():
            results = _invert_as_fits(
                [cell for cell in cells if isinstance(cell, Inversion)],
                device=place,
                checkpoint=checkpoint,
            )
        case ExactInverse():
            results = tuple(
                _invert_exactly(cell) for cell in cells if isinstance(cell, ExactInverse)
            )
        case ActiveUnits():
            results = tuple(_count_active(cell) for cell in cells if isinstance(cell, ActiveUnits))
        case LocalRank():
            results = tuple(_rank(cell) for cell in cells if isinstance(cell, LocalRank))
    share = (time.perf_counter() - began) / len(cells)
    return tuple(dataclasses.replace(result, seconds=share) for result in results)


def _invert_as_fits(
    cells: Sequence[Inversion], *, device: torch.device, checkpoint: Checkpoint | None
) -> tuple[Measurement, ...]:
    """Invert a block in one batch, or in halves of it where memory runs out."""
    try:
        with precision_of(cells[0].precision, device=device) as precision:
            return _invert(cells, precision=precision, device=device, checkpoint=checkpoint)
    except torch.OutOfMemoryError as error:
        if len(cells) == 1:
            raise DeviceError(
                device.type,
                rule="its memory does not hold the inversion of one image",
                remedy="Choose a smaller profile, or another --device",
            ) from error
    # Outside the handler, whose error still holds what was allocated.
    torch.cuda.empty_cache()
    half = (len(cells) + 1) // 2
    return tuple(
        dataclasses.replace(result, labels={"memory": f"{len(part)} at a time", **result.labels})
        for number, part in enumerate((cells[:half], cells[half:]))
        for result in _invert_as_fits(
            part, device=device, checkpoint=checkpoint and checkpoint.part(number)
        )
    )


def _invert(
    cells: Sequence[Inversion],
    *,
    precision: Precision,
    device: torch.device,
    checkpoint: Checkpoint | None,
) -> tuple[Measurement, ...]:
    cell = cells[0]
    replicates = [each.draw for each in cells]
    drawn = [draws.original(cell.images, draw) for draw in replicates]
    originals = torch.stack([image for image, _ in drawn])
    starts = torch.cat(
        [draws.starts(cell.start, cell.images, draw, restarts=cell.restarts) for draw in replicates]
    )
    noises = torch.stack([draws.noise(cell.noise, cell.images, draw) for draw in replicates])
    encoder = draws.encoder(
        cell.network,
        replicates,
        dtype=precision.network,
        device=device,
        shape=cell.images.shape,
    )
    if precision.network != precision.images:
        encoder = Cast(encoder, inside=precision.network, outside=precision.images)
    # Only priors need to see rows and columns where the network takes vectors.
    vectors = isinstance(cell.network, MLP) and not cell.decoder.priors
    if isinstance(cell.network, MLP) and not vectors:
        encoder = Reshaped(encoder)

    def placed(images: Tensor) -> Tensor:
        return (images.flatten(1) if vectors else images).to(device, precision.images)

    recovery = invert(
        encoder,
        placed(originals),
        start=placed(starts),
        noised=placed(originals + noises),
        decoder=cell.decoder,
        iterations=cell.iterations,
        generators=[
            draws.generator(draw, Source.PRIOR, number)
            for draw in replicates
            for number in range(cell.restarts)
        ],
        checkpoint=checkpoint,
    )
    copies = recovery.copy.reshape(originals.shape).cpu().double()
    traces = {name: table.cpu().double() for name, table in recovery.traces.items()}
    results = []
    for sample in range(len(cells)):
        along = {name: tuple(table[:, sample].tolist()) for name, table in traces.items()}
        half = recovery.points.index(cell.iterations // 2)
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
                },
                status=recovery.statuses[sample].value,
                traces={"iteration": tuple(map(float, recovery.points)), **along},
                labels={
                    "image": drawn[sample][1],
                    "ending": recovery.endings[sample].name.lower(),
                },
                images={
                    "target": originals[sample].numpy(),
                    "start": starts[sample * cell.restarts].numpy(),
                    "noised": (originals + noises)[sample].numpy(),
                    "copy": copies[sample].numpy(),
                },
            )
        )
    return tuple(results)


def _restarts(spread: Spread, sample: int) -> dict[str, float]:
    """How far the restarts of an image ended from each other, where there are any."""
    m_g, m_i = spread.m_g[sample], spread.m_i[sample]
    if len(m_g) == 1:
        return {}
    return {
        "m_g_largest": float(m_g.max()),
        "m_i_least": float(m_i.min()),
        "m_i_largest": float(m_i.max()),
        "apart": float(spread.apart[sample]),
    }


def _invert_exactly(cell: ExactInverse) -> Measurement:
    """Solve layer by layer from the output back to the input, in both dtypes."""
    image, label = draws.original(cell.images, cell.draw)
    layers = draw_layers(cell.network, generators=[draws.generator(cell.draw, Source.WEIGHTS)])
    values = {}
    for name, dtype in _DTYPES.items():
        original = image.flatten().to(dtype)
        recovered = _solve(
            [Layer(layer.weight.to(dtype), layer.bias.to(dtype)) for layer in layers], original
        )
        error = l2((recovered.double() - original.double())[None]) / l2(original.double()[None])
        values[f"error_{name}"] = float(error)
    matrix = layers[0].weight[0]
    for layer in layers[1:]:
        matrix = layer.weight[0] @ matrix
    singular = torch.linalg.svdvals(matrix)
    values["condition"] = float(singular[0] / singular[-1])
    return Measurement(values=values, status=_end(values), labels={"image": label})


def _solve(layers: Sequence[Layer], original: Tensor) -> Tensor:
    hidden = original
    for layer in layers:
        hidden = layer.weight[0] @ hidden + layer.bias[0]
    for layer in reversed(layers):
        hidden = torch.linalg.solve(layer.weight[0], hidden - layer.bias[0])
    return hidden


def _count_active(cell: ActiveUnits) -> Measurement:
    """Draw units one by one until n are active; units come in blocks of n for speed."""
    image, label = draws.original(cell.images, cell.draw)
    n = cell.images.elements
    generator = draws.generator(cell.draw, Source.WEIGHTS)
    bound = n**-0.5
    counts: list[Tensor] = []
    active = 0
    most = int(max(cell.ratios) * n) + 1
    while active < n or sum(map(len, counts)) < most:
        weight = draw_weight(
            out=n, inputs=n, initialisation=cell.initialisation, generator=generator
        )
        bias = torch.empty(n, dtype=torch.float64).uniform_(-bound, bound, generator=generator)
        on = (weight @ image.flatten() + bias) > 0
        counts.append(on)
        active += int(on.sum())
    cumulative = torch.cat(counts).cumsum(0)
    needed = int(torch.searchsorted(cumulative, n)) + 1
    values = {"needed": needed / n}
    for ratio in cell.ratios:
        width = int(ratio * n)
        values[f"enough_{ratio:g}"] = float(cumulative[width - 1] >= n)
    return Measurement(values=values, labels={"image": label})


def _rank(cell: LocalRank) -> Measurement:
    """Rank at the image, a direction of its null space, and the floor that the null space sets."""
    image, label = draws.original(cell.images, cell.draw)
    original = image.flatten()[None]
    encoder = draws.encoder(
        cell.network, [cell.draw], dtype=torch.float64, device=torch.device("cpu")
    )
    (found,) = decompose(jacobian(encoder, original))
    (start,) = draws.starts(ARTICLE_START, cell.images, cell.draw)
    values = {
        "rank": float(found.rank),
        "rank_share": found.rank / cell.images.elements,
        "gap": found.gap,
        "decided": float(found.decided),
        "condition": found.condition,
        "floor": float(found.null_share(start.flatten()[None] - original)),
    }
    if len(found.null):
        output = encoder.encode(original)
        moved = encoder.encode(original + found.null[-1])
        scale = max(float(found.values[0]), float(output.norm()))
        eps = torch.finfo(torch.float64).eps
        values["witness_residual"] = float((moved - output).norm()) / (eps * scale)
    return Measurement(values=values, status=_end(values, but="gap"), labels={"image": label})


def _end(values: Mapping[str, float], *, but: str = "") -> str:
    finite = all(np.isfinite(value) for name, value in values.items() if name != but)
    return _MEASURED if finite else NON_FINITE
