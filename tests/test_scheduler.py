"""The scheduler: each cell once, whole blocks, the same records from processes, clean ends."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from harness import executors, scheduler
from harness.cells import Cell, Draw, Inversion, LocalRank, block, identity
from harness.errors import StoreError, UnknownNameError
from harness.executors import executor_named
from harness.plan import context
from harness.scheduler import Scheduler
from harness.settings import LBFGS, MLP, Adam, Decoder, Descent, Images, ResNet
from harness.store import Record, Store

ROOT = Path(__file__).parents[1]
IMAGES = Images(pixels=4, source="dead-leaves")
PLAIN = Descent(blur=None)


def cell(
    replicate: int, *, decoder: Decoder = PLAIN, batch: int = 1, iterations: int = 9
) -> Inversion:
    return Inversion(
        draw=Draw(replicate=replicate),
        network=MLP(inputs=48, widths=(60, 48), activation="relu"),
        images=IMAGES,
        decoder=decoder,
        iterations=iterations,
        batch=batch,
    )


def rank(replicate: int) -> LocalRank:
    return LocalRank(
        draw=Draw(replicate=replicate), network=MLP(inputs=48, widths=(40,)), images=IMAGES
    )


def names(cells: Iterable[Cell]) -> set[str]:
    return {identity(each, context=context(device="cpu")) for each in cells}


class Ear:
    """Hears the progress."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int, int]] = []
        self.left: list[float] = []

    def __call__(self, *, label: str, done: int, total: int, seconds_left: float) -> None:
        self.heard.append((label, done, total))
        self.left.append(seconds_left)


def scheduler_of(folder: Path, *, executor: str = "serial", ear: Ear | None = None) -> Scheduler:
    return Scheduler(
        Store(folder),
        executor=executor,
        device="cpu",
        provenance={"commit": "abc"},
        progress=ear or Ear(),
    )


