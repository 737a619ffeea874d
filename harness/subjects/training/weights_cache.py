"""Trained weights on disk, trained on first use."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from pathlib import Path

import safetensors.torch
import torch
from filelock import FileLock

from harness.checkpoint import Checkpoint
from harness.encoders.runtime import precision_of, threads
from harness.errors import StoreError
from harness.files import replacing
from harness.plan.networks import ResNet
from harness.subjects.resnet import initial_resnet
from harness.subjects.training.fit import fit
from harness.subjects.training.trained_weights import TrainingHistory, notes_of, trained_path


def ensure_trained(network: ResNet, *, seed: int) -> Path:
    """Train a network unless its weights are on disk; returns their file.

    Of several processes that need the same weights, one trains while the others wait. The lock ends
    with its process; another one resumes from the checkpoint of a process that was killed.

    Parameters
    ----------
    network : ResNet
        With its training; its layer is ignored.
    seed : int
        Of the untrained weights and of the training.

    Raises
    ------
    StoreError
        Where the weights cannot be written.
    """
    path = trained_path(network, seed=seed)
    if path.exists():
        return path
    running = path.parent / "running"
    try:
        running.mkdir(parents=True, exist_ok=True)
        with FileLock(running / f"{path.stem}.lock"):
            if not path.exists():
                checkpoint = Checkpoint(running / f"{path.stem}.safetensors")
                _train(network, seed=seed, path=path, checkpoint=checkpoint)
                # While the lock is held: processes that wait for it find the weights.
                checkpoint.remove()
    except OSError as error:
        raise StoreError(
            path,
            rule=f"the trained weights cannot be written ({error.strerror})",
            remedy="Free space, or choose another store with --store DIR",
        ) from error
    return path


def _train(network: ResNet, *, seed: int, path: Path, checkpoint: Checkpoint) -> None:
    assert network.training is not None  # its path has a name
    device = torch.device(network.training.device)
    began = time.monotonic()
    whole = initial_resnet(network, seed=seed)
    # One thread, since sums of several are rounded differently.
    single = threads(1) if device.type == "cpu" else contextlib.nullcontext()
    with single, precision_of("float32", device=device):
        found = fit(whole, network.training, seed=seed, device=device, checkpoint=checkpoint)
    history = TrainingHistory(**dataclasses.asdict(found), seconds=time.monotonic() - began)
    state = {name: value.contiguous() for name, value in whole.state_dict().items()}
    with replacing(path) as part:
        safetensors.torch.save_file(state, part, metadata=notes_of(history, state, path=path))
