"""``mailcanary plan``: what the present rates can see, and the rate that a target needs. Nothing is sent."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from probe.cli.output import config_option, json_option, print_json, say, table, warn
from probe.cli.plan_noise import given, learned
from probe.cli.plan_rates import NOISE, Noise, Outlook, Target, installation, legs_in, outlook
from probe.cli.plan_text import plot_lines, rows
from probe.clock import NANOSECONDS, SystemClock
from probe.config.load import load
from probe.config.model import Config
from probe.config.text import RuleError
from probe.config.values import parse_duration, parse_share
from probe.detection.plan import PAGE_DELAY
from probe.errors import LedgerMissing, UsageError
from probe.exposition.present import clean
from probe.ledger.opening import open_for_reading
from probe.ledger.queries import Queries

DAY = 86_400 * NANOSECONDS
MOST_PLOTS = 6


class _Share(click.ParamType[float]):
    name = "percentage"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            share = float(parse_share(str(value)))
        except RuleError as problem:
            self.fail(f"{value!r} {problem}", param, ctx)
        if not 0 < share <= 1:
            self.fail("must be more than 0% and at most 100%", param, ctx)
        return share


class _Within(click.ParamType[timedelta]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        try:
            duration = parse_duration(str(value))
        except RuleError as problem:
            self.fail(f"{value!r} {problem}", param, ctx)
        if duration <= timedelta(0):
            self.fail("must be more than 0", param, ctx)
        return duration


@click.command(
    epilog="""\b
Examples:
  mailcanary plan
  mailcanary plan --route support-inbound --loss 5% --within 15m
  mailcanary plan --json | jq '{route, every: .target.every_seconds}'""",
    short_help="What the present rates can see, and the rate that a target needs.",
)
@config_option
@click.option("--loss", type=_Share(), default="1%", show_default=True, help="The share lost of one leg's mail.")
@click.option("--within", type=_Within(), default="30m", show_default=True, help="From its onset to the pager.")
@click.option("--route", help="Only this route.")
@click.option(
    "--noise",
    type=_Share(),
    help="Healthy canaries that start an overdue run. Where left out, what each route's noisiest leg has learned, and "
    f"{NOISE:.1%} where none has yet.",
)
@click.option("--plot/--no-plot", default=None, help="A plot of time against loss; by default only on a terminal.")
@json_option
def plan(
    config: Path,
    loss: float,
    within: timedelta,
    route: str | None,
    noise: float | None,
    plot: bool | None,
    as_json: bool,
) -> None:
    """What the present rates can see, and the rate that a target needs.

    For each route and share lost of one leg's mail: the time from its onset to the pager on average and in 95 of 100
    cases, the canaries of the schedule that show one lost with 95 %, and the limit that holds the hunt back. Then the
    rate that finds --loss within --within. The figures are those of a model of the detector, right within about a
    fifth; stalls, blind time and other legs that hunt at the same time are not in it.

    The legs are those that canaries were sent by in the last day. Reads the configuration and the ledger only. With
    --json, one object a route.
    """
    loaded = load(config, secrets=False)
    if route is not None and route not in loaded.routes:
        known = ", ".join(sorted(loaded.routes))
        raise UsageError(f"there is no route {clean(route, 60)!r}; there is {known or 'none'}")
    legs, heard = _ledger(loaded)
    found = installation(loaded, legs, heard if noise is None else given(loaded, noise))
    target = Target(loss, within.total_seconds())
    outlooks = [outlook(found, name, target) for name in loaded.routes if route in (None, name)]
    if as_json:
        for one in outlooks:
            print_json(one.to_json())
        return
    _tell(outlooks, plot=sys.stdout.isatty() if plot is None else plot)


def _ledger(config: Config) -> tuple[dict[str, tuple[str, ...]], dict[str, Noise]]:
    """By route, the legs of the last day and the noise; none where the ledger knows of none, or is not there yet."""
    now = SystemClock().now().wall
    try:
        queries = Queries(open_for_reading(config.ledger))
    except LedgerMissing:
        warn("there is no ledger yet, so one leg a route is assumed")
        return {}, {}
    try:
        legs = {name: legs_in(queries.hosts_since(name, now - DAY)) for name in config.routes}
        return legs, learned(config, legs, queries.detectors(), now / NANOSECONDS)
    finally:
        queries.close()


def _tell(outlooks: list[Outlook], *, plot: bool) -> None:
    for number, line in enumerate(table(rows(outlooks))):
        say(line, bold=number == 0)
    for one in outlooks:
        say(clean(f"{one.route}: noise {one.leg.noise:.2%}, {one.noise_origin}"))
    for one in outlooks:
        for sentence in one.notes:
            warn(clean(f"{one.route}: {sentence}"))
    say()
    for one in outlooks:
        say(clean(f"{one.route}: {one.sentence}"), colour=None if one.met else "yellow")
    say(f"Times are to the pager: the detector's and {PAGE_DELAY:g} s for scrape, evaluation and grouping.")
    if plot:
        _plot(outlooks)


def _plot(outlooks: list[Outlook]) -> None:
    """One plot for all routes that see the same."""
    alike: dict[Any, list[Outlook]] = {}
    for one in outlooks:
        alike.setdefault(one.leg, []).append(one)
    for number, group in enumerate(alike.values()):
        if number == MOST_PLOTS:
            warn(f"{len(alike) - MOST_PLOTS} more plots are left out; --route names one")
            return
        say()
        say(clean(", ".join(one.route for one in group), 200), bold=True)
        for line in plot_lines(group[0].leg, group[0].target):
            say(line)
