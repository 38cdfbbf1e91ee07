"""The configuration once parsed. Section 6 of the design is its contract; docs are generated from these fields.

Each option is declared once, by ``option``: its type, default, sentence and own rule. Rules between options of one
section are its ``breaches()``; those between sections are in rules.py. Nothing here reads a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from probe.canary.identity import SigningKey
from probe.config.text import NAME_RULE, Listen, SecretBytes, Share, address_rule, is_name
from probe.options import Rate, Secret, option

__all__ = ["Config", "Detection", "Heartbeat", "Key", "Limits", "Listen", "Route", "Web"]

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

SHORTEST_EVERY = timedelta(milliseconds=100)
MIN_TOKEN = 16
VARIANTS = ("plain",)
LATER_VARIANTS = ("html", "attachment", "large", "unicode", "thread")


def _name(value: str) -> str | None:
    return None if is_name(value) else NAME_RULE


def _at_least(shortest: timedelta, written: str) -> Any:
    def check(value: timedelta) -> str | None:
        return f"must be at least {written}" if value < shortest else None

    return check


def _token(value: Secret) -> str | None:
    return f"must have at least {MIN_TOKEN} characters" if len(value.text()) < MIN_TOKEN else None


def _ledger(value: Path) -> str | None:
    return "must be a file, not a directory" if str(value) == "/" else None


def _some(value: tuple[Any, ...]) -> str | None:
    return None if value else "must name at least one"


def _variants(value: tuple[str, ...]) -> str | None:
    for variant in value:
        if variant in LATER_VARIANTS:
            return f"{variant!r} comes with a later version; this one sends {', '.join(VARIANTS)}"
        if variant not in VARIANTS:
            return f"{variant!r} is not a variant; this version sends {', '.join(VARIANTS)}"
    if len(set(value)) != len(value):
        return "names a variant twice"
    return _some(value)


@dataclass(frozen=True, slots=True)
class Key:
    """One signing key as written in ``keys``."""

    id: str = option("A name for the key, never used again for another.", check=_name)
    secret: SecretBytes = option("At least 32 random bytes; make them with `mailcanary keygen FILE`.")


@dataclass(frozen=True, slots=True)
class Web:
    """Optional protection of the web side."""

    tls_cert: Path | None = option("Certificate chain (PEM) for HTTPS.", default=None)
    tls_key: Path | None = option("Private key (PEM) for HTTPS.", default=None)
    username: str | None = option("User name for basic authentication.", default=None)
    password: Secret | None = option("Password for basic authentication.", default=None)
    token: Secret | None = option("Bearer token, at least 16 characters.", default=None, check=_token)

    def breaches(self) -> Iterable[tuple[str, str]]:
        """(key, rule) of each rule between these options that is broken."""
        if self.tls_cert and not self.tls_key:
            yield "tls_cert", "needs tls_key beside it"
        if self.tls_key and not self.tls_cert:
            yield "tls_key", "needs tls_cert beside it"
        if self.username and not self.password:
            yield "username", "needs password beside it"
        if self.password and not self.username:
            yield "password", "needs username beside it"
        if self.username and ":" in self.username:
            yield "username", "must not hold a colon (RFC 7617)"


@dataclass(frozen=True, slots=True)
class Limits:
    """Hard caps on sending, counted from the ledger, retries and extras included."""

    per_recipient: tuple[Rate, ...] = option(
        "What the receiving account bears.", default=(Rate(20, MINUTE), Rate(1000, HOUR)), check=_some
    )
    per_route: tuple[Rate, ...] = option("Per route.", default=(Rate(120, MINUTE),), check=_some)
    per_domain: tuple[Rate, ...] = option("Per recipient domain.", default=(Rate(600, MINUTE),), check=_some)
    total: tuple[Rate, ...] = option("All routes together.", default=(Rate(1200, MINUTE),), check=_some)


@dataclass(frozen=True, slots=True)
class Detection:
    """What the detector aims at; used once the detector is there."""

    false_pages_per_month: float = option("False pages a month for the whole installation.", default=0.65)
    smallest_loss: Share = option(
        "The smallest share of loss to find fast.",
        default=Share(0.01),
        check=lambda share: None if 0 < share < 1 else "must be more than 0% and less than 100%",
    )
    stall_limit: timedelta | None = option(
        "The longest harmless stall; default min(50s, 0.8 * overdue_after).", default=None
    )
    extra_canaries: Share = option("Long-run allowance of extra canaries, of the base rate.", default=Share(0.5))
    max_rate: Rate = option("Most canaries of a route while hunting; never above limits.", default=Rate(60, MINUTE))


def _url(value: Secret) -> str | None:
    try:
        parts = urlsplit(value.text())
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    printable = all("!" <= character <= "~" for character in value.text())
    return None if good and printable else "must be a URL such as https://host/path"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A call of a dead man's switch, made only while canaries and control canaries are seen in time."""

    url: Secret | None = option(
        "The URL to call, a secret: who knows it can keep the switch quiet.", default=None, check=_url
    )
    every: timedelta = option("Time between two calls.", default=MINUTE, check=_at_least(10 * SECOND, "10s"))
    timeout: timedelta = option("How long a call may take.", default=10 * SECOND, check=_at_least(SECOND, "1s"))

    def breaches(self) -> Iterable[tuple[str, str]]:
        """(key, rule) of each rule between these options that is broken."""
        if not self.timeout < self.every:
            yield "timeout", "must be shorter than every"


