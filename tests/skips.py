"""pytest's hooks that let no test skip in silence, in CI or elsewhere. For a conftest.py to import."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.programs import Unsupported, only_wheels


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Where CI=true a skipped test is a failure, unless it needs a GPU. What is expected to fail isn't skipped.

    A run of the wheels' servers may skip what these can't do: another one has Debian's.
    """
    report = yield
    allowed = only_wheels() and call.excinfo is not None and call.excinfo.errisinstance(Unsupported)
    if report.skipped and not hasattr(report, "wasxfail") and item.get_closest_marker("gpu") is None and not allowed:
        _fail_in_ci(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """The same for a module that skips itself."""
    report = yield
    if report.skipped:
        _fail_in_ci(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One list of what was skipped and why, which is most often the command that brings what is missing."""
    reasons = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", []))
    if not reasons:
        return
    terminalreporter.section(f"{sum(reasons.values())} skipped")
    for reason, count in reasons.most_common():
        tests = "1 test" if count == 1 else f"{count} tests"
        need = re.fullmatch("needs (.*)", reason, re.DOTALL)
        if need:
            terminalreporter.line(f"{tests} need{'s' if count == 1 else ''} {need[1]}")
        else:
            terminalreporter.line(f"{tests}: {reason}")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    message = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return re.sub(r"^[\w.]+: ", "", message)


def _fail_in_ci(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped, and CI=true: {report.longrepr}"
