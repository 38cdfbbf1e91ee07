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
from probe.sandbox.demo_config import write_config
from probe.sandbox.system import Sandbox
from probe.senders.base import Envelope, Result

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
    assert sorted(config.routes) == ["demo-mx1", "demo-mx2"]
    assert [config.senders[name].port for name in ("mx1", "mx2")] == [one.port for one in sandbox.intakes]
    route = config.routes["demo-mx1"]
    assert (route.every, route.lost_after) == (timedelta(seconds=1), timedelta(seconds=15))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()}
    assert modes == {"config.yaml": 0o600, "demo.key": 0o600, "mailbox.password": 0o600}
    key = (tmp_path / "state" / "demo.key").read_text()
    _config(sandbox, tmp_path / "state", every=timedelta(milliseconds=100))
    assert (tmp_path / "state" / "demo.key").read_text() == key  # canaries in flight need it


async def test_what_cannot_work_is_refused_by_the_loader(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lost_after"):
        _config(sandbox, tmp_path, overdue_after=timedelta(seconds=20))


async def _send(config: Config, sandbox: Sandbox, sender: str, subject: str) -> str:
    async def before_data() -> None:
        return None

    envelope = Envelope("prober@prober.sandbox.test", sandbox.recipient)
    message = f"Subject: {subject}\r\n\r\nHello\r\n".encode()
    submission = (
        await config.senders[sender].open(sender, CLOCK).submit(envelope, message, mx="any", before_data=before_data)
    )
    assert submission.result is Result.ACCEPTED, submission
    return str(submission.queued_as)


async def test_a_canary_is_sent_read_and_removed(sandbox: Sandbox, tmp_path: Path) -> None:
    config = _config(sandbox, tmp_path)
    box = config.mailboxes["demo"].open("demo", CLOCK)
    await asyncio.to_thread(box.connect)
    inbox = await asyncio.to_thread(box.read, FolderRequest("INBOX", None))
    junk = await asyncio.to_thread(box.read, FolderRequest("junk", None))
    assert junk.name == "Junk"

    ids = [await _send(config, sandbox, sender, f"through {sender}") for sender in ("mx1", "mx2")]
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


async def test_a_wrong_password_is_a_refused_login(sandbox: Sandbox, tmp_path: Path) -> None:
    options = replace(_config(sandbox, tmp_path).mailboxes["demo"], password=Secret(b"wrong"))
    with pytest.raises(LoginRefused):
        await asyncio.to_thread(options.open("demo", CLOCK).connect)
