"""Make the project's environment, `.venv`, where it is missing or out of date; called by make.

It holds the project's dependencies and those of its extras `test` and `EXTRAS`, in the versions
that `constraints.txt` pins. Arguments are passed on to pip. A stamp says what it was made from, and
is empty until it is whole.
"""

import sys

# First, and like the whole file in syntax that an old Python can still parse.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        "Python {}.{}.{} ({}): the project needs Python 3.11 or newer. Name one: "
        "make PYTHON=python3.12 ...".format(*sys.version_info[:3], sys.executable)
    )

import fcntl
import json
import os
import shutil
import subprocess
import sysconfig
import tomllib
from importlib.util import find_spec
from pathlib import Path

VENV = Path(".venv").absolute()
PYTHON, STAMP = VENV / "bin/python", VENV / "depth-claims.json"
# The environment's Python imports from the folder that such a file names.
FINDER = Path(sysconfig.get_path("purelib", "venv", {"base": str(VENV)}), "depth-claims.pth")
PIP = (
    "-m pip install --quiet --progress-bar off --no-input --disable-pip-version-check "
    "--log build/environment.log --constraint constraints.txt"
)


def make(lock: int) -> None:
    """Make the environment or bring it up to date, unless it is current."""
    made_by = {"python": sys.version, "pip_args": sys.argv[1:]}
    # One without a stamp was made by hand, and is added to.
    before = json.loads(STAMP.read_text() or "{}") if STAMP.exists() else made_by
    project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
    optional = project["optional-dependencies"]
    extras = {"test", *os.environ.get("EXTRAS", "").split()}
    for unknown in extras - {*optional}:
        sys.exit(f"EXTRAS={unknown}: no such extra. Choose {' or '.join(optional)}.")
    extras |= {*before.get("extras", ())} & {*optional}
    needed = project["dependencies"] + [one for extra in sorted(extras) for one in optional[extra]]
    pins = Path("constraints.txt").read_text()
    stamp = {**made_by, "extras": sorted(extras), "needed": needed, "pins": pins}
    if before == stamp and PYTHON.exists():
        return

    # An interrupted one is made anew, for pip takes a half-unpacked package for a whole one; so is
    # one by other PIP_ARGS, for pip keeps a build of torch that meets the pin.
    update = PYTHON.exists() and made_by.items() <= before.items()
    for module in () if update else ("venv", "ensurepip"):
        if find_spec(module) is None:
            sys.exit(
                f"{sys.executable}: this Python cannot make an environment, it has no module "
                f"{module}. Install it (Debian, Ubuntu: apt-get install "
                f"python3.{sys.version_info[1]}-venv), or name another: make PYTHON=python3.12 ..."
            )
    print("Updating" if update else "Making", ".venv: takes some minutes.", flush=True)
    if not update and VENV.exists():
        shutil.rmtree(VENV)
    VENV.mkdir(exist_ok=True)
    STAMP.write_text("")
    venv = [] if update else [[sys.executable, "-m", "venv", VENV]]
    for command in (*venv, [PYTHON, *PIP.split(), *sys.argv[1:], *needed]):
        # The child holds the lock as well: if this process is killed, the next waits for it.
        done = subprocess.run(command, pass_fds=[lock], stderr=subprocess.PIPE, text=True)
        if done.returncode:
            STAMP.write_text(json.dumps(before) if update else "")
            lines = done.stderr.splitlines() or ["no output"]
            error = next((line for line in lines if line.startswith("ERROR")), lines[-1])
            sys.exit(
                f"{error}: the packages could not be installed. If the package index cannot be "
                "reached, name another: PIP_ARGS='--index-url URL' (log: build/environment.log)."
            )
    FINDER.write_text(os.path.relpath(".", FINDER.parent) + "\n")  # also where both have moved
    STAMP.write_text(json.dumps(stamp))
    print(".venv is ready: make uses it; for other commands, . .venv/bin/activate", flush=True)


if __name__ == "__main__":
    try:
        with open("constraints.txt") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            make(file.fileno())
    except KeyboardInterrupt:
        sys.exit("Interrupted: the next call makes .venv complete.")
    except OSError as error:
        sys.exit(str(error))
