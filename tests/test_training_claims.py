"""What the claims on trained networks are made of: controls, networks, and what is not here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import pytest
import torch

from claims.test_exact_inversion import test_d3_descent_ends_nearer_than_almost_all_points as d3
from claims.test_late_layers import test_g1_noise_is_memorised as g1
from claims.test_late_layers import test_g2_blur_suits_natural_images_alone as g2
from claims.test_late_layers import test_g4_late_layers_infer_noise as g4
from claims.test_late_layers import test_g6_late_layers_reflect_what_was_learnt as g6
from claims.test_pooling import outside, unless_alike
from claims.test_training import far, not_the_same, relation, relative, restricted, sharpening
from claims.test_training import test_f7_reconstructions_keep_the_class as f7
from claims.test_training_depth import drops_table, layers_table
from claims.trained import FEWEST, GIVEN, decides, learnt, network, unfitted, untrained
from harness.errors import OptionError, WeightsError
from harness.execution.scheduler import Scheduler
from harness.lab.condition import Condition
from harness.lab.lab import Custom, Lab
from harness.lab.runner import Runner
from harness.plan.cells import NON_FINITE, UNFINISHED, Inversion, Train
from harness.plan.networks import RESNET_LAYERS, WeightsFile
from harness.plan.profile import PROFILES, Profile
from harness.plan.seeds import ReplicateSeeds
from harness.store import Record, Store
from harness.subjects import imagenet
from harness.subjects.imagenet import ABSENT, imagenet_weights
from harness.verdict.verdict import Verdict


def record(**values: float) -> Record:
    return Record(id="0" * 64, cell={"type": "Inversion"}, values=values, outcome="", seconds=0.0)


def a_lab(
    stated: list[Condition], *, profile: str = "quick", weights: WeightsFile | None = None
) -> Lab:
    return Lab(
        profile=Profile(profile),
        custom=Custom(),
        precision="float32",
        parameters={},
        receive=stated.append,
        weights=Path("weights"),
        imagenet=weights,
    )


class Same:
    """A store in which every cell of a kind has the same record."""

    def __init__(self, *, accuracy: float) -> None:
        self._accuracy = accuracy

    def read(self, key: str) -> Record:
        return Record(
            id=key,
            cell={"type": "Inversion"},
            values={
                "accuracy": self._accuracy,
                "held_out": self._accuracy,
                "m_g": 1.0,
                "m_g0": 9.0,
                "m_r": 2.0,
                "m_i": 1.0,
                "m_n": 1.0,
                "rho": 1.0,
                "same_class": 1.0,
                "same_class_noised": 1.0,
            },
            outcome="measured",
            seconds=0.0,
        )


class Idle:
    """Has nothing to do, and must not be asked where nothing can be measured."""

    def __init__(self) -> None:
        self.asked = 0

    def need(self, cells: Sequence[object], *, label: str) -> None:
        self.asked += len(cells)


def ran(condition: Condition, *, accuracy: float = 1.0) -> tuple[Verdict, str, int]:
    idle = Idle()
    store = cast(Store, Same(accuracy=accuracy))
    runner = Runner(store=store, scheduler=cast(Scheduler, idle), device="cpu")
    found = runner.run(condition, label="a", command="b")
    return found.decision.verdict, found.decision.reason, idle.asked


class TestConditions:
    def test_where_imagenet_is_absent_its_conditions_are_not_run_and_say_why(self) -> None:
        stated: list[Condition] = []
        f7(a_lab(stated), "layer4", "imagenet")
        g2(a_lab(stated), "layer4", "article", "imagenet")
        for condition in stated:
            assert condition.cells_up_to(24) == []
            assert ran(condition) == (Verdict.NOT_RUN, ABSENT, 0)

    def test_where_it_is_there_they_run_on_its_weights_without_training(self) -> None:
        stated: list[Condition] = []
        file = WeightsFile(sha256="ab" * 32, path=Path("file"))
        f7(a_lab(stated, profile="article", weights=file), "layer4", "imagenet")
        (cell,) = stated[0].cells(ReplicateSeeds(replicate=0)).values()
        assert isinstance(cell, Inversion)
        assert cell.network == network(a_lab([], weights=file), "layer4", trained="imagenet")
        assert ran(stated[0])[0] is Verdict.SUPPORTED

    def test_a_network_that_learnt_nothing_makes_a_claim_invalid(self) -> None:
        stated: list[Condition] = []
        f7(a_lab(stated), "layer4", "photographs")
        assert ran(stated[0], accuracy=0.71)[0] is Verdict.SUPPORTED
        verdict, reason, _ = ran(stated[0], accuracy=0.69)
        assert verdict is Verdict.INVALID
        assert "did not learn photographs" in reason

    def test_a_training_that_diverged_at_once_makes_its_claim_invalid(self) -> None:
        stated: list[Condition] = []
        g1(a_lab(stated))

        class Diverged(Same):
            def read(self, key: str) -> Record:
                empty = {"iteration": (), "loss": ()}
                found = super().read(key)
                values = {**found.values, "seconds": 1.0}
                return dataclasses.replace(found, values=values, traces=empty, outcome=NON_FINITE)

        runner = Runner(
            store=cast(Store, Diverged(accuracy=0.1)),
            scheduler=cast(Scheduler, Idle()),
            device="cpu",
        )
        found = runner.run(stated[0], label="a", command="b").decision
        assert found.verdict is Verdict.INVALID
        assert "infinite or not a number: 12" in found.reason

    @pytest.mark.parametrize("profile", PROFILES)
    def test_one_network_decides_and_every_replicate_has_its_own(self, profile: str) -> None:
        lab = a_lab([], profile=profile)
        assert [each for each in ("photographs", "imagenet") if decides(lab, each)] == [
            "imagenet" if profile == "article" else "photographs"
        ]
        stated: list[Condition] = []
        f7(a_lab(stated, profile=profile), "layer4", "photographs")
        cells = [stated[0].cells(ReplicateSeeds(replicate=number)) for number in range(2)]
        trainings = [cell for by_role in cells for cell in by_role.values()][::2]
        assert all(isinstance(cell, Train) for cell in trainings)
        assert len(set(trainings)) == 2
        before = network(lab, "layer4", trained=untrained("photographs"))
        after = network(lab, "layer4", trained="photographs")
        assert dataclasses.replace(after, training=None) == before


class TestEffects:
    def test_the_relation_of_two_distances(self) -> None:
        def run(m_i: list[float], m_g: list[float]) -> Record:
            traces = {"m_i": tuple(m_i), "m_g": tuple(m_g)}
            return dataclasses.replace(record(), traces=traces)

        assert relation(run([1, 2, 3], [9, 4, 1])) == pytest.approx(-1.0)
        assert relation(run([1, 2, 3], [1, 4, 9])) == pytest.approx(1.0)
        assert math.isnan(relation(run([1, 1, 1], [1, 4, 9])))

    def test_controls(self) -> None:
        good = {"photographs training": record(held_out=0.71, accuracy=0.1)}
        assert unfitted(good) is None
        assert unfitted({}) is None
        assert "noise" in str(unfitted({"noise training": record(accuracy=0.9)}))
        assert "noise" in str(unfitted({"noise training": record(accuracy=math.nan)}))
        judged = {**good, "judge's photographs training": record(held_out=0.69)}
        assert "did not learn photographs" in str(unfitted(judged))
        reached = record(m_g_largest=0.2, m_r=0.2)
        short = record(m_g_largest=0.21, m_r=0.2)
        assert far({"untrained": reached, "trained": reached}) is None
        assert far({"untrained": reached, "trained": short}) is not None
        assert not_the_same(record(m_g=1.0, m_r=1.1)) is None
        assert not_the_same(record(m_g=1.0, m_r=1.0)) is not None

    def test_gains_are_after_minus_before(self) -> None:
        seen: Mapping[str, Record] = {
            "untrained": record(ssim=0.1, psnr=12.0, sharpness=1.0, r=0.5, m_g=1.0, m_r=2.0),
            "trained": record(ssim=0.4, psnr=15.0, sharpness=2.0, r=0.25, m_g=3.0, m_r=2.0),
        }
        found = sharpening(seen)
        assert found["gain"] == pytest.approx(0.3)
        assert (found["PSNR in dB, untrained"], found["PSNR in dB, trained"]) == (12.0, 15.0)
        assert (found["m_g / m_r, untrained"], found["m_g / m_r, trained"]) == (0.5, 1.5)
        assert relative(record(m_g=1.0, scale=4.0)) == 0.25

    def test_what_is_restricted_is_a_share_of_the_starts_distance(self) -> None:
        assert restricted(record(apart=5.0, apart_start=10.0)) == 0.75
        assert restricted(record(apart=10.0, apart_start=10.0)) == 0
        assert restricted(record(apart=0.0, apart_start=10.0)) == 1
        assert restricted(record(apart=11.0, apart_start=10.0)) < 0

    def test_a_reflection_is_told_from_what_the_start_has_already(self) -> None:
        stated: list[Condition] = []
        g6(a_lab(stated), "layer3", "article")
        (condition,) = stated
        assert {"photographs training", "judge's photographs training", "reconstruction"} == set(
            condition.cells(ReplicateSeeds(replicate=3))
        )
        # Both are as near to the nearest of many crops, and twice as far from the image.
        unmoved = dict.fromkeys(("reconstruction_to_training", "start_to_training"), 1.0)
        unmoved |= dict.fromkeys(("reconstruction_to_image", "start_to_image"), 2.0)
        unmoved |= {"noised_to_image": 0.5, "noised_to_training": 1.0, "nearer": 0.1}
        unmoved |= {"m_g": 1.0, "m_r": 2.0}
        moved = {**unmoved, "reconstruction_to_image": 3.0}
        effects = [
            condition.effects({"reconstruction": record(**each)}) for each in (unmoved, moved)
        ]
        assert [each["reflection"] for each in effects] == pytest.approx([0.0, math.log(1.5)])
        blind = {**unmoved, "noised_to_image": 1.0}
        trainings = {"photographs training": record(held_out=1.0, accuracy=1.0)}
        assert condition.control({**trainings, "reconstruction": record(**unmoved)}) is None
        assert condition.control({**trainings, "reconstruction": record(**blind)}) is not None

    def test_a_layer_tells_what_it_left_and_which_runs_still_fell(self) -> None:
        seen = [
            {
                f"{role} {layer}": dataclasses.replace(
                    record(r=0.1 * number), outcome=UNFINISHED if falling else "plateau"
                )
                for role in ("untrained", "trained")
                for number, layer in enumerate(RESNET_LAYERS)
            }
            for falling in (False, True, False)
        ]
        (table,) = layers_table(seen)
        assert table.rows[1] == ("stem, untrained", pytest.approx(0.1), 1, 3)
        assert len(table.rows) == 2 * len(RESNET_LAYERS)

    def test_a_table_has_the_share_removed_by_condition_number(self) -> None:
        seen = [
            {"stacks": dataclasses.replace(record(), traces={
                "condition": (1.0, 10.0 * k), "drop_own": (1.0, 0.1 * k), "drop_common": (0.5, 0.4),
            })}
            for k in (1, 2, 3)
        ]  # fmt: skip
        assert drops_table(seen, step="own").rows == ((1.0, 1.0), (20.0, pytest.approx(0.2)))
        assert drops_table(seen, step="common").rows == ((1.0, 0.5), (20.0, 0.4))

    @pytest.mark.parametrize("start", ["flat", "article"])
    def test_pictures_have_the_start_of_their_condition(self, start: str) -> None:
        stated: list[Condition] = []
        g4(a_lab(stated), "layer3", start)
        (condition,) = stated
        asked = condition.cells(ReplicateSeeds(replicate=0))["reconstruction"]
        assert isinstance(asked, Inversion)
        starts = [cell.start for cell in condition.gallery.values() if isinstance(cell, Inversion)]
        assert starts == [asked.start] * (start == "flat")

    @pytest.mark.parametrize(
        ("compared", "reconstruction", "start"), [("as it is", 0.5, 0.5), ("equal m_g", 1.0, 0.0)]
    )
    def test_points_are_compared_with_reconstruction_and_start_at_the_m_g_of_each(
        self, compared: str, reconstruction: float, start: float
    ) -> None:
        stated: list[Condition] = []
        d3(a_lab(stated), compared)
        points = dataclasses.replace(
            record(), traces={"distance": (1.0, 3.5), "output": (1.0, 1.0)}
        )
        run = record(m_i=2.0, m_g=0.5, m_i0=3.0, m_g0=4.0)
        effects = stated[0].effects({"points": points, "reconstruction": run})
        assert effects["quantile"] == reconstruction
        assert effects["share of points nearer than the start"] == start

    def test_a_given_network_is_named_where_it_is_used(self) -> None:
        file = WeightsFile(sha256="0676ba61" + "0" * 56, path=Path("file"))
        stated: list[Condition] = []
        for natural in ("photographs", "imagenet"):
            g2(a_lab(stated, weights=file), "layer1", "article", natural)
        seen = [{"noise training": record(accuracy=1.0)}] * FEWEST
        titles = [[table.title for table in condition.tables(seen)] for condition in stated]
        assert [GIVEN in each for each in titles] == [False, True]

    def test_an_error_outside_of_the_null_space_is_what_outputs_tell(self) -> None:
        # Of a squared error of 1, three quarters were in the null space, and still are; half of the
        # rest is gone.
        run = record(null_share_start=0.75, null_share=0.75 / 0.875, r=math.sqrt(0.875))
        assert outside(run) == pytest.approx(math.log(0.5))
        # An error that shrank as a whole has lost that much of either part.
        assert outside(
            record(null_share_start=0.75, null_share=0.75, r=math.sqrt(0.5))
        ) == pytest.approx(math.log(0.5))

    def test_a_witness_that_no_eye_could_tell_is_none(self) -> None:
        assert unless_alike(record(witness_change=1 / 255, witness_residual=2.0)) == 2.0
        assert unless_alike(record(witness_change=1e-9, witness_residual=0.0)) == math.inf
        assert unless_alike(record()) == math.inf

    def test_few_networks_narrow_the_scope(self) -> None:
        seen = [{"noise training": record(accuracy=1.0)}] * FEWEST
        (many,), (few,) = learnt(seen), learnt(seen[1:])
        assert many.rows == (("noise", 12, "accuracy", 1.0, 1.0),)
        assert "holds for these networks" in few.title
        assert "holds for these networks" not in many.title
        file = WeightsFile(sha256="0676ba61" + "0" * 56, path=Path("file"))
        (given,) = learnt([{}], given=file)
        assert given.title == GIVEN
        assert given.rows == (("resnet50", "IMAGENET1K_V1"),)
        assert learnt(seen, given=file) == (many, given)
        (unknown,) = learnt([{}], given=dataclasses.replace(file, sha256="f" * 64))
        assert "no release of torchvision's, file" in str(unknown.rows)


class TestImageNet:
    def test_what_torchvision_has_fetched_before_is_found(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        assert imagenet_weights(None, start=tmp_path) is None
        folder = tmp_path / "hub" / "checkpoints"
        folder.mkdir(parents=True)
        (folder / imagenet.FILE).write_bytes(b"")
        found = imagenet_weights(None, start=tmp_path)
        assert found is not None
        assert found.path == folder / imagenet.FILE
        assert Path(torch.hub.get_dir(), "checkpoints") == folder

    def test_releases_are_torchvisions(self) -> None:
        from harness.subjects.vision import models

        released = models.get_model_weights(imagenet.NETWORK)
        assert {
            weights.url.rpartition("-")[2].removesuffix(".pth"): weights.name
            for weights in released
        } == imagenet.RELEASES

    def test_about_another_network_a_run_only_reports(self) -> None:
        files = {
            digits: WeightsFile(sha256=digits + "0" * 56, path=Path("file"))
            for digits in ("0676ba61", "11ad3fa6", "0676ba62")
        }
        found = {}
        for digits, file in files.items():
            stated: list[Condition] = []
            f7(a_lab(stated, profile="article", weights=file), "layer4", "imagenet")
            f7(a_lab(stated, profile="article", weights=file), "layer4", "photographs")
            assert not stated[1].external_weights
            found[digits] = stated[0].external_weights
        assert found == {"0676ba61": False, "11ad3fa6": True, "0676ba62": True}

    def test_a_file_of_another_network_is_refused(self, tmp_path: Path) -> None:
        torch.save({"fc.weight": torch.zeros(10, 2048)}, tmp_path / "other.pt")
        with pytest.raises(WeightsError, match="do not fit resnet50"):
            imagenet_weights("other.pt", start=tmp_path)
        with pytest.raises(WeightsError, match="cannot be read"):
            imagenet_weights("absent.pt", start=tmp_path)

    def test_a_download_that_fails_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from harness.subjects.vision import models

        class Offline:
            def get_state_dict(self, **_: object) -> None:
                raise OSError("no route to host")

        monkeypatch.setattr(models, "get_weight", lambda _: Offline())
        with pytest.raises(OptionError, match="no route to host"):
            imagenet_weights(imagenet.DOWNLOAD, start=tmp_path)
