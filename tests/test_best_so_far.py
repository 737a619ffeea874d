"""The best point of a run and the end of a sample, against the list of all iterations."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inversion_cases import (
    DECODERS,
    SAMPLES,
    affine,
    normal,
    one_thread,  # noqa: F401  (a fixture for all)
    run_case,
)
from torch import Tensor

from harness.inversion import loop
from harness.inversion.clock import Clock, DeviceClock, HostClock
from harness.inversion.decoders.best_so_far import BestSoFar
from harness.inversion.method import LATEST, SampleState, TerminationReason
from harness.inversion.recover import recover
from harness.inversion.steppers import Eager
from harness.plan.decoders import LBFGS, Adam, Decoder, Descent


@dataclasses.dataclass(frozen=True)
class Played:
    """A method that follows a script, a row an iteration; its points number the iterations."""

    values: Tensor
    misfits: Tensor
    reasons: Tensor

    def begin(self, start: Tensor) -> SampleState:
        return self.row(start, HostClock(0))

    def step(self, state: SampleState, clock: Clock) -> SampleState:
        return self.row(state.point + 1, clock.next())

    def sample_state(self, state: SampleState) -> SampleState:
        return state

    def size(self, state: SampleState, clock: Clock) -> Tensor:
        return state.value.new_full((), math.nan)

    def row(self, point: Tensor, clock: Clock) -> SampleState:
        reason = clock.read(self.reasons)
        return SampleState(
            point=point,
            value=clock.read(self.values),
            misfit=clock.read(self.misfits),
            gradient=-point,
            reason=reason,
            at=torch.full_like(reason, LATEST),
        )


def best_of(
    values: list[float], misfits: list[float], reasons: list[int], *, best: bool, enough: float
) -> tuple[int, int]:
    """The best iteration of one sample and why it ended, from the list of its whole run."""
    best_at, reason = 0, TerminationReason.LENGTH.value
    for at, (value, misfit, own) in enumerate(zip(values, misfits, reasons, strict=True)):
        if at and (not best or value < values[best_at] or misfit <= enough):
            best_at = at
        if misfit <= enough:
            reason = TerminationReason.TOLERANCE.value
        elif own != TerminationReason.LENGTH:
            reason = own
        if reason != TerminationReason.LENGTH:
            break
    return best_at, reason


NUMBERS = st.one_of(st.floats(0, 10), st.sampled_from([0.0, 1.0, math.nan, math.inf]))


@st.composite
def scripts(draw: st.DrawFn) -> Played:
    batch, length = draw(st.integers(1, 4)), draw(st.integers(1, 9))

    def table(numbers: st.SearchStrategy[Any]) -> list[list[Any]]:
        row = st.lists(numbers, min_size=batch, max_size=batch)
        return draw(st.lists(row, min_size=length, max_size=length))

    rarely = st.sampled_from(
        [0] * 12 + [TerminationReason.STATIONARY.value, TerminationReason.STUCK.value]
    )
    return Played(
        torch.tensor(table(NUMBERS), dtype=torch.float64),
        torch.tensor(table(NUMBERS), dtype=torch.float64),
        torch.tensor(table(rarely)),
    )


class TestAgainstTheWholeRun:
    @settings(max_examples=200, deadline=None)
    @given(
        script=scripts(),
        best=st.booleans(),
        enough=st.sampled_from([0.0, 0.5, 5.0, math.nan]),
        device=st.booleans(),
    )
    def test_it_is_what_a_list_of_all_iterations_gives(
        self, script: Played, best: bool, enough: float, device: bool
    ) -> None:
        length, batch = script.values.shape
        best_so_far = BestSoFar(script, best=best, enough=torch.full((batch,), enough).double())
        state = best_so_far.begin(torch.zeros(batch, 2).double())
        clock: Clock = DeviceClock(torch.tensor([0])) if device else HostClock(0)
        for iteration in range(length):
            if iteration:
                state, clock = best_so_far.step(state, clock), clock.next()
            view = best_so_far.sample_state(state)
            for sample in range(batch):
                values = script.values[: iteration + 1, sample].tolist()
                misfits = script.misfits[: iteration + 1, sample].tolist()
                reasons = script.reasons[: iteration + 1, sample].tolist()
                at, reason = best_of(values, misfits, reasons, best=best, enough=enough)
                assert (int(view.at[sample]), int(view.reason[sample])) == (at, reason)
                assert view.point[sample].tolist() == [at] * 2
                assert view.gradient[sample].tolist() == [-at] * 2
                for found, truth in ((view.value, values), (view.misfit, misfits)):
                    assert float(found[sample]) == pytest.approx(truth[at], nan_ok=True, abs=0)


class Recording(Eager[Any]):
    """Notes the states of the decoder itself and the best ones, after every step."""

    runs: list[Recording]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.image = self.image
        self.inner = [self.method.method.sample_state(self.state.inner)]
        self.best = [self.method.sample_state(self.state)]
        Recording.runs.append(self)

    def step(self) -> None:
        super().step()
        self.inner.append(self.method.method.sample_state(self.state.inner))
        self.best.append(self.method.sample_state(self.state))


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Recording]:
    """Runs of the test, as they are made."""
    monkeypatch.setattr(loop, "drive", Recording)
    monkeypatch.setattr(Recording, "runs", [], raising=False)
    return Recording.runs


COMPARING = {
    name: decoder
    for name, decoder in DECODERS.items()
    if decoder.returns == "best" or decoder.tolerance
}


class TestOnDecoders:
    @pytest.mark.parametrize("decoder", COMPARING.values(), ids=COMPARING.keys())
    def test_a_result_is_what_the_record_of_all_iterations_says(
        self, decoder: Decoder, recorded: list[Recording]
    ) -> None:
        found = run_case(decoder, iterations=40)
        (record,) = recorded
        for sample in range(SAMPLES):
            at, reason = best_of(
                *(
                    [getattr(view, name)[sample].item() for view in record.inner]
                    for name in ("value", "misfit", "reason")
                ),
                best=decoder.returns == "best",
                enough=decoder.tolerance * float(found.scale[sample]),
            )
            assert (int(found.at[sample]), found.reasons[sample].value) == (at, reason)
            reached = record.image(record.inner[at].point)
            assert torch.equal(found.images[sample], reached[sample])

    @pytest.mark.parametrize("name", ["polyak", "adam", "lbfgs"])
    def test_a_run_ends_with_its_last_sample_and_the_trace_goes_on_to_its_end(
        self, name: str, recorded: list[Recording]
    ) -> None:
        found = run_case(DECODERS[name], iterations=300)
        (record,) = recorded
        ends = int(found.at.max())
        last = found.points.index(next(point for point in found.points if point >= ends))
        # The host looks at traced iterations only; a stationary end is later than its point.
        taken = len(record.best) - 1
        assert taken in found.points
        assert taken < 100
        assert taken == found.points[last] or name == "lbfgs"
        assert found.points[-1] == 300
        row = found.points.index(taken)
        for trace in found.traces.values():
            assert torch.equal(trace[row:].isnan(), trace[row].isnan().expand(len(trace) - row, -1))
            assert bool(((trace[row:] == trace[row]) | trace[row].isnan()).all())
        assert TerminationReason.LENGTH not in found.reasons

    def test_rho_is_that_of_the_best_point(self) -> None:
        # By Polyak's rule it is 1/2 at any point; the decoder itself is elsewhere.
        decoder = Descent(
            rule="polyak",
            step=1.0,
            factor=1.0,
            returns="best",
            tolerance=1.0,
            tolerance_of="noised",
        )
        original = normal(3, 8, seed=6)
        found = recover(
            affine(3, 12, 8, seed=4),
            original,
            start=normal(12, 8, seed=7),
            noised=original + normal(3, 8, seed=8) / 10,
            decoder=decoder,
            iterations=60,
        )
        assert TerminationReason.TOLERANCE in found.reasons
        rho = found.traces["rho"]
        torch.testing.assert_close(rho, torch.full_like(rho, 0.5), rtol=1e-9, atol=0)


SCALE_FREE: dict[str, Decoder] = {
    "polyak, l1": Descent(rule="polyak", step=1.0, factor=1.0, tolerance=0.05),
    "polyak, l2": Descent(loss="l2", rule="polyak", step=1.5, factor=1.0, tolerance=1e-3),
    "normalised": Descent(loss="l2", rule="normalised", step=0.01, factor=1.0, tolerance=0.05),
    "adam": Adam(rate=0.2, tolerance=0.05),
    "lbfgs": LBFGS(tolerance=1e-6),
}


class TestToleranceIsAShareOfTheTarget:
    @pytest.mark.parametrize("decoder", SCALE_FREE.values(), ids=SCALE_FREE.keys())
    def test_outputs_in_other_units_end_at_the_same_iteration(self, decoder: Decoder) -> None:
        encoder = affine(3, 12, 8, seed=4)
        original, start = normal(3, 8, seed=6), normal(3, 8, seed=7)
        ends = set()
        for power in (-6, -3, 0, 3, 6):
            found = recover(
                dataclasses.replace(
                    encoder,
                    matrix=encoder.matrix * 10.0**power,
                    offset=encoder.offset * 10.0**power,
                ),
                original,
                start=start,
                noised=original + 1,
                decoder=decoder,
                iterations=400,
            )
            assert set(found.reasons) == {TerminationReason.TOLERANCE}
            assert bool((found.m_g <= decoder.tolerance * found.scale).all())
            ends.add(tuple(found.at.tolist()))
        assert len(ends) == 1
        assert min(map(min, ends)) > 1

    @settings(max_examples=20, deadline=None)
    @given(tolerance=st.floats(1e-6, 0.5))
    def test_a_sample_ends_at_the_first_iteration_that_is_near_enough(
        self, tolerance: float
    ) -> None:
        # On an orthogonal map m_g falls by a factor of 1/2 a step, exactly known beforehand.
        encoder = affine(1, 4, 4, seed=8)
        encoder.matrix[0] = torch.eye(4)
        original, start = normal(1, 4, seed=9), normal(1, 4, seed=10)
        found = recover(
            encoder,
            original,
            start=start,
            noised=original + 1,
            decoder=Descent(loss="l2", step=0.5, factor=1.0, tolerance=tolerance),
            iterations=60,
        )
        share = float(found.traces["m_g"][0] / found.scale) / tolerance
        assert int(found.at) == max(0, math.ceil(math.log2(share)))
