"""The scheduler: each cell once, whole blocks, the same records from processes, clean ends."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from multiprocessing import active_children
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_cells import Gate, ProgressLog, cell, content, contents, names, rank, scheduler_of

from harness.encoders.network import NetworkEncoder
from harness.errors import ExecutorError, ImageError, StoreError, WorkerError
from harness.execution import remote, scheduler
from harness.execution.executors import SerialExecutor
from harness.execution.provenance import machine
from harness.execution.scheduler import DEATHS
from harness.plan import buckets as plan
from harness.plan.buckets import Bucket, buckets
from harness.plan.cells import Cell, Inversion, block
from harness.plan.costs import estimate
from harness.plan.decoders import LBFGS, Adam, Descent
from harness.plan.identity import context, identity
from harness.plan.images import ImageFolder, Images
from harness.plan.networks import ResNet
from harness.plan.seeds import ReplicateSeeds
from harness.store import Store

ROOT = Path(__file__).parents[1]


def shallow(*, iterations: int) -> Inversion:
    """A cell of a ResNet; those of other numbers share its bucket."""
    return Inversion(
        seeds=ReplicateSeeds(replicate=0),
        network=ResNet(name="resnet18", layer="conv1"),
        images=Images(pixels=32),
        decoder=Descent(),
        iterations=iterations,
    )


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Identities of the blocks that are handed to `measure`, in order."""
    from harness.execution import worker

    seen: list[tuple[str, ...]] = []
    real = worker.measure

    def measure(mates, **named):  # type: ignore[no-untyped-def]
        seen.append(tuple(identity(mate, context=context(device="cpu")) for mate in mates))
        return real(mates, **named)

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

        again, log = scheduler_of(tmp_path, log=(log := ProgressLog())), log
        again.need(wanted, label="d")
        assert len(blocks) == 3
        assert len(again.measured) == 0
        assert log.calls == [("d", 0, 0)]
        assert {path: path.read_bytes() for path in tmp_path.rglob("*.json")} == before

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
        found = scheduler_of(tmp_path, log=(log := ProgressLog()))
        found.need([cell(0), cell(1)], label="claim")
        assert log.calls == [("claim", 0, 2), ("claim", 1, 2), ("claim", 2, 2)]
        assert log.left[0] > 0
        assert log.left[-1] == pytest.approx(0, abs=1e-9)


class TestRecords:
    def test_thumbnails_are_kept_of_one_replicate(self, tmp_path: Path) -> None:
        scheduler_of(tmp_path).need([cell(0), cell(1)], label="a")
        store = Store(tmp_path)
        (first,), (second,) = names([cell(0)]), names([cell(1)])
        assert set(store.read(first).thumbnails) == {"target", "start", "noised", "reconstruction"}
        assert store.read(second).thumbnails == {}
        assert store.read(second).provenance == {"commit": "abc", **machine(), "threads": 1}
        assert store.read(second).cell["type"] == "Inversion"

    @pytest.mark.parametrize("threads", [1, 2])
    def test_threads_are_set_and_recorded(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
    ) -> None:
        from harness.execution import worker

        real, before, seen = worker.measure, torch.get_num_threads(), []

        def measure(mates, **named):  # type: ignore[no-untyped-def]
            seen.append(torch.get_num_threads())
            return real(mates, **named)

        monkeypatch.setattr(worker, "measure", measure)
        monkeypatch.setattr(SerialExecutor, "threads", threads)
        scheduler_of(tmp_path).need([rank(0)], label="a")
        (name,) = names([rank(0)])
        assert Store(tmp_path).read(name).provenance["threads"] == threads
        assert seen == [threads]
        assert torch.get_num_threads() == before

    def test_whoever_measures_nothing_starts_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scheduler_of(tmp_path).need([cell(0)], label="a")

        def refuse(*arguments: object, **named: object) -> None:
            raise AssertionError

        monkeypatch.setattr(scheduler, "open_executor", refuse)
        found = scheduler_of(tmp_path, executor="processes")
        found.need([cell(0)], label="b")
        found.close()
        assert found.workers is None


