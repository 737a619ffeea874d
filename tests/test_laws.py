"""Laws from theory, against published numbers and independent computation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from harness.measurements.theory import median_of_product, neighbour_stretch, newman_rate


@pytest.mark.parametrize(("width", "rate"), [(64, 2.71), (80, 0.80), (128, 0.34)])
def test_newmans_rate_is_the_difference_of_mean_logarithms(width: int, rate: float) -> None:
    """E ln chi_m - E ln chi_(m - n + 1), each by quadrature."""

    def mean_log(freedom: int) -> float:
        law = stats.chi(freedom)
        return float(integrate.quad(lambda x: math.log(x) * law.pdf(x), 0, 40, points=[1, 8])[0])

    found = newman_rate(inputs=64, width=width)
    assert found == pytest.approx(rate, abs=0.005)
    assert found == pytest.approx(mean_log(width) - mean_log(width - 63), rel=1e-6)


def test_one_input_is_parted_by_nothing() -> None:
    assert newman_rate(inputs=1, width=50) == pytest.approx(0, abs=1e-12)


def test_the_median_of_one_factor_is_that_of_the_half_normal_law() -> None:
    assert median_of_product(1) == pytest.approx(stats.norm.ppf(0.75), rel=1e-5)


@pytest.mark.parametrize("factors", [2, 3])
def test_the_median_of_a_product_is_that_of_draws(factors: int) -> None:
    drawn = np.random.default_rng(3).standard_normal((factors, 400_000))
    share = (np.abs(drawn.prod(axis=0)) < median_of_product(factors)).mean()
    assert share == pytest.approx(0.5, abs=4 * 0.5 / 400_000**0.5)


def test_the_articles_network_has_a_median_of_a_quarter_of_a_million() -> None:
    stretch = neighbour_stretch(depth=3, sd=(3 * 3072) ** -0.5)
    assert 1e-3 * 3072**0.5 * stretch == pytest.approx(251_000, rel=0.005)


def test_one_layer_stretches_as_a_gaussian_matrix_does() -> None:
    """The law of |W^-1 u| holds at any width."""
    rng = np.random.default_rng(5)
    solved = np.linalg.solve(rng.standard_normal((4000, 5, 5)), np.eye(5)[:, :1])
    median = np.median(np.linalg.norm(solved[..., 0], axis=1))
    assert median == pytest.approx(neighbour_stretch(depth=1, sd=1.0), rel=0.08)
