"""The engine against its peers, in alternating rounds, so that a busy machine affects both."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks.cases import LAYERS, Case, mlp, resnet
from benchmarks.facts import throughput_facts
from benchmarks.loops.engine import Engine
from benchmarks.loops.loop import Loop
from benchmarks.peers import ARTICLE, EAGER, LUCENT, PLAIN, PLENOPTIC, Peer
from benchmarks.roofline import PeakRates, step_work
from benchmarks.tables import PEERS, Facts
from benchmarks.tasks import Task, draw_tasks
from benchmarks.throughput import ROUNDS, Throughput, fastest
from harness.encoders.runtime import Precision, precision_of

pytest.importorskip("pytest_benchmark", reason="the benchmarks need pytest-benchmark")

pytestmark = pytest.mark.benchmark(group=PEERS)

ALONE = (1,)
TRIED = (8, 32)
"""Batches of which each side takes the one that suits it best."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Duel:
    """A comparison with one peer.

    Parameters
    ----------
    peer : Peer
        With whom.
    case : Case
        On what; its batch is not used.
    batches, peer_batches : tuple of int
        Tried by the engine, and by the peer.
    """

    peer: Peer
    case: Case
    batches: tuple[int, ...] = TRIED
    peer_batches: tuple[int, ...] = TRIED

    def __str__(self) -> str:
        words = [self.peer.name.replace("'", "").replace(" ", "-"), self.case.name, self.case.layer]
        if self.peer_batches == ALONE:
            words.append("fresh" if self.case.fresh else "alone")
        return "-".join(words)


def _duel(peer: Peer, layer: str) -> Duel:
    return Duel(peer=peer, case=resnet("resnet18", layer, pixels=64, batch=1))


def _one_by_one(layer: str) -> Duel:
    """The article's loop as the article runs it, one image at a time."""
    return dataclasses.replace(_duel(ARTICLE, layer), peer_batches=ALONE)


def _both_alone(peer: Peer, case: Case) -> Duel:
    return Duel(peer=peer, case=case, batches=ALONE, peer_batches=ALONE)


def _fresh(layer: str) -> Duel:
    """Every image with a network of its own."""
    return _both_alone(PLAIN, resnet("resnet18", layer, pixels=64, batch=1, fresh=True))


_MLP = mlp(width=3000, depth=4, pixels=32, batch=1)
SELECTED = (
    _duel(PLENOPTIC, "layer1"),
    *(_duel(peer, "layer4") for peer in (PLENOPTIC, LUCENT)),
    _one_by_one("layer4"),
    _fresh("layer4"),
    _both_alone(ARTICLE, _MLP),
)
MORE = (
    *(_duel(PLENOPTIC, layer) for layer in ("layer2", "layer3")),
    *(_duel(LUCENT, layer) for layer in LAYERS[:3]),
    *(_duel(peer, layer) for layer in LAYERS for peer in (ARTICLE, PLAIN)),
    *map(_one_by_one, LAYERS[:3]),
    *map(_fresh, LAYERS[:3]),
    _both_alone(PLAIN, _MLP),
)
GPU = (
    _both_alone(EAGER, resnet("resnet50", "layer4", pixels=299, batch=1)),
    _both_alone(EAGER, _MLP),
)


@pytest.mark.parametrize(
    "duel", [*SELECTED, *(pytest.param(duel, marks=pytest.mark.full) for duel in MORE)], ids=str
)
def test_against(
    benchmark: Any, duel: Duel, device: torch.device, state: Callable[[Facts], None]
) -> None:
    state(_measure(benchmark, duel, device))


@pytest.mark.cuda
@pytest.mark.parametrize("duel", GPU, ids=str)
def test_against_on_a_gpu(
    benchmark: Any, duel: Duel, device: torch.device, state: Callable[[Facts], None]
) -> None:
    if device.type != "cuda":
        pytest.skip("only a GPU replays steps (--device)")
    state(_measure(benchmark, duel, device))


def _measure(benchmark: Any, duel: Duel, device: torch.device) -> dict[str, object]:
    decoder = duel.peer.decoder or duel.case.decoder

    with precision_of(duel.case.precision, device=device) as precision:

        def best(loop: Callable[[Task], Loop], batches: tuple[int, ...]) -> Throughput:
            return _fastest(loop, duel.case, batches, precision, device)

        theirs = best(lambda task: duel.peer.loop(task, duel.case.decoder), duel.peer_batches)
        ours = best(lambda task: Engine(task, decoder), duel.batches)
        case = dataclasses.replace(duel.case, batch=ours.images, decoder=decoder)
        peaks = PeakRates(case, dtype=precision.network, device=device)

        def before() -> None:
            peaks.measure()
            theirs.round()

        images = benchmark.pedantic(ours.round, setup=before, rounds=ROUNDS)
    assert torch.isfinite(images).all()
    their_work = step_work(dataclasses.replace(case, batch=theirs.images))
    return {
        **throughput_facts(case, ours, peaks.roofline(), device=device),
        "peer": duel.peer.name,
        "peer_version": duel.peer.version,
        "peer_batch": theirs.images,
        "peer_image_steps_per_second": theirs.image_steps_per_second,
        "peer_times_roofline": theirs.step_seconds / peaks.roofline(their_work).seconds,
        "times_peer": ours.image_steps_per_second / theirs.image_steps_per_second,
    }


def _fastest(
    loop: Callable[[Task], Loop],
    case: Case,
    batches: tuple[int, ...],
    precision: Precision,
    device: torch.device,
) -> Throughput:
    """The throughput at the batch that suits a loop best."""

    def at(batch: int) -> Throughput:
        sized = dataclasses.replace(case, batch=batch)
        tasks = draw_tasks(sized, precision=precision, device=device)
        return Throughput([loop(task) for task in tasks], images=batch, device=device)

    return fastest([at(batch) for batch in batches])
