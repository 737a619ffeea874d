"""Options and fixtures of the benchmarks, and their tables."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from benchmarks.tables import Facts, tables
from harness.execution.device import resolve_device

_FOUND = pytest.StashKey[list[Facts]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("depth-claims").addoption(
        "--full",
        action="store_true",
        help="run every benchmark, half an hour on two cores (default: a selection of a "
        "few minutes)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FOUND] = []
    # pytest-benchmark's own table shows the times of whole rounds.
    config.option.benchmark_quiet = True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("full"):
        return
    left_out = [item for item in items if item.get_closest_marker("full")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    machine_info |= {
        "command": shlex.join(["pytest", *config.invocation_params.args]),
        "cores": _cores(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
    }


@pytest.fixture(scope="session")
def device(pytestconfig: pytest.Config) -> Iterator[torch.device]:
    """The device that --device names; torch uses every core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(_cores())
    yield torch.device(resolve_device(pytestconfig.getoption("device")))
    torch.set_num_threads(threads)


@pytest.fixture
def state(benchmark: Any, pytestconfig: pytest.Config) -> Callable[[Facts], None]:
    """Record what a benchmark found, in its JSON and in the tables at the end."""

    def add(facts: Facts) -> None:
        benchmark.extra_info.update(facts)
        pytestconfig.stash[_FOUND].append({"group": benchmark.group, **facts})

    return add


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for title, table in tables(config.stash[_FOUND]).items():
        terminalreporter.section(title)
        terminalreporter.write_line(table.to_string(index=False))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
