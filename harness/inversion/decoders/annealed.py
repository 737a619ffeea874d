"""The initial inverse Hessian of an annealed L-BFGS: a filter that turns from smooth to white.

Amplitudes of photographs fall as 1 / f (Field 1987), and their channels vary together. A large
exponent finds an image's smooth part in few steps and its details in many; a small one does
neither well. So the exponent falls along the run, while pairs are kept: they hold for any H0.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from harness.errors import SettingError
from harness.inversion.clock import Clock
from harness.inversion.distances import total
from harness.inversion.schedule import annealed_exponents
from harness.inversion.spectrum import filtered, frequencies
from harness.plan.decoders import AnnealedLBFGS

COLOURS = (
    (0.464, 0.326, 0.279),
    (0.326, 0.327, 0.319),
    (0.279, 0.319, 0.350),
)
"""Covariance of red, green and blue within a photograph, scaled to a largest eigenvalue of 1; the
mean over the bundled ones. `pytest tests/test_annealed.py -k colours` fits it anew."""


@dataclasses.dataclass(frozen=True)
class SmoothFilter:
    """H0 at a time.

    Parameters
    ----------
    shape : torch.Size
        Of the images, without the batch.
    spectrum : tensor, shape (rows, columns // 2 + 1)
        Factor of each frequency.
    colours : tensor, shape (c, c)
        The matrix over the channels.
    """

    shape: torch.Size
    spectrum: Float[Tensor, "rows half"]
    colours: Float[Tensor, "c c"]

    def apply(self, vector: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """H0 v, in the shape of v: that of the images, or flat."""
        images = vector.reshape(len(vector), *self.shape)
        smooth = filtered(images, by=self.spectrum, columns=self.shape[2])
        return (self.colours @ smooth.flatten(2)).reshape(vector.shape)

    def square(
        self, vector: Float[Tensor, "batch ..."], applied: Float[Tensor, "batch ..."], /
    ) -> Float[Tensor, " batch"]:
        """The product v H0 v, given H0 v as well."""
        return total(vector * applied)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnnealedFilters:
    """H0 along a run: F^-1 f^(-2 p) F, times K^q over the channels.

    Parameters
    ----------
    shape : torch.Size
        Of the images, without the batch.
    frequency : tensor, shape (rows, columns // 2 + 1)
        f, in cycles per image.
    axes : tensor, shape (c, c)
        The eigenvectors of K, as columns.
    variance : tensor, shape (c,)
        Its eigenvalues.
    exponents : tensor, shape (iterations + 1, 2)
        p and q after each gradient.
    """

    shape: torch.Size
    frequency: Float[Tensor, "rows half"]
    axes: Float[Tensor, "c c"]
    variance: Float[Tensor, " c"]
    exponents: Float[Tensor, "t 2"]
    constant = False

    @classmethod
    def of(cls, decoder: AnnealedLBFGS, *, iterations: int, like: Tensor) -> AnnealedFilters:
        """For images of a shape, dtype and device.

        Raises
        ------
        SettingError
            If the samples have no rows and columns.
        """
        if like.dim() != 4:
            raise SettingError(
                f"{type(decoder).__name__} with samples of shape {tuple(like.shape)}",
                rule="it is for images with rows and columns, whose spectrum it filters",
                remedy="Choose LBFGS",
            )
        channels = like.shape[1]
        covariance = COLOURS if decoder.colour and channels == 3 else np.eye(channels)
        variance, axes = np.linalg.eigh(covariance)
        return cls(
            shape=like.shape[1:],
            frequency=frequencies(like).to(like),
            axes=torch.from_numpy(axes).to(like),
            variance=torch.from_numpy(variance / variance[-1]).to(like),
            exponents=torch.from_numpy(annealed_exponents(decoder, iterations=iterations)).to(like),
        )

    def at(self, clock: Clock) -> SmoothFilter:
        """After so many gradients."""
        smooth, coloured = clock.read(self.exponents)
        return SmoothFilter(
            self.shape,
            self.frequency ** (-2 * smooth),
            (self.axes * self.variance**coloured) @ self.axes.T,
        )
