"""The public API: what it recovers of networks whose truth is known, and what it refuses."""

from __future__ import annotations

import copy
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from inversion_cases import normal, one_thread  # noqa: F401  (a fixture for all)
from plugin_suite import environment
from torch import Tensor, nn

import harness
from harness.inversion.method import TerminationReason
from harness.inversion.outcome import Outcome

LAZY = """
import sys
import harness
assert set(harness.__all__) <= set(dir(harness))
harness.LBFGS(priors=(harness.Whitening(),)), harness.SettingError, harness.Start()
heavy = {"torch", "torchvision", "pandas", "altair", "scipy"}
assert not heavy & set(sys.modules)
assert callable(harness.invert) and "torch" in sys.modules
assert not {"torchvision", "pandas", "altair"} & set(sys.modules)
"""


def test_importing_it_takes_no_torch() -> None:
    subprocess.run([sys.executable, "-c", LAZY], env=environment(), check=True)


def test_every_name_is_there_and_no_other() -> None:
    assert all(getattr(harness, name) for name in harness.__all__)
    with pytest.raises(AttributeError):
        harness.invent  # type: ignore[attr-defined]  # noqa: B018


def orthogonal(n: int) -> nn.Module:
    """A linear layer that keeps distances."""
    layer = nn.Linear(n, n, dtype=torch.float64)
    layer.weight.data = torch.linalg.qr(normal(n, n, seed=1)).Q
    return layer.eval()


def convolutional() -> nn.Sequential:
    """Two convolutions with a ReLU in place after each."""
    layers = [
        nn.Conv2d(3, 12, 3),
        nn.ReLU(inplace=True),
        nn.Conv2d(12, 8, 3),
        nn.ReLU(inplace=True),
    ]
    network = nn.Sequential(*layers).eval()
    for number, weight in enumerate(network.parameters()):
        weight.data = normal(*weight.shape, seed=number).float() / weight[0].numel() ** 0.5
    return network


IMAGES = torch.rand(2, 3, 10, 10, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    "decoder",
    [
        None,
        harness.LinearSolve(),
        harness.GaussNewton(),
        harness.Descent(loss="l2", step=1.0, factor=1.0),
    ],
    ids=["default", "linear", "gauss-newton", "descent"],
)
def test_an_orthogonal_network_is_inverted(decoder: Any) -> None:
    vectors = normal(3, 16, seed=2)
    found = harness.invert(orthogonal(16), vectors, decoder=decoder, steps=30)
    torch.testing.assert_close(found.images, vectors, rtol=0, atol=1e-6)
    assert found.outcomes == (Outcome.MATCHED,) * 3
    assert float(found.r.max()) < 1e-6
    # It keeps distances: m_r is the length of the noise.
    torch.testing.assert_close(found.m_g, found.m_i, rtol=1e-6, atol=1e-12)
    assert float(found.m_r.min()) > 0


