"""Reconstructions per second at fixed quality: m_g at most a tenth of m_r, by decoder.

The gradients that an image needs are counted on a few images, within a budget: that a decoder does
not reconstruct them is a result. Of several settings the best on one image is taken. Gradients per
second are timed at a large batch, in rounds that alternate with plenoptic's. The rate is one over
the other, since an image that is reconstructed makes room for the next.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks.cases import resnet
from benchmarks.facts import throughput_facts
from benchmarks.loops.engine import Engine
from benchmarks.loops.loop import Loop
from benchmarks.loops.plenoptic import PlenopticLoop
from benchmarks.peers import PLENOPTIC, imported
from benchmarks.quality import Arrivals, Trial, arrivals, best_trial
from benchmarks.roofline import PeakRates
from benchmarks.tables import QUALITY, Facts
from benchmarks.tasks import Task, draw_tasks
from benchmarks.throughput import ROUNDS, Throughput
from harness.encoders.runtime import precision_of
from harness.plan.decoders import (
    ARTICLE,
    ARTICLE_WITHOUT_BLUR,
    LBFGS,
    Adam,
    AnnealedLBFGS,
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

BUDGET = 500
"""Gradients of a decoder of the engine; some 200 suffice for the best."""

LAYERS = ("layer4", "layer3")


def _engine(decoder: Decoder, setting: str) -> Trial:
    return Trial(setting=setting, loop=lambda task: Engine(task, decoder), gradients=BUDGET)


def _plenoptic(rate: float) -> Trial:
    def loop(task: Task) -> Loop:
        # Without its penalty on values outside [0, 1], which slows it down.
        return PlenopticLoop(plenoptic=imported("plenoptic"), task=task, rate=rate, penalty=0.0)

    return Trial(setting=f"rate {rate}", loop=loop, gradients=800)


def _article(step: float) -> Trial:
    decoder = dataclasses.replace(ARTICLE_WITHOUT_BLUR, step=step, schedule="decreasing")
    return _engine(decoder, f"step {step:.2g} falling, no blur")


def _normalised(step: float) -> Trial:
    decoder = Descent(rule="normalised", step=step, factor=1, loss="l2", schedule="decreasing")
    return _engine(decoder, f"step {step:.2g} falling")


_GAUSS_NEWTON = _engine(GaussNewton(), f"{GaussNewton().inner} inner")
CONTENDERS = {
    "l-bfgs": (_engine(LBFGS(), "history 20"),),
    "l-bfgs, whitened": (_engine(LBFGS(priors=(Whitening(),)), "history 20"),),
    "l-bfgs, annealed": (_engine(AnnealedLBFGS(), "history 20"),),
    "adam": tuple(_engine(Adam(rate=rate), f"rate {rate} falling") for rate in (0.05, 0.1, 0.2)),
    # A step takes as long as some twenty gradients.
    "gauss-newton": (dataclasses.replace(_GAUSS_NEWTON, gradients=160, batch=8),),
    "polyak": (_engine(Descent(rule="polyak", step=1, factor=1, loss="l2"), "step 1"),),
    "normalised": tuple(map(_normalised, (0.01, 0.03, 0.1))),
    "article": (_engine(ARTICLE, "as published"),),
    "article, best step": tuple(map(_article, (0.3, 0.1, 0.1 / 3))),
}
"""What each decoder is tried with; of its settings the best one runs."""

SELECTED = {("layer4", "l-bfgs, whitened")}
"""What a run without --full measures."""

PLENOPTICS = tuple(_plenoptic(rate) for rate in (0.05, 0.1, 0.2))
"""plenoptic's Adam, likewise."""

Found = tuple[Trial, Arrivals]


def task_at(layer: str, batch: int, device: torch.device) -> Task:
    """Images to reconstruct from a layer of ResNet-18."""
    case = resnet("resnet18", layer, pixels=64, batch=batch)
    with precision_of(case.precision, device=device) as precision:
        (task,) = draw_tasks(case, precision=precision, device=device)
    return task


def _found(trials: tuple[Trial, ...], layer: str) -> Found:
    """The best trial at a layer, and what came of it."""
    trial = best_trial(trials, alone=task_at(layer, 1, CPU))
    return trial, arrivals(trial, task_at(layer, IMAGES, CPU))


@pytest.fixture(scope="session")
def plenoptic_at() -> Callable[[str], Found]:
    """plenoptic's best trial at a layer and what came of it; measured once a layer."""
    return functools.cache(lambda layer: _found(PLENOPTICS, layer))


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
    name = f"plenoptic {PLENOPTIC.version}"
    state(_measure(benchmark, name, plenoptic_at(layer), layer=layer, device=device))


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
    # plenoptic's own gradients take a minute to count.
    compared = PLENOPTIC.version is not None and pytestconfig.getoption("full")
    peer = plenoptic_at(layer) if compared else None
    found = _found(CONTENDERS[name], layer)
    state(_measure(benchmark, name, found, layer=layer, device=device, peer=peer))


def _measure(
    benchmark: Any,
    name: str,
    found: Found,
    *,
    layer: str,
    device: torch.device,
    peer: Found | None = None,
) -> dict[str, object]:
    """Time the gradients of a trial and of its peer, and state the rates."""

    def throughput(trial: Trial) -> Throughput:
        task = task_at(layer, trial.batch, device)
        return Throughput([trial.loop(task)], images=task.batch, device=device)

    trial, arrived = found
    case = resnet("resnet18", layer, pixels=64, batch=trial.batch)
    with precision_of(case.precision, device=device) as precision:
        ours, theirs = throughput(trial), throughput(peer[0]) if peer else None
        peaks = PeakRates(case, dtype=precision.network, device=device)

        def before() -> None:
            peaks.measure()
            if theirs:
                theirs.round()

        benchmark.pedantic(ours.round, setup=before, rounds=ROUNDS)
    stated: dict[str, object] = {
        **throughput_facts(case, ours, peaks.roofline(), device=device),
        "decoder": name,
        "setting": trial.setting,
        "images": len(arrived.gradients),
        "reached": arrived.reached,
        "gradients": arrived.mean,
        "spent": arrived.spent,
        "nearest": max(arrived.nearest),
        "reconstructions_per_second": arrived.rate * ours.image_steps_per_second,
    }
    if peer and theirs:
        its_rate = peer[1].rate_at_most * theirs.image_steps_per_second
        stated |= {
            "peer": PLENOPTIC.name,
            "peer_version": PLENOPTIC.version,
            "peer_batch": theirs.images,
            "peer_setting": peer[0].setting,
            "peer_reached": peer[1].reached,
            "peer_gradients": peer[1].mean,
            "peer_image_steps_per_second": theirs.image_steps_per_second,
            "times_peer": arrived.rate * ours.image_steps_per_second / its_rate,
        }
    return stated
