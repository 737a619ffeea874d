"""The deep image prior: an image as the output of a small network, one network a sample.

Ulyanov, Vedaldi and Lempitsky (2018), with the decoder alone of their hourglass (as in Heckel and
Hand 2019): noise of a low resolution is doubled in size, convolved, normalised and rectified, as
often as the prior is deep.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from harness.encoders.encoder import VJP
from harness.errors import SettingError
from harness.plan.decoders import NetworkPrior

_KERNEL = 3


@dataclasses.dataclass(frozen=True)
class Generator:
    """Images as outputs of networks; a point holds the weights of a sample's network in one row.

    Parameters
    ----------
    noise : tensor, shape (1, batch * channels, rows, columns)
        The fixed inputs; the networks lie beside each other as groups of channels.
    widths : tuple of int
        Channels of the input, after each doubling, and of the image.
    shape : tuple of int
        Channels, rows and columns of the image.
    """

    noise: Float[Tensor, "one groups h w"]
    widths: tuple[int, ...]
    shape: tuple[int, int, int]

    def image(self, point: Float[Tensor, "batch n"]) -> Float[Tensor, "batch c rows columns"]:
        """The images of a batch of points."""
        with torch.no_grad():
            return self._generate(point)

    def vjp(
        self, point: Float[Tensor, "batch n"]
    ) -> tuple[Float[Tensor, "batch c rows columns"], VJP]:
        """The images of a batch of points, and their VJP."""
        leaf = point.detach().requires_grad_()
        with torch.enable_grad():
            image = self._generate(leaf)

        def vjp(cotangent: Tensor) -> Tensor:
            (gradient,) = torch.autograd.grad(image, leaf, cotangent)
            return gradient

        return image.detach(), vjp

    def _generate(self, point: Float[Tensor, "batch n"]) -> Float[Tensor, "batch c rows columns"]:
        batch, hidden = len(point), self.noise
        weights = torch.split(point, [math.prod(s) for s in kernel_shapes(self.widths)], dim=1)
        for number, (flat, (out, inputs, *size)) in enumerate(
            zip(weights, kernel_shapes(self.widths), strict=True)
        ):
            kernel = flat.reshape(batch * out, inputs, *size)
            if number == len(weights) - 1:
                hidden = F.conv2d(hidden, kernel, groups=batch)
                break
            hidden = F.interpolate(hidden, scale_factor=2.0, mode="nearest")
            hidden = F.conv2d(hidden, kernel, padding=_KERNEL // 2, groups=batch)
            hidden = F.leaky_relu(F.group_norm(hidden, batch * out), 0.2)
        channels, rows, columns = self.shape
        images = hidden.reshape(batch, channels, *hidden.shape[2:])[..., :rows, :columns]
        return images.sigmoid()


def kernel_shapes(widths: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Shapes of the kernels between layers of some widths; the last one is of single pixels."""
    pairs = list(itertools.pairwise(widths))
    sizes = [_KERNEL] * (len(pairs) - 1) + [1]
    return [(out, inputs, k, k) for (inputs, out), k in zip(pairs, sizes, strict=True)]


def draw_picture(
    prior: NetworkPrior, *, images: Tensor, generators: Sequence[torch.Generator]
) -> tuple[Generator, Float[Tensor, "batch n"]]:
    """The networks of a batch, and their weights to start from.

    Parameters
    ----------
    prior : NetworkPrior
        Their size.
    images : tensor, shape (batch, channels, rows, columns)
        Any images of the batch, for their shape, dtype and device.
    generators : sequence of torch.Generator
        One a sample, for inputs and weights.

    Raises
    ------
    SettingError
        Where there are no rows and columns, or nothing to draw from.
    """
    if images.dim() != 4 or len(generators) != len(images):
        raise SettingError(
            f"{prior} with images of shape {tuple(images.shape)}",
            rule="a network prior draws images with rows and columns, from a generator each",
            remedy="Give images of shape (batch, channels, rows, columns) and as many generators",
        )
    _, channels, rows, columns = images.shape
    widths = (*[prior.channels] * (prior.depth + 1), channels)
    size = [-(-length // 2**prior.depth) for length in (rows, columns)]
    noises, points = [], []
    for generator in generators:
        noises.append(torch.randn(prior.channels, *size, generator=generator, dtype=torch.float64))
        points.append(
            torch.cat(
                [
                    torch.randn(shape, generator=generator, dtype=torch.float64).flatten()
                    / math.prod(shape[1:]) ** 0.5
                    for shape in kernel_shapes(widths)
                ]
            )
        )
    noise = torch.cat(noises)[None].to(images)
    return Generator(noise, widths, (channels, rows, columns)), torch.stack(points).to(images)
