"""Training by Adam on the cross entropy, resumable after every epoch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from harness.checkpoint import Checkpoint
from harness.plan.networks import Training
from harness.subjects.training.content import TrainingSet, examples, held_out, varied

_EXAMPLES, _HELD_OUT, _EPOCHS = range(3)
"""Sources of randomness of a training, each with its own stream."""

_AT_ONCE = 256
"""Images that are classified in one batch."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """What a training came to; the network itself was changed in place.

    Parameters
    ----------
    losses : tuple of float
        Mean cross entropy of each epoch, in nats; fewer than asked for where it diverged.
    diverged : bool
        Whether a loss became infinite or not a number; the weights are then those of the epoch
        before.
    accuracy, held_out : float
        Shares of the training images and of held-out ones that are classified correctly, in eval
        mode; None for the latter where labels are random.
    """

    losses: tuple[float, ...]
    diverged: bool
    accuracy: float
    held_out: float | None


def fit(
    network: nn.Module,
    training: Training,
    *,
    seed: int,
    device: torch.device,
    checkpoint: Checkpoint | None = None,
) -> Fit:
    """Train a network in place and leave it in eval mode on the CPU.

    All randomness depends on the seed and the number of the epoch only, so that an interrupted
    training gives the same weights.

    Parameters
    ----------
    network : nn.Module
        Untrained, with as many outputs as there are classes.
    training : Training
        Its settings.
    seed : int
        Of the examples, their order and their variations.
    device : torch.device
        Where to train.
    checkpoint : Checkpoint or None
        Saved between epochs; removed by the caller.
    """
    shown = training_set(training, seed=seed).to(device)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.requires_grad_(True)
    optimizer = torch.optim.Adam(network.parameters(), lr=training.rate, fused=True)
    losses = _resume(network, optimizer, checkpoint)
    diverged = False
    while len(losses) < training.epochs and not diverged:
        if training.schedule == "decreasing":
            left = 1 - len(losses) / training.epochs
            optimizer.param_groups[0]["lr"] = training.rate * left
        before = {name: value.clone() for name, value in network.state_dict().items()}
        loss = run_epoch(network, optimizer, training, shown, rng=_rng(seed, _EPOCHS, len(losses)))
        diverged = not is_finite(loss, network)
        if diverged:
            network.load_state_dict(before)
            break
        losses.append(loss)
        if checkpoint is not None and checkpoint.due(3 * _size(network)):
            checkpoint.save(_state(network, optimizer, losses), iteration=len(losses))
    network.eval().requires_grad_(False)
    unseen = held_out(training, rng=_rng(seed, _HELD_OUT))
    result = Fit(
        losses=tuple(losses),
        diverged=diverged,
        accuracy=accuracy(network, shown),
        held_out=None if unseen is None else accuracy(network, unseen.to(device)),
    )
    network.to("cpu")
    return result


def training_set(training: Training, *, seed: int) -> TrainingSet:
    """The examples of a training with a seed."""
    return examples(training, rng=_rng(seed, _EXAMPLES))


def accuracy(network: nn.Module, shown: TrainingSet) -> float:
    """Share of the images whose label has the network's largest output."""
    found = 0
    with torch.no_grad():
        for chosen in torch.split(torch.arange(len(shown.labels)), _AT_ONCE):
            outputs = network(shown.pictures(chosen))
            found += int((outputs.argmax(1) == shown.labels[chosen]).sum())
    return found / len(shown.labels)


def run_epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    training: Training,
    shown: TrainingSet,
    *,
    rng: np.random.Generator,
) -> float:
    """One pass over the examples in a random order; returns the mean loss."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    number = len(shown.labels)
    network.train()
    total = torch.zeros((), device=shown.labels.device)
    for chosen in torch.randperm(number, generator=generator).tensor_split(
        number // training.batch
    ):
        images = shown.pictures(chosen)
        if training.content != "noise":
            images = varied(images, generator=generator)
        optimizer.zero_grad()
        outputs = network(images.contiguous(memory_format=torch.channels_last))
        loss = nn.functional.cross_entropy(outputs, shown.labels[chosen])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.detach() * len(chosen)
    return float(total) / number


def is_finite(loss: float, network: nn.Module) -> bool:
    """Whether loss and weights are finite: no loss reflects the last step."""
    return math.isfinite(loss) and all(
        bool(value.isfinite().all()) for value in network.state_dict().values()
    )


def _rng(seed: int, *source: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=source))


def _size(network: nn.Module) -> int:
    return sum(value.numel() * value.element_size() for value in network.state_dict().values())


# --- checkpoints ----------------------------------------------------------------------------


def _state(
    network: nn.Module, optimizer: torch.optim.Optimizer, losses: list[float]
) -> dict[str, Tensor]:
    moments = {
        f"optimizer.{number}.{name}": value
        for number, moments_ in optimizer.state_dict()["state"].items()
        for name, value in moments_.items()
    }
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    return {**weights, **moments, "losses": torch.tensor(losses, dtype=torch.float64)}


def _resume(
    network: nn.Module, optimizer: torch.optim.Optimizer, checkpoint: Checkpoint | None
) -> list[float]:
    """Restore the last checkpoint, if any; returns the losses of the epochs so far."""
    saved = checkpoint.load() if checkpoint is not None else None
    if saved is None:
        return []
    found, _ = saved
    network.load_state_dict(_below("network.", found))
    parameters = list(network.parameters())
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in _below("optimizer.", found).items():
        number, name = key.split(".")
        # Adam's fused kernel expects moments in the memory format of their parameters.
        like = parameters[int(number)]
        laid_out = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
        moments.setdefault(int(number), {})[name] = laid_out
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    return [float(loss) for loss in found["losses"]]


def _below(prefix: str, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)
    }
