"""The benchmarks: what they count, what they compare with, and what they state.

No time is asserted: where time matters, a clock is made up.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import (
    conftest,
    goals,
    pace,
    quality,
    test_peers,
    test_quality,
    test_spectrum,
    test_throughput,
)
from benchmarks.arithmetic import Work, count, step_work
from benchmarks.cases import GPU, MORE, SELECTED, Case, mlp, resnet
from benchmarks.ceiling import memory_gbytes
from benchmarks.limit import Limit
from benchmarks.loops.engine import Engine
from benchmarks.loops.loop import Seen
from benchmarks.loops.lucent import LucentLoop
from benchmarks.loops.plenoptic import PlenopticLoop
from benchmarks.pace import Pace, fastest, rounds
from benchmarks.page import others, page
from benchmarks.peers import ARTICLE, PEERS, PLAIN, Peer, imported
from benchmarks.profile import kind_of
from benchmarks.quality import Arrivals, Budget, Trial, arrivals, best_trial
from benchmarks.reasons import reason
from benchmarks.tables import PEERS as PEERS_GROUP
from benchmarks.tables import QUALITY, SPECTRUM, THROUGHPUT, Facts, as_markdown, as_text, tables
from benchmarks.tasks import Task, draw_tasks
from harness.encoders.runtime import precision_of
from harness.execution import peak_rate as ceiling
from harness.execution.peak_rate import arithmetic_gflops
from harness.plan.networks import ResNet
from harness.subjects.resnet import build_resnet

ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")

INFO = {
    *("network", "layer", "size", "batch", "weights", "dtype", "device", "threads", "decoder"),
    *("steps", "image_steps_per_second", "step_gflop", "step_gbyte"),
    *("ceiling_gflops", "ceiling_gbytes", "bound", "times_limit"),
}
"""What every benchmark states."""

COMPARED = {"peer", "peer_version", "peer_batch", "peer_image_steps_per_second", "times_peer"}


def silent(_: Tensor) -> None:
    """Told of outputs, does nothing."""


def task_of(case: Case, precision: str = "float64") -> Task:
    with precision_of(precision, device=CPU) as found:
        (task,) = draw_tasks(case, precision=found, device=CPU)
    return task


# What a step takes


def test_a_convolution_is_counted_as_by_hand() -> None:
    # 9 outputs of 8 channels, each from 3 x 3 pixels of the 2 channels in its group.
    module = nn.Conv2d(4, 8, kernel_size=3, stride=2, padding=1, groups=2)
    weights = 8 * 3 * 3 * 2
    assert count(module, torch.zeros(1, 4, 5, 5)) == (9 * weights, weights)
    assert count(module, torch.zeros(3, 4, 5, 5)) == (3 * 9 * weights, weights)


def test_a_linear_layer_is_counted_as_by_hand() -> None:
    assert count(nn.Linear(5, 7), torch.zeros(2, 5)) == (2 * 5 * 7, 5 * 7)


@pytest.mark.parametrize(
    ("name", "giga"),
    # "GFLOPS" (multiply-accumulates at 224 pixels) in torchvision's table of its models:
    # https://docs.pytorch.org/vision/stable/models.html
    [("resnet18", 1.81), ("resnet50", 4.09)],
)
def test_resnets_have_the_published_arithmetic(name: str, giga: float) -> None:
    with torch.device("meta"):
        whole = build_resnet(ResNet(name=name, layer="layer4"), seed=0)
        macs, weights = count(whole, torch.empty(1, 3, 224, 224))
    assert round(macs / 1e9, 2) == giga
    linear_and_convolutional = sum(each.numel() for each in whole.parameters() if each.dim() > 1)
    assert weights == linear_and_convolutional


@pytest.mark.parametrize(
    "case",
    [
        resnet("resnet18", "layer1", pixels=32, batch=1),
        resnet("resnet18", "layer4", pixels=64, batch=2),
        resnet("resnet50", "layer2", pixels=32, batch=1),
        mlp(width=20, depth=3, pixels=4, batch=1),
    ],
    ids=str,
)
def test_torch_computes_what_is_counted(case: Case) -> None:
    task = task_of(case, "float32")
    network = task.truncated().requires_grad_(False)
    image = task.start.clone().requires_grad_()
    # One at a time: the counter's hooks on modules do not let a gradient of the input through.
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        network(image)
    output = network(image)
    with FlopCounterMode(display=False) as back:
        torch.autograd.grad(output.sum(), image)
    assert forward.get_total_flops() + back.get_total_flops() == step_work(case).flops


def test_work_grows_with_images_and_reading_with_networks() -> None:
    one = step_work(resnet("resnet18", "layer2", pixels=32, batch=1))
    four = step_work(resnet("resnet18", "layer2", pixels=32, batch=4))
    fresh = step_work(resnet("resnet18", "layer2", pixels=32, batch=4, fresh=True))
    larger = step_work(resnet("resnet18", "layer2", pixels=64, batch=1))
    deeper = step_work(resnet("resnet18", "layer3", pixels=32, batch=1))
    assert (four.flops, four.weights) == (4 * one.flops, one.weights)
    assert (fresh.flops, fresh.weights) == (4 * one.flops, 4 * one.weights)
    assert (larger.flops, larger.weights) == (4 * one.flops, one.weights)
    assert deeper.flops > one.flops
    assert step_work(mlp(width=20, depth=2, pixels=4, batch=3)) == Work(
        flops=3 * 2 * 2 * (48 * 20 + 20 * 20), weights=3 * 2 * (48 * 20 + 20 * 20)
    )


def test_the_limit_is_the_longer_of_arithmetic_and_reading() -> None:
    limit = Limit(work=Work(flops=2 * 10**9, weights=10**8), itemsize=4, gflops=100, gbytes=40)
    assert limit.arithmetic == pytest.approx(0.02)
    assert limit.traffic == pytest.approx(0.01)
    assert (limit.seconds, limit.bound) == (limit.arithmetic, "arithmetic")
    slow = dataclasses.replace(limit, gbytes=10)
    assert (slow.seconds, slow.bound) == (pytest.approx(0.04), "memory")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_ceilings_are_rates(dtype: torch.dtype) -> None:
    # Three orders of magnitude either way: enough for any machine, and for one that is busy.
    assert 1e-3 < arithmetic_gflops(dtype=dtype, device=CPU, size=128) < 1e6
    assert 1e-3 < memory_gbytes(size=2**20, dtype=dtype, device=CPU) < 1e5


@pytest.mark.parametrize("kind", ceiling._KINDS["cpu"])
def test_torch_computes_what_a_ceiling_counts(kind: Callable[..., Any]) -> None:
    work = kind(320, lambda *shape: torch.zeros(shape))
    with FlopCounterMode(display=False) as counted:
        work.run()
    assert counted.get_total_flops() == work.flops == pytest.approx(2 * 320**3, rel=0.15)


@pytest.mark.parametrize("fastest", ["mm", "conv2d"])
def test_the_fastest_arithmetic_is_the_ceiling(
    fastest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seconds(work: Callable[[], object], **_: object) -> float:
        with FlopCounterMode(display=False) as counted:
            work()
        (name,) = {str(operator) for operator in counted.get_flop_counts()["Global"]}
        alike = ("mm" in name) == (fastest == "mm")
        return counted.get_total_flops() / (9e9 if alike else 1e9)

    monkeypatch.setattr(ceiling, "best_seconds", seconds)
    rate = arithmetic_gflops(dtype=torch.float32, device=CPU, size=128)
    assert rate == pytest.approx(9)


# How fast loops go


class Clock:
    """Time that passes only where it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(pace.time, "perf_counter", made.perf_counter)
    return made


