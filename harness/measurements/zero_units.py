"""Share of units that ReLUs set to zero."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.measurements.measurement import Measurement, outcome_of
from harness.plan.cells import ZeroUnits
from harness.plan.networks import MLP
from harness.subjects.generators import weights_seed
from harness.subjects.images.originals import draw_original
from harness.subjects.mlp import draw_stack
from harness.subjects.resnet import build_resnet, truncated_resnet


def zero_units(cell: ZeroUnits) -> Measurement:
    """The share over all ReLUs; that of each one in the traces."""
    image, label = draw_original(cell.images, cell.seeds)
    zeros = [
        (int((values == 0).sum()), values.numel())
        for values in (
            _of_stack(cell, image.flatten())
            if isinstance(cell.network, MLP)
            else _of_resnet(cell, image[None])
        )
    ]
    values = {"zero_share": sum(zero for zero, _ in zeros) / sum(units for _, units in zeros)}
    return Measurement(
        values=values,
        outcome=outcome_of(values),
        traces={
            "iteration": tuple(map(float, range(1, len(zeros) + 1))),
            "zero_share": tuple(zero / units for zero, units in zeros),
        },
        labels={"image": label},
    )


def _of_stack(cell: ZeroUnits, hidden: Tensor) -> list[Tensor]:
    assert isinstance(cell.network, MLP)
    found = []
    for weight, bias in draw_stack(cell.network, cell.seeds):
        hidden = torch.relu(weight @ hidden + bias)
        found.append(hidden)
    return found


def _of_resnet(cell: ZeroUnits, inputs: Tensor) -> list[Tensor]:
    assert not isinstance(cell.network, MLP)
    whole = build_resnet(cell.network, seed=weights_seed(cell.seeds))
    module = truncated_resnet(whole, layer=cell.network.layer)
    found: list[Tensor] = []
    for each in module.modules():
        if isinstance(each, nn.ReLU):
            # A block calls its only ReLU more than once; nothing overwrites its output.
            each.register_forward_hook(lambda _, __, output: found.append(output))
    with torch.no_grad():
        module(inputs.float())
    return found