class Functional(nn.Module):
    """A function of a module's output, in a class of its own."""

    def __init__(self, module: nn.Module, function: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.module, self.function = module, function

    def forward(self, inputs: Tensor) -> object:
        return self.function(self.module(inputs))


def doubled(outputs: Tensor) -> Tensor:
    """Twice the outputs, by a view of them where they are contiguous."""
    outputs.flatten(1).mul_(2)
    return outputs


def replaced() -> nn.Module:
    """A ReLU that computes something else."""
    module = nn.Sequential(nn.ReLU()).eval()
    module[0].forward = torch.tanh  # type: ignore[method-assign]
    return module


POINTWISE = nn.Conv2d(3, 2, 1)


@pytest.mark.parametrize(
    "module",
    [
        Functional(nn.Identity(), lambda inputs: inputs.view(len(inputs), -1)),
        Functional(POINTWISE, lambda outputs: outputs.view(len(outputs), -1)),
        Functional(POINTWISE, doubled),
        Functional(nn.Identity(), lambda inputs: inputs * 2 if inputs.is_contiguous() else inputs),
        replaced(),
        nn.Sequential(nn.Flatten(), nn.Linear(300, 1), nn.Flatten(0)),
    ],
    ids=["view", "view of channels", "in place", "contiguous", "replaced", "a number each"],
)
def test_the_module_is_what_it_is_outside(module: nn.Module) -> None:
    decoder = harness.Adam(returns="last")
    found = harness.invert(module.eval(), IMAGES, steps=2, decoder=decoder)
    with torch.no_grad():
        outputs = [module(images.clone()).flatten() for images in (found.images, IMAGES)]
    m_g = (outputs[0] - outputs[1]).unflatten(0, (2, -1)).norm(dim=1)
    torch.testing.assert_close(found.m_g, m_g, rtol=1e-4, atol=1e-5)


def test_hooks_for_all_modules_are_followed() -> None:
    def double(module: nn.Module, _: object, output: Tensor) -> Tensor | None:
        return output * 2 if isinstance(module, nn.Conv2d) else None

    plain = harness.invert(POINTWISE.eval(), IMAGES, steps=0)
    hook = nn.modules.module.register_module_forward_hook(double)
    try:
        hooked = harness.invert(POINTWISE.eval(), IMAGES, steps=0)
    finally:
        hook.remove()
    torch.testing.assert_close(hooked.m_g, 2 * plain.m_g)


def test_a_layer_behind_a_view_that_fails_is_refused_quietly(
    capfd: pytest.CaptureFixture[str],
) -> None:
    module = nn.Sequential(nn.Unflatten(1, (7, 9)), nn.Linear(9, 2)).eval()
    with pytest.raises(harness.ImageError):
        harness.invert(module, IMAGES, layer="1")
    assert capfd.readouterr().err == ""


def test_a_linear_solve_is_for_networks_that_are_linear_at_the_starts() -> None:
    module = nn.Sequential(nn.ReLU(), nn.Linear(6, 3)).eval()
    images, start = torch.full((1, 6), 0.01), torch.full((1, 6), -1.0)
    with pytest.raises(harness.SettingError):
        harness.invert(module, images, start=start, decoder=harness.LinearSolve())


def test_distances_are_those_at_the_layer() -> None:
    network = convolutional()
    for layer in ("0", "1", "2"):
        found = harness.invert(network, IMAGES, layer=layer, steps=20, noise=0.1)
        part = copy.deepcopy(network)[: int(layer) + 1]
        with torch.no_grad():
            outputs = [part(images.clone()) for images in (found.images, IMAGES)]
        m_g, m_i = (
            (one - other).flatten(1).norm(dim=1) for one, other in (outputs, (found.images, IMAGES))
        )
        torch.testing.assert_close(found.m_g, m_g, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(found.m_i, m_i, rtol=1e-4, atol=1e-5)
        assert float(found.r.max()) < 1
        assert found.iterations[-1] == 20
        assert found.traces["m_g"].shape == (len(found.iterations), 2)


def test_normalisation_is_part_of_what_is_inverted() -> None:
    network, mean, sd = convolutional(), (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)

    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, inputs: Tensor) -> Tensor:
            shift, scale = (torch.tensor(each)[:, None, None] for each in (mean, sd))
            output: Tensor = self.network((inputs - shift) / scale)
            return output

    options: dict[str, Any] = {"steps": 3, "decoder": harness.Adam()}
    one = harness.invert(network, IMAGES, normalize=(mean, sd), **options)
    other = harness.invert(Normalised().eval(), IMAGES, **options)
    torch.testing.assert_close(one.images, other.images, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(one.m_r, other.m_r, rtol=1e-4, atol=1e-4)
    known = harness.invert(network, IMAGES, normalize="imagenet", steps=0)
    assert float((known.m_g / one.traces["m_g"][0]).min()) > 1  # it divides by less


def test_start_and_noise_are_drawn_from_the_seed_image_by_image() -> None:
    network = convolutional()
    before = torch.random.get_rng_state()
    first, again = (harness.invert(network, IMAGES, steps=0, seed=5) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.start, again.start)
    assert torch.equal(first.m_r, again.m_r)
    alone = harness.invert(network, IMAGES[:1], steps=0, seed=5)
    torch.testing.assert_close(alone.start, first.start[:1])
    torch.testing.assert_close(alone.m_r, first.m_r[:1])
    assert not torch.allclose(harness.invert(network, IMAGES, steps=0, seed=6).start, first.start)
    assert float(first.start.mean()) == pytest.approx(0.7, abs=0.02)
    assert float(first.start.std()) == pytest.approx(0.05, rel=0.2)


def test_starts_may_be_given() -> None:
    network = orthogonal(6)
    vectors, start = normal(2, 6, seed=4), normal(4, 6, seed=5)
    found = harness.invert(network, vectors, start=start, starts=2, steps=0)
    distances = (start.unflatten(0, (2, 2)) - vectors[:, None]).norm(dim=2)
    torch.testing.assert_close(found.m_i, distances.amin(1))
    spread = harness.invert(network, vectors, start=harness.Start(mean=9.0, sd=1e-9), steps=0)
    torch.testing.assert_close(spread.start, torch.full((2, 6), 9.0).double())


def test_the_module_is_left_alone() -> None:
    network = convolutional()
    before, output = copy.deepcopy(network.state_dict()), network(IMAGES.clone())
    harness.invert(network, IMAGES, layer="2", steps=2)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(weight.requires_grad for weight in network.parameters())
    assert torch.equal(network(IMAGES.clone()), output)
    assert not any(part.training for part in network.modules())


def test_bfloat16_networks_have_images_in_float32() -> None:
    found = harness.invert(convolutional().bfloat16(), IMAGES, layer="0", steps=5)
    assert found.images.dtype == torch.float32
    assert float(found.r.max()) < 1


WIDE_BLUR = harness.Descent(priors=(harness.Blur(kernel=21),))

VECTORS = torch.zeros(2, 16, dtype=torch.float64)


@pytest.mark.parametrize(
    ("kind", "images", "options"),
    [
        (harness.UnknownNameError, IMAGES, {"layer": "7"}),
        (harness.UnknownNameError, IMAGES, {"normalize": "imagenot"}),
        (harness.UnknownNameError, IMAGES, {"device": "tpu"}),
        (harness.ImageError, IMAGES[0], {}),
        (harness.ImageError, IMAGES[:0], {}),
        (harness.ImageError, IMAGES[:, :2], {}),
        (harness.ImageError, IMAGES[0, 0, 0], {}),
        (harness.ImageError, IMAGES.numpy(), {}),
        (harness.ImageError, (IMAGES * 255).byte(), {}),
        (harness.ImageError, IMAGES.to_sparse(), {}),
        (harness.ImageError, IMAGES.to(torch.float8_e4m3fn), {}),
        (harness.ImageError, IMAGES / (IMAGES.min() < IMAGES), {}),
        (harness.SettingError, IMAGES, {"start": IMAGES * 1j}),
        (harness.SettingError, IMAGES, {"start": IMAGES * torch.nan}),
        (harness.SettingError, IMAGES, {"start": IMAGES.to_sparse()}),
        (harness.ModuleError, IMAGES, {"normalize": torch.Tensor.detach}),
        (harness.ImageError, IMAGES.to("meta"), {}),
        (harness.SettingError, IMAGES, {"decoder": "adam"}),
        (harness.SettingError, IMAGES, {"layer": 2}),
        (harness.SettingError, IMAGES, {"layer": nn.ReLU()}),
        (harness.SettingError, IMAGES, {"noise": None}),
        (harness.SettingError, IMAGES, {"noise": "a"}),
        (harness.SettingError, IMAGES, {"steps": True}),
        (harness.SettingError, IMAGES, {"normalize": 0.5}),
        (harness.SettingError, IMAGES, {"normalize": True}),
        (harness.SettingError, IMAGES, {"normalize": ([0.5] * 3, [0.2] * 3, [1.0] * 3)}),
        (harness.SettingError, IMAGES, {"normalize": {"mean": [0.5] * 3, "sd": [0.2] * 3}}),
        (harness.SettingError, IMAGES, {"normalize": ((0.5,) * 3, (float("inf"),) * 3)}),
        (harness.SettingError, IMAGES, {"start": IMAGES.numpy()}),
        (harness.SettingError, IMAGES, {"decoder": WIDE_BLUR}),
        (harness.DeviceError, IMAGES, {"device": "cuda:x"}),
        (harness.DeviceError, IMAGES, {"device": "cpu:x"}),
        (harness.SettingError, IMAGES, {"decoder": harness.LinearSolve()}),
        (harness.SettingError, IMAGES, {"steps": -1}),
        (harness.SettingError, IMAGES, {"steps": 1.5}),
        (harness.SettingError, IMAGES, {"starts": 0}),
        (harness.SettingError, IMAGES, {"seed": -1}),
        (harness.SettingError, IMAGES, {"noise": float("nan")}),
        (harness.SettingError, IMAGES, {"start": IMAGES, "starts": 2}),
        (harness.SettingError, IMAGES, {"start": 0.7}),
        (harness.SettingError, IMAGES, {"normalize": ((0.5,), (0.5,))}),
        (harness.SettingError, IMAGES, {"normalize": ((0.5,) * 3, (0.0,) * 3)}),
    ],
)
def test_what_it_refuses(
    kind: type[harness.DepthClaimsError], images: Any, options: dict[str, Any]
) -> None:
    with pytest.raises(kind) as caught:
        harness.invert(convolutional(), images, **options)
    assert caught.value.remedy
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("setting", "options"),
    [
        (harness.Adam, {"priors": (harness.Whitening,)}),
        (harness.Adam, {"rate": None}),
        (harness.Descent, {"priors": ("blur",)}),
        (harness.Descent, {"priors": harness.Blur()}),
        (harness.Descent, {"step": "a"}),
        (harness.Descent, {"loss": 2}),
        (harness.LBFGS, {"history": 2.5}),
        (harness.AnnealedLBFGS, {"colour": "a"}),
        (harness.GaussNewton, {"inner": 2.5}),
        (harness.LinearSolve, {"rcond": "a"}),
        (harness.Blur, {"kernel": 3.0}),
        (harness.Whitening, {"exponent": True}),
        (harness.Start, {"mean": "a"}),
        (harness.Start, {"sd": -1}),
    ],
)
def test_settings_that_are_refused(setting: Any, options: dict[str, Any]) -> None:
    with pytest.raises(harness.SettingError):
        setting(**options)


def test_whole_numbers_may_be_of_numpy() -> None:
    found, same = (
        harness.invert(convolutional(), IMAGES, steps=kind(2), starts=kind(2), seed=kind(3))
        for kind in (np.int64, int)
    )
    assert found.iterations == (0, 1, 2)
    assert torch.equal(found.images, same.images)


def test_a_module_without_layers_inside_has_none_to_choose() -> None:
    with pytest.raises(harness.UnknownNameError) as caught:
        harness.invert(POINTWISE.eval(), IMAGES, layer="0")
    assert "Choose" not in caught.value.remedy


@pytest.mark.parametrize(
    "module",
    [
        convolutional().train(),
        convolutional().half(),
        convolutional().to("meta"),
        nn.Sequential(nn.LazyConv2d(4, 3)).eval(),
        Functional(nn.Identity(), (abs(number) for number in range(3)).__next__).eval(),
        "resnet18",
    ],
    ids=["train", "half", "meta", "lazy", "not copied", ""],
)
def test_modules_that_it_refuses(module: Any) -> None:
    with pytest.raises(harness.ModuleError):
        harness.invert(module, IMAGES)


def random(outputs: Tensor) -> Tensor:
    return nn.functional.dropout(outputs, 0.5)


def centred(outputs: Tensor) -> Tensor:
    return outputs - outputs.mean(0)


def of_two(outputs: Tensor) -> Tensor:
    return outputs.reshape(2, -1)


def not_differentiable(outputs: Tensor) -> Tensor:
    return outputs.detach() * 2


def constant(outputs: Tensor) -> Tensor:
    return torch.ones_like(outputs)


def failing(outputs: Tensor) -> Tensor:
    raise KeyError("no such thing")


@pytest.mark.parametrize(
    "function", [random, centred, of_two, not_differentiable, constant, failing]
)
@pytest.mark.parametrize("decoder", [harness.Adam(), harness.GaussNewton()], ids=["", "jvp"])
def test_functions_that_it_refuses(
    function: Callable[[Tensor], object], decoder: harness.Adam | harness.GaussNewton
) -> None:
    module, vectors = Functional(orthogonal(16), function).eval(), normal(2, 16, seed=1)
    before = torch.random.get_rng_state()
    with pytest.raises(harness.ModuleError):
        harness.invert(module, vectors, decoder=decoder)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_modules_of_two_inputs_are_refused_and_what_they_refuse_is_no_image() -> None:
    with pytest.raises(harness.ModuleError):
        harness.invert(nn.Bilinear(16, 16, 2).double().eval(), VECTORS)
    with pytest.raises(harness.ImageError):  # torch raises a ValueError
        harness.invert(nn.BatchNorm3d(2).double().eval(), VECTORS)


@pytest.mark.parametrize("module", [POINTWISE, Functional(POINTWISE, torch.tanh)], ids=["", "ad"])
@pytest.mark.parametrize(
    "mode",
    [lambda: torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode, torch.no_grad],
    ids=["autocast", "inference mode", "no grad"],
)
def test_modes_of_torch_do_not_reach_it(module: nn.Module, mode: Callable[[], Any]) -> None:
    options: dict[str, Any] = {"steps": 3, "decoder": harness.Adam()}
    plain = harness.invert(module.eval(), IMAGES, **options)
    with mode():
        found = harness.invert(copy.deepcopy(module), IMAGES.clone(), **options)
    assert torch.equal(found.images, plain.images)
    assert torch.equal(found.m_r, plain.m_r)


def test_it_shares_no_memory_with_the_images() -> None:
    images = IMAGES.clone()
    found = harness.invert(POINTWISE.eval(), images, steps=0)
    images.zero_()
    assert torch.equal(found.original, IMAGES)


@pytest.fixture(scope="module", name="found")
def a_recovery() -> harness.Recovery:
    return harness.invert(convolutional(), IMAGES, layer="2", steps=4)


def test_it_prints_in_six_lines_however_many_images(found: harness.Recovery) -> None:
    many = harness.invert(orthogonal(4), normal(30, 4, seed=1), steps=1)
    assert {len(repr(each).splitlines()) for each in (found, many)} == {6}
    assert "2 of 3 x 10 x 10" in repr(found)


def test_a_notebook_shows_targets_and_reconstructions(found: harness.Recovery) -> None:
    assert found._repr_html_().count("<img") == 2 * 2
    vectors = harness.invert(orthogonal(4), normal(3, 4, seed=1), steps=1)
    odd = dataclasses.replace(vectors, layer="<b>layer</b>")._repr_html_()
    assert "<b>" not in odd
    assert "<img" not in odd


@pytest.mark.parametrize("role", ["target", "start", "reconstruction"])
def test_its_images_are_pictures(found: harness.Recovery, role: str) -> None:
    whole = {"target": found.original, "start": found.start, "reconstruction": found.images}
    pixels = np.asarray(found.image(1, role=role)) / 255
    truth = whole[role][1].clamp(0, 1).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(pixels, truth, atol=0.5 / 255 + 1e-6)


def test_pictures_that_are_not_there_are_refused(found: harness.Recovery) -> None:
    vectors = harness.invert(orthogonal(4), normal(1, 4, seed=1), steps=1)
    for wrong in (lambda: vectors.image(), lambda: found.image(2), lambda: found.image(-3)):
        with pytest.raises(harness.SettingError):
            wrong()
    with pytest.raises(harness.UnknownNameError):
        found.image(role="copy")


def test_its_table_has_a_row_for_each_image(found: harness.Recovery) -> None:
    table = found.table()
    assert table["r"].tolist() == found.r.tolist()
    assert table["outcome"].tolist() == [outcome.value for outcome in found.outcomes]
    assert table["reason"].tolist() == ["length"] * 2


def test_its_plot_has_images_where_samples_are_images(found: harness.Recovery) -> None:
    vectors = harness.invert(orthogonal(4), normal(1, 4, seed=1), steps=3)
    for recovery, pictures in ((found, 6), (vectors, 0)):
        assert str(recovery.plot().to_dict()).count("data:image/png") == pictures


def test_what_is_saved_is_loaded(found: harness.Recovery, tmp_path: Path) -> None:
    found.save(tmp_path / "found")
    again = harness.load(tmp_path / "found")
    assert repr(again) == repr(found)
    for name in ("images", "original", "start", "m_g", "m_i", "m_r", "r", "at"):
        assert torch.equal(getattr(again, name), getattr(found, name))
    assert (again.outcomes, again.reasons) == (found.outcomes, found.reasons)
    assert again.reasons[0] is TerminationReason.LENGTH
    assert (again.iterations, again.decoder) == (found.iterations, found.decoder)
    assert again.path == found.path == "compiled plan"
    assert again.traces.keys() == found.traces.keys()
    assert [path.name for path in tmp_path.iterdir()] == ["found"]


def test_files_that_cannot_be_used_are_errors(found: harness.Recovery, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no recovery")
    for name in ("text", "absent"):
        with pytest.raises(harness.RecoveryError):
            harness.load(tmp_path / name)
    paths: list[Any] = [tmp_path / "no folder" / "found", tmp_path, ""]
    for path in paths:
        with pytest.raises(harness.RecoveryError):
            found.save(path)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"m_g": None}, {}),
        ({"m_g": torch.zeros(9)}, {}),
        ({"traces.m_i": None}, {}),
        ({"traces.m_i": torch.zeros(1, 2)}, {}),
        ({"start": torch.zeros(2, 3)}, {}),
        ({}, {"layer": None}),
        ({}, {"layer": 3}),
        ({}, {"decoder": ["LBFGS"]}),
        ({}, {"schema": None}),
        ({}, {"schema": "1"}),
        ({}, {"schema": 99}),
        ({}, {"outcomes": ["of another version"] * 2}),
        ({}, {"outcomes": ["matched"]}),
        ({}, {"reasons": ["OTHER"] * 2}),
        ({}, {"reasons": ["LENGTH"]}),
        ({}, {"iterations": None}),
        ({}, {"iterations": 4}),
    ],
    ids=repr,
)
def test_files_that_lack_something_are_errors(
    tensors: dict[str, Tensor | None],
    words: dict[str, Any],
    found: harness.Recovery,
    tmp_path: Path,
) -> None:
    def changed(before: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in (before | changes).items() if value is not None}

    path = tmp_path / "found"
    found.save(path)
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = json.loads(file.metadata()["recovery"])
    content = changed(safetensors.torch.load_file(path), tensors)
    saved = {"recovery": json.dumps(changed(metadata, words))}
    safetensors.torch.save_file(content, path, metadata=saved)
    with pytest.raises(harness.RecoveryError):
        harness.load(path)
