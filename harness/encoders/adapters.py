"""Encoders of images instead of vectors, in another layout or dtype, or not yet normalised."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from harness.encoders.encoder import JVP, VJP, Encoder
from harness.encoders.layout import channels_last


@dataclasses.dataclass(frozen=True)
class Adapter:
    """An encoder between an affine map of its inputs and a linear one of its outputs."""

    encoder: Encoder

    def encode(self, inputs: Tensor) -> Tensor:
        """Outputs of a batch of inputs."""
        return self._output(self.encoder.encode(self._input(inputs)))

    def vjp(self, inputs: Tensor) -> tuple[Tensor, VJP]:
        """Outputs of a batch of inputs, and their VJP."""
        output, vjp = self.encoder.vjp(self._input(inputs))
        return self._output(output), self._vjp(vjp, inputs.shape)

    def linearize(self, inputs: Tensor) -> tuple[Tensor, JVP, VJP]:
        """Outputs of a batch of inputs, their JVP and their VJP."""
        output, jvp, vjp = self.encoder.linearize(self._input(inputs))
        return (
            self._output(output),
            lambda tangent: self._output(jvp(self._input_tangent(tangent))),
            self._vjp(vjp, inputs.shape),
        )

    def _input(self, inputs: Tensor) -> Tensor:
        raise NotImplementedError

    def _input_tangent(self, tangent: Tensor) -> Tensor:
        return self._input(tangent)

    def _output(self, output: Tensor) -> Tensor:
        return output

    def _vjp(self, vjp: VJP, shape: torch.Size) -> VJP:
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Reshaped(Adapter):
    """An encoder of vectors as one of images, so that priors see rows and columns."""

    def _input(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(1)

    def _vjp(self, vjp: VJP, shape: torch.Size) -> VJP:
        return lambda cotangent: vjp(cotangent).reshape(shape)


@dataclasses.dataclass(frozen=True)
class Contiguous(Adapter):
    """An encoder whose inputs are contiguous, as code that takes views of them expects."""

    def _input(self, inputs: Tensor) -> Tensor:
        return inputs.contiguous()

    def _vjp(self, vjp: VJP, _: torch.Size) -> VJP:
        return lambda cotangent: channels_last(vjp(cotangent))


@dataclasses.dataclass(frozen=True)
class Cast(Adapter):
    """An encoder that computes in one dtype, for images, outputs and gradients of another.

    Parameters
    ----------
    encoder : Encoder
        In the dtype of the network.
    inside, outside : torch.dtype
        Of the network, and of everything else.
    """

    inside: torch.dtype
    outside: torch.dtype

    def _input(self, inputs: Tensor) -> Tensor:
        return inputs.to(self.inside)

    def _output(self, output: Tensor) -> Tensor:
        return output.to(self.outside)

    def _vjp(self, vjp: VJP, _: torch.Size) -> VJP:
        return lambda cotangent: vjp(cotangent.to(self.inside)).to(self.outside)


@dataclasses.dataclass(frozen=True)
class Normalized(Adapter):
    """An encoder of normalised images as one of images in [0, 1]: it is given (x - mean) / sd.

    Parameters
    ----------
    encoder : Encoder
        Of normalised images.
    mean, sd : tensor, shape (channels, 1, 1)
        Of each channel.
    """

    mean: Tensor
    sd: Tensor

    def _input(self, inputs: Tensor) -> Tensor:
        return (inputs - self.mean) / self.sd

    def _input_tangent(self, tangent: Tensor) -> Tensor:
        return tangent / self.sd

    def _vjp(self, vjp: VJP, _: torch.Size) -> VJP:
        return lambda cotangent: vjp(cotangent) / self.sd


@dataclasses.dataclass(frozen=True)
class Composed:
    """An encoder of what another one yields.

    Parameters
    ----------
    encoder, first : Encoder
        The second and the first of both.
    """

    encoder: Encoder
    first: Encoder

    def encode(self, inputs: Tensor) -> Tensor:
        """Outputs of a batch of inputs."""
        return self.encoder.encode(channels_last(self.first.encode(inputs)))

    def vjp(self, inputs: Tensor) -> tuple[Tensor, VJP]:
        """Outputs of a batch of inputs, and their VJP."""
        between, first_vjp = self.first.vjp(inputs)
        output, vjp = self.encoder.vjp(channels_last(between))
        return output, lambda cotangent: first_vjp(vjp(cotangent))

    def linearize(self, inputs: Tensor) -> tuple[Tensor, JVP, VJP]:
        """Outputs of a batch of inputs, their JVP and their VJP."""
        between, first_jvp, first_vjp = self.first.linearize(inputs)
        output, jvp, vjp = self.encoder.linearize(channels_last(between))
        return (
            output,
            lambda tangent: jvp(channels_last(first_jvp(tangent))),
            lambda cotangent: first_vjp(vjp(cotangent)),
        )
