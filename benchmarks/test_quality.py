"""Reconstructions per second at fixed quality: m_g at most a tenth of m_r, by decoder.

How many gradients an image needs is counted on a few images, within a budget: that a decoder does
not get there is a result. Of several settings the one is taken that does best on one image, within
a smaller budget. How fast gradients come is timed at a large batch, in rounds that alternate with
plenoptic's. A rate is one over the other: samples do not depend on each other, and an image that is
there makes room for the next.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks.cases import resnet
from benchmarks.limit import Ceilings, facts
from benchmarks.loops.engine import Engine
from benchmarks.loops.loop import Loop
from benchmarks.loops.plenoptic import PlenopticLoop
from benchmarks.pace import Pace, rounds
from benchmarks.peers import PLENOPTIC, imported
from benchmarks.quality import Arrivals, Budget, Trial, arrivals, best_trial
from benchmarks.tables import QUALITY, Facts
from benchmarks.tasks import Task, draw_tasks
from harness.encoders.runtime import precision_of
from harness.plan.decoders import (
    ARTICLE,
    ARTICLE_WITHOUT_BLUR,
    LBFGS,
    Adam,
    Decoder,
    Descent,
    GaussNewton,
    Whitening,
)

pytest.importorskip("pytest_benchmark", reason="the benchmarks need pytest-benchmark")

pytestmark = pytest.mark.benchmark(group=QUALITY)

CPU = torch.device("cpu")

IMAGES = 3
"""Whose gradients are counted, on the CPU, where the host sees every output."""

BUDGET = Budget(gradients=500, seconds=20)
"""Of a decoder of the engine; some 200 gradients suffice for the best."""

PEERS_BUDGET = Budget(gradients=800, seconds=70)
"""Of plenoptic, which takes longer for each gradient and counts for all comparisons."""

LONGEST = 2.0
"""Seconds of the rounds, unless the least number takes longer."""

LAYERS = ("layer4", "layer3")


def _engine(decoder: Decoder, setting: str, *, length: int | None = None) -> Trial:
    return Trial(setting=setting, loop=lambda task: Engine(task, decoder), length=length)


def _plenoptic(rate: float) -> Trial:
    def loop(task: Task) -> Loop:
        # Without its penalty on values outside [0, 1], with which it takes longer.
        return PlenopticLoop(plenoptic=imported("plenoptic"), task=task, rate=rate, penalty=0.0)

    return Trial(setting=f"rate {rate}", loop=loop)


def _article(step: float) -> Trial:
    decoder = dataclasses.replace(ARTICLE_WITHOUT_BLUR, step=step, schedule="decreasing")
    return _engine(decoder, f"step {step:.2g} falling, no blur", length=BUDGET.gradients)


def _normalised(step: float) -> Trial:
    decoder = Descent(rule="normalised", step=step, factor=1, loss="l2", schedule="decreasing")
    return _engine(decoder, f"step {step:.2g} falling", length=BUDGET.gradients)


CONTENDERS = {
    "l-bfgs": (_engine(LBFGS(), "history 20"),),
    "l-bfgs, whitened": (_engine(LBFGS(priors=(Whitening(),)), "history 20"),),
    "adam": tuple(
        _engine(Adam(rate=rate), f"rate {rate} falling", length=BUDGET.gradients)
        for rate in (0.05, 0.1, 0.2)
    ),
    # A step takes as long as some twenty gradients: timed with fewer images, or for minutes.
    "gauss-newton": (
        dataclasses.replace(_engine(GaussNewton(), f"{GaussNewton().inner} inner"), batch=8),
    ),
    "polyak": (_engine(Descent(rule="polyak", step=1, factor=1, loss="l2"), "step 1"),),
    "normalised": tuple(map(_normalised, (0.01, 0.03, 0.1))),
    "article": (_engine(ARTICLE, "as published", length=500),),
    "article, best step": tuple(map(_article, (0.3, 0.1, 0.1 / 3))),
}
"""What each decoder is tried with; of its settings the best one runs."""

SELECTED = {("layer4", "l-bfgs, whitened")}
"""What a run without --full measures."""

PLENOPTICS = tuple(_plenoptic(rate) for rate in (0.05, 0.1, 0.2))
"""plenoptic's Adam, likewise."""

Found = tuple[Trial, Arrivals]


