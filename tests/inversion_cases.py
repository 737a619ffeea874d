"""Small problems on which every decoder can be run, for the tests of the engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.checkpoint import Checkpoint
from harness.encoders.encoder import AffineEncoder, Encoder, ModuleEncoder
from harness.inversion import loop
from harness.inversion.recover import Reconstructions, recover
from harness.inversion.steppers import Eager
from harness.measurements.measure import measure
from harness.plan.cells import Inversion
from harness.plan.decoders import (
    LBFGS,
    Adam,
    AnnealedLBFGS,
    Blur,
    Decoder,
    Descent,
    GaussNewton,
    LinearSolve,
    Whitening,
)
from harness.plan.images import Images
from harness.plan.networks import MLP, RESNET_LAYERS, Network, PrescribedSpectrum, ResNet
from harness.plan.seeds import ReplicateSeeds

CPU = torch.device("cpu")
SAMPLES = 4

DECODERS: dict[str, Decoder] = {
    "article": Descent(priors=(Blur(),)),
    "decreasing": Descent(loss="l2", schedule="decreasing", returns="best"),
    "polyak": Descent(loss="l2", rule="polyak", step=1.0, factor=1.0, tolerance=0.05),
    "normalised": Descent(rule="normalised", step=0.01, factor=1.0, returns="best"),
    "adam": Adam(tolerance=0.05),
    "adam, last": Adam(loss="l1", returns="last"),
    "adam, blurred": Adam(priors=(Blur(last=0.2),)),
    "adam, whitened": Adam(priors=(Whitening(),)),
    "lbfgs": LBFGS(history=5),
    "lbfgs, last": LBFGS(history=3, returns="last"),
    "lbfgs, whitened": LBFGS(history=5, tolerance=0.1, priors=(Whitening(),)),
    "annealed": AnnealedLBFGS(history=5, annealing=10),
    "annealed, last": AnnealedLBFGS(history=3, loss="l1", colour=False, returns="last"),
    "gauss-newton": GaussNewton(inner=6),
    "gauss-newton, last": GaussNewton(inner=3, returns="last", tolerance=1e-4),
    "linear": LinearSolve(),
    "linear, last": LinearSolve(returns="last"),
}
"""Every decoder by a name, with each of its rules, losses, priors and results."""

EVERY = pytest.mark.parametrize("decoder", DECODERS.values(), ids=DECODERS.keys())
"""Runs a test for each of them."""


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """One thread of torch for a module that imports this: problems so small only wait for more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def normal(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Draws from N(0, 1)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator).to(dtype)


def affine(batch: int, m: int, n: int, *, seed: int) -> AffineEncoder:
    """Maps whose outputs are about as large as their inputs."""
    return AffineEncoder(normal(batch, m, n, seed=seed) / n**0.5, normal(batch, m, seed=seed + 1))


def convolutions(dtype: torch.dtype = torch.float64, device: torch.device = CPU) -> ModuleEncoder:
    """A small network of images that has kinks and rounds as larger ones do."""
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 2)
    )
    for number, parameter in enumerate(layers.parameters()):
        parameter.data = normal(*parameter.shape, seed=number) / parameter[0].numel() ** 0.5
    layers.to(device, dtype).eval().requires_grad_(False)
    return ModuleEncoder(layers.to(memory_format=torch.channels_last))  # type: ignore[call-overload]


def encoder_for(
    decoder: Decoder, *, order: list[int], dtype: torch.dtype, device: torch.device
) -> Encoder:
    """A network that a decoder can invert; a linear one has weights for each sample."""
    if not isinstance(decoder, LinearSolve):
        return convolutions(dtype, device)
    whole = affine(SAMPLES, 40, 48, seed=5)
    return AffineEncoder(
        whole.matrix[order].to(device, dtype), whole.offset[order].to(device, dtype)
    )


