"""Trained networks: trained on demand, and how accurate they are."""

from __future__ import annotations

from harness.measurements.measurement import MEASURED, Measurement
from harness.plan.cells import JUDGE, NON_FINITE, Cell, Reflection, Train
from harness.plan.networks import ResNet
from harness.plan.seeds import Source
from harness.subjects.generators import weights_seed
from harness.subjects.training.content import example
from harness.subjects.training.trained_weights import history_of, trained_path
from harness.subjects.training.weights_cache import ensure_trained


def train_for(cell: Cell) -> None:
    """Train the network of a cell, and its judge, unless they are trained already."""
    network = getattr(cell, "network", None)
    if isinstance(network, ResNet) and network.training is not None:
        for seeds in (cell.seeds, JUDGE) if isinstance(cell, Reflection) else (cell.seeds,):
            ensure_trained(network, seed=weights_seed(seeds))


def train(cell: Train) -> Measurement:
    """Accuracy and losses by epoch; "non-finite" where the training diverged."""
    training = cell.network.training
    assert training is not None  # the cell's own rule
    path = trained_path(cell.network, seed=weights_seed(cell.seeds))
    history, digest = history_of(path)
    values = {
        "accuracy": history.accuracy,
        "epochs": float(len(history.losses)),
        "seconds": history.seconds,
    }
    if history.held_out is not None:
        values["held_out"] = history.held_out
    image = example(training, rng=cell.seeds.rng(Source.IMAGE))
    return Measurement(
        values=values,
        outcome=NON_FINITE if history.diverged else MEASURED,
        traces={
            "iteration": tuple(map(float, range(1, len(history.losses) + 1))),
            "loss": history.losses,
        },
        labels={"content": training.content, "weights": digest},
        images={"example": image.double().numpy()},
    )
