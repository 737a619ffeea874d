"""The engine beside its peers: their rounds alternate, so that a busy machine hits both."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch

from benchmarks.arithmetic import step_work
from benchmarks.cases import LAYERS, Case, mlp, resnet
from benchmarks.limit import Ceilings, facts
from benchmarks.loops.engine import Engine
from benchmarks.loops.loop import Loop
from benchmarks.pace import Pace, fastest, rounds
from benchmarks.peers import ARTICLE, EAGER, LUCENT, PLAIN, PLENOPTIC, Peer
from benchmarks.tables import PEERS, Facts
from benchmarks.tasks import Task, draw_tasks
from harness.encoders.runtime import Precision, precision_of

pytest.importorskip("pytest_benchmark", reason="the benchmarks need pytest-benchmark")

pytestmark = pytest.mark.benchmark(group=PEERS)

LONGEST = 6.0
"""Seconds of a benchmark's rounds, unless the least number takes longer."""

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
        On what; its batch counts for nothing.
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


def _duels(layers: Iterable[str], peers: Iterable[Peer]) -> list[Duel]:
    cases = [resnet("resnet18", layer, pixels=64, batch=1) for layer in layers]
    return [Duel(peer=peer, case=case) for case in cases for peer in peers]


def _alone(layers: Iterable[str]) -> list[Duel]:
    """The article's loop as the article has it, and fresh weights for every sample."""
    return [
        duel
        for layer in layers
        for duel in (
            Duel(
                peer=ARTICLE,
                case=resnet("resnet18", layer, pixels=64, batch=1),
                peer_batches=ALONE,
            ),
            Duel(
                peer=PLAIN,
                case=resnet("resnet18", layer, pixels=64, batch=1, fresh=True),
                batches=ALONE,
                peer_batches=ALONE,
            ),
        )
    ]


_MLP = mlp(width=3000, depth=4, pixels=32, batch=1)
SELECTED = (
    *_duels(("layer1", "layer4"), (PLENOPTIC,)),
    *_duels(("layer4",), (LUCENT,)),
    *_alone(("layer4",)),
    Duel(peer=ARTICLE, case=_MLP, batches=ALONE, peer_batches=ALONE),
)
MORE = (
    *_duels(("layer2", "layer3"), (PLENOPTIC,)),
    *_duels(("layer1", "layer2", "layer3"), (LUCENT,)),
    *_duels(LAYERS, (ARTICLE, PLAIN)),
    *_alone(LAYERS[:3]),
    Duel(peer=PLAIN, case=_MLP, batches=ALONE, peer_batches=ALONE),
)


GPU = (
    Duel(
        peer=EAGER,
        case=resnet("resnet50", "layer4", pixels=299, batch=1),
        batches=ALONE,
        peer_batches=ALONE,
    ),
    Duel(peer=EAGER, case=_MLP, batches=ALONE, peer_batches=ALONE),
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
    with precision_of(duel.case.precision, device=device) as precision:

        def engine(task: Task) -> Loop:
            return Engine(task, duel.peer.decoder or duel.case.decoder)

        def peer(task: Task) -> Loop:
            return duel.peer.loop(task, duel.case.decoder)

        theirs = _fastest(peer, duel.case, duel.peer_batches, precision, device)
        ours = _fastest(engine, duel.case, duel.batches, precision, device)
        case = dataclasses.replace(
            duel.case, batch=ours.images, decoder=duel.peer.decoder or duel.case.decoder
        )
        ceilings = Ceilings(case, dtype=precision.network, device=device)

        def before() -> None:
            ceilings.measure()
            theirs.round()

        copies = benchmark.pedantic(
            ours.round, setup=before, rounds=rounds(ours, theirs, longest=LONGEST)
        )
    assert torch.isfinite(copies).all()
    their_work = step_work(dataclasses.replace(case, batch=theirs.images))
    return {
        **facts(case, ours, ceilings.limit(), device=device),
        "peer": duel.peer.name,
        "peer_version": duel.peer.version,
        "peer_batch": theirs.images,
        "peer_image_steps_per_second": theirs.image_steps_per_second,
        "peer_times_limit": theirs.step_seconds / ceilings.limit(their_work).seconds,
        "times_peer": ours.image_steps_per_second / theirs.image_steps_per_second,
    }


def _fastest(
    loop: Callable[[Task], Loop],
    case: Case,
    batches: tuple[int, ...],
    precision: Precision,
    device: torch.device,
) -> Pace:
    """The pace at the batch that suits a loop best."""

    def pace(batch: int) -> Pace:
        sized = dataclasses.replace(case, batch=batch)
        tasks = draw_tasks(sized, precision=precision, device=device)
        return Pace([loop(task) for task in tasks], images=batch, device=device)

    return fastest([pace(batch) for batch in batches])
