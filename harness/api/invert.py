"""Invert a layer of any network."""

from __future__ import annotations

import contextlib
import math
import numbers
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harness.api.preprocessing import Normalization, preprocessing
from harness.api.recovery import Recovery
from harness.encoders.adapters import Cast
from harness.encoders.cutting import truncated, unwrapped
from harness.encoders.fit import check_weights
from harness.encoders.held import working_copy
from harness.encoders.layout import channels_last
from harness.encoders.network import NetworkEncoder, check_eval_mode
from harness.encoders.runtime import Precision, precision_of
from harness.errors import DeviceError, ImageError, ModuleError, SettingError, StuckWarning
from harness.execution.device import resolve_device
from harness.inversion.checked import Wrapping, recover_checked
from harness.inversion.outcome import Outcome
from harness.inversion.recover import check_decoder
from harness.plan.decoders import LBFGS, AnnealedLBFGS, Decoder
from harness.plan.fields import check, is_a
from harness.plan.images import ARTICLE_START, Start
from harness.plan.seeds import ReplicateSeeds, Source
from harness.subjects.generators import every_global_state, torch_generator

_PRECISIONS = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bf16"}


def invert(
    module: nn.Module,
    images: Tensor,
    *,
    layer: str | None = None,
    decoder: Decoder | None = None,
    steps: int = 200,
    starts: int = 1,
    start: Tensor | Start | None = None,
    noise: float = 1 / 25,
    normalize: Normalization = None,
    seed: int = 0,
    device: str | torch.device = "auto",
) -> Recovery:
    """Recover images from the output of a layer, starting from noise.

    Every image is a problem of its own: what is recovered of it does not depend on the others of
    the batch, beyond rounding. Start and noise are drawn from `seed`, image by image; global
    random states are left alone, and so is the module.

    Parameters
    ----------
    module : nn.Module
        Any network in eval mode, in float32, float64 or bfloat16.
    images : tensor, shape (batch, channels, rows, columns) or (batch, ...)
        What the network takes, but for `normalize`; images usually have values in [0, 1].
    layer : str or None
        The layer to invert, a dotted name as in `module.named_modules()`; "relu_1" is the second
        call of "relu", and "rnn[0]" the first of the tensors that "rnn" returns. None inverts the
        output of the whole module.
    decoder : Decoder or None
        How; one of `Descent`, `Adam`, `LBFGS`, `AnnealedLBFGS`, `GaussNewton` and `LinearSolve`.
        None is `AnnealedLBFGS()` for images and `LBFGS()` for anything else.
    steps : int
        Iterations of the decoder.
    starts : int
        Starts for each image; the one that ends with the least loss is returned.
    start : tensor, Start or None
        Where to start from: a tensor of shape (batch * starts, ...), in which the starts of an
        image follow each other, or the normal distribution to draw from. None is the article's,
        N(0.7, 1/20).
    noise : float
        Standard deviation of the noise whose effect on the output is the reference, m_r.
    normalize : None, "imagenet", a pair of sequences, or a callable
        What images go through before the network: mean and standard deviation of each channel,
        subtracted and divided by, or any transform of a batch, as torchvision has them. It is a
        part of what is inverted, so that images stay in [0, 1].
    seed : int
        Of starts and noise.
    device : str or torch.device
        Where to compute. "auto" is the module's device if that is no CPU, otherwise a GPU if there
        is one.

    Returns
    -------
    Recovery
        The reconstructions, their distances, and the course of the runs.

    Raises
    ------
    ModuleError
        If the module has no weights, cannot be copied, is in train mode, has a dtype other than
        those above, or does not call the layer; if the layer returns anything but one tensor with
        a row for each image, is random, mixes the images of a batch, or has no derivative.
    UnknownNameError
        If there is no such layer, normalisation or device; names the nearest ones.
    ImageError
        If the images are no batch of floating-point numbers, or the network cannot take them.
    SettingError
        If a number is out of range, or the settings do not fit each other or the images.
    DeviceError
        If the device is not there.

    Warns
    -----
    StuckWarning
        If a decoder never left its start.

    Examples
    --------
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).eval()
    >>> found = invert(network, torch.rand(2, 3, 16, 16), layer="0", steps=5)
    >>> found.images.shape
    torch.Size([2, 3, 16, 16])
    """
    steps = _whole("steps", steps, least=0)
    starts = _whole("starts", starts, least=1)
    seed = _whole("seed", seed, least=0)
    _check_noise(noise)
    _check_images(module, images)
    module = unwrapped(module)
    if decoder is None:
        decoder = AnnealedLBFGS() if images.dim() == 4 else LBFGS()
    check_decoder(decoder)
    name = type(module).__name__
    check_eval_mode(module)
    check_weights(module, name=name)
    place = _device(device, module)
    precision_name = _precision(module, images, name=name)
    with _undisturbed(place), precision_of(precision_name, device=place) as precision:
        part = module if layer is None else truncated(module, layer=layer)
        part = working_copy(part, name=name, device=place)
        first = _starts(start, images, starts=starts, seed=seed)
        noised = images.detach().cpu() + noise * _draws(images, Source.NOISE, number=1, seed=seed)
        original, first, noised = (
            channels_last(values.detach().clone().to(place, precision.images))
            for values in (images, first, noised)
        )
        found, path = recover_checked(
            NetworkEncoder(part, owned=True),
            original,
            wrap=_wrapping(normalize, original, precision=precision),
            start=first,
            noised=noised,
            decoder=decoder,
            iterations=steps,
            name=name,
            dtype=precision.network,
        )
    _warn_if_stuck(found.outcomes, starts=starts)
    return Recovery.of(
        found,
        original=images,
        layer=f"{layer} of {name}" if layer else name,
        decoder=repr(decoder),
        path=path,
    )


