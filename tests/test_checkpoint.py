"""Long runs that are interrupted, killed and resumed come to the same, to the last bit."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from graphs import (
    OnGPU,
    any_device,  # noqa: F401  (a fixture)
    stand_in,  # noqa: F401  (a fixture)
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inversion_cases import (
    CPU,
    DECODERS,
    EVERY,
    normal,
    one_thread,  # noqa: F401  (a fixture for all)
    run_case,
    run_case_by,
    same_bits,
)
from safetensors import SafetensorError

from harness import checkpoint as module
from harness.checkpoint import INTERVAL, SHARE, Checkpoint
from harness.encoders.runtime import precision_of
from harness.inversion import loop
from harness.inversion.steppers import Eager, Graphed, InPlace
from harness.measurements.measure import measure
from harness.plan.cells import ErrorInNullSpace, Reflection
from harness.plan.decoders import Decoder, Descent
from harness.plan.images import Images
from harness.plan.networks import ResNet, Training
from harness.plan.seeds import ReplicateSeeds

LENGTH = 30


class Killed(Exception):  # noqa: N818  (a stand-in for the end of a process)
    """Nothing after it is run."""


def dying(kind: type[Eager[Any]], *, before: int) -> Callable[..., Eager[Any]]:
    """A driver that dies instead of taking the step of an iteration."""

    class Dying(kind):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any, iteration: int = 0, **options: Any) -> None:
            super().__init__(*args, iteration=iteration, **options)
            self.left = before - iteration

        def step(self) -> None:
            if not self.left:
                raise Killed
            self.left -= 1
            super().step()

    return Dying


def dying_at_last(*, after: int) -> type[Eager[Any]]:
    """A driver that dies after so many steps in all runs together."""
    taken: list[int] = []

    class Dying(Eager[Any]):
        def step(self) -> None:
            if len(taken) == after:
                raise Killed
            taken.append(1)
            super().step()

    return Dying


def interrupt(
    decoder: Decoder,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    before: int,
    kind: type[Any] = Eager,
    dtype: torch.dtype = torch.float64,
    device: torch.device = CPU,
) -> None:
    """Begin a run that saves after every step, and end it in the middle."""
    checkpoint = Checkpoint(path, interval=0.0)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "drive", dying(kind, before=before))
        with pytest.raises(Killed):
            run_case(decoder, iterations=LENGTH, dtype=dtype, checkpoint=checkpoint, device=device)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(autouse=True)
def free_saves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saves that cost nothing, so that an interval of 0 means every iteration."""
    monkeypatch.setattr(module, "SHARE", float("inf"))


