"""Runs that are ended in the middle: no worker survives, no finished cell is measured again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from plugin_suite import Suite, of
from small_cells import measure_bucket_or_die

from harness.execution import scheduler

pytest_plugins = ("pytester",)

SLOW = """
from harness.plan.cells import ActiveUnits
from harness.plan.images import Images

@pytest.mark.parametrize("rows", [20, 21])
def test_slow(lab, rows):
    # Each cell takes a tenth of a second: the run is ended while some are finished.
    lab.judge(
        claim("Z1"),
        cells=lambda seeds: {"layer": ActiveUnits(
            seeds=seeds, images=Images(pixels=32, rows=rows)
        )},
        effects=lambda seen: {"x": 1.0},
    )
"""
CELLS = 24

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Suite:
    return Suite(pytester, pytester.path / "store").write(test_z=SLOW)


def begun(suite: Suite) -> subprocess.Popen[str]:
    """A run with worker processes which has finished some of its cells, but not all."""
    process = suite.start("--executor=processes:2", start_new_session=True)
    end = time.monotonic() + 120
    while len(records(suite)) < 3:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.01)
    return process


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


def wait_for_end_of_all(session: int, *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while alive(session):
        assert time.monotonic() < end, f"still there: {alive(session)}"
        time.sleep(0.05)


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


def test_ctrl_c(suite: Suite) -> None:
    process = begun(suite)
    # A terminal sends it to the workers, too.
    os.killpg(process.pid, signal.SIGINT)
    pressed = time.monotonic()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert time.monotonic() - pressed < 20
    wait_for_end_of_all(process.pid, seconds=5)
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


def test_kill_of_the_parent(suite: Suite) -> None:
    process = begun(suite)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    # A worker may be measuring; it ends without waiting for anybody.
    wait_for_end_of_all(process.pid, seconds=10)
    assert not suite.report.joinpath("claims.html").exists()
    assert_goes_on(suite)


def test_kill_of_a_worker(suite: Suite) -> None:
    process = begun(suite)
    before = records(suite)
    workers = [
        number
        for number in alive(process.pid)
        if b"spawn_main" in Path(f"/proc/{number}/cmdline").read_bytes()
    ]
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    # Another one takes its place and measures what it had begun.
    assert process.returncode == 0, output
    assert "2 passed" in output
    assert "Traceback" not in output
    wait_for_end_of_all(process.pid, seconds=5)
    after = records(suite)
    assert len(after) == CELLS
    assert before == {name: after[name] for name in before}
    assert {verdict for _, verdict, _ in suite.conditions()} == {"supported"}


def test_cells_that_kill_their_workers_fail_their_test_alone(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first of them comes to the second look, and with it to the replicate that kills.
    suite.write(test_z=of("inconclusive", "supported"))
    monkeypatch.setattr(scheduler, "measure_bucket", measure_bucket_or_die)
    result = suite.run("--executor=processes:1")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["ActiveUnits in replicate 13 (*): every worker * was killed*"])
    (_, verdict, reason), other = suite.conditions()
    assert verdict == "not run"
    assert reason.startswith("an error ended its test (WorkerError: ActiveUnits in replicate 13")
    assert other[1] == "supported"
