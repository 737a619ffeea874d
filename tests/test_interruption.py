"""Runs that are ended in the middle: no worker survives, no finished cell is measured again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from plugin_suite import TWO_CLAIMS, Suite, of
from small_cells import Gate, measure_bucket_or_die
from waiting import wait_until

from harness.execution import scheduler

pytest_plugins = ("pytester",)

CELLS = 24
"""Of two claims."""

pytestmark = [
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc"),
    pytest.mark.timeout(600),
]


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Suite:
    return Suite(pytester, pytester.path / "store").write(test_z=TWO_CLAIMS)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """Lets three replicates pass."""
    return Gate(tmp_path / "gate", first=3)


@pytest.fixture
def begun(suite: Suite, gate: Gate) -> Iterator[subprocess.Popen[str]]:
    """A run that has finished some of its cells, and whose two workers are at others."""
    process = suite.start_held(gate, "--executor=processes:2")
    wait_until(lambda: len(gate.held) == 2 or process.poll() is not None)
    assert process.poll() is None, process.communicate()[0]
    yield process
    gate.open()
    for number in alive(process.pid):
        os.kill(number, signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def records(suite: Suite) -> dict[str, int]:
    """Finished cells, and when each was written."""
    return {
        path.name: path.stat().st_mtime_ns for path in (suite.store / "records").rglob("*.json")
    }


def alive(session: int) -> list[int]:
    """Processes of a session that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, owner = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:  # ended while it was looked at
            continue
        if int(owner) == session and state != "Z":
            found.append(int(path.parent.name))
    return found


def assert_goes_on(suite: Suite) -> None:
    """Assert that the next run measures what is left, and nothing again."""
    before = records(suite)
    assert 3 <= len(before) < CELLS
    result = suite.run()
    result.assert_outcomes(passed=2)
    after = records(suite)
    assert len(after) == CELLS
    assert before == {name: after[name] for name in before}
    left = CELLS - len(before)
    result.stdout.fnmatch_lines([f"{left} cells measured, {len(before)} reused*"])


def test_ctrl_c(suite: Suite, begun: subprocess.Popen[str]) -> None:
    # A terminal sends it to the workers, too.
    os.killpg(begun.pid, signal.SIGINT)
    output, _ = begun.communicate()
    assert begun.returncode == pytest.ExitCode.INTERRUPTED, output
    wait_until(lambda: not alive(begun.pid))
    assert "Traceback" not in output
    # A report of what there is.
    assert {verdict for _, verdict, _ in suite.conditions()} <= {"not run", "supported"}
    assert ("Z1", "not run", "the run ended before") in suite.conditions()
    assert "report: " in output
    kept = f"interrupted: the cells measured so far are kept in {suite.store}; the same command"
    first, _, rest = output.partition("= claims =")
    assert kept in first
    assert kept in rest
    assert re.search(r"\d+ cells measured", output)
    assert_goes_on(suite)


@pytest.mark.slow
def test_kill_of_the_parent(suite: Suite, begun: subprocess.Popen[str]) -> None:
    os.kill(begun.pid, signal.SIGKILL)
    # A worker may be measuring; it ends without waiting for anybody.
    wait_until(lambda: not alive(begun.pid))
    assert not suite.report.joinpath("claims.html").exists()
    assert_goes_on(suite)


@pytest.mark.slow
def test_kill_of_a_worker(suite: Suite, gate: Gate, begun: subprocess.Popen[str]) -> None:
    before = records(suite)
    os.kill(min(gate.held), signal.SIGKILL)
    gate.open()
    output, _ = begun.communicate()
    # Another one takes its place and measures what it had begun.
    assert begun.returncode == 0, output
    assert "2 passed" in output
    assert "Traceback" not in output
    wait_until(lambda: not alive(begun.pid))
    after = records(suite)
    assert len(after) == CELLS
    assert before == {name: after[name] for name in before}
    assert {verdict for _, verdict, _ in suite.conditions()} == {"supported"}


@pytest.mark.slow
def test_cells_that_kill_their_workers_fail_their_test_alone(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first of them comes to the second look, and with it to the replicate that kills.
    suite.write(test_z=of("inconclusive", "supported"))
    monkeypatch.setattr(scheduler, "measure_bucket", measure_bucket_or_die)
    result = suite.run("--executor=processes:1")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["Z1: ActiveUnits in replicate 13 (*): every worker * was killed*"])
    (_, verdict, reason), other = suite.conditions()
    assert verdict == "not run"
    assert reason.startswith("an error ended its test (WorkerError: ActiveUnits in replicate 13")
    assert other[1] == "supported"
