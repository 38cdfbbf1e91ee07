"""Figures as text: a table for the terminal and docs/benchmarks.md, and the machine they were found on."""

from __future__ import annotations

import os
import platform
import sqlite3
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import full_size
from probe import __version__

Row = tuple[str, str, str, str]
HEAD: Row = ("what", "measured", "bar", "met")

_PEERS = """\
## Peers

As reported in the papers, on other machines and not measured here: CPU per canary 346 ms (Checkmk), 92 ms (Nagios),
51 ms (a 24-line script), 5.9 ms (a Python daemon without ledger), 2.0 ms (a Go daemon without IMAP, TLS or ledger).
"""

_INTRO = """\
# Benchmarks

Written by `python -m benchmarks --write`; do not edit by hand. `make bench` measures the same anew and prints it;
nothing here is asserted by the tests. A bar that is not met says so.

"""

_METHOD = """\
## How it is measured

* **CPU per canary**: `mailcanary run` in a process of its own against the Postfix and Dovecot of the tests on
  loopback, durable ledger (`synchronous=FULL`), a scrape of `/metrics` every 10 s. User and system time of the
  process between two moments, divided by the canaries delivered between them; start-up is excluded, clean-up of the
  mailbox included (after 8 s instead of 24 h), pruning of the ledger measured apart and added. Mail servers share
  the machine.
* **Canaries a second**: the daemon pinned to one CPU, scripted SMTP and IMAP servers that answer at once on
  another. Sustained: at least 98 % of what was offered in the window was delivered in it, and less than a second's
  worth was in flight at its end.
* **Latency**: reported latency against Dovecot's log line "saved mail" (microseconds, by Message-ID) less the final
  dot; mail delivered at once, and mail that Postfix held, each such canary alone in its mailbox.
* **Latency and IDLE**: the same error where a server tells of mail at once (scripted), 0.5 s later (Dovecot) or not
  at all (Dovecot without the capability); mail held between the final dot and the mailbox, each held canary alone in
  its mailbox, and the IMAP commands from one arrival to a later one.
* **IMAP**: commands and bytes (both ways) on the connection over whole periods between canaries, folders INBOX and
  junk.
* **Where the time goes**: cProfile of every thread in a second run, waits left out, scaled to the CPU that each thread
  used without a profiler. The standard library's cost is its caller's.

What falls short, why, and what was tried: [decisions/0103](decisions/0103-cpu-budget.md).
""".replace("* **IMAP**", full_size.METHOD + "* **IMAP**")


def machine() -> dict[str, Any]:
    """What the figures depend on. ``load``: the average of the last minute when asked, other work included."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    cpu = models[0].partition(":")[2].strip() if models else platform.machine()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "version": __version__,
        "cpu": cpu,
        "cpus": os.cpu_count(),
        "memory_gb": round(memory / 1e9, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "openssl": ssl.OPENSSL_VERSION.split(" ")[1],
        "load": round(os.getloadavg()[0], 2),
    }


def rows(results: Mapping[str, Any]) -> Iterator[Row]:
    """The table's lines for what was measured."""
    if cpu := results.get("cpu"):
        yield from _cpu(cpu)
    if throughput := results.get("throughput"):
        best, bar = throughput["sustained_per_second"], throughput["bar_per_second"]
        yield "canaries a second on one core, sustained", f"{best}", f"≥ {bar}", _met(best >= bar)
    if latency := results.get("latency"):
        for kind, title in (("immediate", "immediate"), ("delayed", f"held {latency['delay_seconds']:g} s")):
            one = latency[kind]
            text = f"p50 {one['error_p50_ms']} ms, p95 {one['error_p95_ms']} ms, max {one['error_max_ms']} ms"
            met = one["within_bar"] == one["canaries"]
            yield f"error of the latency, {title} ({one['canaries']} canaries)", text, latency["bar"], _met(met)
    if idle := results.get("idle"):
        yield from _idle(idle)
    yield from full_size.rows(results)
    if imap := results.get("imap"):
        for name, title in (("empty", "empty mailbox"), ("full", f"{imap['foreign_messages']:,} foreign messages")):
            one, every = imap[name], imap["every_seconds"]
            for what, bar in (("commands", imap["bar_commands"]), ("bytes", imap["bar_bytes"])):
                value = one[f"{what}_per_canary"]
                label = f"IMAP {what} per canary, one a {every} s, {title}"
                yield label, f"{value:,}", f"≤ {bar:,}", _met(value <= bar)


