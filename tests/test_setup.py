"""The environment: made once, made anew after an interruption, refused in one line."""

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "environment.py"

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def lay_out(root: Path, requirement: str = "pytest") -> Path:
    """A project of one requirement, with this one's Makefile and script."""
    root.mkdir()
    (root / "scripts").mkdir()
    shutil.copy(ROOT / "Makefile", root)
    shutil.copy(SCRIPT, root / "scripts")
    (root / "constraints.txt").write_text("pytest==1.0\n")
    (root / "pyproject.toml").write_text(
        f'[project]\ndependencies = ["{requirement}"]\noptional-dependencies.test = []\n'
    )
    return root


def make(
    root: Path, *words: str, patch: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Call make as a person does: nothing of this run's own make, pip or pytest is passed on.

    `patch` is run by the Python that makes the environment when it starts.
    """
    kept = ("PATH", "HOME", "TMPDIR")
    environment = {k: os.environ[k] for k in kept if k in os.environ}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "LC_ALL": "C", **variables}
    if patch:
        (root / "patch").mkdir()
        (root / "patch" / "sitecustomize.py").write_text(patch)
        environment["PYTHONPATH"] = str(root / "patch")
    if not any(word.startswith("PYTHON=") for word in words):
        words = (*words, f"PYTHON={sys.executable}")
    return subprocess.run(
        ["make", "--no-print-directory", *words],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on stderr, apart from make's own, of a call that failed."""
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make: ***")]
    assert len(lines) == 1, done.stderr
    return lines[0]


@needs_make
def test_a_python_that_is_too_old(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "project")
    old = "import sys; sys.version_info = (3, 9, 18, 'final', 0)"
    line = complaint(make(root, "test", patch=old))
    assert line.startswith("Python 3.9.18 (")
    assert "needs Python 3.11 or newer" in line
    assert "make PYTHON=" in line
    assert not (root / ".venv").exists()


def test_an_old_python_can_read_as_far_as_the_refusal() -> None:
    ast.parse(SCRIPT.read_text(), feature_version=(3, 6))


@needs_make
def test_a_python_that_is_not_there(tmp_path: Path) -> None:
    line = complaint(make(lay_out(tmp_path / "project"), "verify", "PYTHON=no-such-python"))
    assert line.startswith("no-such-python: no such Python. Install Python 3.11 or newer")


@needs_make
@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_python_without_the_module_that_makes_environments(tmp_path: Path, module: str) -> None:
    root = lay_out(tmp_path / "project")
    line = complaint(make(root, "test", patch=f"import sys; sys.modules[{module!r}] = None"))
    assert f"it has no module {module}." in line
    assert f"python3.{sys.version_info[1]}-venv" in line
    assert not (root / ".venv").exists()


@needs_make
def test_an_index_that_cannot_be_reached(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "project")
    arguments = "--index-url http://127.0.0.1:9/ --retries 0 --timeout 2"
    line = complaint(make(root, "test", f"PIP_ARGS={arguments}"))
    assert line.startswith("pytest: the package index cannot be reached")
    assert "PIP_ARGS='--index-url URL'" in line
    assert "build/environment.log" in line
    assert "127.0.0.1" in (root / "build" / "environment.log").read_text()
    assert not (root / ".venv").exists()


@pytest.mark.parametrize(
    ("said", "explained"),
    [
        (
            (
                "WARNING: Retrying (Retry(total=0)) after connection broken by 'x': /torch/\n"
                "ERROR: Could not find a version that satisfies the requirement torch>=2.11 (from "
                "versions: none)\nERROR: No matching distribution found for torch>=2.11\n"
            ),
            "torch>=2.11: the package index cannot be reached. Check",
        ),
        (
            (
                "ERROR: Could not find a version that satisfies the requirement torch>=2.11 (from "
                "versions: none)\nERROR: No matching distribution found for torch>=2.11\n"
            ),
            "torch>=2.11: the package index cannot be reached, or lacks what constraints.txt",
        ),
        (
            (
                "ERROR: Cannot install torch>=2.11 because these package versions have conflicting "
                "dependencies.\nERROR: ResolutionImpossible: for help visit x\n"
            ),
            "torch>=2.11: the package index cannot be reached, or lacks what constraints.txt",
        ),
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left\n",
            "Could not install packages due to an OSError: [Errno 28] No space left: pip could",
        ),
        ("python: No module named pip\n", "python: No module named pip: pip could not install"),
        ("", "no word: pip could not install"),
    ],
)
def test_what_pip_says_is_told_in_one_line(script: ModuleType, said: str, explained: str) -> None:
    line = script._explain(["python", "-m", "pip"], said, Path("build/environment.log"))
    assert line.startswith(explained)
    assert "build/environment.log" in line
    assert "\n" not in line


