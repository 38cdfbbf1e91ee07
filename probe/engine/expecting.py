"""Which routes a mail may belong to: those of the configuration, and whatever canaries still out were sent under. Pure.

A route may be removed, or given another mailbox, sender or watch, or the prober another name, while canaries are under
way (rule 4). Recognised by the present configuration alone they would pass for somebody else's mail, and then be called
lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta

from probe.canary.identity import route_mark
from probe.config.model import Route
from probe.engine.flying import Outline
from probe.message.recognise import RouteExpectation


def expectations(prober: str, routes: Iterable[Route], out: Iterable[Outline]) -> Mapping[bytes, RouteExpectation]:
    """By ``route_mark``. ``out``: canaries that may still arrive."""
    forms: dict[tuple[str, str], dict[RouteExpectation, None]] = {}
    for route in routes:
        form = RouteExpectation(route.name, route.mailbox, route.mail_from, _milliseconds(route.watch_for))
        forms.setdefault((prober, route.name), {})[form] = None
    # Of many canaries in flight, nearly all were sent in the same way as another one.
    ways = dict.fromkeys((one.prober, one.leg, one.mail_from, one.deadlines.watch_for) for one in out)
    for prober_then, leg, mail_from, watch in ways:
        form = RouteExpectation(leg.route, leg.mailbox, mail_from, _milliseconds(watch))
        forms.setdefault((prober_then, leg.route), {})[form] = None
    return {
        route_mark(*names): replace(first, earlier=tuple(rest))
        for names, (first, *rest) in ((names, list(some)) for names, some in forms.items())
    }


def _milliseconds(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)
