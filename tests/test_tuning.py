"""Layouts: all cores in each, none beyond the memory, the fastest remembered for one machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.encoders.compiled import CompiledPlan
from harness.encoders.encoder import VJP, Encoder
from harness.encoders.stacks import StackEncoder
from harness.execution import tuning
from harness.execution.tuning import MEMORY, Layout, Machine, fastest, remember, remembered

TWO = Machine(processor="p", cores=2, memory=8 * 10**9, torch="2.13.0")
WIDE, DEEP = Layout(2, 1), Layout(1, 2)


class TestLayouts:
    @given(cores=st.integers(1, 256), memory=st.integers(0, 10**12))
    def test_each_uses_every_core_and_fits(self, cores: int, memory: int) -> None:
        found = dataclasses.replace(TWO, cores=cores, memory=memory).layouts
        assert found
        assert all(layout.processes * layout.threads == cores for layout in found)
        # Where not even one process fits, one is tried nevertheless.
        assert all(layout.processes * MEMORY <= memory or layout.processes == 1 for layout in found)
        assert list(found) == sorted(found, key=lambda layout: -layout.processes)

    def test_all_divisors_where_there_is_memory(self) -> None:
        machine = dataclasses.replace(TWO, cores=12, memory=10**12)
        assert [layout.processes for layout in machine.layouts] == [12, 6, 4, 3, 2, 1]

    @pytest.mark.parametrize(
        ("cores", "memory", "gpu", "layout"),
        [
            *((cores, 10**12, 10**11, (cores, 1)) for cores in (1, 2, 3, 16)),
            (17, 10**12, 10**11, (16, 1)),
            (34, 10**12, 10**11, (16, 2)),
            (64, 10**12, 10**11, (16, 4)),
            (16, 16 * 10**9, 10**11, (5, 3)),
            (16, 10**12, 8 * 10**9, (5, 3)),
            (4, 10**9, 10**11, (1, 4)),
            (4, 10**12, 0, (1, 4)),
        ],
    )
    def test_beside_a_gpu(self, cores: int, memory: int, gpu: int, layout: tuple[int, int]) -> None:
        machine = dataclasses.replace(TWO, cores=cores, memory=memory)
        assert machine.beside_a_gpu(gpu) == Layout(*layout)

    def test_this_machine(self) -> None:
        found = Machine.here()
        assert found.cores >= 1
        assert found.memory > 10**8
        assert found.torch == torch.__version__
        assert found.layouts[-1] == Layout(1, found.cores)


class TestChoice:
    @pytest.mark.parametrize(
        ("wide", "deep", "chosen"),
        [(100, 50, WIDE), (91, 100, WIDE), (89, 100, DEEP), (0.0, 1.0, DEEP), (0.0, 0.0, WIDE)],
    )
    def test_more_processes_unless_fewer_are_clearly_faster(
        self, wide: float, deep: float, chosen: Layout
    ) -> None:
        assert fastest({WIDE: wide, DEEP: deep}) == chosen
        assert fastest({DEEP: deep, WIDE: wide}) == chosen


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def file_of(cache: Path) -> Path:
    (path,) = cache.rglob("*.json")
    return path


class TestMemory:
    def test_the_fastest_is_remembered_for_this_machine_alone(self, cache: Path) -> None:
        assert remembered(TWO) is None
        remember(TWO, {WIDE: 1.0, DEEP: 9.0})
        assert remembered(TWO) == DEEP
        remember(TWO, {WIDE: 9.0, DEEP: 1.0})
        assert remembered(TWO) == WIDE
        for change in ({"cores": 4}, {"memory": 10**10}, {"torch": "3"}, {"processor": "q"}):
            assert remembered(dataclasses.replace(TWO, **change)) is None  # type: ignore[arg-type]
        assert file_of(cache).is_relative_to(cache / "depth-claims")

    def test_without_the_variable_it_is_in_the_home_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        remember(TWO, {WIDE: 1.0})
        assert file_of(tmp_path).is_relative_to(tmp_path / ".cache" / "depth-claims")
        assert remembered(TWO) == WIDE

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(content=st.binary(max_size=40))
    def test_what_cannot_be_read_is_forgotten(self, cache: Path, content: bytes) -> None:
        remember(TWO, {WIDE: 1.0})
        file_of(cache).write_bytes(content)
        assert remembered(TWO) is None

    @pytest.mark.parametrize(
        "content",
        [
            "[]",
            "null",
            '{"processes": 2}',
            '{"processes": "x", "threads": 1}',
            '{"processes": null, "threads": 1}',
            # Valid, but nothing that this machine would try.
            '{"processes": 64, "threads": 1}',
            '{"processes": 0, "threads": 0}',
        ],
    )
    def test_nor_is_anything_believed_that_does_not_fit(self, cache: Path, content: str) -> None:
        remember(TWO, {WIDE: 1.0})
        file_of(cache).write_text(content)
        assert remembered(TWO) is None

    def test_a_folder_that_cannot_be_written_is_no_error(self, cache: Path) -> None:
        cache.write_text("a file in its place")
        remember(TWO, {WIDE: 1.0})
        assert remembered(TWO) is None
        assert cache.read_text() == "a file in its place"


def test_a_trial_gives_a_rate_and_leaves_the_threads_as_they_were() -> None:
    before = torch.get_num_threads()
    assert tuning.steps_per_second(1, seconds=0.02) > 0
    assert torch.get_num_threads() == before


def test_what_is_tried_are_steps_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[tuple[int, ...]] = []

    def told(
        vjp: Callable[[Encoder, torch.Tensor], tuple[torch.Tensor, VJP]],
    ) -> Callable[[Encoder, torch.Tensor], tuple[torch.Tensor, VJP]]:
        def wrapped(encoder: Encoder, inputs: torch.Tensor) -> tuple[torch.Tensor, VJP]:
            batches.append(tuple(inputs.shape))
            return vjp(encoder, inputs)

        return wrapped

    monkeypatch.setattr(CompiledPlan, "vjp", told(CompiledPlan.vjp))
    monkeypatch.setattr(StackEncoder, "vjp", told(StackEncoder.vjp))
    tuning.steps_per_second(1, seconds=0.0)
    assert batches == [(1, 3, 32, 32), (12, 256)] * 3
