"""Several processes on one GPU at the same time, by NVIDIA's Multi-Process Service (MPS).

Without it, processes that share a GPU take turns, however little of it each of them uses: on an
H200, eight made 0.9 times the steps of one, and 4.3 to 4.4 times with it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_CONTROL = "nvidia-cuda-mps-control"
"""Comes with NVIDIA's driver."""

_PIPES, _LOGS, _VISIBLE = (
    "CUDA_MPS_PIPE_DIRECTORY",
    "CUDA_MPS_LOG_DIRECTORY",
    "CUDA_VISIBLE_DEVICES",
)

USUAL = Path("/tmp/nvidia-mps/control")
"""Where a daemon that somebody else started listens by default."""

_CLIENTS = 48
"""Processes that a daemon can serve."""

_PATIENCE = 15
"""Seconds for the daemon to start, or to end."""

_WATCH = f"""
{_CONTROL} -d </dev/null >/dev/null 2>&1 && echo started && cat >/dev/null
echo quit | timeout {_PATIENCE - 5} {_CONTROL} >/dev/null 2>&1 ||
  kill -9 "$(cat "${_PIPES}/{_CONTROL}.pid")" 2>/dev/null
rm -rf "$1"
"""
"""Starts the daemon, and ends it when its own input ends, however this process ends."""


class Service:
    """A daemon of this run's own, for the processes that are started while it runs.

    Processes find it by environment variables, which this process sets and its children inherit. It
    needs no special rights, and changes no setting of the GPU.

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
        # A daemon renumbers the GPUs that it sees, and its clients' choice refers to these numbers.
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
        """End the daemon; the processes that used it have ended before."""
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
    """The service for a number of processes that share a GPU.

    None where one is running already, which is found by its variables or at its usual place, and
    where there are too many processes for it or it cannot be started: then they take turns.
    """
    if not 1 < processes <= _CLIENTS or shutil.which(_CONTROL) is None:
        return None
    if _PIPES in os.environ or os.access(USUAL, os.R_OK | os.W_OK):
        return None
    try:
        return Service(Path(tempfile.mkdtemp(prefix="mps-")))
    except OSError:
        return None