@dataclasses.dataclass
class Staged:
    """A loop whose parts take made-up times."""

    clock: Clock
    step: float
    before: float = 0.0
    after: float = 0.0

    def run(self, steps: int, *, seen: Seen) -> Tensor:
        self.clock.now += self.before
        for _ in range(steps):
            seen(torch.zeros(1))
            self.clock.now += self.step
        self.clock.now += self.after
        return torch.zeros(1)


def test_only_steps_are_timed(clock: Clock) -> None:
    loop = Staged(clock, step=0.01, before=5, after=7)
    found = Pace([loop], images=4, device=CPU, seconds=0.1)
    assert found.steps == 10
    loop.step = 0.02
    found.round()
    assert found.step_seconds == pytest.approx(0.01)
    loop.step = 0.005
    found.round()
    assert found.image_steps_per_second == pytest.approx(4 / 0.005)


def test_captures_of_uneven_length_are_no_steps_on_a_gpu(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "synchronize", lambda _: None)
    loop = Staged(clock, step=1e-4)
    uneven = np.random.default_rng(0)

    def run(steps: int, *, seen: Seen) -> Tensor:
        loop.before = 0.05 + uneven.uniform(0, 0.05)  # as long as hundreds of steps, give or take
        return Staged.run(loop, steps, seen=seen)

    monkeypatch.setattr(loop, "run", run)
    found = Pace([loop], images=1, device=torch.device("cuda"), seconds=0.15)
    for _ in range(20):
        found.round()
    assert found.step_seconds == pytest.approx(1e-4, rel=0.05)


def test_loops_of_a_round_take_their_steps_one_after_the_other(clock: Clock) -> None:
    parts = [Staged(clock, step=step, before=1, after=1) for step in (0.01, 0.03)]
    found = Pace(parts, images=2, device=CPU, seconds=0.1)
    assert found.step_seconds == pytest.approx(0.04)
    assert len(found.round()) == 2


def test_the_batch_with_the_most_image_steps_is_the_fastest(clock: Clock) -> None:
    small = Pace([Staged(clock, step=0.01)], images=1, device=CPU)
    large = Pace([Staged(clock, step=0.05)], images=8, device=CPU)
    assert fastest([small, large]) is large
    assert fastest([small]) is small


