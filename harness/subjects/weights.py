"""Weights from a local file: safetensors, or a PyTorch file of tensors only."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from harness.errors import WeightsError
from harness.files import sha256_of
from harness.plan.networks import WeightsFile

_HEAD = {"fc.weight", "fc.bias"}
"""Parameters of a torchvision ResNet with a row for each class."""


def weights_file(path: Path) -> WeightsFile:
    """A weights file with its digest.

    Raises
    ------
    WeightsError
        Where there is no such file.
    """
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    return WeightsFile(sha256=digest, path=path)


def load_weights(network: nn.Module, *, path: Path, name: str) -> None:
    """Load a state dict into a network, every tensor of it, in place.

    Parameters
    ----------
    network : nn.Module
        Left unchanged unless everything in the file fits.
    path : Path
        A ``.safetensors`` file, or one written by ``torch.save``; pickled code is refused.
    name : str
        The network's name, for the message.

    Raises
    ------
    WeightsError
        Where the file is corrupt, holds anything but tensors, or does not fit.
    """
    state = _read(path)
    expected = network.state_dict()
    # Files older than PyTorch 0.4.1 lack the batch counters, which have no effect in eval mode.
    counters = {key for key in expected if key.endswith("num_batches_tracked")}
    missing = sorted(set(expected) - counters - set(state))
    surplus = sorted(set(state) - set(expected))
    unlike = sorted(
        key for key in set(state) & set(expected) if state[key].shape != expected[key].shape
    )
    if missing or surplus or unlike:
        misfit = [
            f"{key} ({_shape(state[key])} in place of {_shape(expected[key])})" for key in unlike
        ]
        head_alone = not (missing or surplus) and set(unlike) <= _HEAD
        raise WeightsError(
            path,
            rule=f"the weights do not fit {name} ({_differences(missing, surplus, misfit)})",
            remedy="Its head has another number of classes: give weights with the same number"
            if head_alone
            else f"Give weights of {name}, or name the network that these belong to with "
            "--network NAME",
        )
    network.load_state_dict(state, strict=False)


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        with warnings.catch_warnings():
            # torch warns about unknown files before it refuses them.
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise _unreadable(path, error) from error
    except pickle.UnpicklingError as error:
        raise WeightsError(
            path,
            rule="the file is not a plain state dict: it is damaged or contains pickled code, "
            "which is never run",
            remedy="Save the weights alone: torch.save(network.state_dict(), FILE) or safetensors",
        ) from error
    except Exception as error:
        # A damaged file makes unpickling fail in any way: UnicodeDecodeError, IndexError, ...
        raise WeightsError(
            path,
            rule="the weights file is corrupt, or another kind of file",
            remedy="Save it again with torch.save(network.state_dict(), FILE) or safetensors",
        ) from error
    if not isinstance(state, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise WeightsError(
            path,
            rule="the file does not hold a state dict of tensors",
            remedy="Save network.state_dict() itself, not a checkpoint around it",
        )
    return state


def _unreadable(path: Path, error: OSError) -> WeightsError:
    return WeightsError(
        path,
        rule=f"the weights file cannot be read ({error.strerror or error})",
        remedy="Give a file with a state dict, saved by torch.save or safetensors",
    )


def _differences(missing: list[str], surplus: list[str], misfit: list[str]) -> str:
    kinds = (("missing", missing), ("not in the network", surplus), ("of another shape", misfit))
    return "; ".join(f"{len(keys)} {kind}, first {keys[0]}" for kind, keys in kinds if keys)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "1"
