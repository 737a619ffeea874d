"""What a decoder minimises: the loss at the cut, the priors, and what the decoder moves."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.encoders.encoder import VJP, Encoder
from harness.encoders.layout import channels_last
from harness.errors import SettingError
from harness.inversion.clock import Clock
from harness.inversion.distances import l2
from harness.inversion.loss import Loss, make_loss
from harness.inversion.priors import apply_blur, blur_kernels, draw_offsets, shift, total_variation
from harness.inversion.protocol import LATEST, SampleState
from harness.plan.decoders import Blur, Box, Decoder, Jitter, TotalVariation


@runtime_checkable
class Parametrization(Protocol):
    """How the point that a decoder moves becomes an image."""

    def image(self, point: Tensor) -> Tensor:
        """The images of a batch of points."""
        ...

    def vjp(self, point: Tensor) -> tuple[Tensor, VJP]:
        """The images of a batch of points, and their VJP."""
        ...


class Pixels:
    """The point is the image."""

    def image(self, point: Tensor) -> Tensor:
        """The point itself."""
        return point

    def vjp(self, point: Tensor) -> tuple[Tensor, VJP]:
        """The point itself, and the identity."""
        return point, _same


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A point and what was found there; the loss not yet summed, since most steps need no value.

    Parameters
    ----------
    point : tensor, shape (batch, ...)
        What a decoder moves.
    residual : tensor, shape (batch, ...)
        O(image) - O(a).
    gradient : tensor, shape (batch, ...)
        Of the whole objective with respect to the point.
    penalty : tensor, shape (batch,), or None
        What priors add to the loss.
    """

    point: Tensor
    residual: Tensor
    gradient: Tensor
    penalty: Float[Tensor, " batch"] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """An objective for each sample, a function of that sample's point alone.

    Parameters
    ----------
    encoder : Encoder
        O, up to the cut.
    target : tensor, shape (batch, ...)
        O(a).
    loss : Loss
        On the residual.
    parametrization : Parametrization
        From points to images.
    variation : TotalVariation or None
        Added to the loss.
    offsets : tensor of int, shape (iterations + 1, batch, 2), or None
        Shifts of the image at each iteration.
    kernels : tensor, shape (iterations, k), or None
        Blur after each step.
    box : Box or None
        Interval of the values after each step.
    """

    encoder: Encoder
    target: Tensor
    loss: Loss
    parametrization: Parametrization = dataclasses.field(default_factory=Pixels)
    variation: TotalVariation | None = None
    offsets: Int[Tensor, "rows batch 2"] | None = None
    kernels: Float[Tensor, "t k"] | None = None
    box: Box | None = None

    def evaluate(self, point: Tensor, clock: Clock) -> Evaluation:
        """The residual at a point and the gradient of the objective, at an iteration."""
        image, image_vjp = self.parametrization.vjp(point)
        offsets = None if self.offsets is None else clock.read(self.offsets)
        seen = image if offsets is None else shift(image, offsets=offsets)
        output, vjp = self.encoder.vjp(seen)
        residual = output - self.target
        gradient = vjp(self.loss.cotangent(residual))
        if offsets is not None:
            gradient = shift(gradient, offsets=-offsets)
        penalty = None
        if self.variation is not None:
            penalty, slope = total_variation(image, prior=self.variation)
            gradient = gradient + slope
        return Evaluation(point, residual, image_vjp(gradient), penalty)

    def value(self, evaluation: Evaluation) -> Float[Tensor, " batch"]:
        """The objective of each sample."""
        value = self.loss.value(evaluation.residual)
        return value if evaluation.penalty is None else value + evaluation.penalty

    def view(self, evaluation: Evaluation) -> SampleState:
        """Where the samples stand, none of them at its end."""
        value = self.value(evaluation)
        running = torch.zeros_like(value, dtype=torch.long)
        return SampleState(
            point=evaluation.point,
            value=value,
            misfit=l2(evaluation.residual),
            gradient=evaluation.gradient,
            reason=running,
            at=running + LATEST,
        )

    def project(self, point: Tensor, clock: Clock) -> Tensor:
        """What the blur and the box make of a point after a step."""
        if self.kernels is not None:
            # What pads images on a GPU lays them out anew, and a network's rounding depends on it.
            point = channels_last(apply_blur(point, kernel=clock.read(self.kernels)))
        return point if self.box is None else point.clamp(self.box.low, self.box.high)


def make_problem(
    encoder: Encoder,
    *,
    target: Tensor,
    decoder: Decoder,
    images: Tensor,
    iterations: int,
    parametrization: Parametrization,
    generators: Sequence[torch.Generator],
) -> Problem:
    """The problem that a decoder's loss and priors state.

    Parameters
    ----------
    encoder, target, picture
        As in `Problem`.
    decoder : Decoder
        Its loss and priors.
    images : tensor, shape (batch, ...)
        Any images of the batch, for their dtype and device.
    iterations : int
        Length of the run.
    generators : list of torch.Generator
        One a sample, for the jitter.

    Raises
    ------
    SettingError
        Where priors need rows and columns that the images have not, or generators.
    """
    blur, jitter = decoder.prior(Blur), decoder.prior(Jitter)
    for prior in decoder.priors:
        if isinstance(prior, Blur | Jitter | TotalVariation) and images.dim() != 4:
            raise SettingError(
                prior,
                rule="it needs the rows and columns of an image",
                remedy="Leave it out, or give the images theirs",
            )
    if jitter and len(generators) != len(images):
        raise SettingError(
            jitter,
            rule=f"it draws from one generator a start, and has {len(generators)} of {len(images)}",
            remedy="Pass as many",
        )
    return Problem(
        encoder=encoder,
        target=target,
        loss=make_loss(decoder.loss, target=target),
        parametrization=parametrization,
        variation=decoder.prior(TotalVariation),
        offsets=draw_offsets(
            jitter.pixels, rows=iterations + 1, generators=generators, device=images.device
        )
        if jitter
        else None,
        kernels=blur_kernels(blur, iterations=iterations, dtype=images.dtype, device=images.device)
        if blur
        else None,
        box=decoder.prior(Box),
    )


def _same(cotangent: Tensor) -> Tensor:
    return cotangent
