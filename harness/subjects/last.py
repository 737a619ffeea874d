"""What was made last, kept for the cells that follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from harness.encoders.network import NetworkEncoder

Built = TypeVar("Built")


class Last(Generic[Built]):
    """A cache of one item: a bucket measures many cells of one network, layer by layer.

    The previous item is freed before the next is built, so that memory never holds two.
    """

    def __init__(self) -> None:
        self._held: dict[object, Built] = {}

    def get(self, key: object, build: Callable[[], Built]) -> Built:
        """The item of a key, built unless it was the last."""
        if key not in self._held:
            self._held.clear()
            self._held[key] = build()
        return self._held[key]

    def forget(self) -> None:
        """Free the item."""
        self._held.clear()


LAST_ENCODER = Last[NetworkEncoder]()
"""The encoder of the network and layer that were measured last, on its device."""


def forget_encoder() -> None:
    """Free the cached encoder and the memory of its weights on their device."""
    LAST_ENCODER.forget()
