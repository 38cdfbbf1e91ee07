"""What every test shares: the worlds, virtual time, and the rule that a skip must be expected.

With CI=true a skip whose reason does not stand in tests/expected_skips.txt fails the run: a server that is missing
must not turn the suite green.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

_TESTS = Path(__file__).parent
sys.path.insert(0, str(_TESTS.parent))
settings.register_profile("any-machine", deadline=None)  # how fast a machine is proves nothing
settings.load_profile("any-machine")

from tests.jumping import virtual  # noqa: E402
from tests.worlds.fixtures import (  # noqa: E402
    REAL_FIXTURES,
    certificates,
    dovecot,
    dovecot_server,
    fresh_user,
    postfix,
    postfix_server,
    proxy_to,
    short_tmp,
)

__all__ = [
    "certificates",
    "dovecot",
    "dovecot_server",
    "fresh_user",
    "postfix",
    "postfix_server",
    "proxy_to",
    "short_tmp",
    "virtual",
]

_unexpected: list[tuple[str, str]] = []


def _expected_reasons() -> tuple[str, ...]:
    lines = (_TESTS / "expected_skips.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as ``real`` whatever asks for a real server."""
    for item in items:
        if REAL_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.real)


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if not reason.startswith(_expected_reasons() or ("\0",)):
        _unexpected.append((report.nodeid, reason))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note(report)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if _unexpected and os.environ.get("CI") == "true" and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _unexpected and os.environ.get("CI") == "true":
        terminalreporter.section("unexpected skips (they fail the run when CI=true)", red=True)
        for test, reason in _unexpected:
            terminalreporter.line(f"{test}: {reason}")
