"""The state of a long run on disk, from which it is resumed after a kill."""

from __future__ import annotations

import dataclasses
import logging
import time
import zlib
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from harness.files import replacing

INTERVAL = 20.0
"""Least seconds between checkpoints."""

SHARE = 0.01
"""Largest share of a run's time spent on checkpoints."""

_SLOWEST = 1e8
"""Bytes a second assumed of a disk until its own speed is known."""

_ITERATION, _SUM = "iteration", "sum"

_log = logging.getLogger(__name__)


@dataclasses.dataclass
class Checkpoint:
    """A file with the state of one run, replaced now and then.

    Parameters
    ----------
    path : Path
        Named after the identity of the run, so that no other run reads it.
    interval : float
        Least seconds from one to the next; more if writing takes longer than `SHARE` of it.
    """

    path: Path
    interval: float = INTERVAL
    _last: float = dataclasses.field(init=False, default_factory=lambda: time.monotonic())
    _cost: float | None = dataclasses.field(init=False, default=None)
    _reported: bool = dataclasses.field(init=False, default=False)

    def due(self, size: int) -> bool:
        """Whether it is time for the next one, of `size` bytes."""
        cost = size / _SLOWEST if self._cost is None else self._cost
        return time.monotonic() - self._last >= max(self.interval, cost / SHARE)

    def save(self, found: Mapping[str, Tensor], *, iteration: int) -> None:
        """Replace the file by the tensors of a state at the start of an iteration.

        If it cannot be written, the previous one stays, and a message is logged once.
        """
        # Steps still queued on a GPU are no cost of the save.
        for device in {value.device for value in found.values() if value.is_cuda}:
            torch.cuda.synchronize(device)
        began = time.monotonic()
        # Copies, since tensors that share memory are refused.
        content = {
            name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, value in found.items()
        }
        notes = {_ITERATION: str(iteration), _SUM: _sum(content, iteration=str(iteration))}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.path) as part:
                safetensors.torch.save_file(content, part, metadata=notes)
        except (OSError, safetensors.SafetensorError) as error:
            if not self._reported:
                # No warning: a filter may turn one into an error that ends the run.
                _log.warning("%s: the checkpoint cannot be written (%s)", self.path, error)
            self._reported = True
        self._last = time.monotonic()
        self._cost = self._last - began

    def load(
        self, *, like: Mapping[str, Tensor] | None = None
    ) -> tuple[dict[str, Tensor], int] | None:
        """Tensors and iteration of the last save; None if there is no intact one.

        Parameters
        ----------
        like : mapping of str to tensor, or None
            What is expected: a file with other names, shapes or dtypes counts as none.
        """
        try:
            with safetensors.safe_open(self.path, framework="pt") as file:
                notes = file.metadata() or {}
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, safetensors.SafetensorError):
            # The run then starts again: a checkpoint saves time, and holds no result.
            return None
        iteration = notes.get(_ITERATION, "")
        whole = notes.get(_SUM) == _sum(found, iteration=iteration)
        fits = like is None or _layout(found) == _layout(like)
        return (found, int(iteration)) if whole and fits else None

    def part(self, number: int) -> Checkpoint:
        """The checkpoint of a part of the run that is run separately."""
        path = self.path.with_name(f"{self.path.stem}.{number}{self.path.suffix}")
        return Checkpoint(path, interval=self.interval)

    def remove(self) -> None:
        """Delete the file and those of the parts, once the results are safe."""
        for path in self.path.parent.glob(f"{self.path.stem}.*"):
            path.unlink(missing_ok=True)


def _layout(found: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (value.shape, value.dtype) for name, value in found.items()}


def _sum(found: Mapping[str, Tensor], *, iteration: str) -> str:
    """A checksum of everything: a disk may damage a file after it was written."""
    total = zlib.crc32(iteration.encode())
    for name, value in sorted(found.items()):
        total = zlib.crc32(f"{name} {value.dtype} {tuple(value.shape)}".encode(), total)
        total = zlib.crc32(value.flatten().view(torch.uint8).numpy().data, total)
    return f"{total:08x}"
