"""What the engine is compared with, on the same network, images and layer."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import warnings
from collections.abc import Callable
from types import ModuleType

import pytest

from benchmarks.loops.article import ArticleLoop, PlainLoop
from benchmarks.loops.engine import EagerEngine
from benchmarks.loops.loop import Loop
from benchmarks.loops.lucent import LucentLoop
from benchmarks.loops.plenoptic import PlenopticLoop
from benchmarks.tasks import Task
from harness.plan.decoders import Adam, Decoder, Descent

ADAM = Adam(rate=0.01)
"""What the engine runs against peers that minimise squares with Adam."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Peer:
    """Another way to do the same.

    Parameters
    ----------
    name : str
        For people.
    loop : callable
        Makes its loop for a task and the engine's decoder.
    decoder : Decoder or None
        What the engine runs in the comparison: as many gradients, of the same kind. None takes
        the case's own.
    package : str or None
        The distribution that it is from, None for loops of the project's own.
    """

    name: str
    loop: Callable[[Task, Decoder], Loop]
    decoder: Decoder | None = None
    package: str | None = None

    @property
    def version(self) -> str | None:
        """Of the installed distribution; None where there is none."""
        try:
            return self.package and importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None


def imported(module: str) -> ModuleType:
    """A module of a peer; without it, the test that asks for it is skipped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a peer's import may warn
        try:
            return importlib.import_module(module)
        except ImportError as error:
            pytest.skip(f"a peer is not installed ({error}): pip install '.[peers]'")


def _plenoptic(task: Task, _: Decoder) -> Loop:
    return PlenopticLoop(plenoptic=imported("plenoptic"), task=task)


def _lucent(task: Task, _: Decoder) -> Loop:
    return LucentLoop(render=imported("lucent.optvis.render"), task=task)


def _article(task: Task, decoder: Decoder) -> Loop:
    return ArticleLoop(task, _descent(decoder))


def _plain(task: Task, decoder: Decoder) -> Loop:
    return PlainLoop(task, _descent(decoder))


def _descent(decoder: Decoder) -> Descent:
    if not isinstance(decoder, Descent):
        raise TypeError(f"the article's loop is a descent, not {decoder}")
    return decoder


PLENOPTIC = Peer(name="plenoptic", loop=_plenoptic, decoder=ADAM, package="plenoptic")
LUCENT = Peer(name="torch-lucent", loop=_lucent, decoder=ADAM, package="torch-lucent")
ARTICLE = Peer(name="article's loop", loop=_article)
PLAIN = Peer(name="plain loop", loop=_plain)
EAGER = Peer(name="eager steps", loop=EagerEngine)

PEERS = (PLENOPTIC, LUCENT, ARTICLE, PLAIN, EAGER)
