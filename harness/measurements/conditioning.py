"""Condition numbers of linear stacks by depth, and how fast those of very deep ones grow."""

from __future__ import annotations

import torch

from harness.measurements.measurement import Measurement, outcome_of
from harness.measurements.theory import newman_rate
from harness.plan.cells import Conditioning, SpreadRate
from harness.plan.seeds import Source
from harness.subjects.generators import torch_generator
from harness.subjects.mlp import draw_stack, draw_weight


def conditioning(cell: Conditioning) -> Measurement:
    """Logarithms of the condition number up to each layer."""
    matrix = torch.eye(cell.network.inputs, dtype=torch.float64)
    values = {}
    for depth, (weight, _) in enumerate(draw_stack(cell.network, cell.seeds), start=1):
        matrix = weight @ matrix
        singular = torch.linalg.svdvals(matrix)
        values[f"log_condition_{depth}"] = float((singular[0] / singular[-1]).log())
    return Measurement(values=values, outcome=outcome_of(values))


def spread_rate(cell: SpreadRate) -> Measurement:
    """Nats a layer by which the greatest singular value outgrows the least, and Newman's law."""
    generator = torch_generator(cell.seeds, Source.WEIGHTS)
    frame = torch.eye(cell.inputs, dtype=torch.float64)
    logs = torch.zeros(cell.inputs, dtype=torch.float64)
    for _ in range(cell.depth):
        weight = draw_weight(
            out=cell.width,
            inputs=len(frame),
            initialisation=cell.initialisation,
            generator=generator,
        )
        frame, triangle = torch.linalg.qr(weight @ frame)
        logs += triangle.diagonal().abs().log()
    rate = float(logs[0] - logs[-1]) / cell.depth
    law = newman_rate(inputs=cell.inputs, width=cell.width)
    values = {"rate": rate, "law": law, "ratio": rate / law}
    return Measurement(values=values, outcome=outcome_of(values))