@needs_make
def test_arguments_for_pip_that_cannot_be_parsed(tmp_path: Path) -> None:
    line = complaint(make(lay_out(tmp_path / "project"), "test", PIP_ARGS="--index-url 'x"))
    assert line == "PIP_ARGS=--index-url 'x: no closing quotation. Quote it as for a shell."


@needs_make
def test_from_nothing_to_work_and_straight_to_work_the_second_time(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "project")
    with zipfile.ZipFile(root / "pytest-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("pytest.py", "import sys; print(sys.argv[1:]); sys.exit('-x' in sys.argv)")
        wheel.writestr("pytest-1.0.dist-info/METADATA", "Name: pytest\nVersion: 1.0\n")
        wheel.writestr(
            "pytest-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: any\n"
        )
        wheel.writestr("pytest-1.0.dist-info/RECORD", "")
    arguments = "PIP_ARGS=--no-index --find-links ."

    first = make(root, "verify", arguments)
    assert (first.returncode, first.stderr) == (0, "")
    making, made, work = first.stdout.splitlines()
    assert making.startswith("Making .venv")
    assert "takes some minutes (log: build/environment.log)" in making
    assert made.startswith("Done in ")
    assert work == "['claims/']"

    # From here on any use of pip would fail.
    shutil.rmtree(next(root.glob(".venv/lib/python*/site-packages/pip")))
    again = make(root, "test", arguments, "ARGS=-k 'a or b'")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.startswith("['tests/', '-n', 'auto', ")
    assert ", '--jaxtyping-packages=harness.inversion.distances," in again.stdout
    assert again.stdout.endswith("'-k', 'a or b']\n")

    failing = make(root, "verify", arguments, "ARGS=-x")
    assert failing.returncode == 2
    assert failing.stdout == "['claims/', '-x']\n"
    assert "Error 1" in failing.stderr

    # A script of one's own finds the project, wherever it is and also where both have moved.
    root = root.rename(tmp_path / "moved")
    (root / "harness.py").touch()
    script = tmp_path / "elsewhere" / "script.py"
    script.parent.mkdir()
    script.write_text("import harness; print(harness.__file__)")
    command = [root / ".venv" / "bin" / "python", script]
    ran = subprocess.run(command, cwd=script.parent, capture_output=True, text=True, check=True)
    assert ran.stdout == f"{root / 'harness.py'}\n"


@pytest.fixture
def script() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("environment", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lay_out_environment(folder: Path) -> None:
    """What there is of an environment before anything is installed."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)})).mkdir(parents=True)


class Commands:
    """Stands in for the commands: notes them, and makes or leaves what they would."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.pip: Callable[[], int] = lambda: 0

    def run(self, command: Sequence[str], **options: object) -> subprocess.CompletedProcess[str]:
        if "-c" in command:  # the question which Python it is
            return subprocess.CompletedProcess(command, 0, stdout=sys.version)
        name = command[2]
        self.ran.append(name)
        if name == "pip":
            log = options["stdout"]
            status = self.pip()
            if status:
                log.write("ERROR: it went wrong\n")  # type: ignore[attr-defined]
                log.flush()  # type: ignore[attr-defined]
            return subprocess.CompletedProcess(command, status)
        lay_out_environment(Path(command[-1]))
        return subprocess.CompletedProcess(command, 0)


@pytest.fixture
def commands(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Commands:
    stand_in = Commands()
    monkeypatch.setattr(script.subprocess, "run", stand_in.run)
    return stand_in


def test_an_interrupted_installation_is_repeated_from_nothing(
    script: ModuleType, commands: Commands, tmp_path: Path
) -> None:
    environment = script.Environment(lay_out(tmp_path / "project"), "")

    def interrupt() -> int:
        (environment.folder / "half").touch()
        raise KeyboardInterrupt

    commands.pip = interrupt
    with pytest.raises(KeyboardInterrupt):
        environment.make()
    assert not environment.is_current()

    commands.pip = lambda: 0
    environment.make()
    assert commands.ran == ["venv", "pip", "venv", "pip"]
    assert not (environment.folder / "half").exists()
    assert environment.is_current()
    environment.make()
    assert len(commands.ran) == 4


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_update_the_environment(
    script: ModuleType, commands: Commands, tmp_path: Path, name: str
) -> None:
    environment = script.Environment(lay_out(tmp_path / "project"), "")
    environment.make()
    with (environment.root / name).open("a") as file:
        file.write("# changed\n")
    assert not environment.is_current()
    environment.make()
    assert commands.ran == ["venv", "pip", "pip"]
    assert environment.is_current()


@pytest.mark.parametrize("changed", ["python", "pip_args", "interpreter gone"])
def test_another_python_or_other_arguments_make_it_anew(
    script: ModuleType,
    commands: Commands,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changed: str,
) -> None:
    environment = script.Environment(lay_out(tmp_path / "project"), "")
    environment.make()
    if changed == "python":
        monkeypatch.setattr(script.sys, "version", "3.99.0 (main)")
    elif changed == "pip_args":
        environment = script.Environment(environment.root, "--index-url http://127.0.0.1:9/")
    else:
        environment.python.unlink()
    assert not environment.is_current()
    environment.make()
    assert commands.ran == ["venv", "pip", "venv", "pip"]
    assert environment.is_current()


def test_an_environment_that_cannot_find_the_project_is_completed(
    script: ModuleType, commands: Commands, tmp_path: Path
) -> None:
    environment = script.Environment(lay_out(tmp_path / "project"), "")
    environment.make()
    environment.finder.unlink()
    environment.make()
    assert commands.ran == ["venv", "pip", "pip"]
    assert environment.finder.exists()


def test_a_failed_update_leaves_an_untouched_environment_and_is_repeated(
    script: ModuleType, commands: Commands, tmp_path: Path
) -> None:
    environment = script.Environment(lay_out(tmp_path / "project"), "")
    environment.make()
    (environment.root / "constraints.txt").write_text("pytest==2.0\n")
    commands.pip = lambda: 1
    with pytest.raises(script.SetupError, match=r"^it went wrong: pip could not install"):
        environment.make()
    assert environment.python.exists()
    assert not environment.is_current()

    commands.pip = lambda: 0
    environment.make()
    assert commands.ran == ["venv", "pip", "pip", "pip"]


def test_extras_are_added_once_and_kept(
    script: ModuleType, commands: Commands, tmp_path: Path
) -> None:
    root = lay_out(tmp_path / "project")
    with (root / "pyproject.toml").open("a") as file:
        file.write('optional-dependencies.peers = ["a-peer"]\n')
    script.Environment(root, "").make()
    script.Environment(root, "", ["peers"]).make()
    assert commands.ran == ["venv", "pip", "pip"]
    for extras in ([], ["peers"]):
        script.Environment(root, "", extras).make()
    assert len(commands.ran) == 3

    (root / "constraints.txt").write_text("pytest==2.0\n")
    again = script.Environment(root, "")
    again.make()
    assert len(commands.ran) == 4
    assert again.requirements() == ["pytest", "a-peer"]


def test_an_extra_that_the_project_has_not(
    script: ModuleType, commands: Commands, tmp_path: Path
) -> None:
    environment = script.Environment(lay_out(tmp_path / "project"), "", ["pears"])
    with pytest.raises(script.SetupError, match=r"^EXTRAS=pears: no such extra\. Choose test"):
        environment.make()
    assert commands.ran == []


@needs_make
def test_only_the_benchmarks_ask_for_the_peers(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "project")
    assert "EXTRAS=peers: no such extra" in complaint(make(root, "benchmark"))
    for words in (["benchmark", "EXTRAS="], ["test"]):
        line = complaint(make(root, *words, "PIP_ARGS=--index-url 'x"))
        assert "no closing quotation" in line


def test_an_environment_made_by_hand_is_completed_but_never_removed(
    script: ModuleType, commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = script.Environment(lay_out(tmp_path / "project"), "")
    lay_out_environment(environment.folder)
    with monkeypatch.context() as patch:
        patch.setattr(script.sys, "version", "3.99.0 (main)")  # made with another Python
        commands_before = list(commands.ran)
        patch.setattr(
            script.subprocess,
            "run",
            lambda *_, **__: subprocess.CompletedProcess([], 0, stdout="3.11.0 (main)"),
        )
        with pytest.raises(script.SetupError, match="made by hand"):
            environment.make()
        assert commands.ran == commands_before
    assert environment.python.exists()
    environment.make()
    assert commands.ran == ["pip"]
    assert json.loads(environment.stamp.read_text()) == environment.made_from()


def test_every_requirement_is_pinned_to_a_version_in_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            pins[canonicalize_name(name)] = version
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *(each for extra in extras.values() for each in extra)]
    for requirement in map(Requirement, needed):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])
    assert not [version for version in pins.values() if "+" in version or "/" in version]
    assert not [name for name in pins if name.startswith(("nvidia", "cuda", "triton"))]
