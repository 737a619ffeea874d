"""One run of the claims, from its options to its report."""

from __future__ import annotations

import datetime as dt
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from claims.progress import ConsoleProgress
from claims.registry import all_claims
from harness.claim import freeze
from harness.device import resolve_device
from harness.errors import OptionError, UnknownNameError
from harness.executors import EXECUTORS
from harness.lab import Assay, Bench, Custom, Lab, not_run
from harness.lock import Entry, Outcome, compare, condition_key, diff, read_lock, write_lock
from harness.plan import Profile, buckets
from harness.provenance import provenance
from harness.results import ConditionResult, Run
from harness.scheduler import Scheduler
from harness.settings import ImageFolder
from harness.store import Store
from reports.write import write_report

LOCK = Path("claims", "verdicts.toml")


class ClaimSession:
    """The state of a run: what is planned, what was found.

    Parameters
    ----------
    config : pytest.Config
        For progress on the console and the root folder.
    profile, device, custom, executor
        As chosen by the options, checked.
    store, report : Path
        Folders of the records and of the report.
    """

    def __init__(
        self,
        config: pytest.Config,
        *,
        profile: Profile,
        device: str,
        custom: Custom,
        executor: str,
        store: Path,
        report: Path,
    ) -> None:
        self.profile = profile
        self.custom = custom
        self.assays: list[Assay] = []
        self.warnings: list[str] = []
        self.run: Run | None = None
        self.report: Path | None = None
        self.lock_changes: str | None = None
        self._config = config
        self._device = device
        self._executor = executor
        self._store_folder = store
        self._report_folder = report
        self._lock_path = config.rootpath / LOCK
        self._lock = read_lock(self._lock_path)
        self._nodeids: list[str] = []
        self._selected: Sequence[int] = ()
        self._results: dict[int, ConditionResult] = {}
        self._provenance = provenance(device=device)
        self._scheduler: Scheduler | None = None
        self._bench: Bench | None = None
        self._began = time.monotonic()

    @classmethod
    def of(cls, config: pytest.Config) -> ClaimSession:
        """The session that the options of the command line ask for.

        Raises
        ------
        DepthClaimsError
            Where an option has a value that it cannot take.
        """
        executor = _given(config, "executor")
        if executor not in EXECUTORS:
            raise UnknownNameError.nearest(executor, EXECUTORS, what="executor")
        return cls(
            config,
            profile=Profile(_given(config, "profile")),
            device=resolve_device(_given(config, "device")),
            custom=_custom(
                network=config.getoption("network"),
                weights=config.getoption("weights"),
                images=config.getoption("images"),
            ),
            executor=executor,
            store=config.invocation_params.dir / _given(config, "store"),
            report=config.invocation_params.dir / _given(config, "report"),
        )

    def lab(
        self,
        *,
        parameters: Mapping[str, str | int | float],
        receive: Callable[[Assay], None],
    ) -> Lab:
        """A lab for one test."""
        return Lab(profile=self.profile, custom=self.custom, parameters=parameters, receive=receive)

    def plan(
        self,
        test: Callable[..., None],
        *,
        parameters: Mapping[str, str | int | float],
        nodeid: str,
    ) -> int:
        """Let a test state its assay without measuring it; returns the assay's number."""
        test(lab=self.lab(parameters=parameters, receive=self.assays.append), **parameters)
        self._nodeids.append(nodeid)
        return len(self.assays) - 1

    def select(self, numbers: Sequence[int]) -> None:
        """The assays that will run, in their order."""
        self._selected = numbers

    def judge(self, number: int) -> tuple[ConditionResult, Outcome]:
        """Measure and decide an assay, and compare it with its lock."""
        assay = self.assays[number]
        result = self._opened().run(assay, label=_label(assay), command=self._command(number))
        self._results[number] = result
        custom = self.custom.described()
        outcome = compare(
            None if custom else self._lock.get(self.profile.name, _key(result)),
            result.decision,
            assay.claim.digest,
            report_only=bool(custom) or not assay.confirmatory,
        )
        if outcome.warning is not None:
            self.warnings.append(f"{_label(assay)}: {outcome.warning}")
        return result, outcome

    def plan_text(self) -> str:
        """What would be measured: cells and time, up to the first look and up to the last."""
        store = Store(self._store_folder)
        lines = []
        for number in self._selected:
            assay = self.assays[number]
            first = _missing(assay.cells_up_to(assay.sizes[0]), store, device=self._device)
            last = _missing(assay.cells_up_to(assay.sizes[-1]), store, device=self._device)
            lines.append(f"{_label(assay)}: {_cost(first)}, at most {_cost(last)}")
        chosen = [self.assays[number] for number in self._selected]
        first = _missing(
            [cell for assay in chosen for cell in assay.cells_up_to(assay.sizes[0])],
            store,
            device=self._device,
        )
        last = _missing(
            [cell for assay in chosen for cell in assay.cells_up_to(assay.sizes[-1])],
            store,
            device=self._device,
        )
        lines.append(f"in all, shared cells once: {_cost(first)}, at most {_cost(last)}")
        return "\n".join(lines)

    def finish(self) -> None:
        """End the workers; write the report, and the lock where that was asked for."""
        if self._scheduler is not None:
            self._scheduler.close()
        if not self.assays or self._config.getoption("plan"):
            return
        self.run = self._found()
        self.report = write_report(self.run, Store(self._store_folder), self._report_folder)
        if self._config.getoption("update_verdicts") and not self.custom.described():
            self._update_lock()

    def _opened(self) -> Bench:
        """The bench, made when a test first needs it, with all first looks queued."""
        if self._bench is None:
            store = Store(self._store_folder)
            self._scheduler = Scheduler(
                store,
                executor=self._executor,
                device=self._device,
                provenance=self._provenance,
                progress=ConsoleProgress(self._config),
            )
            self._bench = Bench(store=store, scheduler=self._scheduler, device=self._device)
            self._bench.prepare(self.assays[number] for number in self._selected)
        return self._bench

    def _found(self) -> Run:
        conditions = tuple(
            self._results.get(number)
            or not_run(
                assay,
                reason="not selected" if number not in self._selected else "the run ended before",
                command=self._command(number),
            )
            for number, assay in enumerate(self.assays)
        )
        claims = all_claims(
            self._config.rootpath, planned=[assay.claim for assay in self.assays]
        )
        used = len(self._bench.used) if self._bench else 0
        measured = self._scheduler.measured if self._scheduler else 0
        return Run(
            profile=self.profile.name,
            device=self._device,
            claims_digest=freeze(claims),
            claims=claims,
            conditions=conditions,
            provenance=self._provenance,
            measured=measured,
            reused=max(used - measured, 0),
            seconds=time.monotonic() - self._began,
            ended=dt.datetime.now().astimezone().isoformat(timespec="seconds"),
            custom=self.custom.described(),
        )

    def _update_lock(self) -> None:
        entries = {
            _key(result): Entry.of(result.decision, result.claim.digest)
            for result in self._results.values()
            if result.confirmatory
        }
        updated = self._lock.updated(
            self.profile.name, entries, claims=[assay.claim.digest for assay in self.assays]
        )
        write_lock(updated, self._lock_path)
        self.lock_changes = diff(self._lock, updated)

    def _command(self, number: int) -> str:
        words = ["pytest", self._nodeids[number], "--profile", self.profile.name]
        return shlex.join(words)


