"""The other side of every life: an SMTP and an IMAP server in the parent's process, which no kill reaches.

They keep a log of their own: each mail whose final dot came, and each content that was begun. One account a life, so
what a killed daemon left in a socket can never be taken for another life's.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.scripted import FOLDERS, Imap, Smtp

_MESSAGE_ID = re.compile(rb"^Message-ID:\s*<([^@>]+)@", re.IGNORECASE | re.MULTILINE)
ANSWER_AFTER = 0.012  # the server has the mail and its answer is still on its way: the hardest moment


@dataclass(frozen=True, slots=True)
class Mail:
    """A content that came in: ``token`` of its Message-ID, ``at`` in wall ns of the daemon's clock, ``stored``: it lies
    in the mailbox; ``whole``: the final dot came and the answer is a 250."""

    token: str
    at: int
    whole: bool
    stored: bool


@dataclass(slots=True)
class Account:
    """What came for one life. ``now``: the clock of its daemon, in wall ns."""

    now: Callable[[], int]
    mails: list[Mail] = field(default_factory=list)
    greylisted: int = 0
    connections: int = 0


ACCOUNTS: defaultdict[bytes, Account] = defaultdict(lambda: Account(lambda: 0))


def _account(local: bytes) -> tuple[bytes, bytes]:
    name, _, route = local.partition(b"@")[0].partition(b"+")
    return name, route


class Receiver(Smtp):
    """``+hole`` is swallowed behind a 250, the first ``+grey`` of a life is told to come again."""

    route = b""

    def connection_lost(self, _: Exception | None) -> None:
        if self.in_data and (token := _token(self.buffer)):
            self._log(token, whole=False)
        if self.account:
            ACCOUNTS[self.account].connections -= 1

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n.\r\n" if self.in_data else b"\r\n")) >= 0:
            part = bytes(self.buffer[: end + 2])
            del self.buffer[: end + (5 if self.in_data else 2)]
            if self.in_data:
                self.in_data = False
                self._accept(part)
            else:
                self.command(part)

    def command(self, line: bytes) -> None:
        if line[:4].upper() != b"RCPT":
            super().command(line)
            return
        before = self.account
        self.account, self.route = _account(line[line.find(b"<") + 1 :])
        account = ACCOUNTS[self.account]
        account.connections += not before
        if self.route == b"grey" and account.greylisted == 0:
            account.greylisted += 1
            self.transport.write(b"450 4.2.0 come again\r\n")
        else:
            self.transport.write(b"250 2.1.5 Ok\r\n")

    def _accept(self, content: bytes) -> None:
        self._log(_token(content), whole=True)
        if self.route != b"hole":
            FOLDERS[self.account].add(content)
        loop = asyncio.get_running_loop()
        loop.call_later(ANSWER_AFTER, self.transport.write, b"250 2.0.0 Ok: queued as 4XYZ\r\n")

    def _log(self, token: str, *, whole: bool) -> None:
        account = ACCOUNTS[self.account]
        account.mails.append(Mail(token, account.now(), whole, whole and self.route != b"hole"))


def _token(content: bytes | bytearray) -> str:
    found = _MESSAGE_ID.search(content)
    return found[1].decode() if found else ""


class Mailbox(Imap):
    """INBOX and nothing else."""

    def listing(self, _: bytes) -> bytes:
        return b'* LIST () "/" INBOX\r\n'

    def status(self, _: bytes) -> bytes:
        folder = self.folder
        return b"* STATUS INBOX (MESSAGES %d UIDNEXT %d UIDVALIDITY 7)\r\n" % (len(folder.messages), folder.next)

    ANSWERS = {**Imap.ANSWERS, b"LIST": listing, b"STATUS": status}  # type: ignore[dict-item]


class Servers:
    """Both servers in a thread, until ``close``."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="receiving", daemon=True)
        self._thread.start()
        self.smtp_port, self.imap_port = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(30)

    async def _start(self) -> tuple[int, int]:
        self._servers = [await self._loop.create_server(kind, "127.0.0.1", 0) for kind in (Receiver, Mailbox)]
        smtp, imap = (int(server.sockets[0].getsockname()[1]) for server in self._servers)
        return smtp, imap

    def open(self, name: str, now: Callable[[], int]) -> Account:
        """A fresh account."""
        FOLDERS[name.encode()].selected = True  # so that it is not announced
        account = ACCOUNTS[name.encode()] = Account(now)
        return account

    def forget(self, name: str) -> None:
        """The account's life is over."""
        FOLDERS.pop(name.encode(), None)
        ACCOUNTS.pop(name.encode(), None)

    def quiet(self, account: Account, seconds: float) -> bool:
        """Wait until every connection of a daemon that is gone was read to its end."""

        async def wait() -> bool:
            for _ in range(int(seconds / 0.002)):
                if account.connections == 0:
                    return True
                await asyncio.sleep(0.002)
            return False

        return asyncio.run_coroutine_threadsafe(wait(), self._loop).result(seconds + 30)

    def close(self) -> None:
        async def stop() -> None:
            for server in self._servers:
                server.close()

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()
