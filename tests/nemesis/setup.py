"""From a plan's setup to a configuration: senders, mailboxes and routes of the fake kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path as File
from typing import Any

from probe.canary.identity import SigningKey
from probe.config.model import Config, Limits, Route
from probe.mailboxes.imap import Cleanup, CleanupMode
from probe.options import Rate
from tests.engine.fakes import FakeSender
from tests.nemesis.mail import Box, BoxOptions

KEY = SigningKey("k1", b"n" * 32)
Spec = dict[str, Any]


def recipient(route: Mapping[str, Any]) -> str:
    """Each mailbox that a route may use has an address of its own."""
    return f"{route['name']}.{route['mailbox']}@example.net"


def configure(
    spec: Spec, folder: File, boxes: Mapping[str, Box], senders: Mapping[str, FakeSender], dead: Callable[[], bool]
) -> Config:
    """The configuration that a spec stands for."""
    return Config(
        keys=(KEY,),
        senders={route["name"]: senders[route["name"]] for route in spec["routes"]},
        mailboxes={name: _options(one, boxes[name], dead) for name, one in spec["mailboxes"].items()},
        routes={route["name"]: _route(route) for route in spec["routes"]},
        prober="p1",
        ledger=folder / "ledger.sqlite",
        control=folder / "control.sock",
        limits=Limits(**{name: tuple(_rate(one) for one in rates) for name, rates in spec["limits"].items()}),
    )


def _rate(rate: list[float]) -> Rate:
    return Rate(int(rate[0]), timedelta(seconds=rate[1]))


def _options(one: Mapping[str, Any], box: Box, dead: Callable[[], bool]) -> BoxOptions:
    cleanup = Cleanup(mode=CleanupMode.OFF)
    if one["cleanup"]:
        cleanup = Cleanup(after=timedelta(seconds=one["cleanup"]))
    return BoxOptions(
        box,
        tuple(one["folders"]),
        one["exclusive"],
        timedelta(seconds=one["idle_poll"]),
        Rate(int(one["poll_rate"] * 10), timedelta(seconds=10)),
        cleanup,
        timedelta(seconds=one["control"]) if one["control"] else None,
        one["idle"],
        dead,
    )


def _route(route: Mapping[str, Any]) -> Route:
    return Route(
        route["name"],
        route["name"],
        "probe@example.org",
        recipient(route),
        route["mailbox"],
        bounces=route["bounces"],
        every=timedelta(seconds=route["every"]),
        overdue_after=timedelta(seconds=route["overdue_after"]),
        lost_after=timedelta(seconds=route["lost_after"]),
        watch_for=timedelta(seconds=route["watch_for"]),
        paging=route["paging"],
    )


def changed(spec: Spec, base: Spec, draw: float) -> tuple[str, Spec]:
    """What a reload changes, and the spec after it. Nothing that would make a mailbox's ``exclusive`` a lie."""
    after: Spec = {**spec, "routes": [dict(route) for route in spec["routes"]]}
    routes = after["routes"]
    kind = int(draw * 8)
    pick = routes[int(draw * 8 % 1 * len(routes))] if routes else None
    if kind == 0 and len(routes) > 1 and pick is not None:
        routes.remove(pick)
        return f"without {pick['name']}", after
    if kind in (1, 2):
        factor = 0.6 if kind == 1 else 1.5
        after["limits"] = {
            name: [[max(1, int(rate[0] * factor)), rate[1]] for rate in rates] for name, rates in base["limits"].items()
        }
        return f"limits times {factor}", after
    if kind == 3 and pick is not None:
        pick["overdue_after"], pick["lost_after"] = pick["overdue_after"] + 3, pick["lost_after"] + 10
        pick["watch_for"] += 10
        return f"other deadlines of {pick['name']}", after
    if kind == 4 and pick is not None:
        others = [name for name in after["mailboxes"] if name not in (pick["mailbox"], "reports")]
        if others:
            pick["bounces"] = others[0] if pick["bounces"] == pick["mailbox"] else pick["bounces"]
            pick["mailbox"] = others[0]
            return f"{pick['name']} to {others[0]}", after
    if kind == 5 and pick is not None:
        pick["paging"] = not pick["paging"]
        return f"paging of {pick['name']}", after
    if kind == 6 and pick is not None and "two" in after["mailboxes"]:
        used = {name for route in routes for name in (route["mailbox"], route["bounces"])}
        if "two" not in used:
            after["mailboxes"] = {name: one for name, one in after["mailboxes"].items() if name != "two"}
            return "without mailbox two", after
    return "the first one", {**base, "routes": [dict(route) for route in base["routes"]]}
