"""How far a run is, on the console while pytest captures output."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest
from tqdm import tqdm

_INTERVAL = 15.0
"""Seconds between lines where there is no terminal to redraw a bar on."""


class ConsoleProgress:
    """A bar on a terminal, or a line now and then elsewhere."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._bar: tqdm[None] | None = None
        self._last = time.monotonic()

    def __call__(self, *, label: str, done: int, total: int, seconds_left: float) -> None:
        """Show cells done of cells known, and the time left for those."""
        left = _duration(seconds_left)
        with self._uncaptured():
            reporter = self._config.pluginmanager.getplugin("terminalreporter")
            if reporter is None:
                return
            if done == total:
                self._finish()
            elif reporter.isatty:
                self._draw(reporter, label=label, done=done, total=total, left=left)
            elif time.monotonic() - self._last > _INTERVAL:
                self._last = time.monotonic()
                reporter.ensure_newline()
                reporter.write_line(f"{label}: {done}/{total} cells, about {left} left")

    def _draw(
        self,
        reporter: pytest.TerminalReporter,
        *,
        label: str,
        done: int,
        total: int,
        left: str,
    ) -> None:
        if self._bar is None:
            reporter.ensure_newline()
            self._bar = tqdm(
                total=total,
                leave=False,
                dynamic_ncols=True,
                bar_format="{desc} {bar} {n_fmt}/{total_fmt} cells{postfix}",
            )
        self._bar.total = total
        self._bar.n = done
        self._bar.set_description_str(label, refresh=False)
        self._bar.set_postfix_str(f"about {left} left", refresh=False)
        self._bar.refresh()

    def _finish(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    @contextlib.contextmanager
    def _uncaptured(self) -> Iterator[None]:
        capture = self._config.pluginmanager.getplugin("capturemanager")
        if capture is None:
            yield
        else:
            with capture.global_and_fixture_disabled():
                yield


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
