"""Priors against torchvision, scipy, autograd, torch.roll and loops written out by hand."""

from __future__ import annotations

import itertools
import math
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
    generators,
    normal,
    one_thread,  # noqa: F401  (a fixture for all)
)
from torch import Tensor, nn

from harness.errors import SettingError
from harness.inversion import loop
from harness.inversion.invert import Recovery, invert
from harness.inversion.priors import apply_blur, blur_kernels, draw_offsets, shift, total_variation
from harness.inversion.steppers import Eager
from harness.plan.decoders import Adam, Blur, Box, Decoder, Descent, Jitter, TotalVariation
from harness.subjects import vision  # noqa: F401  (makes the next import possible everywhere)

# isort: split
from torchvision.transforms.functional import gaussian_blur

SEEDS = st.integers(0, 2**40)


def run(
    decoder: Decoder, original: Tensor, start: Tensor, *, iterations: int, seed: int = 0
) -> Recovery:
    return invert(
        convolutions(original.dtype),
        original,
        start=start,
        noised=original + 1,
        decoder=decoder,
        iterations=iterations,
        generators=generators(len(start), seed=seed),
    )


class TestBlur:
    def test_a_step_keeps_the_layout_of_images(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a GPU, whose padding does not, here done by the CPU."""
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
        run(Descent(priors=(Blur(),)), image, image + 0.1, iterations=3)
        assert seen == [True] * 3

    @settings(max_examples=25, deadline=None)
    @given(sigma=st.floats(0.1, 10), size=st.sampled_from([1, 3, 5]), seed=SEEDS)
    def test_it_is_torchvisions_and_scipys(self, sigma: float, size: int, seed: int) -> None:
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
    def test_kernels_are_weights_and_their_width_goes_from_first_to_last(
        self, iterations: int, first: float, last: float
    ) -> None:
        blur = Blur(first=first, last=last)
        kernels = blur_kernels(blur, iterations=iterations, dtype=torch.float64, device=CPU)
        assert kernels.shape == (iterations, 3)
        torch.testing.assert_close(kernels.sum(1), torch.ones(iterations, dtype=torch.float64))
        # The ratio of neighbouring weights is exp(1 / (2 sigma^2)).
        sigmas = (1 / (2 * (kernels[:, 1] / kernels[:, 0]).log())).sqrt()
        line = np.linspace(first, last, iterations)
        np.testing.assert_allclose(sigmas.numpy(), line, rtol=1e-9)


def variation_by_loops(image: Tensor, *, smoothing: float) -> Tensor:
    """The sum over all pixels of the length of the difference to the next ones, by hand."""
    total = image.new_zeros(())
    channels, rows, columns = image.shape
    for channel, row, column in itertools.product(range(channels), range(rows), range(columns)):
        here = image[channel, row, column]
        down = image[channel, row + 1, column] - here if row + 1 < rows else 0 * here
        right = image[channel, row, column + 1] - here if column + 1 < columns else 0 * here
        total = total + (down**2 + right**2 + smoothing**2).sqrt() - smoothing
    return total


class TestTotalVariation:
    @settings(max_examples=15, deadline=None)
    @given(
        shape=st.tuples(*[st.integers(1, 4)] * 3),
        weight=st.floats(0.01, 100),
        smoothing=st.floats(1e-3, 1),
        seed=SEEDS,
    )
    def test_value_and_gradient_are_those_of_a_double_loop(
        self, shape: tuple[int, int, int], weight: float, smoothing: float, seed: int
    ) -> None:
        images = normal(2, *shape, seed=seed).requires_grad_()
        truth = torch.stack([variation_by_loops(image, smoothing=smoothing) for image in images])
        (slope,) = torch.autograd.grad(weight * truth.sum(), images)
        prior = TotalVariation(weight=weight, smoothing=smoothing)
        value, gradient = total_variation(images.detach(), prior=prior)
        torch.testing.assert_close(value, weight * truth.detach(), rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(gradient, slope, rtol=1e-11, atol=1e-12 * weight)

    def test_the_gradient_is_that_of_finite_differences(self) -> None:
        prior = TotalVariation(weight=0.7, smoothing=0.1)

        class Value(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, images: Tensor) -> Tensor:
                value, slope = total_variation(images, prior=prior)
                ctx.save_for_backward(slope)
                return value

            @staticmethod
            def backward(ctx: Any, *cotangents: Tensor) -> Tensor:
                (slope,) = ctx.saved_tensors
                return cotangents[0][:, None, None, None] * slope

        images = normal(2, 2, 4, 3, seed=1).requires_grad_()
        assert torch.autograd.gradcheck(Value.apply, (images,))

    def test_a_constant_image_has_none_and_no_slope(self) -> None:
        value, gradient = total_variation(
            torch.full((2, 3, 5, 4), 0.3), prior=TotalVariation(weight=2.0)
        )
        assert value.tolist() == [0, 0]
        assert bool((gradient == 0).all())

    @settings(max_examples=20, deadline=None)
    @given(height=st.floats(0.1, 10), at=st.integers(1, 5), weight=st.floats(0.1, 10))
    def test_an_edge_costs_its_length_times_its_height(
        self, height: float, at: int, weight: float
    ) -> None:
        images = torch.zeros(1, 1, 7, 6, dtype=torch.float64)
        images[..., :at] = height
        prior = TotalVariation(weight=weight, smoothing=1e-9)
        for turned in (images, images.mT):
            value, _ = total_variation(turned, prior=prior)
            assert float(value) == pytest.approx(weight * 7 * height, rel=1e-6)

    def test_alone_it_smooths(self) -> None:
        # A network that sees nothing leaves the prior alone.
        blind = convolutions()
        for parameter in blind.module.parameters():
            parameter.zero_()
        start = normal(2, 3, 12, 12, seed=3)
        found = invert(
            blind,
            start + 1,
            start=start,
            noised=start,
            decoder=Descent(
                loss="l2", step=0.05, factor=1.0, priors=(TotalVariation(weight=1, smoothing=0.5),)
            ),
            iterations=400,
        )
        assert bool((found.traces["loss"][-1] < 0.01 * found.traces["loss"][0]).all())
        # The sum of an image is what the divergence of a field that ends inside cannot change.
        torch.testing.assert_close(found.images.sum((2, 3)), start.sum((2, 3)))


class TestJitter:
    @settings(max_examples=40, deadline=None)
    @given(
        rows=st.integers(1, 6),
        columns=st.integers(1, 6),
        offsets=st.lists(st.tuples(*[st.integers(-9, 9)] * 2), min_size=1, max_size=3),
        seed=SEEDS,
    )
    def test_a_shift_is_a_roll_and_its_negative_is_adjoint_and_inverse(
        self, rows: int, columns: int, offsets: list[tuple[int, int]], seed: int
    ) -> None:
        images = normal(len(offsets), 2, rows, columns, seed=seed)
        others = normal(len(offsets), 2, rows, columns, seed=seed + 1)
        by = torch.tensor(offsets, dtype=torch.int16)
        moved = shift(images, offsets=by)
        for image, found, offset in zip(images, moved, offsets, strict=True):
            assert torch.equal(found, torch.roll(image, offset, dims=(1, 2)))
        assert torch.equal(shift(moved, offsets=-by), images)
        inner = (moved * others).sum(), (images * shift(others, offsets=-by)).sum()
        torch.testing.assert_close(*inner, rtol=1e-12, atol=1e-12)

    def test_offsets_are_uniform_and_each_samples_own(self) -> None:
        drawn = draw_offsets(2, rows=5000, generators=generators(2, seed=5), device=CPU)
        assert drawn.shape == (5000, 2, 2)
        for sample, axis in itertools.product(range(2), range(2)):
            values, counts = drawn[:, sample, axis].unique(return_counts=True)
            assert values.tolist() == [-2, -1, 0, 1, 2]
            # 1000 of each; six standard deviations of a binomial count
            assert float((counts - 1000).abs().max()) < 6 * math.sqrt(5000 * 0.2 * 0.8)
        alone = draw_offsets(2, rows=5000, generators=generators(1, seed=6), device=CPU)
        assert torch.equal(drawn[:, 1], alone[:, 0])
        assert not torch.equal(drawn[:, 0], drawn[:, 1])

    def test_the_same_seed_is_the_same_run_whatever_the_mates(self) -> None:
        original, start = normal(3, 3, 12, 12, seed=1), normal(3, 3, 12, 12, seed=2)
        decoder = Descent(loss="l2", priors=(Jitter(pixels=3),))
        first = run(decoder, original, start, iterations=9)
        again = run(decoder, original, start, iterations=9)
        assert torch.equal(first.images, again.images)
        alone = run(decoder, original[2:], start[2:], iterations=9, seed=2)
        torch.testing.assert_close(alone.images[0], first.images[2], rtol=1e-11, atol=1e-12)
        other = run(decoder, original, start, iterations=9, seed=10)
        assert not torch.allclose(other.images, first.images)

    def test_without_generators_it_is_refused(self) -> None:
        original = normal(2, 3, 12, 12, seed=1)
        with pytest.raises(SettingError, match=r"Jitter.*one generator a start"):
            invert(
                convolutions(),
                original,
                start=original,
                noised=original,
                decoder=Descent(priors=(Jitter(),)),
                iterations=2,
                generators=generators(1),
            )


class TestBox:
    @settings(max_examples=20, deadline=None)
    @given(
        decoder=st.sampled_from(
            [
                Descent(step=3.0, factor=3.0, priors=(Box(),)),
                Descent(rule="normalised", priors=(Box(), Jitter())),
                Adam(rate=2.0, returns="last", priors=(Blur(), Box())),
                Adam(returns="last", priors=(Box(low=0.0, high=1.0), TotalVariation(weight=5.0))),
            ]
        ),
        seed=SEEDS,
    )
    def test_no_point_of_a_run_leaves_it(self, decoder: Decoder, seed: int) -> None:
        reached = []

        class Looking(Eager[Any]):
            def step(self) -> None:
                super().step()
                reached.append(self._method.look(self.state).point)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "drive", Looking)
            original, start = normal(2, 3, 12, 12, seed=seed), normal(2, 3, 12, 12, seed=seed + 1)
            found = run(decoder, original, start, iterations=6)
        assert len(reached) == 6
        for points in (*reached, found.images):
            assert bool(((points >= 0) & (points <= 1)).all())

    def test_its_bounds_are_its_own(self) -> None:
        original, start = normal(2, 3, 12, 12, seed=1), normal(2, 3, 12, 12, seed=2)
        decoder = Descent(step=3.0, factor=3.0, priors=(Box(low=-0.25, high=0.5),))
        found = run(decoder, original, start, iterations=3)
        assert (float(found.images.min()), float(found.images.max())) == (-0.25, 0.5)


def descent_by_hand(
    network: nn.Module,
    target: Tensor,
    start: Tensor,
    *,
    offsets: list[tuple[int, int]],
    weight: float,
    smoothing: float,
    step: float,
) -> Tensor:
    """One image: roll it, compare, add its total variation, step, blur, clip."""
    image, iterations = start.clone(), len(offsets) - 1
    for iteration in range(iterations):
        leaf = image.clone().requires_grad_()
        seen = torch.roll(leaf, offsets[iteration], dims=(1, 2))
        loss = (network(seen[None])[0] - target).square().sum() / 2
        loss = loss + weight * variation_by_loops(leaf, smoothing=smoothing)
        loss.backward()
        assert leaf.grad is not None
        image = image - step * leaf.grad
        sigma = 2.4 - 2.0 * iteration / (iterations - 1)
        image = gaussian_blur(image[None], kernel_size=[3, 3], sigma=[sigma, sigma])[0]
        image = image.clip(0.45, 0.55)
    return image


class TestTogether:
    def test_all_in_one_descent_are_a_loop_written_by_hand(self) -> None:
        encoder, iterations = convolutions(), 5
        original = torch.rand(2, 3, 12, 12, generator=generators(1)[0]).double()
        start = 0.5 + normal(2, 3, 12, 12, seed=4) / 3
        box = Box(low=0.45, high=0.55)
        priors = (Jitter(pixels=2), box, TotalVariation(weight=0.05, smoothing=0.01), Blur())
        drawn = draw_offsets(2, rows=iterations + 1, generators=generators(2, seed=3), device=CPU)
        truth = torch.stack(
            [
                descent_by_hand(
                    encoder.module,
                    encoder.encode(original)[sample],
                    start[sample],
                    offsets=[(int(down), int(right)) for down, right in drawn[:, sample]],
                    weight=0.05,
                    smoothing=0.01,
                    step=0.2,
                )
                for sample in range(2)
            ]
        )
        for ordered in (priors, priors[::-1]):
            decoder = Descent(loss="l2", step=0.2, factor=1.0, priors=ordered)
            found = run(decoder, original, start, iterations=iterations, seed=3)
            torch.testing.assert_close(found.images, truth, rtol=1e-11, atol=1e-12)
            assert bool((found.images == 0.45).any() & (found.images == 0.55).any())

    @pytest.mark.parametrize("prior", [Blur(), TotalVariation(weight=1.0), Jitter()])
    def test_what_needs_rows_and_columns_refuses_vectors(self, prior: Any) -> None:
        original = normal(2, 5, seed=1)
        with pytest.raises(SettingError, match=r"rows and columns"):
            invert(
                affine(2, 4, 5, seed=2),
                original,
                start=original,
                noised=original,
                decoder=Descent(priors=(prior,)),
                iterations=2,
                generators=generators(2),
            )