def _cpu(cpu: Mapping[str, Any]) -> Iterator[Row]:
    for name, title in (("plain", "in clear"), ("tls", "STARTTLS and implicit TLS")):
        bar = cpu["bars_ms"][name]
        for run in cpu[name]["runs"]:
            value = run["whole_life_ms_per_canary"]
            label = f"CPU per canary, {title}, {run['offered_per_second']:g}/s ({run['canaries']} canaries)"
            yield label, f"{value:.2f} ms", f"≤ {bar:g} ms", _met(value <= bar)
    yield "CPU when idle (one mailbox)", f"{cpu['idle_core_percent']:.2f} % of a core", "", ""


def _idle(idle: Mapping[str, Any]) -> Iterator[Row]:
    for server in idle["servers"].values():
        for hold, one in server["held"].items():
            text = f"p50 {one['error_p50_ms']} ms, p95 {one['error_p95_ms']} ms, max {one['error_max_ms']} ms"
            label = f"error of the latency, {server['title']}, held {hold} s ({one['canaries']} canaries)"
            text += f"; {one['commands_per_canary']:g} commands a canary"
            yield label, text, idle["bar"], _met(one["within_bar"] == one["canaries"])


def _met(yes: bool) -> str:
    return "yes" if yes else "NO"


def table(results: Mapping[str, Any]) -> str:
    """For a terminal."""
    lines = [HEAD, *rows(results)]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[3]]).rstrip()
        for line in lines
    )


def document(results: Mapping[str, Any]) -> str:
    """docs/benchmarks.md."""
    facts = results["machine"]
    where = (
        f"mailcanary {facts['version']}, {facts['date']}: {facts['cpus']} CPUs {facts['cpu']}, "
        f"{facts['memory_gb']} GB, Linux {facts['kernel']}, Python {facts['python']}, SQLite {facts['sqlite']}, "
        f"OpenSSL {facts['openssl']}; "
        f"load average {facts['load']} before the run and {results['load_after']} after it"
        f"{', quick run' if results['quick'] else ''}.\n"
    )
    if note := results.get("note"):
        where += f"\n{note}\n"
    parts = [_INTRO + where, "## Figures\n\n" + _markdown(HEAD, rows(results)), _PEERS]
    parts += [f"## {title}\n\n{_markdown(head, iter(lines))}" for title, head, lines in full_size.sections(results)]
    if throughput := results.get("throughput"):
        parts.append("## Rates tried on one core\n\n" + _rates(throughput))
        parts.append(_profile("scripted servers", throughput["profile"]))
    if cpu := results.get("cpu"):
        parts += [
            _profile(f"Postfix and Dovecot, {name}", cpu[name]["profile"])
            for name in ("plain", "tls")
            if "profile" in cpu[name]
        ]
    return "\n".join([*parts, _METHOD])


def _rates(throughput: Mapping[str, Any]) -> str:
    head: Row = ("offered/s", "delivered/s", "% of the core", "CPU ms per canary")
    steps = throughput["steps"]
    lines = (
        (
            str(step["offered_per_second"]),
            f"{step['delivered_per_second']}{'' if step['sustained'] else ' (not sustained)'}",
            str(step["core_percent"]),
            str(step["cpu_ms_per_canary"]),
        )
        for step in steps
    )
    return _markdown(head, lines)


def _profile(title: str, profile: Mapping[str, Any]) -> str:
    head: Row = ("thread", "part", "ms per canary", "%")

    def lines(kind: str) -> Iterator[Row]:
        for row in profile[kind]:
            what = row["what"] if kind == "parts" else f"`{row['what']}`"
            yield row["thread"], what, f"{row['ms_per_canary']:.3f}", f"{row['percent']:.1f}"

    return (
        f"## Where the time goes: {title}, {profile['offered_per_second']:g}/s\n\n{_markdown(head, lines('parts'))}\n"
        f"The dearest functions by their own time:\n\n{_markdown(head, lines('functions'))}"
    )


def _markdown(head: Row, lines: Iterator[Row]) -> str:
    every = [head, ("---",) * len(head), *lines]
    return "".join("| " + " | ".join(line) + " |\n" for line in every)
