"""Recover images from their outputs: run a decoder, then measure what it reached."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.checkpoint import Checkpoint
from harness.encoders.encoder import Encoder
from harness.encoders.layout import channels_last
from harness.errors import SettingError
from harness.inversion.distances import l2
from harness.inversion.method import TerminationReason
from harness.inversion.outcome import Outcome, classify
from harness.inversion.restarts import reach
from harness.inversion.schedule import trace_points
from harness.inversion.trace import QUANTITIES
from harness.plan.decoders import Decoder


@dataclasses.dataclass(frozen=True)
class Spread:
    """How far the restarts of each image ended from each other.

    Parameters
    ----------
    m_g, m_i : tensor, shape (batch, restarts)
        Their distances.
    apart, apart_start : tensor, shape (batch,)
        The largest distance between two of their reconstructions, and between two of their
        starts.
    """

    m_g: Float[Tensor, "batch restarts"]
    m_i: Float[Tensor, "batch restarts"]
    apart: Float[Tensor, " batch"]
    apart_start: Float[Tensor, " batch"]


@dataclasses.dataclass(frozen=True)
class Reconstructions:
    """What a decoder reached, one entry for each image.

    Parameters
    ----------
    images : tensor, shape (batch, ...)
        The reconstructions, of the best restart of each image.
    begun : tensor, shape (batch, ...)
        The images that these restarts started from.
    m_g, m_i, m_r : tensor, shape (batch,)
        |O(a_g) - O(a)|, |a_g - a| and |O(a') - O(a)| in L2, a_g being the reconstruction.
    m_n : tensor, shape (batch,)
        |a' - a|.
    scale : tensor, shape (batch,)
        |O(a)|.
    outcomes : tuple of Outcome
        What each run came to.
    reasons : tuple of TerminationReason
        Why it ended.
    at : tensor of int, shape (batch,)
        The iteration that reached the reconstruction.
    points : tuple of int
        Iterations traced; 0 is the start.
    traces : mapping of str to tensor, shape (points, batch)
        By the names in `harness.inversion.trace.QUANTITIES`.
    spread : Spread
        Of the restarts.
    """

    images: Tensor
    begun: Tensor
    m_g: Float[Tensor, " batch"]
    m_i: Float[Tensor, " batch"]
    m_r: Float[Tensor, " batch"]
    m_n: Float[Tensor, " batch"]
    scale: Float[Tensor, " batch"]
    outcomes: tuple[Outcome, ...]
    reasons: tuple[TerminationReason, ...]
    at: Int[Tensor, " batch"]
    points: tuple[int, ...]
    traces: dict[str, Float[Tensor, "points batch"]]
    spread: Spread


def recover(
    encoder: Encoder,
    original: Tensor,
    *,
    start: Tensor,
    noised: Tensor,
    decoder: Decoder,
    iterations: int,
    checkpoint: Checkpoint | None = None,
    together: int | None = None,
    reference: Encoder | None = None,
) -> Reconstructions:
    """Recover a batch of images from their outputs; every sample is independent of the others.

    Parameters
    ----------
    encoder : Encoder
        O, up to the layer.
    original : tensor, shape (batch, ...)
        a.
    start : tensor, shape (batch * restarts, ...)
        a0; the restarts of an image follow each other, and the one that ends with the least
        objective is taken.
    noised : tensor, shape (batch, ...)
        a', which gives the reference m_r.
    decoder : Decoder
        The method.
    iterations : int
        Steps of the decoder.
    checkpoint : Checkpoint or None
        For runs that should survive a kill; to be removed once the result is safe.
    together : int or None
        Restarts of each image to run as samples of one batch; None for all.
    reference : Encoder or None
        O computed in another way, by which the final m_g and m_r are measured.

    Raises
    ------
    SettingError
        If the decoder does not fit the network, or if images, starts and noised images do not fit
        each other.
    """
    check_decoder(decoder)
    _check_images(original, start=start, noised=noised)
    # In one memory layout, the network's own: converting or mixing them takes longer.
    original, start, noised = map(channels_last, (original, start, noised))
    batch, restarts = len(original), len(start) // len(original)
    target = encoder.encode(original)
    m_r = l2(encoder.encode(noised) - target)
    reached = reach(
        encoder,
        original,
        target=target,
        start=start,
        enough=decoder.tolerance * (l2(target) if decoder.tolerance_of == "target" else m_r),
        decoder=decoder,
        iterations=iterations,
        checkpoint=checkpoint,
        together=together or restarts,
    )
    best = reached.value.nan_to_num(nan=torch.inf).argmin(1)
    chosen = torch.arange(batch, device=best.device), best
    table = reached.traces[chosen]
    traces = {name: table[..., row].T for row, name in enumerate(QUANTITIES)}
    points = trace_points(iterations)
    late = points.index(iterations * 3 // 4)
    images, begun, m_g = reached.images[chosen], reached.begun[chosen], reached.m_g[chosen]
    if reference is not None:
        own = reference.encode(original)
        m_g, m_r = (l2(reference.encode(each) - own) for each in (images, noised))
    finite = (
        torch.isfinite(target).flatten(1).all(1)
        & torch.isfinite(images).flatten(1).all(1)
        & torch.isfinite(m_g)
        & torch.isfinite(m_r)
    )
    return Reconstructions(
        images=images,
        begun=begun,
        m_g=m_g,
        m_i=reached.m_i[chosen],
        m_r=m_r,
        m_n=l2(noised - original),
        scale=l2(target),
        outcomes=classify(
            first=traces["loss"][0],
            late=traces["loss"][late],
            last=traces["loss"][-1],
            m_g=m_g,
            m_r=m_r,
            moved=(images != begun).flatten(1).any(1) | (iterations == 0),
            finite=finite,
        ),
        reasons=tuple(map(TerminationReason, reached.reason[chosen].tolist())),
        at=reached.at[chosen].clamp_max(iterations),
        points=points,
        traces=traces,
        spread=Spread(
            m_g=reached.m_g,
            m_i=reached.m_i,
            apart=_apart(reached.images),
            apart_start=_apart(reached.begun),
        ),
    )


def check_decoder(decoder: object) -> None:
    """Raise a `SettingError` for anything but a decoder."""
    if not isinstance(decoder, Decoder):
        raise SettingError(
            repr(decoder), rule="this is no decoder", remedy="Give one, such as LBFGS()"
        )


def _check_images(original: Any, *, start: Any, noised: Any) -> None:
    """Refuse what is no tensor, and shapes that do not fit each other."""
    kinds = {"the images": original, "their starts": start, "the noised images": noised}
    for name, images in kinds.items():
        if not isinstance(images, Tensor):
            raise SettingError(
                type(images).__name__,
                rule=f"{name} are no tensor",
                remedy="Convert them, as by torch.from_numpy",
            )
    fits = start.shape[1:] == original.shape[1:] and noised.shape == original.shape
    if not fits or not len(original) or not len(start) or len(start) % len(original):
        shapes = (tuple(images.shape) for images in (original, start, noised))
        raise SettingError(
            "images of shape {}, starts of {}, noised images of {}".format(*shapes),
            rule="they have a row for each sample, starts one or more for each image",
            remedy="Give a single image as image[None], with a start and a noised image like it",
        )


def _apart(images: Tensor) -> Float[Tensor, " batch"]:
    """The largest distance between two restarts of each image."""
    restarts = images.flatten(2)
    # By differences: inner products lose the distance of images that nearly agree.
    distances = torch.cdist(restarts, restarts, compute_mode="donot_use_mm_for_euclid_dist")
    return distances.flatten(1).amax(1)
