"""The lab: what a condition reports beside its verdict, and which replicates it refuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from harness.cells import NON_FINITE, Cell, Draw, Inversion
from harness.claim import Claim, Criterion, event
from harness.lab import Assay, Bench
from harness.results import ConditionResult
from harness.scheduler import Scheduler
from harness.settings import MLP, Descent, Images
from harness.store import Record, Store
from harness.verdict import Verdict

CLAIM = Claim(
    id="Z1",
    statement="It is so.",
    section="A section",
    method="Nothing is measured.",
    estimands={"r": event("r is below 2.", Criterion(effect="r", label="r", below=2.0))},
)


class Told:
    """A store in which every run has the same numbers; the first ones end as told."""

    def __init__(self, *first: str, rho: float) -> None:
        self._first = list(first)
        self._rho = rho

    def read(self, key: str) -> Record:
        status = self._first.pop(0) if self._first else "plateau"
        return Record(
            id=key,
            cell={"type": "Inversion"},
            values={"r": 1.0, "m_g": 1.0, "m_g0": 3.0, "rho": self._rho},
            status=status,
            seconds=0.0,
        )


class Idle:
    """Has nothing to do."""

    def need(self, cells: object, *, label: str) -> None:
        pass


def one(draw: Draw) -> Mapping[str, Cell]:
    images = Images(pixels=2, source="dead-leaves")
    network = MLP(inputs=12, widths=(8,))
    return {
        "copy": Inversion(
            draw=draw, network=network, images=images, decoder=Descent(blur=None), iterations=1
        )
    }


def judged(store: Told, effects: Callable[[Mapping[str, Record]], Any]) -> ConditionResult:
    assay = Assay(
        claim=CLAIM,
        estimand="r",
        parameters={},
        cells=one,
        effects=effects,
        gallery={},
        tables=lambda _: (),
        confirmatory=True,
        most=48,
    )
    bench = Bench(store=cast(Store, store), scheduler=cast(Scheduler, Idle()), device="cpu")
    return bench.run(assay, label="a", command="b")


def test_what_is_measured_beside_the_effect_and_how_runs_ended_is_told() -> None:
    found = judged(
        Told("matched", "not converged", rho=0.5), lambda seen: {"r": 1.0, "m_g / m_r": 3.0}
    )
    assert found.decision.verdict is Verdict.SUPPORTED
    beside, endings = found.tables
    assert beside.rows == (("m_g / m_r", 3.0, 3.0, 3.0),)
    assert endings.columns == ("run", "matched", "not converged", "plateau", "rho")
    assert endings.rows == (("copy", 1, 1, 10, 0.5),)


def test_a_decoder_without_a_step_has_no_rho() -> None:
    (endings,) = judged(Told(rho=float("nan")), lambda seen: {"r": 1.0}).tables
    assert endings.rows == (("copy", 12, ""),)


def test_a_run_that_was_not_finite_is_invalid_however_its_effect_looks() -> None:
    found = judged(Told(*[NON_FINITE] * 4, rho=0.5), lambda seen: {"r": 1.0})
    assert found.decision.verdict is Verdict.INVALID
    assert found.decision.invalid == {"a value became infinite or not a number": 4}
