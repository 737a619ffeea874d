"""NVIDIA's Multi-Process Service, by a stand-in for its daemon's control."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from harness.execution import mps, process_pool
from harness.execution.process_pool import Layout, ProcessPool

PIPES = "CUDA_MPS_PIPE_DIRECTORY"


class Control:
    """In place of the program that controls the daemon: it records how it is called.

    Parameters
    ----------
    folder : Path
        Where it is, and writes.
    """

    def __init__(self, folder: Path) -> None:
        self._said = folder / "said"
        self._program = folder / "nvidia-cuda-mps-control"
        self.does("true")

    def does(self, what: str) -> None:
        """Make it do something besides."""
        self._program.write_text(
            f'#!/bin/sh\necho "${PIPES} $* $(cat) $CUDA_VISIBLE_DEVICES" >> {self._said}\n{what}\n'
        )
        self._program.chmod(0o755)

    @property
    def said(self) -> list[str]:
        """Its calls, line by line."""
        return [line.strip() for line in self._said.read_text().splitlines()]

    @property
    def called(self) -> bool:
        """Whether it was called at all."""
        return self._said.exists()


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Control:
    """A machine that has the service, and none that runs."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.delenv(PIPES, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(mps, "USUAL", tmp_path / "nvidia-mps" / "control")
    return Control(tmp_path / "bin")


def pipes() -> str | None:
    return os.environ.get(PIPES)


def test_processes_find_the_service_while_it_runs(control: Control) -> None:
    pool = ProcessPool(Layout(2), gpu=True)
    try:
        found = pool.submit(pipes).result()
        assert found is not None
        assert Path(found).is_dir()
        assert pool.described == "2 processes of 1 thread, which share the GPU by MPS"
    finally:
        pool.shutdown()
    assert pipes() is None
    assert not Path(found).parent.exists()
    assert control.said == [f"{found} -d", f"{found}  quit"]


@pytest.mark.parametrize(("processes", "gpu"), [(1, True), (2, False)])
def test_it_is_for_processes_that_share_a_gpu(control: Control, processes: int, gpu: bool) -> None:
    ProcessPool(Layout(processes, 1), gpu=gpu).shutdown()
    assert not control.called


def test_gpus_keep_their_numbers(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon numbers those that it sees anew, and processes choose by the numbers of all."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "seven")
    service = mps.start(2)
    assert service is not None
    service.end()
    assert not any("seven" in line for line in control.said)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "seven"


@pytest.mark.parametrize("why", ["too many", "variables", "usual place", "no driver"])
def test_none_is_started(
    control: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    match why:
        case "variables":
            monkeypatch.setenv(PIPES, "/somewhere")
        case "usual place":
            (tmp_path / "nvidia-mps").mkdir()
            (tmp_path / "nvidia-mps" / "control").touch()
        case "no driver":
            monkeypatch.setenv("PATH", "/nowhere")
    assert mps.start(49 if why == "too many" else 2) is None
    assert not control.called


def test_one_that_does_not_start_leaves_nothing_behind(control: Control, tmp_path: Path) -> None:
    control.does("exit 1")
    assert mps.start(2) is None
    assert pipes() is None
    assert not list((tmp_path / "tmp").iterdir())


def test_one_that_does_not_quit_is_killed(control: Control, tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as daemon:
        control.does(
            f'test "$1" = -d && echo {daemon.pid} > "${PIPES}/nvidia-cuda-mps-control.pid"'
        )
        service = mps.start(2)
        assert service is not None
        service.end()
        assert daemon.wait() == -signal.SIGKILL
    assert not list((tmp_path / "tmp").iterdir())


def test_it_ends_however_its_user_ends(control: Control, tmp_path: Path) -> None:
    program = f"""
        import pathlib, tempfile, time
        from harness.execution import mps
        tempfile.tempdir = {str(tmp_path / "tmp")!r}
        mps.USUAL = pathlib.Path("/nowhere")
        service = mps.start(2)
        print("started", flush=True)
        time.sleep(60)
    """
    run = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(run, stdout=subprocess.PIPE, env=os.environ) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == b"started\n"
        user.kill()
    wait_until(lambda: not list((tmp_path / "tmp").iterdir()))
    assert control.said[-1].endswith("quit")


def test_it_ends_where_processes_are_not_waited_for(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = ProcessPool(Layout(2), gpu=True)

    def interrupted(_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(process_pool, "end_workers", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pool.shutdown()
    assert pipes() is None