def test_as_many_rounds_as_fit(clock: Clock) -> None:
    found = Pace([Staged(clock, step=0.1)], images=1, device=CPU, seconds=1)
    assert rounds(found, longest=0) == pace.LEAST
    assert rounds(found, found, longest=16.1) == 8
    assert rounds(found, longest=100) == pace.MOST


# Peers


@pytest.mark.parametrize(
    "case",
    [
        resnet("resnet18", "conv1", pixels=32, batch=2),
        resnet("resnet18", "stem", pixels=32, batch=2),
        resnet("resnet50", "layer1", pixels=32, batch=2),
        resnet("resnet18", "layer4", pixels=32, batch=2),
        mlp(width=40, depth=3, pixels=4, batch=1),
    ],
    ids=str,
)
@pytest.mark.parametrize("peer", [ARTICLE, PLAIN], ids=lambda peer: peer.name)
def test_the_articles_loops_take_the_engines_steps(case: Case, peer: Peer) -> None:
    task = task_of(case)
    start = task.start.clone()
    loop = peer.loop(task, case.decoder)
    for steps in (1, 3):
        ours = Engine(task, case.decoder).run(steps, seen=silent)
        theirs = loop.run(steps, seen=silent)
        assert (ours - start).abs().max() > 1e-3
        torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-12)
    assert torch.equal(task.start, start)


def engine_gradient(task: Task) -> Tensor:
    """The gradient of half the squared distance, at the start."""
    output, vjp = task.encoder.vjp(task.start)
    return vjp(output - task.target)


@pytest.mark.parametrize("layer", ["layer1", "layer4"])
def test_plenoptic_has_the_engines_gradient(layer: str) -> None:
    task = task_of(resnet("resnet18", layer, pixels=32, batch=2))
    # Steepest descent at rate 1 gives the gradient away; that of the mean square is 2 / n of ours.
    loop = PlenopticLoop(
        plenoptic=imported("plenoptic"), task=task, rate=1.0, optimizer=torch.optim.SGD
    )
    gradient = task.start - loop.run(1, seen=silent)
    expected = engine_gradient(task) * 2 / task.target.numel()
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("layer", ["layer1", "layer4"])
def test_lucent_has_the_engines_gradient_each_time(layer: str) -> None:
    task = task_of(resnet("resnet18", layer, pixels=32, batch=2))
    loop = LucentLoop(
        render=imported("lucent.optvis.render"),
        task=task,
        optimizer=lambda images: torch.optim.SGD(images, lr=1.0),
    )
    expected = engine_gradient(task)
    for _ in range(2):  # gradients of parameters add up, that of the image must not
        gradient = task.start - loop.run(1, seen=silent)
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_tells_of_every_evaluation_at_the_layer(peer: Peer) -> None:
    case = resnet("resnet18", "layer1", pixels=32, batch=2)
    task = task_of(case, "float32")
    told: list[Tensor] = []
    loop = peer.loop(task, case.decoder)
    for _ in range(2):
        told.clear()
        loop.run(3, seen=lambda output: told.append(output.clone()))
        assert len(told) in (3, 4)
    torch.testing.assert_close(told[0], task.encoder.encode(task.start), rtol=1e-3, atol=1e-4)


def test_a_peer_that_is_not_there_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plenoptic", None)
    task = task_of(resnet("resnet18", "layer1", pixels=32, batch=1))
    duel = test_peers.Duel(peer=test_peers.PLENOPTIC, case=task.case, peer_batches=(1,))
    with pytest.raises(pytest.skip.Exception, match=r"pip install '\.\[peers\]'"):
        test_peers.test_against(Rounds(), duel, CPU, lambda _: None)
    with pytest.raises(pytest.skip.Exception, match="not installed"):
        test_quality.test_plenoptic(Rounds(), "layer4", CPU, never, lambda _: None)


def never(_: str) -> Any:
    raise AssertionError


# Fixed quality


@dataclasses.dataclass
class Approaching:
    """A loop whose outputs come nearer by plan, a share of m_r for each image."""

    task: Task
    shares: list[tuple[float, ...]]
    clock: Clock | None = None

    def run(self, steps: int, *, seen: Seen) -> Tensor:
        direction = torch.ones_like(self.task.target)
        direction /= direction.flatten(1).norm(dim=1)[:, None, None, None]
        for number in range(steps):
            share = self.shares[min(number, len(self.shares) - 1)]
            if self.clock:
                self.clock.now += 1
            away = torch.tensor(share, dtype=direction.dtype) * self.task.m_r
            seen(self.task.target + away[:, None, None, None] * direction)
        return self.task.start


@pytest.fixture(scope="module")
def two() -> Task:
    return task_of(resnet("resnet18", "conv1", pixels=8, batch=2))


def arrived(
    trial: Trial, task: Task, *, gradients: int = 1000, seconds: float = math.inf
) -> Arrivals:
    return arrivals(trial, task, budget=Budget(gradients=gradients, seconds=seconds))


