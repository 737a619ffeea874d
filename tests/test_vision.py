"""torchvision can be imported with and without its compiled operators."""

import importlib.machinery
import subprocess
import sys
from pathlib import Path

import pytest

PROLOGUE = """
import sys, torch

def define(*operators):
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in operators:
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library

def load_nothing(path):
    raise OSError(f"{path}: undefined symbol")
"""


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """A folder with a package `torchvision` that has an extension and needs the schemas."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import torch\ntorch.ops.torchvision.nms, torch.ops.torchvision.qnms\n"
    )
    (package / "models.py").touch()
    (package / f"_C{importlib.machinery.EXTENSION_SUFFIXES[-1]}").touch()
    return tmp_path


def run(program: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `program` in a Python of its own, where a warning is an error."""
    path = f"sys.path.insert(0, {str(folder)!r})\n" if folder else ""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", PROLOGUE + path + program],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        cwd=Path(__file__).parent.parent,
    )


def check(program: str, folder: Path | None = None) -> None:
    done = run(program, folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_operators_torchvision_fails_and_with_the_schemas_it_does_not() -> None:
    check("""
import importlib
torch.ops.load_library = load_nothing
try:
    import torchvision
except RuntimeError as error:
    assert "torchvision::nms" in str(error)
else:
    raise AssertionError("torchvision needs no schemas any more: neither does this module")

from harness.subjects import vision  # works even after that failure
assert len(vision.definitions) == 2
models = vision.models
importlib.reload(vision)  # changes nothing
assert vision.models is models
""")


def test_an_extension_that_loads_keeps_its_own_operators(stand_in: Path) -> None:
    check(
        """
loaded = []
def load_library(path):
    loaded.append((path, define("nms", "qnms")))
torch.ops.load_library = load_library
from harness.subjects import vision
assert [path.rpartition("/")[2][:2] for path, _ in loaded] == ["_C"]
assert vision.definitions == []
""",
        stand_in,
    )


def test_operators_that_are_there_already_are_left_alone(stand_in: Path) -> None:
    check(
        """
library = define("nms", "qnms")
torch.ops.load_library = None  # nothing has to be loaded
from harness.subjects import vision
assert vision.definitions == []
""",
        stand_in,
    )


def test_only_the_missing_schema_is_defined(stand_in: Path) -> None:
    check(
        """
library = define("nms")
torch.ops.load_library = load_nothing
from harness.subjects import vision
assert len(vision.definitions) == 1
""",
        stand_in,
    )
