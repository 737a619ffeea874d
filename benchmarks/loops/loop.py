"""What the ways to recover images have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from torch import Tensor, nn

Seen = Callable[[Tensor], None]
"""Told the outputs of every evaluation of the network, right after it; may end a run by raising."""


class Loop(Protocol):
    """A way to recover the images of a task."""

    def run(self, steps: int, *, seen: Seen) -> Tensor:
        """Take steps from the start; return the last images, shape (batch, ...).

        A step evaluates the network once; a loop may do so once more at its end.
        """
        ...


@contextmanager
def telling(module: nn.Module, seen: Seen) -> Iterator[None]:
    """Tell of every output of a module."""

    def hook(_: nn.Module, __: object, output: Tensor) -> None:
        seen(output.detach())

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
