"""How much updates of an early layer reduce the loss, by the condition of later layers."""

from __future__ import annotations

import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from harness.measurements.measurement import Measurement, outcome_of
from harness.plan.cells import EarlyUpdates
from harness.plan.seeds import Source
from harness.subjects.generators import torch_generator
from harness.subjects.mlp import draw_weight


def early_updates(cell: EarlyUpdates) -> Measurement:
    """Rank correlation of condition numbers and reductions of the loss.

    `own`: each stack at the same share of the largest rate at which its own descent converges.
    `common`: all stacks at the lowest of these rates.
    """
    draws = torch_generator(cell.seeds, Source.WEIGHTS)
    first, target = (
        draw_weight(out=cell.width, inputs=cell.width, initialisation="default", generator=draws)
        for _ in range(2)
    )
    later = [
        _later(cell.width, depth=cell.depth, condition=condition, generator=draws)
        for condition in cell.conditions
    ]
    singular = [torch.linalg.svdvals(matrix) for matrix in later]
    kappas = [float(values[0] / values[-1]) for values in singular]
    limits = [2 / float(values[0]) ** 2 for values in singular]
    traces = {"iteration": tuple(map(float, range(len(later)))), "condition": tuple(kappas)}
    values = {}
    for name, largest in (("own", limits), ("common", [min(limits)] * len(limits))):
        drops = [
            loss_drop(first - target, matrix, rate=cell.rate * limit, steps=cell.steps)
            for matrix, limit in zip(later, largest, strict=True)
        ]
        values[name] = float(spearmanr(kappas, drops).statistic)
        traces[f"drop_{name}"] = tuple(drops)
    return Measurement(values=values, outcome=outcome_of(values), traces=traces)


def loss_drop(
    error: Float[Tensor, "n n"], later: Float[Tensor, "n n"], *, rate: float, steps: int
) -> float:
    """1 - loss after / loss before, of gradient descent on the first layer's weights alone.

    The loss is the mean of |B (W - W*) x|^2 / 2 over white inputs x, |B (W - W*)|^2 / 2.
    """
    before = float((later @ error).square().sum())
    for _ in range(steps):
        error = error - rate * (later.mT @ (later @ error))
    return 1 - float((later @ error).square().sum()) / before


def _later(
    width: int, *, depth: int, condition: float, generator: torch.Generator
) -> Float[Tensor, "n n"]:
    """The product of the later layers, each of Frobenius norm sqrt(n)."""
    product = torch.eye(width, dtype=torch.float64)
    spread = torch.linspace(0, -1, width, dtype=torch.float64)
    values = condition ** (spread / depth)
    for _ in range(depth):
        left, right = (
            draw_weight(out=width, inputs=width, initialisation="orthogonal", generator=generator)
            for _ in range(2)
        )
        layer = left * (values * (width / values.square().sum()).sqrt()) @ right
        product = layer @ product
    return product
