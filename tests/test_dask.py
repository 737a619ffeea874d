"""Dask's workers: the same records as of one process, whatever dies; none that would differ."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from plugin_suite import TWO_CLAIMS, Suite
from small_cells import (
    Gate,
    ProgressLog,
    cell,
    contents,
    import_what_measures,
    measure_bucket_or_die,
    names,
    probe_elsewhere,
    probe_of_a_copy,
    probe_with_a_gpu,
    rank,
    scheduler_of,
    span,
)
from waiting import wait_until

from harness.errors import ExecutorError, UnknownNameError, WorkerError
from harness.execution import dask_compatibility as compatibility
from harness.execution import dask_workers as dask
from harness.execution import scheduler
from harness.execution.dask_workers import DaskWorkers
from harness.plan.cells import Cell, Inversion
from harness.plan.decoders import LBFGS
from harness.plan.images import Images
from harness.plan.networks import module
from harness.plan.seeds import ReplicateSeeds
from harness.store import Store

distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
pytest_plugins = ("pytester",)
pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[1]


class Cluster:
    """A scheduler and workers, each a process of its own as `python -m dask` starts them.

    Parameters
    ----------
    folder : Path
        For their files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers: list[subprocess.Popen[bytes]] = []
        file = folder / "scheduler.json"
        self.scheduler = self._start(
            "scheduler",
            *("--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"),
            # Should these tests be killed, it ends, and its workers with it.
            *("--no-dashboard", "--scheduler-file", str(file), "--idle-timeout", "900s"),
        )
        wait_until(file.exists)
        self.client = distributed.Client(
            scheduler_file=str(file), set_as_default=False, timeout=120
        )
        self.address = str(self.client.scheduler.address)
        self.executor = f"dask:{self.address}"

    def join(self, *, threads: int = 1, root: Path = ROOT) -> int:
        """Start a worker that imports the code below a folder; returns its process."""
        before = len(self.client.nthreads())
        process = self._start(
            "worker",
            *(self.address, "--nworkers", "1", "--nthreads", str(threads), "--no-nanny"),
            *("--no-dashboard", "--local-directory", str(self.folder), "--death-timeout", "120"),
            root=root,
        )
        self.workers.append(process)
        wait_until(lambda: len(self.client.nthreads()) > before)
        return process.pid

    def clear(self) -> None:
        """Kill all workers."""
        for process in self.workers:
            process.kill()
            process.wait()
        self.workers.clear()
        wait_until(lambda: not self.client.nthreads())

    def has(self, number: int) -> None:
        """Bring the number of workers to this one, all of which have imported what they need."""
        self.workers = [process for process in self.workers if process.poll() is None]
        wait_until(lambda: len(self.client.nthreads()) == len(self.workers))
        if len(self.workers) > number:
            self.clear()
        while len(self.workers) < number:
            self.join()
        asked = [
            self.client.submit(import_what_measures, workers=address, pure=False)
            for address in self.client.nthreads()
        ]
        self.client.gather(asked)

    def is_idle(self) -> bool:
        """Whether no worker has anything to do."""
        return not any(self.client.processing().values())

    def close(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()
        with contextlib.suppress(OSError):
            self.client.close(timeout=1)

    def _start(self, *words: str, root: Path = ROOT) -> subprocess.Popen[bytes]:
        with (self.folder / "log.txt").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", *words],
                cwd=self.folder,
                env={
                    **os.environ,
                    "PYTHONPATH": f"{root}{os.pathsep}{ROOT / 'tests'}",
                    # A second death is enough to know a cell that kills.
                    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
                },
                stdout=log,
                stderr=log,
            )


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("dask"))
    yield made
    made.close()


@pytest.fixture
def cluster(started: Cluster) -> Cluster:
    """A cluster of one worker at least."""
    if not any(process.poll() is None for process in started.workers):
        started.has(1)
    return started


@pytest.fixture
def two(started: Cluster) -> Cluster:
    """A cluster of two workers."""
    started.has(2)
    return started


def test_a_killed_worker_costs_its_bucket_and_nothing_else(two: Cluster, tmp_path: Path) -> None:
    brief: list[Cell] = [cell(0, decoder=LBFGS(), batch=3), rank(0)]
    held: list[Cell] = [cell(replicate) for replicate in range(10, 14)]
    more: list[Cell] = [cell(replicate) for replicate in range(20, 24)]
    gates = [Gate(tmp_path / "first", first=10), Gate(tmp_path / "second", first=20)]
    killed: list[int] = []

    def kill(**said: object) -> None:
        # Whichever dies loses what it has begun.
        if not killed and len(gates[0].held) == 2:
            killed.append(two.workers[0].pid)
            os.kill(killed[0], signal.SIGKILL)
            gates[0].open()

    log = ProgressLog()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "measure_bucket", gates[0].measure_bucket)
        found = scheduler_of(tmp_path / "dask", executor=two.executor, log=log)
        try:
            found.need(brief, label="a")
            log.hook = kill
            found.need(held, label="a")
            assert killed
            assert len(found.measured) == 4 + len(held)
            # Another one that joins is used: both hold a cell before the gate opens.
            two.has(2)
            patch.setattr(scheduler, "measure_bucket", gates[1].measure_bucket)
            log.hook = lambda: len(gates[1].held) == 2 and gates[1].open()
            found.need(more, label="b")
            assert found.workers == f"Dask at {two.address}, 2 workers"
        finally:
            found.close()
    one = scheduler_of(tmp_path / "serial")
    one.need([*brief, *held, *more], label="a")
    assert contents(tmp_path / "dask") == contents(tmp_path / "serial")
    assert not list((tmp_path / "dask").rglob("*.part"))


