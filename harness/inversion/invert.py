"""Recover images from outputs: run a decoder, then measure what it reached."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.distances import l2
from harness.inversion.checkpoint import Checkpoint
from harness.inversion.first_order import AdamMethod, DescentMethod
from harness.inversion.gauss_newton import GaussNewtonMethod
from harness.inversion.keeper import Keeper
from harness.inversion.lbfgs import LBFGSMethod
from harness.inversion.linear import LinearMethod
from harness.inversion.loop import run
from harness.inversion.method import Ending, Method
from harness.inversion.network_prior import draw_picture
from harness.inversion.problem import Picture, Pixels, Problem, make_problem
from harness.inversion.schedule import trace_points
from harness.inversion.status import Status, classify
from harness.inversion.trace import QUANTITIES, Trace
from harness.inversion.whitening import whitened
from harness.settings import (
    LBFGS,
    Adam,
    Decoder,
    Descent,
    GaussNewton,
    LinearSolve,
    NetworkPrior,
    Whitening,
)
from harness.subjects.encoder import Encoder


@dataclasses.dataclass(frozen=True)
class Spread:
    """What the restarts of each image reached, chosen or not.

    Parameters
    ----------
    m_g, m_i : tensor, shape (batch, restarts)
        Their distances.
    apart, apart_start : tensor, shape (batch,)
        The largest distance between two of their copies, and between two of their starts.
    """

    m_g: Float[Tensor, "batch restarts"]
    m_i: Float[Tensor, "batch restarts"]
    apart: Float[Tensor, " batch"]
    apart_start: Float[Tensor, " batch"]


@dataclasses.dataclass(frozen=True)
class Recovery:
    """What a decoder reached, one entry an image.

    Parameters
    ----------
    copy : tensor, shape (batch, ...)
        a_g: the image that the decoder keeps, of its best restart.
    m_g, m_i, m_r : tensor, shape (batch,)
        |O(a_g) - O(a)|, |a_g - a| and |O(a') - O(a)|, L2.
    m_n : tensor, shape (batch,)
        |a' - a|.
    scale : tensor, shape (batch,)
        |O(a)|.
    statuses : tuple of Status
        What each run came to.
    endings : tuple of Ending
        Why it ended.
    at : tensor of int, shape (batch,)
        The iteration of the copy.
    points : tuple of int
        Iterations traced; 0 is the start.
    traces : mapping of str to tensor, shape (points, batch)
        By the names of `harness.inversion.trace.QUANTITIES`; of what the decoder keeps.
    spread : Spread
        Over restarts.
    """

    copy: Tensor
    m_g: Float[Tensor, " batch"]
    m_i: Float[Tensor, " batch"]
    m_r: Float[Tensor, " batch"]
    m_n: Float[Tensor, " batch"]
    scale: Float[Tensor, " batch"]
    statuses: tuple[Status, ...]
    endings: tuple[Ending, ...]
    at: Int[Tensor, " batch"]
    points: tuple[int, ...]
    traces: dict[str, Float[Tensor, "points batch"]]
    spread: Spread


def invert(
    encoder: Encoder,
    original: Tensor,
    *,
    start: Tensor,
    noised: Tensor,
    decoder: Decoder,
    iterations: int,
    generators: Sequence[torch.Generator] = (),
    checkpoint: Checkpoint | None = None,
) -> Recovery:
    """Recover a batch of images from their outputs; every sample is independent of the others.

    Parameters
    ----------
    encoder : Encoder
        O, up to the cut.
    original : tensor, shape (batch, ...)
        a.
    start : tensor, shape (batch * restarts, ...)
        a0; the restarts of an image lie beside each other, run as samples of one batch, and the one
        of the least objective is kept.
    noised : tensor, shape (batch, ...)
        a', for the reference m_r.
    decoder : Decoder
        How.
    iterations : int
        Steps of the decoder.
    generators : sequence of torch.Generator
        One a start, for priors that draw.
    checkpoint : Checkpoint or None
        For runs that should survive a kill; removed by whoever keeps the result.

    Raises
    ------
    SettingError
        Where the decoder does not fit the network, or draws and has nothing to draw from.
    """
    batch, restarts = len(original), len(start) // len(original)
    target = encoder.encode(original)
    originals = original.repeat_interleave(restarts, 0)
    picture, points = _picture(decoder, start=start, generators=generators)
    problem = make_problem(
        encoder,
        target=target.repeat_interleave(restarts, 0),
        decoder=decoder,
        images=start,
        iterations=iterations,
        picture=picture,
        generators=generators,
    )
    m_r = l2(encoder.encode(noised) - target)
    reference = l2(target) if decoder.tolerance_of == "target" else m_r
    method = _method(
        decoder,
        problem,
        iterations=iterations,
        like=start,
        enough=decoder.tolerance * reference.repeat_interleave(restarts, 0),
    )
    trace = Trace(trace_points(iterations), original=originals)
    end = method.look(
        run(method, start=points, trace=trace, image=picture.image, checkpoint=checkpoint)
    )
    copies = picture.image(end.point)
    m_g, m_i = l2(encoder.encode(copies) - problem.target), l2(copies - originals)
    best = end.value.reshape(batch, restarts).nan_to_num(nan=torch.inf).argmin(1)
    chosen = torch.arange(batch, device=best.device) * restarts + best
    table = trace.table[..., chosen]
    traces = {name: table[:, row] for row, name in enumerate(QUANTITIES)}
    late = trace.points.index(iterations * 3 // 4)
    finite = (
        torch.isfinite(target).flatten(1).all(1)
        & torch.isfinite(copies[chosen]).flatten(1).all(1)
        & torch.isfinite(m_g[chosen])
        & torch.isfinite(m_r)
    )
    return Recovery(
        copy=copies[chosen],
        m_g=m_g[chosen],
        m_i=m_i[chosen],
        m_r=m_r,
        m_n=l2(noised - original),
        scale=l2(target),
        statuses=classify(
            first=traces["loss"][0],
            late=traces["loss"][late],
            last=traces["loss"][-1],
            m_g=m_g[chosen],
            m_r=m_r,
            finite=finite,
        ),
        endings=tuple(map(Ending, end.ending[chosen].tolist())),
        at=end.at[chosen].clamp_max(iterations),
        points=trace.points,
        traces=traces,
        spread=Spread(
            m_g=m_g.reshape(batch, -1),
            m_i=m_i.reshape(batch, -1),
            apart=_apart(copies, batch=batch),
            apart_start=_apart(start, batch=batch),
        ),
    )


def _method(
    decoder: Decoder,
    problem: Problem,
    *,
    iterations: int,
    like: Tensor,
    enough: Float[Tensor, " all"],
) -> Method[Any]:
    """The decoder bound to its problem, with what it keeps and where it ends."""
    bare = _bare_method(decoder, problem, iterations=iterations, like=like)
    if decoder.keep == "last" and decoder.tolerance == 0:
        # Nothing to compare: the article's descent then computes no loss between traced iterations.
        return bare
    return Keeper(bare, best=decoder.keep == "best", enough=enough)


def _bare_method(
    decoder: Decoder, problem: Problem, *, iterations: int, like: Tensor
) -> Method[Any]:
    match decoder:
        case Descent():
            return DescentMethod.of(decoder, problem, iterations=iterations, like=like)
        case Adam():
            return AdamMethod.of(decoder, problem, iterations=iterations, like=like)
        case LBFGS():
            return LBFGSMethod(decoder, problem)
        case LinearSolve():
            return LinearMethod.of(decoder, problem)
        case GaussNewton():
            return GaussNewtonMethod(decoder, problem)


def _picture(
    decoder: Decoder, *, start: Tensor, generators: Sequence[torch.Generator]
) -> tuple[Picture, Tensor]:
    """What the decoder moves, and from where."""
    if (network := decoder.prior(NetworkPrior)) is not None:
        return draw_picture(network, images=start, generators=generators)
    if (whitening := decoder.prior(Whitening)) is not None:
        return whitened(whitening, start=start)
    return Pixels(), start


def _apart(images: Tensor, *, batch: int) -> Float[Tensor, " batch"]:
    """The largest distance between two restarts of each image."""
    restarts = images.reshape(batch, -1, images[0].numel())
    # By differences: inner products lose those of copies that nearly agree.
    distances = torch.cdist(restarts, restarts, compute_mode="donot_use_mm_for_euclid_dist")
    return distances.flatten(1).amax(1)
