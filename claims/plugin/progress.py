"""The progress of a run, shown on the console while pytest captures output."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator

import pytest
from tqdm import tqdm

from reports.words import duration

REDRAW = 0.1
"""Seconds between two redraws of the bar."""

INTERVAL = 15.0
"""Seconds between two lines, without a terminal."""

# Make sure that there is a line below, save the position on pytest's own line, and go down.
_BELOW = "\x1bD\x1b[A\x1b7\n"
# Clear that line, and go back to the saved position.
_BACK = "\r\x1b[K\x1b8"


class _Bar(tqdm):  # type: ignore[misc]  # tqdm comes without types
    # tqdm's thread would draw while pytest writes.
    monitor_interval = 0


class ConsoleProgress:
    """A bar below pytest's line on a terminal; elsewhere an occasional line."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._bar: _Bar | None = None
        self._last = 0.0
        self._total = 0
        self._further = ("", 0)

    def __call__(self, *, label: str, done: int, total: int, seconds_left: float) -> None:
        """Show the cells done out of those known, the time left, and who waits for some of them.

        The cells are those of all conditions that are queued. If one that is undecided at a look
        needs more, it says so, since the time grows.
        """
        if 0 < self._total < total:
            self._further = (label, total - self._total)
        self._total = total
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is None or done == total:
            return
        terminal = bool(reporter.isatty) and os.environ.get("TERM") != "dumb"
        now = time.monotonic()
        # The first line waits, too: most tests are over by then.
        self._last = self._last or (0.0 if terminal else now)
        if now - self._last < (REDRAW if terminal else INTERVAL):
            return
        self._last = now
        whose, more = self._further
        further = f", {more} of them for its further look" if whose == label else ""
        left = f"about {time_left(seconds_left)} left, next {label}{further}"
        with self._uncaptured():
            if terminal:
                self._draw(done=done, total=total, left=left)
            else:
                _write_line(reporter, f"{done}/{total} cells, {left} ")

    def clear(self) -> None:
        """Remove the bar, so that pytest continues its own line."""
        if self._bar is not None:
            with self._uncaptured():
                self._bar.close()
                sys.stdout.write(_BACK)
                sys.stdout.flush()
            self._bar = None

    def _draw(self, *, done: int, total: int, left: str) -> None:
        if self._bar is None:
            sys.stdout.write(_BELOW)
            self._bar = _Bar(
                file=sys.stdout,
                total=total,
                leave=False,
                dynamic_ncols=True,
                bar_format="{bar} {n_fmt}/{total_fmt} cells{postfix}",
            )
        self._bar.total = total
        self._bar.n = done
        self._bar.set_postfix_str(left, refresh=False)
        self._bar.refresh()

    @contextlib.contextmanager
    def _uncaptured(self) -> Iterator[None]:
        capture = self._config.pluginmanager.getplugin("capturemanager")
        if capture is None:
            yield
        else:
            with capture.global_and_fixture_disabled():
                yield


def _write_line(reporter: pytest.TerminalReporter, text: str) -> None:
    """Write a line of its own, and let pytest end it and name its test again."""
    if reporter.currentfspath:
        reporter.ensure_newline()
    else:
        reporter.line("")
    reporter.write(text, flush=True)
    # pytest's own value for a line that belongs to no file.
    reporter.currentfspath = -2


def time_left(seconds: float) -> str:
    """A time in whole seconds: fractions would flicker."""
    return duration(round(max(seconds, 0)))
