"""Image quality against scikit-image, formulas and images whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage import data
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score

from harness.measurements.image_quality import (
    PENALTIES,
    ProbeExamples,
    laplacian_energy,
    nearest,
    probe,
    psnr,
    radial_power,
    similarity,
    spectral_distance,
    ssim,
    whiteness,
)

Image = NDArray[np.float64]


def photograph(pixels: int = 64) -> Image:
    return data.chelsea()[100 : 100 + pixels, 150 : 150 + pixels].transpose(2, 0, 1) / 255


def noise(pixels: int = 64, seed: int = 0) -> Image:
    return np.random.default_rng(seed).normal(0.5, 0.25, (3, pixels, pixels))


def blurred(image: Image, sigma: float) -> Image:
    return np.stack([ndimage.gaussian_filter(channel, sigma) for channel in image])


class TestSimilarity:
    def test_a_perfect_reconstruction(self) -> None:
        image = photograph()
        assert ssim(image, image) == pytest.approx(1.0)
        assert psnr(image, image) == math.inf

    def test_psnr_is_its_formula(self) -> None:
        image = photograph()
        assert psnr(image, image + 0.1) == pytest.approx(20.0)  # 10 log10(1 / .01)

    def test_ssim_of_two_constants_is_the_luminance_term(self) -> None:
        """(2 m n + c) / (m^2 + n^2 + c), c = .01^2 (Wang et al. 2004, equation 6)."""
        low, high = np.full((3, 16, 16), 0.3), np.full((3, 16, 16), 0.6)
        expected = (2 * 0.3 * 0.6 + 1e-4) / (0.3**2 + 0.6**2 + 1e-4)
        assert ssim(low, high) == pytest.approx(expected, rel=1e-6)

    def test_each_sample_is_its_own(self) -> None:
        image = photograph()
        found = similarity(image, noise())
        assert set(found) == {"ssim", "psnr", "sharpness", "whiteness"}
        assert all(math.isfinite(value) for value in found.values())
        assert similarity(image, image)["sharpness"] == pytest.approx(1.0)
        assert similarity(image, blurred(image, 1.0))["sharpness"] < 0.5

    def test_small_images_and_values_that_are_not_finite(self) -> None:
        assert similarity(np.zeros((3, 6, 9)), np.zeros((3, 6, 9))) == {}
        image = photograph(8)
        broken = image.copy()
        broken[0, 0, 0] = math.inf
        assert all(math.isnan(value) for value in similarity(image, broken).values())


class TestSharpness:
    @pytest.mark.parametrize(("across", "down"), [(1, 0), (3, 2), (0, 7)])
    def test_a_wave_has_the_eigenvalue_of_the_laplacian(self, across: int, down: int) -> None:
        """Cosines of half a sample's phase are its eigenvectors where borders reflect (Strang 1999,
        DCT-2): 2 cos k + 2 cos l - 4."""
        pixels = 64
        grid = np.pi * (np.arange(pixels) + 0.5) / pixels
        wave = np.cos(across * grid)[None] * np.cos(down * grid)[:, None]
        eigenvalue = 2 * np.cos(across * np.pi / pixels) + 2 * np.cos(down * np.pi / pixels) - 4
        found = laplacian_energy(wave[None])
        assert found == pytest.approx(eigenvalue**2 * float(np.mean(wave**2)))


class TestSpectrum:
    def test_a_wave_is_found_at_its_frequency(self) -> None:
        pixels = 32
        wave = np.cos(2 * np.pi * 5 * np.arange(pixels) / pixels)[None, None].repeat(pixels, 1)
        power = radial_power(wave)
        assert len(power) == 16
        assert int(power.argmax()) == 5 - 1
        assert power[4] > 1e6 * np.delete(power, 4).max()

    def test_white_noise_is_flat_at_its_variance(self) -> None:
        power = np.mean([radial_power(noise(64, seed)) for seed in range(20)], axis=0)
        np.testing.assert_allclose(power, 1 / 16, rtol=0.1)

    @settings(max_examples=20, deadline=None)
    @given(exponent=st.floats(0.5, 3), gain=st.floats(0.1, 10))
    def test_a_power_law_keeps_its_exponent_and_levels_do_not_matter(
        self, exponent: float, gain: float
    ) -> None:
        frequencies = np.arange(1, 33, dtype=np.float64)
        law = frequencies**-exponent
        assert spectral_distance(law, gain * law) == pytest.approx(0.0, abs=1e-9)
        expected = exponent * float(np.std(np.log(frequencies)))
        assert spectral_distance(law, np.ones(32)) == pytest.approx(expected)

    def test_noise_is_nearer_to_noise_and_a_photograph_to_itself(self) -> None:
        image = photograph()
        assert whiteness(noise(), image) > 0.5
        assert whiteness(image, image) < -0.5
        assert whiteness(blurred(image, 1.0), image) < whiteness(image + 0.2 * noise(), image)


class TestProbe:
    def examples(self, seed: int, number: int, *, noise: float) -> ProbeExamples:
        rng = np.random.default_rng(seed)
        features = rng.standard_normal((number, 12)) * np.logspace(-1, 1, 12)
        # Orthonormal columns: each target has variance 1, whatever the scales of the features.
        mixing = np.linalg.qr(np.random.default_rng(99).standard_normal((12, 5)))[0]
        mixing /= np.logspace(-1, 1, 12)[:, None]
        targets = features @ mixing
        return ProbeExamples(
            features=features,
            targets=targets + noise * rng.standard_normal(targets.shape),
        )

    def test_noise_leaves_the_share_that_it_leaves(self) -> None:
        """Signal and noise of equal variance: half of the variance can be told."""
        found = probe(self.examples(0, 2000, noise=1.0), self.examples(1, 2000, noise=1.0))
        assert found == pytest.approx(0.5, abs=0.05)

    def test_a_feature_that_hardly_varied_before_spoils_nothing(self) -> None:
        seen, unseen = (self.examples(seed, 200, noise=0.1) for seed in (0, 1))
        sleeping = np.zeros((200, 1))
        waking = np.where(np.arange(200) == 7, 3.0, 0.0)[:, None]
        sleeping[3] = 1e-4
        pair = (
            ProbeExamples(features=np.hstack([seen.features, sleeping]), targets=seen.targets),
            ProbeExamples(features=np.hstack([unseen.features, waking]), targets=unseen.targets),
        )
        assert probe(*pair) > 0.9

    @pytest.mark.parametrize("features", [40, 500])
    def test_features_without_information_predict_nothing(self, features: int) -> None:
        """Not even where they outnumber the examples."""
        rng = np.random.default_rng(0)
        seen, unseen = (
            ProbeExamples(
                features=rng.standard_normal((number, features)),
                targets=rng.standard_normal((number, 9)),
            )
            for number in (150, 100)
        )
        assert probe(seen, unseen) < 0.05

    def test_many_features_give_what_plain_ridge_regression_gives(self) -> None:
        rng = np.random.default_rng(3)
        mixing = rng.standard_normal((90, 4))
        seen, unseen = (
            ProbeExamples(features=x, targets=x @ mixing)
            for x in (5 + rng.standard_normal((number, 90)) for number in (60, 40))
        )
        scale = seen.features.std()
        model = RidgeCV(alphas=PENALTIES).fit(seen.features / scale, seen.targets)
        plain = r2_score(
            unseen.targets, model.predict(unseen.features / scale), multioutput="variance_weighted"
        )
        assert probe(seen, unseen) == pytest.approx(plain, abs=1e-6)
        assert plain > 0.3


def test_the_nearest_of_each() -> None:
    found = nearest(
        np.array([0.0, 3.0]),
        {"one": np.array([[0.0, 0.0]]), "two": np.array([[4.0, 0.0], [0.0, 2.0]])},
    )
    assert found == {"one": 3.0, "two": 1.0}
