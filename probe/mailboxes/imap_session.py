"""IMAP commands on folders, over one logged-in connection: what is selected, and what the server said of it.

It turns commands into values and keeps only what the connection itself remembers (the selected folder). It decides
nothing about cursors, gaps or canaries. Never sent: EXPUNGE without UIDs, and CLOSE, which expunges too (RFC 3501
6.4.2); both would remove mail that is not ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from probe.errors import FolderMissing, MailboxError, MailboxHostile
from probe.mailboxes.base import Message
from probe.mailboxes.imap_faults import TEMPORARY
from probe.mailboxes.imap_parse import (
    Answer,
    fetch_answers,
    list_entries,
    readable,
    response_code,
    search_numbers,
    status_items,
)
from probe.mailboxes.imap_window import number_set
from probe.mailboxes.imap_wire import CappedIMAP4, number

HEADER_LIMIT = 16 * 1024
HEADER_FIELDS = (
    "X-MAILCANARY MESSAGE-ID X-MICROSOFT-ORIGINAL-MESSAGE-ID SUBJECT FROM IN-REPLY-TO REFERENCES AUTO-SUBMITTED "
    "CONTENT-TYPE RETURN-PATH PRECEDENCE X-AUTOREPLY X-AUTORESPOND RECEIVED"
)
_LOOK = f"(UID RFC822.SIZE INTERNALDATE BODY.PEEK[HEADER.FIELDS ({HEADER_FIELDS})]<0.{HEADER_LIMIT}>)"
FETCH_BATCH = 100  # times HEADER_LIMIT stays far below the wire's limit of one answer
UIDS_PER_COMMAND = 500  # keeps a command line below the 8,000 bytes of RFC 2683 3.2.1.5
SEARCH_SLICE = 20_000  # numbers in one SEARCH response: 220 kB at most, below the wire's limit of a line
SLICES_LIMIT = 64
_BODY_CHUNK = 64 * 1024

JUNK = "junk"  # as a configured folder: the one flagged \\Junk
JUNK_FLAG = "\\junk"  # RFC 6154, in lower case

# RFC 5530: the folder is not there, or not for us.
NOT_SELECTABLE = {"NONEXISTENT", "NOPERM", "CANNOT", "TRYCREATE"}


@dataclass(frozen=True, slots=True)
class Selected:
    """The selected folder. ``uidnext`` None: SELECT did not tell. ``read_only``: told so although not EXAMINEd."""

    name: str
    epoch: int
    uidnext: int | None
    examined: bool
    read_only: bool


@dataclass(frozen=True, slots=True)
class Status:
    """A STATUS answer; None for what it left out."""

    epoch: int | None
    uidnext: int | None
    total: int | None


@dataclass(frozen=True, slots=True)
class Listed:
    """A folder of LIST: its attributes in lower case (``\\junk``) and its name, decoded."""

    name: str
    attributes: frozenset[str]

    @property
    def selectable(self) -> bool:
        return not self.attributes & {"\\noselect", "\\nonexistent"}


class Refused(FolderMissing):
    """SELECT, EXAMINE or STATUS was answered NO. ``code`` is the response code, "" without one."""

    def __init__(self, folder: str, code: str, text: str) -> None:
        self.code = code
        super().__init__("folder", f"{folder}: {text}")


class Session:
    """The commands. ``capabilities`` are those after the login, upper case; ``encode`` and ``decode`` translate folder
    names to and from modified UTF-7 (RFC 3501 5.1.3)."""

    def __init__(
        self,
        wire: CappedIMAP4,
        capabilities: frozenset[str],
        encode: Callable[[str], bytes],
        decode: Callable[[bytes], str],
    ) -> None:
        self.wire = wire
        self.capabilities = capabilities
        self.selected: Selected | None = None
        self._encode = encode
        self._decode = decode
        self._junk: str | None = None

    def server_name(self, folder: str) -> str:
        """The folder that a configured name stands for. Raises FolderMissing where none is flagged as junk."""
        if folder != JUNK:
            return canonical(folder)
        if self._junk is None:
            flagged = [each.name for each in self.folders() if JUNK_FLAG in each.attributes and each.selectable]
            if not flagged and self.capabilities >= {"SPECIAL-USE", "LIST-EXTENDED"}:
                listed = self.folders(special_use=True)
                flagged = [each.name for each in listed if JUNK_FLAG in each.attributes and each.selectable]
            if not flagged:
                raise FolderMissing("folder", f"{JUNK}: no folder of the account is flagged \\Junk")
            self._junk = flagged[0]
        return self._junk

    def enter(self, name: str, *, examine: bool) -> Selected:
        """The folder selected, without a new SELECT where it is already; ``examine`` False needs it writable."""
        selected = self.selected
        if selected is not None and selected.name == name and (examine or not selected.examined):
            return selected
        return self.select(name, examine=examine)

    def quoted(self, name: str) -> bytes:
        """A folder's name as an argument."""
        return b'"' + self._encode(name).replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'

    def select(self, name: str, *, examine: bool) -> Selected:
        """SELECT or EXAMINE, afresh even when selected. Raises Refused; then nothing is selected."""
        wire = self.wire
        self.selected = None
        wire.exists = 0
        typ, data = wire.run("EXAMINE" if examine else "SELECT", self.quoted(name))
        if typ != "OK":
            wire.state = "AUTH"
            raise _refused(name, data)
        wire.state = "SELECTED"
        # The count belongs to the snapshot that UIDNEXT belongs to; what comes later is news.
        wire.news = 0
        epoch, uidnext = wire.said("UIDVALIDITY"), wire.said("UIDNEXT")
        if epoch is None:
            raise MailboxHostile("protocol", f"{name}: selected without UIDVALIDITY, so UIDs mean nothing")
        self.selected = Selected(
            name=name,
            epoch=number(epoch),
            uidnext=None if uidnext is None else number(uidnext),
            examined=examine,
            read_only=not examine and wire.said("READ-ONLY") is not None,
        )
        return self.selected

    def noop(self) -> None:
        """Let the server tell its news of the selected folder."""
        if self.wire.run("NOOP")[0] != "OK":
            raise MailboxHostile("protocol", "NOOP refused")

    def status(self, name: str) -> Status:
        """STATUS of a folder that is best not the selected one (RFC 3501 6.3.10). Raises Refused."""
        typ, data = self.wire.run("STATUS", self.quoted(name), "(MESSAGES UIDNEXT UIDVALIDITY)")
        if typ != "OK":
            raise _refused(name, data)
        items = status_items(self.wire.untagged_responses.get("STATUS", []))
        return Status(items.get("UIDVALIDITY"), items.get("UIDNEXT"), items.get("MESSAGES"))

    def folders(self, *, special_use: bool = False) -> list[Listed]:
        """Every folder. ``special_use``: ask for RFC 6154 attributes outright (needs SPECIAL-USE and LIST-EXTENDED)."""
        arguments = ('""', '"*"', "RETURN (SPECIAL-USE)") if special_use else ('""', '"*"')
        typ, data = self.wire.run("LIST", *arguments)
        _expect_ok("LIST", typ, data)
        entries = list_entries(self.wire.untagged_responses.get("LIST", []))
        return [Listed(canonical(self._decode(name)), attributes) for attributes, name in entries]

    def search(self, criteria: str) -> list[int]:
        """UID SEARCH in the selected folder: the UIDs, rising."""
        typ, data = self.wire.uid("SEARCH", criteria)
        _expect_ok("SEARCH", typ, data)
        return search_numbers(data)

    def uids_from(self, first: int, at_most: int) -> list[int]:
        """Every UID from ``first`` on. ``at_most``: how many there can be, as far as is known."""
        criteria = f"UID {first}:*"
        few = min(at_most, self.wire.exists) <= SEARCH_SLICE
        found = self.search(criteria) if few else self._sliced(criteria, ordered=True)
        # "n:*" names the last message even where that is below n (RFC 3501 section 9, seq-range).
        return [uid for uid in found if uid >= first]

    def uids_since(self, date: str) -> list[int]:
        """Every UID whose arrival day is ``date`` or later."""
        criteria = f"SINCE {date}"
        return self.search(criteria) if self.wire.exists <= SEARCH_SLICE else self._sliced(criteria, ordered=False)

    def _sliced(self, criteria: str, *, ordered: bool) -> list[int]:
        """SEARCH by slices of message sequence numbers, from the newest down, so that no response outgrows a line.

        An expunge between two slices moves newer messages down into the next slice, never an older one past it.
        ``ordered``: what is wanted is the newest end, so a slice without any of it is the last.
        """
        found: set[int] = set()
        high = self.wire.exists
        for turn in range(SLICES_LIMIT):
            low = max(1, high - SEARCH_SLICE + 1)
            part = self.search(f"{low}:{high if turn else '*'} {criteria}")
            found.update(part)
            if low <= 1 or (ordered and not part):
                return sorted(found)
            high = min(low - 1, self.wire.exists)
        raise MailboxError("limit", f"more than {SLICES_LIMIT * SEARCH_SLICE} messages to list at once")

    def look(self, uids: Sequence[int]) -> tuple[list[Message], list[int]]:
        """Headers of listed messages: (the messages, rising; the UIDs that were gone by then).

        A message that still exists but is not answered for comes back with ``header`` b"".
        """
        answers: dict[int, Answer] = {}
        for batch in batches(uids, FETCH_BATCH):
            answers.update(self._fetch(batch, _LOOK))
        silent = [uid for uid in uids if uid not in answers]
        there = self.existing(silent)
        messages = []
        for uid in uids:
            if uid in answers or uid in there:
                answer = answers.get(uid, Answer())
                messages.append(Message(uid, answer.size or 0, answer.arrived, (answer.content or b"")[:HEADER_LIMIT]))
        return messages, [uid for uid in silent if uid not in there]

    def existing(self, uids: Sequence[int]) -> frozenset[int]:
        """Which of the UIDs the selected folder holds."""
        found: set[int] = set()
        for batch in batches(uids, UIDS_PER_COMMAND):
            found.update(self.search(f"UID {number_set(batch)}"))
        return frozenset(found.intersection(uids))

    def content(self, uid: int, limit: int) -> bytes:
        """The first ``limit`` bytes of a whole message; b"" where it is gone."""
        whole = b""
        while len(whole) < limit:
            size = min(_BODY_CHUNK, limit - len(whole))
            answer = self._fetch([uid], f"(UID BODY.PEEK[]<{len(whole)}.{size}>)").get(uid, Answer())
            whole += (answer.content or b"")[:size]
            if len(answer.content or b"") < size:
                break
        return whole

    def _fetch(self, uids: Sequence[int], items: str) -> dict[int, Answer]:
        typ, data = self.wire.uid("FETCH", number_set(uids), items)
        _expect_ok("FETCH", typ, data)
        asked = set(uids)
        return {uid: answer for uid, answer in fetch_answers(data).items() if uid in asked}

    def change(self, command: str, uids: Sequence[int], *args: str | bytes) -> str:
        """UID STORE, COPY, MOVE or EXPUNGE of exactly these: "" when done, else what the server said."""
        for batch in batches(uids, UIDS_PER_COMMAND):
            typ, data = self.wire.uid(command, number_set(batch), *args)
            if typ != "OK":
                return f"{command} refused: {tagged_text(data)}"
        return ""

    def append(self, name: str, flags: str, message: bytes) -> str:
        """APPEND to a folder: "" when done, else what the server said. BAD is a refusal like any other here."""
        wire = self.wire
        try:
            typ, data = wire.put(self.quoted(name), flags, message)
        except wire.error as error:
            if isinstance(error, wire.abort):
                raise
            return readable(str(error))
        return "" if typ == "OK" else f"APPEND refused: {tagged_text(data)}"


def canonical(folder: str) -> str:
    """INBOX is the one name without case (RFC 3501 5.1)."""
    return "INBOX" if folder.upper() == "INBOX" else folder


def batches(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """``numbers`` in pieces of at most ``size``."""
    return (numbers[start : start + size] for start in range(0, len(numbers), size))


def tagged_text(data: Sequence[Any]) -> str:
    """The text of a tagged answer, readable."""
    return readable(data[-1]) if data and isinstance(data[-1], bytes) else ""


def _refused(folder: str, data: Sequence[Any]) -> MailboxError:
    text = tagged_text(data)
    code = response_code(text.encode())
    if code in TEMPORARY:
        return MailboxError("throttled", f"{folder}: {text}")
    return Refused(folder, code, text)


def _expect_ok(command: str, typ: str, data: Sequence[Any]) -> None:
    if typ == "OK":
        return
    text = tagged_text(data)
    reason = "throttled" if response_code(text.encode()) in TEMPORARY else "protocol"
    raise MailboxError(reason, f"{command} refused: {text}")
