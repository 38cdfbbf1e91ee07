"""Our own sender and mailbox against the sandbox, by the configuration that the demo writes."""

from __future__ import annotations

import asyncio
import random
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from probe.clock import SystemClock
from probe.config.load import load
from probe.config.model import Config
from probe.errors import ConfigError, LoginRefused
from probe.mailboxes.base import FolderRequest
from probe.options import Secret
from probe.sandbox import system
from probe.sandbox.demo_config import write_config
from probe.sandbox.loopback import second_address
from probe.sandbox.system import Sandbox
from probe.senders.base import Envelope, Result, Submission

CLOCK = SystemClock()


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    one = Sandbox(clock=CLOCK, chance=random.Random(1))
    await one.start()
    yield one
    await one.stop()


def _config(sandbox: Sandbox, folder: Path, **changes: Any) -> Config:
    times = {
        "every": timedelta(seconds=1),
        "overdue_after": timedelta(seconds=5),
        "lost_after": timedelta(seconds=15),
        **changes,
    }
    return load(write_config(folder, sandbox, listen="127.0.0.1:9925", **times))


async def test_the_configuration_is_valid_and_private(sandbox: Sandbox, tmp_path: Path) -> None:
    config = _config(sandbox, tmp_path / "state")
    sender = config.senders["demo"]
    assert (sender.resolver, sender.port) == ((sandbox.resolver,), sandbox.intakes[0].port)
    assert sender.retry == (timedelta(seconds=2), timedelta(seconds=4))
    route = config.routes["demo"]
    assert (route.every, route.lost_after) == (timedelta(seconds=1), timedelta(seconds=15))
    assert (route.mail_from, route.mailbox, route.bounces) == (sandbox.prober, "demo", "demo")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()}
    assert modes == {"config.yaml": 0o600, "demo.key": 0o600, "mailbox.password": 0o600}
    key = (tmp_path / "state" / "demo.key").read_text()
    _config(sandbox, tmp_path / "state", every=timedelta(milliseconds=100))
    assert (tmp_path / "state" / "demo.key").read_text() == key  # canaries in flight need it


@pytest.mark.parametrize("every", [0.1, 0.2, 1.0, 7.0, 90.0])
async def test_the_caps_leave_room_for_both_legs_and_a_second_try(
    sandbox: Sandbox, tmp_path: Path, every: float
) -> None:
    config = _config(sandbox, tmp_path, every=timedelta(seconds=every))
    sent = len(sandbox.intakes) * 60 / every  # a minute
    assert config.limits.total[0].count >= 2 * sent
    assert config.limits.per_route[0].count >= min(2 * sent, 1200)


async def test_each_intake_is_a_leg_by_its_mx_record(sandbox: Sandbox, tmp_path: Path) -> None:
    sender = _config(sandbox, tmp_path).senders["demo"].open("demo", CLOCK)
    assert await sender.legs("sandbox.test") == ("mx1.sandbox.test", "mx2.sandbox.test")
    for intake in sandbox.intakes:
        went = await sender.probe(intake.host)
        assert (went.result, went.host, went.address) == (Result.ACCEPTED, intake.host, intake.address)
        assert " DSN" in went.dialogue[-1].reply
    assert len({one.address for one in sandbox.intakes}) == 2


