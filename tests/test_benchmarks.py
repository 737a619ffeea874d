"""The benchmarks: their arithmetic, their ceiling, and what they state. No time is asserted."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.arithmetic import forward_macs, step_flops
from benchmarks.cases import CASES, Case, mlp, resnet
from benchmarks.ceiling import gemm_gflops
from benchmarks.table import throughput_table
from benchmarks.throughput import Reconstruction, Throughput
from harness.cells import Draw
from harness.settings import MLP, Images, ResNet
from harness.subjects import draws
from harness.subjects.resnet import build_resnet

ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")


def test_a_convolution_is_counted_as_by_hand() -> None:
    # 9 outputs of 8 channels, each from 3 x 3 pixels of the 2 channels in its group.
    module = nn.Conv2d(4, 8, kernel_size=3, stride=2, padding=1, groups=2)
    assert forward_macs(module, torch.zeros(1, 4, 5, 5)) == 9 * 8 * 3 * 3 * 2
    assert forward_macs(module, torch.zeros(3, 4, 5, 5)) == 3 * 9 * 8 * 3 * 3 * 2


def test_a_linear_layer_is_counted_as_by_hand() -> None:
    assert forward_macs(nn.Linear(5, 7), torch.zeros(2, 5)) == 2 * 5 * 7


@pytest.mark.parametrize(
    ("name", "giga"),
    # "GFLOPS" (multiply-accumulates at 224 pixels) in torchvision's table of its models:
    # https://docs.pytorch.org/vision/stable/models.html
    [("resnet18", 1.81), ("resnet50", 4.09)],
)
def test_resnets_have_the_published_arithmetic(name: str, giga: float) -> None:
    with torch.device("meta"):
        whole = build_resnet(ResNet(name=name, cut="layer4"), seed=0)
        macs = forward_macs(whole, torch.empty(1, 3, 224, 224))
    assert round(macs / 1e9, 2) == giga


@pytest.mark.parametrize(
    "case",
    [
        resnet("resnet18", "layer1", pixels=32, batch=1),
        resnet("resnet18", "layer4", pixels=64, batch=1),
        resnet("resnet50", "layer2", pixels=32, batch=1),
        mlp(width=20, depth=3, pixels=4, batch=1),
    ],
    ids=str,
)
def test_the_engine_computes_what_is_counted(case: Case) -> None:
    encoder = draws.encoder(case.network, [Draw(replicate=0)], dtype=torch.float32, device=CPU)
    image = torch.rand(1, *case.images.shape)
    inputs = image.flatten(1) if isinstance(case.network, MLP) else image
    # One at a time: the counter's hooks on modules do not let a gradient of the input through.
    with FlopCounterMode(display=False) as forward:
        encoder.encode(inputs)
    output, pullback = encoder.pull(inputs)
    with FlopCounterMode(display=False) as back:
        pullback(output)
    counted = forward.get_total_flops() + back.get_total_flops()
    assert counted == step_flops(case.network, case.images)


def test_the_arithmetic_grows_with_depth_and_area() -> None:
    shallow, deep = (ResNet(name="resnet18", cut=cut) for cut in ("layer1", "layer2"))
    small, large = Images(pixels=32), Images(pixels=64)
    assert step_flops(shallow, small) < step_flops(deep, small)
    assert step_flops(deep, large) == 4 * step_flops(deep, small)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_ceiling_is_a_rate(dtype: torch.dtype) -> None:
    # A megaflop to a petaflop: wide enough for any machine, and for one that is busy.
    assert 1e-3 < gemm_gflops(dtype=dtype, device=CPU, size=128) < 1e6


def test_the_limit_is_the_time_at_the_ceiling() -> None:
    found = Throughput(
        case=resnet("resnet18", "layer1", pixels=64, batch=8),
        device="cpu",
        threads=2,
        steps=10,
        step_flops=2 * 10**9,
        image_steps_per_second=10,  # 100 ms each
        ceiling_gflops=100,  # 20 ms each
    )
    assert found.times_limit == pytest.approx(5)
    twice = dataclasses.replace(found, image_steps_per_second=20)
    assert twice.times_limit == pytest.approx(2.5)
    head, row, *_, note = throughput_table([found]).splitlines()
    assert head.startswith("network ")
    assert head.endswith("times limit")
    assert row.split() == ["resnet18", "layer1", "64", "8", "10.0", "100", "5.00"]
    assert note


def test_every_image_of_the_fastest_round_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    case = mlp(width=20, depth=2, pixels=4, batch=3)
    reconstruction = Reconstruction(case, device="cpu", seconds=0, longest=0)
    assert (reconstruction.steps, reconstruction.rounds) == (2, 3)
    seconds, ceilings = iter([0.5, 0.25]), iter([80.0, 100.0])
    monkeypatch.setattr(reconstruction, "_descend", lambda steps: (None, next(seconds)))
    monkeypatch.setattr("benchmarks.throughput.gemm_gflops", lambda **_: next(ceilings))
    for _ in range(2):
        reconstruction.measure_ceiling()
        reconstruction.descend()
    found = reconstruction.throughput()
    assert found.image_steps_per_second == 2 * 3 / 0.25
    assert found.ceiling_gflops == 100


def test_names_of_cases_are_their_own() -> None:
    assert len({str(case) for case in CASES}) == len(CASES)


def test_a_benchmark_states_what_it_measured(tmp_path: Path) -> None:
    pytest.importorskip("pytest_benchmark")
    case = "resnet18-layer1-64px-batch1"
    written = tmp_path / "benchmarks.json"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "benchmarks", "-q", "-k", case, "--device", "cpu",
         "-p", "no:cacheprovider", "--benchmark-json", str(written)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (benchmark,) = json.loads(written.read_text())["benchmarks"]
    info = benchmark["extra_info"]
    rates = {
        name: info.pop(name)
        for name in ("image_steps_per_second", "ceiling_gflops", "times_limit", "step_gflop")
    }
    assert all(math.isfinite(rate) and rate > 0 for rate in rates.values())
    assert info.pop("threads") >= 1
    # pytest-benchmark times a call of the round, which is never shorter than the round.
    assert rates["image_steps_per_second"] >= info.pop("steps") / benchmark["stats"]["min"]
    assert info == {
        "network": "resnet18",
        "layer": "layer1",
        "size": 64,
        "batch": 1,
        "dtype": "float32",
        "device": "cpu",
        "decoder": "article",
    }
    table = done.stdout.partition("reconstruction throughput")[2]
    assert f"{rates['times_limit']:.2f}" in table
