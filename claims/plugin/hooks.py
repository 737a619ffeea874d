"""The pytest plugin: options, the `lab` fixture, outcomes, the final table and the report."""

from __future__ import annotations

import math
import shutil
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import cast

import pytest

from claims.plugin.options import Options
from claims.plugin.progress import ConsoleProgress
from claims.plugin.session import LOCK, ClaimSession, Parameters
from harness.errors import (
    ClaimError,
    DepthClaimsError,
    ImageError,
    ModuleError,
    SettingError,
    SpectrumError,
    UnknownNameError,
    WeightsError,
    WorkerError,
)
from harness.lab.condition import Condition
from harness.lab.lab import Lab
from harness.verdict.evidence import Effect
from harness.verdict.lock import LockOutcome, LockStatus
from harness.verdict.results import ConditionResult
from reports.summary import effect_of, full_name
from reports.text.console import final_line, final_table
from reports.words import finding

SESSION = pytest.StashKey[ClaimSession]()
_NUMBER = pytest.StashKey[int]()
_FAILURE = pytest.StashKey[DepthClaimsError]()
_CLAIM, _VERDICT = "claim", "verdict"

_ALONE = (
    ImageError,
    ModuleError,
    SettingError,
    SpectrumError,
    UnknownNameError,
    WeightsError,
    WorkerError,
)
"""Errors of a single condition, whose test fails alone; others concern the run and end it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of a run of the claims."""
    Options.add(parser.getgroup("claims", "verification of the article's claims"))