async def test_the_second_host_may_lie_at_an_address_of_ipv6(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = second_address(("::1", "127.0.0.3"))  # where the machine has it
    monkeypatch.setattr(system, "second_address", lambda: address)
    sandbox = Sandbox(clock=CLOCK)
    await sandbox.start()
    config = _config(sandbox, tmp_path)
    submission = await _submit(config, sandbox, "mx2", "x", "one")
    assert (submission.result, submission.address) == (Result.ACCEPTED, address)
    while sandbox.snapshot().queue:
        await asyncio.sleep(0.002)
    box = config.mailboxes["demo"].open("demo", CLOCK)
    await asyncio.to_thread(box.connect)
    seen = await asyncio.to_thread(box.read, FolderRequest("INBOX", None))
    body = await asyncio.to_thread(box.body, "INBOX", seen.cursor.epoch, 101, 10_000)
    assert (b"([IPv6:::1])\r\n" in body) == (":" in address)  # RFC 5321 4.1.3
    await asyncio.to_thread(box.close)
    await sandbox.stop()


async def test_what_cannot_work_is_refused_by_the_loader(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lost_after"):
        _config(sandbox, tmp_path, overdue_after=timedelta(seconds=20))


async def _submit(config: Config, sandbox: Sandbox, mx: str, subject: str, envelope_id: str) -> Submission:
    async def before_data() -> None:
        return None

    sender = config.senders["demo"].open("demo", CLOCK)
    envelope = Envelope(sandbox.prober, sandbox.recipient, envelope_id)
    message = f"Subject: {subject}\r\n\r\nHello\r\n".encode()
    submission: Submission = await sender.submit(envelope, message, mx=f"{mx}.sandbox.test", before_data=before_data)
    return submission


async def _send(config: Config, sandbox: Sandbox, mx: str, subject: str) -> str:
    submission = await _submit(config, sandbox, mx, subject, "one")
    assert submission.result is Result.ACCEPTED, submission
    return submission.queued_as


async def test_a_canary_is_sent_read_and_removed(sandbox: Sandbox, tmp_path: Path) -> None:
    config = _config(sandbox, tmp_path)
    box = config.mailboxes["demo"].open("demo", CLOCK)
    await asyncio.to_thread(box.connect)
    inbox = await asyncio.to_thread(box.read, FolderRequest("INBOX", None))
    junk = await asyncio.to_thread(box.read, FolderRequest("junk", None))
    assert junk.name == "Junk"

    ids = [await _send(config, sandbox, mx, f"through {mx}") for mx in ("mx1", "mx2")]
    assert len(set(ids)) == 2
    assert all(ids)
    while sandbox.snapshot().queue:
        await asyncio.sleep(0.002)

    seen = await asyncio.to_thread(box.read, FolderRequest("INBOX", inbox.cursor))  # a poll, not a new SELECT
    assert [b"Subject: through mx1" in mail.header for mail in seen.messages] == [True, False]
    assert b"by mx2.sandbox.test" in seen.messages[1].header
    assert all(ids[n].encode() in mail.header for n, mail in enumerate(seen.messages))
    assert seen.messages[0].arrived is not None
    assert abs(seen.messages[0].arrived - CLOCK.now().utc) < timedelta(minutes=2)

    proof = FolderRequest("INBOX", seen.cursor, fresh=True, relist_from=inbox.cursor.position)
    fresh = await asyncio.to_thread(box.read, proof)
    assert (fresh.fresh, fresh.complete, fresh.gaps, fresh.total) == (True, True, (), 2)

    first = seen.messages[0].uid
    body = await asyncio.to_thread(box.body, "INBOX", seen.cursor.epoch, first, 1000)
    assert body.endswith(b"\r\n\r\nHello\r\n")
    removal = await asyncio.to_thread(box.remove, "INBOX", seen.cursor.epoch, [first])
    assert removal.removed == {first}
    both = [mail.uid for mail in seen.messages]
    left = await asyncio.to_thread(box.present, "INBOX", seen.cursor.epoch, both)
    assert left == {both[1]}
    again = await asyncio.to_thread(box.read, proof)
    assert (again.gaps, again.messages, again.total) == ((), (), 1)
    await asyncio.to_thread(box.close)


async def test_an_identity_is_found_in_a_folder_nobody_watches(sandbox: Sandbox, tmp_path: Path) -> None:
    config = _config(sandbox, tmp_path)
    box = config.mailboxes["demo"].open("demo", CLOCK)
    await _send(config, sandbox, "mx1", "abcdefgh234567abcdefgh")
    while sandbox.snapshot().queue:
        await asyncio.sleep(0.002)
    await asyncio.to_thread(box.connect)
    found = await asyncio.to_thread(box.sweep, ["abcdefgh234567abcdefgh"], ["junk"])
    assert [one.name for one in found] == ["INBOX"]
    await asyncio.to_thread(box.close)


async def test_each_canary_is_greylisted_once(sandbox: Sandbox, tmp_path: Path) -> None:
    config = _config(sandbox, tmp_path)
    sandbox.set_fault("greylist")
    for envelope_id in ("canary-a", "canary-b"):
        first = await _submit(config, sandbox, "mx1", "x", envelope_id)
        assert (first.result, first.stage, first.code, first.enhanced) == (Result.DEFERRED, "rcpt", 450, "4.7.1")
        again = await _submit(config, sandbox, "mx1", "x", envelope_id)
        assert again.result is Result.ACCEPTED
    # The other host has a memory of its own.
    assert (await _submit(config, sandbox, "mx2", "x", "canary-a")).result is Result.DEFERRED
    assert sandbox.snapshot().greylisted == 3


async def test_a_bounce_names_the_envelope_id_that_our_sender_gave(sandbox: Sandbox, tmp_path: Path) -> None:
    config = _config(sandbox, tmp_path)
    sandbox.set_fault("bounce")
    await _submit(config, sandbox, "mx2", "x", "Ab+c=d e")
    while sandbox.snapshot().queue:
        await asyncio.sleep(0.002)
    box = config.mailboxes["demo"].open("demo", CLOCK)
    await asyncio.to_thread(box.connect)
    seen = await asyncio.to_thread(box.read, FolderRequest("INBOX", None))
    body = await asyncio.to_thread(box.body, "INBOX", seen.cursor.epoch, 101, 10_000)
    assert b"\r\nOriginal-Envelope-Id: Ab+c=d e\r\n" in body
    await asyncio.to_thread(box.close)


async def test_a_wrong_password_is_a_refused_login(sandbox: Sandbox, tmp_path: Path) -> None:
    options = replace(_config(sandbox, tmp_path).mailboxes["demo"], password=Secret(b"wrong"))
    with pytest.raises(LoginRefused):
        await asyncio.to_thread(options.open("demo", CLOCK).connect)
