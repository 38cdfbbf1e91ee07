"""The record of one SMTP attempt while it runs, and its end as a Submission. No I/O.

It holds what ``explain`` shows later: the dialogue, the seconds of each phase, the certificate. Credentials that a
server echoes are masked here, at the only place where its text enters.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import NamedTuple

from probe.clock import NANOSECONDS, Clock, Instant
from probe.senders.base import Exchange, Result, SoFar, Stage, Submission, SubmissionLabel
from probe.senders.smtp_text import enhanced_code, queued_as, sanitised

_LABELS = {
    "dns_temp": SubmissionLabel.DNS_ERROR,
    "dns_perm": SubmissionLabel.DNS_ERROR,
    "null_mx": SubmissionLabel.DNS_ERROR,
    "tls": SubmissionLabel.TLS_ERROR,
    "tls_missing": SubmissionLabel.TLS_ERROR,
    "tls_cert": SubmissionLabel.TLS_ERROR,
    "auth": SubmissionLabel.AUTH_ERROR,
    "auth_temp": SubmissionLabel.AUTH_ERROR,
    "timeout": SubmissionLabel.TIMEOUT,
}  # all others: connect_error


class Reply(NamedTuple):
    """A server's reply: the code, and the text of its lines as received, joined by newlines."""

    code: int
    text: str


class Broken(Exception):
    """The attempt cannot go on. ``reason`` is one of Submission's; ``reply`` is the server's, where it gave one."""

    def __init__(self, reason: str, detail: str, reply: Reply | None = None) -> None:
        self.reason = reason
        self.detail = detail
        self.reply = reply
        super().__init__(detail)