def test_a_network_of_ones_own_is_made_by_the_worker(cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "sizes_of_it.py").write_text("WIDTH = 5\n")
    (folder / "my_net.py").write_text(
        "from torch import nn\nfrom sizes_of_it import WIDTH\n"
        "def make(): return nn.Sequential(nn.Conv2d(3, WIDTH, 3), nn.ReLU())\n"
    )

    def stated(layer: str) -> Cell:
        return Inversion(
            seeds=ReplicateSeeds(replicate=0),
            network=module("my_net.py:make", layer=layer, folder=folder),
            images=Images(pixels=8),
            decoder=LBFGS(),
            iterations=2,
        )

    found = scheduler_of(tmp_path / "dask", executor=cluster.executor)
    try:
        found.need([stated("1")], label="a")
        with pytest.raises(UnknownNameError, match="'2'"):
            found.need([stated("2")], label="b")
    finally:
        found.close()
    scheduler_of(tmp_path / "serial").need([stated("1")], label="a")
    assert contents(tmp_path / "dask") == contents(tmp_path / "serial")


def records(suite: Suite) -> int:
    return len(list(Store(suite.store)))


class TestRuns:
    @pytest.fixture
    def suite(self, pytester: pytest.Pytester) -> Suite:
        return Suite(pytester, pytester.path / "dask").write(test_z=TWO_CLAIMS)

    @pytest.fixture
    def gate(self, tmp_path: Path) -> Iterator[Gate]:
        """Lets three replicates pass."""
        made = Gate(tmp_path / "gate", first=3)
        yield made
        made.open()

    def test_the_first_failure_ends_a_run_with_x(self, cluster: Cluster, suite: Suite) -> None:
        failing = TWO_CLAIMS.replace("1.0", "-1.0")
        result = suite.write(test_z=failing).run(f"--executor={cluster.executor}", "-x")
        result.assert_outcomes(failed=1)
        wait_until(cluster.is_idle)
        assert cluster.client.nthreads()

    @pytest.mark.slow
    def test_ctrl_c_ends_the_run_and_leaves_the_cluster(
        self, two: Cluster, suite: Suite, gate: Gate
    ) -> None:
        process = suite.start_held(gate, f"--executor={two.executor}")
        wait_until(lambda: len(gate.held) == 2 or process.poll() is not None)
        assert process.poll() is None, process.communicate()[0]
        before = records(suite)
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate()
        assert process.returncode == pytest.ExitCode.INTERRUPTED, output
        assert "Traceback" not in output
        assert "report: " in output
        # Nothing of what Dask logs.
        assert "distributed" not in output
        # What a worker has begun it ends; nothing is left in the queue.
        gate.open()
        wait_until(lambda: records(suite) >= before + 2)
        wait_until(two.is_idle)
        assert len(two.client.nthreads()) == 2
        assert records(suite) < 24
        assert not list(suite.store.rglob("*.part"))


