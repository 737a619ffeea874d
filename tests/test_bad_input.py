"""Bad input to a run: one message with the value, the rule and the remedy; nothing half-written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import skimage.data
import torch
from PIL import Image
from plugin_suite import ROOT, Suite, of, one_message

from harness.plan.networks import ResNet
from harness.subjects.resnet import build_resnet

pytest_plugins = ("pytester",)


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Suite:
    suite = Suite(pytester, pytester.path / "store")
    return suite.write(test_z=of("supported"))


def refused(suite: Suite, *words: str, parts: tuple[str, ...]) -> None:
    """Assert that a run says what is wrong and leaves nothing behind."""
    before = set(suite.folder.rglob("*"))
    one_message(suite.run(*words), *parts)
    kept = {"__pycache__", ".benchmarks", ".hypothesis"}
    added = {path for path in set(suite.folder.rglob("*")) - before if not kept & {*path.parts}}
    assert not added


# Names


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--profile", "quik"), ("'quik'", "no such profile", "Choose quick")),
        (("--device", "cudda"), ("'cudda'", "no such device", "Choose cuda")),
        (("--network", "resnet51"), ("'resnet51'", "no such ResNet", "resnet50", "Choose")),
        (("--executor", "process"), ("'process'", "no such executor", "Choose processes")),
        (("--executor", "dask:"), ("--executor dask:", "address", "Write dask:tcp://HOST:8786")),
        (("--executor", "processes:0"), ("--executor processes:0", "Write processes:4")),
        (("--weights", "w.pt"), ("--weights", "none is named", "--network NAME")),
        (("--images", ""), ('--images ""', "empty", "Give a path")),
        (("--store", "test_z.py"), ("--store", "test_z.py", "this is a file", "Name a folder")),
        (
            ("--precision", "float16"),
            ("'float16'", "no such precision", "Choose float64", "or tf32"),
        ),
        (
            ("--update-verdicts", "--network", "resnet18"),
            ("--update-verdicts", "the article's own", "Leave out --network"),
        ),
    ],
)
def test_names(suite: Suite, words: tuple[str, ...], parts: tuple[str, ...]) -> None:
    refused(suite, *words, parts=parts)


def test_a_plan_refuses_them_too(suite: Suite) -> None:
    refused(suite, "--plan", "--profile", "quik", parts=("'quik'", "no such profile"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_where_there_is_none(suite: Suite) -> None:
    refused(suite, "--device", "cuda", parts=("cuda: ", "finds no GPU", "Choose --device cpu"))


# Folders of images


def _missing(path: Path) -> Path:
    return path


def _unreadable(path: Path) -> Path:
    path.mkdir()
    (path / "bad.png").write_bytes(b"no image at all")
    return path / "bad.png"


def _enormous(path: Path) -> Path:
    path.mkdir()
    # 100 megapixels of one bit, a few kilobytes on disk.
    Image.new("1", (10_000, 10_000)).save(path / "bad.png")
    return path / "bad.png"


@pytest.mark.parametrize(
    ("make", "rule", "remedy"),
    [
        (_missing, "no such folder", "Give a folder that exists"),
        (_unreadable, "cannot be read as an image", "Repair or remove it"),
        (_enormous, "more than 64 million pixels", "Reduce it"),
    ],
)
def test_image_folders(suite: Suite, make: Callable[[Path], Path], rule: str, remedy: str) -> None:
    named = make(suite.folder / "images")
    refused(suite, "--images", "images", parts=(str(named), rule, remedy))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_image_without_permission(suite: Suite) -> None:
    folder = suite.folder / "images"
    folder.mkdir()
    Image.new("RGB", (20, 20)).save(folder / "bad.png")
    (folder / "bad.png").chmod(0)
    refused(suite, "--images", "images", parts=("bad.png", "cannot be read", "Repair"))


@pytest.mark.slow
def test_real_photographs_of_every_kind(tmp_path: Path) -> None:
    """The real claims on a folder of the user's, measured by worker processes."""
    images = tmp_path / "images"
    images.mkdir()
    astronaut = Image.fromarray(skimage.data.astronaut())
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    astronaut.save(images / "turned.jpg", exif=exif)
    alpha = astronaut.convert("RGBA")
    alpha.putalpha(Image.fromarray(np.tile(np.arange(512, dtype=np.uint8), (512, 1))))
    alpha.save(images / "alpha.png")
    Image.fromarray(skimage.data.camera()).save(images / "grey.png")
    Image.fromarray(skimage.data.coffee()).save(images / "coffee.webp")
    words = [
        *("claims/test_lower_bounds.py", "-k", "16 and default", "-p", "no:cacheprovider"),
        "--assert=plain",
        *("--images", str(images), "--store", str(tmp_path / "s"), "--report", str(tmp_path / "r")),
    ]
    found = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    records = list((tmp_path / "s" / "records").rglob("*.json"))
    labels = {json.loads(path.read_text())["record"]["labels"]["image"] for path in records}
    assert {label.partition(".")[0] for label in labels} == {"turned", "alpha", "grey", "coffee"}
    document = json.loads((tmp_path / "r" / "claims.json").read_text())
    assert str(images) in json.dumps(document["run"])


