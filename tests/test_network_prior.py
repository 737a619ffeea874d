"""The deep image prior: its gradient, its samples, and that decoders recover images with it."""

from __future__ import annotations

import pytest
import torch

from harness.encoders.adapters import Reshaped
from harness.encoders.encoder import AffineEncoder, Encoder
from harness.errors import SettingError
from harness.inversion.invert import invert
from harness.inversion.parametrizations.network_prior import draw_picture
from harness.plan.decoders import LBFGS, Adam, Decoder, Descent, NetworkPrior, TotalVariation

PRIOR = NetworkPrior(channels=4, depth=2)


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 5, 9), (3, 7, 12)])
def test_images_have_the_shape_and_range_of_images(shape: tuple[int, int, int]) -> None:
    images = torch.zeros(2, *shape)
    parametrization, point = draw_picture(PRIOR, images=images, generators=generators(0, 1))
    image = parametrization.image(point)
    assert image.shape == images.shape
    assert image.dtype == images.dtype
    assert 0 < float(image.min()) < float(image.max()) < 1
    assert float(image.std()) > 0.05


def test_the_vjp_is_the_derivative() -> None:
    images = torch.zeros(2, 3, 5, 6, dtype=torch.float64)
    parametrization, point = draw_picture(PRIOR, images=images, generators=generators(0, 1))
    image, vjp = parametrization.vjp(point)
    assert torch.equal(image, parametrization.image(point))
    direction = torch.randn(point.shape, dtype=torch.float64, generator=generators(2)[0])
    cotangent = torch.randn(image.shape, dtype=torch.float64, generator=generators(3)[0])
    step = 1e-6
    ahead, behind = (
        parametrization.image(point + step * direction),
        parametrization.image(point - step * direction),
    )
    slope = ((ahead - behind) / (2 * step) * cotangent).flatten(1).sum(1)
    torch.testing.assert_close(
        (vjp(cotangent) * direction).flatten(1).sum(1), slope, rtol=1e-5, atol=1e-8
    )


def test_each_sample_is_a_network_of_its_own() -> None:
    images = torch.zeros(2, 3, 8, 8, dtype=torch.float64)
    both, points = draw_picture(PRIOR, images=images, generators=generators(4, 5))
    second, point = draw_picture(PRIOR, images=images[:1], generators=generators(5))
    torch.testing.assert_close(both.image(points)[1:], second.image(point))
    assert not torch.allclose(both.image(points)[0], both.image(points)[1])


def pixels(batch: int, n: int) -> Encoder:
    """The image itself."""
    return AffineEncoder(
        torch.eye(n, dtype=torch.float64).expand(batch, n, n), torch.zeros(batch, n).double()
    )


@pytest.mark.parametrize(
    "decoder",
    [
        Adam(rate=0.02, priors=(PRIOR,)),
        LBFGS(priors=(PRIOR,)),
        Descent(rule="polyak", step=0.3, factor=1.0, loss="l2", returns="best", priors=(PRIOR,)),
        Adam(rate=0.02, priors=(PRIOR, TotalVariation(weight=1e-4))),
    ],
)
def test_decoders_find_an_image_through_it(decoder: Decoder) -> None:
    rows = torch.linspace(0.2, 0.8, 8, dtype=torch.float64)
    original = torch.stack([rows[:, None] * rows, rows[None, :].expand(8, 8)])[:, None]
    found = invert(
        Reshaped(pixels(2, 64)),
        original,
        start=torch.full((2, 1, 8, 8), 0.7, dtype=torch.float64),
        noised=original + 0.04,
        decoder=decoder,
        iterations=300,
        generators=generators(6, 7),
    )
    assert found.images.shape == original.shape
    assert bool((found.m_i < 0.2 * found.traces["m_i"][0]).all())


def test_it_needs_rows_columns_and_something_to_draw_from() -> None:
    with pytest.raises(SettingError, match="rows and columns"):
        draw_picture(PRIOR, images=torch.zeros(2, 64), generators=generators(0, 1))
    with pytest.raises(SettingError, match="as many generators"):
        draw_picture(PRIOR, images=torch.zeros(2, 3, 8, 8), generators=generators(0))
