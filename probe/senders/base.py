"""What a way of sending is.

A sender makes one attempt at handing one message to one server and says exactly how it ended. It does not retry,
does not write the ledger and does not judge: the engine does. It fails over between servers never (that would hide
the sick one); between the addresses of one server only before any content was sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Protocol, runtime_checkable

from probe.clock import Instant
from probe.errors import UnreachableError

OTHER = "other"  # the leg of all MX hosts of a domain beyond those that have a leg of their own
UNRESOLVED = "unresolved"  # the leg of a domain whose MX hosts were never known


class Result(StrEnum):
    """How an attempt ended."""

    ACCEPTED = "accepted"  # 2xx to the final dot: the server took responsibility; not "delivered"
    DEFERRED = "deferred"  # 4xx at any stage: try again later
    REFUSED = "refused"  # 5xx at any stage: the server said no
    UNSENT = "unsent"  # failed before any byte of content left us
    UNSURE = "unsure"  # broke after content was sent: it may or may not have been taken; never send again


class Stage(StrEnum):
    """The phase an attempt was in; also the keys of ``Submission.phases``."""

    DNS = "dns"
    CONNECT = "connect"
    BANNER = "banner"
    EHLO = "ehlo"
    TLS = "tls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    DOT = "dot"


class SubmissionLabel(StrEnum):
    """``result`` of mailcanary_submissions_total and mailcanary_attempts_total (metrics.md, a closed set)."""

    ACCEPTED = "accepted"
    REFUSED_4XX = "refused_4xx"
    REFUSED_5XX = "refused_5xx"
    DNS_ERROR = "dns_error"
    CONNECT_ERROR = "connect_error"
    TLS_ERROR = "tls_error"
    AUTH_ERROR = "auth_error"
    TIMEOUT = "timeout"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Envelope:
    """SMTP envelope of one canary. ``envelope_id`` goes out as ENVID where the server offers DSN (RFC 3461)."""

    mail_from: str
    rcpt_to: str
    envelope_id: str | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """One line of the dialogue for ``explain``: what we sent (secrets masked) and the sanitised answer."""

    stage: Stage
    sent: str
    code: int | None
    reply: str


@dataclass(frozen=True, slots=True)
class Submission:
    """How one attempt ended.

    ``reason``: for unsent one of dns_temp, dns_perm, null_mx, connect, bind, timeout, protocol, tls, tls_missing,
    tls_cert, auth, auth_temp, local; empty otherwise. ``detail`` is a sentence with the place and the cause.
    ``clock_started`` is rule 10's zero: the final dot (last byte of content written), or the moment the command that
    was answered 4xx was written; None where neither happened. ``dot_at`` is the final dot alone.
    ``phases`` holds the seconds of each phase that was entered, the failed one included.
    ``queued_as`` is the server's identifier out of its reply to the dot, or "" where it names none.
    ``host`` is the name of the server that the attempt was for: the relay, or the MX host; "" where none was found.
    ``certificate_expires`` is known of certificates that were not accepted too, an expired one above all.
    """

    result: Result
    label: SubmissionLabel
    stage: Stage
    reason: str = ""
    detail: str = ""
    code: int | None = None
    enhanced: str | None = None
    reply: str = ""
    queued_as: str = ""
    clock_started: Instant | None = None
    dot_at: Instant | None = None
    address: str = ""
    phases: Mapping[Stage, float] = field(default_factory=dict)
    dialogue: Sequence[Exchange] = ()
    tls: str = ""  # e.g. "TLSv1.3"; empty: in clear
    certificate_valid: bool | None = None
    certificate_expires: Instant | None = None
    host: str = ""


@dataclass(frozen=True, slots=True)
class SoFar:
    """An attempt that is under way: its phase, the seconds of each phase up to now (that one's included), and whom it
    talks to: ``address`` as in Submission, "" while there is none."""

    stage: Stage
    phases: Mapping[Stage, float]
    address: str = ""


class NoHosts(UnreachableError):
    """A domain has no host to send to, or none that is known now. ``reason`` is dns_temp (ask again later), dns_perm or
    null_mx (RFC 7505), as in ``Submission.reason``; the text is a sentence with the domain and the cause.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(detail)


BeforeData = Callable[[], Awaitable[None]]
ContentSent = Callable[[Instant], None]


class Sender(Protocol):
    """A way of sending, bound to its options."""

    insecure: bool  # verify: false or tls: none was written out
    retry: Sequence[timedelta]

    async def legs(self, recipient_domain: str) -> Sequence[str]:
        """The ``mx`` label values this sender has for a domain; ``("any",)`` for a relay.

        Of MX hosts at most 16, in the order of preference and then of name, lower case without a trailing dot;
        where there are more, ``OTHER`` stands for the rest. Raises NoHosts where there is nothing to send to.
        """
        ...

    async def submit(
        self,
        envelope: Envelope,
        message: bytes,
        *,
        mx: str,
        before_data: BeforeData,
        content_sent: ContentSent | None = None,
    ) -> Submission:
        """One attempt. ``before_data`` is awaited after RCPT was accepted and before DATA is sent: it makes
        ``data_started`` durable. If it raises, nothing of the content is sent and the exception passes through.
        ``content_sent`` is called with the final dot's instant as soon as it was written: the mail may be seen in the
        mailbox before the server has answered.
        Never raises otherwise, but for cancellation: cut after content was sent, the connection is closed first.
        ``mx`` is a leg that ``legs`` named once (a host that has left DNS since is still spoken to), or ``UNRESOLVED``:
        then the domain is looked up again, and whatever comes of it the submission is unsent.
        """
        ...

    async def probe(self, mx: str) -> Submission:
        """Connect, greet, TLS, log in, quit: for ``check --connect``. Sends nothing. ACCEPTED when all went well."""
        ...


@runtime_checkable
class Showing(Protocol):
    """What a kind may offer besides: to show an attempt while it is under way. For people only; nothing is concluded
    from it."""

    def so_far(self, envelope_id: str) -> SoFar | None:
        """The attempt under way whose envelope has this id; None where there is none."""
        ...
