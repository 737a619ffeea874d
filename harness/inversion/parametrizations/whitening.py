"""Images in the coordinates of their spectrum, divided by the amplitudes of natural images.

Known from feature visualisation as a decorrelated space (Olah, Mordvintsev and Schubert 2017). The
map is linear and symmetric, W = F^-1 diag(amplitude) F, hence its own VJP, and it has an
inverse: the coordinates reach every image.
"""

from __future__ import annotations

import dataclasses

from jaxtyping import Float
from torch import Tensor

from harness.encoders.encoder import VJP
from harness.errors import SettingError
from harness.inversion.spectrum import filtered, frequencies
from harness.plan.decoders import Whitening


@dataclasses.dataclass(frozen=True)
class WhitenedSpectrum:
    """The map from whitened coordinates to images.

    Parameters
    ----------
    amplitude : tensor, shape (rows, columns // 2 + 1)
        Of each frequency, 1 at the lowest.
    columns : int
        Of the images.
    """

    amplitude: Float[Tensor, "rows half"]
    columns: int

    @classmethod
    def of(cls, prior: Whitening, images: Tensor) -> WhitenedSpectrum:
        """The whitening of images of a shape, dtype and device.

        Raises
        ------
        SettingError
            If the samples have no rows and columns.
        """
        if images.dim() != 4:
            raise SettingError(
                f"{prior} with images of shape {tuple(images.shape)}",
                rule="only images with rows and columns have such a spectrum",
                remedy="Give images of shape (batch, channels, rows, columns)",
            )
        amplitude = frequencies(images) ** -prior.exponent
        return cls(amplitude.to(images), images.shape[3])

    def image(self, point: Float[Tensor, "batch c rows columns"]) -> Tensor:
        """The images of a batch of points."""
        return filtered(point, by=self.amplitude, columns=self.columns)

    def vjp(self, point: Float[Tensor, "batch c rows columns"]) -> tuple[Tensor, VJP]:
        """The images of a batch of points, and their VJP."""
        return self.image(point), self.image

    def point(self, image: Float[Tensor, "batch c rows columns"]) -> Tensor:
        """The coordinates of a batch of images."""
        return filtered(image, by=1 / self.amplitude, columns=self.columns)
