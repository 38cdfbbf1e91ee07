"""Mailbox kind ``imap``: an account read over IMAP4rev1 (RFC 3501), so that absence is a proof.

imapclient makes the connection, TLS and the names; reading goes by UID windows over the capped wire below it, never
by IDLE, which says the same for "nothing new" and "dead". A poll is one NOOP; only where the server reported EXISTS is
there a search. Whatever is raised while reading means that the server cannot be trusted any further: the
connection is closed and the caller gets a MailboxError, never a half-read folder.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from ssl import SSLContext

from imapclient import IMAPClient, SocketTimeout
from imapclient.imap_utf7 import decode, encode

from probe.clock import Clock
from probe.errors import FolderMissing, MailboxError
from probe.mailboxes import imap_care
from probe.mailboxes.base import FolderRead, FolderRequest, Found, Mailbox, Removal
from probe.mailboxes.imap_faults import translate
from probe.mailboxes.imap_login import log_in, tls_context
from probe.mailboxes.imap_read import Reader
from probe.mailboxes.imap_session import Session, canonical
from probe.mailboxes.imap_wire import LOGOUT_TIME, CappedIMAP4
from probe.options import Rate, Secret, option

KIND = "imap"
_TIMEOUT = SocketTimeout(connect=30, read=60)

# It writes all traffic at DEBUG, passwords of unusual commands included.
logging.getLogger("imapclient.imaplib").setLevel(logging.WARNING)


class Tls(StrEnum):
    """How the connection is encrypted; never "if offered", for a password goes over it."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    NONE = "none"


class CleanupMode(StrEnum):
    """What becomes of our own canaries once judged."""

    DELETE = "delete"
    MOVE = "move"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Cleanup:
    """Removal of our own canaries from the mailbox."""

    mode: CleanupMode = option("What becomes of old canaries.", default=CleanupMode.DELETE)
    after: timedelta = option("How old a canary is when it is removed.", default=timedelta(hours=24))
    folder: str | None = option("Where mode move puts them; not a watched folder.", default=None)


def _port(value: int) -> str | None:
    return None if 1 <= value <= 65535 else "a port is between 1 and 65535"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImapOptions:
    """The keys of a mailbox of kind ``imap``."""

    host: str = option("The IMAP server.")
    port: int = option("Its port.", default=993, check=_port)
    tls: Tls = option("Encryption; none must be written out.", default=Tls.IMPLICIT)
    verify: bool = option("Whether the server's certificate is checked.", default=True)
    ca_file: Path | None = option("CA certificates (PEM) to trust instead of the system's.", default=None)
    username: str = option("The account's user name.")
    password: Secret = option("The account's password.")
    folders: tuple[str, ...] = option(
        "Folders to watch; the first is polled fast; junk stands for the one flagged \\Junk.", default=("INBOX",)
    )
    exclusive: bool = option("Nobody else deletes or moves mail here.", default=False)
    cleanup: Cleanup = option("Removal of old canaries.", default=Cleanup())
    idle_poll: timedelta = option("The longest time between two reads.", default=timedelta(seconds=30))
    poll_rate: Rate = option("Most polls of the first folder.", default=Rate(10, timedelta(seconds=1)))
    control_canary: timedelta | None = option(
        "How often a control message is put into the mailbox to test the watch; off for never.",
        default=timedelta(minutes=5),
    )

    @property
    def insecure(self) -> bool:
        """Whether the certificate or the encryption was written out of it."""
        return not self.verify or self.tls is Tls.NONE

    def breaches(self) -> Iterable[tuple[str, str]]:
        """Rules between keys that are broken."""
        if not self.folders:
            yield "folders", "at least one folder must be watched"
        if len(set(map(canonical, self.folders))) != len(self.folders):
            yield "folders", "a folder is named twice"
        target = self.cleanup.folder
        if self.cleanup.mode is not CleanupMode.MOVE:
            if target is not None:
                yield "cleanup.folder", "only mode move has a folder"
        elif not target:
            yield "cleanup.folder", "mode move needs a folder"
        elif canonical(target) in set(map(canonical, self.folders)):
            yield "cleanup.folder", "canaries cannot be moved into a watched folder"

    def open(self, name: str, clock: Clock) -> Mailbox:
        """The mailbox ``name`` with these options, not yet connected."""
        return ImapMailbox(name, self, clock)


