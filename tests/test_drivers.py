"""Steps at fixed places in memory, and from a CUDA graph, are the steps of the plain loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from inversion_cases import (
    DECODERS,
    EVERY,
    normal,
    one_thread,  # noqa: F401  (a fixture for all)
    recover,
    same_bits,
)
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness.inversion import loop
from harness.inversion.clock import Clock, DeviceClock, HostClock
from harness.inversion.drivers import Eager, Graphed, InPlace
from harness.inversion.invert import Recovery
from harness.inversion.method import cloned, tensors, with_tensors
from harness.settings import CUTS, Decoder, ResNet
from harness.subjects.encoder import ModuleEncoder
from harness.subjects.resnet import build_resnet, encoder_of

cuda = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def recover_by(
    driver: type[Eager[Any]], decoder: Decoder, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> Recovery:
    """Run a decoder with a driver of one's choice."""
    monkeypatch.setattr(loop, "drive", driver)
    return recover(decoder, **options)


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
                for back in range(size):
                    assert clock.read(ring, back=back).tolist() == written[iteration - back]
            clocks = [clock.next() for clock in clocks]


@dataclasses.dataclass(frozen=True)
class Inner:
    ring: Tensor
    point: Tensor


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner
    point: Tensor
    number: int


class TestStates:
    def state(self) -> Outer:
        point = normal(2, 3, seed=1)
        return Outer(Inner(normal(4, 2, seed=2), point), point, 7)

    def test_tensors_are_known_by_the_path_of_their_fields(self) -> None:
        state = self.state()
        found = tensors(state)
        assert list(found) == ["inner.ring", "inner.point", "point"]
        again = with_tensors(state, {name: value + 1 for name, value in found.items()})
        assert again.number == 7
        assert torch.equal(again.inner.point, state.inner.point + 1)
        assert torch.equal(again.inner.ring, state.inner.ring + 1)

    def test_a_clone_shares_memory_with_nothing(self) -> None:
        state = self.state()
        places = [value.data_ptr() for value in tensors(cloned(state)).values()]
        assert len({*places, *(value.data_ptr() for value in tensors(state).values())}) == 5
        assert len(set(places)) == 3

    @EVERY
    def test_no_state_of_a_decoder_shares_memory_once_cloned(
        self, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = []

        class Fixed(InPlace[Any]):
            def step(self) -> None:
                super().step()
                seen.append({name: at.data_ptr() for name, at in tensors(self.state).items()})

        recover_by(Fixed, decoder, monkeypatch, iterations=3)
        assert seen[0] == seen[-1]
        assert len(set(seen[0].values())) == len(seen[0])


class TestInPlace:
    @EVERY
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
    def test_it_gives_the_bits_of_the_plain_loop(
        self, decoder: Decoder, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # 25 iterations go around the rings of the L-BFGS, and over traced and untraced ones.
        options = {"iterations": 25, "dtype": dtype}
        plain = recover_by(Eager, decoder, monkeypatch, **options)
        assert same_bits(recover_by(InPlace, decoder, monkeypatch, **options), plain)
        assert bool((plain.at > 0).any())


class OnDevice(TorchDispatchMode):
    """Lets no operation pass that would wait for a device or send it something.

    The tensors are on the meta device, which holds no data: what reads a value fails by itself.
    """

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        result = operator(*args, **(kwargs or {}))
        for value in tree_leaves((args, kwargs, result)):
            if isinstance(value, Tensor):
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

    @EVERY
    def test_a_step_and_a_row_of_the_trace_stay_on_the_device(
        self, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
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

        with pytest.raises(EndOfTest):
            recover_by(Watched, decoder, monkeypatch, iterations=5, device=torch.device("meta"))

    @pytest.mark.parametrize(
        "waits",
        [
            lambda row: row.sum().item(),
            lambda row: row.tolist(),
            lambda row: row.cpu(),
            lambda row: row * 2 if (row > 0).any() else row,
            lambda row: row[row > 0],
            lambda row: row.nonzero(),
            lambda row: row + torch.tensor(1.0, device=row.device),
            lambda row: row + torch.tensor([1.0, 2.0, 3.0]).to(row),
        ],
    )
    def test_whatever_waits_is_noticed(self, waits: Callable[[Tensor], object]) -> None:
        row = torch.empty(3, device="meta")
        with OnDevice(), NothingSent(), pytest.raises((RuntimeError, AssertionError)):
            waits(row)


@pytest.mark.parametrize("name", DECODERS)
class TestGraphed:
    pytestmark = cuda

    def test_a_replay_gives_the_bits_of_the_plain_loop(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        options = {"iterations": 25, "device": torch.device("cuda")}
        plain = recover_by(Eager, DECODERS[name], monkeypatch, **options)
        graphed = recover_by(Graphed, DECODERS[name], monkeypatch, **options)
        assert same_bits(graphed, plain)


class TestPathsOfOneGradient:
    """The plain call, a replayed graph and compiled code agree on the gradient of one step."""

    pytestmark = cuda

    @pytest.fixture(scope="class")
    def network(self) -> nn.Module:
        return build_resnet(ResNet(name="resnet18", cut="conv1"), seed=3)

    def gradient(self, encoder: ModuleEncoder, image: Tensor, target: Tensor) -> Tensor:
        output, pullback = encoder.pull(image)
        return pullback(output - target)

    @pytest.mark.parametrize("cut", CUTS)
    def test_they_agree(self, network: nn.Module, cut: str) -> None:
        device = torch.device("cuda")
        exact = encoder_of(network, cut=cut, dtype=torch.float64, device=device)
        encoder = encoder_of(network, cut=cut, dtype=torch.float32, device=device)
        image = normal(2, 3, 64, 64, seed=1).to(device)
        target = exact.encode(normal(2, 3, 64, 64, seed=2).to(device))
        truth = self.gradient(exact, image, target)
        image, target = image.float(), target.float()

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.gradient(encoder, image, target)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            graphed = self.gradient(encoder, image, target)
        graph.replay()

        compiled = ModuleEncoder(torch.compile(encoder.module))
        plain = self.gradient(encoder, image, target)
        for found in (plain, graphed, self.gradient(compiled, image, target)):
            distance = float((found - truth).norm() / truth.norm())
            assert distance < 1e-4
        assert torch.equal(graphed, plain)
