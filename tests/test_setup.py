"""The environment: made once, made anew after an interruption, refused in one line."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "environment.py"
OFFLINE = "--no-index --find-links ."
# Stands in for the module venv; the Python that it makes only notes how pip is called.
STAND_IN = r"""
import pathlib, sys
folder = pathlib.Path(sys.argv[1])
(folder / f"lib/python3.{sys.version_info[1]}/site-packages").mkdir(parents=True)
(folder / "bin").mkdir()
python = folder / "bin/python"
python.write_text('#!/bin/sh\necho "$@" >>calls\n[ ! -e kill ] || kill -9 $PPID\n[ ! -e refuse ]')
python.chmod(0o755)
"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project of one requirement, with this one's Makefile and script."""
    root = tmp_path / "project"
    (root / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", root)
    shutil.copy(SCRIPT, root / "scripts")
    (root / "constraints.txt").write_text("pytest==1.0\n")
    (root / "pyproject.toml").write_text(
        '[project]\ndependencies = ["pytest"]\n'
        'optional-dependencies = {test = [], peers = ["peer"]}\n'
    )
    return root


def variables(**more: str) -> dict[str, str]:
    """Nothing of this run's own make, pip or pytest is passed on."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**kept, "PIP_CONFIG_FILE": os.devnull, "LC_ALL": "C", **more}


def make(root: Path, *words: str, patch: str = "") -> subprocess.CompletedProcess[str]:
    """Call make as a person does; the Python that it starts runs `patch` first."""
    (root / "patch").mkdir(exist_ok=True)
    (root / "patch" / "sitecustomize.py").write_text(patch)
    return subprocess.run(
        ["make", "--no-print-directory", f"PYTHON={sys.executable}", *words],
        cwd=root, env=variables(PYTHONPATH=str(root / "patch")), capture_output=True, text=True,
        timeout=600,
    )  # fmt: skip


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on stderr, apart from make's own, of a call that failed."""
    assert done.returncode != 0
    (line,) = (line for line in done.stderr.splitlines() if not line.startswith("make: ***"))
    return line


@pytest.mark.parametrize(
    ("words", "patch", "said"),
    [
        ((), "import sys; sys.version_info = (3, 9, 18, 'final', 0)", "Python 3.9.18 ("),
        (("PYTHON=no-such-python",), "", "no-such-python: no such Python."),
        ((), "import sys; sys.modules['venv'] = None", "it has no module venv."),
        ((), "import sys; sys.modules['ensurepip'] = None", "it has no module ensurepip."),
        (("EXTRAS=pears",), "", "EXTRAS=pears: no such extra. Choose test or peers."),
        (
            ("PIP_ARGS=--index-url http://127.0.0.1:9/ --retries 0 --timeout 2",), "",
            "If the package index cannot be reached, name another: PIP_ARGS='--index-url URL'",
        ),
    ],
)  # fmt: skip
def test_what_a_person_can_mend_is_one_line(
    root: Path, words: tuple[str, ...], patch: str, said: str
) -> None:
    assert said in complaint(make(root, "environment", *words, patch=patch))


def test_an_old_python_can_parse_the_refusal() -> None:
    ast.parse(SCRIPT.read_text(), feature_version=(3, 8))


def test_from_nothing_to_work_and_straight_to_work_the_second_time(root: Path) -> None:
    with zipfile.ZipFile(root / "pytest-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("pytest.py", "import sys; print(sys.argv[1:]); sys.exit('-x' in sys.argv)")
        wheel.writestr("pytest-1.0.dist-info/METADATA", "Name: pytest\nVersion: 1.0\n")
        wheel.writestr("pytest-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
        wheel.writestr("pytest-1.0.dist-info/RECORD", "")
    first = make(root, "verify", f"PIP_ARGS={OFFLINE}")
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.startswith("Making .venv")
    assert first.stdout.endswith("['claims/']\n")

    # From here on any use of pip would fail.
    shutil.rmtree(next(root.glob(".venv/lib/python*/site-packages/pip")))
    again = make(root, "test", f"PIP_ARGS={OFFLINE}", "ARGS=-k 'a or b'")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.startswith("['tests/', ")
    assert again.stdout.endswith("'-k', 'a or b']\n")
    failing = make(root, "verify", f"PIP_ARGS={OFFLINE}", "ARGS=-x")
    assert (failing.returncode, failing.stdout) == (2, "['claims/', '-x']\n")

    # A script anywhere finds the project, also where both have moved.
    root = root.rename(root.with_name("moved"))
    (root / "harness.py").touch()
    script = root.parent / "script.py"
    script.write_text("import harness; print(harness.__file__)")
    command = [root / ".venv" / "bin" / "python", script]
    ran = subprocess.run(command, env=variables(), capture_output=True, text=True, check=True)
    assert ran.stdout == f"{root / 'harness.py'}\n"


@pytest.fixture
def made(root: Path) -> Callable[..., str]:
    """Make the environment with the stand-in for venv; what the call prints first."""
    (root / "patch").mkdir()
    (root / "patch" / "venv.py").write_text(STAND_IN)

    def call(*words: str, patch: str = "") -> str:
        return make(root, "environment", *words, patch=patch).stdout.split(" ")[0]

    return call


@pytest.mark.parametrize("change", ["extras", "pins", "requirements", "by hand"])
def test_an_environment_is_updated(root: Path, made: Callable[..., str], change: str) -> None:
    made()
    own = root / ".venv" / "own"
    own.touch()
    match change:
        case "pins":
            (root / "constraints.txt").write_text("pytest==2.0\n")
        case "requirements":
            project = root / "pyproject.toml"
            project.write_text(project.read_text().replace('"pytest"', '"pytest>=1"'))
        case "by hand":
            (root / ".venv" / "depth-claims.json").unlink()
    words = ["EXTRAS=peers"] if change == "extras" else []
    # An update that fails changes nothing, and is tried again.
    (root / "refuse").touch()
    assert "no output: the packages could not be installed" in complaint(
        make(root, "environment", *words)
    )
    (root / "refuse").unlink()
    assert (made(*words), made(*words), made()) == ("Updating", "", "")
    assert own.exists()
    assert ("peer" in (root / "calls").read_text().splitlines()[-1].split()) == bool(words)


@pytest.mark.parametrize("reason", ["python", "arguments", "no interpreter", "killed"])
def test_an_environment_is_made_anew(root: Path, made: Callable[..., str], reason: str) -> None:
    if reason == "killed":
        (root / "kill").touch()
    assert made() == "Making"
    (root / "kill").unlink(missing_ok=True)
    half = root / ".venv" / "half"
    half.touch()
    if reason == "no interpreter":
        (root / ".venv" / "bin" / "python").unlink()
    words = ["PIP_ARGS=--pre"] if reason == "arguments" else []
    patch = "import sys; sys.version = '3.99.0'" if reason == "python" else ""
    assert (made(*words, patch=patch), made(*words, patch=patch)) == ("Making", "")
    assert not half.exists()
    assert ("--pre" in (root / "calls").read_text().splitlines()[-1].split()) == bool(words)


def test_every_requirement_is_pinned_to_a_version_in_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    pins = {canonicalize_name(name): version for name, version in pairs}
    extras = project["optional-dependencies"].values()
    for each in map(Requirement, [*project["dependencies"], *(one for x in extras for one in x)]):
        assert each.specifier.contains(pins[canonicalize_name(each.name)])
    # Such as torch==2.13.0+cpu, or what only a CUDA build of torch needs.
    assert not [version for version in pins.values() if "+" in version or "/" in version]
    assert not [name for name in pins if name.startswith(("nvidia", "cuda", "triton"))]