def _warn_if_stuck(outcomes: Sequence[Outcome], *, starts: int) -> None:
    stuck = outcomes.count(Outcome.STUCK)
    if stuck:
        tried = "its start" if starts == 1 else f"any of its {starts} starts"
        warnings.warn(
            f"{stuck} of {len(outcomes)} images: the decoder never left {tried}, which says "
            "nothing about the layer. Give other starts, as by start=harness.Start(mean=0.5, "
            "sd=0.2), or another decoder",
            StuckWarning,
            stacklevel=3,
        )


def _precision(module: nn.Module, images: Tensor, *, name: str) -> str:
    """The name of the precision that a module computes in."""
    weights = [each.dtype for each in module.parameters() if each.is_floating_point()]
    dtype = weights[0] if weights else images.dtype
    if dtype not in _PRECISIONS:
        raise ModuleError(
            name,
            rule=f"it computes in {str(dtype).removeprefix('torch.')}",
            remedy="Convert it, as by module.float()",
        )
    return _PRECISIONS[dtype]


def _wrapping(normalize: Normalization, images: Tensor, *, precision: Precision) -> Wrapping:
    """From an encoder of what a network takes to one of images in their precision."""
    before = preprocessing(normalize, images)
    if precision.network == precision.images:
        return before
    return lambda encoder: before(Cast(encoder, inside=precision.network, outside=precision.images))


def _whole(name: str, number: Any, *, least: int) -> int:
    """A whole number, also one of numpy."""
    check(
        is_a(numbers.Integral, number) and number >= least,
        f"{name}={number!r}",
        rule=f"it is a whole number, {least} or more",
        remedy="Choose such a number",
    )
    return int(number)


def _check_noise(noise: Any) -> None:
    check(
        is_a(numbers.Real, noise) and 0 <= noise < math.inf,
        f"noise={noise!r}",
        rule="a standard deviation is 0 or more, and finite",
        remedy="Choose such a number; the article's is 1/25",
    )


