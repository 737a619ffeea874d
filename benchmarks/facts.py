"""What the benchmarks state about a case, in their JSON and in the tables."""

from __future__ import annotations

import torch

from benchmarks.cases import Case, decoder_name
from benchmarks.roofline import Roofline
from benchmarks.throughput import Throughput


def case_facts(case: Case, *, device: torch.device) -> dict[str, object]:
    """What is measured, and where."""
    return {
        "network": case.name,
        "layer": case.layer,
        "size": case.images.pixels,
        "batch": case.batch,
        "weights": "own" if case.fresh else "shared",
        "dtype": case.precision,
        "device": device.type,
        "threads": torch.get_num_threads(),
    }


def throughput_facts(
    case: Case, throughput: Throughput, roofline: Roofline, *, device: torch.device
) -> dict[str, object]:
    """The throughput of the engine, and its distance from the roofline."""
    return {
        **case_facts(case, device=device),
        "decoder": decoder_name(case.decoder),
        "steps": throughput.steps,
        "image_steps_per_second": throughput.image_steps_per_second,
        "step_gflop": roofline.work.flops / 1e9,
        "step_gbyte": roofline.work.weights * roofline.itemsize / 1e9,
        "peak_gflops": roofline.gflops,
        "peak_gbytes": roofline.gbytes,
        "bound": roofline.bound,
        "times_roofline": throughput.step_seconds / roofline.seconds,
    }
