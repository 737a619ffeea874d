"""Identities of cells and seeds of replicates: stable, sensitive to everything, free of clashes."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from harness.errors import SettingError, UnknownNameError
from harness.plan.buckets import buckets
from harness.plan.cells import ActiveUnits, Cell, ExactInverse, Inversion, LocalRank, Train, block
from harness.plan.decoders import (
    LBFGS,
    LOSSES,
    PRECISIONS,
    RETURNS,
    RULES,
    TOLERANCES,
    Adam,
    Blur,
    Descent,
    LinearSolve,
)
from harness.plan.fields import SCHEDULES
from harness.plan.identity import context, identity
from harness.plan.images import SOURCES, ImageFolder, Images
from harness.plan.networks import (
    ACTIVATIONS,
    CONTENTS,
    INITIALISATIONS,
    MLP,
    RESNET_LAYERS,
    RESNETS,
    ResNet,
    Training,
    WeightsFile,
)
from harness.plan.profile import PROFILES, Profile
from harness.plan.seeds import ReplicateSeeds, Source, Stream
from harness.subjects.vision import models

CONTEXT = {"engine": 1, "device": "cpu"}

WEIGHTS = WeightsFile(sha256="ab" * 32, path=Path("here/weights.pt"))
FOLDER = ImageFolder(sha256="cd" * 32, path=Path("here"))
NOISE = Training(content="noise", classes=10, images=64, pixels=8, epochs=2, batch=16)
STACK = MLP(inputs=48, widths=(60, 48), activation="relu")
CELLS: tuple[Cell, ...] = (
    Inversion(
        seeds=ReplicateSeeds(replicate=3),
        network=ResNet(name="resnet50", layer="layer4", weights=WEIGHTS),
        images=Images(pixels=64, rows=32, source="folder", folder=FOLDER),
        decoder=Descent(priors=(Blur(),)),
        iterations=500,
    ),
    Inversion(
        seeds=ReplicateSeeds(replicate=3, stream=Stream.PILOT),
        network=STACK,
        images=Images(pixels=4),
        decoder=Adam(),
        iterations=7,
        batch=12,
    ),
    Inversion(
        seeds=ReplicateSeeds(replicate=3),
        network=STACK,
        images=Images(pixels=4),
        decoder=LBFGS(),
        iterations=7,
        precision="float64",
    ),
    ExactInverse(seeds=ReplicateSeeds(replicate=3), network=STACK, images=Images(pixels=4)),
    ActiveUnits(seeds=ReplicateSeeds(replicate=3), images=Images(pixels=4)),
    LocalRank(seeds=ReplicateSeeds(replicate=3), network=STACK, images=Images(pixels=4)),
    Train(
        seeds=ReplicateSeeds(replicate=3),
        network=ResNet(name="resnet18", layer="layer4", width_multiplier=0.25, training=NOISE),
    ),
)


def name_of(cell: Cell) -> str:
    return identity(cell, context=CONTEXT)


# What the identity of the first cell is the digest of, written out by hand: it must not change
# unless what it stands for does, or every store there is would be measured again.
BY_HAND = {
    "cell": {
        "type": "Inversion",
        "seeds": {"type": "ReplicateSeeds", "replicate": 3, "stream": "confirmatory"},
        "network": {
            "type": "ResNet",
            "name": "resnet50",
            "layer": "layer4",
            "weights": {"type": "WeightsFile", "sha256": "ab" * 32},
            "width_multiplier": 1.0,
            "training": None,
        },
        "images": {
            "type": "Images",
            "pixels": 64,
            "rows": 32,
            "channels": 3,
            "source": "folder",
            "folder": {"type": "ImageFolder", "sha256": "cd" * 32},
        },
        "decoder": {
            "type": "Descent",
            "loss": "l1",
            "priors": [{"type": "Blur", "kernel": 3, "first": 2.4, "last": 0.4}],
            "returns": "last",
            "tolerance": 0.0,
            "tolerance_of": "target",
            "step": 0.1,
            "factor": 0.15,
            "schedule": "fixed",
            "minimum": 0.0001,
            "rule": "gradient",
        },
        "iterations": 500,
        "start": {"type": "Start", "mean": 0.7, "sd": 0.05},
        "noise": 0.04,
        "precision": "float32",
        "restarts": 1,
        "batch": 1,
    },
    "context": {"engine": 1, "device": "cpu"},
}


class TestStability:
    def test_an_identity_is_the_digest_of_canonical_json(self) -> None:
        text = json.dumps(BY_HAND, sort_keys=True, separators=(",", ":"))
        assert name_of(CELLS[0]) == hashlib.sha256(text.encode()).hexdigest()

    def test_where_files_lie_is_no_part_of_it(self) -> None:
        cell = CELLS[0]
        assert isinstance(cell, Inversion)
        assert isinstance(cell.network, ResNet)
        moved = dataclasses.replace(
            cell,
            network=dataclasses.replace(
                cell.network, weights=dataclasses.replace(WEIGHTS, path=Path("/elsewhere.pt"))
            ),
            images=dataclasses.replace(
                cell.images, folder=dataclasses.replace(FOLDER, path=Path("/elsewhere"))
            ),
        )
        assert moved == cell
        assert name_of(moved) == name_of(cell)

    def test_numbers_that_are_not_finite_have_no_identity(self) -> None:
        with pytest.raises(ValueError, match="JSON"):
            name_of(dataclasses.replace(CELLS[1], noise=float("inf")))


def variations(value: Any) -> Iterator[Any]:
    """Values of the same kind that differ in one setting, all the way down."""
    match value:
        case bool():
            yield not value
        case enum.Enum():
            yield from (other for other in type(value) if other is not value)
        case int():
            yield from (value + 1, value + 7)
        case float():
            yield from (value * 2 + 1, float(np.nextafter(value, np.inf)))
        case str():
            yield value + "x"
        case tuple():
            yield from (value[:-1], (*value, value[-1]), value[::-1])
            for place, item in enumerate(value):
                for other in variations(item):
                    yield (*value[:place], other, *value[place + 1 :])
        case _ if dataclasses.is_dataclass(value):
            yield from changed(value)
        case _:
            raise AssertionError(value)


ABSENT = {"rows": 2, "folder": FOLDER, "weights": WEIGHTS, "training": NOISE}
"""Values in place of None."""

ALLOWED: dict[str, tuple[Any, ...]] = {
    "content": CONTENTS,
    "returns": RETURNS,
    "loss": LOSSES,
    "precision": PRECISIONS,
    "priors": (
        (),
        (Blur(),),
        (Blur(kernel=5),),
        (Blur(first=2.5),),
        (Blur(last=0.5),),
    ),
    "rule": RULES,
    "schedule": SCHEDULES,
    "device": ("cpu", "cuda"),
    "tolerance": (0.0, 1e-6, 0.5),
    "tolerance_of": TOLERANCES,
    "name": RESNETS,
    "layer": RESNET_LAYERS,
    "activation": ACTIVATIONS,
    "initialisation": INITIALISATIONS,
    "source": SOURCES,
}
"""All, or some, of the values of settings that do not take any."""


def changed(instance: Any) -> Iterator[Any]:
    for field in dataclasses.fields(instance):
        if field.metadata.get("identity", True):
            value = getattr(instance, field.name)
            others: Iterable[Any] = [ABSENT[field.name]] if value is None else variations(value)
            if field.name in ALLOWED:
                others = (other for other in ALLOWED[field.name] if other != value)
            for other in others:
                # Some exclude each other; what cannot be made needs no identity.
                with contextlib.suppress(SettingError):
                    yield dataclasses.replace(instance, **{field.name: other})


class TestChecks:
    @pytest.mark.parametrize(
        "changes",
        [
            {"iterations": -1},
            {"noise": -0.1},
            {"noise": math.nan},
            {"restarts": 0},
            {"batch": 0},
            {"batch": 12},
            {"precision": "bf16", "network": STACK, "decoder": LinearSolve()},
            {"decoder": LinearSolve()},
        ],
    )
    def test_an_inversion_that_cannot_be_measured_is_refused(self, changes: dict[str, Any]) -> None:
        with pytest.raises(SettingError) as caught:
            dataclasses.replace(CELLS[0], **changes)
        name, value = next(iter(changes.items()))
        assert f"{name}={value}" in str(caught.value.value)

    @pytest.mark.parametrize(
        "changes",
        [
            {"network": nn.Linear(3, 3)},
            {"network": nn.Sequential(nn.ReLU(), nn.ReLU())},
            {"network": lambda: nn.ReLU()},
            {"network": "resnet18"},
            {"network": ResNet},
            {"network": None},
            {"images": np.zeros((3, 8, 8))},
            {"images": "photographs"},
            {"decoder": "adam"},
            {"decoder": Adam},
            {"start": 0.7},
            {"seeds": 3},
            {"iterations": 2.5},
            {"iterations": True},
            {"noise": "none"},
        ],
    )
    def test_what_is_no_setting_is_refused_in_one_line(self, changes: dict[str, Any]) -> None:
        for cell in (CELLS[0], CELLS[3], CELLS[6]):
            names = {field.name for field in dataclasses.fields(cell)}
            if names >= changes.keys():
                with pytest.raises(SettingError) as caught:
                    dataclasses.replace(cell, **changes)
                assert str(caught.value.value).startswith(next(iter(changes)))
                assert "\n" not in str(caught.value)

    def test_a_cell_takes_no_other_kind_of_network_than_its_own(self) -> None:
        with pytest.raises(SettingError, match="MLP"):
            dataclasses.replace(CELLS[3], network=CELLS[0].network)  # type: ignore[attr-defined,call-arg]

    def test_numbers_of_numpy_are_numbers(self) -> None:
        one = dataclasses.replace(CELLS[1], iterations=np.int64(7), noise=np.float32(0.5))  # type: ignore[call-arg]
        assert name_of(one) == name_of(dataclasses.replace(CELLS[1], noise=0.5))  # type: ignore[call-arg]

    @pytest.mark.parametrize(
        "make",
        [
            lambda: ResNet(name="resnet51", layer="conv1"),
            lambda: ResNet(name="resnet50", layer="layer5"),
            lambda: MLP(inputs=3, widths=(3,), activation="rleu"),
            lambda: MLP(inputs=3, widths=(3,), initialisation="he"),
            lambda: Images(pixels=8, source="photos"),
        ],
    )
    def test_an_unknown_name_is_refused_at_once(self, make: Callable[[], object]) -> None:
        with pytest.raises(UnknownNameError, match="Choose"):
            make()

    @pytest.mark.parametrize(
        "make",
        [
            lambda: MLP(inputs=3, widths=()),
            lambda: MLP(inputs=0, widths=(3,)),
            lambda: Images(pixels=0),
            lambda: Images(pixels=8, rows=9),
            lambda: Images(pixels=8, channels=4),
        ],
    )
    def test_sizes_out_of_range_are_refused(self, make: Callable[[], object]) -> None:
        with pytest.raises(SettingError):
            make()

    def test_the_names_of_resnets_are_torchvisions(self) -> None:
        has = ("resnet", "resnext", "wide_resnet")
        assert set(RESNETS) == {name for name in models.list_models() if name.startswith(has)}

    def test_the_least_that_can_be_measured_is_not(self) -> None:
        least = dataclasses.replace(CELLS[0], iterations=0, noise=0.0)
        assert dataclasses.replace(least, network=STACK, batch=12).batch == 12


class TestSensitivity:
    @pytest.mark.parametrize("cell", CELLS, ids=lambda cell: type(cell).__name__)
    def test_every_setting_matters(self, cell: Cell) -> None:
        others = list(changed(cell))
        assert len(others) > len(dataclasses.fields(cell))
        names = [name_of(cell), *map(name_of, others)]
        assert len(set(names)) == len(names)

    def test_everything_else_that_decides_an_outcome_matters(self) -> None:
        settings = context(device="cpu")
        assert {"engine", "device", "precision", "versions"} <= set(settings)
        assert {"torch", "torchvision", "numpy", "scipy", "pillow"} <= set(settings["versions"])  # type: ignore[call-overload]
        names = {identity(CELLS[0], context={**settings, key: "other"}) for key in settings}
        assert len(names | {identity(CELLS[0], context=settings)}) == len(settings) + 1
        assert context(device="cuda") != settings


class TestSeeds:
    @given(
        replicate=st.integers(0, 10**6),
        stream=st.sampled_from(Stream),
        source=st.sampled_from(Source),
    )
    def test_a_seed_is_that_of_the_seed_sequence(
        self, replicate: int, stream: Stream, source: Source
    ) -> None:
        seeds = ReplicateSeeds(replicate=replicate, stream=stream)
        sequence = np.random.SeedSequence(
            20_230_517,
            spawn_key=(list(Stream).index(stream), replicate, list(Source).index(source)),
        )
        assert seeds.seed(source) == int(sequence.generate_state(1, np.uint64)[0])
        first, again = (seeds.rng(source).random(4) for _ in range(2))
        np.testing.assert_array_equal(first, again)

    def test_replicates_streams_and_sources_share_no_seed(self) -> None:
        seeds = [
            # torch gets all bits but one.
            ReplicateSeeds(replicate=replicate, stream=stream).seed(source) >> 1
            for replicate in range(300)
            for stream in Stream
            for source in Source
        ]
        assert len(set(seeds)) == len(seeds) == 300 * len(Stream) * len(Source)


def layered(layer: str, replicate: int = 0, *, iterations: int = 3) -> Inversion:
    return Inversion(
        seeds=ReplicateSeeds(replicate=replicate),
        network=ResNet(name="resnet18", layer=layer),
        images=Images(pixels=32),
        decoder=Descent(),
        iterations=iterations,
    )


class TestBlocks:
    @given(replicate=st.integers(0, 500), batch=st.integers(1, 20))
    def test_blocks_are_aligned_and_shared_by_their_members(
        self, replicate: int, batch: int
    ) -> None:
        cell = dataclasses.replace(CELLS[1], seeds=ReplicateSeeds(replicate=replicate), batch=batch)
        mates = block(cell)
        assert [mate.seeds.replicate % batch for mate in mates] == list(range(batch))
        assert cell in mates
        assert all(block(mate) == mates for mate in mates)
        assert {dataclasses.replace(mate, seeds=cell.seeds) for mate in mates} == {cell}

    def test_equal_cells_come_once_and_a_resnets_layers_come_together(self) -> None:
        wanted = [layered("conv1"), layered("layer4"), layered("conv1", 1), layered("conv1")]
        found = buckets([*wanted, CELLS[1], CELLS[1]], device="cpu")
        assert sorted(len(bucket.blocks) for bucket in found) == [1, 1, 2]
        for bucket in found:
            for mates, names in zip(bucket.blocks, bucket.ids, strict=True):
                settings = context(device="cpu")
                assert names == tuple(identity(cell, context=settings) for cell in mates)
        seconds = [bucket.seconds for bucket in found]
        assert seconds == sorted(seconds, reverse=True)
        assert min(seconds) > 0

    def test_cells_of_one_layer_follow_each_other(self) -> None:
        asked = [
            layered(layer, iterations=iterations)
            for iterations in (3, 4)
            for layer in ("layer4", "conv1", "layer2")
        ]
        (found,) = buckets(asked, device="cpu")
        order = [(cell.network.layer, cell.iterations) for (cell,) in found.blocks]
        expected = [(layer, number) for layer in ("conv1", "layer2", "layer4") for number in (3, 4)]
        assert order == expected

    def test_profiles_pick_their_settings(self) -> None:
        picked = [Profile(name).pick(quick=1, standard=2, article=3) for name in PROFILES]
        assert picked == [1, 2, 3]
