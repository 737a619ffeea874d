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
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import test_peers, test_quality, test_spectrum, test_throughput, throughput
from benchmarks.cases import GPU, MORE, SELECTED, Case, mlp, resnet
from benchmarks.loops.engine import Engine
from benchmarks.loops.loop import Observer
from benchmarks.loops.lucent import LucentLoop
from benchmarks.loops.plenoptic import PlenopticLoop
from benchmarks.peak_rate import arithmetic_gflops
from benchmarks.peers import ARTICLE, EAGER, LUCENT, PEERS, PLAIN, PLENOPTIC, Peer, imported
from benchmarks.quality import Arrivals, Trial, arrivals, best_trial
from benchmarks.roofline import Roofline, Work, memory_gbytes, step_work
from benchmarks.tables import PEERS as PEERS_GROUP
from benchmarks.tables import QUALITY, SPECTRUM, THROUGHPUT, Facts, as_markdown, facts_of, tables
from benchmarks.tasks import Task, draw_tasks
from benchmarks.throughput import Throughput, fastest
from harness.encoders.runtime import precision_of

ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")
TINY = resnet("resnet18", "conv1", pixels=8, batch=2)


def ignore(_: Tensor) -> None:
    """An observer that does nothing."""


def task_of(case: Case, precision: str = "float64") -> Task:
    with precision_of(precision, device=CPU) as found:
        (task,) = draw_tasks(case, precision=found, device=CPU)
    return task


# What a step takes


@pytest.mark.parametrize(
    ("case", "macs", "weights"),
    [
        # 4 x 4 outputs of 64 channels, each from 7 x 7 pixels of 3 channels.
        (TINY, 2 * 4 * 4 * 64 * 7 * 7 * 3, 64 * 7 * 7 * 3),
        (
            mlp(width=20, depth=2, pixels=4, batch=3),
            3 * (48 * 20 + 20 * 20),
            3 * (48 * 20 + 20 * 20),
        ),
        (mlp(width=20, depth=2, pixels=4, batch=3, fresh=False), 3 * 1360, 1360),
    ],
    ids=str,
)
def test_the_work_of_a_step_is_counted_as_by_hand(case: Case, macs: int, weights: int) -> None:
    # Two operations for each multiply-accumulate, forward and back.
    assert step_work(case) == Work(flops=4 * macs, weights=2 * weights)


def test_torch_computes_what_is_counted() -> None:
    case = resnet("resnet18", "layer4", pixels=64, batch=2)
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


def test_the_roofline_is_the_longer_of_arithmetic_and_reading() -> None:
    roofline = Roofline(
        work=Work(flops=2 * 10**9, weights=10**8), itemsize=4, gflops=100, gbytes=40
    )
    assert (roofline.seconds, roofline.bound) == (pytest.approx(0.02), "arithmetic")
    slow = dataclasses.replace(roofline, gbytes=10)
    assert (slow.seconds, slow.bound) == (pytest.approx(0.04), "memory")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_peak_rates_are_rates(dtype: torch.dtype) -> None:
    # Three orders of magnitude either way: enough for any machine, and for one that is busy.
    assert 1e-3 < arithmetic_gflops(dtype=dtype, device=CPU, size=128) < 1e6
    assert 1e-3 < memory_gbytes(size=2**20, dtype=dtype, device=CPU) < 1e5


# Throughput


