"""Recover images behind anybody's network: it is checked before the run, its plan after it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from harness.checkpoint import Checkpoint
from harness.encoders.encoder import AffineEncoder, Encoder
from harness.encoders.first_use import agree
from harness.encoders.fit import check_dependence, check_gradient, check_shape
from harness.encoders.network import COMPILED, NetworkEncoder
from harness.errors import SettingError
from harness.inversion.recover import Reconstructions, recover
from harness.plan.decoders import Decoder, LinearSolve

Wrapping = Callable[[Encoder], Encoder]
"""From an encoder of what a network takes to one of images."""


def recover_checked(
    network: NetworkEncoder,
    original: Tensor,
    *,
    wrap: Wrapping,
    start: Tensor,
    noised: Tensor,
    decoder: Decoder,
    iterations: int,
    name: str,
    dtype: torch.dtype,
    checkpoint: Checkpoint | None = None,
    together: int | None = None,
) -> tuple[Reconstructions, str]:
    """What a decoder reached, and the path by which the network was computed.

    The final m_g and m_r are measured by the module itself. Where its outputs are others than those
    of the plan by then, the run is repeated by autograd.

    Parameters
    ----------
    network : NetworkEncoder
        Up to the layer; nobody else has its module.
    original, start, noised, decoder, iterations, checkpoint, together
        As for `recover`.
    wrap : callable
        From an encoder of what the network takes to one of the images.
    name : str
        Of the network, for messages.
    dtype : torch.dtype
        In which the network computes.

    Raises
    ------
    ModuleError
        If the network fails, its output does not depend on its input, or has no derivative.
    ImageError
        If the network cannot take the images.
    SettingError
        If the decoder does not fit the network, or images, starts and noised images each other.
    """

    def run(network: NetworkEncoder, *, checkpoint: Checkpoint | None) -> Reconstructions:
        encoder = wrap(network)
        check_shape(encoder, original, name=name)
        # A plan has a derivative.
        if network.path != COMPILED or encoder is not network:
            check_gradient(encoder, original, decoder=decoder, name=name)
        check_dependence(encoder, original, others=(noised, start), name=name)
        if isinstance(decoder, LinearSolve):
            encoder = _affine(encoder, torch.cat([original, noised, start]))
        return recover(
            encoder,
            original,
            start=start,
            noised=noised,
            decoder=decoder,
            iterations=iterations,
            checkpoint=checkpoint,
            together=together,
            reference=wrap(network.own),
        )

    found = run(network, checkpoint=checkpoint)
    outputs = (wrap(each).encode(found.images) for each in (network, network.own))
    if not agree(*outputs, like=found.images.to(dtype)):
        reason = "the outputs of a compiled plan differ from the module's own at what it reached"
        network = NetworkEncoder(network.module, owned=True, autograd=reason)
        found = run(network, checkpoint=None)  # that of the first run is at its end
    return found, network.path


def _affine(encoder: Encoder, samples: Tensor) -> AffineEncoder:
    """An encoder as a matrix and an offset, if it is linear at the samples and their negatives."""
    if samples.dim() == 2:
        zero = torch.zeros_like(samples[:1])
        offset = encoder.encode(zero).flatten(1)
        matrix = encoder.encode(torch.eye(samples.shape[1]).to(samples)).flatten(1) - offset
        found = AffineEncoder(matrix.T.contiguous()[None], offset)
        probes = torch.cat([samples, -samples])
        truth = encoder.encode(probes).flatten(1)
        if torch.allclose(found.encode(probes), truth, rtol=1e-3, atol=1e-3 * float(truth.std())):
            return found
    raise SettingError(
        "LinearSolve",
        rule="only a linear map of vectors, shape (batch, n), can be solved exactly",
        remedy="Choose LBFGS or GaussNewton",
    )
