"""How well a reconstruction matches its image: similarity, sharpness, spectra, linear probes.

Functions take one image, shape (channels, rows, columns), with values meant to lie in [0, 1].
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score

Image = NDArray[np.float64]

WINDOW = 7
"""Side of the window of SSIM in pixels, scikit-image's default; smaller images have no SSIM."""

PENALTIES = tuple(10.0**power for power in range(-4, 7))
"""Penalties of the ridge regression, chosen by leave-one-out error on the training examples."""


def ssim(image: Image, reconstruction: Image) -> float:
    """Structural similarity, mean over windows and channels (Wang et al. 2004); 1 if equal."""
    return float(structural_similarity(image, reconstruction, channel_axis=0, data_range=1.0))


def psnr(image: Image, reconstruction: Image) -> float:
    """Peak signal over noise in decibels, 10 log10(1 / mean square error); infinite if equal."""
    with np.errstate(divide="ignore"):
        return float(peak_signal_noise_ratio(image, reconstruction, data_range=1.0))


def laplacian_energy(image: Image) -> float:
    """Mean square of the discrete Laplacian of each channel; it grows with detail (Pertuz 2013)."""
    return float(np.mean([ndimage.laplace(channel) ** 2 for channel in image]))


def radial_power(image: Image) -> NDArray[np.float64]:
    """Mean power of the channels by spatial frequency, without the mean colour.

    Returns
    -------
    array, shape (pixels // 2,)
        At 1, 2, ... cycles over the shorter side, each the mean over an annulus one cycle wide, up
        to the Nyquist frequency. A hundredth of a grey level's power is added, so that none is 0.
    """
    _, rows, columns = image.shape
    power = np.mean(np.abs(np.fft.fft2(image)) ** 2, axis=0) / (rows * columns)
    side = min(rows, columns)
    vertical = np.fft.fftfreq(rows)[:, None] * side
    radius = np.rint(np.hypot(vertical, np.fft.fftfreq(columns)[None] * side)).astype(int)
    total = np.bincount(radius.ravel(), weights=power.ravel())
    count = np.bincount(radius.ravel())
    mean: NDArray[np.float64] = (total / np.maximum(count, 1))[1 : side // 2 + 1]
    return mean + (0.01 / 255) ** 2


def spectral_distance(power: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Root mean square difference of the logarithms of two spectra, in nats.

    It compares shapes: a factor of a whole spectrum, such as contrast, makes no difference.
    """
    difference = np.log(power) - np.log(other)
    return float(np.std(difference))


def whiteness(reconstruction: Image, image: Image) -> float:
    """How much closer the spectrum of a reconstruction is to white noise than to the image's.

    Its distance to the image's spectrum less that to a flat one, in nats.
    """
    power = radial_power(reconstruction)
    to_image = spectral_distance(power, radial_power(image))
    return to_image - spectral_distance(power, np.ones_like(power))


def similarity(image: Image, reconstruction: Image) -> dict[str, float]:
    """Similarity to an image, by name; empty where the image is smaller than SSIM's window.

    All nan where the reconstruction is not finite.
    """
    if min(image.shape[1:]) < WINDOW:
        return {}
    measures: dict[str, Callable[[Image, Image], float]] = {
        "ssim": ssim,
        "psnr": psnr,
        "sharpness": lambda a, b: laplacian_energy(b) / max(laplacian_energy(a), 1e-12),
        "whiteness": lambda a, b: whiteness(b, a),
    }
    finite = bool(np.isfinite(reconstruction).all())
    return {
        name: measure(image, reconstruction) if finite else float("nan")
        for name, measure in measures.items()
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeExamples:
    """Features of some images, and what a probe has to predict from them.

    Parameters
    ----------
    features : array, shape (n, p)
    targets : array, shape (n, q)
    """

    features: NDArray[np.float64]
    targets: NDArray[np.float64]


def probe(seen: ProbeExamples, unseen: ProbeExamples) -> float:
    """R^2 of a ridge regression of the targets on the features, on unseen examples.

    The explained share of the variance of all targets together, about the mean of the unseen ones;
    negative where the regression does worse than that mean.
    """
    # One scale for all features: a scale of its own would blow up a feature that hardly varies in
    # the examples seen.
    scale = float(seen.features.std()) or 1.0
    known, asked = _spanned(seen.features / scale, unseen.features / scale)
    model: Any = RidgeCV(alphas=PENALTIES)
    model.fit(known, seen.targets)
    predicted = model.predict(asked).reshape(unseen.targets.shape)
    return float(r2_score(unseen.targets, predicted, multioutput="variance_weighted"))


def nearest(
    features: NDArray[np.float64], others: Mapping[str, NDArray[np.float64]]
) -> dict[str, float]:
    """The least Euclidean distance of a vector to the rows of each array, by name."""
    return {
        name: float(np.min(np.linalg.norm(rows - features[None], axis=1)))
        for name, rows in others.items()
    }


def _spanned(
    known: NDArray[np.float64], asked: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Features in a basis of the span of the known ones, where they outnumber the examples.

    A ridge regression is the same in every orthonormal basis and gives no weight outside the span;
    but a layer may have a hundred thousand features, each with a weight for every target.
    """
    if known.shape[1] <= len(known):
        return known, asked
    mean = known.mean(axis=0)
    basis, spanned = np.linalg.qr((known - mean).T)
    return spanned.T, (asked - mean) @ basis
