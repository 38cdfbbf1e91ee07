"""``mailcanary demo``: everything on an embedded mail system; its faults are switched from a second terminal."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from probe.cli.demo_client import ask
from probe.cli.output import json_option, print_json, say, table
from probe.clock import SystemClock
from probe.config.text import Listen, RuleError
from probe.config.values import parse_duration
from probe.errors import MailCanaryError, UnreachableError

if TYPE_CHECKING:
    from probe.sandbox.demo import DemoEnded, DemoStarted

DEFAULT_LISTEN = "127.0.0.1:9925"
DEFAULT_URL = f"http://{DEFAULT_LISTEN}"
# Written out: the sandbox is only imported to run it.
FAULTS = ("backup-db", "bad-host", "bounce", "delay", "duplicate", "greylist", "junk")


class Duration(click.ParamType[timedelta]):
    """``100ms 60s 2m 2h 3d``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(value)
        except RuleError as error:
            self.fail(f"{value!r} {error}", param, ctx)


_url_option = click.option("--url", default=DEFAULT_URL, show_default=True, help="Where the demo's page is.")


@click.group(
    invoke_without_command=True,
    short_help="Run everything on an embedded mail system, with faults to switch.",
    epilog="Example: mailcanary demo, and from a second terminal: mailcanary demo fault backup-db",
)
@click.option("--listen", default=DEFAULT_LISTEN, show_default=True, help="Metrics and status page.")
@click.option("--every", type=Duration(), default="1s", show_default=True, help="Time between canaries to a server.")
@click.option("--overdue-after", type=Duration(), default="5s", show_default=True, help="Later is a problem.")
@click.option("--lost-after", type=Duration(), default="15s", show_default=True, help="Not there by then: lost.")
@click.option("--run-for", type=Duration(), help="Stop by itself after this time.")
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where ledger and configuration go; default a new temporary folder.",
)
@click.pass_context
def demo(
    ctx: click.Context,
    *,
    listen: str,
    every: timedelta,
    overdue_after: timedelta,
    lost_after: timedelta,
    run_for: timedelta | None,
    state_dir: Path | None,
) -> None:
    """Run the whole thing on an embedded mail system: no configuration, no root, nothing leaves this host.

    Two inbound servers behind a DNS zone, a queue, two stores and a mailbox, and canaries to each server by its MX
    record. The faults repeat the incident of 9 September 2015, and more: switch them on the status page, or from a
    second terminal.
    """
    if ctx.invoked_subcommand is not None:
        return
    try:
        from probe.exposition.journal import Journal
        from probe.sandbox.demo import DemoOptions, run_demo
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("probe"):
            raise
        raise MailCanaryError(f"the demo's mail system needs {error.name}: pip install 'mailcanary[demo]'") from error
    options = DemoOptions(listen, every, overdue_after, lost_after, run_for, state_dir)
    clock = SystemClock()
    journal = Journal(sys.stdout, clock)
    try:
        ended = asyncio.run(run_demo(options, clock, journal, _announce))
    except asyncio.CancelledError:
        raise MailCanaryError("stopped at once by the second signal") from None
    finally:
        journal.close()
    _report(ended)


@demo.command(epilog="Example: mailcanary demo fault bad-host --intake mx2.sandbox.test --share 20%")
@click.argument("name", type=click.Choice([*FAULTS, "off"]))
@click.option("--share", default="100%", show_default=True, help="Of how much of the mail.")
@click.option("--seconds", type=float, help="How long delay holds a message.")
@click.option("--intake", help="Only mail through this server: mx1.sandbox.test or mx2.sandbox.test.")
@_url_option
def fault(name: str, share: str, seconds: float | None, intake: str | None, url: str) -> None:
    """Switch a fault of the running demo.

    \b
    backup-db  the backup database refuses writes: mail is accepted and vanishes, and the queue shows 0
    bad-host   one server loses what it accepts, mx2 where --intake names none; nothing can be re-queued
    bounce     mail is accepted, then a delivery report comes back in its place
    delay      mail waits in the queue for --seconds
    duplicate  mail is stored twice
    greylist   the first attempt of a canary is answered 450, the next one passes
    junk       mail lands in the folder for junk
    off        all faults off; what was held is delivered
    """
    wanted: dict[str, Any] = {"fault": name}
    if name != "off":
        wanted |= {"share": share, "seconds": seconds, "intake": intake}
    _show(ask(url, "/api/sandbox/faults", {key: value for key, value in wanted.items() if value is not None}))


