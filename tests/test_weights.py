"""Weights from files: loaded as torchvision would, and refused for what is wrong with them."""

from __future__ import annotations

import argparse
import pickle
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import harness
from harness.errors import ModuleError, UnknownNameError, WeightsError
from harness.plan.networks import ResNet, WeightsFile
from harness.subjects.resnet import build_resnet, resnet_encoder
from harness.subjects.vision import models
from harness.subjects.weights import load_state

pytestmark = pytest.mark.filterwarnings(
    # What torch says of its own ways.
    *(f"ignore:.*{words}" for words in ("torch.jit.script", "Sparse CSR", "quantized tensor"))
)

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
        network = ResNet(name=NAME, layer="layer4", weights=WeightsFile.of(path))
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
        load_state(network, path=save(OrderedDict(state), tmp_path / "w.pt"), name="toy")
        assert bool((network.state_dict()["0.weight"] == 1).all())

    def test_a_digest_is_that_of_the_content(self, tmp_path: Path) -> None:
        for name in ("a.pt", "b.pt"):
            (tmp_path / name).write_bytes(b"abc")
        (tmp_path / "c.pt").write_bytes(b"abd")
        files = [WeightsFile.of(tmp_path / name) for name in ("a.pt", "b.pt", "c.pt")]
        # The example of FIPS 180.
        assert files[0].sha256.startswith("ba7816bf8f01cfea414140de5dae2223b00361a3")
        assert files[0] == files[1] != files[2]

    def test_a_file_that_changed_since_it_was_named_is_refused(
        self, state: dict[str, Tensor], tmp_path: Path
    ) -> None:
        # Its digest is part of the identity of what is measured with it.
        path = save(state, tmp_path / "w.pt")
        network = ResNet(name=NAME, layer="conv1", weights=WeightsFile.of(path))
        save({**state, "conv1.weight": torch.zeros_like(state["conv1.weight"])}, path)
        with pytest.raises(WeightsError):
            build_resnet(network, seed=1)


def refused(path: Path) -> None:
    """The file is refused in one line of value, rule and remedy; the network stays as it was."""
    network = Toy()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load_state(network, path=path, name="toy")
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
                WeightsFile.of(path)
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
            load_state(Toy(), path=path, name="toy")
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


class Deep(nn.Module):
    """A body, a head behind it, and a forward pass that may not be traceable."""

    def __init__(self, classes: int = 5, *, traceable: bool = True) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, classes)
        self.traceable = traceable

    def forward(self, images: Tensor) -> Tensor:
        if not self.traceable and images.sum() > 1e9:
            return images
        return self.head(self.body(images).mean((2, 3)))  # type: ignore[no-any-return]


