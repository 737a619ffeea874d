"""Whether a network fits its images and a decoder: it is run once, and what fails is explained."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from harness.encoders.encoder import Encoder
from harness.errors import DepthClaimsError, ImageError, ModuleError
from harness.plan.decoders import Decoder, GaussNewton, LinearSolve


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


def check_samples(
    encoder: Encoder, images: Tensor, *, starts: Tensor, eps: float, name: str
) -> None:
    """Refuse a network that is random, or whose output for a sample depends on the others.

    Parameters
    ----------
    encoder, images, name
        As for `check_shape`.
    starts : tensor, shape (batch * starts, ...)
        Where the decoder starts.
    eps : float
        Rounding error of the network's numbers.

    Raises
    ------
    ModuleError
        If it is, or cannot take a batch of another size.
    """
    one, pair = images[:1], torch.cat([images[:1], starts[:1]])
    with _refusing(
        name,
        rule="it fails for another number of samples",
        remedy="Give a network that takes batches of any size",
    ):
        alone, again, together = (encoder.encode(batch) for batch in (one, one, pair))
    tolerance = max(1e-3, 16 * eps) * float(together.norm())
    for output, rule in (
        (again, "it is random: it returns something else for the same image"),
        (together[:1], "what it returns for an image depends on the others of the batch"),
    ):
        if output.shape != alone.shape or float((output - alone).norm()) > tolerance:
            raise ModuleError(
                name, rule=rule, remedy="Give a network that maps each image by itself"
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
    with _refusing(
        name,
        rule="its output cannot be differentiated by its input",
        remedy="Give a network without detach, no_grad, constants or quantised layers",
    ):
        if isinstance(decoder, GaussNewton):
            output, jvp, vjp = encoder.linearize(images)
            jvp(torch.zeros_like(images))
        else:
            output, vjp = encoder.vjp(images)
        vjp(torch.zeros_like(output))


@contextlib.contextmanager
def _refusing(name: str, *, rule: str, remedy: str) -> Iterator[None]:
    """Turn what a network raises into a `ModuleError`."""
    try:
        yield
    except (DepthClaimsError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise ModuleError(name, rule=f"{rule} ({first_line(error)})", remedy=remedy) from error


def first_line(error: Exception) -> str:
    """The first line of an error."""
    return str(error).partition("\n")[0] or type(error).__name__