def content(record: Record) -> str:
    """What a measurement decides of a record: all but its time."""
    return json.dumps(dataclasses.asdict(dataclasses.replace(record, seconds=0.0)), sort_keys=True)


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Identities of the blocks that are handed to `measure`, in order."""
    from harness import worker

    seen: list[tuple[str, ...]] = []
    real = worker.measure

    def measure(mates, *, device):  # type: ignore[no-untyped-def]
        seen.append(tuple(identity(mate, context=context(device="cpu")) for mate in mates))
        return real(mates, device=device)

    monkeypatch.setattr(worker, "measure", measure)
    return seen


class TestOnce:
    def test_each_cell_is_measured_once_and_never_again(
        self, tmp_path: Path, blocks: list[tuple[str, ...]]
    ) -> None:
        wanted = [cell(0), cell(1), rank(0)]
        first = scheduler_of(tmp_path)
        first.offer(wanted, priority=3)
        first.need([cell(0), cell(0)], label="a")
        first.need(wanted, label="b")
        first.need(wanted, label="c")
        assert sorted(blocks) == sorted((name,) for name in names(wanted))
        assert len(first.measured) == 3
        before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
        assert {path.stem for path in before} == names(wanted)

        again, ear = scheduler_of(tmp_path, ear=(ear := Ear())), ear
        again.need(wanted, label="d")
        assert len(blocks) == 3
        assert len(again.measured) == 0
        assert ear.heard == [("d", 0, 0)]
        assert {path: path.read_bytes() for path in tmp_path.rglob("*.json")} == before

    def test_only_what_is_missing_is_measured(
        self, tmp_path: Path, blocks: list[tuple[str, ...]]
    ) -> None:
        scheduler_of(tmp_path).need([cell(0), cell(1)], label="a")
        path = next(tmp_path.rglob(f"{min(names([cell(1)]))}.json"))
        path.unlink()
        blocks.clear()
        scheduler_of(tmp_path).need([cell(0), cell(1), cell(2)], label="b")
        assert sorted(name for mates in blocks for name in mates) == sorted(
            names([cell(1), cell(2)])
        )

    def test_a_block_is_measured_whole(self, tmp_path: Path, blocks: list[tuple[str, ...]]) -> None:
        wanted = cell(1, batch=3)
        found = scheduler_of(tmp_path)
        found.need([wanted], label="a")
        assert set(Store(tmp_path)) == names(block(wanted))
        assert len(found.measured) == 3
        found.need(block(wanted), label="b")
        assert [len(mates) for mates in blocks] == [3]
        # One that is lost is measured with its mates, for rounding depends on them, and comes back
        # as it was.
        (lost,) = names([wanted])
        before = content(Store(tmp_path).read(lost))
        next(tmp_path.rglob(f"{lost}.json")).unlink()
        scheduler_of(tmp_path).need([wanted], label="c")
        assert [len(mates) for mates in blocks] == [3, 3]
        assert content(Store(tmp_path).read(lost)) == before

    def test_what_is_waited_for_goes_first_then_the_longest(
        self, tmp_path: Path, blocks: list[tuple[str, ...]]
    ) -> None:
        short, longer, last = cell(0, iterations=3), cell(0, iterations=30), cell(0, iterations=300)
        found = scheduler_of(tmp_path)
        found.offer([last], priority=2)
        found.offer([short, longer], priority=1)
        found.need([short], label="a")
        assert blocks == [tuple(names([short]))]
        found.need([last], label="b")
        assert blocks[1:] == [tuple(names([last]))]
        found.offer([cell(1, iterations=3), cell(1, iterations=30)], priority=-1)
        found.need([cell(2, iterations=3)], label="c")
        assert blocks[2] == tuple(names([cell(1, iterations=30)]))

    def test_progress_counts_cells(self, tmp_path: Path) -> None:
        found = scheduler_of(tmp_path, ear=(ear := Ear()))
        found.need([cell(0), cell(1)], label="claim")
        assert ear.heard == [("claim", 0, 2), ("claim", 1, 2), ("claim", 2, 2)]
        assert ear.left[0] > 0
        assert ear.left[-1] == pytest.approx(0, abs=1e-9)


class TestRecords:
    def test_thumbnails_are_kept_of_one_replicate(self, tmp_path: Path) -> None:
        scheduler_of(tmp_path).need([cell(0), cell(1)], label="a")
        store = Store(tmp_path)
        (first,), (second,) = names([cell(0)]), names([cell(1)])
        assert set(store.read(first).thumbnails) == {"target", "start", "noised", "copy"}
        assert store.read(second).thumbnails == {}
        assert store.read(second).provenance == {"commit": "abc"}
        assert store.read(second).cell["type"] == "Inversion"

    def test_processes_yield_the_same_bits_as_one_process(self, tmp_path: Path) -> None:
        wanted: list[Cell] = [
            *(cell(replicate) for replicate in range(3)),
            cell(0, decoder=Adam(), iterations=40),
            cell(0, decoder=LBFGS(), batch=3),
            rank(0),
        ]
        folders = {name: tmp_path / name for name in ("serial", "processes")}
        for name, folder in folders.items():
            found = scheduler_of(folder, executor=name)
            try:
                found.need(wanted, label="a")
            finally:
                found.close()
        serial, processes = (Store(folder) for folder in folders.values())
        assert list(serial) == list(processes)
        assert len(list(serial)) == 8
        for name in serial:
            assert content(serial.read(name)) == content(processes.read(name))
        assert multiprocessing.active_children() == []

    def test_the_end_of_a_pool_is_not_that_of_other_processes(self) -> None:
        other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
        other.start()
        pool = executors.ProcessPool(1)
        try:
            pool.submit(time.sleep, 60)
            assert len(multiprocessing.active_children()) == 2
            pool.end()
            assert multiprocessing.active_children() == [other]
        finally:
            other.terminate()
            other.join()


class TestFailures:
    def test_an_unknown_executor_is_refused(self) -> None:
        with pytest.raises(UnknownNameError, match=r"'process': no such executor\. .*processes"):
            executor_named("process", device="cpu")

    def test_a_gpu_has_one_worker_and_cores_one_each(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(executors, "available_cores", lambda: 3)
        for device, workers in (("cuda", 1), ("cpu", 3)):
            pool, slots = executor_named("processes", device=device)
            assert slots == workers
            pool.shutdown()

    def test_a_cell_that_fails_fails_whenever_it_is_needed_and_no_other(
        self, tmp_path: Path
    ) -> None:
        broken = dataclasses.replace(
            cell(0), network=ResNet(name="resnet18", cut="layer9"), images=Images(pixels=32)
        )
        found = scheduler_of(tmp_path)
        for _ in range(2):
            # A second time it must not be waited for in vain.
            with pytest.raises(UnknownNameError, match="layer9"):
                found.need([broken], label="a")
        found.need([cell(0)], label="b")
        assert set(Store(tmp_path)) == names([cell(0)])

    def test_a_pool_that_broke_between_two_calls(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from concurrent.futures import Executor
        from concurrent.futures.process import BrokenProcessPool

        class Broken(Executor):
            def submit(self, *arguments, **named):  # type: ignore[no-untyped-def]
                raise BrokenProcessPool("a child was terminated")

        monkeypatch.setattr(scheduler, "executor_named", lambda name, *, device: (Broken(), 1))
        found = scheduler_of(tmp_path)
        for _ in range(2):
            with pytest.raises(StoreError, match="a worker process: it was killed"):
                found.need([cell(0)], label="a")

    def test_an_interrupt_leaves_what_is_finished(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: list[tuple[str, ...]]
    ) -> None:
        from harness import worker

        counted = worker.measure

        def measure(mates, *, device):  # type: ignore[no-untyped-def]
            if len(blocks) == 2:
                raise KeyboardInterrupt
            return counted(mates, device=device)

        wanted = [cell(replicate) for replicate in range(4)]
        with monkeypatch.context() as patch:
            patch.setattr(worker, "measure", measure)
            interrupted = scheduler_of(tmp_path)
            with pytest.raises(KeyboardInterrupt):
                interrupted.need(wanted, label="a")
            interrupted.close()
        assert len(list(Store(tmp_path))) == 2
        scheduler_of(tmp_path).need(wanted, label="b")
        # Nothing was measured twice.
        assert sorted(name for mates in blocks for name in mates) == sorted(names(wanted))

    @pytest.mark.timeout(120)
    def test_a_worker_that_is_killed_is_reported_and_finished_cells_stay(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # One worker is enough here, and starting one takes seconds.
        monkeypatch.setattr(executors, "available_cores", lambda: 1)

        class Killer(Ear):
            def __call__(self, **said: object) -> None:
                if list(Store(tmp_path)):
                    for child in multiprocessing.active_children():
                        child.kill()

        wanted = [cell(replicate, iterations=200) for replicate in range(8)]
        # The last ones would take for ever: the run cannot end before the kill.
        endless = [cell(replicate, iterations=10**8) for replicate in range(20, 22)]
        found = scheduler_of(tmp_path, executor="processes", ear=Killer())
        found.offer(wanted, priority=-2)
        with pytest.raises(StoreError, match=r"a worker process: it was killed.*Run again"):
            found.need(endless, label="a")
        found.close()
        kept = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
        assert kept
        assert {path.stem for path in kept} <= names(wanted)
        rest = scheduler_of(tmp_path)
        rest.need(wanted, label="b")
        assert len(rest.measured) == len(wanted) - len(kept)
        assert {path: path.read_bytes() for path in kept} == kept


PROGRAM = """
import sys, time
sys.path.insert(0, "tests")
from pathlib import Path
from harness import executors
from test_scheduler import Ear, cell, scheduler_of

