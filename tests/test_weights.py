"""Weights from files: loaded as torchvision would, and refused for what is wrong with them."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harness.errors import WeightsError
from harness.plan.networks import ResNet
from harness.subjects.resnet import build_resnet, resnet_encoder
from harness.subjects.weights import load_weights, weights_file

CPU = torch.device("cpu")
NAME = "resnet18"


@pytest.fixture(scope="module")
def donor() -> nn.Module:
    """A ResNet-18 whose weights and statistics are like no fresh one's."""
    network = build_resnet(ResNet(name=NAME, layer="conv1"), seed=99)
    for name, value in network.state_dict().items():
        if name.endswith("running_mean"):
            value.add_(0.3)
    return network


@pytest.fixture(scope="module")
def state(donor: nn.Module) -> dict[str, Tensor]:
    return dict(donor.state_dict())


class Toy(nn.Sequential):
    """A network with few weights, for what depends on none in particular."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(3, 2), nn.BatchNorm1d(2))


def toy_state() -> dict[str, Tensor]:
    return {key: torch.ones_like(value) for key, value in Toy().state_dict().items()}


def save(state: object, path: Path) -> Path:
    if path.suffix == ".safetensors":
        assert isinstance(state, dict)
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path)
    return path


SUFFIXES = ["pt", "safetensors"]


class TestLoading:
    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_a_saved_network_is_the_one_that_is_loaded(
        self, donor: nn.Module, state: dict[str, Tensor], tmp_path: Path, suffix: str
    ) -> None:
        path = save(state, tmp_path / f"weights.{suffix}")
        network = ResNet(name=NAME, layer="layer4", weights=weights_file(path))
        images = torch.rand(1, 3, 32, 32)
        loaded = build_resnet(network, seed=1)
        assert not loaded.training
        assert torch.equal(loaded(images), donor(images))
        # The seed plays no part any more, and the cut network has the weights too.
        ours, other = (
            resnet_encoder(network, seed=seed, dtype=torch.float32, device=CPU).encode(images)
            for seed in (1, 2)
        )
        assert torch.equal(ours, other)
        hidden = donor.maxpool(donor.relu(donor.bn1(donor.conv1(images))))
        for layer in ("layer1", "layer2", "layer3", "layer4"):
            hidden = donor.get_submodule(layer)(hidden)
        torch.testing.assert_close(ours, hidden, rtol=1e-3, atol=1e-4)

    def test_a_file_without_counters_of_batches_is_loaded(self, tmp_path: Path) -> None:
        state = toy_state()
        del state["1.num_batches_tracked"]
        network = Toy()
        load_weights(network, path=save(OrderedDict(state), tmp_path / "w.pt"), name="toy")
        assert bool((network.state_dict()["0.weight"] == 1).all())

    def test_a_digest_is_that_of_the_content(self, tmp_path: Path) -> None:
        for name in ("a.pt", "b.pt"):
            (tmp_path / name).write_bytes(b"abc")
        (tmp_path / "c.pt").write_bytes(b"abd")
        files = [weights_file(tmp_path / name) for name in ("a.pt", "b.pt", "c.pt")]
        # The example of FIPS 180.
        assert files[0].sha256.startswith("ba7816bf8f01cfea414140de5dae2223b00361a3")
        assert files[0] == files[1] != files[2]

    def test_a_file_that_changed_since_it_was_named_is_refused(
        self, state: dict[str, Tensor], tmp_path: Path
    ) -> None:
        # Its digest is part of the identity of what is measured with it.
        path = save(state, tmp_path / "w.pt")
        network = ResNet(name=NAME, layer="conv1", weights=weights_file(path))
        save({**state, "conv1.weight": torch.zeros_like(state["conv1.weight"])}, path)
        with pytest.raises(WeightsError):
            build_resnet(network, seed=1)


def refused(path: Path) -> None:
    """The file is refused in one line of value, rule and remedy; the network stays as it was."""
    network = Toy()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load_weights(network, path=path, name="toy")
    assert caught.value.value == path
    assert "\n" not in str(caught.value)
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])


class Payload:
    """What a hostile file holds: unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.write_text, (self.path, "run")


class TestRefusals:
    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        for path in (tmp_path, tmp_path / "none.pt"):
            with pytest.raises(WeightsError):
                weights_file(path)
        for suffix in SUFFIXES:
            refused(tmp_path / f"none.{suffix}")

    @pytest.mark.parametrize("wrap", [lambda p: p, lambda p: {"0.weight": p}])
    def test_pickled_code_is_refused_and_not_run(self, tmp_path: Path, wrap: object) -> None:
        assert callable(wrap)
        mark, path = tmp_path / "mark", tmp_path / "w.pt"
        content = wrap(Payload(mark))
        torch.save(content, path)
        refused(path)
        path.write_bytes(pickle.dumps(content))
        refused(path)
        assert not mark.exists()
        # The payload works: an unpickler that trusts it runs it.
        pickle.loads(path.read_bytes())
        assert mark.exists()

    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
    def test_a_truncated_file(self, tmp_path: Path, suffix: str, share: float) -> None:
        path = save(toy_state(), tmp_path / f"w.{suffix}")
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        refused(path)

    @settings(
        max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(suffix=st.sampled_from(SUFFIXES), place=st.floats(0, 1, exclude_max=True))
    def test_a_flipped_byte_never_ends_in_a_traceback(
        self, tmp_path: Path, suffix: str, place: float
    ) -> None:
        path = save(toy_state(), tmp_path / f"w.{suffix}")
        content = bytearray(path.read_bytes())
        content[int(place * len(content))] ^= 0xFF
        path.write_bytes(content)
        try:
            load_weights(Toy(), path=path, name="toy")
        except WeightsError as error:
            assert str(path) in str(error)  # noqa: PT017  (a byte of padding changes nothing)

    @pytest.mark.parametrize(
        "content", [[1, 2], "text", {"a": 1}, {1: torch.ones(1)}, torch.ones(2), nn.Linear(1, 1)]
    )
    def test_what_is_no_state_dict(self, tmp_path: Path, content: object) -> None:
        refused(save(content, tmp_path / "w.pt"))

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_keys_that_are_missing_surplus_or_of_another_shape(
        self, tmp_path: Path, suffix: str
    ) -> None:
        state = toy_state()
        path = tmp_path / f"w.{suffix}"
        save({key: value for key, value in state.items() if key != "0.bias"}, path)
        refused(path)
        save({**state, "2.weight": torch.ones(1)}, path)
        refused(path)
        save({**state, "0.weight": torch.ones(2, 4)}, path)
        refused(path)

    def test_another_number_of_classes(self, state: dict[str, Tensor], tmp_path: Path) -> None:
        head = {"fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}
        path = save({**state, **head}, tmp_path / "w.pt")
        network = ResNet(name=NAME, layer="conv1", weights=weights_file(path))
        with pytest.raises(WeightsError):
            build_resnet(network, seed=1)
