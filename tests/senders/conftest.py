"""A zone of DNS for the tests of MX."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.worlds.zone import Zone


@pytest.fixture(scope="session")
def zone_server() -> Iterator[Zone]:
    server = Zone()
    yield server
    server.close()


@pytest.fixture
def zone(zone_server: Zone) -> Zone:
    """An empty zone."""
    zone_server.reset()
    return zone_server