def _found(trials: tuple[Trial, ...], layer: str, budget: Budget) -> Found:
    """The best trial at a layer, and what came of it."""
    trial = best_trial(trials, alone=_task(layer, 1, CPU))
    return trial, arrivals(trial, _task(layer, IMAGES, CPU), budget=budget)


def _task(layer: str, batch: int, device: torch.device) -> Task:
    case = resnet("resnet18", layer, pixels=64, batch=batch)
    with precision_of(case.precision, device=device) as precision:
        (task,) = draw_tasks(case, precision=precision, device=device)
    return task


@pytest.fixture(scope="session")
def plenoptic_at() -> Callable[[str], Found]:
    """plenoptic's best trial at a layer and what came of it; measured once a layer."""
    return functools.cache(lambda layer: _found(PLENOPTICS, layer, PEERS_BUDGET))


@pytest.mark.full
@pytest.mark.parametrize("layer", LAYERS)
def test_plenoptic(
    benchmark: Any,
    layer: str,
    device: torch.device,
    plenoptic_at: Callable[[str], Found],
    state: Callable[[Facts], None],
) -> None:
    imported("plenoptic")
    trial, arrived = plenoptic_at(layer)
    name = f"plenoptic {PLENOPTIC.version}"
    state(_measure(benchmark, name, trial, arrived, layer=layer, device=device, beside=None))


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        pytest.param(layer, name, marks=() if (layer, name) in SELECTED else pytest.mark.full)
        for layer in LAYERS
        for name in CONTENDERS
    ],
)
def test_fixed_quality(
    benchmark: Any,
    layer: str,
    name: str,
    device: torch.device,
    plenoptic_at: Callable[[str], Found],
    pytestconfig: pytest.Config,
    state: Callable[[Facts], None],
) -> None:
    # plenoptic takes a minute to get there, or not to.
    compared = PLENOPTIC.version is not None and pytestconfig.getoption("full")
    trial, arrived = _found(CONTENDERS[name], layer, BUDGET)
    beside = plenoptic_at(layer) if compared else None
    state(
        _measure(benchmark, name, trial, arrived, layer=layer, device=device, beside=beside),
    )


def _pace(trial: Trial, task: Task) -> Pace:
    return Pace([trial.loop(task)], images=task.batch, device=task.device)


def _measure(
    benchmark: Any,
    name: str,
    trial: Trial,
    arrived: Arrivals,
    *,
    layer: str,
    device: torch.device,
    beside: Found | None,
) -> dict[str, object]:
    """Time the gradients of a trial, beside those of plenoptic, and state the rates."""
    task = _task(layer, trial.batch, device)
    with precision_of(task.case.precision, device=device) as precision:
        ours = _pace(trial, task)
        theirs = _pace(beside[0], _task(layer, beside[0].batch, device)) if beside else None
        ceilings = Ceilings(task.case, dtype=precision.network, device=device)

        def before() -> None:
            ceilings.measure()
            if theirs:
                theirs.round()

        paces = (ours, theirs) if theirs else (ours,)
        benchmark.pedantic(ours.round, setup=before, rounds=rounds(*paces, longest=LONGEST))
    stated: dict[str, object] = {
        **facts(task.case, ours, ceilings.limit(), device=device),
        "decoder": name,
        "setting": trial.setting,
        "images": IMAGES,
        "reached": arrived.reached,
        "gradients": arrived.mean,
        "spent": arrived.spent,
        "nearest": max(arrived.nearest),
        "over": arrived.over,
        "reconstructions_per_second": arrived.rate * ours.image_steps_per_second,
        "reconstructions_per_second_at_most": arrived.rate_at_most * ours.image_steps_per_second,
    }
    if beside and theirs:
        peer, rate = beside[1], theirs.image_steps_per_second
        stated |= {
            "peer": PLENOPTIC.name,
            "peer_version": PLENOPTIC.version,
            "peer_batch": beside[0].batch,
            "peer_setting": beside[0].setting,
            "peer_reached": peer.reached,
            "peer_gradients": peer.mean,
            "peer_image_steps_per_second": rate,
        }
        if peer.rate_at_most:  # otherwise it never gets there, and JSON has no infinity
            stated["times_peer"] = (
                arrived.rate * ours.image_steps_per_second / (peer.rate_at_most * rate)
            )
    return stated