def _given(config: pytest.Config, name: str) -> str:
    return str(config.getoption(name))


def _custom(*, network: str | None, weights: str | None, images: str | None) -> Custom:
    """The user's own subjects, checked before anything is measured."""
    return Custom(
        network=_network(network, weights=weights),
        weights=_weights(weights, network=network),
        images=_images(images),
    )


def _network(network: str | None, *, weights: str | None) -> str | None:
    if network is None:
        return None
    # torch is imported only where the user names a network.
    from harness.subjects.resnet import resnet_names

    names = resnet_names()
    if network not in names:
        raise UnknownNameError.nearest(network, names, what="ResNet of torchvision")
    return network


def _weights(weights: str | None, *, network: str | None) -> Any:
    if weights is None:
        return None
    if network is None:
        raise OptionError(
            f"--weights {weights}",
            rule="weights belong to one network, and none is named",
            remedy="Name it with --network NAME",
        )
    from harness.settings import ResNet
    from harness.subjects.resnet import build_resnet
    from harness.subjects.weights import weights_file

    file = weights_file(Path(weights).resolve())
    build_resnet(ResNet(name=network, cut="conv1", weights=file), seed=0)
    return file


def _images(images: str | None) -> ImageFolder | None:
    if images is None:
        return None
    from harness.subjects.folder import folder_digest, scan_folder

    folder = Path(images).resolve()
    scan_folder(folder)
    return ImageFolder(sha256=folder_digest(folder), path=folder)


def _label(assay: Assay) -> str:
    return " ".join([assay.claim.id, *(str(value) for value in assay.parameters.values())])


def _key(result: ConditionResult) -> str:
    several = len(result.claim.estimands) > 1
    return condition_key(
        result.claim.id,
        result.parameters,
        estimand=result.estimand if several else None,
    )


def _missing(cells: Iterable[Any], store: Store, *, device: str) -> tuple[int, float]:
    """Cells that the store lacks, and seconds of one core for them."""
    count, seconds = 0, 0.0
    for bucket in buckets(cells, device=device):
        lacking = [ids for ids in bucket.ids if any(identity not in store for identity in ids)]
        count += sum(map(len, lacking))
        seconds += bucket.seconds * len(lacking) / len(bucket.ids)
    return count, seconds


def _cost(missing: tuple[int, float]) -> str:
    count, seconds = missing
    return f"{count} cells, about {seconds / 60:.1f} min of one core"
