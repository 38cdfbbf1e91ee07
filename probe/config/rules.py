"""Rules between sections: what no single option can know. Pure; each adds its breaches to the findings.

A rule looks only at values that were read, so that one mistake is reported once and hides no other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from probe.canary.identity import MIN_SECRET, SigningKey, route_mark
from probe.config.fields import Findings, nearest, shown
from probe.config.model import Detection, Limits, Route
from probe.message.addresses import untaggable
from probe.options import Rate

MINUTE = timedelta(minutes=1)
ROUTE_CEILING = 1_200  # a minute; no configuration can pass either
TOTAL_CEILING = 60_000
MAX_SERIES = 250_000
SERIES_A_LEG = 120  # what one leg costs in metrics, histogram buckets included
MX_LEGS = 16  # the most MX hosts of a route that get a label of their own (rule 6)


def legs_of(sender: Any) -> int:
    """The most legs a route of this sender can have; DNS, which is not asked here, tells the true number."""
    via = getattr(sender, "via", None)
    return MX_LEGS + 1 if via is not None and str(via) == "mx" else 1


def check_reference(
    name: str, fields: Mapping[str, Any], found: Findings, key: str, names: Iterable[str], what: str
) -> None:
    """What a route names by ``key`` exists: it is one of ``names``, each a ``what``."""
    valid = list(names)
    value = fields.get(key)
    if value is not None and value not in valid:
        hint = nearest(value, valid) or f"; there is {', '.join(valid) or 'none'}"
        found.add(f"routes.{name}.{key}", f"{shown(value)} is not a {what} of this configuration{hint}")


def check_tags(name: str, fields: Mapping[str, Any], found: Findings) -> None:
    """The addresses that are to be tagged have room for a tag."""
    for key, address in (("envelope_tag", "mail_from"), ("plus_tag", "rcpt_to")):
        value = fields.get(address)
        if not fields.get(key) or not isinstance(value, str):
            continue
        problem = untaggable(value)
        if problem is not None:
            found.add(f"routes.{name}.{key}", f"{shown(value)} cannot be tagged: {problem}")


def check_deadlines(name: str, fields: Mapping[str, Any], keep: timedelta | None, found: Findings) -> None:
    """overdue_after < lost_after <= watch_for <= keep."""
    path = f"routes.{name}"
    overdue, lost, watch = (fields.get(key) for key in ("overdue_after", "lost_after", "watch_for"))
    if overdue is not None and lost is not None and not overdue < lost:
        where = found.written(f"{path}.lost_after", f"{path}.overdue_after")
        found.add(where, f"lost_after ({spoken(lost)}) must be longer than overdue_after ({spoken(overdue)})")
    if lost is not None and watch is not None and not lost <= watch:
        where = found.written(f"{path}.watch_for", f"{path}.lost_after")
        found.add(where, f"watch_for ({spoken(watch)}) must be at least lost_after ({spoken(lost)})")
    if watch is not None and keep is not None and not watch <= keep:
        where = found.written(f"{path}.watch_for", "keep", path)
        found.add(where, f"watch_for ({spoken(watch)}) of route {name!r} must not be longer than keep ({spoken(keep)})")


def check_keys(keys: Iterable[tuple[int, SigningKey | None, str, int | None]], found: Findings) -> None:
    """Ids unique, no two with the same byte in a token, secrets long enough.

    ``keys``: (place in the list, the key where it can be made, its id, bytes of its secret where known).
    """
    ids: dict[str, int] = {}
    by_byte: dict[int, str] = {}
    for place, key, key_id, length in keys:
        if key_id in ids:
            found.add(f"keys.{place}.id", f"{key_id!r} is the id of keys.{ids[key_id]} too")
        ids.setdefault(key_id, place)
        if length is not None and length < MIN_SECRET:
            rule = f"has {length} bytes, and at least {MIN_SECRET} are needed; use mailcanary keygen"
            found.add(f"keys.{place}.secret", rule)
        if key is not None:
            other = by_byte.setdefault(key.key_id, key_id)
            if other != key_id:
                found.add(f"keys.{place}.id", f"{key_id!r} shares its byte in tokens with {other!r}; choose another id")


def check_marks(prober: str, routes: Iterable[str], found: Findings) -> None:
    """No two routes have the same mark in a token."""
    marks: dict[bytes, str] = {}
    for name in routes:
        other = marks.setdefault(route_mark(prober, name), name)
        if other != name:
            found.add(f"routes.{name}", f"shares its mark in tokens with {other!r}; choose another name")


def check_detection(detection: Detection, routes: Mapping[str, Mapping[str, Any]], found: Findings) -> None:
    """An explicit stall_limit is below every overdue_after; max_rate is below the ceiling."""
    if per_minute([detection.max_rate]) > ROUTE_CEILING:
        found.add(
            "detection.max_rate", f"{detection.max_rate} is more than the ceiling of {ROUTE_CEILING:,}/min a route"
        )
    if detection.stall_limit is None:
        return
    for name, fields in routes.items():
        overdue = fields.get("overdue_after")
        if overdue is not None and detection.stall_limit >= overdue:
            limit = spoken(detection.stall_limit)
            rule = f"{limit} must be shorter than overdue_after of route {name!r}, {spoken(overdue)}"
            found.add("detection.stall_limit", rule)


def check_ceilings(limits: Limits, found: Findings) -> None:
    """No limits allow more than the program's own ceilings."""
    for key, ceiling in (
        ("per_recipient", TOTAL_CEILING),
        ("per_route", ROUTE_CEILING),
        ("per_domain", TOTAL_CEILING),
        ("total", TOTAL_CEILING),
    ):
        rates: tuple[Rate, ...] = getattr(limits, key)
        if per_minute(rates) > ceiling:
            found.add(f"limits.{key}", f"allows {per_minute(rates):,}/min, and the ceiling is {ceiling:,}/min")


