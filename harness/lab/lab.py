"""The lab: what a claim's test gets its settings from, and states its condition to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.claim import Claim
from harness.lab.condition import Condition, Control, Effects, Tables, no_control, no_tables
from harness.lab.crossed_design import Cells
from harness.lab.precision_check import at_precision
from harness.plan.cells import Cell
from harness.plan.fields import check
from harness.plan.images import ImageFolder, Images
from harness.plan.networks import RESNETS, ModuleFactory, ResNet, WeightsFile, module
from harness.plan.profile import Profile
from harness.plan.seeds import ReplicateSeeds
from harness.store import WEIGHTS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Custom:
    """The user's own network, weights or images; with any of them a run only reports."""

    network: str | None = None
    weights: WeightsFile | None = None
    images: ImageFolder | None = None

    def used_by(self, cells: Iterable[Cell]) -> tuple[str, ...]:
        """Which of them some of these cells are measured with: "network", "weights", "images"."""
        found = set()
        for cell in cells:
            network, images = getattr(cell, "network", None), getattr(cell, "images", None)
            if isinstance(network, ResNet) and network == self._stands_for(network):
                found |= {"network", "weights"}
            if self.images and isinstance(images, Images) and images.folder == self.images:
                found.add("images")
        return tuple(name for name in self.described() if name in found)

    def _stands_for(self, network: ResNet) -> ResNet | None:
        """The user's network at a layer of another one; None without any."""
        return None if self.network is None else self.resnet(self.network, network.layer)

    def resnet(self, name: str, layer: str) -> ResNet:
        """A ResNet up to a layer, with the user's weights where it is the user's network."""
        return ResNet(
            name=name, layer=layer, weights=self.weights if name == self.network else None
        )

    def described(self) -> dict[str, str]:
        """What was given, for the report."""
        given = {
            "network": self.network,
            "weights": self.weights and f"{self.weights.path} ({self.weights.sha256[:12]})",
            "images": self.images and f"{self.images.path} ({self.images.sha256[:12]})",
        }
        return {key: value for key, value in given.items() if value}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lab:
    """What a test sees: the profile, the subjects, and `judge`.

    Parameters
    ----------
    profile : Profile
        Sizes and numbers of this run.
    custom : Custom
        The user's own subjects.
    precision : str
        One of `harness.plan.decoders.PRECISIONS`, for cells that a claim does not
        itself run in float64.
    parameters : mapping
        What the test was parametrized with.
    receive : callable
        Takes the condition that the test states.
    device : str
        "cpu" or "cuda", on which networks are trained.
    weights : Path
        The folder of weights that are trained here.
    imagenet : WeightsFile or None
        ImageNet weights of ResNet-50, if this machine has them.
    folder : Path
        The folder of the test's file.
    """

    profile: Profile
    custom: Custom
    precision: str
    parameters: Mapping[str, str | int | float]
    receive: Callable[[Condition], None]
    device: str = "cpu"
    weights: Path = Path(".store", WEIGHTS)
    imagenet: WeightsFile | None = None
    folder: Path = Path()

    def resnet(self, name: str, layer: str) -> ResNet:
        """A ResNet up to a layer, with the user's weights where it is the user's network."""
        return self.custom.resnet(name, layer)

    def module(
        self,
        factory: str,
        *,
        layer: str | None = None,
        arguments: Mapping[str, object] | None = None,
        weights: str | Path | None = None,
    ) -> ModuleFactory:
        """A network of one's own; see `harness.plan.networks.module`.

        Paths are relative to the folder of the test's file.
        """
        return module(
            factory, layer=layer, arguments=arguments, weights=weights, folder=self.folder
        )

    def stands_for(self, network: str, *, article: str) -> bool:
        """Whether a network is the article's, or the user's in its place."""
        return network == (self.custom.network or article)

    def photographs(self, *, pixels: int, rows: int | None = None, channels: int = 3) -> Images:
        """Crops of the bundled photographs, or of the user's images."""
        folder = self.custom.images
        return Images(
            pixels=pixels,
            rows=rows,
            channels=channels,
            source="folder" if folder else "photographs",
            folder=folder,
        )

    def judge(
        self,
        claim: Claim,
        *,
        cells: Cells,
        effects: Effects,
        estimand: str | None = None,
        gallery: Mapping[str, Cell] | None = None,
        tables: Tables = no_tables,
        confirmatory: bool = True,
        max_replicates: int = 48,
        family: str | None = None,
        control: Control = no_control,
        skip_reason: str | None = None,
        external_weights: bool = False,
    ) -> None:
        """State the condition; parameters as in `Condition`.

        `estimand` may be left out if the claim has only one.
        """

        def placed(asked: Any) -> dict[str, Cell]:
            check(
                isinstance(asked, Mapping)
                and all(isinstance(cell, Cell) for cell in asked.values()),
                f"the cells of {claim.id}",
                rule="a replicate consists of cells by role",
                remedy='Return a dict of cells, as {"role": Inversion(...)}',
            )
            return {role: at_precision(cell, self.precision) for role, cell in asked.items()}

        def of_replicate(seeds: ReplicateSeeds) -> dict[str, Cell]:
            found = placed(cells(seeds))
            self._check_network(claim, found)
            return found

        self.receive(
            Condition(
                claim=claim,
                estimand=estimand or next(iter(claim.estimands)),
                parameters=self.parameters,
                cells=of_replicate,
                effects=effects,
                gallery=placed(gallery or {}),
                tables=tables,
                confirmatory=confirmatory,
                max_replicates=max_replicates,
                family=family,
                control=control,
                skip_reason=skip_reason,
                external_weights=external_weights,
            )
        )

    def _check_network(self, claim: Claim, cells: Mapping[str, Cell]) -> None:
        """Refuse a condition that goes by the name of a ResNet which none of its cells has."""
        named = self.parameters.get("network")
        networks = [getattr(cell, "network", None) for cell in cells.values()]
        has = [network.name for network in networks if isinstance(network, ResNet)]
        check(
            named not in RESNETS or not has or named in has,
            f"network={named} of {claim.id}",
            rule=f"the condition goes by this name, and its cells have {' and '.join(has)}",
            remedy="Take the network that the test is parametrized with: "
            "lab.resnet(network, layer)",
        )

    def record(self, claim: Claim) -> None:
        """State a claim that no measurement could test; it is listed with its reason."""
        self.judge(claim, cells=lambda _: {}, effects=lambda _: {})