def approach(*shares: tuple[float, ...], length: int | None = None) -> Trial:
    return Trial(setting="", loop=lambda task: Approaching(task, list(shares)), length=length)


def test_an_image_counts_when_it_first_gets_there(two: Task) -> None:
    found = arrived(approach((5, 3), (1, 0.0999), (2, 4), (0.05, 9), (0, 0)), two)
    assert found.gradients == (4, 2)
    assert found.spent == 4
    assert found.nearest == (pytest.approx(0.05), pytest.approx(0.0999))
    assert found.rate == pytest.approx(1 / 3)


def test_an_image_that_does_not_get_there_is_not_dropped(two: Task) -> None:
    found = arrived(approach((1, 1), (0.1, 0.101)), two, gradients=10)
    assert found.gradients == (2, None)
    assert (found.reached, found.spent, found.over) == (1, 10, False)
    # One image for 12 gradients of an image; had the other come there at the end, two.
    assert found.rate == pytest.approx(1 / 12)
    assert found.rate_at_most == pytest.approx(2 / 12)
    planned = arrived(approach((1, 1), (0.1, 0.101), length=10), two)
    assert planned.over
    assert planned.rate_at_most == planned.rate


def test_a_run_is_given_up_where_no_image_comes_nearer(
    two: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "PATIENCE", 5)
    # That the first image, which is there, comes nearer still does not keep the run alive.
    falling = [(0.1 * 0.9**number, 1.0) for number in range(50)]
    found = arrived(approach(*falling), two)
    assert found.spent == 6
    assert found.over
    assert arrived(approach(*falling, length=20), two).spent == 20


@pytest.mark.parametrize("length", [None, 50])
def test_time_out_is_no_end(two: Task, clock: Clock, length: int | None) -> None:
    def loop(task: Task) -> Approaching:
        return Approaching(task, [(1.0, 1.0)], clock=clock)

    found = arrived(Trial(setting="", loop=loop, length=length), two, seconds=7.5)
    assert (found.spent, found.over, found.reached) == (8, False, 0)
    assert found.rate_at_most == pytest.approx(1 / 8)


def test_a_budget_counts_evaluations_and_shortens_plans(two: Task) -> None:
    class Twice(Approaching):
        def run(self, steps: int, *, seen: Seen) -> Tensor:
            return super().run(2 * steps, seen=seen)

    trial = Trial(setting="", loop=lambda task: Twice(task, [(1.0, 1.0)]))
    assert arrived(trial, two, gradients=10).spent == 10
    planned = arrived(approach((1, 1), length=50), two, gradients=10)
    assert (planned.spent, planned.over) == (10, True)


def test_a_value_that_is_not_a_number_is_nowhere_near(two: Task) -> None:
    found = arrived(approach((math.nan, 1), (1, math.nan), (1, 1), length=4), two)
    assert found.nearest == (pytest.approx(1), pytest.approx(1))
    assert found.reached == 0


def test_the_best_trial_needs_the_fewest_gradients_or_comes_nearest(two: Task) -> None:
    slow, quick = approach((1, 1), (1, 1), (0, 0)), approach((1, 1), (0, 0))
    assert best_trial([slow, quick, slow], alone=two) is quick
    far, near = (approach((share, share), length=3) for share in (0.9, 0.8))
    assert best_trial([far, near], alone=two) is near
    assert best_trial([near, slow], alone=two) is slow
    alone = Trial(setting="", loop=lambda _: pytest.fail("one setting needs no search"))
    assert best_trial([alone], alone=two) is alone


def test_the_engines_runs_are_watched(two: Task) -> None:
    decoder = dataclasses.replace(test_quality.ARTICLE, priors=(), step=0.01)
    found = arrived(Trial(setting="", loop=lambda task: Engine(task, decoder), length=5), two)
    assert found.spent == 6  # the start and five steps
    assert max(found.nearest) < 50


# What is stated


class Rounds:
    """Stands in for pytest-benchmark: two rounds, no statistics."""

    def pedantic(
        self, work: Callable[[], Tensor], *, setup: Callable[[], None], rounds: int
    ) -> Tensor:
        assert rounds >= 3
        for _ in range(2):
            assert setup() is None
            result = work()
        return result


@pytest.fixture
def stated() -> list[Facts]:
    return []


