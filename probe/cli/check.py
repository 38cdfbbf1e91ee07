"""``mailcanary check``: is the configuration right, and with ``--connect``, is every server it names there.

Validation touches no network. ``--connect`` opens what the daemon would open and reads what it would read; it sends no
mail, changes no folder, and goes on to the next item when one fails.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click

from probe.cli.output import config_option, json_option, print_json, say, table
from probe.clock import Clock, SystemClock
from probe.config.load import load
from probe.config.model import Config
from probe.config.rules import legs_of, spoken
from probe.errors import ConfigError, MailCanaryError, UnreachableError
from probe.mailboxes.base import FolderRequest
from probe.senders.base import OTHER, NoHosts, Result, Sender, Submission

HOUR = timedelta(hours=1)
NOT_LOOKED_AT = "SPF records and the PTR record of this host are not looked at in this version"

# The next step after a failure, by the reason of the mailbox or of the submission.
NEXT_STEP = {
    "dns_temp": "try again, or check the resolver of this host",
    "dns_perm": "check the host's name",
    "null_mx": "check the domain of rcpt_to: it declares that it takes no mail (RFC 7505)",
    "connect": "check host and port, and the firewalls between (port 25 is blocked by many providers)",
    "timeout": "check the firewalls between (port 25 is blocked by many providers), and the server's load",
    "tls": "check that the port and tls: fit each other",
    "tls_missing": "the server offers no STARTTLS: use tls: implicit, or another port",
    "tls_cert": "check the certificate's name and issuer, or name its issuer by ca_file:",
    "auth": "check username and password",
    "auth_temp": "try again later: the server could not check the login",
    "auth_temporary": "try again later: the server could not check the login",
    "folder": "check the names in folders:",
    "throttled": "lower poll_rate:, and try again later",
}


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that was tried. ``detail``: what was found, or the cause; ``next`` is empty where it went well."""

    kind: str
    name: str
    what: str
    ok: bool
    detail: str
    next: str = ""


@click.command(epilog="Example: mailcanary check --connect -c /etc/mailcanary/config.yaml", short_help="Validate.")
@config_option
@click.option("--connect", is_flag=True, help="Also connect, log in and open every folder. Sends nothing.")
@json_option
def check(config: Path, connect: bool, as_json: bool) -> None:
    """Validate the configuration and say what it would send.

    Every breach is listed with its path and line. Exit code: 0 all is well, 2 the configuration breaks a rule,
    3 something cannot be reached.
    """
    try:
        loaded = load(config)
        items = asyncio.run(try_all(loaded, SystemClock())) if connect else None
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"ok": False, "config": str(config), "breaches": [asdict(breach) for breach in error.breaches]})
        raise click.exceptions.Exit(error.exit_code) from error
    failed = [item for item in items or () if not item.ok]
    if as_json:
        print_json(as_document(config, loaded, items))
    else:
        _print(loaded, items)
    if failed:
        if as_json:
            raise click.exceptions.Exit(UnreachableError.exit_code)
        raise UnreachableError(f"{len(failed)} of {len(items or ())} could not be reached or used")


def as_document(path: Path, config: Config, items: list[Item] | None) -> dict[str, Any]:
    """What ``--json`` prints. ``connections`` is null without ``--connect``."""
    return {
        "ok": all(item.ok for item in items or ()),
        "config": str(path),
        "breaches": [],
        "prober": config.prober,
        "routes": routes_of(config),
        "warnings": warnings(config),
        "connections": None if items is None else [asdict(item) for item in items],
        "not_looked_at": [NOT_LOOKED_AT],
    }


def routes_of(config: Config) -> list[dict[str, Any]]:
    """What each route will send, by name."""
    return [
        {
            "route": route.name,
            "sender": route.sender,
            "rcpt_to": route.rcpt_to,
            "mailbox": route.mailbox,
            "legs": legs_of(config.senders[route.sender]),
            "every_seconds": route.every.total_seconds(),
            "canaries_per_hour": legs_of(config.senders[route.sender]) * (HOUR / route.every),
        }
        for route in config.routes.values()
    ]


def hourly(config: Config) -> dict[str, float]:
    """Canaries an hour that each recipient will get."""
    result: dict[str, float] = {}
    for row in routes_of(config):
        result[row["rcpt_to"]] = result.get(row["rcpt_to"], 0.0) + row["canaries_per_hour"]
    return result


def warnings(config: Config) -> list[str]:
    """What is allowed and not advised."""
    result = []
    for kind, named in (("sender", config.senders), ("mailbox", config.mailboxes)):
        for name, options in named.items():
            tls = getattr(options, "tls", None)
            if tls is not None and str(tls) == "none":
                result.append(f"{kind} {name}: tls: none, so all goes in clear")
            elif not getattr(options, "verify", True):
                result.append(f"{kind} {name}: verify: false, so the server's certificate is not checked")
    for name, options in config.mailboxes.items():
        if not getattr(options, "exclusive", True):
            result.append(f"mailbox {name}: not exclusive, so a number that was never seen is unknown and never lost")
    for name, route in config.routes.items():
        if route.bounces is None:
            result.append(f"route {name}: bounces to {route.mail_from} are not watched")
    web = config.web
    if not _loopback(config.listen.host) and not (web.token or web.password):
        result.append(f"listen {config.listen}: open to other hosts, and web: has neither token nor password")
    return result


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def try_all(config: Config, clock: Clock) -> list[Item]:
    """Every sender once a leg, every mailbox once a folder, in the order of the configuration."""
    items: list[Item] = []
    for name, options in config.senders.items():
        domains = [route.rcpt_to.rpartition("@")[2] for route in config.routes.values() if route.sender == name]
        items += await _try_sender(name, options, list(dict.fromkeys(domains)), clock)
    for name, options in config.mailboxes.items():
        # the kinds are synchronous: a thread keeps Ctrl-C working
        items += await asyncio.to_thread(_try_mailbox, name, options, clock)
    return items