def check_rates(routes: Mapping[str, Route], limits: Limits, found: Findings) -> None:
    """What the routes plan to send stays below the caps; the arithmetic is in the message.

    Counted with one leg a route, which is exact for a relay and the least for MX hosts.
    """
    by_recipient: dict[str, list[Route]] = defaultdict(list)
    by_domain: dict[str, list[Route]] = defaultdict(list)
    for route in routes.values():
        by_recipient[route.rcpt_to.lower()].append(route)
        by_domain[route.rcpt_to.rpartition("@")[2].lower()].append(route)
        _compare([route], limits.per_route, "limits.per_route", found)
    for group in by_recipient.values():
        _compare(group, limits.per_recipient, "limits.per_recipient", found)
    for group in by_domain.values():
        _compare(group, limits.per_domain, "limits.per_domain", found)
    _compare(list(routes.values()), limits.total, "limits.total", found)


def _compare(group: list[Route], caps: Iterable[Rate], name: str, found: Findings) -> None:
    for cap in caps:
        planned = sum(cap.per / route.every for route in group)
        if planned <= cap.count * (1 + 1e-9):
            continue
        window = Rate(1, cap.per)
        unit = str(window).partition("/")[2]
        together = "" if len(group) == 1 else f" together with {_others(group)}"
        rule = f"every: {spoken(group[-1].every)}{together} makes {planned:.4g}/{unit}, and {name} allows {cap}"
        found.add(f"routes.{group[-1].name}.every", rule)
        return


def _others(group: list[Route]) -> str:
    others = [route.name for route in group[:-1]]
    return ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")


def check_series(legs: int, found: Findings) -> None:
    """The metrics stay at a size that a Prometheus bears."""
    if legs * SERIES_A_LEG > MAX_SERIES:
        found.add(
            "routes", f"{legs:,} legs make about {legs * SERIES_A_LEG:,} series, and the ceiling is {MAX_SERIES:,}"
        )


def per_minute(rates: Iterable[Rate]) -> int:
    """The most that can be sent in one minute under all of ``rates``: an hour's may go in its first minute."""
    return min(rate.count * max(1, MINUTE // rate.per) for rate in rates)


def spoken(duration: timedelta) -> str:
    """A duration as it would be written: in the largest unit that divides it."""
    microseconds = duration // timedelta(microseconds=1)
    for unit, size in (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000)):
        if microseconds and microseconds % size == 0:
            return f"{microseconds // size}{unit}"
    return f"{Decimal(microseconds) / 1000:f}ms"
