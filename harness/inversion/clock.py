"""The iteration that a step belongs to, on the host or on the device.

What changes along a run is a table with a row an iteration. A step that reads its rows through a
clock can be run eagerly, where the clock is a number, and be captured in a CUDA graph, where it is
a counter in device memory.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol, runtime_checkable

from jaxtyping import Int
from torch import Tensor


@runtime_checkable
class Clock(Protocol):
    """The current iteration; tables are read and written as rings."""

    @property
    def now(self) -> int | Tensor:
        """The iteration, from 0."""
        ...

    def next(self) -> Clock:
        """The clock of the iteration after this one."""
        ...

    def advance(self) -> Clock:
        """The clock one iteration on: the same one where it can be set."""
        ...

    def read(self, table: Tensor) -> Tensor:
        """The row of this iteration."""
        ...

    def write(self, table: Tensor, row: Tensor) -> None:
        """Set the row of this iteration."""
        ...


@dataclasses.dataclass(frozen=True)
class HostClock:
    """An iteration known to the host."""

    now: int

    def next(self) -> HostClock:
        """The clock of the iteration after this one."""
        return HostClock(self.now + 1)

    def advance(self) -> HostClock:
        """Another one: this one cannot be set."""
        return self.next()

    def read(self, table: Tensor) -> Tensor:
        """A view of the row of this iteration."""
        return table[self.now % len(table)]

    def write(self, table: Tensor, row: Tensor) -> None:
        """Set the row of this iteration."""
        table[self.now % len(table)] = row


@dataclasses.dataclass(frozen=True)
class DeviceClock:
    """An iteration that only the device knows; nothing here waits for it."""

    now: Int[Tensor, " 1"]

    def next(self) -> DeviceClock:
        """The clock of the iteration after this one."""
        return DeviceClock(self.now + 1)

    def advance(self) -> DeviceClock:
        """The same one, counted on in its place in memory."""
        self.now.add_(1)
        return self

    def read(self, table: Tensor) -> Tensor:
        """A copy of the row of this iteration."""
        return table.index_select(0, self.now % len(table))[0]

    def write(self, table: Tensor, row: Tensor) -> None:
        """Set the row of this iteration."""
        table.index_copy_(0, self.now % len(table), row[None])