# Weights


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return dict(build_resnet(ResNet(name="resnet18", layer="conv1"), seed=0).state_dict())


class Pickled:
    """What code in a file looks like: it would make a folder where it is loaded."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("harmed",)


def test_weights_that_are_missing(suite: Suite) -> None:
    words = ("--network", "resnet18", "--weights", "absent.pt")
    refused(suite, *words, parts=("absent.pt", "cannot be read", "Give a file with a state dict"))


@pytest.mark.parametrize("name", ["bad.pt", "bad.safetensors"])
def test_weights_that_are_corrupt(suite: Suite, state: dict[str, torch.Tensor], name: str) -> None:
    path = suite.folder / name
    if path.suffix == ".pt":
        torch.save(state, path)
    else:
        safetensors.torch.save_file(state, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    words = ("--network", "resnet18", "--weights", name)
    refused(suite, *words, parts=(str(path), "corrupt", "torch.save(network.state_dict(), FILE)"))


def test_weights_that_hold_code(suite: Suite) -> None:
    torch.save({"conv1.weight": Pickled()}, suite.folder / "bad.pt")
    words = ("--network", "resnet18", "--weights", "bad.pt")
    refused(suite, *words, parts=("bad.pt", "pickled code, which is never run", "Save the weights"))
    assert not Path("harmed").exists()


def test_weights_that_do_not_fit(suite: Suite, state: dict[str, torch.Tensor]) -> None:
    torch.save(state, suite.folder / "other.pt")
    words = ("--network", "resnet50", "--weights", "other.pt")
    refused(suite, *words, parts=("other.pt", "do not fit resnet50", "--network NAME"))


NETWORK = """
from harness.plan.cells import Inversion
from harness.claim import Claim, Criterion, event
from harness.plan.decoders import Descent

CLAIM = Claim(
    id="Z1", statement="It is so.", section="A section", method="Two steps.",
    estimands={"r": event("r is below 2.", Criterion(effect="r", label="r", below=2.0))},
)

@pytest.mark.networks("resnet18")
def test_network(lab, network):
    lab.judge(
        CLAIM,
        cells=lambda seeds: {"reconstruction": Inversion(
            seeds=seeds,
            network=lab.resnet(network, "conv1"),
            images=lab.photographs(pixels=32),
            decoder=Descent(),
            iterations=2,
        )},
        effects=lambda seen: {"r": seen["reconstruction"].values["r"]},
    )
