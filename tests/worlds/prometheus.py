"""A private Prometheus on loopback that scrapes, evaluates and alerts once a second; and a page for it to scrape."""

from __future__ import annotations

import http.server
import json
import tempfile
import threading
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.worlds.alertmanager import Daemon
from tests.worlds.ports import LOOPBACK, free_ports


class Page:
    """A target: ``/metrics`` shows ``series`` (``name{labels}`` to value) as they are at that moment."""

    def __init__(self) -> None:
        self.series: dict[str, float] = {}
        page = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                lines = [f"{name} {value!r}\n" for name, value in sorted(dict(page.series).items())]
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write("".join(lines).encode())

            def log_message(self, format: str, *arguments: object) -> None:
                """Not to standard error."""

        self._server = http.server.ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Prometheus(Daemon):
    """One instance. ``targets``: job to port on loopback; ``every``: of scrapes and evaluations."""

    def __init__(
        self,
        targets: Mapping[str, int],
        rules: Sequence[Path] = (),
        alertmanager: int | None = None,
        every: str = "1s",
    ) -> None:
        folder = Path(tempfile.mkdtemp(prefix="mailcanary-prometheus-"))
        super().__init__("prometheus", folder, free_ports(1)[0])
        self.data = folder / "data"
        configuration: dict[str, Any] = {
            "global": {"scrape_interval": every, "evaluation_interval": every},
            "rule_files": [str(path) for path in rules],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [f"{LOOPBACK}:{port}"]}]}
                for job, port in targets.items()
            ],
        }
        if alertmanager is not None:
            where = [{"static_configs": [{"targets": [f"{LOOPBACK}:{alertmanager}"]}]}]
            configuration["alerting"] = {"alertmanagers": where}
        self._configuration = folder / "prometheus.yml"
        self._configuration.write_text(yaml.safe_dump(configuration))

    def command(self) -> list[str | Path]:
        return [
            "prometheus",
            f"--config.file={self._configuration}",
            f"--storage.tsdb.path={self.data}",
            f"--web.listen-address={LOOPBACK}:{self.port}",
            "--enable-feature=exemplar-storage",
            # What it sends before it knows its Alertmanager is dropped, and by default sent anew after a minute only.
            "--rules.alert.resend-delay=2s",
        ]

    def query(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """An instant query: labels and value of each series."""
        answer = json.loads(self.get("/api/v1/query?" + urllib.parse.urlencode({"query": expr})))
        return [(each["metric"], float(each["value"][1])) for each in answer["data"]["result"]]

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        alerts = json.loads(self.get("/api/v1/alerts"))["data"]["alerts"]
        return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

    def groups(self) -> list[dict[str, Any]]:
        """The rule groups with what their last evaluation took, as the API tells it."""
        groups: list[dict[str, Any]] = json.loads(self.get("/api/v1/rules"))["data"]["groups"]
        return groups