@demo.command(epilog="Example: mailcanary demo requeue")
@_url_option
def requeue(url: str) -> None:
    """Bring back what the running demo dropped, as the repair of 2015 did."""
    answer = ask(url, "/api/sandbox/requeue", {})
    say(f"re-queued now: {answer.get('requeued_now')}")
    _show(answer)


@demo.command(epilog="Example: mailcanary demo status --json")
@_url_option
@json_option
def status(url: str, as_json: bool) -> None:
    """Show the figures of the running demo's mail system."""
    answer = ask(url, "/api/sandbox")
    if as_json:
        print_json(answer)
    else:
        _show(answer)


def _show(state: dict[str, Any]) -> None:
    if "queue" not in state:
        raise UnreachableError("what answers there is not a demo")
    rows: list[tuple[str, ...]] = [("messages in the queue", str(state.get("queue")))]
    rows += [(f"accepted by {one['host']}", str(one["accepted"])) for one in state.get("intakes", ())]
    rows += [(f"lost by {one['host']}", str(one["lost"])) for one in state.get("intakes", ()) if one.get("lost")]
    rows += [
        ("delivered", str(state.get("delivered"))),
        ("of these into Junk", str(state.get("junked"))),
        ("of these stored twice", str(state.get("duplicated"))),
        ("bounced", str(state.get("bounced"))),
        ("dropped after the 250", str(state.get("dropped"))),
        ("of these re-queued", str(state.get("requeued"))),
        ("put off by greylisting", str(state.get("greylisted"))),
        ("faults", "; ".join(map(_fault_line, state.get("faults", ()))) or "none"),
    ]
    for line in table(rows):
        say(line)


def _fault_line(one: dict[str, Any]) -> str:
    words = [str(one["fault"]), f"{one['seconds']:g} s" if one.get("seconds") else "", f"share {one['share']:.4g}"]
    words.append(f"through {one['intake']}" if one.get("intake") else "")
    return " ".join(filter(None, words))


def page_of(listen: Listen) -> str:
    """The address to open in a browser for what the web side listens on."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)
    return f"http://{Listen(host, listen.port)}"


def _announce(started: DemoStarted) -> None:
    url = page_of(started.config.listen)
    there = "" if url == DEFAULT_URL else f" --url {url}"
    say("mailcanary demo: an inbound mail system on this host, and canaries to each of its two servers", bold=True)
    say()
    for line in table(
        [
            ("  status page", f"{url}/"),
            ("  metrics", f"{url}/metrics"),
            ("  configuration", str(started.config_file)),
            ("  ledger", str(started.config.ledger)),
            ("  DNS of sandbox.test", started.resolver),
        ]
    ):
        say(line)
    say()
    say("Try, on the page or from a second terminal:")
    for line in table(
        [
            (f"  mailcanary demo fault backup-db{there}", "mail is accepted and vanishes; the queue shows 0"),
            (f"  mailcanary demo fault bad-host{there}", "one of two servers loses what it accepts"),
            (f"  mailcanary demo fault delay --seconds 20{there}", "mail comes late; the queue shows it"),
            (f"  mailcanary demo fault NAME{there}", "also bounce, duplicate, greylist, junk"),
            (f"  mailcanary demo fault off{there}", "all well again"),
            (f"  mailcanary demo requeue{there}", "what vanished comes back"),
            (f"  mailcanary demo status{there}", "what the mail system says of itself"),
            (f"  mailcanary canaries -c {started.config_file}", "the ledger"),
        ]
    ):
        say(line)
    say()
    say("Ctrl-C stops it.")
    say()


def _report(ended: DemoEnded) -> None:
    state = ended.sandbox
    accepted = sum(one.accepted for one in state.intakes)
    say()
    say(
        f"Stopped. The mail system accepted {accepted}, delivered {state.delivered}, bounced {state.bounced}, "
        f"lost {sum(one.lost for one in state.intakes)} on a bad host, dropped {state.dropped}, "
        f"re-queued {state.requeued}; {state.queue} waited."
    )
    say(f"The ledger is {ended.ledger}; read it with: mailcanary canaries -c {ended.config_file}")