"""


@pytest.mark.slow
def test_weights_with_nan_make_their_samples_invalid(
    suite: Suite, state: dict[str, torch.Tensor]
) -> None:
    """A claim on the damaged network is invalid; one that does not use it goes on."""
    damaged = {key: value.clone() for key, value in state.items()}
    damaged["conv1.weight"][0, 0, 0, 0] = torch.nan
    torch.save(damaged, suite.folder / "nan.pt")
    suite.write(test_y=NETWORK.replace("Z1", "Z9"))
    result = suite.run("--network", "resnet18", "--weights", "nan.pt", "-rs")
    result.assert_outcomes(passed=1, skipped=1)
    assert result.ret == 0
    assert suite.verdicts() == {"Z1": "supported", "Z9": "invalid"}
    result.stdout.fnmatch_lines(["INVALID *: invalid: *"])
    # The same network without damage is measured.
    torch.save(state, suite.folder / "fine.pt")
    result = suite.run("--network", "resnet18", "--weights", "fine.pt", "-k", "network")
    assert suite.verdicts()["Z9"] == "supported"


# Stores, locks and reports


def records(suite: Suite) -> list[Path]:
    return sorted((suite.store / "records").rglob("*.json"))


def test_a_file_in_place_of_the_store(suite: Suite) -> None:
    suite.store.write_text("mine")
    refused(suite, parts=(str(suite.store), "has to be a folder", "--store DIR"))
    assert suite.store.read_text() == "mine"


@pytest.mark.parametrize("place", ["report", "report/below"])
def test_a_file_in_place_of_the_report_is_told_before_measuring(suite: Suite, place: str) -> None:
    (suite.folder / "report").write_text("mine")
    words = ("--report", place)
    one_message(suite.run(*words), str(suite.folder / place), "has to go to a folder", "--report")
    assert not records(suite)


def test_a_damaged_record_is_named(suite: Suite) -> None:
    suite.run()
    whole = records(suite)[3].read_bytes()
    records(suite)[3].write_bytes(b"{")
    damaged = str(records(suite)[3])
    one_message(suite.run(), damaged, "the record is damaged", "Delete this file")
    assert records(suite)[3].read_bytes() == b"{"
    # The report says why there is no verdict.
    assert suite.verdicts() == {"Z1": "not run"}
    assert damaged in suite.conditions()[0][2]
    # The remedy works.
    records(suite)[3].unlink()
    result = suite.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["1 cells measured, 11 reused*"])
    assert len(records(suite)[3].read_bytes()) == pytest.approx(len(whole), abs=50)


def test_a_damaged_lock_is_told_before_measuring(suite: Suite) -> None:
    suite.locked.parent.mkdir()
    suite.locked.write_text('schema = 2\n[quick.Z1]\nclaim = "abc"\nverdict = "good"\n')
    refused(suite, parts=(str(suite.locked), "['quick']['Z1'].verdict", "'good' is no verdict"))
    assert not records(suite)


def test_a_lock_that_cannot_be_written_leaves_the_report(suite: Suite) -> None:
    # There is no folder claims/ in this suite.
    result = suite.run("--update-verdicts")
    one_message(result, "verdicts.toml", "cannot be written", "Make the folder claims")
    assert suite.verdicts() == {"Z1": "supported"}
    assert not suite.locked.exists()


def test_parameters_that_are_no_names(suite: Suite) -> None:
    body = """
    @pytest.mark.parametrize("setting", [(1, 2)])
    def test_it(lab, setting):
        judge(lab, claim("Z1"), "supported")
    """
    suite.write(test_z=body)
    refused(suite, parts=("setting=(1, 2)", "names and numbers alone", "Give the name"))


@pytest.mark.slow
def test_the_message_is_the_last_thing_said(suite: Suite) -> None:
    suite.run()
    records(suite)[0].write_bytes(b"")
    process = suite.start()
    output, _ = process.communicate(timeout=600)
    assert process.returncode == pytest.ExitCode.USAGE_ERROR
    assert output.rstrip().splitlines()[-1].startswith("ERROR: ")
    assert "Traceback" not in output
