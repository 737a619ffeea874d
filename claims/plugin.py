"""The pytest plugin: options, the `lab` fixture, outcomes, the final table and the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import pytest

from claims.session import ClaimSession
from harness.device import DEVICES
from harness.errors import DepthClaimsError
from harness.executors import EXECUTORS
from harness.lab import Lab
from harness.lock import Outcome, Status
from harness.plan import PROFILES
from reports.console import final_table

T = TypeVar("T")

_SESSION = pytest.StashKey[ClaimSession]()
_NUMBER = pytest.StashKey[int]()
_VERDICT = pytest.StashKey[str]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of a run of the claims."""
    add = parser.getgroup("claims", "verification of the article's claims").addoption
    add("--profile", default="quick", metavar="NAME", help=f"{', '.join(PROFILES)} (quick)")
    add("--device", default="auto", metavar="NAME", help=f"{', '.join(DEVICES)} (auto)")
    add("--store", default=".store", metavar="DIR", help="folder of the records (.store)")
    add("--report", default="reports/latest", metavar="DIR", help="where the report goes")
    add("--network", metavar="NAME", help="a torchvision ResNet in place of the article's")
    add("--weights", metavar="FILE", help="weights of --network: a state dict")
    add("--images", metavar="DIR", help="a folder of images in place of the photographs")
    add("--executor", default="processes", metavar="NAME", help=f"{', '.join(EXECUTORS)}")
    add("--plan", action="store_true", help="print what would be measured, and do not run it")
    add("--update-verdicts", action="store_true", help="lock the verdicts of this run")


def pytest_configure(config: pytest.Config) -> None:
    """Check every option before anything expensive; a wrong one ends the run in one message."""
    config.addinivalue_line(
        "markers", "networks(*names): ResNets of a test, replaced by --network where it is given"
    )
    config.addinivalue_line("markers", "headline: claims that decide a headline")
    try:
        config.stash[_SESSION] = ClaimSession.of(config)
    except DepthClaimsError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize `network` by the test's own networks, or by the user's."""
    marker = metafunc.definition.get_closest_marker("networks")
    if marker is not None:
        chosen = metafunc.config.stash[_SESSION].custom.network
        metafunc.parametrize("network", [chosen] if chosen else list(marker.args))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Plan every claim's test, and put those of headline claims first."""
    session = config.stash[_SESSION]
    for item in items:
        if isinstance(item, pytest.Function) and "lab" in item.fixturenames:
            number = session.plan(item.obj, parameters=_parameters(item), nodeid=item.nodeid)
            item.stash[_NUMBER] = number
            if session.assays[number].claim.headline is not None:
                item.add_marker(pytest.mark.headline)
    items.sort(key=lambda item: item.get_closest_marker("headline") is None)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Note which claims were selected, and queue their first replicates."""
    numbers = [item.stash[_NUMBER] for item in session.items if _NUMBER in item.stash]
    session.config.stash[_SESSION].select(numbers)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """With --plan, print the plan in place of running the tests."""
    if not session.config.getoption("plan"):
        return None
    reporter = session.config.pluginmanager.getplugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(_guarded(session.config.stash[_SESSION].plan_text))
    return True


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Lab:
    """Takes one condition of a claim, measures it, and ends the test with its verdict."""
    session = request.config.stash[_SESSION]
    item = request.node

    def judge(assay: object) -> None:
        result, outcome = _guarded(lambda: session.judge(item.stash[_NUMBER]))
        item.stash[_VERDICT] = result.decision.verdict.value
        item.user_properties.append(("verdict", result.decision.verdict.value))
        for part in result.decision.parts:
            if part.effect is not None:
                item.user_properties.append((f"effect {part.effect.name}", part.effect.value))
        _end(outcome)

    return session.lab(parameters=_parameters(item), receive=judge)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):  # type: ignore[no-untyped-def]
    """Carry the verdict to the report of the test, for the word that is shown."""
    report = yield
    report.verdict = item.stash.get(_VERDICT, None)
    return report


def pytest_report_teststatus(report, config):  # type: ignore[no-untyped-def]
    """Show the verdict in place of pytest's own word."""
    verdict = getattr(report, "verdict", None)
    if verdict is None or report.when != "call":
        return None
    category = "xfailed" if hasattr(report, "wasxfail") else report.outcome
    letter = {"passed": ".", "failed": "F", "skipped": "s", "xfailed": "x"}[category]
    return category, letter, verdict.upper()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """The final table, what the lock has to say, and where the report is."""
    session = config.stash[_SESSION]
    if session.run is None:
        return
    width = terminalreporter._tw.fullwidth
    color = terminalreporter._tw.hasmarkup
    terminalreporter.section("claims")
    terminalreporter.write_line(final_table(session.run, width=width, color=color))
    for warning in session.warnings:
        terminalreporter.write_line(f"warning: {warning}", yellow=True)
    if session.lock_changes is not None:
        terminalreporter.write_line(session.lock_changes)
    if session.report is not None:
        terminalreporter.write_line(f"report: {session.report}")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the workers, write the report, and the lock where that was asked for."""
    if _SESSION in session.config.stash:
        _guarded(session.config.stash[_SESSION].finish)


def _parameters(item: pytest.Function) -> dict[str, str | int | float]:
    # Tests of claims are parametrized by names and numbers alone.
    return (
        cast(dict[str, str | int | float], item.callspec.params)
        if hasattr(item, "callspec")
        else {}
    )


def _end(outcome: Outcome) -> None:
    match outcome.status:
        case Status.PASS:
            return
        case Status.SKIP:
            pytest.skip(outcome.message)
        case Status.XFAIL:
            pytest.xfail(outcome.message)
        case Status.FAIL:
            pytest.fail(outcome.message, pytrace=False)


def _guarded(call: Callable[[], T]) -> T:
    """An error that a person can mend ends the run in one message, without a traceback."""
    try:
        return call()
    except DepthClaimsError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
