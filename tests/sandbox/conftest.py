"""A clock that moves only when told, and a running sandbox with plain SMTP and IMAP clients."""

from __future__ import annotations

import asyncio
import imaplib
import random
import smtplib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from probe.clock import Instant
from probe.sandbox.intake import Intake
from probe.sandbox.system import Sandbox
from tests.sandbox.demo_process import Demo, free_port, started


class HandClock:
    """Time stands still until ``advance``."""

    def __init__(self) -> None:
        self._now = Instant(1_800_000_000_000_000_000, 5_000_000_000, "boot")
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []

    def now(self) -> Instant:
        return self._now

    async def sleep(self, duration: timedelta) -> None:
        due = (self._now + duration).boot
        if due <= self._now.boot:
            return
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((due, sleeper))
        await sleeper

    def advance(self, duration: timedelta) -> None:
        self._now = self._now + duration
        for due, sleeper in self._sleepers:
            if due <= self._now.boot and not sleeper.done():
                sleeper.set_result(None)


@dataclass
class Bench:
    """A started sandbox and what the tests do with it."""

    sandbox: Sandbox
    clock: HandClock
    sent: list[str] = field(default_factory=list)

    async def send(self, count: int = 1, intake: int = 0, mail_from: str = "prober@prober.example") -> list[str]:
        """Send messages through one intake; the queue ids it told."""
        subjects = [f"message {len(self.sent) + number}" for number in range(count)]
        self.sent += subjects
        return await asyncio.to_thread(_send, self.sandbox.intakes[intake], mail_from, self.sandbox.recipient, subjects)

    async def say(self, *lines: str, intake: int = 0) -> list[int]:
        """Say these lines to an intake; the codes that it answers."""
        return await asyncio.to_thread(_say, self.sandbox.intakes[intake], lines)

    async def mailbox(self, folder: str = "INBOX") -> list[bytes]:
        """All messages of a folder, as fetched over IMAP."""
        host, port = self.sandbox.imap_address
        return await asyncio.to_thread(_fetch, host, port, self.sandbox.user, self.sandbox.password, folder)

    async def subjects(self, folder: str = "INBOX") -> list[str]:
        lines = [line for mail in await self.mailbox(folder) for line in mail.decode().split("\r\n")]
        return [line.removeprefix("Subject: ") for line in lines if line.startswith("Subject: ")]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the loop run until the condition holds; the test's own timeout is the limit."""
        while not condition():
            await asyncio.sleep(0.002)

    async def settled(self) -> None:
        await self.until(lambda: self.sandbox.snapshot().queue == 0)


def _send(intake: Intake, mail_from: str, recipient: str, subjects: list[str]) -> list[str]:
    ids = []
    with smtplib.SMTP(intake.address, intake.port, timeout=60) as client:
        client.ehlo("prober.example")
        for subject in subjects:
            client.mail(mail_from)
            client.rcpt(recipient)
            code, reply = client.data(f"Subject: {subject}\r\n\r\nHello\r\n.\r\n".encode())
            assert code == 250
            text = reply.decode()
            assert text.startswith("2.0.0 Ok: queued as ")
            ids.append(text.removeprefix("2.0.0 Ok: queued as "))
    return ids


def _say(intake: Intake, lines: Sequence[str]) -> list[int]:
    with smtplib.SMTP(intake.address, intake.port, timeout=60) as client:
        client.ehlo("prober.example")
        return [client.docmd(line)[0] for line in lines]


def _fetch(host: str, port: int, user: str, password: str, folder: str) -> list[bytes]:
    with imaplib.IMAP4(host, port, timeout=60) as client:
        client.login(user, password)
        client.select(folder, readonly=True)
        _, found = client.uid("SEARCH", "ALL")
        mails = []
        for uid in found[0].split():
            _, data = client.uid("FETCH", uid.decode(), "(BODY.PEEK[])")
            assert isinstance(data[0], tuple)
            mails.append(data[0][1])
        return mails


MakeBench = Callable[..., Any]


@pytest.fixture
def make_bench(tmp_path: Path) -> MakeBench:
    """``async with make_bench(seed=…) as bench``."""

    @asynccontextmanager
    async def make(seed: int = 1) -> AsyncIterator[Bench]:
        clock = HandClock()
        sandbox = Sandbox(clock=clock, chance=random.Random(seed), folder=tmp_path)
        await sandbox.start()
        try:
            yield Bench(sandbox, clock)
        finally:
            await sandbox.stop()

    return make


@pytest.fixture
async def bench(make_bench: MakeBench) -> AsyncIterator[Bench]:
    async with make_bench() as one:
        yield one


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[Demo]:
    """``mailcanary demo`` in a process of its own, with times as short as they may be."""
    port = free_port()
    process = await started(port, tmp_path / "state")
    async with ClientSession() as http:
        yield Demo(process, f"http://127.0.0.1:{port}", http, tmp_path / "state")
    if process.returncode is None:
        process.kill()
        await process.communicate()
