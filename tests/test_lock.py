"""Locked verdicts: the file, and what a decision means in its light."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.claim import Criterion, Scale, event
from harness.errors import LockError
from harness.verdict.evidence import Effect, Part, Replicate
from harness.verdict.lock import (
    Entry,
    Lock,
    Locked,
    LockStatus,
    compare,
    condition_key,
    diff,
    read_lock,
    write_lock,
)
from harness.verdict.verdict import Decision, Verdict, decide

S, R, M, U, X, N, T = Verdict  # the order of their definition
CRITERION = Criterion(effect="r", label="r", below=0.25)
KEY = "A1 layer=conv1"


def decision(verdict: Verdict, *, value: float | None = None) -> Decision:
    parts = ()
    if value is not None:
        effect = Effect(
            name="r", label="r", value=value, low=value - 1, high=None, level=0.998,
            scale=Scale.LINEAR,
        )  # fmt: skip
        part = Part(
            criterion=CRITERION, events=12, n=12, p_supported=0.1, p_refuted=1.0, effect=effect
        )
        parts = (part,)
    return Decision(verdict=verdict, reason="its reason", n=12, parts=parts)


def locked(verdict: Verdict, claim: str = "abc", **effects: Locked) -> Entry:
    return Entry(verdict=verdict, claim=claim, effects=effects)


# --- outcomes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lock", "now", "status"),
    [
        (None, S, LockStatus.PASS),
        (None, R, LockStatus.FAIL),
        (None, M, LockStatus.FAIL),
        *[(None, verdict, LockStatus.SKIP) for verdict in (U, X, N, T)],
        (S, S, LockStatus.PASS),
        (S, R, LockStatus.FAIL),
        (S, M, LockStatus.FAIL),
        (R, S, LockStatus.FAIL),
        (R, R, LockStatus.XFAIL),
        (R, M, LockStatus.FAIL),
        (M, M, LockStatus.XFAIL),
        (M, S, LockStatus.FAIL),
        *[(lock, verdict, LockStatus.SKIP) for lock in Verdict for verdict in (U, X, N, T)],
        (U, S, LockStatus.PASS),
        (U, R, LockStatus.FAIL),
        (X, R, LockStatus.FAIL),
    ],
)
def test_outcome(lock: Verdict | None, now: Verdict, status: LockStatus) -> None:
    entry = None if lock is None else locked(lock)
    outcome = compare(entry, decision(now), "abc")
    assert outcome.status is status
    decided = lock in (S, R, M)
    # Of these only a decision that is open again is a warning.
    assert (outcome.warning is not None) == (decided and now in (U, X, N, T))


def test_a_changed_claim_drops_its_lock_and_says_so() -> None:
    recurring = compare(locked(R, claim="old"), decision(R), "abc")
    assert recurring.status is LockStatus.FAIL
    contrary = compare(locked(R, claim="old"), decision(S), "abc")
    assert contrary.status is LockStatus.PASS
    assert recurring.dropped is contrary.dropped is R
    assert compare(locked(R), decision(R), "abc").dropped is None


@pytest.mark.parametrize(
    ("entry", "moved"),
    [
        (Locked(value=0.1, low=0.05, high=0.2), False),
        (Locked(value=0.1, low=0.05, high=0.09), True),
        (Locked(value=0.2, low=0.11, high=None), True),
        (Locked(value=0.2, low=None, high=None), False),
        (Locked(value=0.1, low=0.1, high=0.1), False),
    ],
)
def test_an_effect_that_leaves_its_interval_is_a_warning(entry: Locked, moved: bool) -> None:
    outcome = compare(locked(S, r=entry, gone=Locked(value=9.0)), decision(S, value=0.1), "abc")
    assert outcome.status is LockStatus.PASS
    assert (outcome.warning is not None) == moved


def test_what_rounding_leaves_may_move() -> None:
    entry = locked(S, r=Locked(value=0.1, low=0.05, high=0.09))
    now = decision(S, value=0.1)
    assert compare(entry, now, "abc").warning is not None
    assert compare(entry, now, "abc", rounding=True).warning is None


def test_an_effect_on_its_limit_has_not_left_it() -> None:
    third = decision(R, value=1 / 3)
    entry = Entry.of(third, "abc")
    assert entry.n == 12
    constant = locked(R, r=Locked(value=0.333333, low=0.333333, high=0.333333))
    assert entry.effects["r"].value == 0.333333
    assert compare(constant, third, "abc").warning is None


@pytest.mark.parametrize("verdict", list(Verdict))
def test_report_only_ignores_locks(verdict: Verdict) -> None:
    for lock in Verdict:
        outcome = compare(locked(lock), decision(verdict), "abc", report_only=True)
        assert outcome.status is (LockStatus.PASS if verdict is S else LockStatus.SKIP)
        assert outcome.warning is outcome.dropped is None


# --- the file -------------------------------------------------------------------------------

LOCK = Lock(
    profiles={
        "quick": {
            KEY: locked(S, r=Locked(value=0.12, low=0.1, high=0.15)),
            'B8 label="odd" é=1': locked(R, r=Locked(value=1.0), q=Locked(value=-2.5, low=-3.0)),
            "C1": locked(T),
        },
        "standard": {KEY: locked(M)},
    }
)


def test_the_file_is_sorted(tmp_path: Path) -> None:
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    write_lock(LOCK, first)
    reversed_ = {
        profile: dict(reversed(entries.items()))
        for profile, entries in reversed(LOCK.profiles.items())
    }
    write_lock(Lock(profiles=reversed_), second)
    assert first.read_bytes() == second.read_bytes()


limits = st.none() | st.floats(-1e9, 1e9)
entries = st.builds(
    Entry,
    verdict=st.sampled_from(Verdict),
    claim=st.text("0123456789abcdef", max_size=8),
    n=st.none() | st.integers(0, 48),
    effects=st.dictionaries(
        st.text(max_size=5),
        st.builds(Locked, value=st.floats(-1e9, 1e9), low=limits, high=limits),
        max_size=2,
    ),
)
profiles = st.dictionaries(
    st.sampled_from(["quick", "standard", "article"]),
    st.dictionaries(st.text(max_size=12), entries, min_size=1, max_size=3),
)


@given(profiles)
@settings(deadline=None, max_examples=15)
def test_any_lock_survives_the_file(
    tmp_path_factory: pytest.TempPathFactory, found: dict[str, dict[str, Entry]]
) -> None:
    file = tmp_path_factory.mktemp("lock") / "verdicts.toml"
    write_lock(Lock(profiles=found), file)
    assert read_lock(file) == Lock(profiles=found)


def test_no_file_is_an_empty_lock(tmp_path: Path) -> None:
    assert read_lock(tmp_path / "none.toml") == Lock()
    assert Lock().get("quick", KEY) is None


def test_a_lock_of_schema_1_is_read_with_todays_names(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.toml"
    file.write_text(
        'schema = 1\n[quick."B8/a part cut=layer4 decoder=l-bfgs, no blur"]\n'
        'claim = "abc"\nverdict = "supported"\n'
    )
    key = "B8/a part decoder=l-bfgs, no blur layer=layer4"
    assert read_lock(file) == Lock(profiles={"quick": {key: locked(S)}})


GOOD = """schema = 2