def run_case(
    decoder: Decoder,
    *,
    iterations: int,
    dtype: torch.dtype = torch.float64,
    order: Sequence[int] = range(SAMPLES),
    checkpoint: Checkpoint | None = None,
    device: torch.device = CPU,
) -> Reconstructions:
    """Run a decoder on images of 12 by 12 pixels, or of them those of some numbers.

    The start and a' are noise about the image, so that decoders of all kinds get somewhere.
    """
    shape = (48,) if isinstance(decoder, LinearSolve) else (3, 12, 12)
    chosen = list(order)
    original = torch.sigmoid(normal(SAMPLES, *shape, seed=1))[chosen]
    start = (original + normal(SAMPLES, *shape, seed=2)[chosen] / 5).clamp(0, 1)
    noised = original + normal(SAMPLES, *shape, seed=3)[chosen] / 10
    return recover(
        encoder_for(decoder, order=chosen, dtype=dtype, device=device),
        original.to(device, dtype),
        start=start.to(device, dtype),
        noised=noised.to(device, dtype),
        decoder=decoder,
        iterations=iterations,
        checkpoint=checkpoint,
    )


def same_bits(one: Reconstructions, other: Reconstructions) -> bool:
    """Whether two runs came to the same in everything, to the last bit."""
    return (
        torch.equal(one.images, other.images)
        and torch.equal(one.at, other.at)
        and (one.outcomes, one.reasons, one.points) == (other.outcomes, other.reasons, other.points)
        # nan where a quantity is not defined
        and all(
            torch.equal(table.nan_to_num(-1), other.traces[name].nan_to_num(-1))
            for name, table in one.traces.items()
        )
    )


def run_case_by(
    driver: type[Eager[Any]], decoder: Decoder, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> Reconstructions:
    """Run a decoder with a driver of one's choice."""
    monkeypatch.setattr(loop, "drive", driver)
    return run_case(decoder, **options)


RELU = MLP(inputs=48, widths=(60, 48), activation="relu")


def cell(
    network: Network,
    *,
    decoder: Decoder = Descent(),  # noqa: B008  (frozen)
    **changes: Any,
) -> Inversion:
    """A short inversion of a small image."""
    pixels = 32 if isinstance(network, ResNet) else 4
    return Inversion(
        seeds=ReplicateSeeds(replicate=0),
        network=network,
        images=Images(pixels=pixels, source="dead-leaves"),
        decoder=decoder,
        iterations=4,
        **changes,
    )


CELLS = [
    *(
        cell(dataclasses.replace(RELU, activation=activation))
        for activation in ("relu", "leaky-relu", "tanh", "sigmoid", "none")
    ),
    cell(PrescribedSpectrum(inputs=48, outputs=60, condition=10.0), decoder=LinearSolve()),
    cell(RELU, decoder=GaussNewton(inner=3)),
    cell(RELU, decoder=LBFGS(history=2), precision="bf16"),
    cell(RELU, decoder=AnnealedLBFGS()),
    cell(RELU, decoder=Adam(), precision="float64", restarts=3),
    cell(RELU, decoder=Descent(priors=(Blur(kernel=3),))),
    *(cell(ResNet(name="resnet18", layer=layer)) for layer in RESNET_LAYERS),
    cell(ResNet(name="resnet18", layer="layer2"), decoder=GaussNewton(inner=2)),
    cell(ResNet(name="resnet18", layer="layer1"), decoder=LBFGS(priors=(Whitening(),))),
    cell(ResNet(name="resnet18", layer="layer2"), decoder=AnnealedLBFGS(), precision="bf16"),
    cell(ResNet(name="resnet18", layer="layer3"), precision="bf16", restarts=2),
    cell(ResNet(name="resnet50", layer="layer2"), decoder=Adam(), precision="float64"),
]
"""Networks of every kind, in every precision that a CPU has."""


def named(cell: Inversion) -> str:
    """A cell's name, for people."""
    network, decoder = cell.network, type(cell.decoder).__name__
    kind = f"{network.name} {network.layer}" if isinstance(network, ResNet) else ""
    kind = kind or getattr(network, "activation", "shaped")
    return f"{kind}, {decoder}, {cell.precision}, {cell.restarts}"


def measured_by(
    driver: type[Eager[Any]],
    cell: Inversion,
    monkeypatch: pytest.MonkeyPatch,
    *,
    device: torch.device = CPU,
) -> str:
    """All that a cell yields with a driver of one's choice, in every digit."""
    monkeypatch.setattr(loop, "drive", driver)
    (found,) = measure([cell], device=device.type)
    images = {name: image.tobytes() for name, image in found.images.items()}
    return repr((dataclasses.replace(found, images={}, seconds=0.0), images))