OPTIONS = ImapOptions


class _Client(IMAPClient):  # type: ignore[misc]
    """imapclient over the capped wire that ``make_wire`` makes."""

    def __init__(self, options: ImapOptions, make_wire: Callable[[], CappedIMAP4]) -> None:
        self._make_wire = make_wire
        super().__init__(options.host, options.port, ssl=options.tls is Tls.IMPLICIT, timeout=_TIMEOUT)
        self.normalise_times = False
        # imapclient sets 5, which formats every line for a log that is switched off.
        self._imap.debug = 0

    def _create_IMAP4(self) -> CappedIMAP4:
        return self._make_wire()


class ImapMailbox:
    """One account, over one connection at a time; ``connect`` again after a MailboxError.

    ``commands``, ``bytes_in`` and ``bytes_out`` count over all its connections; bytes are those inside TLS.
    """

    def __init__(self, name: str, options: ImapOptions, clock: Clock) -> None:
        self.name = name
        self._options = options
        self._clock = clock
        self._examine = options.cleanup.mode is CleanupMode.OFF
        self._wire: CappedIMAP4 | None = None
        self._session: Session | None = None
        self._reader: Reader | None = None
        self._context: SSLContext | None = None
        self._socket: socket.socket | None = None
        self._interrupted = False
        self._spent = [0, 0, 0]

    @property
    def commands(self) -> int:
        """IMAP commands sent."""
        return self._spent[0] + (self._wire.commands if self._wire else 0)

    @property
    def bytes_in(self) -> int:
        """Bytes received."""
        return self._spent[1] + (self._wire.bytes_in if self._wire else 0)

    @property
    def bytes_out(self) -> int:
        """Bytes sent."""
        return self._spent[2] + (self._wire.bytes_out if self._wire else 0)

    # The connection.

    def connect(self) -> None:
        """Connect, encrypt, log in. Raises MailboxError: connect, tls, timeout, protocol, throttled, auth_temporary;
        LoginRefused for the credentials alone."""
        self._drop()
        self._interrupted = False
        options = self._options
        with self._door(f"connecting to {options.host}:{options.port}", connecting=True):
            if options.tls is not Tls.NONE and self._context is None:
                self._context = tls_context(options.ca_file, verify=options.verify)
            client = _Client(options, self._new_wire)
            wire: CappedIMAP4 = client._imap
            self._wire = wire
            if options.tls is Tls.STARTTLS:
                self._start_tls(client, wire)
            log_in(wire, options.username, options.password)
            capabilities = frozenset(word.decode("ascii", "replace") for word in client.capabilities())
            self._session = Session(wire, capabilities, encode, decode)

    def _new_wire(self) -> CappedIMAP4:
        options = self._options
        return CappedIMAP4(
            options.host,
            options.port,
            context=self._context if options.tls is Tls.IMPLICIT else None,
            timeout=_TIMEOUT.connect,
            clock=self._clock,
            on_socket=self._hold,
        )

    def _start_tls(self, client: _Client, wire: CappedIMAP4) -> None:
        """Nothing but STARTTLS goes out before it succeeded; where it is not offered, no login ever does."""
        if "STARTTLS" not in wire.capabilities or wire.state != "NONAUTH":
            raise MailboxError("tls", "STARTTLS is required but not offered; no login was sent")
        try:
            client.starttls(self._context)
        except wire.error as error:
            if isinstance(error, wire.abort):
                raise
            raise MailboxError("tls", f"{error}; no login was sent") from error

    def _hold(self, new: socket.socket) -> None:
        self._socket = new
        if self._interrupted:
            raise MailboxError("disconnected", "interrupted while connecting")

    def interrupt(self) -> None:
        """Shut the socket down from another thread: what blocks on it ends at once with MailboxError."""
        self._interrupted = True
        held = self._socket
        if held is not None:
            with suppress(OSError):
                # Not SSLSocket's: that one takes the TLS object from under the thread that reads.
                socket.socket.shutdown(held, socket.SHUT_RDWR)

    def close(self) -> None:
        """LOGOUT, waited for 2 s at most, and close; never raises."""
        wire = self._wire
        if wire is not None and self._session is not None and not self._interrupted:
            # Whatever the server says to LOGOUT, or does not, the connection ends here.
            with suppress(Exception):
                wire.sock.settimeout(LOGOUT_TIME.total_seconds())
                wire.run("LOGOUT", within=LOGOUT_TIME)
        self._drop()

    def _drop(self) -> None:
        held, wire = self._socket, self._wire
        self._wire = self._session = self._reader = self._socket = None
        if wire is not None:
            for n, count in enumerate((wire.commands, wire.bytes_in, wire.bytes_out)):
                self._spent[n] += count
            wire.shutdown()
        if held is not None:
            held.close()

    @contextmanager
    def _door(self, doing: str, *, connecting: bool = False) -> Iterator[None]:
        """The one door: whatever is raised behind it closes the connection and leaves as MailboxError.

        Exception and not a list: on hostile input the libraries raise what they like, and none of it may pass
        for a bug of ours that ends the watch.
        """
        try:
            yield
        except FolderMissing:
            raise
        except Exception as error:
            self._drop()
            raised = translate(error, doing, connecting=connecting)
            if raised is error:
                raise
            raise raised from error

    def _connected(self) -> Session:
        if self._session is None:
            raise MailboxError("disconnected", f"{self.name}: not connected")
        return self._session

    # The account.

    def read(self, request: FolderRequest) -> FolderRead:
        """One look at one folder; see Reader."""
        with self._door(f"reading {request.folder}"):
            session = self._connected()
            if self._reader is None:
                self._reader = Reader(session, self._clock, self._options.folders[0], examine=self._examine)
            return self._reader.read(request)

    def body(self, folder: str, epoch: int, uid: int, limit: int) -> bytes:
        """The first ``limit`` bytes of a message; b"" where it, its folder or its epoch is gone."""
        with self._door(f"reading a message of {folder}"):
            session = self._connected()
            return session.content(uid, limit) if self._at_epoch(session, folder, epoch) else b""

    def present(self, folder: str, epoch: int, uids: Sequence[int]) -> frozenset[int]:
        """Which of ``uids`` the folder still holds."""
        with self._door(f"looking for messages in {folder}"):
            session = self._connected()
            return session.existing(uids) if uids and self._at_epoch(session, folder, epoch) else frozenset()

    def _at_epoch(self, session: Session, folder: str, epoch: int) -> bool:
        """Select the folder; False where it is gone or its UIDs mean something else now."""
        try:
            selected = session.enter(session.server_name(folder), examine=self._examine)
        except FolderMissing:
            return False
        # What others expunged disappears from view only once the server has told (RFC 3501 7.4.1).
        session.noop()
        return selected.epoch == epoch

    def sweep(self, tokens: Sequence[str], folders: Sequence[str] = ()) -> tuple[Found, ...]:
        """Look for the identities everywhere but in ``folders``; see imap_care."""
        with self._door("searching every folder"):
            session = self._connected()
            skipped: set[str] = set()
            for folder in folders:
                with suppress(FolderMissing):
                    skipped.add(session.server_name(folder))
            return imap_care.sweep(session, tokens, frozenset(skipped))

    def remove(self, folder: str, epoch: int, uids: Sequence[int]) -> Removal:
        """Delete or move exactly these, as ``cleanup`` says; see imap_care."""
        cleanup = self._options.cleanup
        if cleanup.mode is CleanupMode.OFF:
            return Removal(frozenset(), "cleanup is off")
        with self._door(f"cleaning up {folder}"):
            session = self._connected()
            try:
                name = session.server_name(folder)
            except FolderMissing as missing:
                return Removal(frozenset(), str(missing))
            return imap_care.remove(session, name, epoch, uids, cleanup.folder)