[quick."A1 layer=conv1"]
claim = "abc"
verdict = "supported"

[quick."A1 layer=conv1".effects.r]
value = 0.12
low = 0.1
"""
ENTRY = "['quick']['A1 layer=conv1']"


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ('claim = "abc"', "claim = abc", "line 4"),
        ("schema = 2", "schema = 3", "schema"),
        ('"supported"', '"suported"', f"{ENTRY}.verdict"),
        ('verdict = "supported"\n', "", f"{ENTRY}.verdict"),
        ('claim = "abc"', "claim = 3", f"{ENTRY}.claim"),
        ("value = 0.12\n", "", f"{ENTRY}.effects['r'].value"),
        ("low = 0.1", "low = nan", f"{ENTRY}.effects['r'].low"),
        ('verdict = "supported"', 'verdict = "supported"\nn = 1.5', f"{ENTRY}.n"),
        ('[quick."A1 layer=conv1".effects.r]\nvalue = 0.12\nlow = 0.1', "effects = 5", "effects"),
        ("schema = 2", "schema = 2\nstandard = 7", "['standard']"),
    ],
)
def test_what_is_malformed_is_named_with_its_key(
    tmp_path: Path, old: str, new: str, where: str
) -> None:
    assert GOOD.count(old) == 1
    file = tmp_path / "verdicts.toml"
    file.write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(LockError, match=re.escape(where)) as raised:
        read_lock(file)
    assert str(raised.value.value).startswith(str(file))


def test_what_cannot_be_read_or_written(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"\xe9")
    for file in (tmp_path, tmp_path / "latin"):
        with pytest.raises(LockError):
            read_lock(file)
    with pytest.raises(LockError):
        write_lock(LOCK, tmp_path / "no" / "folder.toml")


# --- updating -------------------------------------------------------------------------------


def test_updating_replaces_what_ran_and_keeps_the_rest() -> None:
    new = LOCK.updated("quick", {KEY: locked(R), "C1": locked(N), "Z": locked(U)})
    assert new.get("quick", KEY) == locked(R)
    assert new.get("quick", "C1") == locked(T)
    assert new.get("quick", "Z") == locked(U)
    assert new.profiles["standard"] == LOCK.profiles["standard"]
    assert LOCK.get("quick", KEY) != locked(R)


def test_updating_drops_what_belongs_to_no_claim() -> None:
    new = LOCK.updated("quick", {"Z": locked(U, claim="new")}, claims=["new"])
    assert list(new.profiles["quick"]) == ["Z"]


def test_updating_drops_conditions_that_are_stated_no_more() -> None:
    """The claim is as it was, but one of its parameters has gone."""
    stated = [KEY, "C1", "Z"]  # all were collected, and only Z was run
    new = LOCK.updated("quick", {"Z": locked(U)}, claims=["abc"], conditions=stated)
    assert set(new.profiles["quick"]) == {KEY, "C1", "Z"}
    assert new.profiles["standard"] == LOCK.profiles["standard"]
    told = diff(LOCK, new).splitlines()
    assert [line[0] for line in told] == ["-", "+"]
    assert told[0].startswith('- quick: B8 label="odd"')
    # A run that has collected a part alone cannot know.
    assert set(LOCK.updated("quick", {"Z": locked(U)}, claims=["abc"]).profiles["quick"]) == {
        *LOCK.profiles["quick"],
        "Z",
    }


def test_diff() -> None:
    new = LOCK.updated(
        "quick", {KEY: locked(R, claim="new", r=Locked(value=0.3, low=0.2)), "Z": locked(U)}
    )
    assert diff(LOCK, LOCK) == ""
    assert diff(LOCK, new) == (
        "~ quick: A1 layer=conv1: supported, r 0.12 [0.1, 0.15] -> "
        "refuted, r 0.3 [0.2, inf] (claim changed)\n"
        "+ quick: Z: inconclusive"
    )
    assert "- quick: Z: inconclusive" in diff(new, LOCK)


def test_keys() -> None:
    assert condition_key("A1", {}) == "A1"
    parameters = {"network": "resnet50", "layer": "conv1", "width": 64}
    key = condition_key("A1", parameters)
    assert key == "A1 layer=conv1 network=resnet50 width=64"
    assert condition_key("A1", dict(reversed(parameters.items()))) == key
    assert condition_key("C6", {"n": 1}, estimand="floor") == "C6/floor n=1"


def test_of_a_real_decision() -> None:
    values = [0.1 + i / 1000 for i in range(11)] + [math.nan]
    replicates = [Replicate(index=i, effects={"r": value}) for i, value in enumerate(values)]
    found = decide(event("r", CRITERION), replicates)
    expected = Entry(verdict=U, claim="abc", n=12, effects={"r": Locked(value=0.105)})
    assert Entry.of(found, "abc") == expected
