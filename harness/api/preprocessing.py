"""Preprocessing that is a part of what is inverted, so that images stay as they were given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harness.encoders.adapters import Composed, Normalized
from harness.encoders.fit import check_shape
from harness.encoders.held import working_copy
from harness.encoders.network import NetworkEncoder
from harness.encoders.transforms import is_normalize
from harness.errors import SettingError, UnknownNameError
from harness.inversion.checked import Wrapping

_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Normalization = str | tuple[Sequence[float], Sequence[float]] | Callable[[Tensor], Tensor] | None


class Transform(nn.Module):
    """A transform of a batch of images as a module."""

    def __init__(self, transform: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._transform = transform

    def forward(self, images: Tensor) -> Tensor:
        """The images as the transform leaves them."""
        return self._transform(images)


def preprocessing(normalize: Normalization, images: Tensor) -> Wrapping:
    """What the images go through before the network.

    Parameters
    ----------
    normalize : None, "imagenet", a pair of sequences, or a callable
        As for `harness.invert`.
    images : tensor, shape (batch, ...)
        The images, in the dtype and on the device of the computation.

    Raises
    ------
    SettingError
        If mean and standard deviation do not fit the images, or if it is none of those above.
    UnknownNameError
        If there is no such normalisation.
    """
    if normalize is None:
        return lambda encoder: encoder
    if isinstance(normalize, str):
        if normalize != "imagenet":
            raise UnknownNameError.nearest(normalize, ["imagenet"], what="normalisation")
        normalize = _IMAGENET
    if is_normalize(normalize):
        normalize = normalize.mean, normalize.std  # type: ignore[union-attr]
    if callable(normalize):
        module = normalize if isinstance(normalize, nn.Module) else Transform(normalize)
        own = working_copy(module, name=type(module).__name__, device=images.device)
        transform = NetworkEncoder(own.to(images.dtype), owned=True)
        check_shape(transform, images, name=f"normalize={normalize!r}")
        return lambda encoder: Composed(encoder, transform)
    mean, sd = (each.to(images) for each in _scaling(normalize, images))
    return lambda encoder: Normalized(encoder, mean, sd)


def _scaling(normalize: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the channels, each of shape (channels, 1, 1)."""
    try:
        mean, sd = (
            torch.as_tensor(each, dtype=torch.float64, device="cpu").flatten() for each in normalize
        )
        fits = {len(mean), len(sd)} == {images.shape[1]} and images.dim() == 4
        fits = fits and bool((mean.isfinite() & sd.isfinite() & (sd > 0)).all())
    except (TypeError, ValueError, RuntimeError):
        fits = False
    if not fits:
        raise SettingError(
            f"normalize={normalize!r} with images of shape {tuple(images.shape)}",
            rule="each channel of an image has a mean and a standard deviation above 0",
            remedy="Give as many of both as images have channels",
        )
    return mean[:, None, None], sd[:, None, None]