class TestInterrupted:
    @EVERY
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
    def test_a_run_that_goes_on_gives_the_bits_of_one_that_was_left_alone(
        self, decoder: Decoder, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        alone = run_case(decoder, iterations=LENGTH, dtype=dtype)
        path = tmp_path / "running" / "run.safetensors"
        # Those that reach their tolerance end at the second iteration or later.
        interrupt(decoder, path, monkeypatch, before=1, dtype=dtype)
        assert names(tmp_path / "running") == ["run.safetensors"]
        checkpoint = Checkpoint(path)
        assert same_bits(
            run_case(decoder, iterations=LENGTH, dtype=dtype, checkpoint=checkpoint), alone
        )
        checkpoint.remove()
        assert names(tmp_path / "running") == []

    @pytest.mark.parametrize(
        "name", ["article", "adam, whitened", "lbfgs", "annealed", "adam, last"]
    )
    @pytest.mark.parametrize("kind", [Eager, InPlace, Graphed])
    def test_wherever_and_however_often_it_was_interrupted(
        self,
        name: str,
        kind: type[Any],
        device: torch.device,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        decoder, path = DECODERS[name], tmp_path / "run.safetensors"
        with precision_of("float64", device=device):
            alone = run_case_by(Eager, decoder, monkeypatch, iterations=LENGTH, device=device)
            # Between traced iterations, on them, at half-way, and before the last step.
            for before in (1, 7, 15, 16, 22, LENGTH - 1):
                interrupt(decoder, path, monkeypatch, before=before, kind=kind, device=device)
                saved = Checkpoint(path).load()
                assert saved is not None
                assert saved[1] == before
                found = run_case_by(
                    kind,
                    decoder,
                    monkeypatch,
                    iterations=LENGTH,
                    device=device,
                    checkpoint=Checkpoint(path),
                )
                assert same_bits(found, alone)

    def test_a_run_whose_end_was_saved_takes_no_step(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "run.safetensors"
        alone = run_case(DECODERS["article"], iterations=LENGTH)
        run_case(DECODERS["article"], iterations=LENGTH, checkpoint=Checkpoint(path, interval=0.0))
        monkeypatch.setattr(loop, "drive", dying(Eager, before=LENGTH + 1))
        again = run_case(DECODERS["article"], iterations=LENGTH, checkpoint=Checkpoint(path))
        assert same_bits(again, alone)


class TestSeveralCopies:
    """Cells that recover an image to look at it are blocks of several runs, one after the other."""

    @pytest.mark.parametrize("kind", [ErrorInNullSpace, Reflection])
    def test_each_copy_goes_on_from_its_own(
        self, kind: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pictures = Training(
            content="photographs", classes=2, images=16, pixels=16, epochs=1, batch=16
        )
        network = ResNet(
            name="resnet18",
            layer="layer4",
            width_multiplier=0.0625,
            training=dataclasses.replace(pictures, folder=tmp_path / "weights"),
        )
        cells = [
            kind(
                seeds=ReplicateSeeds(replicate=number),
                network=network,
                images=Images(pixels=16),
                decoder=Descent(),
                iterations=LENGTH,
                batch=2,
            )
            for number in range(2)
        ]
        alone = measure(cells, device="cpu")
        path = tmp_path / "running" / "run.safetensors"
        with monkeypatch.context() as patch:
            patch.setattr(loop, "drive", dying_at_last(after=LENGTH + 20))
            with pytest.raises(Killed):
                measure(cells, device="cpu", checkpoint=Checkpoint(path, interval=0.0))
        assert names(path.parent) == ["run.0.safetensors", "run.1.safetensors"]
        with monkeypatch.context() as patch:
            # The steps that are left, and not one more.
            patch.setattr(loop, "drive", dying_at_last(after=LENGTH - 20))
            found = measure(cells, device="cpu", checkpoint=Checkpoint(path))
        for one, other in zip(found, alone, strict=True):
            assert (one.values, one.labels) == (other.values, other.labels)


KILLED = """
import sys
from pathlib import Path

import torch

sys.path.insert(0, sys.argv[1])
from inversion_cases import DECODERS, run_case

from harness.checkpoint import Checkpoint

torch.set_num_threads(1)


class Held(Checkpoint):
    # Reports that a state has been saved, and waits to be killed.
    def save(self, *arguments, **named):
        super().save(*arguments, **named)
        if len(sys.argv) > 5:
            print("saved", flush=True)
            sys.stdin.read()


checkpoint = Held(Path(sys.argv[2]), interval=0.0)
found = run_case(DECODERS["article"], iterations=int(sys.argv[3]), checkpoint=checkpoint)
torch.save((found.images, found.traces), sys.argv[4])
checkpoint.remove()
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs signals of POSIX")
class TestKilled:
    def test_another_process_goes_on_after_kill_9(self, tmp_path: Path) -> None:
        script, path = tmp_path / "run.py", tmp_path / "running" / "run.safetensors"
        script.write_text(KILLED)
        iterations = 500

        def begin(result: Path, *words: str) -> subprocess.Popen[bytes]:
            arguments = (Path(__file__).parent, path, iterations, result, *words)
            return subprocess.Popen(
                [sys.executable, str(script), *map(str, arguments)],
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )

        process = begin(tmp_path / "never.pt", "held")
        assert process.stdout is not None
        assert process.stdout.readline() == b"saved\n"
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        saved = Checkpoint(path).load()
        assert saved is not None
        assert 0 < saved[1] < iterations
        # What a kill leaves of a file that was being written is hidden and never read.
        assert all(name.endswith(".part") for name in names(path.parent) if name != path.name)

        again = begin(tmp_path / "again.pt")
        again.communicate()
        assert again.returncode == 0
        images, traces = torch.load(tmp_path / "again.pt")
        alone = run_case(DECODERS["article"], iterations=iterations)
        assert torch.equal(images, alone.images)
        assert all(torch.equal(traces[name], trace) for name, trace in alone.traces.items())
        assert not path.exists()


STATE = {
    "inner.point": normal(2, 3, seed=1),
    "at": torch.tensor([4, 2]),
    "empty": normal(0, 2, seed=1),
}


class TestDamage:
    def saved(self, folder: Path) -> Checkpoint:
        checkpoint = Checkpoint(folder / "run.safetensors")
        checkpoint.save(STATE, iteration=41)
        return checkpoint

    def test_what_was_saved_is_read(self, tmp_path: Path) -> None:
        checkpoint = self.saved(tmp_path)
        checkpoint.save({**STATE, "at": torch.tensor([5, 5])}, iteration=42)
        saved = checkpoint.load()
        assert saved is not None
        found, iteration = saved
        assert iteration == 42
        assert found["at"].tolist() == [5, 5]
        assert found.keys() == STATE.keys()
        assert torch.equal(found["inner.point"], STATE["inner.point"])
        assert names(tmp_path) == ["run.safetensors"]

    def test_where_there_is_none_nothing_is_read(self, tmp_path: Path) -> None:
        assert Checkpoint(tmp_path / "no folder" / "run.safetensors").load() is None
        assert Checkpoint(tmp_path).load() is None

    @settings(
        max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), layer=st.booleans())
    def test_a_damaged_or_truncated_one_is_none(
        self, place: float, bit: int, layer: bool, tmp_path: Path
    ) -> None:
        checkpoint = self.saved(tmp_path)
        content = bytearray(checkpoint.path.read_bytes())
        at = int(place * len(content))
        if layer:
            del content[at:]
        else:
            content[at] ^= 1 << bit
        checkpoint.path.write_bytes(content)
        assert checkpoint.load() is None

    @pytest.mark.parametrize(
        "error",
        [
            OSError(28, "No space left on device"),
            SafetensorError("I/O error: No space left on device (os error 28)"),
        ],
    )
    def test_a_write_that_fails_leaves_the_one_before_and_is_reported_once(
        self,
        error: Exception,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        checkpoint = self.saved(tmp_path)

        def full(*_: object, **__: object) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(module.safetensors.torch, "save_file", full)
            checkpoint.save(STATE, iteration=42)
            checkpoint.save(STATE, iteration=43)
        saved = checkpoint.load()
        assert saved is not None
        assert saved[1] == 41
        assert names(tmp_path) == ["run.safetensors"]
        (message,) = caplog.messages
        assert str(checkpoint.path) in message
        assert "No space left" in message
        # It may have passed.
        checkpoint.save(STATE, iteration=44)
        saved = checkpoint.load()
        assert saved is not None
        assert saved[1] == 44

    def test_a_run_outlives_checkpoints_that_cannot_be_written(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").touch()
        checkpoint = Checkpoint(tmp_path / "file" / "run.safetensors", interval=0.0)
        found = run_case(DECODERS["adam"], iterations=LENGTH, checkpoint=checkpoint)
        assert same_bits(found, run_case(DECODERS["adam"], iterations=LENGTH))
        assert len(caplog.messages) == 1

    @pytest.mark.parametrize(
        "change",
        [
            lambda found: {**found, "more": torch.ones(1)},
            lambda found: {name: value for name, value in found.items() if name != "size"},
            lambda found: {**found, "best.at": found["best.at"][:1]},
            lambda found: {**found, "best.point": found["best.point"].float()},
        ],
        ids=["more", "fewer", "shape", "dtype"],
    )
    def test_a_run_with_one_of_another_layout_begins_anew(
        self,
        change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        decoder, path = DECODERS["adam, blurred"], tmp_path / "run.safetensors"
        interrupt(decoder, path, monkeypatch, before=20)
        saved = Checkpoint(path).load()
        assert saved is not None
        found, iteration = saved
        Checkpoint(path).save(change({**found}), iteration=iteration)
        again = run_case(decoder, iterations=LENGTH, checkpoint=Checkpoint(path))
        assert same_bits(again, run_case(decoder, iterations=LENGTH))

    def test_parts_of_a_run_have_files_of_their_own_that_go_with_it(self, tmp_path: Path) -> None:
        whole, other = self.saved(tmp_path), Checkpoint(tmp_path / "rung.safetensors")
        for checkpoint in (whole.part(0), whole.part(1), whole.part(1).part(0), other):
            checkpoint.save(STATE, iteration=1)
        assert len(names(tmp_path)) == 5
        whole.remove()
        assert names(tmp_path) == ["rung.safetensors"]


class TestCost:
    """Saves counted by a clock of the test, with given times for a step and a save."""

    @pytest.mark.parametrize(
        ("step", "save", "iterations", "size", "fewest", "most"),
        [
            (0.01, 0.004, 200_000, 100, 2000 // INTERVAL - 1, 2000 // INTERVAL - 1),
            # 10 seconds each over 20,000 seconds; the first after 100 seconds for 100 MB
            (0.1, 10.0, 200_000, 10**9, 15, 20),
            (1.0, 50.0, 200_000, 10**6, 30, 40),  # a slow disk, known by its first save
            (0.01, 1.0, 1900, 100, 0, 0),  # too short
            (0.1, 1.0, 4000, 5 * 10**8, 0, 0),  # large, and taken to be slow before it is known
        ],
    )
    def test_saves_take_a_hundredth_of_the_time_at_most(
        self,
        step: float,
        save: float,
        iterations: int,
        size: int,
        fewest: int,
        most: int,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        now, saves = [0.0], []
        monkeypatch.setattr(module, "SHARE", SHARE)
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))

        def spent(*_: object, **__: object) -> None:
            now[0] += save
            saves.append(now[0])

        monkeypatch.setattr(module.safetensors.torch, "save_file", spent)
        monkeypatch.setattr(module, "replacing", contextlib.nullcontext)
        checkpoint = Checkpoint(tmp_path / "run.safetensors")
        for iteration in range(iterations):
            now[0] += step
            if checkpoint.due(size):
                checkpoint.save({}, iteration=iteration + 1)
        assert fewest <= len(saves) <= most
        assert len(saves) * save <= 0.01 * now[0]

    def test_steps_that_a_gpu_has_not_taken_yet_cost_nothing(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """A thousand of them may be queued, each as long as a save."""

        now = [0.0]

        def wait(device: torch.device) -> None:
            now[0] += 60.0

        monkeypatch.setattr(module, "SHARE", SHARE)
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
        monkeypatch.setattr(torch.cuda, "synchronize", wait)
        checkpoint = Checkpoint(tmp_path / "run.safetensors")
        checkpoint.save({"point": torch.ones(3).as_subclass(OnGPU)}, iteration=1)
        assert now == [60.0]
        now[0] += INTERVAL
        assert checkpoint.due(12)
