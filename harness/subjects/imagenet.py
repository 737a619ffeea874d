"""Where the ImageNet weights of ResNet-50 come from: torchvision's own, or a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from harness.errors import OptionError
from harness.plan.networks import ResNet, WeightsFile

NETWORK = "resnet50"
"""The article's network."""

WEIGHTS = "IMAGENET1K_V1"
"""Torchvision's name of the weights that `pretrained=True` meant when the article appeared."""

FILE = "resnet50-0676ba61.pth"
"""The file in which torchvision stores them."""

RELEASES: Mapping[str, str] = {"0676ba61": WEIGHTS, "11ad3fa6": "IMAGENET1K_V2"}
"""Torchvision's names of its weights, by the first digits of their files' SHA-256."""

DOWNLOAD = "download"

ABSENT = (
    "the ImageNet weights of ResNet-50 are not on this machine; --imagenet download fetches them "
    "from torchvision, --imagenet FILE takes them from a file"
)
"""Why a condition about ImageNet is not run."""


def imagenet_weights(given: str | None, *, start: Path) -> WeightsFile | None:
    """The weights that an option names, or those that torchvision has downloaded before, if any.

    Parameters
    ----------
    given : str or None
        "download", a file, or None for what has been downloaded.
    start : Path
        The folder to which a relative path refers.

    Raises
    ------
    OptionError
        Where they cannot be fetched.
    WeightsError
        Where the file cannot be read, or is not that of a ResNet-50 with ImageNet's 1000 classes.
    """
    if given is None:
        path = _folder() / FILE
        return WeightsFile.of(path) if path.is_file() else None
    # torch is imported only where weights are named.
    from harness.subjects.resnet import initial_resnet
    from harness.subjects.weights import load_file

    path = _download() if given == DOWNLOAD else (start / given).resolve()
    file = WeightsFile.of(path)
    whole = initial_resnet(ResNet(name=NETWORK, layer="conv1"), seed=0)
    load_file(whole, file, name=NETWORK)  # all of it: another head is not ImageNet's
    return file


def release_of(file: WeightsFile) -> str | None:
    """Torchvision's name of the weights in a file, by digest; None for other weights."""
    return RELEASES.get(file.sha256[: len(next(iter(RELEASES)))])


def is_the_articles(file: WeightsFile) -> bool:
    """Whether a file holds the article's weights; with others, a run only reports."""
    return release_of(file) == WEIGHTS


def _folder() -> Path:
    """Where torch.hub stores files."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch")
    return Path(os.environ.get("TORCH_HOME", cache), "hub", "checkpoints").expanduser()


def _download() -> Path:
    from harness.subjects.vision import models

    try:
        models.get_weight(f"ResNet50_Weights.{WEIGHTS}").get_state_dict(
            progress=False, check_hash=True
        )
    except (OSError, RuntimeError) as error:
        raise OptionError(
            f"--imagenet {DOWNLOAD}",
            rule=f"torchvision cannot fetch the weights ({error})",
            remedy=f"Fetch {FILE} elsewhere and give --imagenet FILE, or leave the option out",
        ) from error
    return _folder() / FILE