@dataclass(frozen=True, slots=True)
class Route:
    """A path under test. ``name`` is its key in the configuration."""

    name: str
    sender: str = option("The sender to use, by name.")
    mail_from: str = option("Envelope and header From.", check=address_rule)
    rcpt_to: str = option("Recipient.", check=address_rule)
    mailbox: str = option("The mailbox in which the canaries arrive, by name.")
    bounces: str | None = option(
        "The mailbox that receives mail_from's bounces, by name; its read is then part of the proof of loss.",
        default=None,
    )
    every: timedelta = option(
        "Time between canaries of each leg.", default=MINUTE, check=_at_least(SHORTEST_EVERY, "100ms")
    )
    overdue_after: timedelta = option("Later than this is a problem.", default=MINUTE, check=_at_least(SECOND, "1s"))
    lost_after: timedelta = option("Not there by then, with proof: lost.", default=2 * HOUR)
    watch_for: timedelta = option("How long an arrival is still matched.", default=72 * HOUR)
    variants: tuple[str, ...] = option("What the canaries look like, in turn.", default=VARIANTS, check=_variants)
    envelope_tag: bool = option(
        "Send each canary from local+TAG@domain (envelope only), so that a bounce names it by its recipient.",
        default=False,
    )
    plus_tag: bool = option("Send each canary to local+TAG@domain.", default=False)
    auto_submitted: bool = option("Send Auto-Submitted: auto-generated.", default=True)
    paging: bool = option("False: measure only.", default=True)


@dataclass(frozen=True, slots=True)
class Config:
    """The whole. ``senders`` and ``mailboxes`` map names to the options dataclass of their kind.

    ``keys`` is empty only where the configuration was loaded without its secrets.
    """

    keys: tuple[SigningKey, ...]
    senders: Mapping[str, Any]
    mailboxes: Mapping[str, Any]
    routes: Mapping[str, Route]
    prober: str = option("This prober's name; default: the host's short name.", check=_name)
    ledger: Path = option("The ledger's file.", default=Path("/var/lib/mailcanary/ledger.sqlite"), check=_ledger)
    keep: timedelta = option("How long canaries stay in the ledger.", default=90 * DAY)
    listen: Listen = option("Metrics, status page and API.", default=Listen("127.0.0.1", 9925))
    web: Web = option("Protection of the web side.", default=Web())
    control: Path = option("The daemon's control socket.", default=Path("/run/mailcanary/control.sock"))
    limits: Limits = option("Hard caps on sending.", default=Limits())
    detection: Detection = option("What the detector aims at.", default=Detection())
    heartbeat: Heartbeat = option("The call of a dead man's switch.", default=Heartbeat())
