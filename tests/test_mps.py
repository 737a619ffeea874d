"""NVIDIA's Multi-Process Service, by a stand-in for its daemon's control."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from harness import mps
from harness.executors import ProcessPool
from harness.tuning import Layout

PIPES = "CUDA_MPS_PIPE_DIRECTORY"


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes the control write down what it is told, and returns where."""
    said = tmp_path / "said"
    program = tmp_path / "bin" / "nvidia-cuda-mps-control"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "${PIPES} $* $(cat)" >> {said}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.delenv(PIPES, raising=False)
    return said


def pipes() -> str | None:
    return os.environ.get(PIPES)


def test_processes_find_the_service_while_it_runs(control: Path) -> None:
    pool = ProcessPool(Layout(2, 1), gpu=True)
    try:
        found = pool.submit(pipes).result()
        assert found is not None
        assert Path(found).is_dir()
        assert pool.described == "2 processes of 1 thread, which share the GPU by MPS"
    finally:
        pool.end()
    assert pipes() is None
    assert not Path(found).exists()
    assert control.read_text().splitlines() == [f"{found} -d ", f"{found}  quit"]


@pytest.mark.parametrize(("processes", "gpu"), [(1, True), (2, False)])
def test_it_is_for_processes_that_share_a_gpu(control: Path, processes: int, gpu: bool) -> None:
    ProcessPool(Layout(processes, 1), gpu=gpu).end()
    assert not control.exists()


def test_one_that_runs_already_is_used(control: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PIPES, "/somewhere")
    assert mps.start() is None
    assert not control.exists()


def test_where_there_is_none_processes_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PIPES, raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    assert mps.start() is None


def test_one_that_does_not_start_leaves_nothing_behind(
    control: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    program = tmp_path / "bin" / "nvidia-cuda-mps-control"
    program.write_text("#!/bin/sh\nexit 1\n")
    assert mps.start() is None
    assert pipes() is None
    assert not list(tmp_path.glob("mps-*"))
