"""Mailbox kind ``imap``: an account read over IMAP4rev1 (RFC 3501), so that absence is a proof.

imapclient makes the connection, TLS and the names; reading goes by UID windows over the capped wire below it, never
by IDLE, which only hints that a read is due (imap_idle.py). A poll is one NOOP; only where the server reported EXISTS
is there a search. Whatever is raised while reading means that the server cannot be trusted any further: the
connection is closed and the caller gets a MailboxError, never a half-read folder.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from ssl import SSLContext

from imapclient import IMAPClient, SocketTimeout
from imapclient.imap_utf7 import decode, encode

from probe.clock import Clock
from probe.errors import FolderMissing, MailboxError
from probe.mailboxes import imap_care
from probe.mailboxes.base import FolderRead, FolderRequest, Found, Mailbox, Removal
from probe.mailboxes.cleanup import Cleanup, CleanupMode
from probe.mailboxes.imap_faults import translate
from probe.mailboxes.imap_idle import Idle, Idling
from probe.mailboxes.imap_login import log_in, tls_context
from probe.mailboxes.imap_options import ImapKeys, Tls
from probe.mailboxes.imap_read import Reader
from probe.mailboxes.imap_session import Session
from probe.mailboxes.imap_wire import LOGOUT_TIME, CappedIMAP4

__all__ = ["KIND", "OPTIONS", "Cleanup", "CleanupMode", "Idle", "ImapMailbox", "ImapOptions", "Tls"]

KIND = "imap"
_TIMEOUT = SocketTimeout(connect=30, read=60)

# It writes all traffic at DEBUG, passwords of unusual commands included.
logging.getLogger("imapclient.imaplib").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImapOptions(ImapKeys):
    """The keys of a mailbox of kind ``imap``."""

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
        self._idling = Idling(options.idle, clock)
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
        self._idling.forget()
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
            found = self._reader.read(request)
            if request.folder == self._options.folders[0]:
                self._idling.read(len(found.messages))
            return found

    @property
    def hints(self) -> bool:
        """Whether the connection can idle now: the first folder selected and read, IDLE offered, wanted and sound."""
        session, reader = self._session, self._reader
        return session is not None and reader is not None and reader.at_rest and self._idling.possible(session)

    @property
    def no_hints(self) -> str:
        """Why IDLE is not used any more, in words; "" while nothing is wrong."""
        return self._idling.given_up

    def wait(self, longest: timedelta) -> bool:
        """One IDLE in the first folder; see Idling.wait."""
        with self._door("idling"):
            return self._idling.wait(self._connected().wire, longest)

    def wake(self) -> None:
        """End an IDLE under way, or the next one, from another thread."""
        self._idling.wake.set()

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

    def place(self, message: bytes) -> str:
        """APPEND to the first folder, as read, so that nobody is notified; see base.Placing."""
        with self._door("putting a message there"):
            session = self._connected()
            try:
                name = session.server_name(self._options.folders[0])
            except FolderMissing as missing:
                return str(missing)
            return session.append(name, r"(\Seen)", message)