async def _try_sender(name: str, options: Any, domains: list[str], clock: Clock) -> list[Item]:
    sender = options.open(name, clock)
    items: list[Item] = []
    tried: set[str] = set()
    for domain in domains:
        try:
            legs = await sender.legs(domain)
        except NoHosts as error:
            items.append(Item("sender", name, domain, False, str(error), NEXT_STEP[error.reason]))
            continue
        for mx in legs:
            if mx == OTHER:
                items += await _try_the_rest(name, sender)
            elif mx not in tried:
                items.append(_submission_item(name, mx, await sender.probe(mx)))
            tried.add(mx)
    if not domains and legs_of(options) == 1:  # no route uses it, and it has one server all the same
        items.append(_submission_item(name, "any", await sender.probe("any")))
    return items


async def _try_the_rest(name: str, sender: Sender) -> list[Item]:
    """Each host of the leg that several share, which take turns."""
    items: dict[str, Item] = {}
    while (submission := await sender.probe(OTHER)).host not in items:
        items[submission.host] = _submission_item(name, submission.host or OTHER, submission)
    return list(items.values())


def _submission_item(name: str, mx: str, submission: Submission) -> Item:
    if submission.result is Result.ACCEPTED:
        address = f" at {submission.address}" if submission.address else ""
        return Item("sender", name, mx, True, f"connected{address}, {submission.tls or 'in clear'}")
    reply = f" ({submission.code} {submission.reply})" if submission.code is not None else ""
    cause = submission.detail or f"{submission.result} at {submission.stage}"
    if submission.reply and submission.reply in cause:
        reply = ""
    return Item("sender", name, mx, False, f"{cause}{reply}", NEXT_STEP.get(submission.reason, "see the server's log"))


def _try_mailbox(name: str, options: Any, clock: Clock) -> list[Item]:
    mailbox = options.open(name, clock)
    items: list[Item] = []
    try:
        mailbox.connect()
        items.append(Item("mailbox", name, "login", True, "logged in"))
        for folder in getattr(options, "folders", ("INBOX",)):
            items.append(_try_folder(name, mailbox, folder))
    except MailCanaryError as error:
        items.append(_mailbox_failure(name, "folders" if items else "login", error))
    finally:
        mailbox.close()
    return items


def _try_folder(name: str, mailbox: Any, folder: str) -> Item:
    try:
        seen = mailbox.read(FolderRequest(folder, since=None))
    except MailCanaryError as error:
        return _mailbox_failure(name, folder, error)
    note = ", read-only: nothing can be cleaned up here" if seen.read_only else ""
    return Item("mailbox", name, folder, True, f"{seen.total} messages in {seen.name}{note}")


def _mailbox_failure(name: str, what: str, error: MailCanaryError) -> Item:
    step = NEXT_STEP.get(getattr(error, "reason", ""), "see the server's log")
    return Item("mailbox", name, what, False, str(error), step)


def _print(config: Config, items: list[Item] | None) -> None:
    say("configuration ok", bold=True, colour="green")
    say(f"prober {config.prober}: {_count(len(config.routes), 'route')}, ledger {config.ledger}, web {config.listen}")
    say()
    rows: list[tuple[str, ...]] = [("route", "sender", "recipient", "mailbox", "legs", "every", "an hour")]
    for row in routes_of(config):
        every = spoken(config.routes[row["route"]].every)
        legs, an_hour = str(row["legs"]), f"{row['canaries_per_hour']:g}"
        rows.append((row["route"], row["sender"], row["rcpt_to"], row["mailbox"], legs, every, an_hour))
    for line in table(rows):
        say(line)
    say()
    by_mx = {route["rcpt_to"] for route in routes_of(config) if route["legs"] > 1}
    for recipient, canaries in hourly(config).items():
        most = "at most " if recipient in by_mx else ""  # as many legs as DNS has MX hosts, which is not asked here
        say(f"{recipient} gets {most}{canaries:g} canaries an hour")
    for warning in warnings(config):
        say(f"warning: {warning}", colour="yellow")
    if items is not None:
        _print_items(items)


def _print_items(items: list[Item]) -> None:
    say()
    for item in items:
        verdict, colour = ("ok", "green") if item.ok else ("failed", "red")
        say(f"{verdict:7}{item.kind} {item.name} {item.what}: {item.detail}", colour=colour)
        if item.next:
            say(f"       next: {item.next}")
    say(f"note: {NOT_LOOKED_AT}")


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
