"""What a cell costs: what a GPU took, and what the CPU measures anyway."""

from __future__ import annotations

import dataclasses

import pytest

from harness.plan.buckets import buckets
from harness.plan.cells import Cell, ErrorInNullSpace, Inversion, LocalRank, Reflection, Train
from harness.plan.costs import estimate
from harness.plan.decoders import LBFGS, Adam, Decoder, Descent
from harness.plan.images import Images
from harness.plan.networks import MLP, Network, ResNet, Training
from harness.plan.seeds import ReplicateSeeds

DRAW = ReplicateSeeds(replicate=0)
DEEP = ResNet(name="resnet50", layer="layer4")
IMAGES = Images(pixels=299)
PICTURES = Training(content="photographs", classes=10, images=640, pixels=64, epochs=10, batch=64)


@pytest.mark.parametrize(
    ("network", "decoder", "iterations", "seconds"),
    [
        (DEEP, Adam(), 500, 2.3),
        (DEEP, LBFGS(), 2000, 9.9),
        (ResNet(name="resnet18", layer="layer1"), Descent(), 500, 0.5),
        (ResNet(name="resnet50", layer="conv1"), Descent(), 500, 0.4),
        (MLP(inputs=192, widths=(228, 228)), Descent(), 200_000, 9.4),
    ],
    ids=str,
)
def test_what_was_measured_on_a_gpu(
    network: Network, decoder: Decoder, iterations: int, seconds: float
) -> None:
    """By sixteen processes that shared an H200, each cell among others; MLPs in blocks of 12."""
    pixels = 64 if isinstance(network, ResNet) else 8
    cell = Inversion(
        seeds=DRAW,
        network=network,
        images=Images(pixels=pixels),
        decoder=decoder,
        iterations=iterations,
        precision="float32" if isinstance(network, ResNet) else "float64",
    )
    assert seconds / 2 < estimate([cell], device="cuda") < 2 * seconds


def test_what_recovers_and_trains_nothing_costs_the_same_everywhere() -> None:
    rank = LocalRank(seeds=DRAW, network=MLP(inputs=48, widths=(60,)), images=Images(pixels=4))
    assert estimate([rank], device="cuda") == estimate([rank])


def test_a_plan_for_a_gpu_reckons_with_it() -> None:
    run = {
        "seeds": DRAW,
        "network": DEEP,
        "images": IMAGES,
        "decoder": Descent(),
        "iterations": 500,
    }
    trained = dataclasses.replace(DEEP, training=PICTURES)
    cells: list[Cell] = [
        Inversion(**run),  # type: ignore[arg-type]
        Train(seeds=DRAW, network=trained),
        Reflection(**{**run, "network": trained}),  # type: ignore[arg-type]
    ]
    for cell in cells:
        (there,), (here,) = (buckets([cell], device=device) for device in ("cuda", "cpu"))
        assert 0 < there.seconds < here.seconds / 5
    # The decomposition stays where it is.
    whole = ErrorInNullSpace(**{**run, "images": Images(pixels=32)})  # type: ignore[arg-type]
    assert estimate([whole], device="cuda") > 1e-10 * 3072**3
