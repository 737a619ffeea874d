"""Executors: their names, how many processes there are, processes that die one by one."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_cells import Gate, ignore_signals, work_on_a_gpu
from waiting import wait_until

from harness.errors import DepthClaimsError, ExecutorError, UnknownNameError
from harness.execution import device, mps, process_pool, worker
from harness.execution.executors import ExecutorName, SerialExecutor, open_executor, parse_executor
from harness.execution.process_pool import Layout, ProcessPool, local_layout
from harness.store import Store

pytestmark = pytest.mark.timeout(600)


class TestNames:
    @pytest.mark.parametrize(
        ("name", "parsed"),
        [
            ("serial", ExecutorName("serial")),
            ("processes", ExecutorName("processes")),
            ("processes:4", ExecutorName("processes", processes=4)),
            ("dask:tcp://a:1", ExecutorName("dask", address="tcp://a:1")),
            ("dask:a:1", ExecutorName("dask", address="a:1")),
        ],
    )
    def test_are_parsed(self, name: str, parsed: ExecutorName) -> None:
        assert parse_executor(name) == parsed

    @pytest.mark.parametrize(
        "name",
        [
            *("processes:", "processes:0", "processes:-1", "processes:4x2", "processes:two"),
            *("dask", "dask:", "dask: "),
        ],
    )
    def test_what_follows_the_colon_is_checked(self, name: str) -> None:
        with pytest.raises(ExecutorError) as raised:
            parse_executor(name)
        assert raised.value.value == f"--executor {name}"

    @pytest.mark.parametrize("name", ["process", "", "serial:2", "dusk:tcp://a:1"])
    def test_others_are_unknown(self, name: str) -> None:
        with pytest.raises(UnknownNameError):
            parse_executor(name)

    def test_dask_needs_its_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ExecutorError, match="distributed is not installed"):
            parse_executor("dask:tcp://a:1")


class TestLayout:
    @pytest.mark.parametrize(
        ("cores", "memory", "gpu", "layout"),
        [
            (1, 8 * 10**9, None, (1, 1)),
            (2, 8 * 10**9, None, (2, 1)),
            (64, 10**12, None, (64, 1)),
            (16, 4 * 10**9, None, (5, 3)),
            (4, 0, None, (1, 4)),
            (3, 10**12, 10**11, (3, 1)),
            (17, 10**12, 10**11, (16, 1)),
            (64, 10**12, 10**11, (16, 4)),
            (16, 16 * 10**9, 10**11, (5, 3)),
            (16, 10**12, 8 * 10**9, (5, 3)),
            (4, 10**12, 0, (1, 4)),
        ],
    )
    def test_a_process_a_core_as_memory_allows(
        self,
        monkeypatch: pytest.MonkeyPatch,
        cores: int,
        memory: int,
        gpu: int | None,
        layout: tuple[int, int],
    ) -> None:
        monkeypatch.setattr(process_pool, "available_cores", lambda: cores)
        monkeypatch.setattr(process_pool, "available_memory", lambda: memory)
        monkeypatch.setattr(process_pool, "gpu_memory", lambda: gpu)
        assert local_layout("cpu" if gpu is None else "cuda") == layout

    @pytest.mark.parametrize(
        ("name", "where", "layout"),
        [
            ("processes", "cpu", Layout(5, 2)),
            ("processes:3", "cpu", Layout(3, 1)),
            ("processes:3", "cuda", Layout(3, 1)),
        ],
    )
    def test_of_an_executor(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        where: str,
        layout: Layout,
    ) -> None:
        monkeypatch.setattr("harness.execution.executors.local_layout", lambda _: Layout(5, 2))
        monkeypatch.setattr(mps, "start", lambda _: None)
        pool = open_executor(name, device=where, auto=False, store=Store(tmp_path))
        assert (pool.slots, pool.threads) == layout
        assert pool.described == str(layout)
        pool.shutdown()


class TestProcesses:
    def test_the_death_of_one_is_not_that_of_another(self, tmp_path: Path) -> None:
        first, second = Gate(tmp_path / "first"), Gate(tmp_path / "second")
        pool = ProcessPool(Layout(2))
        try:
            lost, kept = pool.submit(first.hold), pool.submit(second.hold)
            wait_until(lambda: first.held and second.held)
            (killed,), (left,) = first.held, second.held
            assert killed != left
            os.kill(killed, signal.SIGKILL)
            assert isinstance(lost.exception(), pool.lost)
            second.open()
            assert kept.result() == left
            # Another one takes its place, and there are two again.
            third = Gate(tmp_path / "third")
            again = [pool.submit(third.hold) for _ in range(2)]
            wait_until(lambda: len(third.held) == 2)
            assert left in third.held
            third.open()
            wait(again)
        finally:
            pool.shutdown()
        assert multiprocessing.active_children() == []

    def test_the_end_of_a_pool_is_not_that_of_other_processes(self) -> None:
        other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
        other.start()
        pool = ProcessPool(Layout(1))
        try:
            pool.submit(time.sleep, 600)
            assert len(multiprocessing.active_children()) == 2
            pool.shutdown()
            assert multiprocessing.active_children() == [other]
        finally:
            other.terminate()
            other.join()

    def test_calls_beyond_the_processes_wait_their_turn(self) -> None:
        pool = ProcessPool(Layout(1))
        try:
            assert len({call.result() for call in [pool.submit(os.getpid) for _ in range(4)]}) == 1
        finally:
            pool.shutdown()

    def test_one_that_shares_a_gpu_ends_once_that_has_done_its_work(self, tmp_path: Path) -> None:
        pool = ProcessPool(Layout(1), gpu=True)
        call = pool.submit(work_on_a_gpu, tmp_path)
        wait_until((tmp_path / "begun").exists)
        pool.shutdown()
        assert (tmp_path / "done").exists()
        assert isinstance(call.exception(), BrokenProcessPool)

    def test_one_that_does_not_end_is_killed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(process_pool, "PATIENCE", 0.5)
        pool = ProcessPool(Layout(1), gpu=True)
        call = pool.submit(ignore_signals, tmp_path)
        wait_until((tmp_path / "begun").exists)
        pool.shutdown()
        assert isinstance(call.exception(), BrokenProcessPool)

    @pytest.mark.parametrize("torch", ["captures", "half imported", None])
    def test_a_gpu_without_work_is_not_waited_for(
        self, torch: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class LeftError(Exception):
            pass

        def leave(status: int) -> None:
            raise LeftError(status)

        def synchronize() -> None:
            raise RuntimeError("operation not permitted when stream is capturing")

        cuda = SimpleNamespace(is_initialized=lambda: True, synchronize=synchronize)
        found = {"captures": SimpleNamespace(cuda=cuda), "half imported": SimpleNamespace()}
        monkeypatch.setitem(sys.modules, "torch", found.get(torch or ""))  # type: ignore[arg-type]
        monkeypatch.setattr(os, "_exit", leave)
        with pytest.raises(LeftError):
            process_pool.exit_after_gpu()


@pytest.mark.parametrize(
    ("where", "in_a_worker", "lost", "left"),
    [
        ("cuda", True, True, True),
        ("cuda", True, False, False),
        ("cuda", False, True, False),
        ("cpu", True, True, False),
    ],
)
def test_a_worker_whose_gpu_no_longer_answers_is_left(
    monkeypatch: pytest.MonkeyPatch, where: str, in_a_worker: bool, lost: bool, left: bool
) -> None:
    exits = []

    def synchronize() -> None:
        if lost:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(
        multiprocessing, "parent_process", lambda: object() if in_a_worker else None
    )
    monkeypatch.setattr(os, "_exit", exits.append)
    worker.exit_if_gpu_is_lost(where)
    assert bool(exits) == left


class Driver:
    """In place of NVIDIA's: a call fails, or reports a GPU of so many bytes."""

    def __init__(self, size: int, *, fails: str = "") -> None:
        self.size, self.fails = size, fails

    def cuInit(self, _: int) -> int:  # noqa: N802 - the driver's own names
        return self.fails == "cuInit"

    def cuDeviceGet(self, place: Any, number: int) -> int:  # noqa: N802
        ctypes.cast(place, ctypes.POINTER(ctypes.c_int)).contents.value = number + 3
        return self.fails == "cuDeviceGet"

    def cuDeviceTotalMem_v2(self, size: Any, place: ctypes.c_int) -> int:  # noqa: N802
        assert place.value == 3
        ctypes.cast(size, ctypes.POINTER(ctypes.c_size_t)).contents.value = self.size
        return self.fails == "cuDeviceTotalMem_v2"


@pytest.mark.parametrize(
    ("driver", "size"),
    [
        (Driver(150_754_820_096), 150_754_820_096),
        *((Driver(8, fails=f), 0) for f in ("cuInit", "cuDeviceGet", "cuDeviceTotalMem_v2")),
        (None, 0),
    ],
)
def test_memory_of_a_gpu(driver: Driver | None, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "cuda_driver", lambda: driver)
    assert device.gpu_memory() == size


def test_serial_calls_end_at_once_and_fail_like_others() -> None:
    serial = SerialExecutor()
    assert serial.submit(os.getpid).result() == os.getpid()
    with pytest.raises(DepthClaimsError):
        serial.submit(parse_executor, "dask").result()
