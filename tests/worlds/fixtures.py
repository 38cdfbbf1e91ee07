"""Fixtures that start the worlds once a session and hand each test its own users and a clean slate."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.worlds.alertmanager import Alertmanager, Daemon, Desk
from tests.worlds.certificates import Certificates
from tests.worlds.dovecot import Account, Dovecot
from tests.worlds.postfix import Postfix
from tests.worlds.prometheus import Page, Prometheus
from tests.worlds.proxy import Proxy

REAL_FIXTURES = frozenset(
    {"dovecot", "postfix", "fresh_user", "dovecot_server", "postfix_server", "alerting", "promtool", "amtool"}
)


def _need(*programs: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: the servers change user")
    _need_programs(*programs)


def _need_programs(*programs: str) -> None:
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} (scripts/install-test-packages)")


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The session's certificate authority and the servers' certificate."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def dovecot_server(certificates: Certificates) -> Iterator[Dovecot]:
    """The session's Dovecot; tests ask for ``dovecot``."""
    _need("dovecot", "doveadm", "sievec")
    server = Dovecot(certificates)
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def postfix_server(dovecot_server: Dovecot) -> Iterator[Postfix]:
    """The session's Postfix; tests ask for ``postfix``."""
    _need("postfix", "postsuper")
    server = Postfix(dovecot_server)
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def dovecot(dovecot_server: Dovecot) -> Dovecot:
    """A running Dovecot, also when the test before stopped it."""
    dovecot_server.start()
    return dovecot_server


@pytest.fixture
def postfix(postfix_server: Postfix, dovecot: Dovecot) -> Iterator[Postfix]:
    """A running Postfix without faults; what the test held back is thrown away after it."""
    postfix_server.policy.reset()
    postfix_server.start()
    yield postfix_server
    postfix_server.policy.reset()
    postfix_server.start()
    postfix_server.drop_queue()


@pytest.fixture
def fresh_user(dovecot: Dovecot) -> Callable[[], Account]:
    """A factory of accounts that no other test uses."""
    return dovecot.new_account


@pytest.fixture
def proxy_to() -> Iterator[Callable[[int], Proxy]]:
    """A factory of TCP proxies to a loopback port, closed after the test."""
    proxies: list[Proxy] = []

    def make(port: int, **options: object) -> Proxy:
        proxies.append(Proxy(port, **options))  # type: ignore[arg-type]
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.close()


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A folder with a path short enough for a unix socket (108 bytes)."""
    with tempfile.TemporaryDirectory(prefix="mc-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def promtool() -> Path:
    """Prometheus' tool for rules."""
    _need_programs("promtool")
    return Path(shutil.which("promtool") or "")


@pytest.fixture(scope="session")
def amtool() -> Path:
    """Alertmanager's tool for its configuration."""
    _need_programs("amtool")
    return Path(shutil.which("amtool") or "")


class Alerting:
    """Makes Prometheus, Alertmanager, pages to scrape and desks that take notifications; all end with the test."""

    def __init__(self) -> None:
        self._parts: list[Daemon | Page | Desk] = []

    def page(self) -> Page:
        self._parts.append(page := Page())
        return page

    def desk(self) -> Desk:
        self._parts.append(desk := Desk())
        return desk

    def alertmanager(self, configuration: str) -> Alertmanager:
        """Started."""
        self._parts.append(server := Alertmanager(configuration))
        server.start()
        return server

    def prometheus(
        self, targets: Mapping[str, int], rules: Sequence[Path] = (), alertmanager: int | None = None
    ) -> Prometheus:
        """Started."""
        self._parts.append(server := Prometheus(targets, rules, alertmanager))
        server.start()
        return server

    def close(self) -> None:
        for part in reversed(self._parts):
            part.close()


@pytest.fixture
def alerting() -> Iterator[Alerting]:
    """A factory of the parts between a metric and a page."""
    _need_programs("prometheus", "prometheus-alertmanager", "setpriv")
    parts = Alerting()
    yield parts
    parts.close()
