"""What the ways to reconstruct images have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from torch import Tensor, nn

Observer = Callable[[Tensor], None]
"""Called with the outputs of every evaluation of the network; may end a run by raising."""


class Loop(Protocol):
    """A way to reconstruct the images of a task."""

    def run(self, steps: int, *, observe: Observer) -> Tensor:
        """Take steps from the start; return the last images, shape (batch, ...).

        A step evaluates the network once; a loop may do so once more at its end.
        """
        ...


@contextmanager
def observing(module: nn.Module, observe: Observer) -> Iterator[None]:
    """Call an observer with every output of a module."""

    def hook(_: nn.Module, __: object, output: Tensor) -> None:
        observe(output.detach())

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
