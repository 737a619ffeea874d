"""Training: reproducible, resumable, shared by all who need it, and recorded."""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from harness.checkpoint import Checkpoint
from harness.encoders.runtime import threads
from harness.errors import SettingError, StoreError, UnknownNameError, WeightsError
from harness.measurements.measure import measure
from harness.plan.buckets import buckets
from harness.plan.cells import NON_FINITE, Inversion, Train
from harness.plan.decoders import Descent
from harness.plan.images import Images
from harness.plan.networks import ResNet, Training, WeightsFile
from harness.plan.seeds import ReplicateSeeds, Stream
from harness.subjects.generators import weights_seed
from harness.subjects.images.originals import draw_original
from harness.subjects.images.photographs import load_photograph
from harness.subjects.resnet import build_resnet, initial_resnet
from harness.subjects.training import content, weights_cache
from harness.subjects.training import fit as module
from harness.subjects.training.fit import fit
from harness.subjects.training.trained_weights import digest_of, history_of, trained_path
from harness.subjects.training.weights_cache import ensure_trained

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
SEED = 7
DRAW = ReplicateSeeds(replicate=0, stream=Stream.PILOT)

NOISE = Training(content="noise", classes=5, images=48, pixels=16, epochs=4, batch=16, rate=3e-3)
PICTURES = dataclasses.replace(NOISE, content="photographs", classes=3)


def network(training: Training, *, folder: Path | None = None) -> ResNet:
    return ResNet(
        name="resnet18",
        layer="layer4",
        width_multiplier=1 / 16,
        training=dataclasses.replace(training, folder=folder),
    )


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As weights that are kept are trained: the sums of several threads are not those of one."""
    with threads(1):
        yield


def trained(training: Training, checkpoint: Checkpoint | None = None) -> dict[str, Tensor]:
    whole = initial_resnet(network(training), seed=SEED)
    fit(whole, training, seed=SEED, device=CPU, checkpoint=checkpoint)
    return whole.state_dict()


class TestContent:
    def test_noise_has_the_articles_law(self) -> None:
        many = dataclasses.replace(NOISE, images=400)
        shown = content.examples(many, rng=np.random.default_rng(0))
        assert float(shown.images.mean()) == pytest.approx(1 / 2, abs=0.003)
        assert float(shown.images.std()) == pytest.approx(1 / 4, abs=0.003)
        assert shown.labels.unique().tolist() == [0, 1, 2, 3, 4]
        # No label says anything of its images.
        means = [shown.images[shown.labels == label].mean() for label in range(5)]
        assert float(torch.stack(means).std()) < 0.01
        assert content.held_out(many, rng=np.random.default_rng(0)) is None

    def test_no_held_out_crop_shares_a_pixel_with_the_others(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A picture whose colour is its place: crops tell where they come from."""
        width, height = 600, 420
        place = np.zeros((height, width, 3), dtype=np.uint8)
        # Strips in the order in which they are to be used: train, train, held out, twice.
        for strip, held in enumerate((False, False, True) * 2):
            place[:, strip * 100 : (strip + 1) * 100] = 255 * held
        for turned in (False, True):
            from PIL import Image

            picture = Image.fromarray(place.transpose(1, 0, 2) if turned else place)
            monkeypatch.setattr(content, "load_photograph", lambda _, kept=picture: kept)
            for held in (False, True):
                rng = np.random.default_rng(1)
                found = content.crops(classes=3, pixels=16, number=60, rng=rng, held_out=held)
                assert found.images.float().mean() == (255.0 if held else 0.0)

    def test_classes_are_balanced_and_are_the_pictures(self) -> None:
        found = content.crops(
            classes=3, pixels=16, number=30, rng=np.random.default_rng(0), held_out=False
        )
        assert torch.bincount(found.labels).tolist() == [10, 10, 10]
        for label in range(3):
            whole = np.asarray(load_photograph(content.PICTURES[label]), dtype=np.float64)
            crops = found.images[found.labels == label].double()
            # Crops of a picture resemble it in the mean more than they resemble black or white.
            assert abs(float(crops.mean()) - whole.mean()) < 40

    def test_more_classes_than_pictures_are_refused(self) -> None:
        many = dataclasses.replace(PICTURES, classes=40)
        with pytest.raises(SettingError):
            content.examples(many, rng=np.random.default_rng(0))


