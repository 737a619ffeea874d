"""The lab: what a condition reports with its verdict, and which replicates it refuses."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
from torch import nn

from harness.claim import Claim, Criterion, event, exact, untestable
from harness.errors import SettingError, UnknownNameError
from harness.execution.scheduler import Scheduler
from harness.lab.condition import Condition, Effects
from harness.lab.lab import Custom, Lab
from harness.lab.precision_check import at_precision, reference_cell
from harness.lab.runner import Runner
from harness.plan.cells import (
    NON_FINITE,
    Cell,
    ErrorInNullSpace,
    Inversion,
    Reflection,
    Search,
    ZeroUnits,
)
from harness.plan.decoders import Adam, Descent
from harness.plan.identity import context, identity
from harness.plan.images import Images
from harness.plan.networks import MLP, ResNet, Training
from harness.plan.profile import Profile
from harness.plan.seeds import ReplicateSeeds, replicates
from harness.store import Record, Store
from harness.verdict.results import ConditionResult
from harness.verdict.verdict import Stop, Verdict

CLAIM = Claim(
    id="Z1",
    statement="It is so.",
    section="A section",
    method="Nothing is measured.",
    estimands={"r": event("r is below 2.", Criterion(effect="r", label="r", below=2.0))},
)


def record(key: str, **values: float) -> Record:
    """A record of a descent."""
    values = {"r": 1.0, "m_g": 1.0, "m_g0": 3.0, "rho": 0.5, **values}
    return Record(id=key, cell={"type": "Inversion"}, values=values, outcome="plateau", seconds=0.0)


def photographed(key: str, photograph: str, *, effect: float) -> Record:
    """A record of a descent from a photograph."""
    return dataclasses.replace(
        record(key, r=effect),
        cell={"type": "Inversion", "images": {"source": "photographs"}},
        labels={"image": photograph},
    )


class Ended:
    """A store in which every run has the same numbers; the first ones end in given ways."""

    def __init__(self, *first: str, rho: float = 0.5) -> None:
        self.first = list(first)
        self.rho = rho

    def read(self, key: str) -> Record:
        outcome = self.first.pop(0) if self.first else "plateau"
        return dataclasses.replace(record(key, rho=self.rho), outcome=outcome)


class Idle:
    """Has nothing to do."""

    def need(self, cells: object, *, label: str) -> None:
        pass


def run(condition: Condition, store: object) -> ConditionResult:
    """Run a condition whose cells are all in a store."""
    runner = Runner(store=cast(Store, store), scheduler=cast(Scheduler, Idle()), device="cpu")
    return runner.run(condition, label="a", command="b")


def stated(claim: Claim, *, precision: str = "float32", **arguments: Any) -> Condition:
    found: list[Condition] = []
    lab = Lab(
        profile=Profile("quick"),
        custom=Custom(),
        precision=precision,
        parameters={},
        receive=found.append,
    )
    if arguments:
        lab.judge(claim, **arguments)
    else:
        lab.record(claim)
    return found[0]


def judged(store: object, effects: Callable[[Mapping[str, Record]], Any]) -> ConditionResult:
    return run(stated(CLAIM, cells=one, effects=effects), store)


def scouted(effects: Mapping[str, float], *, precision: str) -> ConditionResult:
    condition = stated(
        CLAIM,
        precision=precision,
        cells=one,
        effects=lambda seen: {"r": seen["reconstruction"].values["r"]},
    )
    return run(condition, InPrecisions(effects))


def one(seeds: ReplicateSeeds) -> Mapping[str, Inversion]:
    images = Images(pixels=2, source="dead-leaves")
    network = MLP(inputs=12, widths=(8,))
    return {
        "reconstruction": Inversion(
            seeds=seeds, network=network, images=images, decoder=Descent(), iterations=1
        )
    }


def test_further_effects_and_how_runs_ended_are_reported() -> None:
    found = judged(Ended("matched", "not converged"), lambda seen: {"r": 1.0, "m_g / m_r": 3.0})
    assert found.decision.verdict is Verdict.SUPPORTED
    further, outcomes = found.tables
    assert further.rows == (("m_g / m_r", 3.0, 3.0, 3.0),)
    assert outcomes.columns == ("run", "matched", "not converged", "plateau", "rho")
    assert outcomes.rows == (("reconstruction", 1, 1, 10, 0.5),)


def test_a_decoder_without_a_step_has_no_rho() -> None:
    (outcomes,) = judged(Ended(rho=float("nan")), lambda seen: {"r": 1.0}).tables
    assert outcomes.rows == (("reconstruction", 12, ""),)


def test_a_run_that_was_not_finite_is_invalid_however_its_effect_looks() -> None:
    found = judged(Ended(*[NON_FINITE] * 4), lambda seen: {"r": 1.0})
    assert found.decision.verdict is Verdict.INVALID
    assert found.decision.invalid == {"a value became infinite or not a number": 4}


class TestWhatATestGetsWrong:
    """It is refused with the names that there are, before or after measuring."""

    @pytest.mark.parametrize(
        ("effects", "asked"),
        [
            (lambda seen: {"r": seen["reconstrution"].values["r"]}, "'reconstrution'"),
            (lambda seen: {"q": 1.0}, "'r'"),
            (lambda seen: {}, "'r'"),
        ],
    )
    def test_a_name_that_there_is_not(self, effects: Effects, asked: str) -> None:
        with pytest.raises(UnknownNameError) as caught:
            judged(Ended(), effects)
        assert caught.value.value == asked

    @pytest.mark.parametrize("effects", [None, {"r": None}, {"r": "1"}, {"r": "1.0"}, [1.0]])
    def test_effects_that_are_no_numbers_by_name(self, effects: object) -> None:
        with pytest.raises(SettingError):
            judged(Ended(), lambda seen: effects)

    @pytest.mark.parametrize("number", [0, -1, 2.5, "12", None, True])
    def test_no_replicates(self, number: object) -> None:
        with pytest.raises(SettingError, match="Z1"):
            stated(CLAIM, cells=one, effects=lambda seen: {"r": 1.0}, max_replicates=number)

    def test_an_estimand_that_the_claim_has_not(self) -> None:
        with pytest.raises(UnknownNameError, match=r"Z1.*Choose r"):
            stated(CLAIM, cells=one, effects=lambda seen: {"r": 1.0}, estimand="q")

    @pytest.mark.parametrize("cells", [None, [1], {"a": 1}, {"a": nn.ReLU()}])
    def test_what_are_no_cells(self, cells: object) -> None:
        condition = stated(CLAIM, cells=lambda seeds: cells, effects=lambda seen: {"r": 1.0})
        with pytest.raises(SettingError, match="Z1"):
            condition.cells_up_to(12)


class InPrecisions:
    """A store in which the effect of a run depends on its precision and replicate."""

    def __init__(self, effects: Mapping[str, float]) -> None:
        self.effects = {
            identity(cell, context=context(device="cpu")): effects[precision]
            for precision in effects
            for seeds in replicates(48)
            for cell in [dataclasses.replace(one(seeds)["reconstruction"], precision=precision)]
        }

    def read(self, key: str) -> Record:
        return record(key, r=self.effects[key])


class TestPrecisionCheck:
    @pytest.mark.parametrize("precision", ["tf32", "bf16"])
    def test_a_lower_precision_that_float64_bears_out_decides(self, precision: str) -> None:
        found = scouted({precision: 1.05, "float64": 1.0}, precision=precision)
        assert found.decision.verdict is Verdict.SUPPORTED

    @pytest.mark.parametrize("off", [0.89, 1.11, float("nan")])
    def test_one_that_moves_the_effect_by_more_than_a_tenth_is_invalid(self, off: float) -> None:
        found = scouted({"tf32": off, "float64": 1.0}, precision="tf32")
        assert found.decision.verdict is Verdict.INVALID

    def test_one_that_changes_the_verdict_is_invalid_however_little_moved(self) -> None:
        found = scouted({"bf16": 1.999, "float64": 2.001}, precision="bf16")
        assert found.decision.verdict is Verdict.INVALID
        assert found.decision.stop is Stop.INVALID

    @pytest.mark.parametrize("precision", ["float32", "float64"])
    def test_ieee_precisions_need_no_check(self, precision: str) -> None:
        assert scouted({precision: 1.0}, precision=precision).decision.verdict is Verdict.SUPPORTED

    def test_every_cell_that_recovers_an_image_follows_the_run(self) -> None:
        pictures = Training(
            content="photographs", classes=2, images=16, pixels=32, epochs=1, batch=16
        )
        network = ResNet(name="resnet18", layer="layer4", training=pictures)
        settings = {
            "seeds": ReplicateSeeds(replicate=0),
            "network": network,
            "images": Images(pixels=32),
            "decoder": Adam(),
            "iterations": 2,
        }
        for kind in (Inversion, ErrorInNullSpace, Reflection):
            cell = kind(**settings)  # type: ignore[arg-type]
            low = at_precision(cell, "tf32")
            assert (low.precision, reference_cell(low).precision) == ("tf32", "float64")  # type: ignore[union-attr]
            assert reference_cell(cell) == cell
            # What a claim asks in float64 stays.
            own = dataclasses.replace(cell, precision="float64")
            assert at_precision(own, "bf16") == own
        look = ZeroUnits(
            seeds=ReplicateSeeds(replicate=0), network=network, images=Images(pixels=32)
        )
        assert at_precision(look, "tf32") == look

    def test_reference_cells_are_planned_with_the_first_look(self) -> None:
        condition = stated(CLAIM, precision="tf32", cells=one, effects=lambda seen: {"r": 1.0})
        planned = Counter(
            cell.precision for cell in condition.cells_up_to(24) if isinstance(cell, Inversion)
        )
        assert planned == {"tf32": 24, "float64": 12}


class Drawn:
    """A store in which effects grow with the level of the network and the step of the decoder."""

    def __init__(self) -> None:
        stated = condition(family="a family", varied=True)
        assert stated.block is not None
        self.records: dict[str, Record] = {}
        for number, by_role in enumerate(stated.block.cells):
            self.add(by_role["reconstruction"], "a", effect=float(number // 18))
        for replicate, variations in enumerate(stated.variations()):
            for variation in variations:
                worse = variation.factors["step"] == "3"
                self.add(
                    variation.cells["reconstruction"],
                    f"photograph {replicate % 5}",
                    effect=2.5 if worse else 1.0,
                )

    def add(self, cell: Cell, photograph: str, *, effect: float) -> None:
        key = identity(cell, context=context(device="cpu"))
        self.records[key] = photographed(key, photograph, effect=effect)

    def read(self, key: str) -> Record:
        return self.records[key]


def condition(*, family: str | None = None, varied: bool = False) -> Condition:
    return Condition(
        claim=CLAIM,
        estimand="r",
        parameters={"layer": "a"},
        cells=one,
        effects=lambda seen: {"r": seen["reconstruction"].values["r"]},
        gallery={},
        tables=lambda _: (),
        confirmatory=True,
        max_replicates=12,
        family=family,
        varied=varied,
    )


def test_conditions_of_a_headline_or_of_a_claim_are_queued_together() -> None:
    class Queue:
        """Notes what it is offered."""

        def __init__(self) -> None:
            self.offered: dict[int, list[Cell]] = {}

        def offer(self, cells: list[Cell], *, priority: int) -> None:
            self.offered[priority] = cells

    def stated(name: str, *, headline: str | None, sd: float) -> Condition:
        return dataclasses.replace(
            condition(),
            claim=dataclasses.replace(CLAIM, id=name, headline=headline),
            cells=lambda seeds: {
                "reconstruction": dataclasses.replace(one(seeds)["reconstruction"], noise=sd)
            },
        )

    queue = Queue()
    runner = Runner(store=cast(Store, None), scheduler=cast(Scheduler, queue), device="cpu")
    runner.prepare(
        [
            stated("A1", headline="width", sd=0.1),
            stated("A2", headline="width", sd=0.2),
            stated("Z1", headline=None, sd=0.3),
            stated("Z1", headline=None, sd=0.4),
            stated("Z2", headline=None, sd=0.5),
        ]
    )
    noises = {
        priority: {cell.noise for cell in cells if isinstance(cell, Inversion)}
        for priority, cells in queue.offered.items()
    }
    assert noises == {0: {0.1, 0.2}, 1: {0.3, 0.4}, 2: {0.5}}


class TestWhatDescribesAVerdict:
    def drawn(self) -> tuple[Runner, ConditionResult]:
        store = cast(Store, Drawn())
        runner = Runner(store=store, scheduler=cast(Scheduler, Idle()), device="cpu")
        stated = condition(family="a family", varied=True)
        return runner, runner.run(stated, label="a", command="b")

    def test_a_crossed_block_names_the_source_that_moves_the_effect(self) -> None:
        runner, _ = self.drawn()
        found = runner.components["a family"]
        assert found.parts[0].source == ("network",)
        assert found.parts[0].share == pytest.approx(1)

    def test_a_multiverse_names_the_factor_that_moves_the_verdict(self) -> None:
        runner, found = self.drawn()
        (own,) = runner.multiverses.values()
        ((estimand, around),) = own.items()
        assert estimand == found.estimand
        assert around.factors[0].name == "step"
        assert around.factors[0].verdicts == {
            "1": {"supported": around.cells - 2},
            "1/3": {"supported": 1},
            "3": {"refuted": 1},
        }
        assert found.decision.verdict is Verdict.SUPPORTED

    def test_distinct_photographs_count_once(self) -> None:
        _, found = self.drawn()
        assert found.beyond is not None
        assert set(found.beyond.means) == {f"photograph {number}" for number in range(5)}
        # All five of five: P of the exact sign test, both tails.
        assert found.beyond.p_supported == pytest.approx(2 / 2**5)

    def test_an_invalid_replicate_makes_its_photograph_no_event(self) -> None:
        stated = condition(family="a family", varied=True)
        third = stated.cells(ReplicateSeeds(replicate=2))["reconstruction"]
        unlucky = identity(third, context=context(device="cpu"))
        failing = dataclasses.replace(
            stated,
            control=lambda seen: "it failed" if seen["reconstruction"].id == unlucky else None,
        )
        found = run(failing, Drawn()).beyond
        assert found is not None
        assert [name for name, mean in found.means.items() if math.isnan(mean)] == ["photograph 2"]
        assert found.events == 4

    def test_only_the_first_looks_photographs_count_however_long_the_series(self) -> None:
        class Undecided:
            """Every replicate has a photograph of its own, and effects alternate."""

            read_so_far = 0

            def read(self, key: str) -> Record:
                self.read_so_far += 1
                effect = 1.0 if self.read_so_far % 2 else 3.0
                return photographed(key, f"photograph {self.read_so_far}", effect=effect)

        found = run(dataclasses.replace(condition(), max_replicates=48), Undecided())
        assert found.decision.n == 48
        assert found.beyond is not None
        assert set(found.beyond.means) == {f"photograph {number}" for number in range(1, 13)}
        assert found.beyond.events == 6

    def test_they_are_measured_with_the_first_look(self) -> None:
        plain, full = condition(), condition(family="a", varied=True)
        cells = len(plain.cells_up_to(12))
        assert full.block is not None
        variations = sum(map(len, full.variations()))
        assert len(full.cells_up_to(12)) == cells + len(full.block.cells) + variations
        assert plain.block is None
        assert plain.variations() == []


class TestExactClaims:
    CLAIM = dataclasses.replace(
        CLAIM,
        estimands={"it": exact("r is 0.", Criterion(effect="residual", label="r", below=0.5))},
    )

    def found(self, *, labels: Mapping[str, str], residual: float) -> ConditionResult:
        condition = stated(
            self.CLAIM,
            cells=lambda seeds: {
                "search": Search(seeds=seeds, statement="null vector", examples=1, below=0.5)
            },
            effects=lambda seen: {"residual": seen["search"].values["residual"]},
            max_replicates=12,
        )

        class Searches:
            """A store in which every search found something, or nothing."""

            def read(self, key: str) -> Record:
                cell = {"type": "Search"}
                return dataclasses.replace(record(key, residual=residual), cell=cell, labels=labels)

        return run(condition, Searches())

    def test_the_counterexample_is_reported(self) -> None:
        labels = {"counterexample": "x = 3", "counterexample as JSON": '{"x": 3}'}
        found = self.found(labels=labels, residual=1.0)
        assert found.decision.verdict is Verdict.REFUTED
        assert found.decision.counterexample == 0
        assert found.tables[0].rows == (("x = 3", '{"x": 3}'),)

    def test_where_none_is_found_there_is_none_to_show(self) -> None:
        found = self.found(labels={}, residual=0.0)
        assert found.decision.verdict is Verdict.SUPPORTED
        assert found.tables == ()


def test_what_is_not_testable_is_recorded_with_its_reason_and_measures_nothing() -> None:
    condition = stated(dataclasses.replace(CLAIM, estimands={"none": untestable("it is a wish")}))
    assert condition.cells_up_to(48) == []
    runner = Runner(store=cast(Store, None), scheduler=cast(Scheduler, None), device="cpu")
    decision = runner.run(condition, label="a", command="b").decision
    assert (decision.verdict, decision.reason) == (Verdict.NOT_TESTABLE, "it is a wish")
