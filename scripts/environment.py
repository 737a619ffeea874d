"""Make the project's environment, `.venv`, where it is missing or out of date.

It holds the project's dependencies and those of its extras `test` and `EXTRAS`, in the versions
that `constraints.txt` pins; `PIP_ARGS` is passed on to pip. A stamp, written last, says what the
environment was made from. While that holds there is nothing to do.
"""

import sys

# First, and like the whole file in syntax that an old Python can still parse.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        "Python {}.{}.{} ({}): the project needs Python 3.11 or newer. Name one: "
        "make PYTHON=python3.12 ...".format(*sys.version_info[:3], sys.executable)
    )

import fcntl
import hashlib
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON, STAMP = VENV / "bin" / "python", VENV / "depth-claims.json"
# The environment's Python imports from the folder that such a file names.
FINDER = Path(sysconfig.get_path("purelib", "venv", {"base": str(VENV)}), "depth-claims.pth")
PROJECT, PINS = ROOT / "pyproject.toml", ROOT / "constraints.txt"
LOG = ROOT / "build" / "environment.log"
PIP_ARGS = os.environ.pop("PIP_ARGS", "").strip()  # pip would read the variable as an option


def read_stamp() -> dict[str, Any]:
    """What the environment was made from; empty for one that was made by hand."""
    try:
        return dict(json.loads(STAMP.read_text()))
    except (OSError, ValueError):
        return {}


def run(*command: str, lock: int) -> str:
    """Run a command, with its output in the log; return what it said if it failed."""
    with LOG.open("ab") as log:
        # The child holds the lock as well: if this process is killed, the next one waits for it.
        done = subprocess.run(
            command, cwd=ROOT, pass_fds=[lock], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )  # fmt: skip
    if not done.returncode:
        return ""
    lines = [line for line in LOG.read_text("utf-8", "replace").splitlines() if line]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")]
    return [*errors, *lines[-1:], "no output"][0]


def make(lock: int) -> None:
    """Make the environment or bring it up to date, unless it is current."""
    before, extras = read_stamp(), {"test", *os.environ.get("EXTRAS", "").split()}
    sources = hashlib.sha256(PROJECT.read_bytes() + PINS.read_bytes()).hexdigest()
    fixed = {"python": sys.version, "pip_args": PIP_ARGS, "complete": True}
    usable = PYTHON.exists() and fixed.items() <= before.items()
    complete = usable and FINDER.exists() and extras <= {*before["extras"]}
    if complete and before["sources"] == sources:
        return

    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    optional = project["optional-dependencies"]
    for unknown in extras - {*optional}:
        sys.exit(f"EXTRAS={unknown}: no such extra. Choose {' or '.join(optional)}.")
    extras |= {*before.get("extras", ())} & {*optional}
    needed = [*project["dependencies"], *(each for extra in extras for each in optional[extra])]
    by_hand = not before and VENV.is_dir() and any(VENV.iterdir())
    if by_hand and not FINDER.parent.is_dir():
        sys.exit(
            f"{VENV}: made by hand, and not with {sys.executable}. Move it away, or name its "
            "Python: make PYTHON=..."
        )
    # Otherwise it is made anew: pip takes a half-unpacked package for a whole one, and keeps a
    # build of torch that meets the pin although PIP_ARGS asks for another.
    stamp = {**fixed, "sources": sources, "extras": sorted(extras)}
    install(needed, stamp, before, update=usable or by_hand, lock=lock)


def install(
    needed: list[str], stamp: dict[str, Any], before: dict[str, Any], *, update: bool, lock: int
) -> None:
    """Install packages, into a new environment unless the present one is to be updated."""
    try:
        pip_args = shlex.split(PIP_ARGS)
    except ValueError as error:
        sys.exit(f"PIP_ARGS={PIP_ARGS}: {error}. Quote it as for a shell.")
    for module in () if update else ("venv", "ensurepip"):
        if importlib.util.find_spec(module) is None:
            sys.exit(
                f"{sys.executable}: this Python cannot make an environment, it has no module "
                f"{module}. Install it (Debian, Ubuntu: apt-get install "
                f"python3.{sys.version_info[1]}-venv), or name another: make PYTHON=python3.12 ..."
            )

    log = LOG.relative_to(ROOT)
    doing = "Updating" if update else "Making"
    print(f"{doing} .venv: takes some minutes (log: {log}).", flush=True)
    LOG.parent.mkdir(exist_ok=True)
    LOG.unlink(missing_ok=True)
    if not update and VENV.exists():
        shutil.rmtree(VENV)
    VENV.mkdir(exist_ok=True)
    STAMP.write_text(json.dumps({**stamp, "complete": False}))
    failed = "" if update else run(sys.executable, "-m", "venv", str(VENV), lock=lock)
    pip = (str(PYTHON), "-m", "pip", "install", "--no-input", "--disable-pip-version-check")
    failed = failed or run(*pip, "--constraint", str(PINS), *pip_args, *needed, lock=lock)
    if failed:
        if not update:
            shutil.rmtree(VENV)
        elif "Installing collected packages" not in LOG.read_text("utf-8", "replace"):
            STAMP.write_text(json.dumps(before))  # pip has changed nothing yet
        sys.exit(
            f"{failed}: the packages could not be installed. If the package index cannot be "
            f"reached, name another: PIP_ARGS='--index-url URL' (log: {log})."
        )
    # Relative, so that it still holds after the folder was moved.
    FINDER.write_text(os.path.relpath(ROOT, FINDER.parent) + "\n")
    STAMP.write_text(json.dumps(stamp))


if __name__ == "__main__":
    try:
        with PINS.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("Waiting for another call that makes .venv.", flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError:
                pass  # a file system without locks
            make(lock.fileno())
    except KeyboardInterrupt:
        sys.exit("Interrupted: the next call makes .venv complete.")
    except OSError as error:
        sys.exit(str(error))