def pytest_configure(config: pytest.Config) -> None:
    """Check every option before anything expensive; a wrong one ends the run in one message."""
    config.addinivalue_line(
        "markers", "networks(*names): ResNets of a test, replaced by --network where it is given"
    )
    config.addinivalue_line("markers", "headline: claims that decide a headline")
    try:
        options = Options.of(config)
    except DepthClaimsError as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[SESSION] = ClaimSession(
        options, root=_suite_root(config), progress=ConsoleProgress(config)
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize `network` by the test's own networks, or by the user's."""
    marker = metafunc.definition.get_closest_marker("networks")
    if marker is not None:
        chosen = metafunc.config.stash[SESSION].custom.network
        metafunc.parametrize("network", [chosen] if chosen else list(marker.args))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Plan every claim's test, and put those of headline claims first."""
    session = config.stash[SESSION]
    try:
        planned = [
            _plan(item, session)
            for item in items
            if isinstance(item, pytest.Function) and "lab" in item.fixturenames
        ]
        session.whole = all(planned) and not any("::" in argument for argument in config.args)
        if session.conditions:
            # Read now, so that a damaged lock is reported before anything is measured.
            _ = session.lock
    except DepthClaimsError as error:
        raise pytest.UsageError(str(error)) from error
    items.sort(key=lambda item: item.get_closest_marker("headline") is None)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Note which conditions were selected."""
    numbers = [item.stash[_NUMBER] for item in session.items if _NUMBER in item.stash]
    session.config.stash[SESSION].select(numbers)


@pytest.hookimpl(specname="pytest_runtestloop", tryfirst=True)
def pytest_print_plan(session: pytest.Session) -> bool | None:
    """With --plan, print the plan in place of running the tests."""
    claims = session.config.stash[SESSION]
    if not claims.options.plan or session.config.option.collectonly:
        return None
    reporter = session.config.pluginmanager.getplugin("terminalreporter")
    try:
        text = claims.plan_text()
    except DepthClaimsError as error:
        raise pytest.UsageError(str(error)) from error
    if reporter is not None:
        reporter.write_line(text)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """An error that a person can mend ends the run in one message, as a wrong option does.

    A file that cannot be collected ends it before anything is measured, as in any run of pytest.
    ^C prints a line at once, since ending the workers and writing the report take a moment.
    """
    if session.testsfailed and not session.config.option.continue_on_collection_errors:
        raise session.Interrupted(
            "a file above is broken, so nothing ran: mend it, or move it away"
        )
    try:
        return (yield)
    except session.Interrupted:
        raise  # pytest's own, as by --stepwise
    except KeyboardInterrupt:
        claims = session.config.stash[SESSION]
        reporter = session.config.pluginmanager.getplugin("terminalreporter")
        if claims.started and reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(_resume_text(claims), yellow=True)
        raise
    except pytest.exit.Exception as error:
        if isinstance(error.__cause__, DepthClaimsError):
            raise pytest.UsageError(str(error.__cause__)) from error
        raise


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Lab:
    """Takes one condition of a claim, measures it, and ends the test with its verdict."""
    session = request.config.stash[SESSION]
    item = request.node

    def judge(condition: Condition) -> None:
        try:
            if _NUMBER not in item.stash:
                item.stash[_NUMBER] = session.add(condition, nodeid=_nodeid(item))
            result, outcome = session.judge(item.stash[_NUMBER])
        except _ALONE as error:
            text = f"{full_name(condition)}: {error}"
            raise pytest.fail.Exception(text, pytrace=False) from None
        except DepthClaimsError as error:
            # pytest lets nothing else out of a test; the run loop turns it into one message.
            raise pytest.exit.Exception(str(error), pytest.ExitCode.USAGE_ERROR) from error
        item.user_properties += _properties(result)
        _end(outcome, confirmatory=condition.confirmatory)

    return session.lab(parameters=_parameters(item), receive=judge, folder=item.path.parent)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """A mistake in what a claim's test states fails that test, in one line."""
    try:
        return (yield)
    except DepthClaimsError as error:
        if "lab" not in pyfuncitem.fixturenames:
            raise
        raise pytest.fail.Exception(str(error), pytrace=False) from None


def pytest_report_teststatus(
    report: pytest.CollectReport | pytest.TestReport,
) -> tuple[str, str, str] | None:
    """Show the verdict in place of pytest's own word."""
    if not isinstance(report, pytest.TestReport) or report.when != "call":
        return None
    properties = dict(report.user_properties)
    if not {_CLAIM, _VERDICT} <= properties.keys():
        return None
    category = "xfailed" if hasattr(report, "wasxfail") else report.outcome
    letter = {"passed": ".", "failed": "F", "skipped": "s", "xfailed": "x"}[category]
    return category, letter, str(properties[_VERDICT]).upper()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    """The final table, warnings and changes of the lock, and the path of the report."""
    session = config.stash[SESSION]
    write = terminalreporter.write_line
    if session.run is not None:
        color = terminalreporter.hasmarkup
        if config.get_verbosity() < 0:
            write(final_line(session.run, color=color))
        else:
            width = shutil.get_terminal_size().columns
            terminalreporter.section("claims")
            write(final_table(session.run, width=width, color=color))
    elif exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and session.ids:
        write(f"Nothing was selected. The claims here: {' '.join(session.ids)}")
    for warning in session.warnings:
        write(f"warning: {warning}", yellow=True)
    if session.lock_changes is not None:
        write(f"{LOCK}:")
        write(session.lock_changes or "nothing has changed")
    report_text = session.report_text
    if report_text is not None:
        write(report_text)
    if exitstatus == pytest.ExitCode.INTERRUPTED and session.run is not None:
        write(_resume_text(session), yellow=True)
    if _FAILURE in config.stash:
        write(f"ERROR: {config.stash[_FAILURE]}", red=True)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """End the workers; write the report and, with --update-verdicts, the lock."""
    config = session.config
    complete = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    try:
        config.stash[SESSION].finish(complete=complete and not session.shouldfail)
    except DepthClaimsError as error:
        # The table is shown nevertheless, with the error below it.
        config.stash[_FAILURE] = error
        session.exitstatus = pytest.ExitCode.USAGE_ERROR


def _plan(item: pytest.Function, session: ClaimSession) -> bool:
    """Let a test state its condition; returns whether it did."""
    number = session.plan(
        item.obj, parameters=_parameters(item), nodeid=_nodeid(item), folder=item.path.parent
    )
    if number is not None:
        item.stash[_NUMBER] = number
        if session.conditions[number].claim.headline is not None:
            item.add_marker(pytest.mark.headline)
    return number is not None


def _parameters(item: pytest.Function) -> Parameters:
    parameters: Mapping[str, object] = item.callspec.params if hasattr(item, "callspec") else {}
    for name, value in parameters.items():
        if not isinstance(value, (str, int, float)):
            raise ClaimError(
                f"{item.nodeid}, {name}={value!r}",
                rule="claims are parametrized by names and numbers alone",
                remedy="Give the name of a setting, and look it up in the test",
            )
    return cast(Parameters, parameters)


def _properties(result: ConditionResult) -> list[tuple[str, object]]:
    """The properties of a test in the JUnit report."""
    decision = result.decision
    effects = [effect for part in decision.parts if (effect := effect_of(part)) is not None]
    return [
        (_CLAIM, result.claim.id),
        (_VERDICT, decision.verdict.value),
        ("reason", decision.reason),
        ("n", decision.n),
        *((f"effect {effect.name}", effect.value) for effect in effects),
        *((f"interval {effect.name}", _interval(effect)) for effect in effects),
        *((f"in words {effect.name}", finding(effect)) for effect in effects),
    ]


def _interval(effect: Effect) -> str:
    """Limits and level on the scale of the effect; an open end is infinite."""
    low = -math.inf if effect.low is None else effect.low
    high = math.inf if effect.high is None else effect.high
    return f"{low:g} to {high:g} at {effect.level:.3g}"


def _end(outcome: LockOutcome, *, confirmatory: bool) -> None:
    match outcome.status:
        case LockStatus.PASS:
            return
        case LockStatus.SKIP:
            note = "" if confirmatory else " (exploratory, decides nothing)"
            pytest.skip(outcome.message + note)
        case LockStatus.XFAIL:
            pytest.xfail(outcome.message)
        case LockStatus.FAIL:
            pytest.fail(outcome.message, pytrace=False)


def _resume_text(session: ClaimSession) -> str:
    """Where an interrupted run will continue."""
    return (
        f"interrupted: the cells measured so far are kept in {session.options.store}; "
        "the same command goes on from there"
    )


def _suite_root(config: pytest.Config) -> Path:
    """The folder of the tests whose conftest brought this plugin.

    pytest determines its root before it knows these options, so that the paths of --store and
    --report affect it. It also loads conftest files there: a store inside another suite brings
    that suite's.
    """
    brought = [
        Path(plugin.__file__).parent
        for plugin in config.pluginmanager.get_plugins()
        if "claims.plugin.hooks" in getattr(plugin, "pytest_plugins", ())
    ]
    start = config.invocation_params.dir
    asked = [(start / argument.split("::")[0]).resolve() for argument in config.args]
    own = [
        folder for folder in brought if any(path.is_relative_to(folder.resolve()) for path in asked)
    ]
    return max(own or brought, key=lambda folder: len(folder.parts), default=config.rootpath)


def _nodeid(item: pytest.Item) -> str:
    """The test's name relative to the root of its suite."""
    root = _suite_root(item.config)
    path = item.path.relative_to(root) if item.path.is_relative_to(root) else item.path
    return "::".join([path.as_posix(), *item.nodeid.split("::")[1:]])
