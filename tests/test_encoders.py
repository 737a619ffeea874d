"""Encoders: drawn layers against torch.nn's own laws, composition, cuts, VJPs, batch mates."""

from __future__ import annotations

import weakref

import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import lively_resnet
from torch import Tensor, nn

from harness.encoders.encoder import AffineEncoder, Encoder
from harness.encoders.network import NetworkEncoder
from harness.encoders.stacks import StackEncoder
from harness.errors import UnknownNameError
from harness.plan.networks import ACTIVATIONS, INITIALISATIONS, MLP, ResNet
from harness.subjects.mlp import draw_layers, draw_weight, mlp_encoder
from harness.subjects.resnet import build_resnet, encoder_of, resnet_encoder, truncated_resnet

CPU = torch.device("cpu")
SIZES = st.integers(1, 9)
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def encoder(network: MLP, *seeds: int, dtype: torch.dtype = torch.float64) -> Encoder:
    return mlp_encoder(network, generators=generators(*seeds), dtype=dtype, device=CPU)


def modules(network: MLP, layers: tuple[AffineEncoder, ...], *, sample: int) -> nn.Sequential:
    """The same network made of torch.nn's own modules."""
    kinds = {
        "none": nn.Identity,
        "relu": nn.ReLU,
        "leaky-relu": nn.LeakyReLU,
        "tanh": nn.Tanh,
        "sigmoid": nn.Sigmoid,
    }
    parts: list[nn.Module] = []
    for layer in layers:
        out, inputs = layer.matrix.shape[1:]
        linear = nn.Linear(inputs, out, dtype=torch.float64)
        linear.load_state_dict({"weight": layer.matrix[sample], "bias": layer.offset[sample]})
        parts += [linear, kinds[network.activation]()]
    return nn.Sequential(*parts[:-1])


def uniform_p(values: Tensor, bound: float) -> float:
    """P-value of a Kolmogorov-Smirnov test against U(-bound, bound)."""
    law = scipy.stats.uniform(-bound, 2 * bound)
    return float(scipy.stats.kstest(values.flatten().numpy(), law.cdf).pvalue)


class TestDrawnLayers:
    """The laws of the weights; seeds are fixed, so that a p-value is no matter of luck."""

    def test_the_default_has_the_law_of_torchs_linear_layers(self) -> None:
        (layer,) = draw_layers(MLP(inputs=64, widths=(300,)), generators=generators(0))
        torch.manual_seed(0)
        theirs = nn.Linear(64, 300)
        for mine, other in ((layer.matrix, theirs.weight), (layer.offset, theirs.bias)):
            assert float(mine.abs().max()) <= 1 / 8
            assert uniform_p(mine, 1 / 8) > 0.01
            same = scipy.stats.ks_2samp(mine.flatten().numpy(), other.detach().flatten().numpy())
            assert same.pvalue > 0.01

    def test_gaussian_weights_have_variance_one_over_fan_in(self) -> None:
        weight = draw_weight(
            out=300, inputs=64, initialisation="gaussian", generator=generators(0)[0]
        )
        law = scipy.stats.norm(0, 1 / 8)
        assert scipy.stats.kstest(weight.flatten().numpy(), law.cdf).pvalue > 0.01

    @settings(max_examples=30, deadline=None)
    @given(out=SIZES, inputs=SIZES, seed=st.integers(0, 2**63 - 1))
    def test_orthogonal_weights_have_orthonormal_rows_or_columns(
        self, out: int, inputs: int, seed: int
    ) -> None:
        weight = draw_weight(
            out=out, inputs=inputs, initialisation="orthogonal", generator=generators(seed)[0]
        )
        tall = weight if out >= inputs else weight.T
        identity = torch.eye(min(out, inputs), dtype=torch.float64)
        torch.testing.assert_close(tall.T @ tall, identity, rtol=0, atol=1e-14)

    def test_an_unknown_initialisation_is_refused(self) -> None:
        with pytest.raises(ValueError, match="kaiming"):
            draw_weight(out=2, inputs=2, initialisation="kaiming", generator=generators(0)[0])

    @pytest.mark.parametrize("initialisation", INITIALISATIONS)
    def test_biases_are_there_or_exactly_zero(self, initialisation: str) -> None:
        for bias in (True, False):
            network = MLP(inputs=5, widths=(6, 4), initialisation=initialisation, bias=bias)
            for layer in draw_layers(network, generators=generators(1)):
                assert bool(layer.offset.any()) is bias

    @settings(max_examples=20, deadline=None)
    @given(seeds=st.lists(st.integers(0, 2**63 - 1), min_size=2, max_size=4, unique=True))
    def test_each_sample_has_the_network_of_its_own_generator(self, seeds: list[int]) -> None:
        network = MLP(inputs=4, widths=(5, 3))
        together = draw_layers(network, generators=generators(*seeds))
        for sample, seed in enumerate(seeds):
            alone = draw_layers(network, generators=generators(seed))
            for mine, one in zip(together, alone, strict=True):
                assert torch.equal(mine.matrix[sample], one.matrix[0])
                assert torch.equal(mine.offset[sample], one.offset[0])
        assert not torch.equal(together[0].matrix[0], together[0].matrix[1])


