"""A mail system that holds each mail for its recipient's time, and tells of new mail in IDLE (RFC 2177) at once.

    python -m benchmarks.pushing HOLDS ARRIVALS [LMTP]

HOLDS is JSON: seconds by the recipient's local part. Prints the SMTP and the IMAP port, then serves until it is ended.
Mail lands in the mailboxes of scripted.py; ARRIVALS then gets a line for each, its Message-ID and the moment (wall
clock, nanoseconds). With LMTP, a port, mail goes to that server instead, which keeps its own record.
"""

from __future__ import annotations

import asyncio
import json
import re
import smtplib
import sys
import time
from pathlib import Path

from benchmarks import scripted
from tests.worlds.ports import LOOPBACK

_MESSAGE_ID = re.compile(rb"^Message-ID:\s*(\S+)", re.IGNORECASE | re.MULTILINE)


class Held(scripted.Folder):
    """An INBOX whose mail lands ``seconds`` after its final dot."""

    def __init__(self, seconds: float, arrivals: Path) -> None:
        super().__init__()
        self.seconds = seconds
        self.arrivals = arrivals
        self.idling: set[Imap] = set()

    def add(self, content: bytes) -> None:
        asyncio.get_running_loop().call_later(self.seconds, self.land, content)

    def land(self, content: bytes) -> None:
        """Into the mailbox, and told to whoever listens; written down after that, so that nobody waits for the disk."""
        at = time.time_ns()
        super().add(content)
        for session in self.idling:
            session.tell()
        found = _MESSAGE_ID.search(content)
        if found is not None:
            with self.arrivals.open("ab") as file:
                file.write(b"%b %d\n" % (found[1], at))


class Forwarded(Held):
    """Mail that goes on by LMTP, each over a connection of its own as Postfix's first would be."""

    def __init__(self, seconds: float, arrivals: Path, account: str, port: int) -> None:
        super().__init__(seconds, arrivals)
        self.account = account
        self.port = port
        self.tasks: set[asyncio.Task[None]] = set()

    def land(self, content: bytes) -> None:
        task = asyncio.ensure_future(asyncio.to_thread(self.forward, content))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def forward(self, content: bytes) -> None:
        with smtplib.LMTP(LOOPBACK, self.port) as client:
            plain = content.replace(b"\r\n..", b"\r\n.")
            client.sendmail("canary-probe@example.net", [self.account], plain)


class Imap(scripted.Imap):
    """The reader's server, with IDLE."""

    idle_tag = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.waiting = bytearray()

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        while (end := self.waiting.find(b"\r\n")) >= 0:
            line = bytes(self.waiting[:end])
            del self.waiting[: end + 2]
            tag, _, verb = line.partition(b" ")
            if verb.upper() == b"IDLE":
                self.idle_tag = tag
                self.transport.write(b"+ idling\r\n")
                self.tell()
                self.held.idling.add(self)
            elif self.idle_tag and line.upper() == b"DONE":
                self.held.idling.discard(self)
                self.transport.write(self.idle_tag + b" OK done\r\n")
                self.idle_tag = b""
            else:
                super().data_received(line + b"\r\n")

    def connection_lost(self, _: Exception | None) -> None:
        if self.account:
            self.held.idling.discard(self)

    @property
    def held(self) -> Held:
        folder = self.folder
        assert isinstance(folder, Held)
        return folder

    def tell(self) -> None:
        """What is new, if anything is."""
        self.transport.write(self.news())

    def capability(self, _: bytes) -> bytes:
        return b"* CAPABILITY IMAP4rev1 UIDPLUS IDLE\r\n"

    ANSWERS = {**scripted.Imap.ANSWERS, b"CAPABILITY": capability}  # type: ignore[dict-item]


async def serve(holds: dict[str, float], arrivals: Path, lmtp: int | None) -> None:
    for account, seconds in holds.items():
        key = account.partition("@")[0].encode()
        scripted.FOLDERS[key] = Held(seconds, arrivals) if lmtp is None else Forwarded(seconds, arrivals, account, lmtp)
    loop = asyncio.get_running_loop()
    smtp = await loop.create_server(scripted.Smtp, LOOPBACK, 0, backlog=1000)
    imap = await loop.create_server(Imap, LOOPBACK, 0)
    print(smtp.sockets[0].getsockname()[1], imap.sockets[0].getsockname()[1])
    sys.stdout.flush()
    await loop.create_future()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None))
