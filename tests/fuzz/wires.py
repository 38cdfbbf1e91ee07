"""The servers' side of IMAP and SMTP as bytes, fed to the real wires without a socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast

from probe.canary.coverage import Cursor
from probe.clock import SystemClock
from probe.errors import MailboxError
from probe.mailboxes.base import FolderRequest
from probe.mailboxes.imap import ImapMailbox, ImapOptions
from probe.mailboxes.imap_options import Tls
from probe.mailboxes.imap_wire import CappedIMAP4
from probe.options import Secret
from probe.senders.smtp_record import Broken
from probe.senders.smtp_text import enhanced_code, extensions, queued_as, sanitised
from probe.senders.smtp_wire import SmtpWire

BREAK = b"====\n"  # between what a server says to one command and to the next
_CLOCK = SystemClock()
_OPTIONS = ImapOptions(host="imap.example", tls=Tls.NONE, username="u", password=Secret(b"pass"))


class _Stream:
    """A socket whose other side says one piece after each command, whatever it was; then the stream ends.

    After ``most`` bytes it ends in any case; with ``stalls``, the socket's time-out is over instead.
    """

    def __init__(self, said: bytes, most: int, *, stalls: bool) -> None:
        self._most = most
        self._stalls = stalls
        self._left = said.split(BREAK)
        self._ready = self._left.pop(0)
        self.heard: list[bytes] = []
        self.told = 0

    def sendall(self, data: bytes) -> None:
        self.heard.append(bytes(data))
        if self._left:
            self._ready += self._left.pop(0).replace(b"@TAG@", data.split(b" ", 1)[0])

    def recv(self, size: int) -> bytes:
        size = min(size, self._most)
        given, self._ready = self._ready[:size], self._ready[size:]
        self._most -= len(given)
        self.told += len(given)
        if not given and self._stalls:
            raise TimeoutError("timed out")
        return given

    def settimeout(self, seconds: float | None) -> None: ...

    def close(self) -> None: ...


class _Wire(CappedIMAP4):
    def __init__(self, stream: _Stream) -> None:
        self._stream = stream
        super().__init__("imap.example", 143, context=None, timeout=1, clock=_CLOCK, on_socket=lambda _: None)

    def open(self, host: str = "", port: int = 143, timeout: float | None = None) -> None:
        self.host, self.port = host, port
        self.sock = cast(socket.socket, self._stream)

    def shutdown(self) -> None:
        self.sock.close()


class FedMailbox(ImapMailbox):
    """The real mailbox over such a stream."""

    def __init__(self, said: bytes, *, most: int = 1 << 62, stalls: bool = False) -> None:
        super().__init__("support", _OPTIONS, _CLOCK)
        self.stream = _Stream(said, most, stalls=stalls)

    def _new_wire(self) -> CappedIMAP4:
        return _Wire(self.stream)


def told(mailbox: ImapMailbox) -> Iterator[object]:
    """What the mailbox tells, call by call: a login, two reads, a body, a sweep. Raises MailboxError."""
    mailbox.connect()
    yield "connected"
    first = mailbox.read(FolderRequest("INBOX", None))
    epoch = first.cursor.epoch
    for read in (first, mailbox.read(FolderRequest("INBOX", Cursor(epoch, 1), fresh=True))):
        yield read.cursor, read.complete, read.gaps, read.messages, read.reset
    yield mailbox.body("INBOX", epoch, 7, 4096)
    yield mailbox.sweep(["a" * 63])


def imap_heard(data: bytes) -> list[bytes]:
    """What the prober says to a server that says this, up to its log-out."""
    mailbox = FedMailbox(data)
    with suppress(MailboxError):
        list(told(mailbox))
    heard = list(mailbox.stream.heard)
    mailbox.close()
    return heard


def imap(data: bytes) -> bool:
    """A whole dialogue through the mailbox. All that its door documents to raise is MailboxError."""
    imap_heard(data)
    return False


class _Transport(asyncio.Transport):
    def is_closing(self) -> bool:
        return False

    def write(self, data: Any) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...


_LOOPS: list[asyncio.AbstractEventLoop] = []


def close_loops() -> None:
    """To be called once the last input is through."""
    while _LOOPS:
        _LOOPS.pop().close()


def smtp(data: bytes) -> bool:
    """A server's replies, one to each command, and then its end of the stream; then the texts' readers."""
    if not _LOOPS:
        _LOOPS.append(asyncio.new_event_loop())
    _LOOPS[0].run_until_complete(_dialogue(_LOOPS[0], data))
    return False


async def _dialogue(loop: asyncio.AbstractEventLoop, data: bytes) -> None:
    wire = SmtpWire(loop)
    wire.connection_made(_Transport())
    pieces = data.split(BREAK)[:12]
    try:
        for place, piece in enumerate([*pieces, b""]):
            asked = asyncio.ensure_future(wire.reply() if place == 0 else wire.ask(b"NOOP"))
            await asyncio.sleep(0)
            if piece:
                wire.data_received(piece)
            if not asked.done():
                # What is no whole reply ends with the connection.
                await asyncio.sleep(0)
            if not asked.done():
                wire.eof_received()
                wire.connection_lost(None)
            reply = await asked
            text = sanitised(reply.text)
            enhanced_code(reply.code, text)
            queued_as(text)
            extensions(reply.text)
    except Broken:
        pass
