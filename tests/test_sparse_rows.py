"""Products of which some rows alone are read, and wide stacks made of them."""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inversion_cases import normal

from harness.encoders.sparse_rows import LARGE, combined, dotted, is_worthwhile
from harness.encoders.stacks import StackEncoder, WideStackEncoder
from harness.plan.networks import MLP
from harness.subjects.mlp import mlp_encoder

CPU = torch.device("cpu")
NETWORK = MLP(inputs=20, widths=(31, 24, 17), activation="relu")


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 40),
    length=st.integers(1, 30),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    seed=st.integers(0, 2**32),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_products_are_those_with_all_rows(
    count: int, length: int, share: float, seed: int, dtype: torch.dtype
) -> None:
    matrix = normal(count, length, seed=seed, dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    taken = torch.rand(count, generator=generator) < share
    factors = normal(count, seed=seed + 1, dtype=dtype) * taken
    vector = normal(length, seed=seed + 2, dtype=dtype)
    eps = torch.finfo(dtype).eps
    found, read = combined(matrix, factors)
    assert read.tolist() == taken.nonzero()[:, 0].tolist()
    scale = float(matrix.norm() * (factors.norm() + vector.norm())) + 1
    assert float((found - factors @ matrix).abs().max()) < 10 * eps * scale
    assert float((dotted(matrix, vector, read) - (matrix @ vector) * taken).abs().max()) < (
        10 * eps * scale
    )


def test_rows_that_count_nothing_are_not_read() -> None:
    matrix = normal(6, 4, seed=1)
    matrix[[1, 4]] = torch.nan
    factors = torch.tensor([1.0, 0, 2, 3, 0, 4], dtype=torch.float64)
    found, read = combined(matrix, factors)
    assert found.isfinite().all()
    assert dotted(matrix, normal(4, seed=2), read).isfinite().all()


def test_filters_of_warnings_are_left_alone() -> None:
    before = list(warnings.filters)
    dotted(normal(3, 2, seed=1), normal(2, seed=2), torch.tensor([0, 2]))
    assert list(warnings.filters) == before


class TestChoice:
    def test_of_large_matrices_alone(self) -> None:
        assert is_worthwhile([torch.ones(1, 4, 4), torch.ones(2, 1449, 1449)])
        assert not is_worthwhile([torch.ones(50, 1000, 1000)])

    def test_not_of_what_is_not_finite(self) -> None:
        # What is taken 0 times would still spoil the product of all rows.
        small, large = torch.ones(1, 4, 4), torch.ones(1, 1449, 1449)
        small[0, 1, 1] = torch.inf
        assert not is_worthwhile([small, large])

    def test_not_in_a_dtype_that_sparse_products_lack(self) -> None:
        network = MLP(inputs=2048, widths=(2048, 2048), activation="relu")
        assert 2048**2 * torch.bfloat16.itemsize >= LARGE
        wide = mlp_encoder(network, generators=generators(1), dtype=torch.bfloat16, device=CPU)
        output, vjp = wide.vjp(normal(1, 2048, seed=1, dtype=torch.bfloat16))
        assert vjp(output).isfinite().all()

    def test_not_on_other_devices(self) -> None:
        assert not is_worthwhile([torch.ones(1, 1449, 1449, device="meta")])


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize("networks", [1, 3])
@pytest.mark.parametrize("restarts", [1, 2])
def test_wide_stacks_compute_what_stacks_do(networks: int, restarts: int) -> None:
    stack = mlp_encoder(
        NETWORK, generators=generators(*range(networks)), dtype=torch.float64, device=CPU
    )
    assert isinstance(stack, StackEncoder)
    wide = WideStackEncoder(stack)
    inputs = normal(networks * restarts, 20, seed=5)
    found, truth = wide.linearize(inputs), stack.linearize(inputs)
    cotangent, tangent = normal(*truth[0].shape, seed=6), normal(*inputs.shape, seed=7)
    for mine, other in (
        (found[0], truth[0]),
        (found[1](tangent), truth[1](tangent)),
        (found[2](cotangent), truth[2](cotangent)),
        (wide.encode(inputs), truth[0]),
        (wide.vjp(inputs)[1](cotangent), truth[2](cotangent)),
    ):
        torch.testing.assert_close(mine, other, rtol=1e-13, atol=1e-14)
    assert torch.equal(found[2](cotangent), found[2](cotangent))


@pytest.mark.parametrize(
    ("activation", "kind"), [("relu", WideStackEncoder), ("tanh", StackEncoder)]
)
def test_a_large_stack_is_wide_where_units_can_be_inactive(activation: str, kind: type) -> None:
    network = MLP(inputs=1024, widths=(1024, 1024), activation=activation)
    assert 1024**2 * torch.float64.itemsize >= LARGE
    found = mlp_encoder(network, generators=generators(1), dtype=torch.float64, device=CPU)
    assert isinstance(found, kind)
