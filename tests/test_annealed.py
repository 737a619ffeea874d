"""The annealed L-BFGS: its filter, its direction, what it is invariant to, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inversion_cases import (
    affine,
    convolutions,
    normal,
    one_thread,  # noqa: F401  (a fixture for all)
)
from numpy.typing import NDArray
from torch import Tensor, nn

import harness
from harness.encoders.adapters import Reshaped
from harness.encoders.encoder import ModuleEncoder
from harness.errors import SettingError
from harness.inversion.clock import HostClock
from harness.inversion.decoders.annealed import COLOURS, AnnealedFilters
from harness.inversion.decoders.kicks import Kicks
from harness.inversion.decoders.lbfgs import LBFGSMethod, Pairs
from harness.inversion.objective import Pixels, Problem
from harness.inversion.recover import Reconstructions, recover
from harness.plan.decoders import AnnealedLBFGS
from harness.subjects.images.photographs import PHOTOGRAPHS, load_photograph

SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7))
Matrix = NDArray[np.float64]


def dense(shape: tuple[int, int, int], *, smooth: float, coloured: float) -> Matrix:
    """H0 of images as a matrix, by numpy's complex transform and scipy's power."""
    channels, rows, columns = shape
    down, across = np.fft.fftfreq(rows) * rows, np.fft.fftfreq(columns) * columns
    side = max(rows, columns)
    cycles = np.hypot(down[:, None] * side / rows, across * side / columns)
    factor = np.maximum(cycles, 1) ** (-2 * smooth)
    pixels = np.eye(rows * columns).reshape(-1, rows, columns)
    plane = np.fft.ifft2(np.fft.fft2(pixels) * factor).real.reshape(len(pixels), -1)
    across_channels: Matrix = np.eye(channels)
    if channels == 3:
        covariance = np.array(COLOURS)
        covariance = covariance / scipy.linalg.eigvalsh(covariance).max()
        across_channels = scipy.linalg.fractional_matrix_power(covariance, coloured)
    return np.kron(across_channels, plane)


def exponents(decoder: AnnealedLBFGS, *, gradients: int) -> dict[str, float]:
    share = min(1.0, gradients / decoder.annealing)
    smooth = (1 - share) * decoder.first + share * decoder.last
    return {"smooth": smooth, "coloured": (1 - share) * decoder.colour}


@settings(max_examples=40, deadline=None)
@given(
    shape=SHAPES,
    gradients=st.integers(0, 9),
    annealing=st.integers(1, 8),
    first=st.floats(0, 2),
    last=st.floats(0, 2),
    colour=st.booleans(),
    seed=st.integers(0, 2**40),
)
def test_the_filter_is_that_of_a_dense_transform(
    shape: tuple[int, int, int],
    gradients: int,
    annealing: int,
    first: float,
    last: float,
    colour: bool,
    seed: int,
) -> None:
    decoder = AnnealedLBFGS(annealing=annealing, first=first, last=last, colour=colour)
    images = normal(2, *shape, seed=seed)
    initial = AnnealedFilters.of(decoder, iterations=9, like=images).at(HostClock(gradients))
    found = initial.apply(images)
    matrix = dense(shape, **exponents(decoder, gradients=gradients))
    expected = images.flatten(1).numpy() @ matrix.T
    # Frequencies are rounded to float32.
    np.testing.assert_allclose(found.flatten(1).numpy(), expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(initial.apply(images.flatten(1)), found.flatten(1))
    np.testing.assert_allclose(
        initial.square(images, found).numpy(),
        np.einsum("bi,bi->b", images.flatten(1).numpy(), expected),
        rtol=1e-5,
    )


@settings(max_examples=20, deadline=None)
@given(
    shape=st.sampled_from([(3, 2, 3), (1, 4, 3), (2, 3, 3)]),
    taken=st.lists(st.booleans(), min_size=1, max_size=9),
    history=st.integers(1, 6),
    seed=st.integers(0, 2**40),
)
def test_a_direction_is_that_of_the_dense_recursion(
    shape: tuple[int, int, int], taken: list[bool], history: int, seed: int
) -> None:
    # Some evaluations of the second sample are rejected, and some pairs older than the history.
    decoder = AnnealedLBFGS(history=history, annealing=6)
    n = int(np.prod(shape))
    spread = torch.diag(torch.logspace(-1, 1, n, dtype=torch.float64))
    images = normal(2, *shape, seed=seed)
    filters = AnnealedFilters.of(decoder, iterations=len(taken), like=images)
    pairs = Pairs.none(images.flatten(1), size=history, squares=False)
    rows: list[list[tuple[Matrix, Matrix] | None]] = [[], []]
    gammas = [1.0, 1.0]
    for iteration, second in enumerate(taken):
        step = normal(2, n, seed=seed + iteration)
        change = step @ spread
        initial = filters.at(HostClock(iteration + 1))
        pairs = pairs.add(
            step,
            change,
            where=torch.tensor([True, second]),
            clock=HostClock(iteration),
            initial=initial,
        )
        matrix = dense(shape, **exponents(decoder, gradients=iteration + 1))
        for sample, accepted in enumerate((True, second)):
            s, y = step[sample].numpy(), change[sample].numpy()
            rows[sample].append((s, y) if accepted else None)
            if accepted:
                gammas[sample] = s @ y / (y @ matrix @ y)
    gradient = normal(2, n, seed=seed - 1)
    found = pairs.direction(gradient, clock=HostClock(len(taken) - 1), initial=initial)
    for sample, evaluations in enumerate(rows):
        inverse = gammas[sample] * matrix
        for pair in evaluations[-history:]:
            if pair is not None:
                s, y = pair
                rho = 1 / (s @ y)
                kept = np.eye(n) - rho * np.outer(s, y)
                inverse = kept @ inverse @ kept.T + rho * np.outer(s, s)
        np.testing.assert_allclose(
            found[sample].numpy(), -inverse @ gradient[sample].numpy(), rtol=1e-5, atol=1e-7
        )


def test_the_first_directions_of_a_run() -> None:
    # The first is along -H0 g of the start, the second from one pair and the H0 after a gradient.
    shape, decoder = (3, 3, 4), AnnealedLBFGS(annealing=4)
    encoder = Reshaped(affine(2, 40, 36, seed=1))
    start = normal(2, *shape, seed=3)
    problem = Problem.of(decoder, encoder, target=normal(2, 40, seed=4), images=start, iterations=2)
    filters = AnnealedFilters.of(decoder, iterations=2, like=start)
    method = LBFGSMethod(decoder, problem, Kicks.of(Pixels(), start), filters)
    first = method.begin(start)
    second = method.step(first, HostClock(0))
    matrices = [dense(shape, **exponents(decoder, gradients=number)) for number in (0, 1)]
    assert bool((second.pairs.count == 1).all())
    for sample in range(2):

        def flat(values: Tensor, sample: int = sample) -> Matrix:
            return values[sample].flatten().numpy()

        downhill = -matrices[0] @ flat(first.here.gradient)
        close = {"rtol": 1e-5, "atol": 1e-7}
        np.testing.assert_allclose(flat(first.direction), downhill, **close)
        slope = downhill @ flat(first.here.gradient)
        assert float(first.slope[sample]) == pytest.approx(slope)
        assert float(first.size[sample] * -slope) == pytest.approx(float(first.here.value[sample]))
        s, y = (
            flat(after) - flat(before)
            for after, before in (
                (second.here.point, first.here.point),
                (second.here.gradient, first.here.gradient),
            )
        )
        rho = 1 / (s @ y)
        kept = np.eye(36) - rho * np.outer(s, y)
        initial = s @ y / (y @ matrices[1] @ y) * matrices[1]
        inverse = kept @ initial @ kept.T + rho * np.outer(s, s)
        np.testing.assert_allclose(
            flat(second.direction), -inverse @ flat(second.here.gradient), **close
        )
        assert float(second.size[sample]) == 1


def run(module: nn.Module, original: Tensor, start: Tensor) -> Reconstructions:
    return recover(
        ModuleEncoder(module),
        original,
        start=start,
        noised=original + 0.1,
        decoder=AnnealedLBFGS(annealing=8),
        iterations=12,
    )


class Seen(nn.Module):
    """A network that sees its images changed, and whose outputs are multiplied."""

    def __init__(self, inner: nn.Module, change: Callable[[Tensor], Tensor], scale: float) -> None:
        super().__init__()
        self.inner, self.change, self.scale = inner, change, scale

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.inner(self.change(inputs))
        return self.scale * outputs


class TestInvariance:
    @pytest.mark.parametrize(
        ("change", "back"),
        [
            (lambda x: x.roll((3, 5), (2, 3)), lambda x: x.roll((-3, -5), (2, 3))),
            (lambda x: x.flip(3), lambda x: x.flip(3)),
            (lambda x: x.rot90(1, (2, 3)), lambda x: x.rot90(-1, (2, 3))),
        ],
        ids=["shifted", "mirrored", "turned"],
    )
    def test_an_image_seen_from_elsewhere_is_recovered_likewise(
        self, change: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]
    ) -> None:
        inner = convolutions().module
        original, start = (normal(2, 3, 12, 12, seed=seed) for seed in (1, 2))
        plain = run(inner, original, start)
        changed = run(Seen(inner, back, 1.0), change(original), change(start))
        torch.testing.assert_close(change(plain.images), changed.images, rtol=1e-6, atol=1e-7)
        assert not torch.allclose(plain.images, start, atol=0.1)

    @pytest.mark.parametrize("scale", [1e-4, 1e4])
    def test_outputs_in_other_units(self, scale: float) -> None:
        inner = convolutions().module
        original, start = (normal(2, 3, 12, 12, seed=seed) for seed in (1, 2))
        plain = run(inner, original, start)
        scaled = run(Seen(inner, lambda x: x, scale), original, start)
        torch.testing.assert_close(plain.images, scaled.images, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 8, 8), (3, 5, 9), (4, 8, 3)], ids=str)
def test_images_of_any_shape(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 400)).eval()
    images = torch.rand(2, *shape)
    found = harness.invert(module, images, decoder=harness.AnnealedLBFGS(), steps=200)
    assert float(found.r.max()) < 0.05


class TestWhatHasNoSpectrum:
    @pytest.mark.parametrize("shape", [(2, 5), (2, 3, 5), (2, 3, 4, 4, 4)], ids=str)
    def test_is_refused_for_the_plain_decoder(self, shape: tuple[int, ...]) -> None:
        class Sum(nn.Module):
            def forward(self, inputs: Tensor) -> Tensor:
                return inputs.flatten(1).cumsum(1)

        with pytest.raises(SettingError) as caught:
            harness.invert(Sum().eval(), torch.rand(shape), decoder=harness.AnnealedLBFGS())
        assert "LBFGS" in caught.value.remedy
        assert str(shape) in str(caught.value.value)


def test_colours_are_those_of_the_bundled_photographs() -> None:
    pixels = (np.asarray(load_photograph(each)).reshape(-1, 3) / 255 for each in PHOTOGRAPHS)
    covariance = np.mean([np.cov(each.T, bias=True) for each in pixels], axis=0)
    expected = covariance / scipy.linalg.eigvalsh(covariance).max()
    np.testing.assert_allclose(COLOURS, expected, atol=6e-4)
    # What libraries of feature visualisation use differs by less than photographs do.
    root = np.array([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]])
    theirs = root @ root.T
    theirs /= scipy.linalg.eigvalsh(theirs).max()
    assert float(np.abs(COLOURS - theirs).max()) < 0.15
