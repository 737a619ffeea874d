"""Whitening: a linear change of coordinates that is its own VJP and reaches every image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inversion_cases import normal
from skimage import data
from torch import Tensor

from harness.encoders.adapters import Reshaped
from harness.encoders.encoder import AffineEncoder
from harness.errors import SettingError
from harness.inversion.parametrizations.whitening import WhitenedSpectrum
from harness.inversion.recover import recover
from harness.plan.decoders import LBFGS, Adam, AnnealedLBFGS, Decoder, Whitening

PRIOR = Whitening()
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))


@settings(max_examples=25, deadline=None)
@given(shape=SHAPES, exponent=st.floats(0.1, 2.0), seed=st.integers(0, 2**40))
def test_coordinates_and_images_are_each_others_inverse(
    shape: tuple[int, int, int], exponent: float, seed: int
) -> None:
    images = normal(2, *shape, seed=seed)
    spectrum = WhitenedSpectrum.of(Whitening(exponent=exponent), images)
    torch.testing.assert_close(spectrum.image(spectrum.point(images)), images, rtol=1e-9, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 2**40))
def test_the_vjp_is_the_transpose(shape: tuple[int, int, int], seed: int) -> None:
    images, cotangent = normal(2, *shape, seed=seed), normal(2, *shape, seed=seed + 1)
    spectrum = WhitenedSpectrum.of(PRIOR, images)
    point = spectrum.point(images)
    image, vjp = spectrum.vjp(point)
    ours = (vjp(cotangent) * point).sum()
    torch.testing.assert_close(ours, (image * cotangent).sum(), rtol=1e-9, atol=1e-9)


def test_a_wave_is_divided_by_its_amplitude() -> None:
    # Three waves across 16 pixels: their amplitude is 1 / 3 of that of one.
    wave = torch.cos(2 * torch.pi * 3 * torch.arange(16, dtype=torch.float64) / 16)
    images = wave.expand(1, 1, 16, 16)
    point = WhitenedSpectrum.of(PRIOR, images).point(images)
    torch.testing.assert_close(point, 3 * images, rtol=1e-12, atol=1e-12)


def test_a_photograph_is_nearly_white_in_its_coordinates() -> None:
    """Field (1987): amplitudes fall about as 1 / f, so that octaves become more equal."""
    photograph = torch.from_numpy(data.astronaut()[:256, :256].transpose(2, 0, 1) / 255.0)[None]
    centred = photograph - photograph.mean()
    point = WhitenedSpectrum.of(PRIOR, centred).point(centred)

    def fall(images: Tensor) -> float:
        """Slope of the logarithm of amplitudes over octaves."""
        power = torch.fft.fft2(images).abs().square().mean(dim=(0, 1))
        f = torch.fft.fftfreq(256) * 256
        radius = torch.hypot(f[:, None], f)
        lows = [2.0**octave for octave in range(1, 7)]
        means = [float(power[(radius >= low) & (radius < 2 * low)].mean()) for low in lows]
        return float(np.polyfit(np.log(lows), np.log(means) / 2, 1)[0])

    before, after = fall(centred), fall(point)
    assert before == pytest.approx(after - 1, abs=0.1)
    assert before < -1
    assert abs(after) < 0.6


@pytest.mark.parametrize(
    ("decoder", "left"),
    [
        (Adam(rate=0.05, priors=(PRIOR,)), 0.1),
        (LBFGS(priors=(PRIOR,)), 1e-6),
        (AnnealedLBFGS(), 1e-6),
    ],
)
def test_decoders_recover_what_determines_the_image(decoder: Decoder, left: float) -> None:
    n = 2 * 6 * 5
    orthogonal = torch.linalg.qr(normal(2, n, n, seed=1))[0]
    encoder = Reshaped(AffineEncoder(orthogonal, normal(2, n, seed=2)))
    original, start = normal(2, 2, 6, 5, seed=3), normal(2, 2, 6, 5, seed=4)
    found = recover(
        encoder,
        original,
        start=start,
        noised=original + 1e-3,
        decoder=decoder,
        iterations=400,
    )
    torch.testing.assert_close(found.traces["m_i"][0], (start - original).flatten(1).norm(dim=1))
    assert float((found.m_i / found.traces["m_i"][0]).max()) < left


def test_vectors_are_refused() -> None:
    with pytest.raises(SettingError) as caught:
        WhitenedSpectrum.of(PRIOR, torch.zeros(2, 12))
    assert str(PRIOR) in str(caught.value)
