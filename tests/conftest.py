"""Rules for every test: what is missing is named, and nothing is left behind.

* A test that lacks something of the machine skips and names it (`support.needs`). Where the environment
  variable CI is set, every skip is a failure: a run cannot look green because half of it never ran.
* At the end no mount below the session's temporary directory and no process started by a test may be left.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator

import pytest
from support import leftovers
from support.needs import NOT_APPLICABLE


def pytest_configure() -> None:
    """A shell lets what it starts with `&` ignore Ctrl-C; the programs under test would inherit that, and never end."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fails at the end of the session if a test left a mount or a process; ends what it finds."""
    base = tmp_path_factory.getbasetemp()
    with leftovers.marked_environment() as marker:
        yield
        found = leftovers.end_mounts(base) + leftovers.end_processes(marker, base)
    assert not found, "left behind by the tests:\n  " + "\n  ".join(found)


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """Fails if a test leaves a signal handled in another way: programs of the tests after it would not end."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    after = [signal.getsignal(number) for number in numbers]
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
    assert after == before, "a test changed what signals do"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the tests marked slow unless an expression for -m or a test's own name asks for them.

    The run as an ordinary user, by far the longest, comes first: the others go on beside it.
    """
    items.sort(key=lambda item: item.path.name != "test_as_ordinary_user.py")
    if config.option.markexpr or any("::" in argument for argument in config.args):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        items[:] = [item for item in items if item not in slow]
        config.hook.pytest_deselected(items=slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns a skip into a failure where CI is set."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not reason.removeprefix("Skipped: ").startswith(NOT_APPLICABLE):
            report.outcome = "failed"
            report.longrepr = f"CI is set and may not skip. {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turns the skip of a whole module (importorskip) into a failure where CI is set."""
    report = yield
    if os.environ.get("CI") and report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"CI is set and may not skip. {reason}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Repeats what failed in scripts/test before pytest ran, just above the closing line."""
    failed = os.environ.get("FAILED_BEFORE_PYTEST")
    if failed:
        terminalreporter.section("failed before pytest", red=True, bold=True)
        terminalreporter.line(failed, red=True)
