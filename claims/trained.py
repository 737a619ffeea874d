"""The networks that the claims on training compare: untrained, trained here, and ImageNet's."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from claims.decoders import resnet_decoder
from harness.claim import Claim
from harness.lab.condition import Control, Effects, Tables, no_control, no_tables
from harness.lab.crossed_design import Cells
from harness.lab.lab import Lab
from harness.plan.cells import JUDGE, Cell, Inversion, Train
from harness.plan.images import ARTICLE_START, Images, Start
from harness.plan.networks import ResNet, Training, WeightsFile
from harness.plan.seeds import ReplicateSeeds
from harness.store import Record
from harness.subjects.imagenet import ABSENT, NETWORK, is_the_articles, release_of
from harness.verdict.results import Table

FITTED = {"noise": ("accuracy", 0.9), "photographs": ("held_out", 0.7)}
"""The accuracy that a trained network has to reach for its replicate to count: on the training set
where only memory helps, otherwise on held-out thirds of the pictures."""

GIVEN = "One network, trained by others: the verdict holds for this network."

FEWEST = 12
"""With fewer networks, nothing is said about any other network."""


def noise_training(lab: Lab) -> Training:
    """Images of noise under random labels: the article's, or a small memory task like it."""
    return Training(
        content="noise",
        classes=100,
        images=lab.profile.pick(quick=512, standard=2048, article=10_000),
        pixels=lab.profile.pick(quick=32, standard=64, article=224),
        epochs=lab.profile.pick(quick=16, standard=24, article=90),
        batch=lab.profile.pick(quick=64, standard=128, article=128),
        rate=lab.profile.pick(quick=2e-3, standard=1e-3, article=1e-4),
        schedule=lab.profile.pick(quick="decreasing", standard="decreasing", article="fixed"),
        device=lab.device,
        folder=lab.weights,
    )


def photograph_training(lab: Lab) -> Training:
    """Crops of eight photographs and three textures, a class each."""
    return Training(
        content="photographs",
        classes=11,
        images=lab.profile.pick(quick=2112, standard=4224, article=10_560),
        pixels=lab.profile.pick(quick=32, standard=64, article=224),
        epochs=lab.profile.pick(quick=8, standard=12, article=30),
        batch=lab.profile.pick(quick=64, standard=128, article=128),
        rate=lab.profile.pick(quick=2e-3, standard=1e-3, article=3e-4),
        schedule="decreasing",
        device=lab.device,
        folder=lab.weights,
    )


def network(lab: Lab, layer: str, *, trained: str) -> ResNet:
    """A network of the claims on training, up to a layer.

    Parameters
    ----------
    lab : Lab
        `quick` has ResNet-18s with a quarter of the channels, `standard` has whole ResNet-18s, and
        `article` has ResNet-50s.
    layer : str
        The layer.
    trained : str
        "no", "noise", "photographs", "imagenet", or "not imagenet": the untrained ResNet-50.
    """
    if trained in ("imagenet", "not imagenet"):
        return ResNet(
            name=NETWORK, layer=layer, weights=lab.imagenet if trained == "imagenet" else None
        )
    trainings = {"noise": noise_training, "photographs": photograph_training}
    return ResNet(
        name=lab.profile.pick(quick="resnet18", standard="resnet18", article="resnet50"),
        layer=layer,
        width_multiplier=lab.profile.pick(quick=0.25, standard=1.0, article=1.0),
        training=trainings[trained](lab) if trained in trainings else None,
    )


def untrained(trained: str) -> str:
    """What a trained network is contrasted with: the same architecture before any training."""
    return "not imagenet" if trained == "imagenet" else "no"


def training(lab: Lab, seeds: ReplicateSeeds, *contents: str) -> dict[str, Cell]:
    """The trainings of a replicate's networks, by role; ImageNet's was done by others."""
    return {
        f"{content} training": Train(seeds=seeds, network=network(lab, "layer4", trained=content))
        for content in contents
        if content in FITTED
    }


def judges_training(lab: Lab, content: str) -> dict[str, Cell]:
    """The training of the judge, by role; the same for every replicate."""
    judge = Train(seeds=JUDGE, network=network(lab, "layer4", trained=content))
    return {f"judge's {content} training": judge}


def unfitted(seen: Mapping[str, Record]) -> str | None:
    """The control of every claim on trained networks: whether they learnt their task."""
    for content, (name, least) in FITTED.items():
        for role in (f"{content} training", f"judge's {content} training"):
            record = seen.get(role)
            if record is not None and not record.values[name] > least:
                return f"a network did not learn {content} ({name} at most {least:g})"
    return None


def skip_reason(lab: Lab, *trained: str) -> str | None:
    """Why a condition cannot be measured here; None if it can."""
    return ABSENT if "imagenet" in trained and lab.imagenet is None else None


def external_weights(lab: Lab, *trained: str) -> bool:
    """Whether another network stands in for ImageNet's, so that no verdict is locked."""
    return "imagenet" in trained and lab.imagenet is not None and not is_the_articles(lab.imagenet)


