"""One attempt over SMTP, step by step, each step timed: name, connection, greeting, TLS, login, envelope, content, dot.

It does not know aiosmtplib (smtp.py gives it a ``Wire``), does not retry and does not choose between servers. The
addresses of its one host are tried in order until one takes the TCP connection; from then on that server's answer, or
its silence, is the result: to go on to the next address would hide a sick one.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from base64 import b64encode
from collections.abc import Awaitable, Callable
from contextlib import suppress

from probe.clock import Clock
from probe.senders.base import ContentSent, Envelope, Stage, Submission
from probe.senders.resolve import Address, ResolveError, connect_reason, connected, explain, no_route
from probe.senders.smtp_plan import Plan, TlsPolicy, Wire
from probe.senders.smtp_record import Answered, Broken, Record, Reply, secret_forms
from probe.senders.smtp_text import extensions, path, xtext

Choose = Callable[[], Awaitable[str]]
"""Finds the host to talk to. Raises ResolveError where there is none."""


class Session:
    """One attempt at one host. Use: ``prepare``, then ``deliver``, and always ``close``.

    With ``choose``, ``host`` is only the domain whose host it finds, as a part of the phase DNS.
    """

    def __init__(self, plan: Plan, host: str, clock: Clock, choose: Choose | None = None) -> None:
        self._plan = plan
        self._host = host
        self._choose = choose
        self._record = Record(host, clock, secret_forms(plan.login))
        self.so_far = self._record.so_far
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + plan.total
        self._wire: Wire | None = None
        self._at: Address | None = None
        self._timer: asyncio.Timeout
        self._idle = False  # every command was answered: QUIT may be said
        self._offered: dict[str, tuple[str, ...]] = {}

    async def prepare(self, envelope: Envelope | None, size: int) -> Submission | None:
        """All that comes before DATA; without an envelope, before MAIL. None where it went well, else the end."""

        async def steps() -> Reply | None:
            await self._open()
            if self._plan.login:
                await self._log_in(*self._plan.login)
            if envelope:
                await self._give_envelope(envelope, size)
            self._record.leave()
            return None

        return await self._guarded(steps)

    async def deliver(self, content: bytes, content_sent: ContentSent | None = None) -> Submission:
        """DATA, the dot-stuffed ``content`` and the answer to its final dot."""

        def wrote_dot() -> None:
            self._record.wrote_dot()
            if content_sent is not None and self._record.dot_at is not None:
                content_sent(self._record.dot_at)

        async def steps() -> Reply | None:
            self._expect(3, await self._ask(Stage.DATA, b"DATA"))
            self._enter(Stage.DOT, self._plan.dot, "(content)")
            if not self._wired.is_connected:
                raise Broken("connect", "connection closed before any content was sent")
            self._record.began_content()
            self._idle = False
            self._wired.send(content, wrote_dot)
            reply = await self._wired.reply()
            self._record.said(reply.text, reply.code)
            self._idle = True
            self._expect(2, reply)
            if self._record.dot_at is None:
                raise Broken("protocol", "answered before the final dot was written", reply)
            return reply

        return await self._guarded(steps) or self.went_well()

    def went_well(self) -> Submission:
        """The end of an attempt that was to send nothing."""
        return self._record.accepted(None)

    def close(self) -> None:
        """Hang up.

        QUIT is written and its reply not awaited (RFC 5321 section 4.1.1.10 says SHOULD): the server has taken or
        refused the message already, and one more round trip, or a server slow to part, would hold back the durable
        record of its answer.
        """
        if self._wire is not None:
            self._wire.hang_up(politely=self._idle)
            self._wire = None

    async def _guarded(self, steps: Callable[[], Awaitable[Reply | None]]) -> Submission | None:
        """Run ``steps`` under one timer that each phase sets anew; every way they can end becomes a Submission."""
        try:
            async with asyncio.timeout_at(self._deadline) as self._timer:
                reply = await steps()
        except Answered as answered:
            return self._record.answered(answered.reply)
        except Broken as broken:
            return self._record.broken(broken)
        except TimeoutError:
            self._idle = False
            return self._record.broken(self._overrun())
        return self._record.accepted(reply) if reply else None

    def _overrun(self) -> Broken:
        if self._loop.time() >= self._deadline:
            return Broken("timeout", f"not done within {self._plan.total:g} s in all")
        if self._record.stage is Stage.DNS:
            return Broken("dns_temp", f"no answer from the resolver within {self._plan.connect:g} s")
        limit = self._plan.dot if self._record.stage is Stage.DOT else self._plan.command
        return Broken("timeout", f"no answer within {limit:g} s")

    def _enter(self, stage: Stage, limit: float, sent: str | None = None) -> None:
        self._record.enter(stage, sent)
        self._timer.reschedule(min(self._deadline, self._loop.time() + limit))

    async def _ask(self, stage: Stage, *words: bytes, shown: str | None = None) -> Reply:
        self._enter(stage, self._plan.command, shown or b" ".join(words).decode("ascii", "backslashreplace"))
        self._idle = False
        reply = await self._wired.ask(*words)
        self._record.said(reply.text, reply.code)
        self._idle = True
        return reply

    def _expect(self, digit: int, reply: Reply) -> None:
        if reply.code // 100 != digit:
            raise Answered(reply)

    @property
    def _wired(self) -> Wire:
        if self._wire is None:
            raise Broken("connect", "not connected")
        return self._wire

    async def _open(self) -> None:
        """From the host's name to a session that stands ready, in TLS where the policy has it."""
        found = await self._find()
        try:
            await self._greet(found, self._plan.verified or self._plan.unverified)
        except Broken as broken:
            if broken.reason != "tls_cert" or self._at is None:
                raise
            self._record.certificate_valid = False
            self._record.said(broken.detail)
            self.close()
            if self._plan.tls is not TlsPolicy.OPPORTUNISTIC:
                await self._look_at_certificate(self._at)
                raise
            # A bad certificate is a fact of its own, not a failed delivery: mail servers would go on as well.
            await self._greet([self._at], self._plan.unverified)

    async def _find(self) -> list[Address]:
        """The addresses of the host; and first the host, where that is to be chosen."""
        self._enter(Stage.DNS, self._plan.connect, None if self._choose is None else f"MX {self._host}")
        try:
            if self._choose is not None:
                self._record.towards("")
                self._host = await self._choose()
                self._record.towards(self._host)
                self._record.said(f"going to {self._host}")
            return await self._plan.resolve(self._host, self._plan.port, self._plan.family)
        except ResolveError as error:
            raise Broken(error.reason, str(error)) from error

    async def _look_at_certificate(self, address: Address) -> None:
        """When the certificate that was not accepted ends: one more connection to the same address, for that alone.
        It says nothing that is secret, and whatever comes of it the attempt has ended already."""
        attempt = self._timer
        attempt.reschedule(self._deadline)
        with suppress(Broken, Answered, TimeoutError):
            async with asyncio.timeout(self._plan.command) as self._timer:
                await self._greet([address], self._plan.unverified)
        self._timer = attempt
        self._record.enter(Stage.TLS)
        self._record.tls = ""
        self.close()

    async def _greet(self, candidates: list[Address], context: ssl.SSLContext | None) -> None:
        sock = await self._connect(candidates)
        implicit = self._plan.tls is TlsPolicy.IMPLICIT
        if implicit:
            self._enter(Stage.TLS, self._plan.command, "(TLS handshake)")
        self._wire = await self._plan.dial(sock, context if implicit else None, self._host, self._plan.command)
        self._note_security(context)
        self._enter(Stage.BANNER, self._plan.command, "")
        greeting = await self._wire.reply()
        self._record.said(greeting.text, greeting.code)
        self._idle = True
        self._expect(2, greeting)
        await self._hello()
        if context and not implicit and self._plan.tls is not TlsPolicy.NONE:
            await self._start_tls(context)

    async def _connect(self, candidates: list[Address]) -> socket.socket:
        """The first address that takes the connection; each failed one is named in the dialogue."""
        reason, failures = "connect", []
        for address in candidates:
            self._record.at(address.ip, str(address))
            self._at = address
            # Its own time-out lies within, so that a black-holed address only costs its share.
            self._enter(Stage.CONNECT, self._plan.total, f"connect {address}")
            try:
                sock = await connected(address, self._plan.connect)
            except OSError as error:
                skipped = no_route(error) and len(candidates) > 1
                cause = f"no route from here: {explain(error)}" if skipped else explain(error)
                self._record.said(cause)
                if isinstance(error, TimeoutError) and error.errno is None:  # our time-out, not the kernel's
                    cause += f" after {self._plan.connect:g} s"
                failures.append(cause if len(candidates) == 1 else f"{address} {cause}")
                reason = reason if skipped else connect_reason(error)
            else:
                self._record.said("connected")
                return sock
        raise Broken(reason, "; ".join(failures))

    async def _hello(self) -> None:
        """EHLO, or HELO for a server that does not know it (RFC 5321 section 3.2)."""
        reply = await self._ask(Stage.EHLO, b"EHLO", self._plan.helo)
        if reply.code // 100 == 5 and self._wired.is_connected:
            self._offered = {}
            reply = await self._ask(Stage.EHLO, b"HELO", self._plan.helo)
            self._expect(2, reply)
            return
        self._expect(2, reply)
        self._offered = extensions(reply.text)

    async def _start_tls(self, context: ssl.SSLContext) -> None:
        required = self._plan.tls is TlsPolicy.STARTTLS
        if "starttls" not in self._offered:
            if required:
                self._record.enter(Stage.TLS)
                raise Broken("tls_missing", "the server does not offer STARTTLS")
            return
        self._enter(Stage.TLS, self._plan.command, "STARTTLS")
        self._idle = False
        reply = await self._wired.secure(context, self._host, self._plan.command)
        self._record.said(reply.text, reply.code)
        self._idle = True
        if reply.code == 220:
            self._note_security(context)
            await self._hello()
        elif required and reply.code // 100 != 4:
            raise Broken("tls_missing", f"the server offers STARTTLS and answers {reply.code} {reply.text}", reply)
        elif required:
            raise Answered(reply)

    def _note_security(self, context: ssl.SSLContext | None) -> None:
        security = self._wired.security()
        if security is not None:
            version, expires = security
            self._record.secured(version, expires, verified=context is not None and context is self._plan.verified)

    async def _log_in(self, username: bytes, password: bytes) -> None:
        """One mechanism, one try: a second one with the same credentials only brings a lock-out nearer."""
        mechanisms = self._offered.get("auth", ())
        self._record.enter(Stage.AUTH)
        if self._plan.tls is not TlsPolicy.NONE and self._wired.security() is None:
            raise Broken("tls_missing", "no TLS: the credentials were not sent")
        if "PLAIN" in mechanisms:
            token = b64encode(b"\0" + username + b"\0" + password)
            reply = await self._ask(Stage.AUTH, b"AUTH", b"PLAIN", token, shown="AUTH PLAIN ***")
        elif "LOGIN" in mechanisms:
            reply = await self._ask(Stage.AUTH, b"AUTH", b"LOGIN")
            for answer in (username, password):
                if reply.code == 334:
                    reply = await self._ask(Stage.AUTH, b64encode(answer), shown="***")
        else:
            raise Broken("auth", "the server offers neither AUTH PLAIN nor AUTH LOGIN")
        if reply.code // 100 == 2:
            return
        reason = {4: "auth_temp", 5: "auth"}.get(reply.code // 100, "protocol")
        raise Broken(reason, f"login answered {reply.code} {reply.text}", reply)

    async def _give_envelope(self, envelope: Envelope, size: int) -> None:
        try:
            sender, recipient = path(envelope.mail_from), path(envelope.rcpt_to)
        except ValueError as error:
            raise Broken("local", str(error)) from error
        mail, rcpt = [b"FROM:" + sender], [b"TO:" + recipient]
        if "size" in self._offered:  # RFC 1870
            mail.append(b"SIZE=%d" % size)
        if "dsn" in self._offered and envelope.envelope_id:  # RFC 3461
            mail += [b"RET=HDRS", b"ENVID=" + xtext(envelope.envelope_id).encode("ascii")]
            rcpt.append(b"NOTIFY=FAILURE,DELAY")
        self._expect(2, await self._ask(Stage.MAIL, b"MAIL", *mail))
        self._expect(2, await self._ask(Stage.RCPT, b"RCPT", *rcpt))
