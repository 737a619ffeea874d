"""Records on disk: one file per cell, named after the cell's identity and written atomically."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import orjson

from harness.errors import StoreError, UnknownNameError
from harness.files import write_atomically

SCHEMA = 2
"""Version of the record format; a store of a newer one is refused."""


Value = TypeVar("Value")


class Named(dict[str, Value]):
    """A mapping that says which names it has where one is asked for that it lacks.

    Parameters
    ----------
    items : mapping or iterable of pairs
        As for a dict.
    what : str
        What has these names.

    Raises
    ------
    UnknownNameError
        By `named[name]`, where there is no such name.
    """

    def __init__(
        self, items: Mapping[str, Value] | Iterable[tuple[str, Value]] = (), *, what: str = "name"
    ) -> None:
        super().__init__(items)
        self._what = what

    def __missing__(self, name: str) -> Value:
        raise UnknownNameError.nearest(str(name), self, what=self._what)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """The measurement of one cell.

    Parameters
    ----------
    id : str
        The cell's identity, SHA-256 in hexadecimal.
    cell : mapping
        The cell's canonical settings.
    values : mapping of str to float
        Final distances and other numbers, one per name; may be non-finite.
    traces : mapping of str to tuple of float
        Numbers along a run, all of the length of ``traces["iteration"]``.
    outcome : str
        How the inversion ended ("plateau", "diverged", ...); "measured" for all other cells.
    labels : mapping of str to str
        Names of what was sampled ("image": "astronaut").
    thumbnails : mapping of str to str
        PNG images in base64 by name ("target", "start", "noised", "reconstruction"), for one
        replicate per condition.
    provenance : mapping
        Commit, dirty flag, package versions, device, precision flags.
    seconds : float
        Wall time of the cell.
    """

    id: str
    cell: Mapping[str, object]
    values: Mapping[str, float]
    outcome: str
    seconds: float
    traces: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    thumbnails: Mapping[str, str] = dataclasses.field(default_factory=dict)
    provenance: Mapping[str, object] = dataclasses.field(default_factory=dict)


WEIGHTS = "weights"
"""The folder of trained weights in a store."""

ABANDONED = 3600.0
"""Seconds after which a partial file is abandoned: writing takes less than one."""

FORGOTTEN = 28 * 86400.0
"""Seconds after which a checkpoint is abandoned: a running process writes one every few hours."""


class Store:
    """A folder of records.

    Parameters
    ----------
    folder : Path
        Made if missing.

    Raises
    ------
    StoreError
        If the folder cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running = folder / "running"
        """Checkpoints of runs in progress."""
        self.weights = folder / WEIGHTS
        """Trained weights."""
        self._records = folder / "records"
        try:
            self._records.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._records):
                pass
        except OSError as error:
            raise StoreError(
                folder,
                rule=f"the store has to be a folder that can be written ({error.strerror})",
                remedy="Choose another with --store DIR",
            ) from error

    def __contains__(self, identity: str) -> bool:
        return self._path(identity).exists()

    def __iter__(self) -> Iterator[str]:
        """Identities of all records, sorted."""
        return iter(sorted(path.stem for path in self._records.glob("*/*.json")))

    def read(self, identity: str) -> Record:
        """The record of an identity.

        Raises
        ------
        StoreError
            If it is missing, damaged, or of a newer schema.
        """
        path = self._path(identity)
        try:
            text = path.read_bytes()
        except OSError as error:
            raise StoreError(
                path, rule=f"the record cannot be read ({error.strerror})", remedy="Run again"
            ) from error
        return _decode(text, path=path, identity=identity)

    def write(self, record: Record) -> None:
        """Write a record atomically.

        Raises
        ------
        StoreError
            If the store cannot be written.
        """
        path = self._path(record.id)
        try:
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, _encode(record))
        except OSError as error:
            raise StoreError(
                path,
                rule=f"the record cannot be written ({error.strerror})",
                remedy="Free space, or choose another store with --store DIR",
            ) from error

    def sweep(self) -> None:
        """Remove the partial files of killed writers, and checkpoints that are weeks old."""
        running = (self.running, self.weights / "running")
        _remove(self._records.glob("*/.*.part"), older=ABANDONED)
        for folder in (self.weights, *running):
            _remove(folder.glob(".*.part"), older=ABANDONED)
        for folder in running:
            _remove(folder.glob("*.safetensors"), older=FORGOTTEN)

    def _path(self, identity: str) -> Path:
        return self._records / f"{identity[:2]}/{identity}.json"


def _remove(paths: Iterable[Path], *, older: float) -> None:
    for path in paths:
        # Another run may be sweeping at the same time.
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > older:
                path.unlink()


_BEFORE, _AFTER = b'{"record": ', b', "schema": '


def _encode(record: Record) -> bytes:
    body = dataclasses.asdict(record)
    body["values"] = {key: _to_json(value) for key, value in record.values.items()}
    body["traces"] = {
        key: [_to_json(value) for value in values] for key, values in record.traces.items()
    }
    text = json.dumps(body, sort_keys=True, allow_nan=False)
    envelope = {
        "schema": SCHEMA,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "record": body,
    }
    return json.dumps(envelope, sort_keys=True, allow_nan=False).encode()


def _decode(content: bytes, *, path: Path, identity: str) -> Record:
    try:
        envelope = orjson.loads(content)
        schema = envelope["schema"]
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(path) from error
    if not isinstance(schema, int) or schema > SCHEMA:
        raise StoreError(
            path,
            rule=f"the record has schema {schema}, this version reads up to {SCHEMA}",
            remedy="Update depth-claims, or choose another store with --store DIR",
        )
    try:
        body = envelope["record"]
        # `record` is the first of the sorted keys, so that these are exactly the bytes hashed.
        text = content[len(_BEFORE) : content.rindex(_AFTER)]
        if hashlib.sha256(text).hexdigest() != envelope["sha256"]:
            raise _damaged(path)
        if schema == 1:
            body["outcome"] = body.pop("status")
            thumbnails = body["thumbnails"]
            if "copy" in thumbnails:
                thumbnails["reconstruction"] = thumbnails.pop("copy")
            body["values"] = {
                key.replace("copy_to_", "reconstruction_to_"): value
                for key, value in body["values"].items()
            }
        values = {key: float(value) for key, value in body["values"].items()}
        traces = {key: tuple(map(float, own)) for key, own in body["traces"].items()}
        body["values"] = Named(values, what="value in this record")
        body["traces"] = Named(traces, what="trace in this record")
        body["labels"] = Named(body["labels"], what="label in this record")
        record = Record(**body)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(path) from error
    if record.id != identity:
        raise _damaged(path)
    return record


def _damaged(path: Path) -> StoreError:
    return StoreError(
        path,
        rule="the record is damaged (not what was written)",
        remedy="Delete this file; the next run measures the cell again",
    )


# Strict JSON has no non-finite numbers; they are written as strings, which `float` reads.
def _to_json(value: float) -> float | str:
    number = float(value)
    return number if number - number == 0 else repr(number)
