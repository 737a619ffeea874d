"""Fixtures of the benchmarks, and their table."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from benchmarks.table import throughput_table
from benchmarks.throughput import Throughput
from harness.device import resolve_device

_FOUND = pytest.StashKey[list[Throughput]]()


def pytest_configure(config: pytest.Config) -> None:
    found: list[Throughput] = []
    config.stash[_FOUND] = found


@pytest.fixture(scope="session")
def device(pytestconfig: pytest.Config) -> Iterator[str]:
    """The device that --device names, with every core at work and in IEEE float32."""
    threads = torch.get_num_threads()
    torch.set_num_threads(_cores())
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    yield resolve_device(pytestconfig.getoption("device"))
    torch.set_num_threads(threads)


@pytest.fixture
def found(pytestconfig: pytest.Config) -> list[Throughput]:
    """What the benchmarks found so far."""
    return pytestconfig.stash[_FOUND]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    found = config.stash[_FOUND]
    if found:
        terminalreporter.section("reconstruction throughput")
        terminalreporter.write_line(throughput_table(found))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
