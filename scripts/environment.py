"""Make the project's environment, `.venv`, where it is missing or out of date.

The packages are the project's dependencies and those of its extra `test` and of the extras that
`EXTRAS` in the environment names, in the versions that `constraints.txt` pins. The project itself
runs from its own folder, where the environment's Python finds it, wherever it is started; nothing
is built for that. A stamp, written last, says what the environment was made from; while it still
holds there is nothing to do. Whatever a person can mend is told in one line. `PIP_ARGS` in the
environment is passed on to pip.
"""

import sys

# Above everything else, and in words that an old Python can still read: no newer syntax in here.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        "Python {}.{}.{} ({}): the project needs Python 3.11 or newer. Name one: "
        "make PYTHON=python3.12 ...".format(*sys.version_info[:3], sys.executable)
    )

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sysconfig
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
PINS = "constraints.txt"
# What pip says where an index does not answer, and where it does not have what is asked for.
UNREACHABLE = re.compile(r"Retrying \(|connection (?:error|failed)|timed out", re.I)
LACKING = re.compile(r"(?:satisfies the requirement|Cannot install) ([^\s,]+)")


class SetupError(Exception):
    """What is wrong, the rule that it breaks and the remedy, in one line."""


class Environment:
    """The environment of a project, and the files that it is made from.

    Parameters
    ----------
    root : Path
        The project's folder.
    pip_args : str
        Further arguments for pip, quoted as for a shell.
    extras : sequence of str
        Extras of the project besides `test`. Those that are there already are kept.
    """

    def __init__(self, root: Path, pip_args: str, extras: Sequence[str] = ()) -> None:
        self.root = root
        self.folder = root / ".venv"
        self.python = self.folder / "bin" / "python"
        self.stamp = self.folder / "depth-claims.json"
        packages = sysconfig.get_path("purelib", "venv", {"base": str(self.folder)})
        # Every folder that such a file names is one in which the environment's Python looks.
        self.finder = Path(packages, "depth-claims.pth")
        # Lies in the environment from before its first change until after its stamp.
        self.unfinished = self.folder / "depth-claims.unfinished"
        # Not within the environment, because it has to outlast one that comes to nothing.
        self.log = root / "build" / "environment.log"
        self.sources = (root / "pyproject.toml", root / PINS)
        self.pip_args = pip_args
        self.extras = {"test", *extras}

    def made_from(self) -> dict[str, str]:
        """Whatever decides the content of the environment."""
        contents = hashlib.sha256()
        for source in self.sources:
            contents.update(hashlib.sha256(source.read_bytes()).digest())
        return {
            "python": sys.version,
            "pip_args": self.pip_args,
            "sources": contents.hexdigest(),
            "extras": " ".join(sorted(self.extras)),
        }

    def stamped(self) -> dict[str, str] | None:
        """What the environment was made from, or None without a stamp that can be read."""
        try:
            stamp = json.loads(self.stamp.read_text())
        except (OSError, ValueError):
            return None
        return stamp if isinstance(stamp, dict) else None

    def is_current(self) -> bool:
        """Whether the environment is whole and made from what is there now."""
        before, now = self.stamped(), self.made_from()
        return (
            self.python.exists()
            and self.finder.exists()
            and not self.unfinished.exists()
            and before is not None
            and self.extras <= _extras(before)
            and all(before.get(k) == now[k] for k in now if k != "extras")
        )

    def can_be_updated(self) -> bool:
        """Whether pip may work on the environment as it is; otherwise it is made anew.

        Not where an installation was interrupted (pip takes a half-unpacked package for a whole
        one), nor for another Python or other `PIP_ARGS` (pip keeps a build of torch that meets the
        pin, although another one was asked for).

        Raises
        ------
        SetupError
            For an environment that somebody made by hand with another Python.
        """
        if not self.folder.exists() or self.unfinished.exists() or not any(self.folder.iterdir()):
            return False
        before, now = self.stamped(), self.made_from()
        if before is not None:
            kept = ("python", "pip_args")
            return self.python.exists() and all(before.get(k) == now[k] for k in kept)
        question = [str(self.python), "-c", "import sys; print(sys.version, end='')"]
        try:
            answer = subprocess.run(question, capture_output=True, text=True, check=False).stdout
        except OSError:
            answer = ""
        if answer != sys.version:
            raise SetupError(
                f"{self.folder}: made by hand and not with {sys.executable}, so it is left alone. "
                "Move it away, or name its Python with PYTHON=..."
            )
        return True

    @property
    def project(self) -> dict[str, Any]:
        """What pyproject.toml says about the project."""
        return dict(tomllib.loads(self.sources[0].read_text("utf-8"))["project"])

    def requirements(self) -> list[str]:
        """Return what the project needs in order to run and be tested."""
        optional = self.project["optional-dependencies"]
        for unknown in sorted(self.extras - set(optional)):
            raise SetupError(f"EXTRAS={unknown}: no such extra. Choose {' or '.join(optional)}.")
        return [
            *self.project["dependencies"],
            *(needed for extra in sorted(self.extras) for needed in optional[extra]),
        ]

    @contextlib.contextmanager
    def turn(self) -> Iterator[tuple[int, ...]]:
        """Wait until nobody else works on the environment; yield the lock's descriptors."""
        with self.sources[1].open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"Waiting for another call that makes {self.folder.name}.", flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError:  # a file system without locks
                yield ()
                return
            yield (file.fileno(),)

    def make(self) -> None:
        """Make the environment, or bring it up to date."""
        if self.is_current():
            return
        with self.turn() as lock:
            if self.is_current():
                return
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("w", encoding="utf-8") as log:
                self._make(log, lock)

    def _make(self, log: IO[str], lock: tuple[int, ...]) -> None:
        try:
            pip_args = shlex.split(self.pip_args)
        except ValueError as error:
            raise SetupError(
                f"PIP_ARGS={self.pip_args}: {str(error).lower()}. Quote it as for a shell."
            ) from error
        update = self.can_be_updated()
        if update:
            known = set(self.project["optional-dependencies"])
            self.extras |= _extras(self.stamped() or {}) & known
        requirements = self.requirements()
        if not update:
            for module in ("venv", "ensurepip"):
                _require_module(module)
        print(
            f"{'Updating' if update else 'Making'} {self.folder.name} with Python "
            f"{sys.version.split()[0]}: installing the packages takes some minutes "
            f"(log: {self.log.relative_to(self.root)}).",
            flush=True,
        )
        started = time.monotonic()
        if not update:
            if self.folder.exists():
                shutil.rmtree(self.folder)
            self.folder.mkdir()
        self.unfinished.touch()
        try:
            if not update:
                self._run([sys.executable, "-m", "venv", str(self.folder)], log, lock)
            self._run([*self._pip(), *pip_args, *requirements], log, lock)
        except SetupError:
            # pip changes nothing before it has everything, so the environment is as it was.
            if not update:
                shutil.rmtree(self.folder)
            elif "Installing collected packages" not in self._logged():
                self.unfinished.unlink()
            raise
        # From there, so that it still holds where the whole project was moved.
        self.finder.write_text(os.path.relpath(self.root, self.finder.parent) + "\n")
        self.stamp.write_text(json.dumps(self.made_from(), indent=1) + "\n")
        self.unfinished.unlink()
        print(f"Done in {time.monotonic() - started:.0f} s.", flush=True)

    def _pip(self) -> list[str]:
        return [
            *(str(self.python), "-m", "pip", "install", "--verbose", "--no-input"),
            *("--disable-pip-version-check", "--progress-bar", "off"),
            *("--constraint", str(self.sources[1])),
        ]

    def _logged(self) -> str:
        return self.log.read_text("utf-8", errors="replace")

    def _run(self, command: Sequence[str], log: IO[str], lock: tuple[int, ...]) -> None:
        # pip reads variables that are named PIP_ and one of its options.
        variables = {k: v for k, v in os.environ.items() if k != "PIP_ARGS"}
        log.write(f"$ {shlex.join(command)}\n")
        log.flush()
        # The child holds the lock as well: if this process is killed, the next one waits for it.
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=self.root,
            env=variables,
            pass_fds=lock,
            check=False,
        )
        if done.returncode:
            raise SetupError(_explain(command, self._logged(), self.log.relative_to(self.root)))


