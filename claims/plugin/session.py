"""One run of the claims, from collection to report."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import shlex
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import pytest

from claims.plugin.forecast import forecast
from claims.plugin.options import Options
from claims.plugin.progress import ConsoleProgress
from claims.plugin.registry import all_claims, in_order
from harness.claim import Claim, Kind, freeze
from harness.errors import ClaimError, OptionError
from harness.execution.device import resolve_device
from harness.execution.provenance import provenance
from harness.execution.scheduler import Scheduler
from harness.lab.condition import Condition
from harness.lab.lab import Custom, Lab
from harness.lab.runner import Runner, not_run
from harness.plan.seeds import ReplicateSeeds, seeding
from harness.store import WEIGHTS, Store
from harness.verdict.lock import (
    Entry,
    Lock,
    LockOutcome,
    compare,
    condition_key,
    diff,
    read_lock,
    write_lock,
)
from harness.verdict.results import ENDED_BEFORE, NOT_SELECTED, ConditionResult, Run
from reports.documents.archive import archive_run, latest
from reports.summary import full_name
from reports.write import write_report

LOCK = Path("claims", "verdicts.toml")
"""The locked verdicts, below the root folder of a run."""

Parameters = Mapping[str, str | int | float]
"""What a test is parametrized with."""


class ClaimSession:
    """The state of a run: its conditions and its results.

    Nothing is read, written or started before a test needs it, so that a run without claims, or
    one that only collects them, leaves no trace.

    Parameters
    ----------
    root : Path
        Root folder of the run, where the lock is.

    Attributes
    ----------
    whole : bool
        Whether every condition in the collected files is known.
    """

    def __init__(self, options: Options, *, root: Path, progress: ConsoleProgress) -> None:
        self.options = options
        self.conditions: list[Condition] = []
        self.whole = False
        self.run: Run | None = None
        self.report: Path | None = None
        self.lock_changes: str | None = None
        self._root = root
        self._progress = progress
        self._nodeids: list[str] = []
        self._selected: Sequence[int] = ()
        self._results: dict[int, ConditionResult] = {}
        self._errors: dict[int, str] = {}
        self._warnings: list[str] = []
        self._dropped: list[str] = []
        self._scheduler: Scheduler | None = None
        self._runner: Runner | None = None
        self._began = time.monotonic()

    @property
    def custom(self) -> Custom:
        """The user's own subjects."""
        return self.options.custom

    @functools.cached_property
    def device(self) -> str:
        """The device to measure on; a named one was checked, or is the workers'."""
        return resolve_device("auto") if self._auto else self.options.device

    @property
    def _auto(self) -> bool:
        return self.options.device == "auto"

    @functools.cached_property
    def lock(self) -> Lock:
        """The verdicts that are locked.

        Raises
        ------
        LockError
            If their file cannot be read.
        """
        return read_lock(self._root / LOCK)

    @property
    def ids(self) -> tuple[str, ...]:
        """The claims whose tests were collected, selected or not."""
        return tuple(
            claim.id for claim in in_order(condition.claim for condition in self.conditions)
        )

    @property
    def digests(self) -> dict[str, str]:
        """Keys of the conditions that decide a claim, each with the claim's digest."""
        return {
            _key(condition): condition.claim.digest
            for condition in self.conditions
            if condition.confirmatory
        }

    @property
    def started(self) -> bool:
        """Whether a test has asked for measurements."""
        return self._runner is not None

    @property
    def report_text(self) -> str | None:
        """Where the report is, in words."""
        if self.report is None or self.run is None:
            return None
        line = f"report: {self.report}{'' if self.run.whole else ' (of a partial run)'}"
        if self.run.whole or not latest(self.options.store).whole:
            return line
        words = ["python", "-m", "reports", "build", "--store", str(self.options.store)]
        again = shlex.join([*words, "--report", str(self.options.report)])
        return f"{line}\nthat of the last whole run again: {again}"

    @property
    def warnings(self) -> list[str]:
        """Notes on the user's own subjects, and warnings of the lock, one for all conditions that
        share a cause."""
        found = [*self.options.notes, *self._warnings]
        if self.lock_changes is not None:
            return found
        if self._dropped:
            found.append(
                "claims have changed since they were locked, so that these locks are dropped: "
                f"{', '.join(self._dropped)}; lock the new verdicts with --update-verdicts"
            )
        if self.run is not None:
            found += [
                f"{option}: nothing that was measured has to do with it"
                for option in self._without_effect
            ]
        gone = self._stale_locks()
        if gone:
            found.append(
                f"no claim has these locked conditions: {', '.join(gone)}; --update-verdicts "
                "drops them"
            )
        return found

    # --- collecting -------------------------------------------------------------------------

    def lab(
        self, *, parameters: Parameters, receive: Callable[[Condition], None], folder: Path
    ) -> Lab:
        """A lab for one test, whose file is in a folder."""
        return Lab(
            profile=self.options.profile,
            custom=self.custom,
            precision=self.options.precision,
            parameters=parameters,
            receive=receive,
            device=self.device,
            weights=self.options.store / WEIGHTS,
            imagenet=self.options.imagenet,
            folder=folder,
        )

    def plan(
        self, test: Callable[..., None], *, parameters: Parameters, nodeid: str, folder: Path
    ) -> int | None:
        """Let a test state its condition without measuring it.

        Returns
        -------
        int or None
            The condition's number; None if the test fails or skips before it states one, as pytest
            will report when the test runs.

        Raises
        ------
        ClaimError
            If it states several, or one that another test has stated.
        """
        stated: list[Condition] = []
        try:
            lab = self.lab(parameters=parameters, receive=stated.append, folder=folder)
            test(lab=lab, **parameters)
            for condition in stated:
                condition.cells_up_to(condition.sizes[0])
        except (Exception, pytest.skip.Exception, pytest.fail.Exception):
            return None
        if len(stated) > 1:
            raise ClaimError(
                nodeid,
                rule=f"a test states one condition of a claim, and this one states {len(stated)}",
                remedy="Parametrize it",
            )
        return self.add(stated[0], nodeid=nodeid) if stated else None

    def add(self, condition: Condition, *, nodeid: str) -> int:
        """Note a condition that a test has stated; returns its number.

        Raises
        ------
        ClaimError
            If another test has stated the same one: they would share a locked verdict.
        """
        for other, owner in zip(self.conditions, self._nodeids, strict=True):
            if condition.claim.id == other.claim.id and _key(condition) == _key(other):
                raise ClaimError(
                    nodeid,
                    rule=f"the condition {_key(condition)!r} is that of {owner}, too",
                    remedy="Give one of them another parameter or another estimand",
                )
        quick = self.options.profile.name == "quick"
        self.conditions.append(
            dataclasses.replace(
                condition,
                # `quick` measures neither a crossed block nor a multiverse.
                family=None if quick else condition.family,
                varied=not quick and self._varied(condition),
            )
        )
        self._nodeids.append(nodeid)
        return len(self.conditions) - 1

    def _varied(self, condition: Condition) -> bool:
        """Whether the multiverse around a condition is measured: in `standard` around one condition
        of each headline, in `article` around all of a claim's first estimand."""
        if not condition.confirmatory or not condition.inverts:
            return False
        varied = [other for other in self.conditions if other.varied]
        if self.options.profile.name == "standard":
            headline = condition.claim.headline
            return headline is not None and all(
                other.claim.headline != headline for other in varied
            )
        return all(
            other.estimand == condition.estimand
            for other in varied
            if other.claim == condition.claim
        )

    def select(self, numbers: Sequence[int]) -> None:
        """The conditions that will run, in their order."""
        self._selected = numbers

    def plan_text(self) -> str:
        """What would be measured; see `claims.plugin.forecast`."""
        # Opening a store makes its folder.
        folder = self.options.store
        stored = Store(folder).__contains__ if folder.exists() else _nothing
        chosen = [self.conditions[number] for number in self._selected]
        return forecast(chosen, stored=stored, device=self.device)

    # --- running ----------------------------------------------------------------------------

    def judge(self, number: int) -> tuple[ConditionResult, LockOutcome]:
        """Measure and decide a condition, and compare it with its lock."""
        condition = self.conditions[number]
        try:
            used = self._used(condition)
            skipped = condition.skip_reason is not None
            command = self._command(number, given=self.custom.described() if skipped else used)
            result = self._ready().run(condition, label=full_name(condition), command=command)
        except Exception as error:
            self._errors[number] = f"{type(error).__name__}: {error}".splitlines()[0]
            raise
        finally:
            self._progress.clear()
        result = dataclasses.replace(result, custom=used)
        self._results[number] = result
        custom = bool(self.custom.described())
        outcome = compare(
            self.lock.get(self.options.profile.name, _key(condition)),
            result.decision,
            condition.claim.digest,
            report_only=custom or condition.external_weights or not condition.confirmatory,
            rounding=condition.claim.estimands[condition.estimand].kind is Kind.EXACT,
        )
        if outcome.warning is not None:
            self._warnings.append(f"{full_name(condition)}: {outcome.warning}")
        if outcome.dropped is not None:
            self._dropped.append(f"{full_name(condition)} ({outcome.dropped})")
        return result, outcome

    def finish(self, *, complete: bool) -> None:
        """End the workers; write the report and, with --update-verdicts, the lock.

        Parameters
        ----------
        complete : bool
            Whether every selected test ran; otherwise the lock is not changed.
        """
        if self._scheduler is not None:
            self._scheduler.close()
        if self._runner is None:
            return
        self.run = run = self._make_run()
        store = Store(self.options.store)
        # Archived first, so that the report can be made again if its folder turns out unwritable.
        archive_run(run, store)
        self.report = write_report(run, store, self.options.report)
        if self.options.update_verdicts and complete:
            self._update_lock()

    def _ready(self) -> Runner:
        """The runner, made when a test first needs it, with all first looks queued."""
        if self._runner is None:
            store = Store(self.options.store)
            _check_writable(self.options.report)
            # Imported now, so that a broken file of claims is reported before anything is measured.
            all_claims(self._root, planned=())
            self._scheduler = Scheduler(
                store,
                executor=self.options.executor,
                device=self.device,
                auto=self._auto,
                provenance=self._provenance,
                progress=self._progress,
            )
            runner = Runner(store=store, scheduler=self._scheduler, device=self.device)
            runner.prepare(self.conditions[number] for number in self._selected)
            self._scheduler.start()
            # From here on the run has a report.
            self._runner = runner
        return self._runner

    @functools.cached_property
    def _provenance(self) -> dict[str, object]:
        return provenance(device=self.device, precision=self.options.precision)

    @functools.cached_property
    def _claims(self) -> tuple[Claim, ...]:
        """Every claim, collected or not."""
        return all_claims(self._root, planned=[condition.claim for condition in self.conditions])

    def _make_run(self) -> Run:
        used = self._runner.used if self._runner else set()
        measured = self._scheduler.measured if self._scheduler else set()
        workers = self._scheduler.workers if self._scheduler else None
        return Run(
            profile=self.options.profile.name,
            device=self.device,
            claims_digest=freeze(self._claims),
            claims=self._claims,
            conditions=tuple(map(self._result, range(len(self.conditions)))),
            provenance={
                **self._provenance,
                **({"workers": workers} if workers else {}),
                "seeds": seeding(),
                **({"without_effect": unused} if (unused := self._without_effect) else {}),
            },
            measured=len(measured),
            reused=len(used - measured),
            seconds=time.monotonic() - self._began,
            ended=dt.datetime.now().astimezone().isoformat(timespec="seconds"),
            custom={
                name: text
                for name, text in self.custom.described().items()
                if name in self._of_ones_own
            },
            every_condition=self._every_condition,
            multiverses=self._runner.multiverses if self._runner else {},
            components=self._runner.components if self._runner else {},
        )

    def _result(self, number: int) -> ConditionResult:
        if number in self._results:
            return self._results[number]
        if number in self._errors:
            reason = f"an error ended its test ({self._errors[number]})"
        elif number in self._selected:
            reason = ENDED_BEFORE
        else:
            reason = NOT_SELECTED
        command = self._command(number, given=self.custom.described())
        return not_run(self.conditions[number], reason=reason, command=command)

    @property
    def _every_condition(self) -> bool:
        """Whether the conditions known are those of all claims."""
        stated = {condition.claim.id for condition in self.conditions}
        return self.whole and stated >= {claim.id for claim in self._claims}

    def _stale_locks(self) -> list[str]:
        """Locked conditions that no claim has; empty unless the run knows all conditions."""
        if self.run is None or not self.run.whole or self.custom.described():
            return []
        locked = self.lock.profiles.get(self.options.profile.name, {})
        return sorted(locked.keys() - self.digests.keys())

    def _update_lock(self) -> None:
        entries = {
            _key(self.conditions[number]): Entry.of(result.decision, result.claim.digest)
            for number, result in self._results.items()
            if result.confirmatory and not self.conditions[number].external_weights
        }
        updated = self.lock.updated(
            self.options.profile.name,
            entries,
            claims=[claim.digest for claim in self._claims],
            conditions=self.digests if self._every_condition else None,
        )
        write_lock(updated, self._root / LOCK)
        self.lock_changes = diff(self.lock, updated)

    def _command(self, number: int, *, given: Collection[str]) -> str:
        """The command line that measures one condition of this run again.

        `given` are those of the user's own subjects that it has to do with.
        """
        words = ["pytest", self._nodeids[number], "--profile", self.options.profile.name]
        if self.options.device != "auto":
            words += ["--device", self.options.device]
        if self.options.precision != "float32":
            words += ["--precision", self.options.precision]
        if self.options.imagenet:
            words += ["--imagenet", str(self.options.imagenet.path)]
        named = self.conditions[number].parameters.get("network") == self.custom.network
        if self.custom.network and (named or "network" in given):
            words += ["--network", self.custom.network]
        if self.custom.weights and "weights" in given:
            words += ["--weights", str(self.custom.weights.path)]
        if self.custom.images and "images" in given:
            words += ["--images", str(self.custom.images.path)]
        return shlex.join(words)

    @property
    def _of_ones_own(self) -> set[str]:
        """Which of the user's own subjects any condition was measured with."""
        return {name for result in self._results.values() for name in result.custom}

    @property
    def _without_effect(self) -> list[str]:
        """Options with subjects of the user's that nothing was measured with."""
        given = self.custom.described().items()
        return [f"--{name} {text}" for name, text in given if name not in self._of_ones_own]

    def _used(self, condition: Condition) -> tuple[str, ...]:
        """Which of the user's own subjects a condition is measured with."""
        if condition.skip_reason is not None:
            return ()
        cells = condition.cells(ReplicateSeeds(replicate=0))
        return self.custom.used_by([*cells.values(), *condition.gallery.values()])


def _check_writable(report: Path) -> None:
    """Check that the report can be written before anything is measured."""
    try:
        report.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=report):
            pass
    except OSError as error:
        raise OptionError(
            report,
            rule=f"the report has to go to a folder that can be written ({error.strerror})",
            remedy="Choose another with --report DIR",
        ) from error


def _key(condition: Condition) -> str:
    several = len(condition.claim.estimands) > 1
    return condition_key(
        condition.claim.id, condition.parameters, estimand=condition.estimand if several else None
    )


def _nothing(_: str) -> bool:
    return False