class TestMLPs:
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    @pytest.mark.parametrize("bias", [True, False])
    def test_outputs_and_gradients_are_those_of_torchs_modules(
        self, activation: str, bias: bool
    ) -> None:
        network = MLP(inputs=7, widths=(9, 8, 5), activation=activation, bias=bias)
        layers = draw_layers(network, generators=generators(3, 4))
        inputs = torch.randn(2, 7, dtype=torch.float64, generator=generators(5)[0])
        cotangent = torch.randn(2, 5, dtype=torch.float64, generator=generators(6)[0])
        outputs, vjp = encoder(network, 3, 4).vjp(inputs)
        input_cotangent = vjp(cotangent)
        assert not outputs.requires_grad
        assert not input_cotangent.requires_grad
        torch.testing.assert_close(encoder(network, 3, 4).encode(inputs), outputs)
        for sample in range(2):
            leaf = inputs[sample].clone().requires_grad_()
            theirs = modules(network, layers, sample=sample)(leaf)
            theirs.backward(cotangent[sample])
            torch.testing.assert_close(outputs[sample], theirs.detach(), rtol=1e-13, atol=1e-14)
            torch.testing.assert_close(input_cotangent[sample], leaf.grad, rtol=1e-13, atol=1e-14)

    @settings(max_examples=30, deadline=None)
    @given(
        order=st.lists(st.integers(0, 4), min_size=1, max_size=8),
        activation=st.sampled_from(ACTIVATIONS),
        seed=st.integers(0, 2**40),
    )
    def test_a_sample_does_not_depend_on_its_batch_mates(
        self, order: list[int], activation: str, seed: int
    ) -> None:
        # Any choice of samples, in any order, some of them twice or absent.
        network = MLP(inputs=6, widths=(11, 4), activation=activation)
        seeds = [seed + sample for sample in range(5)]
        inputs = torch.randn(5, 6, dtype=torch.float64, generator=generators(seed)[0])
        cotangents = torch.randn(5, 4, dtype=torch.float64, generator=generators(seed + 1)[0])
        outputs, vjp = encoder(network, *seeds).vjp(inputs)
        input_cotangent = vjp(cotangents)
        chosen, vjp_chosen = encoder(network, *(seeds[one] for one in order)).vjp(inputs[order])
        torch.testing.assert_close(chosen, outputs[order], rtol=1e-13, atol=1e-14)
        torch.testing.assert_close(
            vjp_chosen(cotangents[order]), input_cotangent[order], rtol=1e-13, atol=1e-14
        )

    def test_not_a_number_in_one_sample_stays_there(self) -> None:
        layers = draw_layers(
            MLP(inputs=4, widths=(4, 4), activation="relu"), generators=generators(1, 2, 3)
        )
        layers[0].matrix[1, 0, 0] = torch.nan
        outputs, vjp = StackEncoder(layers, "relu").vjp(torch.ones(3, 4, dtype=torch.float64))
        gradient = vjp(torch.ones_like(outputs))
        for values in (outputs, gradient):
            assert values.isfinite().all(dim=1).tolist() == [True, False, True]


@pytest.fixture(scope="module")
def whole() -> nn.Module:
    return lively_resnet("resnet18")


class TestResNets:
    def test_an_encoder_leaves_its_network_as_it_was(self, whole: nn.Module) -> None:
        before = {name: value.clone() for name, value in whole.state_dict().items()}
        encoder_of(whole, layer="layer2", dtype=torch.float64, device=CPU)
        for name, value in whole.state_dict().items():
            assert value.dtype == before[name].dtype
            assert torch.equal(value, before[name])

    def test_a_seed_is_a_network_and_torchs_own_generator_is_left_alone(self) -> None:
        torch.manual_seed(5)
        state = torch.get_rng_state()
        network = ResNet(name="resnet18", layer="conv1")
        first, again, other = (build_resnet(network, seed=seed) for seed in (1, 1, 2))
        assert torch.equal(torch.get_rng_state(), state)
        kernels = [each.get_parameter("conv1.weight") for each in (first, again, other)]
        assert torch.equal(kernels[0], kernels[1])
        assert not torch.equal(kernels[0], kernels[2])

    def test_the_encoder_built_last_is_kept_and_the_one_before_it_is_not(self) -> None:
        def get(layer: str, *, seed: int = 1) -> NetworkEncoder:
            network = ResNet(name="resnet18", layer=layer)
            return resnet_encoder(network, seed=seed, dtype=torch.float32, device=CPU)

        first = get("conv1")
        assert get("conv1") is first
        gone = weakref.ref(first)
        del first
        for layer, seed in (("layer1", 1), ("layer1", 2)):
            other = get(layer, seed=seed)
            assert gone() is None
            gone = weakref.ref(other)
            del other

    def test_unknown_layers_are_refused(self, whole: nn.Module) -> None:
        with pytest.raises(UnknownNameError, match=r"'layer5'.*layer4"):
            truncated_resnet(whole, layer="layer5")
