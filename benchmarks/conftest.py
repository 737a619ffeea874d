"""Options and fixtures of the benchmarks, and their tables."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch

from benchmarks.tables import Facts, as_text, tables
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
    # pytest-benchmark's own table shows times of rounds; --benchmark-verbose brings it back.
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
        "arguments": _arguments(config.invocation_params.args),
        "cores": _cores(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
    }


@pytest.fixture(scope="session")
def device(pytestconfig: pytest.Config) -> Iterator[torch.device]:
    """The device that --device names, with every core at work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(_cores())
    yield torch.device(resolve_device(pytestconfig.getoption("device")))
    torch.set_num_threads(threads)


@pytest.fixture
def state(benchmark: Any, pytestconfig: pytest.Config) -> Callable[[Facts], None]:
    """State what a benchmark has found: in its JSON, and in the tables at the end."""

    def add(facts: Facts) -> None:
        benchmark.extra_info.update(facts)
        pytestconfig.stash[_FOUND].append({"group": benchmark.group, **facts})

    return add


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for table in tables(config.stash[_FOUND]):
        terminalreporter.section(table.title)
        terminalreporter.write_line(as_text(table))


def _arguments(arguments: Sequence[str]) -> str:
    """The command line of a run, but for where its JSON goes."""
    kept, words = [], iter(arguments)
    for word in words:
        if word == "--benchmark-json":
            next(words, None)
        elif not word.startswith("--benchmark-json="):
            kept.append(word)
    return shlex.join(kept)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