class Training(nn.Module):
    """As Lightning's module: the network is an attribute, and so is a loss without weights."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.model = network
        self.loss = nn.CrossEntropyLoss()


def trained(network: nn.Module) -> nn.Module:
    """A network whose every number is another one."""
    with torch.no_grad():
        for number, value in enumerate(network.state_dict().values()):
            value.add_(number + 1)
    return network


def adam_of(network: nn.Module) -> dict[str, object]:
    """The state of an optimizer that has taken a step."""
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.rand(2, 3, 5, 5)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


CHECKPOINTS: dict[str, Callable[[nn.Module], object]] = {
    "data parallel": lambda network: nn.DataParallel(network).state_dict(),
    "compiled": lambda network: torch.compile(network).state_dict(),
    "both": lambda network: nn.DataParallel(torch.compile(network)).state_dict(),  # type: ignore[arg-type]
    "both the other way": lambda network: torch.compile(nn.DataParallel(network)).state_dict(),
    "torchvision": lambda network: {
        "model": nn.DataParallel(network).state_dict(),
        "optimizer": adam_of(network),
        "lr_scheduler": {"milestones": Counter([30, 60])},
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1, output=Path("out")),
    },
    "timm": lambda network: {
        "epoch": 3,
        "arch": "resnet18",
        "state_dict": network.state_dict(),
        "optimizer": adam_of(network),
        "version": 2,
        "args": argparse.Namespace(lr=0.1),
        "metric": np.float64(71.5),
        "state_dict_ema": {key: value * 0 for key, value in network.state_dict().items()},
    },
    "Lightning": lambda network: {
        "epoch": 1,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": Training(network).state_dict(),
        "hyper_parameters": {"lr": 0.1},
    },
    "Lightning, compiled": lambda network: {
        "state_dict": Training(torch.compile(network)).state_dict()  # type: ignore[arg-type]
    },
    "an average": lambda network: torch.optim.swa_utils.AveragedModel(network).state_dict(),
    "two levels": lambda network: {"model": {"state_dict": network.state_dict()}},
    "a name of one's own": lambda network: {"encoder": network.state_dict(), "epoch": 1},
    "float64": lambda network: {
        key: value.double() if value.is_floating_point() else value
        for key, value in network.state_dict().items()
    },
}


class TestCheckpoints:
    @pytest.mark.parametrize("kind", CHECKPOINTS)
    def test_the_network_inside_is_loaded(self, kind: str, tmp_path: Path) -> None:
        network, loaded = trained(Deep()), Deep()
        path = save(CHECKPOINTS[kind](network), tmp_path / "checkpoint.pth")
        assert harness.load_weights(loaded, path) == ()
        same(loaded, network)

    @pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile, lambda network: network])
    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_a_wrapped_network_takes_the_weights_of_a_plain_one(
        self, wrap: Callable[[nn.Module], nn.Module], suffix: str, tmp_path: Path
    ) -> None:
        network, loaded = trained(Deep()), Deep()
        harness.load_weights(
            wrap(loaded), str(save(dict(network.state_dict()), tmp_path / f"w.{suffix}"))
        )
        same(loaded, network)

    def test_names_that_only_look_wrapped_are_the_networks_own(self, tmp_path: Path) -> None:
        class Inner(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.module, self.model = nn.Linear(2, 2), nn.Linear(2, 2)

        network, loaded = trained(Inner()), Inner()
        harness.load_weights(loaded, save(network.state_dict(), tmp_path / "w.pt"))
        same(loaded, network)

    def test_weights_that_two_names_share_may_be_stored_once(self, tmp_path: Path) -> None:
        class Tied(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.last = nn.Linear(3, 3), nn.Linear(3, 3)
                self.last.weight = self.first.weight

        network, loaded = trained(Tied()), Tied()
        safetensors.torch.save_model(network, str(tmp_path / "w.safetensors"))
        harness.load_weights(loaded, tmp_path / "w.safetensors")
        same(loaded, network)

    def test_names_of_an_earlier_version_are_translated_by_the_network(
        self, tmp_path: Path
    ) -> None:
        def transformer() -> nn.Module:
            return models.VisionTransformer(
                image_size=8, patch_size=4, num_layers=1, num_heads=1, hidden_dim=4, mlp_dim=6
            )

        network, loaded = trained(transformer()), transformer()
        older = {
            key.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): value
            for key, value in network.state_dict().items()
        }
        assert older.keys() != network.state_dict().keys()
        harness.load_weights(loaded, save(older, tmp_path / "w.pt"))
        same(loaded, network)
        # What only begins to fit changes nothing.
        last = transformer()
        fresh = {key: value.clone() for key, value in last.state_dict().items()}
        with pytest.raises(WeightsError):
            harness.load_weights(last, save({**older, "more": torch.ones(1)}, tmp_path / "w.pt"))
        assert all(torch.equal(value, fresh[key]) for key, value in last.state_dict().items())

    @pytest.mark.parametrize(
        "content",
        [
            {"teacher": toy_state(), "student": toy_state()},
            {"model": {"epoch": 1}},
            {"model": toy_state(), "hook": Path.exists},
        ],
    )
    def test_what_does_not_say_which_weights_it_holds(
        self, tmp_path: Path, content: object
    ) -> None:
        refused(save(content, tmp_path / "w.pt"))

    @pytest.mark.parametrize("holder", ["state_dict", "model", "args"])
    def test_code_in_a_checkpoint_is_refused_and_not_run(self, tmp_path: Path, holder: str) -> None:
        mark, path = tmp_path / "mark", tmp_path / "w.pt"
        payload = argparse.Namespace(run=Payload(mark))
        save({"state_dict": toy_state(), holder: payload}, path)
        refused(path)
        assert not mark.exists()


class TestHeads:
    @pytest.mark.parametrize("traceable", [True, False])
    @pytest.mark.parametrize("layer", ["body", "body.0", "body.2"])
    def test_another_one_behind_the_layer_is_left_out_and_told(
        self, tmp_path: Path, traceable: bool, layer: str
    ) -> None:
        network, loaded = trained(Deep(7)), Deep(5, traceable=traceable)
        head = {key: value.clone() for key, value in loaded.head.state_dict().items()}
        path = save({"model": nn.DataParallel(network).state_dict()}, tmp_path / "w.pt")
        with pytest.warns(UserWarning, match=r"head\.weight, head\.bias"):
            left_out = harness.load_weights(loaded, path, layer=layer)
        assert left_out == ("head.weight", "head.bias")
        same(loaded.body, network.body)
        assert all(torch.equal(value, head[key]) for key, value in loaded.head.state_dict().items())

    @pytest.mark.parametrize("wrap", [lambda module: module, nn.DataParallel])
    def test_none_behind_the_layer_is_left_out_and_told(
        self, tmp_path: Path, wrap: Callable[[nn.Module], nn.Module]
    ) -> None:
        network, loaded = trained(Deep(7)), Deep(5)
        backbone = {key: each for key, each in network.state_dict().items() if "head" not in key}
        path = save(backbone, tmp_path / "w.pt")
        with pytest.warns(UserWarning, match=r"head\.bias, head\.weight"):
            left_out = harness.load_weights(wrap(loaded), path, layer="body")
        assert set(left_out) == {"head.weight", "head.bias"}
        same(loaded.body, network.body)
        for layer in ("head", None):
            with pytest.raises(WeightsError):
                harness.load_weights(wrap(Deep(5)), path, layer=layer)

    @pytest.mark.parametrize("number", [float("nan"), float("inf")])
    def test_weights_that_are_no_numbers_are_refused(self, tmp_path: Path, number: float) -> None:
        network = Deep(5)
        network.head.bias.data[0] = number
        path = save(network.state_dict(), tmp_path / "w.pt")
        with pytest.raises(WeightsError, match=r"head\.bias"):
            harness.load_weights(Deep(5), path)

    @pytest.mark.parametrize("traceable", [True, False])
    @pytest.mark.parametrize("layer", ["head", None])
    def test_another_one_that_the_layer_needs_is_refused(
        self, tmp_path: Path, traceable: bool, layer: str | None
    ) -> None:
        path = save(Deep(7).state_dict(), tmp_path / "w.pt")
        with pytest.raises(WeightsError):
            harness.load_weights(Deep(5, traceable=traceable), path, layer=layer)

    def test_a_head_that_is_called_first_is_no_head(self, tmp_path: Path) -> None:
        class Reversed(Deep):
            def forward(self, images: Tensor) -> Tensor:
                return self.body(self.head(images))  # type: ignore[no-any-return]

        path = save(Reversed(7).state_dict(), tmp_path / "w.pt")
        with pytest.raises(WeightsError):
            harness.load_weights(Reversed(5), path, layer="body")

    def test_a_resnet_takes_weights_of_another_number_of_classes(
        self, donor: nn.Module, state: dict[str, Tensor], tmp_path: Path
    ) -> None:
        head = {"fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}
        path = save({"state_dict": {**state, **head}}, tmp_path / "w.pt")
        network = build_resnet(
            ResNet(name=NAME, layer="conv1", weights=WeightsFile.of(path)), seed=1
        )
        same(network.layer4, donor.layer4)  # type: ignore[arg-type]

    def test_an_averaged_model_takes_weights_of_its_network(self, tmp_path: Path) -> None:
        network, averaged = trained(Deep()), AveragedModel(Deep())
        harness.load_weights(averaged, save(network.state_dict(), tmp_path / "w.pt"))
        same(averaged.module, network)

    @pytest.mark.parametrize(("path", "layer"), [(None, None), (3, None), ("w.pt", 3)])
    def test_what_is_no_name(self, tmp_path: Path, path: Any, layer: Any) -> None:
        file = save(Deep().state_dict(), tmp_path / "w.pt")
        with pytest.raises(harness.DepthClaimsError):
            harness.load_weights(Deep(), file if layer else path, layer=layer)

    @pytest.mark.parametrize("traceable", [True, False])
    @pytest.mark.parametrize("layer", ["head[0]", "[0]"])
    def test_entries_of_a_layer_need_it(self, tmp_path: Path, traceable: bool, layer: str) -> None:
        path = save(Deep(7).state_dict(), tmp_path / "w.pt")
        with pytest.raises(WeightsError):
            harness.load_weights(Deep(5, traceable=traceable), path, layer=layer)

    def test_a_wrong_layer_is_named(self, tmp_path: Path) -> None:
        path = save(Deep().state_dict(), tmp_path / "w.pt")
        with pytest.raises(UnknownNameError) as caught:
            harness.load_weights(Deep(), path, layer="bodi")
        assert "body" in caught.value.remedy


class TestNumbers:
    @pytest.mark.parametrize(
        ("key", "make"),
        [
            ("0.weight", lambda value: value.to_sparse()),
            ("0.weight", lambda value: value.to_sparse_csr()),
            ("0.weight", lambda value: value.to("meta")),
            ("0.weight", lambda value: value.to(torch.complex64)),
            ("0.weight", lambda value: value.int()),
            ("0.weight", lambda value: value.bool()),
            ("0.weight", lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8)),
            ("0.weight", lambda value: value.double() + 1e-12),
            ("0.weight", lambda value: value.double() * 1e300),
            ("1.num_batches_tracked", lambda value: value.float()),
        ],
    )
    def test_what_the_network_cannot_hold_as_it_is(
        self, tmp_path: Path, key: str, make: Callable[[Tensor], Tensor]
    ) -> None:
        state = toy_state()
        refused(save({**state, key: make(state[key])}, tmp_path / "w.pt"))

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
    def test_a_cast_that_loses_nothing_is_none(self, tmp_path: Path, dtype: torch.dtype) -> None:
        state = {**toy_state(), "0.weight": torch.tensor([[0.5, -2.0, 8.0]] * 2)}
        network = Toy()
        cast = {key: value.to(dtype) if value.dim() else value for key, value in state.items()}
        harness.load_weights(network, save(cast, tmp_path / "w.pt"))
        assert network[0].weight.dtype == torch.float32
        assert torch.equal(network[0].weight.detach(), state["0.weight"])

    def test_a_network_without_weights_is_refused(self, tmp_path: Path) -> None:
        path = save(toy_state(), tmp_path / "w.pt")
        for network in (Toy().to("meta"), nn.Sequential(nn.LazyLinear(2)), path):
            with pytest.raises(ModuleError):
                harness.load_weights(network, path)  # type: ignore[arg-type]


def same(one: nn.Module, other: nn.Module) -> None:
    """Both have the same state."""
    theirs = other.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in one.state_dict().items())
