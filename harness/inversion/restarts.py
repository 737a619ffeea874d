"""Run a decoder from several starts for each image, as samples of one batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.checkpoint import Checkpoint
from harness.encoders.encoder import Encoder
from harness.encoders.layout import channels_last
from harness.inversion.decoders.annealed import AnnealedFilters
from harness.inversion.decoders.best_so_far import BestSoFar
from harness.inversion.decoders.first_order import AdamMethod, DescentMethod
from harness.inversion.decoders.gauss_newton import GaussNewtonMethod
from harness.inversion.decoders.kicks import Kicks
from harness.inversion.decoders.lbfgs import LBFGSMethod
from harness.inversion.decoders.linear import LinearMethod
from harness.inversion.distances import l2
from harness.inversion.loop import run
from harness.inversion.method import Method
from harness.inversion.objective import Problem
from harness.inversion.schedule import trace_points
from harness.inversion.trace import Trace
from harness.plan.decoders import (
    LBFGS,
    Adam,
    AnnealedLBFGS,
    Decoder,
    Descent,
    GaussNewton,
    LinearSolve,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reached:
    """What a decoder reached from each start of each image.

    Parameters
    ----------
    begun, images : tensor, shape (batch, starts, ...)
        The images that it started from, and those that it reached.
    value, m_g, m_i : tensor, shape (batch, starts)
        The objective there, |O(image) - O(a)| and |image - a|.
    reason, at : tensor of int, shape (batch, starts)
        As in `SampleState`.
    traces : tensor, shape (batch, starts, points, quantities)
        The table of a `Trace`.
    """

    begun: Tensor
    images: Tensor
    value: Float[Tensor, "batch starts"]
    m_g: Float[Tensor, "batch starts"]
    m_i: Float[Tensor, "batch starts"]
    reason: Int[Tensor, "batch starts"]
    at: Int[Tensor, "batch starts"]
    traces: Float[Tensor, "batch starts points quantities"]

    @classmethod
    def joined(cls, parts: Sequence[Reached]) -> Reached:
        """What was reached from all starts, given in parts."""
        return cls(
            **{
                field.name: torch.cat([getattr(part, field.name) for part in parts], 1)
                for field in dataclasses.fields(cls)
            }
        )


def reach(
    encoder: Encoder,
    original: Tensor,
    *,
    target: Tensor,
    start: Tensor,
    enough: Float[Tensor, " batch"],
    decoder: Decoder,
    iterations: int,
    checkpoint: Checkpoint | None,
    together: int,
) -> Reached:
    """Run a decoder from all starts of each image, some of them at a time.

    Parameters
    ----------
    encoder, original, start, decoder, iterations, checkpoint
        As for `harness.inversion.recover.recover`.
    target : tensor, shape (batch, ...)
        O(a).
    enough : tensor, shape (batch,)
        m_g at which a sample ends.
    together : int
        Starts of each image that are run as samples of one batch.
    """
    batch, starts = len(original), len(start) // len(original)
    if together < starts:
        parts = []
        for first in range(0, starts, together):
            taken = range(first, min(first + together, starts))
            places = [image * starts + each for image in range(batch) for each in taken]
            part = reach(
                encoder,
                original,
                target=target,
                start=start[places],
                enough=enough,
                decoder=decoder,
                iterations=iterations,
                # Named after its size, too, so that no other division is resumed.
                checkpoint=checkpoint and checkpoint.part(together).part(first),
                together=together,
            )
            parts.append(part)
        return Reached.joined(parts)
    originals = _repeated(original, starts)
    problem = Problem.of(
        decoder,
        encoder,
        target=_repeated(target, starts),
        images=start,
        iterations=iterations,
    )
    kicks = Kicks.of(problem.parametrization, start)
    method = _method(decoder, problem, iterations=iterations, like=start, kicks=kicks)
    if decoder.returns == "best" or decoder.tolerance > 0:
        # Otherwise nothing is compared: the article's descent computes no loss between traced
        # iterations.
        limits = enough.repeat_interleave(starts, 0)
        method = BestSoFar(method, best=decoder.returns == "best", enough=limits)
    trace = Trace(trace_points(iterations), original=originals)
    image = problem.parametrization.image
    last, points = run(
        method,
        start=problem.parametrization.point(start),
        trace=trace,
        image=image,
        kicks=None if isinstance(decoder, LinearSolve) else kicks,  # which needs no gradient
        checkpoint=checkpoint,
    )
    end = method.sample_state(last)
    images = image(end.point)

    def apart(values: Tensor) -> Tensor:
        return values.reshape(batch, starts, *values.shape[1:])

    return Reached(
        begun=apart(image(points)),
        images=apart(images),
        value=apart(end.value),
        m_g=apart(l2(encoder.encode(images) - problem.target)),
        m_i=apart(l2(images - originals)),
        reason=apart(end.reason),
        at=apart(end.at),
        traces=apart(trace.table.movedim(2, 0)),
    )


def _repeated(values: Tensor, times: int) -> Tensor:
    """Each sample repeated, in the memory layout that it had."""
    repeated = values.repeat_interleave(times, 0)
    return (
        channels_last(repeated)
        if values.is_contiguous(memory_format=torch.channels_last)
        else repeated
    )


def _method(
    decoder: Decoder, problem: Problem, *, iterations: int, like: Tensor, kicks: Kicks
) -> Method[Any]:
    """The decoder applied to a problem."""
    match decoder:
        case Descent():
            return DescentMethod.of(decoder, problem, iterations=iterations, like=like)
        case Adam():
            return AdamMethod.of(decoder, problem, iterations=iterations, like=like)
        case LBFGS():
            return LBFGSMethod(decoder, problem, kicks)
        case AnnealedLBFGS():
            filters = AnnealedFilters.of(decoder, iterations=iterations, like=like)
            return LBFGSMethod(decoder, problem, kicks, filters)
        case LinearSolve():
            return LinearMethod.of(decoder, problem)
        case GaussNewton():
            return GaussNewtonMethod(decoder, problem, kicks)
