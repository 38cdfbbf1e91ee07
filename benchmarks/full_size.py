"""The report's lines, sections and method for what is measured at full size: fleet, restart, rows, month."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Row = tuple[str, str, str, str]
Section = tuple[str, Row, list[Row]]

METHOD = """\
* **Fleet**: 1,000 routes at one a minute over 20 mailboxes against scripted SMTP and IMAP servers in a process of their
  own, default limits but per_domain; after a warm-up of more than a minute, a window with scrapes in OpenMetrics and
  one with the plain format, each every 15 s over one connection. Memory: VmRSS at the window's end, VmHWM the most.
* **Start**: 100,000 canaries in flight, made by the ledger's own code (100 minutes of a fleet whose mail stands still);
  from before the process is made to the first SELECT at the scripted IMAP server; the median of three starts, each
  after a kill.
* **Rows**: 10 million canaries, one real minute of a fleet repeated by SQL with new ids and times; moves, attempts and
  copies of the newest tenth. Each question is a whole process, first with nothing of the ledger in the page cache.
* **Month**: the real ledger and its writer in virtual time; whole lives at 1,000 canaries a minute, of which only every
  120th minute is written, with `keep: 5d`; pruned after each of them while commits go on.
"""


def rows(results: Mapping[str, Any]) -> Iterator[Row]:
    """The table's lines for what was measured."""
    if fleet := results.get("fleet"):
        yield from _fleet(fleet)
    if restart := results.get("restart"):
        for one in restart["starts"]:
            label = (
                f"start to first read, {restart['canaries']:,} in flight, {one['mailboxes']} mailboxes, "
                f"{one['routes']:,} routes"
            )
            text = f"{one['first_read_seconds']:.2f} s ({restart['imports_seconds']:.2f} s of it Python and imports)"
            met = one["first_read_seconds"] <= restart["bar_seconds"]
            yield label, text, f"≤ {restart['bar_seconds']:g} s", _met(met)
    if found := results.get("rows"):
        slowest, bar = found["slowest_seconds"], found["bar_seconds"]
        label = f"`canaries` and `explain`, {found['canaries']:,} canaries, slowest of {2 * len(found['answers'])}"
        yield label, f"{slowest:.2f} s", f"≤ {bar:g} s", _met(slowest <= bar)
        label = f"`canaries` with {found['routes']:,} routes configured"
        seconds = found["all_routes_configured_seconds"]
        yield label, f"{seconds:.2f} s", f"≤ {bar:g} s", _met(seconds <= bar)
    if month := results.get("month"):
        yield from _month(month)


def _fleet(fleet: Mapping[str, Any]) -> Iterator[Row]:
    for name, one in fleet["windows"].items():
        where = f"{fleet['routes']:,} routes, {fleet['mailboxes']} mailboxes, scraped as {name}"
        value, bar = one["core_percent"], fleet["bar_core_percent"]
        yield f"CPU, {where}", f"{value:.1f} % of a core", f"≤ {bar:g} %", _met(value <= bar)
        value, bar = one["rss_most_mb"], fleet["bar_rss_mb"]
        text = f"{one['rss_mb']:.0f} MB, at most {value:.0f} MB"
        yield f"memory, {where}", text, f"≤ {bar:g} MB", _met(value <= bar)
        text = (
            f"{one['scrape_cpu_ms']:.0f} ms of CPU, {one['scrape_samples']:,} samples, "
            f"{one['scrape_bytes'] / 1e6:.1f} MB"
        )
        yield f"a scrape, {where}", text, "", ""


def _month(month: Mapping[str, Any]) -> Iterator[Row]:
    title = f"{month['days']} days, kept {month['keep_days']}, 1 minute of {month['compressed']}"
    last = month["states"][-1]
    text = f"{last['file_mb']:,.0f} MB, {month['growth_percent']:+.1f} % in the second half"
    yield f"ledger, {title}", text, "bounded", _met(month["growth_percent"] <= 5)
    text = f"{last['rss_mb']:.0f} MB, {month['memory_growth_percent']:+.1f} % in the second half"
    yield f"memory, {title}", text, "flat", _met(month["memory_growth_percent"] <= 5)
    text = (
        f"p50 {month['commit_beside_pruning_ms_p50']:.1f} ms, max {month['commit_beside_pruning_ms_max']:.0f} ms "
        f"(otherwise, of 50 canaries: {month['commit_ms_p50']:.1f} and {month['commit_ms_max']:.0f} ms)"
    )
    yield "a commit while the ledger is pruned", text, "", ""
    text = f"{month['bytes_a_canary']:,} bytes; {month['full_size_gb_a_kept_day']:.1f} GB a kept day at 1,000/min"
    yield "a canary in the ledger", text, "", ""


def _met(yes: bool) -> str:
    return "yes" if yes else "NO"


def sections(results: Mapping[str, Any]) -> Iterator[Section]:
    """Tables of their own: title, head, lines."""
    if found := results.get("rows"):
        head: Row = ("question", "cold", "warm", "CPU")
        lines: list[Row] = [
            (
                f"`{one['question']}`",
                f"{one['cold_seconds']:.2f} s",
                f"{one['warm_seconds']:.2f} s",
                f"{one['cpu_seconds']:.2f} s",
            )
            for one in found["answers"]
        ]
        yield f"Questions to a ledger of {found['canaries']:,} canaries ({found['ledger_gb']} GB)", head, lines
    if month := results.get("month"):
        head = ("day", "canaries held", "ledger (free pages)", "memory")
        lines = [
            (
                str(one["day"]),
                f"{one['canaries_held']:,}",
                f"{one['file_mb']:,.1f} MB ({one['free_percent']} %)",
                f"{one['rss_mb']} MB",
            )
            for one in month["states"]
        ]
        yield "The ledger in a month", head, lines
