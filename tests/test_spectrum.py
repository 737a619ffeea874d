"""Ranks, null spaces, Jacobians and distances against theory, numpy, scipy and torch.func."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from torch import Tensor

from harness.encoders.spectrum import (
    Decomposition,
    SizeLimit,
    Spectrum,
    decompose,
    jacobian,
    spectra,
)
from harness.errors import SpectrumError
from harness.inversion.distances import l2
from harness.plan.networks import ACTIVATIONS, MLP, ResNet
from harness.subjects.mlp import draw_layers, mlp_encoder
from harness.subjects.resnet import build_resnet, encoder_of, truncated_resnet

CPU = torch.device("cpu")
EPS = np.finfo(np.float64).eps
SEEDS = st.integers(0, 2**40)
SIDES = st.integers(1, 10)


def planted(m: int, n: int, *, singular: NDArray[np.float64], seed: int) -> Tensor:
    """An m x n matrix with these singular values and zeros."""
    source = np.random.default_rng(seed)
    left = np.linalg.qr(source.normal(size=(m, m)))[0]
    right = np.linalg.qr(source.normal(size=(n, n)))[0]
    k = len(singular)
    return torch.from_numpy((left[:, :k] * singular) @ right[:, :k].T)


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def decomposed(matrix: Tensor) -> Decomposition:
    (found,) = decompose(matrix[None])
    return found


def spectrum(matrix: Tensor) -> Spectrum:
    (found,) = spectra(matrix[None])
    return found


class TestSpectra:
    @settings(max_examples=80, deadline=None)
    @given(data=st.data(), m=SIDES, n=SIDES, seed=SEEDS)
    def test_a_planted_spectrum_is_found(
        self, data: st.DataObject, m: int, n: int, seed: int
    ) -> None:
        rank = data.draw(st.integers(1, min(m, n)))
        singular = np.sort(np.random.default_rng(seed).uniform(0.1, 3, rank))[::-1]
        matrix = planted(m, n, singular=singular, seed=seed)
        for found in (spectrum(matrix), decomposed(matrix)):
            assert found.rank == rank == np.linalg.matrix_rank(matrix.numpy())
            assert found.values.shape == (min(m, n),)
            np.testing.assert_allclose(found.values[:rank].numpy(), singular, rtol=1e-12)
            assert found.condition == pytest.approx(singular[0] / singular[-1], rel=1e-12)
            assert found.gap > 1e10
            assert found.decided

    @settings(max_examples=80, deadline=None)
    @given(data=st.data(), m=SIDES, n=SIDES, seed=SEEDS)
    def test_the_spaces_are_scipys(self, data: st.DataObject, m: int, n: int, seed: int) -> None:
        rank = data.draw(st.integers(0, min(m, n)))
        matrix = planted(m, n, singular=np.linspace(3, 1, rank), seed=seed)
        found = decomposed(matrix)
        mine = found.null.numpy()
        theirs = scipy.linalg.null_space(matrix.numpy())
        assert mine.shape == (n - rank, n)
        # The same subspace: equal projections.
        np.testing.assert_allclose(mine.T @ mine, theirs @ theirs.T, atol=1e-11)
        np.testing.assert_allclose(found.right @ found.right.T, np.eye(n), atol=1e-12)
        assert float((matrix @ found.null.T).abs().sum()) < 1e-11
        # The right vectors belong to the values: the matrix stretches each by its own.
        stretched = (matrix @ found.right[: len(found.values)].T).norm(dim=0)
        np.testing.assert_allclose(stretched, found.values, atol=1e-12)

    @settings(max_examples=50, deadline=None)
    @given(m=SIDES, n=SIDES, seed=SEEDS, power=st.integers(-60, 60))
    def test_scale_and_transposition_change_no_rank(
        self, m: int, n: int, seed: int, power: int
    ) -> None:
        matrix = planted(m, n, singular=np.array([1.0]), seed=seed)
        plain, scaled, turned = (
            spectra(matrix[None])[0],
            *map(spectrum, (matrix * 2.0**power, matrix.T)),
        )
        assert plain.rank == scaled.rank == turned.rank == 1
        np.testing.assert_array_equal(scaled.values, plain.values * 2.0**power)
        np.testing.assert_allclose(turned.values, plain.values, atol=1e-15)

    def test_ill_conditioned_matrices_keep_their_rank(self) -> None:
        # The Gram matrix has the condition 1e20, and no trace of the least value.
        for m, n in ((30, 50), (50, 30), (40, 40)):
            matrix = planted(m, n, singular=np.logspace(0, -10, min(m, n)), seed=5)
            for found in (spectrum(matrix), decomposed(matrix)):
                assert found.rank == min(m, n)
                assert found.decided
                assert found.gap == pytest.approx(1e-10 / (max(m, n) * EPS), rel=1e-4)
                assert found.condition == pytest.approx(1e10, rel=1e-4)

    def test_the_tolerance_grows_with_the_size_as_numpys_does(self) -> None:
        # Ten roundings of the greatest value count in a small matrix and not in a large one.
        for size, rank in ((4, 2), (40, 1)):
            matrix = np.zeros((size, size))
            matrix[0, 0], matrix[1, 1] = 1, 10 * EPS
            assert spectrum(torch.from_numpy(matrix)).rank == rank
            assert np.linalg.matrix_rank(matrix) == rank

    @pytest.mark.parametrize(
        ("tail", "rank", "decided"),
        # In units of the tolerance.
        [
            ((1.1, 0), 3, True),
            ((1.1, 0.105), 3, True),
            ((1.1, 0.12), 3, False),
            ((9, 0.99), 3, False),
            ((9, 0.85), 3, True),
            ((0.99, 0.99), 2, True),
            ((1.1, 1.1), 4, False),
            ((20, 11), 4, True),
            ((20, 9), 4, False),
        ],
    )
    def test_a_rank_is_decided_by_a_tenfold_gap(
        self, tail: tuple[float, float], rank: int, decided: bool
    ) -> None:
        values = [1.0, 0.5, *(4 * EPS * each for each in tail)]
        found = spectrum(torch.diag(torch.tensor(values, dtype=torch.float64)))
        assert (found.rank, found.decided) == (rank, decided)
        assert found.decided == (found.gap >= 10)

    def test_another_tolerance_gives_the_effective_rank(self) -> None:
        matrix = planted(6, 5, singular=np.array([1, 0.5, 1e-9, 1e-12, 0]), seed=3)
        found = decomposed(matrix)
        assert (found.rank, len(found.null)) == (4, 1)
        single = dataclasses.replace(found, tolerance=6 * float(np.finfo(np.float32).eps))
        assert (single.rank, len(single.null)) == (2, 3)
        assert single.condition == pytest.approx(2)
        assert single.gap == pytest.approx(5e8, rel=1e-5)

    @pytest.mark.parametrize("find", [spectrum, decomposed])
    def test_nothing_has_rank_zero_and_every_direction_in_its_null_space(
        self, find: Callable[[Tensor], Spectrum]
    ) -> None:
        found = find(torch.zeros(2, 3, dtype=torch.float64))
        assert (found.rank, found.condition, found.gap) == (0, 1.0, math.inf)
        assert found.decided
        if isinstance(found, Decomposition):
            assert found.null.shape == (3, 3)
            assert float(found.null_share(gaussian(1, 3))) == pytest.approx(1)

    def test_a_batch_is_a_loop(self) -> None:
        matrices = gaussian(3, 7, 5)
        for each, one, vectors in zip(
            matrices, spectra(matrices), decompose(matrices), strict=True
        ):
            assert torch.equal(one.values, spectrum(each).values)
            assert torch.equal(vectors.right, decomposed(each).right)


class TestNullShares:
    @settings(max_examples=80, deadline=None)
    @given(data=st.data(), m=SIDES, n=st.integers(2, 10), seed=SEEDS, angle=st.floats(0, 1.5707))
    def test_what_is_composed_of_both_spaces_is_parted_again(
        self, data: st.DataObject, m: int, n: int, seed: int, angle: float
    ) -> None:
        rank = data.draw(st.integers(1, min(m, n - 1)))
        source = np.random.default_rng(seed)
        basis = np.linalg.qr(source.normal(size=(n, n)))[0]
        left = np.linalg.qr(source.normal(size=(m, m)))[0]
        matrix = left[:, :rank] @ np.diag(np.linspace(2, 1, rank)) @ basis[:, :rank].T
        kept, lost = (
            space @ (weights / np.linalg.norm(weights))
            for space in (basis[:, :rank], basis[:, rank:])
            for weights in (source.normal(size=space.shape[1]),)
        )
        errors = np.stack([math.cos(angle) * kept + math.sin(angle) * lost, 1e3 * lost, kept])
        shares = decomposed(torch.from_numpy(matrix)).null_share(torch.from_numpy(errors))
        np.testing.assert_allclose(shares, [math.sin(angle), 1, 0], atol=1e-12)
        assert bool((shares <= 1).all())

    def test_errors_may_be_images(self) -> None:
        matrix = gaussian(5, 12)
        errors = gaussian(4, 3, 2, 2, seed=1)
        shares = decomposed(matrix).null_share(errors)
        basis = scipy.linalg.null_space(matrix.numpy())
        rows = errors.flatten(1).numpy()
        truth = np.linalg.norm(rows @ basis, axis=1) / np.linalg.norm(rows, axis=1)
        np.testing.assert_allclose(shares, truth, rtol=1e-12)

    def test_no_error_has_no_share(self) -> None:
        for matrix in (gaussian(5, 12), gaussian(12, 5)):
            shares = decomposed(matrix).null_share(
                gaussian(2, matrix.shape[1]) * torch.eye(2)[:, :1]
            )
            assert shares.isnan().tolist() == [False, True]


def truth_of_stack(network: MLP, *, seed: int, inputs: Tensor) -> Tensor:
    """The Jacobian of a stack, by torch.func on layers written out here."""
    activation = {
        "none": lambda x: x,
        "relu": torch.relu,
        "leaky-relu": torch.nn.functional.leaky_relu,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
    }[network.activation]
    layers = draw_layers(network, generators=[torch.Generator().manual_seed(seed)])

    def stack(x: Tensor) -> Tensor:
        for number, layer in enumerate(layers):
            x = layer.matrix[0] @ (activation(x) if number else x) + layer.offset[0]
        return x

    truth: Tensor = torch.func.jacrev(stack)(inputs)
    return truth


@dataclasses.dataclass
class Watched:
    """The map x -> tanh(A x), which notes how it is asked."""

    matrix: Tensor
    calls: list[tuple[str, int]] = dataclasses.field(default_factory=list)

    def encode(self, inputs: Tensor) -> Tensor:
        self.calls.append(("encode", len(inputs)))
        return torch.tanh(inputs.flatten(1) @ self.matrix.T)

    def vjp(self, inputs: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        output, _, vjp = self.linearize(inputs)
        return output, vjp

    def linearize(
        self, inputs: Tensor
    ) -> tuple[Tensor, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
        output = torch.tanh(inputs.flatten(1) @ self.matrix.T)
        slope = 1 - output**2

        def jvp(tangent: Tensor) -> Tensor:
            self.calls.append(("jvp", len(tangent)))
            return tangent.flatten(1) @ self.matrix.T * slope

        def vjp(cotangent: Tensor) -> Tensor:
            self.calls.append(("vjp", len(cotangent)))
            # A cotangent is the encoder's to overwrite.
            return (cotangent.mul_(slope) @ self.matrix).reshape(inputs.shape)

        return output, jvp, vjp


class TestJacobians:
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    @pytest.mark.parametrize("widths", [(9, 4), (6, 11), (7, 5)])
    def test_those_of_stacks_are_torchs(self, activation: str, widths: tuple[int, ...]) -> None:
        network = MLP(inputs=5, widths=widths, activation=activation)
        seeds = (1, 2, 3)
        encoder = mlp_encoder(
            network,
            generators=[torch.Generator().manual_seed(seed) for seed in seeds],
            dtype=torch.float64,
            device=CPU,
        )
        inputs = gaussian(3, 5)
        found = jacobian(encoder, inputs)
        assert found.shape == (3, widths[-1], 5)
        for one, seed, image in zip(found, seeds, inputs, strict=True):
            truth = truth_of_stack(network, seed=seed, inputs=image)
            torch.testing.assert_close(one, truth, rtol=1e-12, atol=1e-14)

    @pytest.mark.parametrize(
        ("layer", "pixels"),
        [("conv1", 6), ("stem", 8), ("layer1", 8), ("layer2", 8), ("layer2", 16)],
    )
    def test_those_of_convolutions_are_torchs(self, layer: str, pixels: int) -> None:
        whole = build_resnet(ResNet(name="resnet18", layer=layer), seed=1).double()
        encoder = encoder_of(whole, layer=layer, dtype=torch.float64, device=CPU)
        image = gaussian(3, pixels, pixels)
        truth = torch.autograd.functional.jacobian(
            lambda x: truncated_resnet(whole, layer=layer)(x[None])[0], image
        )
        (found,) = jacobian(encoder, image[None])
        outputs = encoder.encode(image[None]).numel()
        torch.testing.assert_close(
            found, truth.reshape(outputs, image.numel()), rtol=1e-10, atol=1e-12
        )
        assert spectrum(found).rank == np.linalg.matrix_rank(truth.reshape(found.shape).numpy())

    @settings(max_examples=40, deadline=None)
    @given(m=SIDES, n=SIDES, batch=st.integers(1, 3), room=st.integers(0, 2**15), seed=SEEDS)
    def test_neither_batch_nor_chunk_changes_a_jacobian(
        self, m: int, n: int, batch: int, room: int, seed: int
    ) -> None:
        encoder = Watched(0.1 * gaussian(m, n, seed=seed))
        inputs = gaussian(batch, n, seed=seed + 1)
        found = jacobian(encoder, inputs, chunk_bytes=room)
        truth = torch.func.vmap(torch.func.jacrev(lambda x: torch.tanh(encoder.matrix @ x)))(inputs)
        torch.testing.assert_close(found, truth, rtol=1e-12, atol=1e-14)
        for one, image in zip(found, inputs, strict=True):
            torch.testing.assert_close(
                one, jacobian(encoder, image[None])[0], rtol=1e-12, atol=1e-14
            )

    @pytest.mark.parametrize(
        ("m", "n", "moves"),
        [
            (4, 9, [("vjp", 2)] * 2),
            (9, 4, [("jvp", 2)] * 2),
            (6, 6, [("vjp", 3)] * 2),
            (7, 7, [("vjp", 3)] * 3),
        ],
    )
    def test_the_shorter_way_is_taken_in_even_chunks(
        self, m: int, n: int, moves: list[tuple[str, int]]
    ) -> None:
        encoder = Watched(gaussian(m, n))
        room_for_three = 3 * 8 * 16 * (m + n)
        jacobian(encoder, gaussian(1, n), chunk_bytes=room_for_three)
        assert encoder.calls == [("encode", 1), *moves]


class ReachedError(Exception):
    """The work has begun."""


@dataclasses.dataclass(frozen=True)
class Untouchable:
    """An encoder with so many outputs that must not be asked for a derivative."""

    outputs: int

    def encode(self, inputs: Tensor) -> Tensor:
        return inputs.new_zeros(()).expand(len(inputs), self.outputs)

    def vjp(self, inputs: Tensor):  # type: ignore[no-untyped-def]
        raise ReachedError

    linearize = vjp


def blank(batch: int, n: int) -> Tensor:
    """Inputs that take no memory."""
    return torch.zeros((), dtype=torch.float64).expand(batch, n)


def is_refused(batch: int, m: int, n: int) -> bool:
    with pytest.raises((SpectrumError, ReachedError)) as caught:
        jacobian(Untouchable(m), blank(batch, n))
    return caught.type is SpectrumError


class TestRefusals:
    def test_it_names_cost_rule_and_remedy_before_any_work(self) -> None:
        # ResNet-18 up to layer2 at 64 pixels.
        with pytest.raises(SpectrumError) as caught:
            jacobian(Untouchable(8192), blank(1, 12288))
        assert caught.value.remedy
        for find in (spectra, decompose):
            with pytest.raises(SpectrumError):
                find(torch.zeros((), dtype=torch.float64).expand(1, 8192, 12288))

    @pytest.mark.parametrize(
        ("m", "n"),
        # ResNet-18 at 32 pixels, conv1 to layer4, and a ReLU stack of three times the article's 29
        # pixels.
        [(16384, 3072), (4096, 3072), (2048, 3072), (1024, 3072), (512, 3072), (7569, 2523)],
    )
    def test_what_the_claims_need_is_allowed(self, m: int, n: int) -> None:
        assert not is_refused(1, m, n)

    def test_a_batch_costs_what_its_samples_cost(self) -> None:
        # In time: 2.6e10 operations each, at 5e10 a second.
        assert not is_refused(115, 1000, 1000)
        assert is_refused(116, 1000, 1000)

    def test_a_higher_limit_is_kept_to(self) -> None:
        with pytest.raises(ReachedError):
            jacobian(
                Untouchable(8192), blank(1, 12288), limit=SizeLimit(gibibytes=5.7, seconds=342.0)
            )
        for limit in (
            SizeLimit(gibibytes=5.5, seconds=342.0),
            SizeLimit(gibibytes=5.7, seconds=340.0),
        ):
            with pytest.raises(SpectrumError):
                jacobian(Untouchable(8192), blank(1, 12288), limit=limit)
        matrices = gaussian(1, 30, 20)
        for find in (spectra, decompose):
            with pytest.raises(SpectrumError):
                find(matrices, limit=SizeLimit(seconds=1e-9))

    def test_less_than_float64_is_refused(self) -> None:
        with pytest.raises(SpectrumError):
            jacobian(Untouchable(3), torch.zeros(1, 3))
        for find in (spectra, decompose):
            with pytest.raises(SpectrumError):
                find(torch.zeros(1, 3, 3))

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_what_is_not_finite_is_refused(self, value: float) -> None:
        matrices = torch.eye(3, dtype=torch.float64)[None] * value
        for find in (spectra, decompose):
            with pytest.raises(SpectrumError):
                find(matrices)


class TestDistances:
    @given(rows=hnp.arrays(np.float64, (3, 2, 4), elements=st.floats(-1e6, 1e6)))
    def test_they_are_numpys_norms(self, rows: NDArray[np.float64]) -> None:
        truth = [np.linalg.norm(sample) for sample in rows]
        np.testing.assert_allclose(l2(torch.from_numpy(rows)), truth, rtol=1e-13, atol=1e-150)