def _check_images(module: Any, images: Any) -> None:
    """Refuse what is no batch of inputs."""
    if not isinstance(module, nn.Module):
        raise ModuleError(
            type(module).__name__,
            rule="a network is a torch.nn.Module",
            remedy="Give a module, in eval mode",
        )
    if not isinstance(images, Tensor):
        raise ImageError(
            type(images).__name__,
            rule="images are a tensor",
            remedy="Convert them, as by torch.from_numpy",
        )
    if images.is_meta or images.is_nested or images.layout != torch.strided:
        raise ImageError(
            f"images of {images.layout} on {images.device}",
            rule="images are dense tensors with values",
            remedy="Convert them, as by images.to_dense()",
        )
    if not images.is_floating_point() or images.dtype.itemsize < 2:
        raise ImageError(
            f"images of {str(images.dtype).removeprefix('torch.')}",
            rule="images are floating-point numbers of two bytes or more",
            remedy="Convert them, as by images.float() / 255",
        )
    kinds = nn.Conv1d, nn.Conv2d, nn.Conv3d
    convolution = next((part for part in module.modules() if isinstance(part, kinds)), None)
    # torch's convolutions would take it without complaint.
    single = convolution is not None and images.dim() == 1 + len(convolution.kernel_size)
    if images.dim() < 2 or not len(images) or single:
        raise ImageError(
            f"images of shape {tuple(images.shape)}",
            rule="a batch has a row for each image",
            remedy="Give a single image as image[None]",
        )
    infinite = int((~images.isfinite()).flatten(1).any(1).sum())
    if infinite:
        raise ImageError(
            f"{infinite} of {len(images)} images",
            rule="they have values that are not finite",
            remedy="Leave them out, or mend them",
        )


def _device(device: str | torch.device, module: nn.Module) -> torch.device:
    """Where to compute."""
    if isinstance(device, str) and device == "auto":
        places = {each.device for each in module.parameters() if each.device.type != "cpu"}
        return places.pop() if places else torch.device(resolve_device("auto"))
    kind, _, _ = str(device).partition(":")
    if kind not in ("cpu", "cuda"):
        resolve_device(kind)  # names those that there are
    try:
        place = torch.device(resolve_device(kind) if str(device) == kind else device)
    except RuntimeError as error:
        raise DeviceError(
            str(device),
            rule="torch knows no such device",
            remedy="Give cpu, cuda or the number of a GPU, as in cuda:0",
        ) from error
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            str(device),
            rule=f"torch finds {torch.cuda.device_count()} GPUs here",
            remedy="Choose one of them, or cpu",
        )
    return place


@contextlib.contextmanager
def _undisturbed(place: torch.device) -> Iterator[None]:
    """Without the modes of torch that may be on around a call, and with its random state kept."""
    # A default device costs time at each of torch's functions.
    elsewhere = torch.get_default_device().type != place.type
    with (
        torch.inference_mode(False),
        torch.autocast(place.type, enabled=False),
        every_global_state(),
        place if elsewhere else contextlib.nullcontext(),
    ):
        yield


def _starts(start: Tensor | Start | None, images: Tensor, *, starts: int, seed: int) -> Tensor:
    """Starts of all images, those of an image following each other."""
    if isinstance(start, Tensor):
        if start.shape != (len(images) * starts, *images.shape[1:]):
            raise SettingError(
                f"a start of shape {tuple(start.shape)} for images of shape {tuple(images.shape)}",
                rule=f"it has a row for each of {starts} starts of an image",
                remedy="Give as many rows, or leave the start out to have it drawn",
            )
        dense = not (start.is_meta or start.is_complex()) and start.layout == torch.strided
        if not dense or not start.isfinite().all():
            raise SettingError(
                f"a start of {str(start.dtype).removeprefix('torch.')} on {start.device}",
                rule="it has real numbers for all pixels, and these are finite",
                remedy="Mend it, or leave the start out to have it drawn",
            )
        return start
    settings = ARTICLE_START if start is None else start
    if not isinstance(settings, Start):
        raise SettingError(
            type(start).__name__ if hasattr(start, "shape") else repr(start),
            rule="a start is a tensor, or the distribution to draw it from",
            remedy="Give Start(mean=0.7, sd=0.05), or leave it out",
        )
    return settings.mean + settings.sd * _draws(images, Source.START, number=starts, seed=seed)


def _draws(images: Tensor, source: Source, *, number: int, seed: int) -> Tensor:
    """Some draws of N(0, 1) for each image, in its shape, from a seed of the image's own."""
    seeds = ReplicateSeeds(replicate=seed)
    drawn = []
    for image in range(len(images)):
        generator = torch_generator(seeds, source, image)
        shape = number, *images.shape[1:]
        drawn.append(torch.randn(shape, dtype=torch.float64, generator=generator, device="cpu"))
    return torch.cat(drawn)
