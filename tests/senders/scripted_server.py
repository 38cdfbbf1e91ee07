"""An SMTP server that answers as the test says, on a port of loopback (a free one, if none is named), and keeps every
byte it was sent."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import Enum
from types import TracebackType
from typing import Self

from probe.clock import SystemClock
from probe.senders.base import Envelope, Submission
from probe.senders.smtp import SmtpOptions, SmtpSender, SmtpTimeouts
from probe.senders.smtp_plan import TlsPolicy

ENVELOPE = Envelope("canary@probe.example", "support@example.org", "k1.abc=def")
MESSAGE = b"From: canary@probe.example\r\nSubject: t\r\n\r\nhello\r\n.dot\r\n"


class Act(Enum):
    """What a server does instead of answering."""

    HANG = "say nothing more, read until the client is gone"
    DROP = "close at once"
    STALL = "say nothing and read nothing"


Step = bytes | Act
NORMAL: Mapping[str, Step] = {
    "BANNER": b"220 mx.example ESMTP\r\n",
    "EHLO": b"250-mx.example\r\n250-SIZE 1000000\r\n250 8BITMIME\r\n",
    "HELO": b"250 mx.example\r\n",
    "STARTTLS": b"220 go ahead\r\n",
    "MAIL": b"250 2.1.0 sender ok\r\n",
    "RCPT": b"250 2.1.5 recipient ok\r\n",
    "DATA": b"354 go on\r\n",
    "DOT": b"250 2.0.0 Ok: queued as 4Wx9Yz1Qab\r\n",
    "QUIT": b"221 bye\r\n",
}


class ScriptedServer:
    """``replies`` overrides NORMAL by verb (BANNER, DATA, CONTENT and DOT are those moments); a list is used up one
    by one, its last entry stays. ``tls`` is used at STARTTLS, or from the start with ``implicit``."""

    def __init__(
        self,
        replies: Mapping[str, Step | Sequence[Step]] | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        implicit: bool = False,
        address: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._replies = {
            verb: list(step) if isinstance(step, list) else [step]
            for verb, step in {**NORMAL, **(replies or {})}.items()
        }
        self._tls = tls
        self._implicit = implicit
        self._address = address
        self.port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self.clear = bytearray()  # what came before TLS, or without it
        self.secret = bytearray()  # what came within TLS
        self.content = b""
        self.connections = 0
        self.reached = asyncio.Event()  # a HANG or STALL was come to
        self.client_gone = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, self._address, self.port, limit=1 << 16, ssl=self._tls if self._implicit else None
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def heard(self) -> bytes:
        return bytes(self.clear + self.secret)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._dialogue(reader, writer)
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the test is over
        finally:
            self.client_gone.set()
            writer.transport.abort()

    def _keep(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        (self.clear if writer.get_extra_info("ssl_object") is None else self.secret).extend(data)

    async def _do(self, verb: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        steps = self._replies.get(verb) or [b"502 5.5.2 unknown\r\n"]
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        if step is Act.DROP:
            return False
        if step is Act.STALL:
            self.reached.set()
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.Event().wait()
        if step is Act.HANG:
            self.reached.set()
            while data := await reader.read(65536):
                self._keep(writer, data)
            return False
        assert isinstance(step, bytes)
        writer.write(step)
        await writer.drain()
        return True

    async def _dialogue(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        going = await self._do("BANNER", reader, writer)
        while going and (line := await reader.readline()):
            self._keep(writer, line)
            verb = line.split()[0].decode().upper() if line.split() else ""
            if verb == "AUTH":
                verb = " ".join(line.decode().upper().split()[:2])
            elif verb not in self._replies:
                verb = "TOKEN"  # an answer to a challenge
            going = await self._do(verb, reader, writer)
            if verb == "STARTTLS" and "HANDSHAKE" in self._replies:
                going = await self._do("HANDSHAKE", reader, writer)
            if verb == "STARTTLS" and going and self._tls:
                await writer.start_tls(self._tls)
            if verb == "DATA" and going and self._last_was_354():
                going = "CONTENT" not in self._replies or await self._do("CONTENT", reader, writer)
                if going:
                    self.content = await reader.readuntil(b"\r\n.\r\n")
                    self._keep(writer, self.content)
                    going = await self._do("DOT", reader, writer)

    def _last_was_354(self) -> bool:
        step = self._replies["DATA"][0]
        return isinstance(step, bytes) and step.startswith(b"354")


def options(port: int, *, short: float | None = None, **given: object) -> SmtpOptions:
    """Options for a server on loopback; ``short`` cuts every wait to so many seconds."""
    if "via" not in given:
        given.setdefault("host", "127.0.0.1")
    given.setdefault("helo", "prober.example")
    given.setdefault("tls", TlsPolicy.NONE)
    if short is not None:
        wait = timedelta(seconds=short)
        given.setdefault("timeouts", SmtpTimeouts(connect=wait, command=wait, dot=wait, total=timedelta(seconds=60)))
    return SmtpOptions(port=port, **given)  # type: ignore[arg-type]


def sender(port: int, *, short: float | None = None, **given: object) -> SmtpSender:
    made = options(port, short=short, **given)
    return made.open("test", SystemClock())


async def nothing() -> None:
    """The moment before DATA, when a test has no use for it."""


async def submit(
    port: int, *, short: float | None = None, message: bytes = MESSAGE, mx: str = "any", **given: object
) -> Submission:
    return await sender(port, short=short, **given).submit(ENVELOPE, message, mx=mx, before_data=nothing)
