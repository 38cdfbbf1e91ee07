"""imaplib with limits: nothing a server sends can take more memory or time than is set here.

imaplib believes the server: ``{40000000000}`` makes it allocate 40 GB, untagged responses pile up without end, and a
byte now and then keeps a read alive for ever. ``CappedIMAP4`` does its own buffered reading, so that every size is
checked before anything is allocated, and starts each command with an empty table of untagged responses. It knows
commands and responses, nothing of folders, messages or canaries. Errors: MailboxHostile for a broken limit, all
else as imaplib and the socket raise it; imap.py translates.
"""

from __future__ import annotations

import imaplib
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from probe.clock import Clock
from probe.errors import MailboxError, MailboxHostile

LITERAL_LIMIT = 128 * 1024
LINE_LIMIT = 256 * 1024
BYTES_LIMIT = 8 * 1024 * 1024  # of one command's whole answer
LINES_LIMIT = 50_000
COMMAND_TIME = timedelta(minutes=2)  # a socket timeout bounds each silence, this bounds the whole answer
LOGOUT_TIME = timedelta(seconds=2)
IDLE_ANSWER_TIME = timedelta(seconds=10)  # of the answers to IDLE and to DONE, each as a whole
NUMBER_LIMIT = 2**32  # RFC 3501 section 9: nz-number is 32 bits
_CHUNK = 16 * 1024


