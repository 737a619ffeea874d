"""What the command line asks for, checked before anything expensive."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import OptionError, UnknownNameError
from harness.execution.device import DEVICES, resolve_device
from harness.execution.executors import FORMS, parse_executor
from harness.lab.lab import Custom
from harness.plan.decoders import PRECISIONS
from harness.plan.fields import known
from harness.plan.images import ImageFolder
from harness.plan.networks import RESNET_LAYERS, RESNETS, ResNet, WeightsFile
from harness.plan.profile import PROFILES, Profile
from harness.subjects.imagenet import imagenet_weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a run of the claims.

    Parameters
    ----------
    profile : Profile
        The scale of the run.
    device : str
        "auto", which is resolved when it first matters, or a device of this machine.
    executor : str
        As in `harness.execution.executors.FORMS`.
    precision : str
        One of `PRECISIONS`.
    store, report : Path
        Folders of the records and of the report.
    custom : Custom
        The user's own subjects, read and checked.
    imagenet : WeightsFile or None
        ImageNet weights of ResNet-50, if they were found or given.
    plan : bool
        Print what would be measured, and measure nothing.
    update_verdicts : bool
        Lock the verdicts of the run.
    notes : tuple of str
        What is to be said of the user's own subjects.
    """

    profile: Profile
    device: str
    executor: str
    precision: str
    store: Path
    report: Path
    custom: Custom
    plan: bool
    update_verdicts: bool
    imagenet: WeightsFile | None = None
    notes: tuple[str, ...] = ()

    @staticmethod
    def add(group: pytest.OptionGroup) -> None:
        """Register the options."""
        add = group.addoption
        add("--profile", default="quick", metavar="NAME", help=f"{', '.join(PROFILES)} (quick)")
        add("--device", default="auto", metavar="NAME", help=f"{', '.join(DEVICES)} (auto)")
        add(
            "--precision",
            default="float32",
            metavar="NAME",
            help=f"{', '.join(PRECISIONS)} (float32), for what a claim does not ask in float64",
        )
        add("--store", default=".store", metavar="DIR", help="folder of the records (.store)")
        add(
            "--report",
            default="reports/latest",
            metavar="DIR",
            help="folder of the report (reports/latest)",
        )
        add("--network", metavar="NAME", help="a torchvision ResNet in place of the article's")
        add("--weights", metavar="FILE", help="weights of --network: a state dict")
        add(
            "--imagenet",
            metavar="FILE",
            help="ImageNet weights of ResNet-50, or `download`; by default what torchvision has; "
            "about any but torchvision's IMAGENET1K_V1 a run only reports",
        )
        add("--images", metavar="DIR", help="a folder of images in place of the photographs")
        add(
            "--executor",
            default="processes",
            metavar="NAME",
            help=f"{', '.join(FORMS)} (processes)",
        )
        add("--plan", action="store_true", help="print what would be measured, and measure nothing")
        add(
            "--update-verdicts",
            action="store_true",
            help="lock the verdicts of this run; its tests are still judged by the former lock",
        )

    @classmethod
    def of(cls, config: pytest.Config) -> Options:
        """The options as given, names before files, so that a typo is reported at once.

        Raises
        ------
        DepthClaimsError
            If an option has a value that it cannot take.
        """
        given = _Given(config)
        options = cls(
            profile=Profile(given.text("profile")),
            device=_device(
                given.text("device"), executor=given.text("executor"), plan=given.flag("plan")
            ),
            executor=_executor(given.text("executor")),
            precision=_precision(given.text("precision"), device=given.text("device")),
            store=_store(given.path("store")),
            report=given.path("report"),
            custom=Custom(),
            plan=given.flag("plan"),
            update_verdicts=given.flag("update_verdicts"),
        )
        network = given.optional("network", given.text)
        weights = given.optional("weights", given.path)
        images = given.optional("images", given.path)
        if options.update_verdicts and (network or weights or images):
            raise OptionError(
                "--update-verdicts",
                rule="verdicts are locked for the article's own networks and images alone",
                remedy="Leave out --network, --weights and --images",
            )
        name = _network(network, weights=weights)
        file, notes = _weights(weights, network=name)
        return dataclasses.replace(
            options,
            custom=Custom(network=name, weights=file, images=_images(images)),
            notes=notes,
            imagenet=imagenet_weights(
                given.optional("imagenet", given.text), start=config.invocation_params.dir
            ),
        )


class _Given:
    """Options as given; paths are relative to the folder where pytest was started."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def flag(self, name: str) -> bool:
        return bool(self._config.getoption(name))

    def text(self, name: str) -> str:
        return str(self._config.getoption(name))

    def path(self, name: str) -> Path:
        written = self.text(name)
        if not written:
            # An empty path, as from an unset shell variable, would be the current folder.
            raise OptionError(f'--{name} ""', rule="the path is empty", remedy="Give a path")
        return (self._config.invocation_params.dir / written).resolve()

    def optional(self, name: str, read: Callable[[str], Any]) -> Any:
        return None if self._config.getoption(name) is None else read(name)


def _device(name: str, *, executor: str, plan: bool) -> str:
    # Resolving "auto" may start a driver, which a run without claims does not need. With Dask the
    # device is the workers', and a plan may be for another machine.
    if name == "auto" or (name in DEVICES and (plan or parse_executor(executor).kind == "dask")):
        return name
    return resolve_device(name)


def _executor(name: str) -> str:
    parse_executor(name)
    return name


def _precision(name: str, *, device: str) -> str:
    if name not in PRECISIONS:
        raise UnknownNameError.nearest(name, PRECISIONS, what="precision")
    if name == "tf32" and device == "cpu":
        raise OptionError(
            "--precision tf32 --device cpu",
            rule="TF32 is a way in which GPUs multiply",
            remedy="Choose float32",
        )
    return name


def _store(folder: Path) -> Path:
    if folder.exists() and not folder.is_dir():
        raise OptionError(
            f"--store {folder}",
            rule="the store has to be a folder, and this is a file",
            remedy="Name a folder with --store DIR; it is made where it is missing",
        )
    return folder


def _network(network: str | None, *, weights: Path | None) -> str | None:
    if network is None:
        if weights is not None:
            raise OptionError(
                f"--weights {weights}",
                rule="weights belong to one network, and none is named",
                remedy="Name it with --network NAME",
            )
        return None
    known(network, RESNETS, what="ResNet of torchvision")
    return network


def _weights(
    weights: Path | None, *, network: str | None
) -> tuple[WeightsFile | None, tuple[str, ...]]:
    """The weights, loaded once to see that they fit, and what is to be said of them."""
    if weights is None or network is None:
        return None, ()
    # torch is imported only where the user names weights.
    from harness.subjects.resnet import initial_resnet
    from harness.subjects.weights import left_out_text, load_file

    file, layer = WeightsFile.of(weights), RESNET_LAYERS[-1]
    whole = initial_resnet(ResNet(name=network, layer=layer), seed=0)
    left_out = load_file(whole, file, name=network, layer=layer)
    return file, ((left_out_text(weights, left_out),) if left_out else ())


def _images(folder: Path | None) -> ImageFolder | None:
    if folder is None:
        return None
    from harness.subjects.images.folder import folder_digest, scan_folder

    scan_folder(folder)
    return ImageFolder(sha256=folder_digest(folder), path=folder)
