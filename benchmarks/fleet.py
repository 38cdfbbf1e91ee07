"""A fleet: 1,000 routes at one canary a minute over 20 mailboxes, scraped every 15 s. What does the daemon cost?

The daemon is a process of its own; scripted SMTP and IMAP servers, which answer at once, are another. Measured is a
window after a warm-up of more than a minute (every leg has sent by then), once with scrapes in OpenMetrics, which is
what Prometheus asks for, and once in the plain text format. Memory is what the kernel says is resident at the window's
end and at most (VmHWM). A scrape's CPU is what the process used while it was answered, less what it would have used
meanwhile without it.
"""

from __future__ import annotations

import gzip
import http.client
import time
from pathlib import Path
from typing import Any

from benchmarks.setup import OTHER_OUTCOMES, PASSWORD, DaemonProcess, Site, per_canary, percentile, until
from benchmarks.throughput import Scripted
from tests.worlds.ports import LOOPBACK

BAR_CORE_PERCENT = 10.0
BAR_RSS_MB = 200.0
SCRAPE_EVERY = 15.0
FORMATS = {
    "openmetrics": "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1",
    "plain": "text/plain;version=0.0.4",
}
_LIMITS = "{per_recipient: [60/min], per_domain: [1200/min]}"  # one domain for all; the rest as by default


def site_for(servers: Scripted, routes: int, mailboxes: int, every: str, ledger: Path | None = None) -> Site:
    """Each route with a recipient of its own (a plus address), spread evenly over the mailboxes."""
    return Site(
        senders={"relay": {"kind": "smtp", "host": "127.0.0.1", "port": servers.smtp, "tls": "none"}},
        mailboxes={
            f"box{n}": {
                "kind": "imap",
                "host": "127.0.0.1",
                "port": servers.imap,
                "tls": "none",
                "username": f"box{n}",
                "password": PASSWORD,
                "cleanup": "{mode: 'off'}",
            }
            for n in range(mailboxes)
        },
        routes={
            f"route-{n:04}": {
                "sender": "relay",
                "mail_from": "canary-probe@lab.test",
                "rcpt_to": f"box{n % mailboxes}+r{n}@lab.test",
                "mailbox": f"box{n % mailboxes}",
                "every": every,
            }
            for n in range(routes)
        },
        limits=_LIMITS,
        ledger=ledger,
    )


class Scraper:
    """GET /metrics over a connection that is kept, as Prometheus does, and what each cost."""

    def __init__(self, daemon: DaemonProcess, port: int, accept: str) -> None:
        self._daemon = daemon
        self._connection = http.client.HTTPConnection(LOOPBACK, port, timeout=60)
        self._accept = accept
        self.body = b""
        self.seconds: list[float] = []
        self.cpu = 0.0

    def scrape(self) -> None:
        cpu, begin = self._daemon.cpu_seconds(), time.monotonic()
        self._connection.request("GET", "/metrics", headers={"Accept": self._accept, "Accept-Encoding": "gzip"})
        response = self._connection.getresponse()
        body = response.read()
        self.seconds.append(time.monotonic() - begin)
        self.cpu += self._daemon.cpu_seconds() - cpu
        self.body = gzip.decompress(body) if response.getheader("Content-Encoding") == "gzip" else body
        self.sent = len(body)

    def close(self) -> None:
        self._connection.close()


def window(daemon: DaemonProcess, site: Site, accept: str, seconds: float, every: float) -> dict[str, Any]:
    """One window, from half an interval before a scrape to half an interval after the last."""
    scraper = Scraper(daemon, site.port, accept)
    threads, before = daemon.thread_seconds(), site.states()
    cpu, begin = daemon.cpu_seconds(), time.monotonic()
    while (due := begin + (len(scraper.seconds) + 0.5) * every) < begin + seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        scraper.scrape()
    time.sleep(max(0.0, begin + seconds - time.monotonic()))
    used, passed, after = daemon.cpu_seconds() - cpu, time.monotonic() - begin, site.states()
    by_thread = daemon.thread_seconds()
    scraper.close()
    count, scraping = len(scraper.seconds), sum(scraper.seconds)
    base = (used - scraper.cpu) / (passed - scraping)
    delivered = after.get("delivered", 0) - before.get("delivered", 0)
    return {
        "seconds": round(passed, 1),
        "canaries": delivered,
        "core_percent": round(100 * used / passed, 2),
        "core_percent_without_scrapes": round(100 * base, 2),
        "cpu_ms_per_canary_without_scrapes": round(1000 * base * passed / max(1, delivered), 3),
        "rss_mb": round(daemon.rss_mb(), 1),
        "rss_most_mb": round(daemon.rss_mb(most=True), 1),
        "scrapes": count,
        "scrape_cpu_ms": round(1000 * (scraper.cpu - base * scraping) / max(1, count), 1),
        "scrape_seconds_p50": round(percentile(scraper.seconds, 0.5), 3),
        "scrape_bytes": len(scraper.body),
        "scrape_bytes_sent": scraper.sent,
        "scrape_samples": sum(1 for line in scraper.body.splitlines() if line and not line.startswith(b"#")),
        "other_outcomes": {state: number for state, number in after.items() if state in OTHER_OUTCOMES},
        "cpu_ms_per_canary_by_thread": per_canary(by_thread, threads, delivered),
    }


def measure(*, quick: bool = False, tiny: bool = False) -> dict[str, Any]:
    """Start, warm up, then a window a format."""
    routes, mailboxes, every = (6, 2, 1.0) if tiny else (1000, 20, 60.0)
    warm_up, seconds = (1.5, 2.0) if tiny else (75.0, 60.0) if quick else (75.0, 120.0)
    scrape_every = 1.0 if tiny else SCRAPE_EVERY
    servers = Scripted()
    site = site_for(servers, routes, mailboxes, f"{every:g}s")
    found: dict[str, Any] = {"routes": routes, "mailboxes": mailboxes, "every_seconds": every}
    found |= {"scrape_every_seconds": scrape_every, "bar_core_percent": BAR_CORE_PERCENT, "bar_rss_mb": BAR_RSS_MB}
    try:
        begin = time.monotonic()
        with DaemonProcess(site) as daemon:
            daemon.ready(120)
            found["start_seconds"] = round(time.monotonic() - begin, 2)
            found["start_cpu_seconds"] = round(daemon.cpu_seconds(), 2)
            until(lambda: site.delivered() >= routes, every + 60, "every leg has sent")
            time.sleep(max(0.0, begin + warm_up - time.monotonic()))
            found["windows"] = {
                name: window(daemon, site, accept, seconds, scrape_every) for name, accept in FORMATS.items()
            }
    finally:
        servers.close()
        site.close()
    return found
