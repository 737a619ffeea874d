"""What each way of computing a convolution is worth, on one thread of a CPU.

    python -m benchmarks.convolution_forms

prints a table for docs/throughput.md: the time of a step (outputs and their VJP) up to a layer of a
ResNet, and how much longer it takes without each form, and with torch's own convolutions alone. The
variants take turns, and of each the fastest of several rounds counts, in CPU time of the process,
since other processes make a round slower and never faster.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator, Mapping

import torch

from harness.encoders.compiled import CompiledPlan
from harness.encoders.convolutions.choose import FORMS
from harness.encoders.runtime import threads
from harness.encoders.tracing import trace
from harness.plan.networks import ResNet
from harness.subjects.resnet import build_resnet, encoder_of

NETWORKS = ("resnet18", "resnet50")
LAYERS = ("layer1", "layer2", "layer4")
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "all": (),
    **{f"without {form}": (form,) for form in FORMS},
    "torch's own": FORMS,
}

_SECONDS, _ROUNDS = 6.0, 5
"""Of rounds for a workload, and the least number of rounds."""


@dataclasses.dataclass(frozen=True)
class Workload:
    """Images that go up to a layer of a network together."""

    network: str
    layer: str
    pixels: int
    batch: int


def workloads() -> Iterator[Workload]:
    """Small images in batches, and a large one by itself."""
    sizes = [*itertools.product((1, 4, 16), (32, 64)), (1, 299)]
    for (batch, pixels), network, layer in itertools.product(sizes, NETWORKS, LAYERS):
        yield Workload(network, layer, pixels, batch)


def measure(workload: Workload) -> dict[str, float]:
    """Seconds of a step, for every variant."""
    whole = build_resnet(ResNet(name=workload.network, layer=workload.layer), seed=1)
    encoder = encoder_of(
        whole, layer=workload.layer, dtype=torch.float32, device=torch.device("cpu")
    )
    images = torch.rand(workload.batch, 3, workload.pixels, workload.pixels)
    graph = trace(encoder.module)
    plans = {name: CompiledPlan(graph, images, without=forms) for name, forms in VARIANTS.items()}
    seconds = dict.fromkeys(plans, float("inf"))
    end, rounds = time.monotonic() + _SECONDS, 0
    while rounds < _ROUNDS or time.monotonic() < end:
        turn = rounds % len(plans)  # none always follows the same one
        for name, plan in [*plans.items()][turn:] + [*plans.items()][:turn]:
            before = time.process_time()
            output, vjp = plan.vjp(images)
            vjp(output.sign())
            seconds[name] = min(seconds[name], time.process_time() - before)
        rounds += 1
    return seconds


def row(workload: Workload, seconds: Mapping[str, float]) -> str:
    """A row of the table: milliseconds of a step, and the other variants as multiples of it."""
    best = seconds["all"]
    others = [f"{seconds[name] / best:.2f}" for name in VARIANTS if name != "all"]
    return table_row([*map(str, dataclasses.astuple(workload)), f"{1e3 * best:.2f}", *others])


def table_row(cells: list[str]) -> str:
    """Cells in Markdown."""
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    names = [field.name for field in dataclasses.fields(Workload)]
    columns = [*names, "ms a step", *(name for name in VARIANTS if name != "all")]
    print(table_row(columns))
    print(table_row(["---"] * 2 + ["---:"] * (len(columns) - 2)))
    with threads(1):
        for workload in workloads():
            print(row(workload, measure(workload)), flush=True)


if __name__ == "__main__":
    main()
