"""Decoders that take one gradient a step: the article's descent and Adam."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from harness.inversion.loss import loss_named
from harness.inversion.schedule import adam_rates, apply_blur, blur_kernels, descent_steps
from harness.inversion.trace import Trace
from harness.settings import Adam, Descent
from harness.subjects.encoder import Encoder

Update = Callable[[int, Tensor, Tensor], Tensor]
"""Maps iteration, image and gradient to the next image."""


def run_descent(
    encoder: Encoder,
    *,
    start: Tensor,
    target: Tensor,
    decoder: Descent,
    iterations: int,
    trace: Trace,
) -> Tensor:
    """The article's descent, a <- blur(a - step * g); returns the last image.

    Parameters
    ----------
    encoder : Encoder
        O.
    start : tensor, shape (batch, ...)
        a0.
    target : tensor, shape (batch, ...)
        O(a).
    decoder : Descent
        Steps, loss and blur.
    iterations : int
        Steps to take.
    trace : Trace
        Filled along the way; its last point is the end.
    """
    steps = descent_steps(decoder, iterations=iterations).tolist()
    kernels = (
        blur_kernels(decoder.blur, iterations=iterations, dtype=start.dtype, device=start.device)
        if decoder.blur
        else None
    )

    def update(iteration: int, copy: Tensor, gradient: Tensor) -> Tensor:
        moved = torch.add(copy, gradient, alpha=-steps[iteration])
        return moved if kernels is None else apply_blur(moved, kernel=kernels[iteration])

    # The step at the end of the run is the last one taken, so that rho is defined there too.
    return _run(
        encoder,
        start=start,
        target=target,
        loss_name=decoder.loss,
        steps=[*steps, steps[-1] if steps else 0.0],
        update=update,
        trace=trace,
    )


def run_adam(
    encoder: Encoder,
    *,
    start: Tensor,
    target: Tensor,
    decoder: Adam,
    iterations: int,
    trace: Trace,
) -> Tensor:
    """Adam (Kingma and Ba 2015, algorithm 1) on the image; parameters as in `run_descent`."""
    rates = adam_rates(decoder, iterations=iterations).tolist()
    mean, square = torch.zeros_like(start), torch.zeros_like(start)
    # A scale far below any gradient that matters keeps 0/0 out where a gradient is exactly 0.
    tiny = torch.finfo(start.dtype).tiny ** 0.5

    def update(iteration: int, copy: Tensor, gradient: Tensor) -> Tensor:
        mean.lerp_(gradient, 1 - decoder.beta1)
        square.mul_(decoder.beta2).addcmul_(gradient, gradient, value=1 - decoder.beta2)
        first = 1 - decoder.beta1 ** (iteration + 1)
        second = 1 - decoder.beta2 ** (iteration + 1)
        scale = (square / second).sqrt_().add_(tiny)
        return torch.addcdiv(copy, mean, scale, value=-rates[iteration] / first)

    return _run(
        encoder,
        start=start,
        target=target,
        loss_name=decoder.loss,
        steps=[float("nan")] * (iterations + 1),
        update=update,
        trace=trace,
    )


def _run(
    encoder: Encoder,
    *,
    start: Tensor,
    target: Tensor,
    loss_name: str,
    steps: list[float],
    update: Update,
    trace: Trace,
) -> Tensor:
    loss = loss_named(loss_name)
    copy = start
    for iteration in range(trace.points[-1] + 1):
        output, pullback = encoder.pull(copy)
        residual = output - target
        gradient = pullback(loss.cotangent(residual))
        if trace.wants(iteration):
            trace.note(
                iteration,
                copy=copy,
                residual=residual,
                gradient=gradient,
                loss=loss.value(residual),
                step=steps[iteration],
            )
        if iteration < trace.points[-1]:
            copy = update(iteration, copy, gradient)
    return copy
