"""An IMAP server that says what a test tells it to: good manners by default, any bytes instead, any silence.

Not a mail server: it holds no mail. ``received`` has every line that came, without its tag, so that a test can say
what was never sent.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

from probe.canary.coverage import Cursor
from probe.clock import SystemClock
from probe.mailboxes.base import FolderRead, FolderRequest
from probe.mailboxes.imap import Cleanup, CleanupMode, Idle, ImapMailbox, ImapOptions, Tls
from probe.options import Secret

Script = bytes | list[bytes] | Callable[[socket.socket, bytes], None]
EPOCH = 7
SINCE = Cursor(EPOCH, 10)
PASSWORD = "open sesame"


def selection(exists: int = 0, uidnext: int | None = 10, epoch: int = EPOCH) -> bytes:
    """What SELECT answers, up to the tagged line."""
    told = f"* OK [UIDNEXT {uidnext}] next\r\n" if uidnext is not None else ""
    return (
        f"* FLAGS (\\Seen \\Deleted)\r\n* {exists} EXISTS\r\n* 0 RECENT\r\n* OK [UIDVALIDITY {epoch}] valid\r\n{told}"
    ).encode()


def fetched(uid: int, header: bytes, *, date: bytes = b'"24-Nov-2026 06:30:29 +0000"', number: int = 1) -> bytes:
    """One proper FETCH response."""
    return (
        b"* %d FETCH (UID %d RFC822.SIZE 99 INTERNALDATE %s BODY[HEADER.FIELDS (SUBJECT FROM)]<0> {%d}\r\n%s)\r\n"
        % (number, uid, date, len(header), header)
    )


class ScriptedImap:
    """Answers ``scripts[verb]`` (``UID SEARCH`` is one verb).

    Bytes are sent before ``<tag> OK done``, or alone where they hold ``%TAG%``, which is replaced; a list is used up
    one by one, its last for ever; a callable is given the socket. ``IDLE`` is answered by its bytes alone, and the
    ``DONE`` after it by the script ``DONE`` with the tag of the IDLE.
    """

    def __init__(
        self,
        scripts: Mapping[str, Script] | None = None,
        *,
        greeting: bytes = b"* OK ready\r\n",
        capabilities: str = "IMAP4rev1 UIDPLUS MOVE",
    ) -> None:
        self.received: list[str] = []
        self.arrived = threading.Condition()
        self.connected = threading.Event()
        self._greeting = greeting
        self._scripts: dict[str, Script] = {
            "CAPABILITY": f"* CAPABILITY {capabilities}\r\n".encode(),
            "IDLE": b"+ idling\r\n",
            "SELECT": selection(),
            "EXAMINE": selection(),
            "UID SEARCH": b"* SEARCH\r\n",
            "STATUS": b'* STATUS "x" (MESSAGES 0 UIDNEXT 10 UIDVALIDITY %d)\r\n' % EPOCH,
            **(scripts or {}),
        }
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                self.connected.set()
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rb") as lines:
            connection.sendall(self._greeting)
            idle_tag = b""
            for line in lines:
                tag, _, rest = line.rstrip(b"\r\n").partition(b" ")
                if tag == b"DONE":
                    tag, rest = idle_tag, tag
                with self.arrived:
                    self.received.append(rest.decode("latin-1"))
                    self.arrived.notify_all()
                words = rest.upper().split(b" ")
                verb = b" ".join(words[:2] if words[0] == b"UID" else words[:1]).decode("latin-1")
                idle_tag = tag if verb == "IDLE" else idle_tag
                self._answer(connection, tag, self._scripts.get(verb, b""), alone=verb == "IDLE")

    def _answer(self, connection: socket.socket, tag: bytes, script: Script, *, alone: bool) -> None:
        if isinstance(script, list):
            script = script.pop(0) if len(script) > 1 else script[0]
        if callable(script):
            script(connection, tag)
        elif alone or b"%TAG%" in script:
            connection.sendall(script.replace(b"%TAG%", tag))
        else:
            connection.sendall(script + tag + b" OK done\r\n")

    def wait_for(self, verb: str, seconds: float = 20) -> None:
        """Until a line that begins with ``verb`` has come."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: any(each.startswith(verb) for each in self.received), seconds)

    def close(self) -> None:
        """End every connection and every thread."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for connection in self._open:
            connection.close()

    def options(
        self,
        *,
        tls: Tls = Tls.NONE,
        folders: tuple[str, ...] = ("INBOX",),
        cleanup: CleanupMode = CleanupMode.DELETE,
        target: str | None = None,
        idle: Idle = Idle.AUTO,
    ) -> ImapOptions:
        """Options of a mailbox on this server."""
        return ImapOptions(
            host="127.0.0.1",
            port=self.port,
            tls=tls,
            username="canary",
            password=Secret(PASSWORD.encode()),
            folders=folders,
            cleanup=Cleanup(mode=cleanup, folder=target),
            idle=idle,
        )

    def mailbox(self, **options: object) -> ImapMailbox:
        """A mailbox on this server, not yet connected."""
        return ImapMailbox("scripted", self.options(**options), SystemClock())  # type: ignore[arg-type]


def forever(piece: bytes) -> Callable[[socket.socket, bytes], None]:
    """Sends ``piece`` until the other side has had enough."""

    def send(connection: socket.socket, tag: bytes) -> None:
        while True:
            connection.sendall(piece)

    return send


def silence(connection: socket.socket, tag: bytes) -> None:
    """Answers nothing."""


def reading(server: ScriptedImap, since: Cursor | None = SINCE, **options: object) -> FolderRead:
    """Connect, read INBOX once, close."""
    mailbox = server.mailbox()
    mailbox.connect()
    try:
        return mailbox.read(FolderRequest("INBOX", since, **options))  # type: ignore[arg-type]
    finally:
        mailbox.close()


def with_mail(search: Script, fetch: Script, *, uidnext: int | None = 13, exists: int = 3) -> dict[str, Script]:
    return {"SELECT": selection(exists, uidnext), "UID SEARCH": search, "UID FETCH": fetch}
