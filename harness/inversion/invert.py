"""Recover images from outputs: run a decoder, then measure what it reached."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from harness.distances import l2
from harness.inversion.first_order import run_adam, run_descent
from harness.inversion.lbfgs import run_lbfgs
from harness.inversion.schedule import trace_points
from harness.inversion.status import Status, classify
from harness.inversion.trace import QUANTITIES, Trace
from harness.settings import LBFGS, Adam, Decoder, Descent
from harness.subjects.encoder import Encoder


@dataclasses.dataclass(frozen=True)
class Recovery:
    """What a decoder reached, one entry a sample.

    Parameters
    ----------
    copy : tensor, shape (batch, ...)
        a_g, the last image.
    m_g, m_i, m_r : tensor, shape (batch,)
        |O(a_g) - O(a)|, |a_g - a| and |O(a') - O(a)|, L2.
    m_n : tensor, shape (batch,)
        |a' - a|.
    statuses : tuple of Status
        How each sample's run ended.
    points : tuple of int
        Iterations traced; 0 is the start.
    traces : mapping of str to tensor, shape (points, batch)
        By the names of `harness.inversion.trace.QUANTITIES`.
    """

    copy: Tensor
    m_g: Float[Tensor, " batch"]
    m_i: Float[Tensor, " batch"]
    m_r: Float[Tensor, " batch"]
    m_n: Float[Tensor, " batch"]
    statuses: tuple[Status, ...]
    points: tuple[int, ...]
    traces: dict[str, Float[Tensor, "points batch"]]


def invert(
    encoder: Encoder,
    original: Tensor,
    *,
    start: Tensor,
    noised: Tensor,
    decoder: Decoder,
    iterations: int,
) -> Recovery:
    """Recover a batch of images from their outputs; every sample is independent of the others.

    Parameters
    ----------
    encoder : Encoder
        O, up to the cut.
    original : tensor, shape (batch, ...)
        a.
    start : tensor, shape (batch, ...)
        a0.
    noised : tensor, shape (batch, ...)
        a', for the reference m_r.
    decoder : Decoder
        How.
    iterations : int
        Steps of the decoder.
    """
    target = encoder.encode(original)
    trace = Trace(trace_points(iterations), original=original)
    match decoder:
        case Descent():
            copy = run_descent(
                encoder,
                start=start,
                target=target,
                decoder=decoder,
                iterations=iterations,
                trace=trace,
            )
        case Adam():
            copy = run_adam(
                encoder,
                start=start,
                target=target,
                decoder=decoder,
                iterations=iterations,
                trace=trace,
            )
        case LBFGS():
            copy = run_lbfgs(
                encoder,
                start=start,
                target=target,
                decoder=decoder,
                iterations=iterations,
                trace=trace,
            )
    traces = {name: trace.table[:, row] for row, name in enumerate(QUANTITIES)}
    m_g, m_i = traces["m_g"][-1], traces["m_i"][-1]
    m_r = l2(encoder.encode(noised) - target)
    late = trace.points.index(iterations * 3 // 4)
    finite = (
        torch.isfinite(target).flatten(1).all(1)
        & torch.isfinite(copy).flatten(1).all(1)
        & torch.isfinite(m_g)
        & torch.isfinite(m_r)
    )
    return Recovery(
        copy=copy,
        m_g=m_g,
        m_i=m_i,
        m_r=m_r,
        m_n=l2(noised - original),
        statuses=classify(
            first=traces["loss"][0],
            late=traces["loss"][late],
            last=traces["loss"][-1],
            m_g=m_g,
            m_r=m_r,
            finite=finite,
        ),
        points=trace.points,
        traces=traces,
    )
