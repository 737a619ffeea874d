"""Bad input to a run: one message with the value, the rule and the remedy; nothing half-written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
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
        (("--plan", "--profile", "quik"), ("'quik'", "no such profile", "Choose quick")),
        (("--device", "cudda"), ("'cudda'", "no such device", "Choose cuda")),
        (("--network", "resnet51"), ("'resnet51'", "no such ResNet", "resnet50", "Choose")),
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


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_where_there_is_none(suite: Suite) -> None:
    refused(suite, "--device", "cuda", parts=("cuda: ", "finds no GPU", "Choose --device cpu"))


# Images and weights; what can be wrong with a file is in test_folder and test_weights


def test_a_file_that_is_no_image(suite: Suite) -> None:
    (suite.folder / "images").mkdir()
    bad = suite.folder / "images" / "bad.png"
    bad.write_bytes(b"no image at all")
    words = ("--images", "images")
    refused(suite, *words, parts=(str(bad), "cannot be read as an image", "Repair or remove it"))


@pytest.mark.slow
def test_photographs_of_ones_own(tmp_path: Path) -> None:
    """The real claims on a folder of the user's, measured by worker processes."""
    images = tmp_path / "images"
    images.mkdir()
    astronaut = Image.fromarray(skimage.data.astronaut())
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    astronaut.save(images / "turned.jpg", exif=exif)
    Image.fromarray(skimage.data.camera()).save(images / "grey.png")
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
    assert {label.partition(".")[0] for label in labels} == {"turned", "grey"}
    document = json.loads((tmp_path / "r" / "claims.json").read_text())
    assert str(images) in json.dumps(document["run"])


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return dict(build_resnet(ResNet(name="resnet18", layer="conv1"), seed=0).state_dict())


class Pickled:
    """What code in a file looks like: it would make a folder where it is loaded."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("harmed",)


def test_weights_that_hold_code(suite: Suite) -> None:
    torch.save({"conv1.weight": Pickled()}, suite.folder / "bad.pt")
    words = ("--network", "resnet18", "--weights", "bad.pt")
    refused(suite, *words, parts=("bad.pt", "pickled code, which is never run", "Save the weights"))
    assert not Path("harmed").exists()


def test_weights_that_do_not_fit(suite: Suite, state: dict[str, torch.Tensor]) -> None:
    torch.save(state, suite.folder / "other.pt")
    words = ("--network", "resnet50", "--weights", "other.pt")
    refused(suite, *words, parts=("other.pt", "do not fit resnet50", "--network NAME"))


def test_a_head_of_another_number_of_classes_is_told(
    suite: Suite, state: dict[str, torch.Tensor]
) -> None:
    head = {"fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}
    torch.save({"model": {**state, **head}}, suite.folder / "ten.pt")
    result = suite.run("--network", "resnet18", "--weights", "ten.pt")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["warning: *ten.pt*fc.weight, fc.bias*"])


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
