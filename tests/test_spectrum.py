"""Ranks, null spaces, Jacobians and distances against numpy, scipy and torch.func."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from torch import Tensor

from harness.distances import l2
from harness.settings import ACTIVATIONS, MLP, ResNet
from harness.spectrum import jacobian, spectrum
from harness.subjects.mlp import mlp_encoder
from harness.subjects.resnet import build_resnet, encoder_of

CPU = torch.device("cpu")
SEEDS = st.integers(0, 2**40)


def planted(m: int, n: int, *, singular: NDArray[np.float64], seed: int) -> Tensor:
    """An m x n matrix with these singular values and zeros."""
    source = np.random.default_rng(seed)
    left = np.linalg.qr(source.normal(size=(m, m)))[0]
    right = np.linalg.qr(source.normal(size=(n, n)))[0]
    k = len(singular)
    return torch.from_numpy((left[:, :k] * singular) @ right[:, :k].T)


class TestSpectrum:
    @settings(max_examples=50, deadline=None)
    @given(data=st.data(), m=st.integers(1, 10), n=st.integers(1, 10), seed=SEEDS)
    def test_a_planted_spectrum_is_found(
        self, data: st.DataObject, m: int, n: int, seed: int
    ) -> None:
        rank = data.draw(st.integers(1, min(m, n)))
        singular = np.sort(np.random.default_rng(seed).uniform(0.1, 3, rank))[::-1]
        matrix = planted(m, n, singular=singular, seed=seed)
        found = spectrum(matrix)
        assert found.rank == rank == np.linalg.matrix_rank(matrix.numpy())
        np.testing.assert_allclose(found.values[:rank].numpy(), singular, rtol=1e-12)
        assert found.condition == pytest.approx(singular[0] / singular[-1], rel=1e-12)
        assert found.gap > 1e10
        # The same subspace as scipy's: equal projections.
        theirs = scipy.linalg.null_space(matrix.numpy())
        mine = found.null.numpy()
        assert mine.shape == (n - rank, n)
        np.testing.assert_allclose(mine.T @ mine, theirs @ theirs.T, atol=1e-11)
        np.testing.assert_allclose(mine @ mine.T, np.eye(n - rank), atol=1e-12)
        assert float((matrix @ found.null.T).abs().sum()) < 1e-11

    @settings(max_examples=50, deadline=None)
    @given(
        matrix=hnp.arrays(
            np.float64,
            hnp.array_shapes(min_dims=2, max_dims=2, max_side=8),
            elements=st.integers(-2, 2).map(float),
        )
    )
    def test_ranks_are_numpys(self, matrix: NDArray[np.float64]) -> None:
        found = spectrum(torch.from_numpy(matrix))
        assert found.rank == np.linalg.matrix_rank(matrix)
        assert found.null.shape == (matrix.shape[1] - found.rank, matrix.shape[1])

    def test_the_gap_is_between_what_counts_and_what_does_not(self) -> None:
        found = spectrum(torch.diag(torch.tensor([4.0, 2.0, 1e-17], dtype=torch.float64)))
        assert found.rank == 2
        assert found.gap == pytest.approx(2e17)
        assert spectrum(torch.eye(3, dtype=torch.float64)).gap == float("inf")

    def test_the_tolerance_grows_with_the_size_as_numpys_does(self) -> None:
        # Ten roundings of the greatest value count in a small matrix and not in a large one.
        for size, rank in ((4, 2), (40, 1)):
            matrix = np.zeros((size, size))
            matrix[0, 0], matrix[1, 1] = 1, 10 * np.finfo(np.float64).eps
            assert spectrum(torch.from_numpy(matrix)).rank == rank
            assert np.linalg.matrix_rank(matrix) == rank

    def test_nothing_has_rank_zero_and_every_direction_in_its_null_space(self) -> None:
        found = spectrum(torch.zeros(2, 3, dtype=torch.float64))
        assert (found.rank, found.condition, found.gap) == (0, 1.0, float("inf"))
        assert found.null.shape == (3, 3)


class TestJacobians:
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_a_stacks_is_that_of_torch(self, activation: str) -> None:
        network = MLP(inputs=5, widths=(9, 4), activation=activation)
        encoder = mlp_encoder(
            network,
            generators=[torch.Generator().manual_seed(1)],
            dtype=torch.float64,
            device=CPU,
        )
        inputs = torch.linspace(-1, 1, 5, dtype=torch.float64)
        found = jacobian(encoder, inputs)
        if activation == "none":
            # Its columns are the images of the basis, less that of the origin.
            basis = torch.cat([torch.eye(5), torch.zeros(1, 5)]).double()
            outputs = torch.cat([encoder.encode(row[None]) for row in basis])
            truth = (outputs[:-1] - outputs[-1]).T
        else:
            truth = torch.func.jacrev(lambda x: encoder.module(x[None])[0])(inputs)  # type: ignore[attr-defined]
        torch.testing.assert_close(found, truth, rtol=1e-12, atol=1e-13)

    def test_that_of_convolutions_is_that_of_torch(self) -> None:
        whole = build_resnet(ResNet(name="resnet18", cut="stem"), seed=1).double()
        encoder = encoder_of(whole, cut="stem", dtype=torch.float64, device=CPU)
        image = torch.rand(3, 4, 4, dtype=torch.float64)

        class Flat:
            """Takes and gives rows, as `jacobian` does."""

            def encode(self, inputs: Tensor) -> Tensor:
                return encoder.encode(inputs.reshape(1, 3, 4, 4)).flatten(1)

            def pull(self, inputs: Tensor):  # type: ignore[no-untyped-def]
                output, pullback = encoder.pull(inputs.reshape(1, 3, 4, 4))
                return output.flatten(1), lambda row: pullback(row.reshape(output.shape))

        truth = torch.autograd.functional.jacobian(
            lambda x: whole.maxpool(torch.relu(whole.bn1(whole.conv1(x[None]))))[0], image
        )
        found = jacobian(Flat(), image.flatten())
        torch.testing.assert_close(found, truth.flatten(1), rtol=1e-10, atol=1e-12)


class TestDistances:
    _rows = hnp.arrays(
        np.float64,
        st.just((3, 2, 4)),
        elements=st.floats(-1e6, 1e6, allow_subnormal=False).map(
            lambda x: 0.0 if abs(x) < 1e-6 else x
        ),
    )

    @given(first=_rows, second=_rows, factor=st.floats(-1e3, 1e3))
    def test_they_are_norms(
        self, first: NDArray[np.float64], second: NDArray[np.float64], factor: float
    ) -> None:
        a, b = torch.from_numpy(first), torch.from_numpy(second)
        assert l2(a).shape == (3,)
        assert bool((l2(a) >= 0).all())
        assert torch.equal(l2(a) == 0, (a == 0).flatten(1).all(1))
        assert bool((l2(a + b) <= (l2(a) + l2(b)) * (1 + 1e-12)).all())
        torch.testing.assert_close(l2(factor * a), abs(factor) * l2(a), rtol=1e-12, atol=1e-12)
        assert torch.equal(l2(a - b), l2(b - a))
        np.testing.assert_allclose(
            l2(a).numpy(), [np.linalg.norm(sample) for sample in first], rtol=1e-13
        )