def decides(lab: Lab, trained: str) -> bool:
    """Whether a condition decides its claim.

    At the article's sizes the article's own network decides; elsewhere the networks trained here
    do, since there are many of them and ImageNet's is only one.
    """
    return trained == lab.profile.pick(
        quick="photographs", standard="photographs", article="imagenet"
    )


def at_most(lab: Lab, trained: str, *, confirmatory: bool) -> int:
    """Replicates of a condition on trained networks, each with networks of its own.

    At the article's sizes training takes most of the time; ImageNet's network needs none, and its
    replicates are photographs and starts. In `quick` it is much larger than the other networks and
    gets two replicates.
    """
    given = trained == "imagenet"
    return lab.profile.pick(
        quick=24 if confirmatory else 2 if given else 4,
        standard=24 if confirmatory else 4,
        article=48 if given else 12,
    )


def judge_trained(
    lab: Lab,
    claim: Claim,
    *contents: str,
    cells: Cells,
    effects: Effects,
    estimand: str | None = None,
    gallery: Mapping[str, Cell] | None = None,
    tables: Tables = no_tables,
    confirmatory: bool = True,
    max_replicates: int | None = None,
    control: Control = no_control,
) -> None:
    """State a condition on networks that learnt some contents; others as in `Lab.judge`.

    Their trainings are cells of each replicate. A replicate whose networks did not learn fails; a
    condition whose network is missing is not run.
    """
    # At the article's sizes the slowest training sets the number.
    usual = min(at_most(lab, each, confirmatory=confirmatory) for each in contents)
    lab.judge(
        claim,
        estimand=estimand,
        cells=lambda seeds: {**training(lab, seeds, *contents), **cells(seeds)},
        effects=effects,
        gallery=gallery,
        tables=lambda seen: (
            *learnt(seen, given=lab.imagenet if "imagenet" in contents else None),
            *tables(seen),
        ),
        confirmatory=confirmatory,
        max_replicates=usual if max_replicates is None else max_replicates,
        control=lambda seen: unfitted(seen) or control(seen),
        skip_reason=skip_reason(lab, *contents),
        external_weights=external_weights(lab, *contents),
    )


def reconstruction(
    lab: Lab,
    seeds: ReplicateSeeds,
    layer: str,
    *,
    trained: str,
    decoder: str,
    source: str = "photographs",
    start: Start = ARTICLE_START,
    pixels: int | None = None,
) -> Inversion:
    """The cell that recovers an image from a layer of one of these networks.

    Settings are those of the claims on untrained networks, so that equal cells are measured once.
    """
    size = pixels or lab.profile.pick(quick=32, standard=64, article=299)
    images = lab.photographs(pixels=size)
    return Inversion(
        seeds=seeds,
        network=network(lab, layer, trained=trained),
        images=images if source == "photographs" else Images(pixels=size, source=source),
        decoder=resnet_decoder(decoder, lab.profile),
        iterations=lab.profile.pick(quick=200, standard=500, article=500),
        start=start,
    )


def gallery(
    lab: Lab,
    *,
    trained: Sequence[str],
    layers: Sequence[str],
    decoder: str,
    start: Start = ARTICLE_START,
) -> dict[str, Cell]:
    """One replicate's reconstructions, large enough to look at."""
    pixels = lab.profile.pick(quick=64, standard=128, article=299)
    named = {"no": "untrained", "not imagenet": "untrained"}
    return {
        f"{layer}, {named.get(each, each)}": reconstruction(
            lab,
            ReplicateSeeds(replicate=0),
            layer,
            trained=each,
            decoder=decoder,
            start=start,
            pixels=pixels,
        )
        for layer in layers
        for each in trained
        if skip_reason(lab, each) is None
    }


def learnt(
    seen: Sequence[Mapping[str, Record]], *, given: WeightsFile | None = None
) -> tuple[Table, ...]:
    """What the networks of a condition learnt, and the scope of the verdict if they are few.

    Parameters
    ----------
    seen : sequence of mapping
        The records of each replicate, by role.
    given : WeightsFile or None
        The weights of the network that others trained, if the condition has it.
    """
    rows = []
    for content, (name, _) in FITTED.items():
        role = f"{content} training"
        values = [records[role].values[name] for records in seen if role in records]
        if values:
            shown = name.replace("_", "-")
            rows.append((content, len(values), shown, statistics.median(values), min(values)))
    tables = []
    if rows:
        scope = "" if len(seen) >= FEWEST else " The verdict holds for these networks."
        tables.append(
            Table(
                title=f"Networks trained here, one per replicate.{scope}",
                columns=("on", "networks", "accuracy", "median", "least"),
                rows=tuple(rows),
            )
        )
    if given is not None:
        weights = release_of(given) or f"no release of torchvision's, {given.path}"
        rows_of_it = ((NETWORK, weights),)
        tables.append(Table(title=GIVEN, columns=("network", "weights"), rows=rows_of_it))
    return tuple(tables)
