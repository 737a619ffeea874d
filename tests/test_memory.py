"""Of a run nothing stays in memory but its results: a device has little of it, and Python's
collector comes late."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import torch
from inversion_cases import (
    CELLS,
    CPU,
    EVERY,
    named,
    one_thread,  # noqa: F401  (a fixture for all)
    run_case,
)

from harness.measurements.inversion import invert_block
from harness.plan.cells import Inversion
from harness.plan.decoders import Decoder


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Python frees what nothing refers to, and no cycles."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def tensors_alive() -> int:
    return sum(issubclass(type(value), torch.Tensor) for value in gc.get_objects())


@pytest.mark.usefixtures("uncollected")
class TestNothingStays:
    @EVERY
    def test_of_a_decoder(self, decoder: Decoder) -> None:
        run_case(decoder, iterations=2)  # what is made once and kept
        before = tensors_alive()
        run_case(decoder, iterations=2)
        assert tensors_alive() == before

    @pytest.mark.parametrize("cell", CELLS, ids=named)
    def test_of_a_network(self, cell: Inversion) -> None:
        invert_block([cell], device=CPU, checkpoint=None)
        before = tensors_alive()
        invert_block([cell], device=CPU, checkpoint=None)
        assert tensors_alive() == before