class TestBuckets:
    def wanted(self, number: int, *, iterations: int) -> list[Cell]:
        """Cells that share a network, none with the settings of another."""
        return [
            Inversion(
                seeds=ReplicateSeeds(replicate=0),
                network=ResNet(name="resnet18", layer="layer4"),
                images=Images(pixels=32),
                decoder=Descent(step=0.1 + i),
                iterations=iterations,
            )
            for i in range(number)
        ]

    def test_short_ones_stay_whole(self) -> None:
        (found,) = buckets(self.wanted(5, iterations=100), device="cpu")
        assert found.blocks == tuple((cell,) for cell in self.wanted(5, iterations=100))

    def test_long_ones_are_parted_between_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        wanted = self.wanted(7, iterations=100)
        monkeypatch.setattr(plan, "LONGEST", 3.5 * estimate([wanted[0]]))
        found = buckets(wanted, device="cpu")
        assert [len(bucket.blocks) for bucket in found] == [3, 3, 1]
        assert [cell for bucket in found for (cell,) in bucket.blocks] == wanted
        assert sum(bucket.seconds for bucket in found) == pytest.approx(7 * estimate([wanted[0]]))

    def test_a_block_is_never_parted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(plan, "LONGEST", 0.0)
        found = buckets([*self.wanted(2, iterations=1), cell(0, batch=3)], device="cpu")
        assert sorted(len(bucket.blocks[0]) for bucket in found) == [1, 1, 3]


def test_no_encoder_outlives_its_bucket(tmp_path: Path) -> None:
    def encoders() -> int:
        gc.collect()
        return sum(issubclass(type(value), NetworkEncoder) for value in gc.get_objects())

    before = encoders()
    scheduler_of(tmp_path).need([shallow(iterations=1)], label="a")
    assert encoders() <= before


class TestFailures:
    def test_a_cell_that_fails_fails_whenever_it_is_needed_and_no_other(
        self, tmp_path: Path
    ) -> None:
        shared = shallow(iterations=2)
        gone = ImageFolder(sha256="0" * 64, path=tmp_path / "gone")
        images = dataclasses.replace(shared.images, source="folder", folder=gone)
        broken = dataclasses.replace(shared, images=images)
        later = dataclasses.replace(shared, iterations=1)
        found = scheduler_of(tmp_path)
        found.offer([shared, broken, later], priority=-2)
        # The three are one bucket, which is measured before this cell.
        found.need([cell(0)], label="a")
        for _ in range(2):
            # A second time it must not be waited for in vain.
            with pytest.raises(ImageError, match="gone"):
                found.need([broken], label="b")
        found.need([shared, later], label="c")
        assert set(Store(tmp_path)) == names([cell(0), shared, later])

    def test_a_store_that_cannot_be_written_ends_the_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*arguments: object) -> None:
            raise StoreError("store", rule="no space is left", remedy="Free some")

        monkeypatch.setattr(Store, "write", full)
        found = scheduler_of(tmp_path)
        found.offer([cell(0)], priority=-2)
        for wanted in (rank(0), cell(0)):
            with pytest.raises(StoreError, match="no space is left"):
                found.need([wanted], label="a")

    def test_a_record_that_never_arrives_is_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(scheduler, "ARRIVAL", 0.1)
        monkeypatch.setattr(scheduler, "measure_bucket", lambda bucket, **named: 0.0)
        with pytest.raises(StoreError, match=r"LocalRank of an MLP 48-40 in replicate 0 .*share"):
            scheduler_of(tmp_path).need([rank(0)], label="a")

    def test_an_interrupt_leaves_what_is_finished(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: list[tuple[str, ...]]
    ) -> None:
        from harness.execution import worker

        counted = worker.measure

        def measure(mates, **named):  # type: ignore[no-untyped-def]
            if len(blocks) == 2:
                raise KeyboardInterrupt
            return counted(mates, **named)

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


class DiedError(Exception):
    """As of a worker."""


