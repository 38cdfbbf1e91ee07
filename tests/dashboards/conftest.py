"""A real Prometheus filled with the month, once for all tests of the dashboards."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dashboards import series
from tests.dashboards.past import Past
from tests.worlds.fixtures import promtool

__all__ = ["promtool"]


@pytest.fixture(scope="session")
def past(promtool: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    """The Prometheus, and what really happened in it."""
    if shutil.which("prometheus") is None or shutil.which("setpriv") is None:
        pytest.skip("needs prometheus, setpriv (scripts/install-test-packages)")
    text = tmp_path_factory.mktemp("month") / "month.om"
    month = series.write(text)
    server = Past(promtool, text, month)
    try:
        server.start()
        yield server
    finally:
        server.close()