executors.available_cores = lambda: 1

class Caller(Ear):
    def __call__(self, **said):
        print("running", flush=True)

if __name__ == "__main__":
    found = scheduler_of(Path(sys.argv[1]), executor="processes", ear=Caller())
    found.offer([cell(replicate) for replicate in range(4)], priority=-2)
    try:
        found.need([cell(replicate, iterations=10**8) for replicate in (20, 21)], label="a")
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    finally:
        found.close()
"""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in a session of its own, whose workers are busy with cells without end."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, program, tmp_path / "store"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    yield process
    # Whatever happened, nothing of the session stays.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdout, process.stderr):
        assert pipe is not None
        pipe.close()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("when", ["as workers start", "as workers measure"])
class TestEnds:
    def await_(self, when: str, running: subprocess.Popen[str], tmp_path: Path) -> None:
        assert running.stdout is not None
        assert running.stdout.readline() == "running\n"
        while when == "as workers measure" and len(list(tmp_path.rglob("*.json"))) < 4:
            time.sleep(0.05)

    def test_killing_the_parent_leaves_no_worker(
        self, running: subprocess.Popen[str], tmp_path: Path, when: str
    ) -> None:
        self.await_(when, running, tmp_path)
        running.kill()
        # Workers share these pipes: their end is reached when the last one is gone.
        running.communicate(timeout=30)
        assert all(json.loads(path.read_bytes()) for path in tmp_path.rglob("*.json"))

    def test_ctrl_c_ends_all_without_a_traceback(
        self, running: subprocess.Popen[str], tmp_path: Path, when: str
    ) -> None:
        self.await_(when, running, tmp_path)
        if when == "as workers start":
            time.sleep(0.2)
        os.killpg(running.pid, signal.SIGINT)
        output, errors = running.communicate(timeout=30)
        assert output.endswith("interrupted\n")
        assert errors == ""
        assert running.returncode == 0
        assert not list(tmp_path.rglob("*.part"))