class CappedIMAP4(imaplib.IMAP4):
    """One connection, in clear or (``context`` given) by TLS from the first byte.

    ``exists`` is the message count of the selected folder; ``news`` how many messages were announced since it was last
    set to 0, for EXISTS may ride on the answer to any command (RFC 3501 section 7). ``commands``, ``bytes_in`` and
    ``bytes_out`` count for the benchmark. ``on_socket`` is given each socket before anything can block on it, so that
    it can be shut down.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        context: ssl.SSLContext | None,
        timeout: float,
        clock: Clock,
        on_socket: Callable[[socket.socket], None],
    ) -> None:
        self.commands = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.exists = 0
        self.news = 0
        self._context = context
        self._clock = clock
        self._on_socket = on_socket
        self._idle_tag = b""
        self._buffer = bytearray()
        self._renew(COMMAND_TIME)
        super().__init__(host, port, timeout)

    # The connection.

    def open(self, host: str = "", port: int = 143, timeout: float | None = None) -> None:
        self.host = host
        self.port = port
        self.sock = socket.create_connection((host, port), timeout)
        self._on_socket(self.sock)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            self._encrypt(self._context)

    def _encrypt(self, context: ssl.SSLContext) -> None:
        """Handshake apart from the wrapping: only then can another thread shut down a handshake that hangs."""
        plain = self.sock
        try:
            self.sock = context.wrap_socket(plain, server_hostname=self.host, do_handshake_on_connect=False)
            self._on_socket(self.sock)
            self.sock.do_handshake()
        except BaseException:
            plain.close()
            self.sock.close()
            raise

    def starttls(self, ssl_context: Any = None) -> Any:
        """STARTTLS (RFC 3501 6.2.1). Raises imaplib's error when refused, MailboxHostile on bytes after it in clear."""
        typ, data = self.run("STARTTLS")
        if typ != "OK":
            raise self.error(f"STARTTLS refused: {data!r}")
        if self._buffer:
            # Whoever put them there wants them taken for the encrypted server's words (CVE-2021-33515 and its kin).
            raise MailboxHostile("tls", "bytes followed the answer to STARTTLS in clear")
        self._encrypt(ssl_context)
        self._tls_established = True
        self._get_capabilities()
        return typ, data

    def shutdown(self) -> None:
        """Close the socket; never raises for one that is closed."""
        with suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
        self.sock.close()

    # Commands.

    def run(self, name: str, *args: str | bytes, within: timedelta = COMMAND_TIME) -> tuple[str, list[Any]]:
        """One command: (OK or NO, the data of the tagged answer). BAD raises imaplib's error, BYE and EOF its abort."""
        self._renew(within)
        typ, data = self._simple_command(name, *args)
        return str(typ), list(data)

    def uid(self, command: str, *args: Any) -> tuple[str, list[Any]]:
        """``UID`` and one of SEARCH, FETCH, STORE, COPY, MOVE, EXPUNGE: (OK or NO, all untagged answers of its name).

        The data is ``[]`` where the server sent no such answer, which for SEARCH breaks RFC 3501 6.4.4.
        """
        typ, data = self.run("UID", command, *args)
        if typ != "OK" or command not in {"SEARCH", "FETCH"}:
            return typ, data
        return typ, list(self.untagged_responses.pop(command, []))

    def put(self, folder: bytes, flags: str, message: bytes) -> tuple[str, list[Any]]:
        """APPEND (RFC 3501 6.3.11): (OK or NO, the data of the tagged answer). Raises as ``run``."""
        self.literal = message  # type: ignore[assignment]  # imaplib sends its size, waits for the server's leave, and sends it
        try:
            return self.run("APPEND", folder, flags)
        finally:
            self.literal = None

    def said(self, name: str) -> bytes | None:
        """The last untagged answer or response code ``name`` (UIDNEXT, READ-ONLY …) to this command; None: none."""
        answers: Any = self.untagged_responses.get(name)
        if not answers:
            return None
        return answers[-1] if isinstance(answers[-1], bytes) else b""

    def _command(self, name: str, *args: Any) -> Any:
        # What came with earlier answers was seen by `_append_untagged`; kept, it would grow without end and be
        # taken for the answer to this command.
        self.untagged_responses.clear()
        self.commands += 1
        self._bytes_left = BYTES_LIMIT
        self._lines_left = LINES_LIMIT
        return super()._command(name, *args)  # type: ignore[misc]

    def _append_untagged(self, typ: str, dat: Any) -> None:
        if typ == "EXISTS":
            count = number(dat)
            self.news += max(1, count - self.exists)
            self.exists = count
        elif typ == "EXPUNGE":
            self.exists = max(0, self.exists - 1)
        super()._append_untagged(typ, dat)  # type: ignore[misc]

    def _log(self, line: Any) -> None:
        """imaplib keeps the last ten lines, passwords included, for debugging; we keep none."""

    # IDLE (RFC 2177).

    def begin_idle(self, longest: timedelta) -> bool:
        """Send IDLE and wait for ``+``; the idle may then last ``longest``. False where the server refused it.

        Whatever came in one segment with the ``+`` is taken up too. Raises as ``run``.
        """
        self.untagged_responses.clear()
        self.commands += 1
        self._renew(IDLE_ANSWER_TIME)
        self.sock.settimeout(IDLE_ANSWER_TIME.total_seconds())
        self._idle_tag = self._new_tag()
        self.send(self._idle_tag + b" IDLE\r\n")
        while self._get_response() is not None:
            self._check_bye()
            if self.idle_ended:
                return False
        self._renew(longest + IDLE_ANSWER_TIME)
        self._take_up()
        return True

    @property
    def idle_ended(self) -> bool:
        """Whether the server has answered to IDLE already, which before DONE means that it will not idle."""
        return bool(self.tagged_commands.get(self._idle_tag))

    def pump(self) -> bool:
        """Take up what has come, without waiting for more; False when nothing had. Raises abort at BYE and EOF.

        A part of a line stays in the buffer until its end has come. Only a literal, which no answer to IDLE needs, is
        waited for, as long as for an answer.
        """
        self.sock.settimeout(0)
        try:
            alive = self._receive()
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        finally:
            self.sock.settimeout(IDLE_ANSWER_TIME.total_seconds())
        self._take_up()
        if not alive:
            raise self.abort("socket error: EOF in IDLE")
        return True

    def _take_up(self) -> None:
        while b"\n" in self._buffer:
            self._get_response()
            self._check_bye()
        if len(self._buffer) > LINE_LIMIT:
            raise MailboxHostile("limit", f"a line of more than {LINE_LIMIT} bytes")

    def end_idle(self) -> bool:
        """DONE, and what comes up to the tagged answer; whether that is OK. Raises as ``run``."""
        self._renew(IDLE_ANSWER_TIME)
        self.send(b"DONE\r\n")
        typ, _ = self._get_tagged_response(self._idle_tag)
        self._check_bye()
        return bool(typ == "OK")

    # Bytes.

    def _renew(self, within: timedelta) -> None:
        self._bytes_left = BYTES_LIMIT
        self._lines_left = LINES_LIMIT
        self._deadline = self._clock.now() + within

    def send(self, data: Any) -> None:
        self.bytes_out += len(data)
        self.sock.sendall(data)

    def read(self, size: int) -> bytes:
        if size > LITERAL_LIMIT:
            raise MailboxHostile("limit", f"a literal of {size} bytes; the limit is {LITERAL_LIMIT}")
        while len(self._buffer) < size:
            if not self._receive():
                raise self.abort("socket error: EOF in a literal")
        return self._take(size)

    def readline(self) -> bytes:
        """A line with its end; what is left at the end of the stream; b"" after it."""
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > LINE_LIMIT:
                break
            if not self._receive():
                return self._take(searched)
        if end > LINE_LIMIT or end < 0:
            raise MailboxHostile("limit", f"a line of more than {LINE_LIMIT} bytes")
        self._lines_left -= 1
        if self._lines_left < 0:
            raise MailboxHostile("limit", f"more than {LINES_LIMIT} lines in answer to one command")
        return self._take(end + 1)

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _receive(self) -> bool:
        """Whether anything came; False at the end of the stream."""
        data = self.sock.recv(_CHUNK)
        self.bytes_in += len(data)
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise MailboxHostile("limit", f"more than {BYTES_LIMIT} bytes in answer to one command")
        if self._clock.now().since(self._deadline) > timedelta(0):
            raise MailboxError("timeout", "the answer to one command took too long")
        self._buffer += data
        return bool(data)


def number(data: Any) -> int:
    """A number of RFC 3501 section 9 (32 bits) at the beginning of ``data``. Raises MailboxHostile."""
    digits = bytes(data[:11]) if isinstance(data, bytes) else b""
    digits = digits.split(b"]")[0].split(b" ")[0]
    if not digits.isdigit() or (value := int(digits)) >= NUMBER_LIMIT:
        raise MailboxHostile("protocol", f"a number was due, not {data[:40]!r}")
    return value