class TestFit:
    @pytest.mark.parametrize("training", [NOISE, PICTURES], ids=["noise", "photographs"])
    def test_an_interrupted_training_ends_as_an_uninterrupted_one(
        self, training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = torch.random.get_rng_state()
        whole = trained(training)
        assert torch.equal(torch.random.get_rng_state(), before)
        path = tmp_path / "run.safetensors"
        epochs = 0
        real = module.run_epoch

        def epoch(*arguments, **rest):  # type: ignore[no-untyped-def]
            nonlocal epochs
            epochs += 1
            if epochs == 3:
                raise KeyboardInterrupt
            return real(*arguments, **rest)

        monkeypatch.setattr(module, "run_epoch", epoch)
        monkeypatch.setattr(Checkpoint, "due", lambda self, size: True)
        with pytest.raises(KeyboardInterrupt):
            trained(training, Checkpoint(path))
        assert path.exists()
        epochs = 3
        resumed = trained(training, Checkpoint(path))
        # Two epochs were kept, two were left.
        assert epochs == 5
        assert digest_of(resumed) == digest_of(whole)

    @pytest.mark.slow
    def test_noise_is_memorised_and_labels_are_what_is_learnt(self) -> None:
        longer = dataclasses.replace(NOISE, epochs=40)
        whole = initial_resnet(network(longer), seed=SEED)
        before = [value.clone() for value in whole.parameters()]
        found = fit(whole, longer, seed=SEED, device=CPU)
        assert found.accuracy > 0.9
        assert found.held_out is None
        assert found.losses[-1] < found.losses[0] / 3
        assert not any(torch.equal(*pair) for pair in zip(before, whole.parameters(), strict=True))
        assert not whole.training
        # Other labels for the same images are not found: chance is a fifth.
        shown = module.training_set(longer, seed=SEED)
        others = content.TrainingSet(shown.images, (shown.labels + 1) % longer.classes)
        assert module.accuracy(whole, others) < 0.1

    def test_accuracy_counts_right_labels(self) -> None:
        shown = content.TrainingSet(
            torch.eye(4, 12).reshape(4, 3, 2, 2), torch.tensor([0, 1, 2, 0])
        )
        assert module.accuracy(nn.Flatten(), shown) == 0.75

    def test_a_training_that_diverges_keeps_its_last_finite_weights(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        short = trained(dataclasses.replace(NOISE, epochs=2))
        real, epochs = module.run_epoch, 0

        def epoch(whole, *arguments, **rest):  # type: ignore[no-untyped-def]
            nonlocal epochs
            epochs += 1
            loss = real(whole, *arguments, **rest)
            if epochs == 3:
                next(whole.parameters()).data.fill_(math.inf)
            return loss

        monkeypatch.setattr(module, "run_epoch", epoch)
        whole = initial_resnet(network(NOISE), seed=SEED)
        found = fit(whole, NOISE, seed=SEED, device=CPU)
        assert found.diverged
        assert len(found.losses) == 2
        assert digest_of(whole.state_dict()) == digest_of(short)


class TestWeightsCache:
    def test_weights_are_trained_once_and_loaded_as_they_were(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = network(NOISE, folder=tmp_path)
        path = ensure_trained(asked, seed=SEED)
        assert path == trained_path(asked, seed=SEED)
        history, digest = history_of(path)
        assert digest == digest_of(trained(NOISE))
        assert len(history.losses) == NOISE.epochs
        # A second time, and at another cut, nothing is trained.
        monkeypatch.setattr(weights_cache, "fit", None)
        shallow = dataclasses.replace(asked, layer="conv1")
        assert ensure_trained(shallow, seed=SEED) == path
        loaded = build_resnet(asked, seed=SEED)
        assert digest_of(loaded.state_dict()) == digest
        assert loaded.fc.out_features == NOISE.classes
        assert not loaded.training
        assert sorted(file.name for file in tmp_path.rglob("*.*")) == [path.name]

    def test_a_name_depends_on_all_that_decides_the_weights(self, tmp_path: Path) -> None:
        asked = network(NOISE, folder=tmp_path)
        others = [
            dataclasses.replace(asked, width_multiplier=1 / 8),
            dataclasses.replace(asked, name="resnet34"),
            network(dataclasses.replace(NOISE, epochs=5), folder=tmp_path),
            network(PICTURES, folder=tmp_path),
            network(dataclasses.replace(NOISE, device="cuda"), folder=tmp_path),
        ]
        paths = {trained_path(other, seed=SEED) for other in (asked, *others)}
        paths |= {trained_path(asked, seed=8)}
        assert len(paths) == len(others) + 2

    def test_of_several_who_need_them_one_trains(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, fits, together = weights_cache.fit, [], threading.Barrier(3)

        def counted(*arguments, **rest):  # type: ignore[no-untyped-def]
            fits.append(arguments)
            return real(*arguments, **rest)

        monkeypatch.setattr(weights_cache, "fit", counted)
        asked = network(NOISE, folder=tmp_path)

        def need() -> Path:
            together.wait()
            return ensure_trained(asked, seed=SEED)

        with ThreadPoolExecutor(3) as pool:
            calls = [pool.submit(need) for _ in range(3)]
            paths = {call.result() for call in calls}
        assert len(fits) == len(paths) == 1

    @pytest.mark.slow
    def test_a_killed_training_leaves_nothing_half_and_goes_on(self, tmp_path: Path) -> None:
        """kill -9 between epochs; the next process takes the lock and the checkpoint."""
        program = (
            "import sys; sys.path.insert(0, 'tests')\n"
            "from pathlib import Path\n"
            "from harness import checkpoint\n"
            "from harness.subjects.training import fit as module\n"
            "import test_training as t\n"
            "checkpoint.Checkpoint.due = lambda self, size: True\n"
            "real, epochs = module.run_epoch, []\n"
            "def epoch(*arguments, **rest):\n"
            "    epochs.append(0)\n"
            "    if len(epochs) == 3:\n"
            "        print('two epochs', flush=True)\n"
            "        sys.stdin.read()\n"
            "    return real(*arguments, **rest)\n"
            "module.run_epoch = epoch\n"
            "t.ensure_trained(t.network(t.NOISE, folder=Path(sys.argv[1])), seed=t.SEED)\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "two epochs\n"
        process.kill()
        process.communicate()
        asked = network(NOISE, folder=tmp_path)
        path = trained_path(asked, seed=SEED)
        assert not path.exists()
        saved = Checkpoint(tmp_path / "running" / path.name).load()
        assert saved is not None
        assert saved[1] == 2
        ensure_trained(asked, seed=SEED)
        assert history_of(path)[1] == digest_of(trained(NOISE))

    def test_a_folder_that_cannot_be_written_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError):
            ensure_trained(network(NOISE, folder=tmp_path / "file"), seed=SEED)


class TestWrongWeights:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return ensure_trained(network(NOISE, folder=tmp_path), seed=SEED)

    def build(self, path: Path) -> None:
        build_resnet(network(NOISE, folder=path.parent), seed=SEED)

    def test_none_yet(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError):
            self.build(tmp_path / "weights.safetensors")

    @pytest.mark.parametrize("wrong", ["damaged", "foreign", "other seed", "other classes"])
    def test_files_that_are_not_of_this_training(self, path: Path, wrong: str) -> None:
        match wrong:
            case "damaged":
                path.write_bytes(path.read_bytes()[:1000])
            case "foreign":
                safetensors.torch.save_file(safetensors.torch.load_file(path), path)
            case "other seed":
                other = ensure_trained(network(NOISE, folder=path.parent), seed=8)
                path.write_bytes(other.read_bytes())
            case "other classes":
                more = dataclasses.replace(NOISE, classes=7)
                other = ensure_trained(network(more, folder=path.parent), seed=SEED)
                path.write_bytes(other.read_bytes())
        with pytest.raises(WeightsError) as caught:
            self.build(path)
        assert caught.value.value == path

    def test_settings_that_cannot_be(self) -> None:
        with pytest.raises(UnknownNameError):
            dataclasses.replace(NOISE, content="sounds")
        for wrong in ({"batch": 1}, {"images": 8}, {"epochs": 0}, {"classes": 1}, {"rate": 0.0}):
            with pytest.raises(SettingError):
                dataclasses.replace(NOISE, **wrong)
        file = WeightsFile(sha256="0" * 64, path=Path("file"))
        with pytest.raises(SettingError):
            ResNet(name="resnet18", layer="conv1", weights=file, training=NOISE)
        with pytest.raises(SettingError):
            ResNet(name="resnet18", layer="conv1", width_multiplier=2.0)
        with pytest.raises(SettingError):
            Train(seeds=DRAW, network=ResNet(name="resnet18", layer="conv1"))
        with pytest.raises(SettingError):
            trained_path(network(NOISE), seed=SEED)


class TestCells:
    def inversion(self, asked: ResNet) -> Inversion:
        return Inversion(
            seeds=DRAW,
            network=asked,
            images=Images(pixels=16),
            decoder=Descent(),
            iterations=4,
        )

    def test_the_record_of_a_training(self, tmp_path: Path) -> None:
        asked = network(NOISE, folder=tmp_path)
        (found,) = measure([Train(seeds=DRAW, network=asked)], device="cpu")
        history, digest = history_of(trained_path(asked, seed=weights_seed(DRAW)))
        assert found.values["accuracy"] == history.accuracy
        assert "held_out" not in found.values
        assert found.traces["loss"] == history.losses
        assert found.traces["iteration"] == (1.0, 2.0, 3.0, 4.0)
        assert found.labels == {"content": "noise", "weights": digest}
        assert found.images["example"].shape == (3, 16, 16)
        pictured = network(PICTURES, folder=tmp_path)
        (found,) = measure([Train(seeds=DRAW, network=pictured)], device="cpu")
        assert 0 <= found.values["held_out"] <= 1

    def test_an_inversion_of_a_trained_network_trains_it_and_uses_its_weights(
        self, tmp_path: Path
    ) -> None:
        asked = network(NOISE, folder=tmp_path)
        (found,) = measure([self.inversion(asked)], device="cpu")
        assert trained_path(asked, seed=weights_seed(DRAW)).exists()
        plain = dataclasses.replace(asked, training=None)
        (untrained,) = measure([self.inversion(plain)], device="cpu")
        assert found.values["scale"] != untrained.values["scale"]
        # The output of the network as a plain module gives the scale.
        image = draw_original(Images(pixels=16), DRAW)[0].float()[None]
        whole = build_resnet(asked, seed=weights_seed(DRAW))
        with torch.no_grad():
            output = nn.Sequential(*list(whole.children())[:-2])(image)
        assert found.values["scale"] == pytest.approx(float(output.norm()), rel=1e-4)

    def test_the_outcome_of_a_training_that_diverged(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "is_finite", lambda *_: False)
        asked = network(NOISE, folder=tmp_path)
        (found,) = measure([Train(seeds=DRAW, network=asked)], device="cpu")
        assert found.outcome == NON_FINITE
        assert found.traces["loss"] == ()

    def test_cells_of_one_trained_network_share_a_bucket(self, tmp_path: Path) -> None:
        asked = network(NOISE, folder=tmp_path)
        cells = [
            Train(seeds=DRAW, network=asked),
            self.inversion(asked),
            self.inversion(dataclasses.replace(asked, layer="conv1")),
            self.inversion(dataclasses.replace(asked, training=None)),
        ]
        found = buckets(cells, device="cpu")
        assert sorted(len(bucket.blocks) for bucket in found) == [1, 3]
        (three,) = (bucket for bucket in found if len(bucket.blocks) == 3)
        assert isinstance(three.blocks[0][0], Train)


class TestWidthMultiplier:
    def test_a_quarter_of_the_width_has_a_quarter_of_the_channels(self) -> None:
        wide = initial_resnet(ResNet(name="resnet18", layer="layer4"), seed=1)
        narrow = initial_resnet(
            ResNet(name="resnet18", layer="layer4", width_multiplier=0.25), seed=1
        )
        for full, part in zip(wide.modules(), narrow.modules(), strict=True):
            if isinstance(full, nn.Conv2d):
                assert isinstance(part, nn.Conv2d)
                assert part.out_channels == full.out_channels // 4
                assert part.kernel_size == full.kernel_size
        images = torch.zeros(2, 3, 32, 32)
        assert narrow.eval()(images).shape == (2, 1000)

    def test_it_is_drawn_as_torchvision_draws(self) -> None:
        """He's law of the fan out (He et al. 2015), BatchNorm at 1 and 0."""
        narrow = initial_resnet(
            ResNet(name="resnet50", layer="layer4", width_multiplier=0.5), seed=1
        )
        for module_ in narrow.modules():
            if isinstance(module_, nn.Conv2d) and module_.weight.numel() > 20_000:
                fan = module_.weight.shape[0] * math.prod(module_.kernel_size)
                assert float(module_.weight.detach().std()) == pytest.approx(
                    (2 / fan) ** 0.5, rel=0.05
                )
            if isinstance(module_, nn.BatchNorm2d):
                assert module_.weight.unique().tolist() == [1.0]
                assert module_.running_var.unique().tolist() == [1.0]  # type: ignore[union-attr]

    def test_what_comes_before_the_head_is_the_same_whatever_is_trained(self) -> None:
        untrained = initial_resnet(
            ResNet(name="resnet18", layer="layer4", width_multiplier=1 / 16), seed=SEED
        )
        for training in (NOISE, PICTURES):
            other = initial_resnet(network(training), seed=SEED)
            for name, value in untrained.state_dict().items():
                if not name.startswith("fc"):
                    torch.testing.assert_close(other.state_dict()[name], value, rtol=0, atol=0)
