"""Files of weights that were trained here: their names, notes and loading."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import safetensors
from torch import Tensor, nn

from harness.errors import SettingError, WeightsError
from harness.plan.identity import context, identity
from harness.plan.networks import RESNET_LAYERS, ResNet
from harness.subjects.training.fit import Fit
from harness.subjects.weights import load_state

_AGAIN = "Delete this file; the next run trains the network again"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingHistory(Fit):
    """What a training came to, and the seconds that it took."""

    seconds: float


def trained_path(network: ResNet, *, seed: int) -> Path:
    """Where the weights of a trained network are, or will be.

    The name is the digest of settings (with the device, without the layer), seed and versions of
    the libraries.

    Raises
    ------
    SettingError
        Where no folder is given, or the network is not trained.
    """
    if network.training is None or network.training.folder is None:
        raise SettingError(
            network,
            rule="trained weights are stored in a folder, and none is given",
            remedy="Give Training(folder=...)",
        )
    whole = dataclasses.replace(network, layer=RESNET_LAYERS[-1])
    # The weights are used on any device.
    versions = context(device="any")
    digest = identity(whole, context={"seed": seed, **versions})
    return network.training.folder / f"{digest}.safetensors"


def load_trained(whole: nn.Module, network: ResNet, *, path: Path) -> None:
    """Load trained weights into a network that has their shapes, in place.

    Raises
    ------
    WeightsError
        Where there are none, or the file is damaged, of another training, or of other shapes.
    """
    notes = _notes(path)
    load_state(
        whole, path=path, name=f"{network.name} with width multiplier {network.width_multiplier:g}"
    )
    if notes["digest"] != path.stem or notes["weights"] != digest_of(whole.state_dict()):
        raise WeightsError(
            path, rule="these are not the weights that were trained under its name", remedy=_AGAIN
        )


def history_of(path: Path) -> tuple[TrainingHistory, str]:
    """How the training of a file of weights went, and the digest of the weights themselves.

    Raises
    ------
    WeightsError
        Where there is no such file, or no training wrote it.
    """
    notes = _notes(path)
    history = json.loads(notes["history"])
    return TrainingHistory(**{**history, "losses": tuple(history["losses"])}), notes["weights"]


def notes_of(
    history: TrainingHistory, state: Mapping[str, Tensor], *, path: Path
) -> dict[str, str]:
    """The metadata of a file of weights."""
    return {
        "digest": path.stem,
        "weights": digest_of(state),
        "history": json.dumps(dataclasses.asdict(history)),
    }


def digest_of(state: Mapping[str, Tensor]) -> str:
    """SHA-256 (hex) of the tensors of a state, by name."""
    found = hashlib.sha256()
    for name, value in sorted(state.items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().numpy().data)
    return found.hexdigest()


def _notes(path: Path) -> dict[str, str]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            notes: dict[str, str] = file.metadata() or {}
    except FileNotFoundError as error:
        raise WeightsError(
            path,
            rule="the network has not been trained yet",
            remedy="Train it with harness.subjects.training.weights_cache.ensure_trained",
        ) from error
    except (OSError, safetensors.SafetensorError) as error:
        raise WeightsError(
            path, rule=f"the trained weights are damaged ({error})", remedy=_AGAIN
        ) from error
    if not {"digest", "weights", "history"} <= set(notes):
        raise WeightsError(path, rule="no training here wrote this file", remedy=_AGAIN)
    return notes