class Scripted:
    """Workers that end one of their calls at each step."""

    lost: tuple[type[Exception], ...] = (DiedError,)
    retries = True
    slots = 2
    threads = 1
    described = "scripted"

    def __init__(self, *, deadly: Callable[[Bucket], bool] = lambda _: False) -> None:
        self.deadly = deadly
        self.begun: list[tuple[str, int]] = []
        self.running: list[tuple[Future[Any], Callable[[], Any], Bucket]] = []

    def submit(self, fn: Callable[..., Any], bucket: Bucket, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.running.append((future, lambda: fn(bucket, **named), bucket))
        self.begun.append((bucket.ids[0][0], len(self.running)))
        return future

    def step(self, **said: object) -> None:
        """End the call that began first."""
        if not self.running:
            return
        future, call, bucket = self.running.pop(0)
        if self.deadly(bucket):
            future.set_exception(DiedError())
        else:
            future.set_result(call())

    def shutdown(self, **how: bool) -> None:
        """There is nothing to end."""


class Clock:
    """Time that passes only where a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(scheduler, "time", SimpleNamespace(monotonic=lambda: self.now))


def of_ten_seconds(number: int) -> list[Bucket]:
    """Buckets of one cell each."""
    return [
        dataclasses.replace(bucket, seconds=10.0)
        for bucket in buckets([rank(each) for each in range(number)], device="cpu")
    ]


def test_the_time_left_is_that_of_all_workers_at_their_own_pace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, workers, log = Clock(monkeypatch), Scripted(), ProgressLog()
    taken = iter([10.0, 20.0, 20.0, 20.0])

    def measure_bucket(bucket: Bucket, **named: Any) -> float:
        remote.measure_bucket(bucket, **named)
        return next(taken)

    def pass_ten_seconds() -> None:
        clock.now += 10
        workers.step()

    monkeypatch.setattr(scheduler, "measure_bucket", measure_bucket)
    monkeypatch.setattr(scheduler, "open_executor", lambda *arguments, **named: workers)
    monkeypatch.setattr(scheduler, "buckets", lambda cells, device: of_ten_seconds(4))
    log.hook = pass_ten_seconds
    scheduler_of(tmp_path, log=log).need([], label="a")
    # Two workers, one of which ends every ten seconds: the first bucket takes what is estimated,
    # each later one twice as long. What is begun counts, at the pace so far, and the last bucket
    # is one worker's alone.
    assert log.left == pytest.approx([40 / 2, (0 + 10 + 10) / 2, 10 * 1.5, (10 - 6) * 5 / 3, 0])


def test_the_time_left_where_this_process_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, log = Clock(monkeypatch), ProgressLog()

    def measure_bucket(bucket: Bucket, **named: Any) -> float:
        clock.now += 20
        remote.measure_bucket(bucket, **named)
        return 20

    monkeypatch.setattr(scheduler, "measure_bucket", measure_bucket)
    monkeypatch.setattr(scheduler, "buckets", lambda cells, device: of_ten_seconds(3))
    scheduler_of(tmp_path, log=log).need([], label="a")
    # Each time the bucket submitted has been measured already, in twice its estimate.
    assert log.left == pytest.approx([20, 20, 0, 0])


def test_a_cell_is_there_as_soon_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = shallow(iterations=1), shallow(iterations=2)
    workers = Scripted()
    monkeypatch.setattr(scheduler, "open_executor", lambda *arguments, **named: workers)
    found = scheduler_of(tmp_path, log=(log := ProgressLog()))
    found.offer([first, second], priority=0)

    def write() -> None:
        ((_, _, bucket),) = workers.running
        part = bucket.part([0])
        remote.measure_bucket(part, store=tmp_path, device="cpu", threads=1, provenance={})

    log.hook = write
    found.need([first], label="a")
    # Its bucket is still being measured.
    assert len(workers.running) == 1
    assert found.measured == names([first])


class TestDeaths:
    def scripted(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        deadly: Callable[[Bucket], bool],
    ) -> tuple[scheduler.Scheduler, Scripted]:
        workers = Scripted(deadly=deadly)
        monkeypatch.setattr(scheduler, "open_executor", lambda *arguments, **named: workers)
        log = ProgressLog()
        log.hook = workers.step
        return scheduler_of(folder, log=log), workers

    def test_a_lost_bucket_is_measured_again_with_none_beside_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (unlucky,) = names([cell(0, iterations=60)])
        deaths = iter([True])
        found, workers = self.scripted(
            tmp_path,
            monkeypatch,
            lambda bucket: bucket.ids[0][0] == unlucky and next(deaths, False),
        )
        wanted = [cell(0, iterations=60), *(cell(i, iterations=50 - i) for i in range(1, 5))]
        found.need(wanted, label="a")
        assert set(Store(tmp_path)) == names(wanted)
        # The longest began first, beside another, and again by itself; then two at a time.
        order = [next(iter(names([each]))) for each in wanted]
        assert workers.begun == [
            *zip(order[:2], (1, 2), strict=True),
            (unlucky, 1),
            *zip(order[2:], (1, 2, 2), strict=True),
        ]
        assert len(found.measured) == len(wanted)

    def test_what_kills_twice_is_named_and_the_rest_goes_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (deadly,) = names([cell(7)])
        found, workers = self.scripted(
            tmp_path, monkeypatch, lambda bucket: bucket.ids[0][0] == deadly
        )
        found.offer([cell(7), cell(8)], priority=-2)
        found.need([cell(9)], label="a")
        for _ in range(2):
            with pytest.raises(
                WorkerError, match=rf"Inversion of an MLP 48-60-48 in replicate 7 \({deadly[:12]}\)"
            ):
                found.need([cell(7)], label="b")
        assert [name for name, _ in workers.begun].count(deadly) == 2
        assert set(Store(tmp_path)) == names([cell(8), cell(9)])

    def test_many_deaths_in_a_row_end_the_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found, workers = self.scripted(tmp_path, monkeypatch, lambda bucket: True)
        workers.slots = 1
        found.offer([cell(replicate) for replicate in range(DEATHS + 2)], priority=-2)
        with pytest.raises(ExecutorError, match=rf"killed with {DEATHS} blocks of cells in a row"):
            found.need([cell(90)], label="a")
        assert len(workers.begun) == 2 * DEATHS

    def test_deaths_apart_do_not(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        deadly = [cell(2 * i, iterations=100 - 2 * i) for i in range(DEATHS + 1)]
        others = [cell(2 * i + 1, iterations=99 - 2 * i) for i in range(DEATHS + 1)]
        named = names(deadly)
        found, workers = self.scripted(
            tmp_path, monkeypatch, lambda bucket: bucket.ids[0][0] in named
        )
        workers.slots = 1
        found.offer([*deadly, *others], priority=-2)
        found.need([cell(90)], label="a")
        assert set(Store(tmp_path)) == names([*others, cell(90)])

    @pytest.mark.timeout(600)
    def test_a_process_that_is_killed_costs_its_bucket_and_nothing_else(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wanted: list[Cell] = [
            *(cell(replicate) for replicate in range(6)),
            cell(0, decoder=Adam(), iterations=40),
            cell(0, decoder=LBFGS(), batch=3),
            rank(0),
        ]
        gate = Gate(tmp_path / "gate", first=2)
        killed = []

        def kill(**said: object) -> None:
            if not killed and len(gate.held) == 2:
                killed.append(min(gate.held))
                os.kill(killed[0], signal.SIGKILL)
                gate.open()

        log = ProgressLog()
        log.hook = kill
        monkeypatch.setattr(scheduler, "measure_bucket", gate.measure_bucket)
        found = scheduler_of(tmp_path / "killed", executor="processes:2", log=log)
        try:
            found.need(wanted, label="a")
        finally:
            found.close()
        assert killed
        assert active_children() == []
        assert len(found.measured) == len(wanted) + 2
        # Every bit is that of one process.
        scheduler_of(tmp_path / "serial").need(wanted, label="a")
        assert contents(tmp_path / "killed") == contents(tmp_path / "serial")


PROGRAM = """
import sys
from pathlib import Path

sys.path.insert(0, "tests")
from small_cells import ProgressLog, Gate, cell, scheduler_of

from harness.execution import scheduler


class Caller(ProgressLog):
    def __call__(self, **said):
        print("starting", flush=True)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    scheduler.measure_bucket = Gate(folder / "gate").measure_bucket
    found = scheduler_of(folder / "store", executor="processes:2", log=Caller())
    try:
        found.need([cell(0), cell(1)], label="a")
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    finally:
        found.close()
"""


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in a session of its own, whose workers are about to start."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, program, tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "starting\n"
    yield process
    # Whatever happened, nothing of the session stays.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    process.stderr.close()


@pytest.mark.timeout(600)
class TestEndsAsWorkersStart:
    """Runs that are ended later are in test_interruption."""

    def test_killing_the_parent_leaves_no_worker(self, starting: subprocess.Popen[str]) -> None:
        starting.kill()
        # Workers share these pipes: their end is reached when the last one is gone.
        starting.communicate()

    def test_ctrl_c_ends_all_without_a_traceback(self, starting: subprocess.Popen[str]) -> None:
        os.killpg(starting.pid, signal.SIGINT)
        output, errors = starting.communicate()
        assert output.endswith("interrupted\n")
        assert errors == ""
        assert starting.returncode == 0