def _extras(stamp: dict[str, str]) -> set[str]:
    """The extras that an environment was made with."""
    return set(stamp.get("extras", "").split())


def _require_module(name: str) -> None:
    """Refuse a Python without `name`; a finder is asked, because an import may have effects."""
    if importlib.util.find_spec(name) is None:
        version = "{}.{}".format(*sys.version_info)
        raise SetupError(
            f"{sys.executable}: this Python cannot make an environment, it has no module {name}. "
            f"Install it (Debian, Ubuntu: apt-get install python{version}-venv), or name another "
            "Python: make PYTHON=python3.12 ..."
        )


def _explain(command: Sequence[str], log: str, path: Path) -> str:
    """One line for a command that failed: what it said, what that means, what to do."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.upper().startswith("ERROR")]
    said = re.sub(r"^error:\s*", "", (errors or lines or ["no word"])[-1], flags=re.I)
    if "venv" in command:
        return f"{said}: the environment could not be made. See {path}."
    lacking = LACKING.search(" ".join(errors))
    if lacking:
        fault = "cannot be reached"
        if not UNREACHABLE.search(log):
            fault += f", or lacks what {PINS} asks for on this Python and machine"
        return (
            f"{lacking[1]}: the package index {fault}. Check the network, or name an index: "
            f"PIP_ARGS='--index-url URL' (log: {path})."
        )
    return f"{said}: pip could not install the packages. See {path}, mend it and call again."


def _stop(number: int, _frame: object) -> NoReturn:
    """End as an exception does, so that pip, the child, ends too."""
    sys.exit(128 + number)


def main() -> int | str:
    """Make the environment; return the exit status or the line that says what is wrong."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        pip_args, extras = (os.environ.get(name, "").strip() for name in ("PIP_ARGS", "EXTRAS"))
        Environment(ROOT, pip_args, extras.split()).make()
    except KeyboardInterrupt:
        return "Interrupted: .venv is not finished. The next call makes it anew."
    except (SetupError, OSError, ValueError) as error:
        return str(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
