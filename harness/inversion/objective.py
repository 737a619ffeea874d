"""What a decoder minimises: the loss at the layer, as a function of what the decoder moves."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from harness.encoders.encoder import VJP, Encoder
from harness.encoders.layout import channels_last
from harness.errors import SettingError
from harness.inversion.blur import apply_blur, blur_kernels
from harness.inversion.clock import Clock
from harness.inversion.distances import l2
from harness.inversion.loss import LOSS, Loss
from harness.inversion.method import LATEST, SampleState
from harness.inversion.parametrizations.whitening import WhitenedSpectrum
from harness.plan.decoders import Blur, Decoder, Whitening


class Pixels:
    """The point is the image."""

    def point(self, image: Tensor) -> Tensor:
        """The image itself."""
        return image

    def image(self, point: Tensor) -> Tensor:
        """The point itself."""
        return point

    def vjp(self, point: Tensor) -> tuple[Tensor, VJP]:
        """The point itself, and the identity."""
        return point, lambda cotangent: cotangent


Parametrization = Pixels | WhitenedSpectrum
"""How the point that a decoder moves becomes an image."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A point with its residual and gradient; the loss is summed later, since few steps need it.

    Parameters
    ----------
    point : tensor, shape (batch, ...)
        What the decoder moves.
    residual : tensor, shape (batch, ...)
        O(image) - O(a).
    gradient : tensor, shape (batch, ...)
        Of the objective with respect to the point.
    """

    point: Tensor
    residual: Tensor
    gradient: Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """An objective for each sample, a function of that sample's point alone.

    Parameters
    ----------
    encoder : Encoder
        O, up to the layer.
    target : tensor, shape (batch, ...)
        O(a).
    loss : Loss
        Of the residual.
    parametrization : Parametrization
        From points to images.
    kernels : tensor, shape (iterations, k), or None
        Of the blur after each step.
    """

    encoder: Encoder
    target: Tensor
    loss: Loss
    parametrization: Parametrization
    kernels: Float[Tensor, "t k"] | None

    @classmethod
    def of(
        cls,
        decoder: Decoder,
        encoder: Encoder,
        *,
        target: Tensor,
        images: Tensor,
        iterations: int,
    ) -> Problem:
        """The problem posed by a decoder's loss and priors.

        Parameters
        ----------
        decoder : Decoder
            Its loss and priors.
        encoder, target
            As in `Problem`.
        images : tensor, shape (batch, ...)
            Any images of the batch, for their shape, dtype and device.
        iterations : int
            Length of the run.

        Raises
        ------
        SettingError
            If a prior needs rows and columns and the samples have none, or too few.
        """
        kernels = None
        if (blur := decoder.prior(Blur)) is not None:
            if images.dim() != 4:
                raise SettingError(
                    blur,
                    rule="it needs the rows and columns of an image",
                    remedy="Leave it out, or give the images theirs",
                )
            if min(images.shape[2:]) <= blur.kernel // 2:
                raise SettingError(
                    blur,
                    rule="the image is reflected at its borders, and has too few pixels for that",
                    remedy="Choose a kernel of less than twice the image's rows and columns",
                )
            kernels = blur_kernels(
                blur, iterations=iterations, dtype=images.dtype, device=images.device
            )
        whitening = decoder.prior(Whitening)
        return cls(
            encoder=encoder,
            target=target,
            loss=LOSS[decoder.loss],
            parametrization=WhitenedSpectrum.of(whitening, images) if whitening else Pixels(),
            kernels=kernels,
        )

    def evaluate(self, point: Tensor) -> Evaluation:
        """The residual at a point, and the gradient of the objective."""
        image, image_vjp = self.parametrization.vjp(point)
        output, vjp = self.encoder.vjp(image)
        residual = output - self.target
        return Evaluation(point, residual, image_vjp(vjp(self.loss.cotangent(residual))))

    def value(self, evaluation: Evaluation) -> Float[Tensor, " batch"]:
        """The objective of each sample."""
        return self.loss.value(evaluation.residual)

    def sample_state(self, evaluation: Evaluation) -> SampleState:
        """The state of samples that all still run."""
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

    def blur(self, point: Tensor, clock: Clock) -> Tensor:
        """A point after a step, blurred if the decoder blurs."""
        if self.kernels is None:
            return point
        # Padding on a GPU changes the memory layout, on which the network's rounding depends.
        return channels_last(apply_blur(point, kernel=clock.read(self.kernels)))
