"""Executors: names taken apart, processes that die one by one, layouts found once and kept."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from waiting import wait_until

from harness.errors import DepthClaimsError, ExecutorError, UnknownNameError
from harness.execution import device, executors, mps, tuning, worker
from harness.execution.executors import Chosen, ProcessPool, SerialExecutor, chosen, open_workers
from harness.execution.tuning import Layout, Machine
from harness.store import Store


class TestNames:
    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("serial", Chosen("serial")),
            ("processes", Chosen("processes")),
            ("processes:4", Chosen("processes", layout=Layout(4, 1))),
            ("processes:4x2", Chosen("processes", layout=Layout(4, 2))),
            ("dask:tcp://a:1", Chosen("dask", address="tcp://a:1")),
            ("dask:a:1", Chosen("dask", address="a:1")),
        ],
    )
    def test_are_taken_apart(self, name: str, meant: Chosen) -> None:
        assert chosen(name) == meant

    @pytest.mark.parametrize(
        "name",
        [
            "processes:",
            "processes:0",
            "processes:-1",
            "processes:2x0",
            "processes:2x",
            "processes:two",
        ],
    )
    def test_a_wrong_number_is_told(self, name: str) -> None:
        with pytest.raises(ExecutorError, match=rf"--executor {name}: .*processes:4x2"):
            chosen(name)

    @pytest.mark.parametrize("name", ["process", "", "serial:2", "dusk:tcp://a:1"])
    def test_an_unknown_one_is_told(self, name: str) -> None:
        with pytest.raises(UnknownNameError, match="no such executor"):
            chosen(name)

    @pytest.mark.parametrize("name", ["dask", "dask:", "dask: "])
    def test_dask_needs_an_address(self, name: str) -> None:
        with pytest.raises(ExecutorError, match=r"address .* is missing\. Write dask:tcp://HOST"):
            chosen(name)

    def test_dask_needs_its_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ExecutorError, match=r"distributed is not installed\. .*\[dask\]"):
            chosen("dask:tcp://a:1")


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


class TestProcesses:
    def test_the_death_of_one_is_not_that_of_another(self) -> None:
        pool = ProcessPool(Layout(2, 1))
        try:
            # Both run before one is killed.
            first, second = (pool.submit(sleep, 0.5) for _ in range(2))
            assert first.result() != second.result()
            long, short = pool.submit(sleep, 60), pool.submit(sleep, 1)
            os.kill(first.result(), signal.SIGKILL)
            with pytest.raises(pool.lost):
                long.result(timeout=30)
            assert short.result(timeout=30) == second.result()
            # Another one takes its place, and there are two again.
            again = {call.result() for call in [pool.submit(sleep, 0.5) for _ in range(2)]}
            assert len(again) == 2
            assert second.result() in again
        finally:
            pool.end()
        assert multiprocessing.active_children() == []

    def test_the_end_of_a_pool_is_not_that_of_other_processes(self) -> None:
        other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
        other.start()
        pool = ProcessPool(Layout(1, 1))
        try:
            pool.submit(time.sleep, 60)
            assert len(multiprocessing.active_children()) == 2
            pool.end()
            assert multiprocessing.active_children() == [other]
        finally:
            other.terminate()
            other.join()

    def test_calls_beyond_the_processes_wait_their_turn(self) -> None:
        pool = ProcessPool(Layout(1, 1))
        try:
            assert len({call.result() for call in [pool.submit(sleep, 0) for _ in range(4)]}) == 1
        finally:
            pool.end()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tuning, "SECONDS", 0.05)
    return tmp_path / "cache"


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(processor="p", cores=2, memory=8 * 10**9, torch="2")
    monkeypatch.setattr(Machine, "here", lambda: machine)
    return machine


def opened(name: str, folder: Path, *, device: str = "cpu") -> ProcessPool:
    pool = open_workers(name, device=device, auto=False, store=Store(folder / "store"))
    assert isinstance(pool, ProcessPool)
    return pool


class TestBesideAGPU:
    def test_a_process_ends_once_its_gpu_has_done_its_work(self, tmp_path: Path) -> None:
        pool = ProcessPool(Layout(1, 1), gpu=True)
        done = tmp_path / "done"
        call = pool.submit(work_on_a_gpu, str(done))
        wait_until(lambda: done.with_suffix(".begun").exists())
        pool.end()
        assert done.exists()
        assert isinstance(call.exception(), BrokenProcessPool)

    def test_one_that_does_not_end_is_killed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(executors, "_PATIENCE", 0.5)
        pool = ProcessPool(Layout(1, 1), gpu=True)
        begun = tmp_path / "begun"
        call = pool.submit(hear_nothing, str(begun))
        wait_until(begun.exists)
        began = time.monotonic()
        pool.end()
        assert time.monotonic() - began < 10
        assert isinstance(call.exception(), BrokenProcessPool)

    @pytest.mark.parametrize("torch", ["captures", "half imported", None])
    def test_where_there_is_no_work_it_ends_at_once(
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
            executors._leave()


class TestLostGPUs:
    """A worker whose GPU no longer answers ends; any other error is told."""

    class Left(BaseException):
        pass

    @pytest.fixture
    def worker_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def leave(_: int) -> None:
            raise self.Left

        monkeypatch.setattr(multiprocessing, "parent_process", object)
        monkeypatch.setattr(os, "_exit", leave)

    def test_it_is_left(self, worker_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
        def lost() -> None:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

        monkeypatch.setattr(torch.cuda, "synchronize", lost)
        with pytest.raises(self.Left):
            worker._leave_where_lost("cuda")
        worker._leave_where_lost("cpu")
        monkeypatch.setattr(multiprocessing, "parent_process", lambda: None)
        worker._leave_where_lost("cuda")

    def test_one_that_answers_is_kept(
        self, worker_process: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
        worker._leave_where_lost("cuda")


class Driver:
    """In place of NVIDIA's: a call fails, or tells of a GPU of so many bytes."""

    def __init__(self, size: int, *, fails: str = "") -> None:
        self._size, self._fails = size, fails

    def cuInit(self, _: int) -> int:  # noqa: N802 - the driver's own names
        return self._fails == "cuInit"

    def cuDeviceGet(self, place: Any, number: int) -> int:  # noqa: N802
        place._obj.value = number + 3
        return self._fails == "cuDeviceGet"

    def cuDeviceTotalMem_v2(self, size: Any, place: ctypes.c_int) -> int:  # noqa: N802
        assert place.value == 3
        size._obj.value = self._size
        return self._fails == "cuDeviceTotalMem_v2"