@pytest.mark.slow
class TestDeaths:
    def test_a_cell_that_kills_is_named_and_the_rest_goes_on(
        self, started: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started.has(3)
        monkeypatch.setattr(scheduler, "measure_bucket", measure_bucket_or_die)
        found = scheduler_of(tmp_path, executor=started.executor)
        try:
            with pytest.raises(WorkerError, match="MLP 48-60-48 in replicate 13 "):
                found.need([cell(13)], label="a")
            found.need([cell(0)], label="b")
        finally:
            found.close()
        assert set(Store(tmp_path)) == names([cell(0)])

    def test_the_last_worker_is_missed(
        self, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dask, "ALONE", 1e9)
        monkeypatch.setattr(dask, "COUNTED", 0.0)
        found = DaskWorkers(cluster.address, device="cpu", auto=False, store=Store(tmp_path))
        try:
            assert found.slots >= 1
            cluster.clear()
            # One may come.
            wait_until(lambda: found.slots == 0)
            monkeypatch.setattr(dask, "ALONE", 0.0)
            with pytest.raises(ExecutorError, match=r"has no worker\. Start some .*--nthreads 1"):
                _ = found.slots
        finally:
            found.shutdown()

    def test_the_scheduler_is_missed(
        self, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        other = Cluster(tmp_path_factory.mktemp("dask"))
        log = ProgressLog()
        try:
            other.join()
            log.hook = lambda: other.is_idle() or other.scheduler.kill()
            found = scheduler_of(tmp_path, executor=other.executor, log=log)
            with pytest.raises(ExecutorError, match=r"connection is lost.*finished cells are kept"):
                found.need([cell(0, iterations=10**8)], label="a")
            found.close()
        finally:
            other.close()


class TestTurns:
    def test_a_worker_process_measures_one_bucket_with_all_its_threads(
        self, started: Cluster, tmp_path: Path
    ) -> None:
        started.clear()
        started.join(threads=2)
        found = DaskWorkers(started.address, device="cpu", auto=False, store=Store(tmp_path))
        try:
            assert found.slots == 1
            (first, _, ended), (second, began, _) = sorted(
                [call.result() for call in [found.submit(span, 0.3) for _ in range(2)]],
                key=lambda each: each[1],
            )
            assert first == second
            assert ended <= began
        finally:
            found.shutdown()
        measured = scheduler_of(tmp_path, executor=started.executor)
        try:
            measured.need([rank(0)], label="a")
        finally:
            measured.close()
        (name,) = names([rank(0)])
        assert Store(tmp_path).read(name).provenance["threads"] == 2
        started.clear()


class TestUnfit:
    """Told before anything is measured."""

    def refused(self, folder: Path, address: str, *, match: str, **options: object) -> None:
        found = scheduler_of(folder, executor=f"dask:{address}", **options)  # type: ignore[arg-type]
        try:
            with pytest.raises(ExecutorError, match=match):
                found.need([rank(0)], label="a")
        finally:
            found.close()
        assert list(Store(folder)) == []
        assert not list(folder.rglob("*.part"))

    @pytest.mark.parametrize(
        "address",
        ["tcp://127.0.0.1:9", "127.0.0.1", "foo://127.0.0.1:9", "tcp://127.0.0.1:x", "tcp://"],
    )
    def test_no_scheduler(
        self, tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dask, "CONNECT", 1.0)
        self.refused(tmp_path, address, match=r"no scheduler .* answers there .*dask scheduler")

    def test_no_worker(self, started: Cluster, tmp_path: Path) -> None:
        started.clear()
        self.refused(tmp_path, started.address, match=r"no worker\. Start some with .*dask worker")

    @pytest.mark.parametrize(
        ("probe", "options", "match"),
        [
            (probe_elsewhere, {}, r"--store .*does not share this folder.*all machines share"),
            (probe_of_a_copy, {}, r"--store .*does not share this folder"),
            (probe_with_a_gpu, {"auto": True}, r"--device auto: it is cpu here, and cuda for"),
            (compatibility.probe, {"device": "cuda"}, r"worker of Dask at tcp.*finds no GPU"),
        ],
    )
    def test_workers_elsewhere(
        self,
        cluster: Cluster,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        probe: Callable[..., object],
        options: dict[str, object],
        match: str,
    ) -> None:
        monkeypatch.setattr(dask, "probe", probe)
        self.refused(tmp_path, cluster.address, match=match, **options)

    def test_a_gpu_in_vain_is_no_error_where_a_cpu_was_asked_for(
        self, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dask, "probe", probe_with_a_gpu)
        DaskWorkers(cluster.address, device="cpu", auto=False, store=Store(tmp_path)).shutdown()

    @pytest.mark.slow
    def test_other_code(self, started: Cluster, tmp_path: Path) -> None:
        store = Store(tmp_path / "store")
        copy = tmp_path / "copy"
        shutil.copytree(ROOT / "harness", copy / "harness")
        with (copy / "harness" / "store.py").open("a") as file:
            file.write("# changed\n")
        match = r"the worker of Dask at tcp\S+: it has code \w{12} in place of \w{12}\. Start it"
        started.has(1)
        found = DaskWorkers(started.address, device="cpu", auto=False, store=store)
        try:
            started.clear()
            started.join(root=copy)
            # It joined when the others had been asked.
            with pytest.raises(ExecutorError, match=match):
                found.submit(span, 0.0).result()
        finally:
            found.shutdown()
        self.refused(tmp_path / "store", started.address, match=match)
        started.clear()

    @pytest.mark.slow
    def test_no_code(self, started: Cluster, tmp_path: Path) -> None:
        # Another package of the name, since this environment's Python finds the project anyway.
        (tmp_path / "harness").mkdir()
        (tmp_path / "harness" / "__init__.py").touch()
        started.has(1)
        found = scheduler_of(tmp_path / "late", executor=started.executor)
        try:
            found.need([rank(1)], label="a")
            started.clear()
            started.join(root=tmp_path)
            # It joined when the others had been checked.
            with pytest.raises(ExecutorError, match=r"cannot import what it needs .*'harness\."):
                found.need([rank(0)], label="a")
        finally:
            found.close()
        self.refused(tmp_path / "store", started.address, match=r"No module named 'harness\.")
        started.clear()

    def test_other_versions_are_named(self) -> None:
        ours = compatibility.signature(device="cpu")
        assert compatibility.incompatibility(ours) is None
        rule = compatibility.incompatibility({**ours, "torch": "1.0", "python": "2.7"})
        assert rule is not None
        assert re.fullmatch(
            r"it has torch \S+ in place of 1\.0, python 3\.\d+ in place of 2\.7", rule
        )
