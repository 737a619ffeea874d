"""Trained networks: trained unless they are there, and how well they do."""

from __future__ import annotations

from harness.measurements.measurement import MEASURED, Measurement
from harness.plan.cells import NON_FINITE, Cell
from harness.plan.networks import ResNet
from harness.plan.seeds import ReplicateSeeds, Source
from harness.plan.training_cells import Train
from harness.subjects.generators import weights_seed
from harness.subjects.training.content import example
from harness.subjects.training.trained_weights import history_of, trained_path
from harness.subjects.training.weights_cache import ensure_trained


def train_for(cell: Cell) -> None:
    """Have the network of a cell trained, where it is to be; whoever comes first does it."""
    network = getattr(cell, "network", None)
    if isinstance(network, ResNet):
        trained(network, cell.seeds)


def trained(network: ResNet, seeds: ReplicateSeeds) -> None:
    """Have the network of a replicate trained, where it is to be."""
    if network.training is not None:
        ensure_trained(network, seed=weights_seed(seeds))


def train(cell: Train) -> Measurement:
    """Accuracy and the course of the loss; "non-finite" where the training diverged."""
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
