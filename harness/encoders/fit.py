"""Whether a network fits its images and a decoder: it is run once, and what fails is explained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from harness.encoders.encoder import Encoder
from harness.encoders.first_use import first_line, without_gradient
from harness.errors import DepthClaimsError, ImageError, ModuleError
from harness.plan.decoders import Decoder, GaussNewton, LinearSolve


def check_weights(module: nn.Module, *, name: str) -> None:
    """Refuse a module without weights to compute with.

    Raises
    ------
    ModuleError
        If a parameter or buffer has no values, or no shape yet.
    """
    weights = (*module.parameters(), *module.buffers())
    if any(nn.parameter.is_lazy(each) or each.is_meta for each in weights):
        raise ModuleError(
            name,
            rule="it has no weights yet",
            remedy="Call it with images once, or move it by .to_empty(device=...)",
        )


def check_shape(encoder: Encoder, images: Tensor, *, name: str) -> None:
    """Refuse images that a network cannot take.

    Parameters
    ----------
    encoder : Encoder
        The network up to the layer.
    images : tensor, shape (batch, ...)
        Images to recover.
    name : str
        Of the network.

    Raises
    ------
    ImageError
        If the network or torch refuses them.
    ModuleError
        If the network fails in another way.
    """
    try:
        encoder.encode(images)
    except (DepthClaimsError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        fits = isinstance(error, (RuntimeError, ValueError, IndexError, AssertionError))
        if fits and not isinstance(error, NotImplementedError):
            raise ImageError(
                f"images of shape {tuple(images.shape)}",
                rule=f"the network cannot take them ({first_line(error)})",
                remedy="Give them in the shape that it takes",
            ) from error
        raise ModuleError(
            name,
            rule=f"its forward pass fails ({first_line(error)})",
            remedy="Give a module that can be called with a batch of images alone",
        ) from error


def check_dependence(
    encoder: Encoder, images: Tensor, *, others: Sequence[Tensor], name: str
) -> None:
    """Refuse a network whose output is the same for all that is encoded.

    Parameters
    ----------
    encoder, images, name
        As for `check_shape`.
    others : sequence of tensor, shape (batch * k, ...)
        Noised images, and starts: k of each image, following each other.

    Raises
    ------
    ModuleError
        If it is.
    """
    target, differ = encoder.encode(images), False
    for other in others:
        repeated = images.repeat_interleave(len(other) // len(images), 0)
        if not torch.equal(other, repeated):
            differ = True
            # Batches of other sizes are rounded otherwise.
            same = target if len(other) == len(images) else encoder.encode(repeated)
            if not torch.equal(encoder.encode(other), same):
                return
    if differ and bool(target.isfinite().all()):
        raise ModuleError(
            name,
            rule="its output does not depend on its input: it is the same for the image, for the "
            "noised image and for the start",
            remedy="Choose a layer whose units are active",
        )


def check_gradient(encoder: Encoder, images: Tensor, *, decoder: Decoder, name: str) -> None:
    """Refuse a network without the derivatives that a decoder takes.

    Parameters
    ----------
    encoder, images, name
        As for `check_shape`.
    decoder : Decoder
        The decoder.

    Raises
    ------
    ModuleError
        If it has none.
    """
    if isinstance(decoder, LinearSolve):
        return
    try:
        if isinstance(decoder, GaussNewton):
            output, jvp, vjp = encoder.linearize(images)
            jvp(torch.zeros_like(images))
        else:
            output, vjp = encoder.vjp(images)
        vjp(torch.zeros_like(output))
    except (DepthClaimsError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # the module's own code can fail in any way
        raise without_gradient(name, error) from error
