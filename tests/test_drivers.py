"""Steps at fixed places in memory, and from a CUDA graph, are the steps of the plain loop."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from graphs import (
    OnGPU,
    any_device,  # noqa: F401  (a fixture)
    refuse,
    stand_in,  # noqa: F401  (a fixture)
    tensors_in,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from inversion_cases import (
    CELLS,
    CPU,
    DECODERS,
    EVERY,
    measured_by,
    named,
    one_thread,  # noqa: F401  (a fixture for all)
    run_case,
    run_case_by,
    same_bits,
)
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from harness.encoders import network
from harness.encoders.runtime import precision_of
from harness.inversion import loop
from harness.inversion import steppers as drivers
from harness.inversion.clock import Clock, DeviceClock, HostClock
from harness.inversion.decoders.kicks import Kicks
from harness.inversion.method import tensors
from harness.inversion.steppers import Eager, Graphed, InPlace, drive
from harness.inversion.trace import Trace
from harness.measurements.inversion import invert_block
from harness.plan.cells import Inversion
from harness.plan.decoders import Decoder

META = torch.device("meta")


class TestClocks:
    @settings(max_examples=50, deadline=None)
    @given(size=st.integers(1, 5), begin=st.integers(0, 12), steps=st.integers(0, 12))
    def test_both_read_and_write_rings_as_a_list_would(
        self, size: int, begin: int, steps: int
    ) -> None:
        clocks: list[Clock] = [HostClock(begin), DeviceClock(torch.tensor([begin]))]
        rings = [torch.zeros(size, 3) for _ in clocks]
        written = {iteration: [0.0] * 3 for iteration in range(begin - size, begin)}
        for iteration in range(begin, begin + steps):
            written[iteration] = [iteration + share for share in (0.0, 0.25, 0.5)]
            for clock, ring in zip(clocks, rings, strict=True):
                assert int(clock.now) == iteration
                clock.write(ring, torch.tensor(written[iteration]))
                assert clock.read(ring).tolist() == written[iteration]
                for back in range(size):
                    assert ring[(iteration - back) % size].tolist() == written[iteration - back]
            clocks = [clock.next() for clock in clocks]


class TestStates:
    @EVERY
    def test_no_state_of_a_decoder_shares_memory_once_cloned(
        self, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = []

        class Fixed(InPlace[Any]):
            def step(self) -> None:
                super().step()
                seen.append({name: at.data_ptr() for name, at in tensors(self.state).items()})

        run_case_by(Fixed, decoder, monkeypatch, iterations=3)
        assert seen[0] == seen[-1]
        assert len(set(seen[0].values())) == len(seen[0])


class TestCaptured:
    """Nothing of the host's is left in a replay."""

    @EVERY
    @pytest.mark.parametrize("precision", ["float64", "float32"])
    def test_a_replay_gives_the_bits_of_the_plain_loop(
        self,
        decoder: Decoder,
        precision: str,
        device: torch.device,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        with precision_of(precision, device=device) as found:
            plain, graphed = (
                run_case_by(
                    kind, decoder, monkeypatch, iterations=25, dtype=found.images, device=device
                )
                for kind in (Eager, Graphed)
            )
        assert same_bits(graphed, plain)

    @pytest.mark.parametrize("cell", CELLS, ids=named)
    def test_so_it_does_for_networks_of_every_kind(
        self, cell: Inversion, device: torch.device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain, graphed = (
            measured_by(kind, cell, monkeypatch, device=device) for kind in (Eager, Graphed)
        )
        assert graphed == plain

    def test_captures_share_a_stream(self, monkeypatch: pytest.MonkeyPatch, graphs: None) -> None:
        made = []
        stream = torch.cuda.Stream

        def counted(*args: Any) -> Any:
            made.append(args)
            return stream(*args)

        monkeypatch.setattr(torch.cuda, "Stream", counted)
        monkeypatch.setattr(drivers, "SIDE_STREAMS", {})
        used = []

        class Watched(Graphed[Any]):
            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **options)
                used.extend(graph.stream for graph in (self.step_graph, self.note_graph))  # type: ignore[attr-defined]

        for _ in range(3):
            run_case_by(Watched, DECODERS["article"], monkeypatch, iterations=2)
        assert len(made) == 1
        assert [stream is drivers.SIDE_STREAMS[CPU] for stream in used] == [True] * 6

    @pytest.mark.parametrize(
        ("last", "iteration", "kind"), [(5, 0, Graphed), (5, 5, Eager), (0, 0, Eager)]
    )
    def test_a_gpu_replays_steps_where_there_are_any(
        self, last: int, iteration: int, kind: type[Eager[Any]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for each in (Eager, Graphed):
            monkeypatch.setattr(each, "__init__", lambda new, *_, **__: setattr(new, "state", 0))
        method: Any = SimpleNamespace(
            **dict.fromkeys(("begin", "step", "sample_state", "size"), print)
        )
        trace = Trace((0, last), original=torch.zeros(1, 2))
        on_cpu, trace.table = trace.table, trace.table.as_subclass(OnGPU)
        found = drive(method, None, trace=trace, image=lambda point: point, iteration=iteration)
        assert type(found) is kind
        trace.table = on_cpu
        assert type(drive(method, None, trace=trace, image=lambda point: point)) is Eager


class OnDevice(TorchDispatchMode):
    """Lets no operation pass that would wait for a device or send it something.

    The tensors are on the meta device, which holds no data: what reads a value fails by itself.
    What a GPU cannot capture fails as well.
    """

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        refuse(operator, *args)
        result = operator(*args, **(kwargs or {}))
        for value in tensors_in(args, kwargs, result):
            assert value.is_meta, f"{operator} takes a tensor of the host, or makes one"
        return result


class NothingSent(TorchFunctionMode):
    """Lets no tensor be made of the host's numbers, on whatever device."""

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        assert function not in (torch.tensor, torch.as_tensor, torch.from_numpy)
        return function(*args, **(kwargs or {}))


class TestNoWaiting:
    """What a CUDA graph cannot hold, no step of a decoder does."""

    @pytest.fixture
    def watched(self, monkeypatch: pytest.MonkeyPatch) -> type[Exception]:
        """Watches the first steps of a run, which then ends with an error of this kind."""

        class EndOfTest(Exception):  # noqa: N818  (it is none)
            pass

        class Watched(InPlace[Any]):
            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **options)
                with OnDevice(), NothingSent():
                    for _ in range(3):
                        self.note()
                        self.step()
                raise EndOfTest

        monkeypatch.setattr(loop, "drive", Watched)
        # Whether a plan agrees, and a start has a gradient, is asked once, before the run.
        monkeypatch.setattr(network, "check_samples", lambda *_: None)
        monkeypatch.setattr(network, "agree", lambda *_, **__: True)
        monkeypatch.setattr(
            network, "compared_gradient", lambda plan, _, cotangent, **__: (plan(cotangent), "")
        )
        monkeypatch.setattr(
            Kicks, "begin", lambda _, method, points: (method.begin(points), points)
        )
        return EndOfTest

    @EVERY
    def test_a_step_and_a_row_of_the_trace_stay_on_the_device(
        self, decoder: Decoder, watched: type[Exception]
    ) -> None:
        with pytest.raises(watched):
            run_case(decoder, iterations=5, device=META)

    @pytest.mark.parametrize("cell", CELLS, ids=named)
    def test_so_they_do_with_networks_of_every_kind(
        self, cell: Inversion, watched: type[Exception]
    ) -> None:
        with pytest.raises(watched):
            invert_block([cell], device=META, checkpoint=None)
