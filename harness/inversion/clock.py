"""The current iteration, known to the host or to the device.

Whatever changes during a run is a table with a row for each iteration. A step that reads its row
through a clock can run eagerly, where the clock is a number, or be captured in a CUDA graph, where
it is a counter in device memory. Tables are read and written as ring buffers.
"""

from __future__ import annotations

import dataclasses

from jaxtyping import Int
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class HostClock:
    """An iteration known to the host, from 0."""

    now: int

    def next(self) -> HostClock:
        """The clock of the iteration after this one."""
        return HostClock(self.now + 1)

    def advance(self) -> HostClock:
        """The clock of the next iteration; a new one, since this one cannot be changed."""
        return self.next()

    def read(self, table: Tensor) -> Tensor:
        """A view of the row of this iteration."""
        return table[self.now % len(table)]

    def write(self, table: Tensor, row: Tensor) -> None:
        """Set the row of this iteration."""
        table[self.now % len(table)] = row


@dataclasses.dataclass(frozen=True)
class DeviceClock:
    """An iteration that only the device knows; nothing here waits for the device."""

    now: Int[Tensor, " 1"]

    def next(self) -> DeviceClock:
        """The clock of the iteration after this one."""
        return DeviceClock(self.now + 1)

    def advance(self) -> DeviceClock:
        """The same clock, incremented in place."""
        self.now.add_(1)
        return self

    def read(self, table: Tensor) -> Tensor:
        """A copy of the row of this iteration."""
        return table.index_select(0, self.now % len(table))[0]

    def write(self, table: Tensor, row: Tensor) -> None:
        """Set the row of this iteration."""
        table.index_copy_(0, self.now % len(table), row[None])


Clock = HostClock | DeviceClock
"""The current iteration."""