class TestMemoryOfAGPU:
    def test_it_is_the_drivers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(device, "_driver", lambda: Driver(150_754_820_096))
        assert device.gpu_memory() == 150_754_820_096

    @pytest.mark.parametrize("fails", ["cuInit", "cuDeviceGet", "cuDeviceTotalMem_v2"])
    def test_it_is_nothing_where_none_tells(
        self, fails: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(device, "_driver", lambda: Driver(8, fails=fails))
        assert device.gpu_memory() == 0
        monkeypatch.setattr(device, "_driver", lambda: None)
        assert device.gpu_memory() == 0


def work_on_a_gpu(done: str) -> None:
    """Runs in a worker, whose torch is a stand-in: a GPU that is still at work for a while."""

    def synchronize() -> None:
        time.sleep(0.2)
        Path(done).touch()

    cuda = SimpleNamespace(is_initialized=lambda: True, synchronize=synchronize)
    sys.modules["torch"] = SimpleNamespace(cuda=cuda)  # type: ignore[assignment]
    Path(done).with_suffix(".begun").touch()
    time.sleep(60)


def hear_nothing(begun: str) -> None:
    """Runs in a worker, as a long call of a library does."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    Path(begun).touch()
    time.sleep(60)


class TestTuning:
    def test_layouts_are_tried_once(
        self, tmp_path: Path, cache: Path, two_cores: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pool = opened("processes", tmp_path)
        found = Layout(pool.slots, pool.threads)
        try:
            assert found in two_cores.layouts
            # Processes that the layout has no use for are gone.
            assert len(multiprocessing.active_children()) == pool.slots
        finally:
            pool.end()
        assert tuning.remembered(two_cores) == found

        def refuse(*arguments: object) -> None:
            raise AssertionError

        monkeypatch.setattr(ProcessPool, "tune", refuse)
        again = opened("processes", tmp_path)
        assert Layout(again.slots, again.threads) == found
        again.end()

    def test_the_fastest_is_taken(
        self, tmp_path: Path, cache: Path, two_cores: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tuning, "steps_per_second", rate_by_threads)
        pool = opened("processes", tmp_path)
        try:
            assert (pool.slots, pool.threads, pool.described) == (1, 2, "1 process of 2 threads")
            assert pool.submit(sleep, 0).result()
        finally:
            pool.end()

    @pytest.mark.parametrize(
        ("name", "device", "slots", "threads"),
        [
            ("processes", "cuda", 2, 1),
            ("processes:3", "cpu", 3, 1),
            ("processes:3x2", "cpu", 3, 2),
            ("processes:2", "cuda", 2, 1),
        ],
    )
    def test_where_there_is_no_choice_nothing_is_tried(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        two_cores: Machine,
        name: str,
        device: str,
        slots: int,
        threads: int,
    ) -> None:
        monkeypatch.setattr(executors, "_tuned", None)
        monkeypatch.setattr(executors, "gpu_memory", lambda: 10**11)
        monkeypatch.setattr(mps, "start", lambda _: None)
        pool = opened(name, tmp_path, device=device)
        assert (pool.slots, pool.threads) == (slots, threads)
        pool.end()

    def test_one_core_leaves_no_choice(
        self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        machine = Machine(processor="p", cores=1, memory=8 * 10**9, torch="2")
        monkeypatch.setattr(Machine, "here", lambda: machine)
        monkeypatch.setattr(ProcessPool, "tune", None)
        pool = opened("processes", tmp_path)
        assert (pool.slots, pool.threads) == (1, 1)
        assert not cache.exists()

    def test_processes_that_die_as_they_are_tried_are_told(
        self, tmp_path: Path, cache: Path, two_cores: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*arguments: object) -> None:
            raise BrokenProcessPool

        monkeypatch.setattr(ProcessPool, "tune", broken)
        with pytest.raises(ExecutorError, match=r"killed as it started.*processes:1"):
            opened("processes", tmp_path)
        assert multiprocessing.active_children() == []


def rate_by_threads(threads: int, *, seconds: float) -> float:
    """As if two processes of one thread were far slower than one of two."""
    return 10.0**threads


def test_serial_calls_end_at_once_and_fail_like_others() -> None:
    serial = SerialExecutor()
    assert serial.submit(sleep, 0).result() == os.getpid()
    with pytest.raises(DepthClaimsError):
        serial.submit(chosen, "dask").result()
