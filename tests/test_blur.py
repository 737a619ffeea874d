"""The blur against torchvision and scipy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inversion_cases import (
    CPU,
    affine,
    convolutions,
    normal,
    one_thread,  # noqa: F401  (a fixture for all)
)

from harness.errors import SettingError
from harness.inversion import loop
from harness.inversion.blur import apply_blur, blur_kernels
from harness.inversion.recover import recover
from harness.inversion.steppers import Eager
from harness.plan.decoders import Blur, Descent
from harness.subjects import vision  # noqa: F401  (makes the next import possible everywhere)

# isort: split
from torchvision.transforms.functional import gaussian_blur


def test_a_step_keeps_the_layout_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's padding does not; here the CPU's is made not to."""
    pad = torch.nn.functional.pad
    monkeypatch.setattr(
        torch.nn.functional, "pad", lambda *args, **how: pad(*args, **how).contiguous()
    )
    seen = []

    class Watched(Eager[Any]):
        def step(self) -> None:
            super().step()
            seen.append(self.state.point.is_contiguous(memory_format=torch.channels_last))

    monkeypatch.setattr(loop, "drive", Watched)
    image = torch.sigmoid(normal(2, 3, 12, 12, seed=1))
    recover(
        convolutions(),
        image,
        start=image + 0.1,
        noised=image + 1,
        decoder=Descent(priors=(Blur(),)),
        iterations=3,
    )
    assert seen == [True] * 3


@settings(max_examples=25, deadline=None)
@given(sigma=st.floats(0.1, 10), size=st.sampled_from([1, 3, 5]), seed=st.integers(0, 2**40))
def test_it_is_torchvisions_and_scipys(sigma: float, size: int, seed: int) -> None:
    images = normal(2, 3, 7, 6, seed=seed)
    blur = Blur(kernel=size, first=sigma, last=sigma)
    (kernel,) = blur_kernels(blur, iterations=1, dtype=torch.float64, device=CPU)
    mine = apply_blur(images, kernel=kernel)
    theirs = gaussian_blur(images, kernel_size=[size, size], sigma=[sigma, sigma])
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-13)
    # scipy calls a reflection that does not repeat the border "mirror".
    scipys = scipy.ndimage.gaussian_filter(
        images.numpy(), sigma, radius=size // 2, mode="mirror", axes=(2, 3)
    )
    np.testing.assert_allclose(mine.numpy(), scipys, rtol=1e-12, atol=1e-13)


@settings(max_examples=25, deadline=None)
@given(iterations=st.integers(1, 50), first=st.floats(0.2, 5), last=st.floats(0.2, 5))
def test_kernels_are_weights_whose_width_goes_from_first_to_last(
    iterations: int, first: float, last: float
) -> None:
    blur = Blur(first=first, last=last)
    kernels = blur_kernels(blur, iterations=iterations, dtype=torch.float64, device=CPU)
    assert kernels.shape == (iterations, 3)
    torch.testing.assert_close(kernels.sum(1), torch.ones(iterations, dtype=torch.float64))
    # The ratio of neighbouring weights is exp(1 / (2 sigma^2)).
    sigmas = (1 / (2 * (kernels[:, 1] / kernels[:, 0]).log())).sqrt()
    np.testing.assert_allclose(sigmas.numpy(), np.linspace(first, last, iterations), rtol=1e-9)


def test_vectors_are_refused() -> None:
    original = normal(2, 5, seed=1)
    with pytest.raises(SettingError) as caught:
        recover(
            affine(2, 4, 5, seed=2),
            original,
            start=original,
            noised=original,
            decoder=Descent(priors=(Blur(),)),
            iterations=2,
        )
    assert caught.value.value == Blur()
