"""The store: what is written is read, whole or not at all, and damage is named."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import multiprocessing
import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import StoreError, UnknownNameError
from harness.files import write_atomically
from harness.store import SCHEMA, Record, Store

ID = hashlib.sha256(b"cell").hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


def record(identity: str = ID, **changes: object) -> Record:
    made = Record(
        id=identity,
        cell={"type": "Inversion", "iterations": 3, "network": {"widths": [1, 2]}},
        values={"m_i": 0.1 + 0.2, "m_g": math.inf, "rho": math.nan, "least": -math.inf},
        outcome="plateau",
        seconds=0.25,
        traces={"iteration": (0.0, 1.0), "m_i": (1e-300, math.nan)},
        labels={"image": "café"},
        thumbnails={"target": "iVBORw0KGgo="},
        provenance={"commit": None, "dirty": True, "packages": {"torch": "2.13.0"}},
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def path_of(store: Store, identity: str = ID) -> Path:
    (path,) = store.folder.rglob(f"{identity}.json")
    return path


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def text(one: Record) -> str:
    """A record with every digit, equal for equal records, nan included."""
    return json.dumps(dataclasses.asdict(one), sort_keys=True)


def same(first: float, second: float) -> bool:
    return first == second or (math.isnan(first) and math.isnan(second))


class TestRoundTrip:
    def test_a_record_comes_back_as_it_was(self, store: Store) -> None:
        written = record()
        assert ID not in store
        store.write(written)
        read = Store(store.folder).read(ID)
        assert ID in store
        assert list(store) == [ID]
        assert text(read) == text(written)
        assert isinstance(read.traces["m_i"], tuple)
        assert files(store.folder) == [f"{ID}.json"]

    @settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        values=st.dictionaries(st.text(max_size=5), st.floats(), max_size=4),
        trace=st.lists(st.floats(), max_size=5).map(tuple),
        label=st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    )
    def test_every_number_and_text_comes_back(
        self, store: Store, values: dict[str, float], trace: tuple[float, ...], label: str
    ) -> None:
        store.write(record(values=values, traces={"iteration": trace}, labels={"image": label}))
        read = store.read(ID)
        assert read.values.keys() == values.keys()
        assert all(same(read.values[key], value) for key, value in values.items())
        assert all(map(same, read.traces["iteration"], trace))
        assert len(read.traces["iteration"]) == len(trace)
        assert read.labels == {"image": label}

    def test_the_file_is_strict_json(self, store: Store) -> None:
        store.write(record())

        def refuse(constant: str) -> float:
            raise AssertionError(constant)

        content = json.loads(path_of(store).read_text(), parse_constant=refuse)
        assert content["schema"] == SCHEMA

    def test_a_record_that_is_not_there_is_named(self, store: Store) -> None:
        with pytest.raises(StoreError):
            store.read(ID)

    def test_a_name_that_a_record_lacks_is_answered_with_those_it_has(self, store: Store) -> None:
        store.write(record())
        found = store.read(ID)
        mappings: tuple[Mapping[str, object], ...] = found.values, found.traces, found.labels
        for mapping in mappings:
            with pytest.raises(UnknownNameError) as caught:
                mapping["absent"]
            assert all(name in caught.value.remedy for name in mapping)
            assert mapping.get("absent") is None


class TestAtomicity:
    @pytest.mark.parametrize(("step", "before"), [("replace", False), ("fsync", True)])
    def test_a_failure_leaves_what_was_there(
        self, store: Store, monkeypatch: pytest.MonkeyPatch, step: str, before: bool
    ) -> None:
        if before:
            store.write(record())

        def full(*arguments: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, step, full)
            with pytest.raises(StoreError):
                store.write(record(outcome="diverged"))
        assert files(store.folder) == ([f"{ID}.json"] if before else [])
        if before:
            assert store.read(ID).outcome == "plateau"

    @pytest.mark.slow
    def test_a_kill_between_leaves_no_record(self, store: Store) -> None:
        # os._exit, like a kill, runs no clean-up.
        process = multiprocessing.get_context("spawn").Process(target=_die_writing, args=(store,))
        process.start()
        process.join(60)
        assert process.exitcode == 9
        assert ID not in store
        assert list(store) == []
        store.write(record())
        assert list(store) == [ID]

    def test_what_killed_writers_left_is_swept_up_and_nothing_else(self, store: Store) -> None:
        store.write(record())
        record_folder = path_of(store).parent
        store.running.mkdir()
        for folder in (record_folder, store.running):
            for name in (".old.part", ".young.part", "old.part", ".old.json"):
                (folder / name).touch()
        mine = store.folder / ".mine.part"
        mine.touch()
        for path in store.folder.rglob("*"):
            if path.is_file() and "young" not in path.name:
                os.utime(path, (0, 0))
        before = set(files(store.folder))
        Store(store.folder).sweep()
        assert before - set(files(store.folder)) == {".old.part"}
        assert len(list(store.folder.rglob(".old.part"))) == 0
        assert mine.exists()
        assert ID in store

    def test_checkpoints_are_swept_up_once_they_are_weeks_old(self, store: Store) -> None:
        now = time.time()
        for folder in (store.running, store.weights / "running", store.weights):
            folder.mkdir(parents=True, exist_ok=True)
            for name, days in (("old", 40), ("recent", 7), ("old.0", 40)):
                path = folder / f"{name}.safetensors"
                path.touch()
                os.utime(path, (now - days * 86400,) * 2)
        Store(store.folder).sweep()
        for folder in (store.running, store.weights / "running"):
            assert [path.name for path in folder.iterdir()] == ["recent.safetensors"]
        # Weights themselves are no checkpoints.
        assert len(list(store.weights.glob("*.safetensors"))) == 3

    @pytest.mark.slow
    def test_many_writers_of_one_record_leave_one_whole(self, store: Store) -> None:
        context = multiprocessing.get_context("spawn")
        writers = [
            context.Process(target=_write_often, args=(store, name)) for name in ("a", "b", "c")
        ]
        for writer in writers:
            writer.start()
        while any(writer.is_alive() for writer in writers):
            if ID in store:
                assert len(set(store.read(ID).labels["image"])) == 1
        for writer in writers:
            writer.join(60)
        assert [writer.exitcode for writer in writers] == [0, 0, 0]
        assert files(store.folder) == [f"{ID}.json"]
        assert store.read(ID).labels["image"] in {"a" * 5000, "b" * 5000, "c" * 5000}

    def test_others_may_read_what_is_written(self, tmp_path: Path) -> None:
        # As of any file, who may read it is for the umask to say.
        plain = tmp_path / "plain"
        plain.touch()
        write_atomically(tmp_path / "whole", b"content")
        assert (tmp_path / "whole").stat().st_mode == plain.stat().st_mode


def _die_writing(store: Store) -> None:
    os.replace = lambda *arguments: os._exit(9)  # type: ignore[assignment]
    store.write(record())


def _write_often(store: Store, name: str) -> None:
    for _ in range(25):
        store.write(record(labels={"image": name * 5000}))


class TestDamage:
    @pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
    def test_a_truncated_record_is_named(self, store: Store, share: float) -> None:
        store.write(record())
        path = path_of(store)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(StoreError):
            store.read(ID)
        # and is not mistaken for one that is absent, which would be measured again in silence
        assert ID in store

    @settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def test_a_flipped_bit_is_found_or_changes_nothing(
        self, store: Store, place: float, bit: int
    ) -> None:
        store.write(record())
        path = path_of(store)
        content = bytearray(path.read_bytes())
        content[int(place * len(content))] ^= 1 << bit
        path.write_bytes(content)
        try:
            read = store.read(ID)
        except StoreError as error:
            assert ID in str(error)  # noqa: PT017  (either may happen)
        else:
            # "1E-300" is the number that "1e-300" was.
            assert text(read) == text(record())

    def test_swapped_records_are_found(self, store: Store) -> None:
        store.write(record())
        store.write(record(OTHER))
        path_of(store).write_bytes(path_of(store, OTHER).read_bytes())
        assert store.read(OTHER) is not None
        with pytest.raises(StoreError):
            store.read(ID)

    @pytest.mark.parametrize(
        "content",
        ["[]", "null", '{"schema": 1}', '{"schema": 1, "record": [], "sha256": ""}'],
    )
    def test_other_json_is_damage(self, store: Store, content: str) -> None:
        store.write(record())
        path_of(store).write_text(content)
        with pytest.raises(StoreError):
            store.read(ID)

    @pytest.mark.parametrize("change", [{"extra": 1}, {"values": None}, {"traces": {"m_i": 1}}])
    def test_a_record_of_another_make_is_damage(
        self, store: Store, change: Mapping[str, object]
    ) -> None:
        # Its digest is right, its content is not.
        store.write(record())
        path = path_of(store)
        body = {**json.loads(path.read_text())["record"], **change}
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        path.write_text(json.dumps({"schema": SCHEMA, "sha256": digest, "record": body}))
        with pytest.raises(StoreError):
            store.read(ID)

    def test_a_record_of_the_first_schema_has_its_names_of_today(self, store: Store) -> None:
        store.write(record())
        path = path_of(store)
        body = json.loads(path.read_text())["record"]
        body["status"] = body.pop("outcome")
        body["thumbnails"] = {"copy": "iVBORw0KGgo="}
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        old = {"schema": 1, "sha256": digest, "record": body}
        path.write_text(json.dumps(old, sort_keys=True))
        found = store.read(ID)
        assert (found.outcome, list(found.thumbnails)) == ("plateau", ["reconstruction"])

    @pytest.mark.parametrize("schema", [SCHEMA + 1, 99, "2"])
    def test_a_newer_schema_is_refused(self, store: Store, schema: object) -> None:
        store.write(record())
        path = path_of(store)
        content = {**json.loads(path.read_text()), "schema": schema}
        path.write_text(json.dumps(content))
        with pytest.raises(StoreError):
            store.read(ID)


class TestUnwritable:
    def test_a_file_in_its_place(self, tmp_path: Path) -> None:
        place = tmp_path / "store"
        place.write_text("mine")
        for folder in (place, place / "below"):
            with pytest.raises(StoreError):
                Store(folder)
        assert place.read_text() == "mine"