@pytest.fixture
def state(stated: list[Facts]) -> Callable[[Facts], None]:
    return stated.append


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds of two steps."""
    monkeypatch.setattr(pace, "SECONDS", 0.0)


def check_numbers(facts: Facts) -> None:
    for name, value in facts.items():
        if isinstance(value, float):
            assert math.isfinite(value), name
            assert value >= 0, name
    assert facts["times_limit"] > 0
    json.dumps(facts, allow_nan=False)


@pytest.mark.parametrize(
    "case",
    [
        resnet("resnet18", "layer1", pixels=32, batch=2),
        resnet("resnet18", "stem", pixels=32, batch=2, fresh=True),
        mlp(width=20, depth=2, pixels=4, batch=3),
        mlp(width=20, depth=2, pixels=4, batch=3, fresh=False),
    ],
    ids=str,
)
def test_a_benchmark_of_throughput_states_everything(
    case: Case, state: Callable[[Facts], None], stated: list[Facts]
) -> None:
    test_throughput.test_throughput(Rounds(), case, CPU, state)
    (facts,) = stated
    assert facts.keys() == {*INFO, "profile"}
    check_numbers(facts)
    assert facts["batch"] == case.batch
    assert facts["weights"] == ("own" if case.fresh else "shared")
    assert facts["decoder"] == "article"
    work = step_work(case)
    least = max(work.flops / facts["ceiling_gflops"], 4 * work.weights / facts["ceiling_gbytes"])
    seconds = case.batch / facts["image_steps_per_second"]
    assert facts["times_limit"] == pytest.approx(seconds / (least / 1e9))
    assert sum(facts["profile"].values()) == pytest.approx(1, abs=0.5)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_comparison_states_everything(
    peer: Peer, state: Callable[[Facts], None], stated: list[Facts]
) -> None:
    case = resnet("resnet18", "layer1", pixels=32, batch=1)
    duel = test_peers.Duel(peer=peer, case=case, batches=(2,), peer_batches=(1, 3))
    test_peers.test_against(Rounds(), duel, CPU, state)
    (facts,) = stated
    assert facts.keys() == {*INFO, *COMPARED, "peer_times_limit"}
    check_numbers(facts)
    assert facts["batch"] == 2
    assert facts["peer_batch"] in (1, 3)
    assert facts["decoder"] == ("adam" if peer.decoder else "article")
    assert (facts["peer_version"] is None) == (peer.package is None)
    assert facts["times_peer"] == pytest.approx(
        facts["image_steps_per_second"] / facts["peer_image_steps_per_second"]
    )


def test_fixed_quality_states_everything(
    monkeypatch: pytest.MonkeyPatch, state: Callable[[Facts], None], stated: list[Facts]
) -> None:
    imported("plenoptic")

    def small(layer: str, batch: int, _: torch.device) -> Task:
        return task_of(resnet("resnet18", "conv1", pixels=16, batch=min(batch, 3)), "float32")

    monkeypatch.setattr(test_quality, "_task", small)
    budget = Budget(gradients=30, seconds=60)
    monkeypatch.setattr(test_quality, "BUDGET", budget)
    full = type("Config", (), {"getoption": lambda *_: True})()
    (trial, *_) = test_quality.PLENOPTICS
    found = trial, arrivals(trial, small("", 3, CPU), budget=budget)
    test_quality.test_plenoptic(Rounds(), "layer4", CPU, lambda _: found, state)
    test_quality.test_fixed_quality(Rounds(), "layer4", "l-bfgs", CPU, lambda _: found, full, state)
    alone, beside = stated
    own = {"setting", "images", "reached", "gradients", "spent", "nearest", "over"}
    rates = {"reconstructions_per_second", "reconstructions_per_second_at_most"}
    assert alone.keys() == {*INFO, *own, *rates}
    assert beside.keys() == {
        *alone, *COMPARED, "peer_setting", "peer_reached", "peer_gradients",
    }  # fmt: skip
    for facts in stated:
        check_numbers(facts)
    assert alone["decoder"].startswith("plenoptic ")
    assert beside["decoder"] == "l-bfgs"
    # conv1 is an easy layer: L-BFGS is there within these few gradients.
    assert beside["reached"] == 3
    rate = beside["image_steps_per_second"] / beside["gradients"]
    assert beside["reconstructions_per_second"] == pytest.approx(rate)
    text = as_text(tables([{"group": QUALITY, **facts} for facts in stated])[0])
    assert "3 of 3" in text


@pytest.mark.parametrize("name", ["gauss-newton", "normalised"])
def test_contenders_are_tried_within_their_budget(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    state: Callable[[Facts], None],
    stated: list[Facts],
) -> None:
    def small(_: str, batch: int, __: torch.device) -> Task:
        return task_of(resnet("resnet18", "conv1", pixels=16, batch=min(batch, 3)), "float32")

    monkeypatch.setattr(test_quality, "_task", small)
    monkeypatch.setattr(test_quality, "BUDGET", Budget(gradients=5, seconds=60))
    monkeypatch.setattr(quality, "SEARCH", Budget(gradients=3, seconds=60))
    selection = type("Config", (), {"getoption": lambda *_: False})()
    test_quality.test_fixed_quality(Rounds(), "layer4", name, CPU, never, selection, state)
    (facts,) = stated
    check_numbers(facts)
    assert facts["decoder"] == name
    assert facts["spent"] <= 6


def test_a_spectrum_states_what_it_took(
    state: Callable[[Facts], None], stated: list[Facts]
) -> None:
    class Once:
        def pedantic(self, work: Callable[..., Any], *, args: tuple[Any, ...], rounds: int) -> Any:
            assert rounds == 1
            return work(*args)

    case = resnet("resnet18", "conv1", pixels=8, batch=1, precision="float64")
    test_spectrum.test_spectrum(Once(), case, CPU, state)
    (facts,) = stated
    assert (facts["outputs"], facts["inputs"]) == (64 * 4 * 4, 3 * 8 * 8)
    assert 0 < facts["rank"] <= facts["inputs"]
    assert facts["seconds"] == pytest.approx(
        facts["jacobian_seconds"] + facts["decomposition_seconds"]
    )
    (table,) = tables([{"group": SPECTRUM, **facts}])
    assert table.rows[0][4:6] == ("1,024", "192")


def test_the_spectrum_has_a_goal_where_it_is_measured() -> None:
    (case,) = test_spectrum.CASES
    (goal,) = (goal for goal in goals.CPU_GOALS if "Jacobian" in goal.what)
    place = {"layer": case.layer, "size": case.images.pixels, "network": case.name}
    assert goal.measured([facts_of(group=SPECTRUM, seconds=24.0, **place)]) == 24.0
    assert goal.reached(25)
    assert not goal.reached(25.1)


def test_names_are_their_own() -> None:
    for named in (
        [*SELECTED, *MORE, *GPU],
        [*test_peers.SELECTED, *test_peers.MORE],
    ):
        assert len({str(each) for each in named}) == len(named)


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        ("aten::convolution_backward", "convolutions"),
        ("mkldnn::_convolution_pointwise", "convolutions"),
        ("aten::bmm", "matrix products"),
        ("aten::mm", "matrix products"),
        ("aten::max_pool2d_with_indices", "pooling"),
        ("aten::threshold_backward", "elementwise"),
        ("aten::linalg_vector_norm", "sums and norms"),
        ("aten::as_strided", "other operators"),
    ],
)
def test_operators_by_kind(operator: str, kind: str) -> None:
    assert kind_of(operator) == kind


# Goals, tables and the page


def facts_of(**changes: Any) -> Facts:
    return {
        "group": THROUGHPUT,
        "network": "resnet18",
        "layer": "layer1",
        "size": 64,
        "batch": 8,
        "weights": "shared",
        "dtype": "float32",
        "device": "cpu",
        "threads": 2,
        "decoder": "article",
        "image_steps_per_second": 1234.56,
        "step_gflop": 0.5,
        "step_gbyte": 0.01,
        "ceiling_gflops": 147.2,
        "ceiling_gbytes": 20.04,
        "bound": "arithmetic",
        "times_limit": 1.5,
        "profile": {"convolutions": 0.9, "pooling": 0.096, "copies": 0.004},
        **changes,
    }


def quality_of(decoder: str, *, rate: float, at_most: float | None = None, **changes: Any) -> Facts:
    return facts_of(
        group=QUALITY,
        decoder=decoder,
        setting="",
        images=3,
        reached=3,
        gradients=700.0,
        spent=700,
        over=False,
        nearest=0.0999,
        reconstructions_per_second=rate,
        reconstructions_per_second_at_most=rate if at_most is None else at_most,
        **changes,
    )


def test_tables_come_by_group_and_in_order() -> None:
    found = [
        quality_of("l-bfgs", rate=0.25),
        facts_of(batch=32),
        facts_of(),
        facts_of(layer="stem"),
        facts_of(layer="conv1"),
    ]
    throughput, fixed = tables(found)
    assert [row[1::3] for row in throughput.rows] == [
        ("conv1", "8", "20.0"),
        ("stem", "8", "20.0"),
        ("layer1", "8", "20.0"),
        ("layer1", "32", "20.0"),
    ]
    head, row, *_ = as_text(throughput).splitlines()
    assert head.split() == " ".join(throughput.heads).split()
    assert len(head) == len(row)
    assert "| conv1 | float32 | 64 | 8 | 1,234.6 |" in as_markdown(throughput)
    assert fixed.rows[0][-2:] == ("0.250", "-")
    assert tables([]) == []


@pytest.mark.parametrize(
    ("changes", "cell"),
    [
        ({}, "-"),
        ({"peer": "p", "peer_reached": 3, "times_peer": 3.14159}, "3.14"),
        ({"peer": "p", "peer_reached": 2, "times_peer": 3.14159}, "≥ 3.14"),
        ({"peer": "p", "peer_reached": 0}, "it is never there"),
        ({"peer": "p", "peer_reached": 3, "times_peer": 0.0, "reached": 0}, "-"),
    ],
)
def test_times_plenoptic(changes: dict[str, Any], cell: str) -> None:
    (table,) = tables([{**quality_of("polyak", rate=1), **changes}])
    assert table.rows[0][-1] == cell


@pytest.mark.parametrize(
    ("changes", "cell"),
    [
        ({}, "-"),
        ({"reached": 2}, "not within 700"),
        ({"reached": 0, "over": True}, "never"),
    ],
)
def test_what_became_of_the_others(changes: dict[str, Any], cell: str) -> None:
    (table,) = tables([{**quality_of("polyak", rate=1), **changes}])
    assert table.rows[0][table.heads.index("others")] == cell


def run_of(*found: Facts) -> dict[str, Any]:
    return {
        "datetime": "2000-01-01T00:00:00+00:00",
        "machine_info": {
            "arguments": "benchmarks/ --full",
            "cores": 2,
            "cpu": {"brand_raw": "A processor"},
            "gpu": None,
            "instructions": "AVX2",
            "python_version": "3.11.0",
            "torch": "2.0",
        },
        "benchmarks": [
            {
                "group": facts["group"],
                "extra_info": {key: value for key, value in facts.items() if key != "group"},
            }
            for facts in found
        ],
    }


def test_the_page_says_what_was_reached_and_where_the_time_went() -> None:
    run = run_of(
        facts_of(times_limit=1.7),
        facts_of(batch=32, times_limit=1.61),
        facts_of(layer="layer4", times_limit=1.2),
        quality_of("article", rate=0.0, layer="layer4"),
        quality_of("l-bfgs", rate=0.1, layer="layer4"),
        quality_of("plenoptic 2.1.1", rate=0.0, at_most=0.025, layer="layer4"),
    )
    text = page(run)
    assert "pytest benchmarks/ --full --benchmark-json=" in text
    assert "A processor (AVX2), 2 cores; 2 threads" in text
    assert "2000" not in text
    rows = {line.split(" | ")[0]: line.split(" | ")[1:] for line in text.splitlines()}
    limit = "| resnet18, 64 pixels, {}, at its best batch: times the limit"
    assert rows[limit.format("layer1")] == ["at most 1.6", "1.61", "no |"]
    assert rows[limit.format("layer4")] == ["at most 1.25", "1.20", "yes |"]
    assert rows[limit.format("layer2")] == ["at most 1.35", "not measured", " |"]
    quality_rows = {name: cells for name, cells in rows.items() if "fixed quality against" in name}
    (plenoptic,) = (
        cells for name, cells in quality_rows.items() if "layer4" in name and "plenoptic" in name
    )
    assert plenoptic == ["at least 3", "4.00", "yes |"]
    (article,) = (
        cells for name, cells in quality_rows.items() if "layer4" in name and "article" in name
    )
    assert article == ["at least 10", "the other never gets there", "yes |"]
    # One figure is missed; its profile is that of the best batch, without trifles.
    joined = " ".join(text.split())
    assert (
        "Time of a step at batch 32, 1.61 times the limit, which is that of arithmetic: "
        "convolutions 90%, pooling 10%." in joined
    )
    assert joined.count("Time of a step at batch") == 1


@pytest.mark.parametrize(
    ("profile", "spent"),
    [
        (
            {"convolutions": 0.6, "matrix products": 0.3, "copies": 0.1},
            "40% of a step, goes on con",
        ),
        ({"convolutions": 0.6, "copies": 0.3, "elementwise": 0.1}, "40% of a step, goes on moving"),
        ({"convolutions": 0.6, "copies": 0.1, "outside operators": 0.3}, "30% of a step, goes out"),
    ],
)
def test_a_reason_is_what_the_profile_shows(profile: dict[str, float], spent: str) -> None:
    # A step of 8 images takes 10 ms, of which its arithmetic takes 5 at the best rate and its
    # weights 2.
    facts = facts_of(
        profile=profile,
        image_steps_per_second=800.0,
        times_limit=2.0,
        step_gflop=0.5,
        ceiling_gflops=100.0,
        step_gbyte=0.04,
        ceiling_gbytes=20.0,
    )
    text = reason(facts, figure=2.0, max_replicates=True)
    assert "its arithmetic would take 50% of that time" in text
    assert "reading its weights, forward and back, 20%." in text
    assert spent in text
    arithmetic = profile["convolutions"] + profile.get("matrix products", 0)
    assert text.endswith(f"the figure would be {2 * arithmetic:.2f}.")
    faster = reason(facts, figure=1.2, max_replicates=False)
    assert faster.endswith(f"the figure would be {1.2 / arithmetic:.2f}.")


def test_what_is_compared_alone_is_profiled_alone() -> None:
    names = {str(case) for case in (*SELECTED, *MORE)}
    for layer in ("layer1", "layer2", "layer3", "layer4"):
        assert f"resnet18-{layer}-64px-batch1-fresh" in names
    (goal,) = (goal for goal in goals.CPU_GOALS if "layer2, every image" in goal.what)
    assert goal.profiled(facts_of(layer="layer2", weights="own", batch=1))
    assert not goal.profiled(facts_of(layer="layer2", weights="own", batch=4))


def test_a_goal_that_no_decoder_reaches_is_missed() -> None:
    (goal,) = (
        goal
        for goal in goals.CPU_GOALS
        if "layer3" in goal.what and "against plenoptic: times as many" in goal.what
    )
    never_there = quality_of("l-bfgs", rate=0.0, layer="layer3")
    peer = quality_of("plenoptic 2.1.1", rate=0.5, layer="layer3")
    assert goal.measured([never_there, peer]) == 0
    assert not goal.reached(0)
    assert goal.measured([never_there]) is None
    assert goal.measured([peer]) is None


def test_the_same_case_counts_wherever_it_is_measured() -> None:
    goal = goals.CPU_GOALS[0]
    slow = facts_of(batch=32, times_limit=4.0)
    beside = facts_of(group=PEERS_GROUP, peer="plain loop", batch=32, times_limit=1.5)
    adam = {**beside, "decoder": "adam", "times_limit": 1.1}
    fresh = {**beside, "weights": "own", "times_limit": 1.2}
    assert goal.measured([slow, adam, fresh]) == 4.0
    assert goal.measured([slow, beside, adam, fresh]) == 1.5


def test_the_goals_of_a_gpu() -> None:
    found = facts_of(
        network="resnet50",
        layer="layer4",
        size=299,
        device="cuda",
        image_steps_per_second=1e6 / 700,
    )
    float32, tf32, *_ = goals.GPU_GOALS
    assert float32.measured([found]) == pytest.approx(700)
    assert float32.reached(700)
    assert not float32.reached(1.31 * 593)
    assert tf32.measured([found]) is None
    text = page(run_of(found))
    assert "microseconds" in text
    assert "plenoptic" not in text
    assert "no GPU" not in text


def test_without_a_gpu_its_goals_are_named_all_the_same() -> None:
    text = page(run_of(facts_of()))
    lines = [line for line in text.splitlines() if line.endswith("| not measured (no GPU) |  |")]
    assert [line.split(" | ")[0][2:] for line in lines] == [goal.what for goal in goals.GPU_GOALS]


def test_the_slowest_batch_counts_where_all_share_a_network() -> None:
    (goal,) = (goal for goal in goals.GPU_GOALS if "mlp" in goal.what)
    measured = {1: 60.0, 8: 110.0, 31: 100.0}
    found = [
        facts_of(
            network="mlp3000x4", layer="output", size=32, device="cuda",
            batch=batch, image_steps_per_second=1e6 * batch / microseconds,
        )
        for batch, microseconds in measured.items()
    ]  # fmt: skip
    assert goal.measured(found) == pytest.approx(110)
    assert goal.measured(found[:2]) is None
    assert goal.measured([{**facts, "weights": "own"} for facts in found]) is None
    assert goal.reached(100)
    assert not goal.reached(110)


def test_a_shared_mlp_takes_the_steps_of_each_image_alone() -> None:
    case = mlp(width=20, depth=3, pixels=4, batch=3, fresh=False)
    task = task_of(case)
    assert (len(task.owners), case.networks, str(case)[-6:]) == (1, 1, "shared")
    together = Engine(task, case.decoder).run(3, seen=silent)
    for number in range(3):
        one = dataclasses.replace(
            task,
            **{
                name: getattr(task, name)[number : number + 1]
                for name in ("original", "start", "noised")
            },
        )
        alone = Engine(one, case.decoder).run(3, seen=silent)
        torch.testing.assert_close(together[number : number + 1], alone, rtol=0, atol=1e-12)


def test_the_command_without_where_its_json_goes() -> None:
    arguments = ["benchmarks/", "--benchmark-json", "x.json", "-k", "a or b", "--benchmark-json=y"]
    assert conftest._arguments(arguments) == "benchmarks/ -k 'a or b'"


def test_a_run_writes_its_json_and_its_table(tmp_path: Path) -> None:
    pytest.importorskip("pytest_benchmark")
    written = tmp_path / "benchmarks.json"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "benchmarks", "-q", "-k", "resnet18-layer1-64px-batch8",
         "--device", "cpu", "-p", "no:cacheprovider", "--benchmark-json", str(written)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=180,
        # Beside other tests of pytest-xdist nothing would be timed.
        env={name: value for name, value in os.environ.items() if "XDIST" not in name},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    run = json.loads(written.read_text())
    (benchmark,) = run["benchmarks"]
    assert benchmark["group"] == THROUGHPUT
    assert benchmark["extra_info"].keys() == {*INFO, "profile"}
    cell = f"{benchmark['extra_info']['times_limit']:.2f}"
    assert cell in done.stdout
    assert "OPS" not in done.stdout  # the table of pytest-benchmark, which says nothing here
    (tmp_path / "throughput-elsewhere.md").write_text("# Another machine\n")
    for source in (written, tmp_path / "throughput.json"):  # what is kept makes the page, too
        subprocess.run(
            [sys.executable, "-m", "benchmarks.page", str(source), str(tmp_path / "throughput.md")],
            cwd=ROOT, check=True, timeout=60,
        )  # fmt: skip
        made = (tmp_path / "throughput.md").read_text()
        assert cell in made
        assert "times the limit | at most 1.6 |" in made
        assert f"benchmarks.json {tmp_path / 'throughput.md'}\n" in made
        assert "[Another machine](throughput-elsewhere.md)" in made


def test_the_page_is_what_its_facts_make() -> None:
    path = ROOT / "docs/throughput.md"
    run = json.loads(path.with_suffix(".json").read_text())
    assert path.read_text() == page(run, beside=others(path))