class Answered(Exception):
    """The server answered, and not with what lets the dialogue go on."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        super().__init__(f"{reply.code} {reply.text}")


class Record:
    """One attempt.

    ``place``: what is talked to, as the details name it: at first the host (while it is not known, the domain whose
    host is looked for), later the address too. ``content_at``: when the first byte of content was about to be written;
    ``dot_at``: when the last one, the final dot, had been handed to the kernel.
    """

    def __init__(self, host: str, clock: Clock, secrets: Sequence[str]) -> None:
        self._clock = clock
        self._secrets = tuple(secret for secret in secrets if secret)
        self._entered: Instant | None = None
        self._began: Instant | None = None
        self._asked: str | None = None
        self.stage = Stage.DNS
        self.phases: dict[Stage, float] = {}
        self.dialogue: list[Exchange] = []
        self.address = ""
        self.place = host
        self.host = host
        self.content_at: Instant | None = None
        self.dot_at: Instant | None = None
        self.tls = ""
        self.certificate_valid: bool | None = None
        self.certificate_expires: Instant | None = None

    def enter(self, stage: Stage, sent: str | None = None) -> None:
        """A phase begins (and the one before ends) with ``sent`` going out, or with nothing but waiting."""
        self.leave()
        self.stage = stage
        self._asked = sent
        self._entered = self._clock.now()

    def leave(self) -> None:
        """The phase has ended; what follows is nobody's."""
        if self._entered is not None:
            seconds = (self._clock.now().boot - self._entered.boot) / NANOSECONDS
            self.phases[self.stage] = self.phases.get(self.stage, 0.0) + seconds
            self._began = self._entered
            self._entered = None

    def so_far(self) -> SoFar:
        """Where the attempt stands now."""
        phases = dict(self.phases)
        if self._entered is not None:
            seconds = (self._clock.now().boot - self._entered.boot) / NANOSECONDS
            phases[self.stage] = phases.get(self.stage, 0.0) + seconds
        return SoFar(self.stage, phases, self.address)

    def at(self, address: str, place: str) -> None:
        """From now on the attempt talks to this address."""
        self.address = address
        self.place = f"{self.host} {place}"

    def towards(self, host: str) -> None:
        """The host to talk to is known now, or known to be unknown ("")."""
        self.host = host
        self.place = host or self.place

    def said(self, text: str, code: int | None = None) -> None:
        """What was sent last has been answered with ``text``, or has come to the end that ``text`` tells."""
        self.dialogue.append(Exchange(self.stage, self._asked or "", code, self._clean(text)))
        self._asked = None

    def began_content(self) -> None:
        self.content_at = self._clock.now()

    def wrote_dot(self) -> None:
        self.dot_at = self._clock.now()

    def secured(self, version: str, expires: int | None, *, verified: bool) -> None:
        """The session is in TLS. ``expires``: the certificate's end in seconds since the epoch, where it is known."""
        self.tls = version
        if verified:
            self.certificate_valid = True
        if expires is not None:
            now, wall = self._clock.now(), expires * NANOSECONDS
            self.certificate_expires = Instant(wall, now.boot + wall - now.wall, now.boot_id)
        certificate = "valid" if verified else "not verified"
        self.dialogue.append(Exchange(Stage.TLS, "", None, f"{version}, certificate {certificate}"))

    def accepted(self, reply: Reply | None) -> Submission:
        """The end of an attempt that went well."""
        return self._end(Result.ACCEPTED, SubmissionLabel.ACCEPTED, reply=reply)

    def answered(self, reply: Reply) -> Submission:
        """The end of an attempt to which the server said something else than yes: by the first digit of the code
        (RFC 5321 section 4.2.1)."""
        self.leave()
        words = f"{reply.code} {self._clean(reply.text)}".rstrip()
        what = self._clean(f"{self.place} ({self.stage}): answered {words}")
        if reply.code // 100 == 5:
            return self._end(Result.REFUSED, SubmissionLabel.REFUSED_5XX, reply=reply, detail=what)
        if reply.code // 100 == 4:
            # Greylisting is latency: its clock runs from the command that was told to come back.
            started = self.dot_at or self.content_at or self._began
            return self._end(Result.DEFERRED, SubmissionLabel.REFUSED_4XX, reply=reply, detail=what, started=started)
        return self.broken(Broken("protocol", f"answered {words}, which has no meaning here", reply))

    def broken(self, broken: Broken) -> Submission:
        """The end of an attempt that broke: unsure once content was on its way, unsent before that."""
        self.leave()
        if broken.reason == "tls_cert":
            self.certificate_valid = False
        if self._asked is not None:
            self.said(broken.detail)
        detail = self._clean(f"{self.place} ({self.stage}): {broken.detail}")
        if self.content_at is not None:
            return self._end(Result.UNSURE, SubmissionLabel.UNSURE, reply=broken.reply, detail=detail)
        label = _LABELS.get(broken.reason, SubmissionLabel.CONNECT_ERROR)
        return self._end(Result.UNSENT, label, reply=broken.reply, reason=broken.reason, detail=detail)

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return sanitised(text)

    def _end(
        self,
        result: Result,
        label: SubmissionLabel,
        *,
        reply: Reply | None,
        reason: str = "",
        detail: str = "",
        started: Instant | None = None,
    ) -> Submission:
        self.leave()
        text = self._clean(reply.text) if reply else ""
        return Submission(
            result=result,
            label=label,
            stage=self.stage,
            reason=reason,
            detail=detail,
            code=reply.code if reply else None,
            enhanced=enhanced_code(reply.code, text) if reply else None,
            reply=text,
            queued_as=queued_as(text) if result is Result.ACCEPTED else "",
            clock_started=started or self.dot_at or self.content_at,
            dot_at=self.dot_at,
            host=self.host,
            address=self.address,
            phases=self.phases,
            dialogue=self.dialogue,
            tls=self.tls,
            certificate_valid=self.certificate_valid,
            certificate_expires=self.certificate_expires,
        )


def secret_forms(login: tuple[bytes, bytes] | None) -> list[str]:
    """Every form in which a credential (user name, password) crosses the wire."""
    if login is None:
        return []
    username, password = login
    plain = b64encode(b"\0" + username + b"\0" + password)
    return [secret.decode("utf-8", "replace") for secret in (plain, b64encode(password), password)]
