"""Encoders adapted: to images instead of vectors, to another dtype, to normalised images."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from harness.encoders.encoder import JVP, VJP, Encoder


@dataclasses.dataclass(frozen=True)
class Reshaped:
    """An encoder of vectors as one of images, so that priors see rows and columns.

    Parameters
    ----------
    encoder : Encoder
        Of inputs of shape (batch, n).
    """

    encoder: Encoder

    def encode(self, inputs: Tensor) -> Tensor:
        """Outputs of a batch of images."""
        return self.encoder.encode(inputs.flatten(1))

    def vjp(self, inputs: Tensor) -> tuple[Tensor, VJP]:
        """Outputs of a batch of images, and their VJP."""
        output, vjp = self.encoder.vjp(inputs.flatten(1))
        return output, lambda cotangent: vjp(cotangent).reshape(inputs.shape)

    def linearize(self, inputs: Tensor) -> tuple[Tensor, JVP, VJP]:
        """Outputs of a batch of images, J v and J^T u there."""
        output, jvp, vjp = self.encoder.linearize(inputs.flatten(1))
        return (
            output,
            lambda tangent: jvp(tangent.flatten(1)),
            lambda cotangent: vjp(cotangent).reshape(inputs.shape),
        )


@dataclasses.dataclass(frozen=True)
class Cast:
    """An encoder that computes in one dtype, for images, outputs and gradients of another.

    Parameters
    ----------
    encoder : Encoder
        In the dtype of the network.
    inside, outside : torch.dtype
        Of the network, and of everything else.
    """

    encoder: Encoder
    inside: torch.dtype
    outside: torch.dtype

    def encode(self, inputs: Tensor) -> Tensor:
        """Outputs of a batch of inputs."""
        return self.encoder.encode(inputs.to(self.inside)).to(self.outside)

    def vjp(self, inputs: Tensor) -> tuple[Tensor, VJP]:
        """Outputs of a batch of inputs, and their VJP."""
        output, vjp = self.encoder.vjp(inputs.to(self.inside))
        return output.to(self.outside), self._around(vjp)

    def linearize(self, inputs: Tensor) -> tuple[Tensor, JVP, VJP]:
        """Outputs of a batch of inputs, J v and J^T u there."""
        output, jvp, vjp = self.encoder.linearize(inputs.to(self.inside))
        return output.to(self.outside), self._around(jvp), self._around(vjp)

    def _around(self, linear: VJP) -> VJP:
        return lambda vector: linear(vector.to(self.inside)).to(self.outside)


@dataclasses.dataclass(frozen=True)
class Normalized:
    """An encoder of normalised images as one of images in [0, 1]: it is given (x - mean) / sd.

    Parameters
    ----------
    encoder : Encoder
        Of normalised images.
    mean, sd : tensor, shape (channels, 1, 1)
        Of each channel.
    """

    encoder: Encoder
    mean: Tensor
    sd: Tensor

    def encode(self, inputs: Tensor) -> Tensor:
        """Outputs of a batch of images."""
        return self.encoder.encode((inputs - self.mean) / self.sd)

    def vjp(self, inputs: Tensor) -> tuple[Tensor, VJP]:
        """Outputs of a batch of images, and their VJP."""
        output, vjp = self.encoder.vjp((inputs - self.mean) / self.sd)
        return output, lambda cotangent: vjp(cotangent) / self.sd

    def linearize(self, inputs: Tensor) -> tuple[Tensor, JVP, VJP]:
        """Outputs of a batch of images, their JVP and their VJP."""
        output, jvp, vjp = self.encoder.linearize((inputs - self.mean) / self.sd)
        return (
            output,
            lambda tangent: jvp(tangent / self.sd),
            lambda cotangent: vjp(cotangent) / self.sd,
        )