class Clock:
    """Time that passes only where a loop says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(throughput.time, "perf_counter", made.perf_counter)
    monkeypatch.setattr(throughput, "synchronize", lambda _: None)
    return made


@dataclasses.dataclass
class Staged:
    """A loop whose parts take made-up times."""

    clock: Clock
    step: float
    before: Callable[[], float] = lambda: 5.0
    after: float = 7.0

    def run(self, steps: int, *, observe: Observer) -> Tensor:
        self.clock.now += self.before()
        for _ in range(steps):
            observe(torch.zeros(1))
            self.clock.now += self.step
        self.clock.now += self.after
        return torch.zeros(1)


def test_only_steps_are_timed_and_the_fastest_round_counts(clock: Clock) -> None:
    loop = Staged(clock, step=0.01)
    found = Throughput([loop], images=4, device=CPU, seconds=0.1)
    assert found.steps == 10
    for step in (0.02, 0.005, 0.01):
        loop.step = step
        found.round()
    assert found.image_steps_per_second == pytest.approx(4 / 0.005)


def test_captures_of_uneven_length_are_no_steps_on_a_gpu(clock: Clock) -> None:
    uneven = np.random.default_rng(0)
    # As long as hundreds of steps, give or take.
    loop = Staged(clock, step=1e-4, before=lambda: 0.05 + uneven.uniform(0, 0.05))
    found = Throughput([loop], images=1, device=torch.device("cuda"), seconds=0.15)
    for _ in range(20):
        found.round()
    assert found.step_seconds == pytest.approx(1e-4, rel=0.05)


def test_the_batch_with_the_most_image_steps_is_the_fastest(clock: Clock) -> None:
    small = Throughput([Staged(clock, step=0.01)], images=1, device=CPU)
    large = Throughput([Staged(clock, step=0.05)], images=8, device=CPU)
    assert fastest([small, large]) is large


# Peers


@pytest.mark.parametrize(
    "case",
    [
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
    ours = Engine(task, case.decoder).run(3, observe=ignore)
    theirs = peer.loop(task, case.decoder).run(3, observe=ignore)
    assert (ours - start).abs().max() > 1e-3
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-12)
    assert torch.equal(task.start, start)


@pytest.mark.parametrize("layer", ["layer1", "layer4"])
@pytest.mark.parametrize("peer", [PLENOPTIC, LUCENT], ids=lambda peer: peer.name)
def test_peers_have_the_engines_gradient(peer: Peer, layer: str) -> None:
    task = task_of(resnet("resnet18", layer, pixels=32, batch=2))
    # Steepest descent at rate 1 shows the gradient, here of half the squared distance.
    if peer is PLENOPTIC:
        loop = PlenopticLoop(
            plenoptic=imported("plenoptic"), task=task, rate=1.0, optimizer=torch.optim.SGD
        )
        scale = 2 / task.target.numel()  # its loss is the mean square
    else:
        loop = LucentLoop(
            render=imported("lucent.optvis.render"),
            task=task,
            optimizer=lambda images: torch.optim.SGD(images, lr=1.0),
        )
        scale = 1.0
    output, vjp = task.encoder.vjp(task.start)
    expected = scale * vjp(output - task.target)
    for _ in range(2):  # a second run starts afresh
        gradient = task.start - loop.run(1, observe=ignore)
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_evaluation_of_a_peer_is_observed(peer: Peer) -> None:
    task = task_of(resnet("resnet18", "layer1", pixels=32, batch=2), "float32")
    observed: list[Tensor] = []
    loop = peer.loop(task, task.case.decoder)
    for _ in range(2):
        observed.clear()
        loop.run(3, observe=lambda output: observed.append(output.clone()))
        assert len(observed) in (3, 4)
    torch.testing.assert_close(observed[0], task.encoder.encode(task.start), rtol=1e-3, atol=1e-4)


def test_a_peer_that_is_not_installed_is_skipped(
    monkeypatch: pytest.MonkeyPatch, state: Callable[[Facts], None]
) -> None:
    monkeypatch.setitem(sys.modules, "plenoptic", None)
    duel = test_peers.Duel(peer=PLENOPTIC, case=TINY, peer_batches=(1,))
    with pytest.raises(pytest.skip.Exception, match=r"pip install '\.\[peers\]'"):
        test_peers.test_against(Rounds(), duel, CPU, state)


# Fixed quality


@dataclasses.dataclass
class Approaching:
    """A loop whose outputs approach the target by plan, a share of m_r for each image."""

    task: Task
    shares: list[tuple[float, ...]]

    def run(self, steps: int, *, observe: Observer) -> Tensor:
        direction = torch.ones_like(self.task.target)
        direction /= direction.flatten(1).norm(dim=1)[:, None, None, None]
        for number in range(steps + 1):
            share = self.shares[min(number, len(self.shares) - 1)]
            away = torch.tensor(share, dtype=direction.dtype) * self.task.m_r
            observe(self.task.target + away[:, None, None, None] * direction)
        return self.task.start


@pytest.fixture(scope="module")
def two() -> Task:
    return task_of(TINY)


def approach(*shares: tuple[float, ...], gradients: int = 10) -> Trial:
    return Trial(setting="", loop=lambda task: Approaching(task, list(shares)), gradients=gradients)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        (
            [(5, 3), (1, 0.0999), (2, 4), (0.05, 9), (0, 0)],
            Arrivals(gradients=(4, 2), nearest=(0.05, 0.0999), spent=4),
        ),
        (
            [(1, 1), (0.09, 0.101)],
            Arrivals(gradients=(2, None), nearest=(0.09, 0.101), spent=11),
        ),
        (
            [(math.nan, 1), (1, math.nan), (1, 1)],
            Arrivals(gradients=(None, None), nearest=(1, 1), spent=11),
        ),
    ],
)
def test_an_image_counts_when_it_is_first_reconstructed(
    two: Task, shares: list[tuple[float, ...]], expected: Arrivals
) -> None:
    found = arrivals(approach(*shares), two)
    assert (found.gradients, found.spent) == (expected.gradients, expected.spent)
    assert found.nearest == pytest.approx(expected.nearest)


def test_the_rate_counts_gradients_spent_in_vain() -> None:
    found = Arrivals(gradients=(2, None), nearest=(0.1, 0.2), spent=10)
    assert found.rate == pytest.approx(1 / 12)
    assert found.rate_at_most == pytest.approx(2 / 12)


def test_the_best_trial_needs_the_fewest_gradients_or_comes_nearest(two: Task) -> None:
    slow, quick = approach((1, 1), (1, 1), (0, 0)), approach((1, 1), (0, 0))
    far, near = (approach((share, share)) for share in (0.9, 0.8))
    assert best_trial([slow, quick, slow], alone=two) is quick
    assert best_trial([far, near], alone=two) is near
    assert best_trial([near, slow], alone=two) is slow


# What is stated


class Rounds:
    """Stands in for pytest-benchmark: two rounds, no statistics."""

    def pedantic(
        self,
        work: Callable[..., Any],
        *,
        rounds: int,
        setup: Callable[[], None] = lambda: None,
        args: tuple[Any, ...] = (),
    ) -> Any:
        for _ in range(min(rounds, 2)):
            setup()
            result = work(*args)
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
    monkeypatch.setattr(throughput, "SECONDS", 0.0)


def check(facts: Facts, group: str) -> None:
    """Every number is one, and every column has something to show."""
    json.dumps(facts, allow_nan=False)
    numbers = [value for value in facts.values() if isinstance(value, float)]
    assert all(value >= 0 for value in numbers)
    table = tables([{"group": group, **facts}])[group]
    assert (table.drop(columns="version", errors="ignore") != "").all(axis=None)


@pytest.mark.parametrize(
    "case",
    [
        resnet("resnet18", "stem", pixels=32, batch=2, fresh=True),
        mlp(width=20, depth=2, pixels=4, batch=3),
        mlp(width=20, depth=2, pixels=4, batch=3, fresh=False),
    ],
    ids=str,
)
def test_throughput_is_stated_with_its_roofline(
    case: Case, state: Callable[[Facts], None], stated: list[Facts]
) -> None:
    test_throughput.test_throughput(Rounds(), case, CPU, state)
    (facts,) = stated
    check(facts, THROUGHPUT)
    assert facts["batch"] == case.batch
    work = step_work(case)
    least = max(work.flops / facts["peak_gflops"], 4 * work.weights / facts["peak_gbytes"])
    seconds = case.batch / facts["image_steps_per_second"]
    assert facts["times_roofline"] == pytest.approx(seconds / (least / 1e9))


@pytest.mark.parametrize("peer", [PLENOPTIC, ARTICLE, EAGER], ids=lambda peer: peer.name)
def test_a_comparison_states_both_sides(
    peer: Peer, state: Callable[[Facts], None], stated: list[Facts]
) -> None:
    case = resnet("resnet18", "layer1", pixels=32, batch=1)
    duel = test_peers.Duel(peer=peer, case=case, batches=(2,), peer_batches=(1, 3))
    test_peers.test_against(Rounds(), duel, CPU, state)
    (facts,) = stated
    check(facts, PEERS_GROUP)
    assert facts["batch"] == 2
    assert facts["peer_batch"] in (1, 3)
    assert facts["decoder"] == ("adam" if peer.decoder else "article")
    assert facts["times_peer"] == pytest.approx(
        facts["image_steps_per_second"] / facts["peer_image_steps_per_second"]
    )


def test_fixed_quality_is_stated_with_plenoptics(
    monkeypatch: pytest.MonkeyPatch, state: Callable[[Facts], None], stated: list[Facts]
) -> None:
    imported("plenoptic")
    small = task_of(resnet("resnet18", "conv1", pixels=16, batch=3), "float32")
    monkeypatch.setattr(test_quality, "task_at", lambda *_: small)
    full = type("Config", (), {"getoption": lambda *_: True})()
    trial = dataclasses.replace(test_quality.PLENOPTICS[0], gradients=30)

    def plenoptic_at(_: str) -> test_quality.Found:
        return trial, arrivals(trial, small)

    test_quality.test_fixed_quality(Rounds(), "layer4", "l-bfgs", CPU, plenoptic_at, full, state)
    (facts,) = stated
    check(facts, QUALITY)
    # conv1 is an easy layer for L-BFGS.
    assert facts["reached"] == 3
    rate = facts["image_steps_per_second"] / facts["gradients"]
    assert facts["reconstructions_per_second"] == pytest.approx(rate)


def test_a_spectrum_states_its_shape_and_times(
    state: Callable[[Facts], None], stated: list[Facts]
) -> None:
    case = resnet("resnet18", "conv1", pixels=8, batch=1, precision="float64")
    test_spectrum.test_spectrum(Rounds(), case, CPU, state)
    (facts,) = stated
    check(facts, SPECTRUM)
    assert (facts["outputs"], facts["inputs"]) == (64 * 4 * 4, 3 * 8 * 8)


def test_names_are_unique() -> None:
    for named in ([*SELECTED, *MORE, *GPU], [*test_peers.SELECTED, *test_peers.MORE]):
        assert len({str(each) for each in named}) == len(named)


def test_the_page_has_the_tables_of_its_json() -> None:
    run = json.loads((ROOT / "docs/throughput.json").read_text())
    page = (ROOT / "docs/throughput.md").read_text()
    for table in tables(facts_of(run)).values():
        assert as_markdown(table) in page


@pytest.mark.slow
def test_a_run_writes_its_json_and_its_table(tmp_path: Path) -> None:
    written = tmp_path / "benchmarks.json"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "benchmarks", "-q", "-k", "resnet18-layer1-64px-batch8",
         "--device", "cpu", "-p", "no:cacheprovider", "--benchmark-json", str(written)],
        cwd=ROOT, capture_output=True, text=True, timeout=600,
        # Within pytest-xdist nothing would be timed.
        env={name: value for name, value in os.environ.items() if "XDIST" not in name},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (facts,) = facts_of(json.loads(written.read_text()))
    (table,) = tables([facts]).values()
    assert table.to_string(index=False) in done.stdout
