"""An SMTP and an IMAP server that answer at once, so that what is measured is the daemon and not a mail system.

    python -m benchmarks.scripted      prints the SMTP and the IMAP port, then serves until it is ended;
                                       also the moment (CLOCK_MONOTONIC, s) when a mailbox is first selected

One process, one loop. Mail is in its account's INBOX (the recipient's local part up to a ``+``) before the answer
to its final dot. Only what the daemon asks is known; nothing is stored on disk, nothing is checked. Not a mail
server.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable

_WANTED = re.compile(rb"HEADER\.FIELDS \(([^)]*)\)")
_FIELD = re.compile(rb"([^:\s]+):[^\n]*\n(?:[ \t][^\n]*\n)*")
_DATE = b'"24-Nov-2025 05:52:00 +0000"'


class Folder:
    """A mailbox's INBOX: (uid, size, header) of each message, and who wants to hear of new ones."""

    def __init__(self) -> None:
        self.messages: list[tuple[int, int, bytes]] = []
        self.next = 1
        self.selected = False

    def add(self, content: bytes) -> None:
        header = content[: content.find(b"\r\n\r\n") + 2]
        self.messages.append((self.next, len(content), header))
        self.next += 1


FOLDERS: defaultdict[bytes, Folder] = defaultdict(Folder)


class Smtp(asyncio.Protocol):
    """RFC 5321, as far as a sender that behaves needs it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.buffer = bytearray()
        self.in_data = False
        self.account = b""
        transport.write(b"220 scripted.test ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            end = self.buffer.find(b"\r\n.\r\n" if self.in_data else b"\r\n")
            if end < 0:
                return
            part = bytes(self.buffer[: end + 2])
            del self.buffer[: end + (5 if self.in_data else 2)]
            if self.in_data:
                self.in_data = False
                FOLDERS[self.account].add(part)
                self.transport.write(b"250 2.0.0 Ok: queued as 4XYZ\r\n")
            else:
                self.command(part)

    def command(self, line: bytes) -> None:
        verb = line[:4].upper()
        if verb == b"DATA":
            self.in_data = True
            self.transport.write(b"354 go on\r\n")
        elif verb == b"EHLO":
            self.transport.write(b"250-scripted.test\r\n250-SIZE 10000000\r\n250-8BITMIME\r\n250 DSN\r\n")
        elif verb == b"QUIT":
            self.transport.write(b"221 2.0.0 bye\r\n")
            self.transport.close()
        else:
            if verb == b"RCPT":
                self.account = re.split(rb"[+@]", line[line.find(b"<") + 1 :], maxsplit=1)[0]
            self.transport.write(b"250 2.1.0 Ok\r\n")


class Imap(asyncio.Protocol):
    """RFC 3501, as far as the reader needs it: one folder, INBOX."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.buffer = bytearray()
        self.account = b""
        self.told = 0
        transport.write(b"* OK [CAPABILITY IMAP4rev1 UIDPLUS] scripted\r\n")

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n")) >= 0:
            line = bytes(self.buffer[:end])
            del self.buffer[: end + 2]
            tag, _, rest = line.partition(b" ")
            verb, _, arguments = rest.partition(b" ")
            if verb.upper() == b"UID":
                verb, _, arguments = arguments.partition(b" ")
            answer = self.ANSWERS.get(verb.upper(), Imap.other)(self, arguments)
            self.transport.write(answer + tag + b" OK done\r\n")
            if verb.upper() == b"LOGOUT":
                self.transport.close()

    @property
    def folder(self) -> Folder:
        return FOLDERS[self.account]

    def news(self) -> bytes:
        count = len(self.folder.messages)
        if count == self.told:
            return b""
        self.told = count
        return b"* %d EXISTS\r\n" % count

    def other(self, _: bytes) -> bytes:
        return self.news() if self.account else b""

    def login(self, arguments: bytes) -> bytes:
        self.account = re.split(rb"[+@]", arguments.split()[0].strip(b'"'), maxsplit=1)[0]
        return b""

    def capability(self, _: bytes) -> bytes:
        return b"* CAPABILITY IMAP4rev1 UIDPLUS\r\n"

    def select(self, _: bytes) -> bytes:
        self.told = len(self.folder.messages)
        if not self.folder.selected:
            self.folder.selected = True
            print(time.monotonic(), flush=True)
        return b"* %d EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT %d] ok\r\n" % (self.told, self.folder.next)

    def search(self, arguments: bytes) -> bytes:
        found = re.search(rb"UID (\d+):\*", arguments)
        first = int(found[1]) if found else 1
        # The uids are 1, 2, 3 …: nothing is ever removed.
        return b"* SEARCH %b\r\n" % b" ".join(b"%d" % uid for uid in range(first, self.folder.next)) + self.news()

    def fetch(self, arguments: bytes) -> bytes:
        numbers, _, items = arguments.partition(b" ")
        wanted = _WANTED.search(items)
        names = set(wanted[1].upper().split()) if wanted else set()
        section = items[items.find(b"BODY.PEEK[") + 10 : items.rfind(b"]")]
        answers = []
        for uid in _uids(numbers):
            _, size, header = self.folder.messages[uid - 1]
            chosen = b"".join(each[0] for each in _FIELD.finditer(header) if each[1].upper() in names) + b"\r\n"
            answers.append(
                b"* %d FETCH (UID %d RFC822.SIZE %d INTERNALDATE %b BODY[%b]<0> {%d}\r\n%b)\r\n"
                % (uid, uid, size, _DATE, section, len(chosen), chosen)
            )
        return b"".join(answers) + self.news()

    ANSWERS: dict[bytes, Callable[[Imap, bytes], bytes]] = {
        b"LOGIN": login,
        b"CAPABILITY": capability,
        b"SELECT": select,
        b"EXAMINE": select,
        b"SEARCH": search,
        b"FETCH": fetch,
    }


def _uids(numbers: bytes) -> list[int]:
    found: list[int] = []
    for part in numbers.split(b","):
        first, _, last = part.partition(b":")
        found += range(int(first), int(last or first) + 1)
    return found


async def serve() -> None:
    loop = asyncio.get_running_loop()
    smtp = await loop.create_server(Smtp, "127.0.0.1", 0, backlog=1000)
    imap = await loop.create_server(Imap, "127.0.0.1", 0)
    print(smtp.sockets[0].getsockname()[1], imap.sockets[0].getsockname()[1])
    sys.stdout.flush()
    await loop.create_future()


if __name__ == "__main__":
    asyncio.run(serve())
