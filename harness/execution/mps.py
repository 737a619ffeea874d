"""One GPU for several processes at a time, by NVIDIA's Multi-Process Service (MPS).

Without it the processes that share a GPU take turns, however little of it each of them uses: eight
got 0.9 times the steps of one on an H200, and 4.3 to 4.4 times with it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_CONTROL = "nvidia-cuda-mps-control"
"""NVIDIA's driver brings it along."""

_PIPES, _LOGS, _VISIBLE = (
    "CUDA_MPS_PIPE_DIRECTORY",
    "CUDA_MPS_LOG_DIRECTORY",
    "CUDA_VISIBLE_DEVICES",
)

USUAL = Path("/tmp/nvidia-mps/control")
"""Where one that was started beforehand listens."""

_CLIENTS = 48
"""Processes that a service has room for."""

_PATIENCE = 15
"""Seconds for the daemon to start, or to end."""

_WATCH = f"""
{_CONTROL} -d </dev/null >/dev/null 2>&1 && echo started && cat >/dev/null
echo quit | timeout {_PATIENCE - 5} {_CONTROL} >/dev/null 2>&1 ||
  kill -9 "$(cat "${_PIPES}/{_CONTROL}.pid")" 2>/dev/null
rm -rf "$1"
"""
"""Starts the daemon, and ends it when its input ends: however this process does."""


class Service:
    """A daemon of this run's own, for the processes that are started while it runs.

    It is found by environment variables, which this process sets and children inherit. It needs no
    rights, and changes no setting of the GPU.

    Parameters
    ----------
    folder : Path
        For its pipes and logs; removed at the end.

    Raises
    ------
    OSError
        Where it does not start.
    """

    def __init__(self, folder: Path) -> None:
        places = {_PIPES: str(folder / "pipes"), _LOGS: str(folder / "logs")}
        for place in places.values():
            Path(place).mkdir()
        # Of the GPUs that a daemon sees it gives new numbers, which those of processes then are.
        there = {name: value for name, value in os.environ.items() if name != _VISIBLE}
        self._watch = subprocess.Popen(
            ["sh", "-c", _WATCH, "sh", str(folder)],
            env={**there, **places},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for this process
        )
        self._before = {name: os.environ.get(name) for name in places}
        os.environ |= places
        assert self._watch.stdout is not None
        if not self._watch.stdout.readline():
            self.end()
            raise OSError(f"{_CONTROL} does not start")

    def end(self) -> None:
        """End the daemon; the processes that have used it have ended."""
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        for pipe in (self._watch.stdin, self._watch.stdout):
            if pipe is not None:
                pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # then it ends later
            self._watch.wait(_PATIENCE)


def start(processes: int) -> Service | None:
    """The service for some processes that share a GPU.

    None where there is one already, where they are too many for it, or where none can be had: then
    they take turns. One that was started beforehand is found by its variables, or at its usual
    place.
    """
    if not 1 < processes <= _CLIENTS or shutil.which(_CONTROL) is None:
        return None
    if _PIPES in os.environ or os.access(USUAL, os.R_OK | os.W_OK):
        return None
    try:
        return Service(Path(tempfile.mkdtemp(prefix="mps-")))
    except OSError:
        return None
