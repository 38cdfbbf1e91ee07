"""From a point in a graph to the page of its canary: the exporter's exemplars, through a real Prometheus."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.generate.__main__ import JSON
from probe.canary import counters
from probe.exposition.live import Exemplar, Exemplars
from probe.exposition.metrics import render
from tests.dashboards.known import asked, fill
from tests.exposition.exposition_fakes import IDS, LEG, four_lives
from tests.worlds.ports import LOOPBACK, wait_until
from tests.worlds.prometheus import Prometheus

# Two of the graphs with points, by the labels that they keep.
GRAPHS = [("overview", "Delivery time, quantiles", "B"), ("route", "Delivery time by MX host, p50 and p95", "A")]


@contextmanager
def serving(body: bytes, kind: str) -> Iterator[int]:
    """A target with one page; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Not to standard error."""

    server = http.server.ThreadingHTTPServer((LOOPBACK, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def test_a_point_has_the_id_that_the_link_wants(promtool: Path, tmp_path: Path) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv (scripts/install-test-packages)")
    live = await four_lives(tmp_path / "ledger.sqlite")
    exemplars: Exemplars = {(counters.DELIVERY_BUCKET, LEG.route, LEG.mx, "plain", "5.0"): Exemplar(IDS[0], 3.1)}
    page, kind = render(live.view, live.totals.snapshot(), exemplars, "application/openmetrics-text;version=1.0.0")
    sources = yaml.safe_load((JSON.parent / "provisioning" / "datasources.yaml").read_text(encoding="utf-8"))
    (link,) = sources["datasources"][0]["jsonData"]["exemplarTraceIdDestinations"]
    with serving(page, kind) as port:
        server = Prometheus({"mailcanary": port})
        try:
            server.start()
            for graph in GRAPHS:
                there = partial(points, server, graph, port)
                wait_until(lambda: bool(there()), 20, "exemplars are there", server.log)  # noqa: B023 - called at once
                (point,) = there()
                assert point["labels"] == {link["name"]: IDS[0]}
                assert float(point["value"]) == 3.1
        finally:
            server.close()


def points(server: Prometheus, graph: tuple[str, str, str], port: int) -> list[Any]:
    """The exemplars that Grafana would draw beside one query."""
    (query,) = [each for each in asked() if (each.board, each.panel, each.letter) == graph]
    expr = fill(query.expr, {"instance": f"{LOOPBACK}:{port}", "__rate_interval": "1m"})
    asked_for = urllib.parse.urlencode({"query": expr, "start": "2020-01-01T00:00:00Z", "end": "2100-01-01T00:00:00Z"})
    answer = json.loads(server.get(f"/api/v1/query_exemplars?{asked_for}"))
    return [point for series in answer["data"] for point in series["exemplars"]]
