"""A private Alertmanager on loopback, and the place where its notifications arrive.

No cluster, storage in a temporary folder, and killed with this process whatever happens to it.
"""

from __future__ import annotations

import http.server
import json
import shutil
import subprocess
import tempfile
import threading
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.worlds.ports import LOOPBACK, WorldError, free_ports, wait_until


@dataclass(frozen=True, slots=True)
class Notification:
    """One POST: where to (the path without its slash), its Authorization, its JSON."""

    to: str
    authorization: str
    body: Any


class Desk:
    """An HTTP server that takes every POST, as a pager or a webhook does; the paths in ``refusing`` answer 400."""

    def __init__(self) -> None:
        self.taken: list[Notification] = []
        self.refusing: set[str] = set()
        desk = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                to = self.path.strip("/")
                refused = to in desk.refusing
                if not refused:
                    desk.taken.append(Notification(to, self.headers.get("Authorization", ""), json.loads(body)))
                self.send_response(400 if refused else 202)
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *arguments: object) -> None:
                """Not to standard error."""

        self._server = http.server.ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def at(self, to: str) -> list[Notification]:
        """What has come to one path, oldest first."""
        return [each for each in self.taken if each.to == to]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Daemon:
    """A process with its log that answers ``/-/ready`` on ``port``."""

    def __init__(self, name: str, folder: Path, port: int) -> None:
        self.port = port
        self.url = f"http://{LOOPBACK}:{port}"
        self._name = name
        self._folder = folder
        self.log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str | Path]:
        raise NotImplementedError

    def start(self) -> None:
        """Start and wait until it is ready; nothing happens when it runs already."""
        if self._process is not None:
            return
        words: list[str | Path] = ["setpriv", "--pdeathsig", "KILL", *self.command()]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder)
        wait_until(self._ready, 30, f"{self._name} is ready", self.log)

    def _ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise WorldError(f"{self._name}: exit {self._process.returncode}\n{self._errors()}")
        try:
            self.get("/-/ready")
        except OSError:
            return False
        return True

    def _errors(self) -> str:
        """What it logged as an error; much else may have come after it."""
        return "\n".join(line for line in self.log.read_text().splitlines() if "level=error" in line)

    def get(self, path: str) -> str:
        """The body of a page. Raises OSError where it does not answer, or not with 200."""
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def close(self) -> None:
        """Stop, and remove its folder."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


class Alertmanager(Daemon):
    """One instance with ``configuration`` (YAML)."""

    def __init__(self, configuration: str) -> None:
        folder = Path(tempfile.mkdtemp(prefix="mailcanary-alertmanager-"))
        super().__init__("alertmanager", folder, free_ports(1)[0])
        self._configuration = folder / "alertmanager.yml"
        self._configuration.write_text(configuration)

    def command(self) -> list[str | Path]:
        return [
            "prometheus-alertmanager",
            f"--config.file={self._configuration}",
            f"--storage.path={self._folder / 'data'}",
            f"--web.listen-address={LOOPBACK}:{self.port}",
            "--cluster.listen-address=",
        ]

    def tell(self, alerts: Sequence[Mapping[str, str]]) -> None:
        """Alerts that begin now, by their labels, as Prometheus sends them; they end by themselves after minutes."""
        body = json.dumps([{"labels": labels, "annotations": {"summary": "Told."}} for labels in alerts]).encode()
        request = urllib.request.Request(
            self.url + "/api/v2/alerts", data=body, headers={"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=10).close()

    def alerts(self) -> list[dict[str, Any]]:
        """What it knows of: labels, and ``status.state``, which is ``active`` or ``suppressed``."""
        found: list[dict[str, Any]] = json.loads(self.get("/api/v2/alerts"))
        return found

    def failed(self, integration: str) -> float:
        """``alertmanager_notifications_failed_total`` of one integration, as Prometheus scrapes it."""
        start = f'alertmanager_notifications_failed_total{{integration="{integration}"}} '
        (line,) = [line for line in self.get("/metrics").splitlines() if line.startswith(start)]
        return float(line.removeprefix(start))
