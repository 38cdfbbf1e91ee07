"""``mailcanary run`` as systemd starts it: ready, asked, stopped; and each reason for which it does not start."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from probe.engine.control import ask

ROOT = Path(__file__).parents[2]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@dataclass
class Place:
    """A folder with a configuration, a key and a manager's socket."""

    folder: Path
    manager: socket.socket
    port: int = field(default_factory=_free_port)
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    def write(self, *, name: str = "c", ledger: str = "ledger", port: int | None = None, more: str = "") -> Path:
        path = self.folder / f"{name}.yaml"
        (self.folder / "key").write_text("k" * 32)
        (self.folder / "key").chmod(0o600)
        # Nobody listens on the mailbox's port: the daemon is up, and blind, so that it sends nothing.
        path.write_text(
            f"""\
ledger: {self.folder}/{ledger}.sqlite
listen: 127.0.0.1:{port or self.port}
control: {self.folder}/{name}.sock
prober: p1
keys: [{{id: k1, secret: {{file: {self.folder}/key}}}}]
senders:
  relay: {{kind: smtp, host: 127.0.0.1, port: 1, tls: none}}
mailboxes:
  inbox: {{kind: imap, host: 127.0.0.1, port: 1, tls: none, username: u, password: {{file: {self.folder}/key}}}}
routes:
  in: {{sender: relay, mail_from: probe@example.org, rcpt_to: canary@example.org, mailbox: inbox}}
{more}"""
        )
        return path

    async def run(self, config: Path) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "probe.cli.main", "run", "-c", str(config)),
            stderr=asyncio.subprocess.PIPE,
            env={
                **{key: value for key, value in os.environ.items() if not key.startswith("WATCHDOG")},
                "PYTHONPATH": str(ROOT),
                "NOTIFY_SOCKET": str(self.folder / "notify"),
                "WATCHDOG_USEC": "900000",
            },
            limit=2**24,
        )
        self.processes.append(process)
        return process

    async def heard(self, wanted: str) -> str:
        """The next message to the manager that begins so; the test's own timeout is the limit."""
        while True:
            message = (await asyncio.get_running_loop().sock_recv(self.manager, 4096)).decode()
            if message.startswith(wanted):
                return message

    async def started(self, config: Path) -> asyncio.subprocess.Process:
        while True:
            process = await self.run(config)
            hearing = asyncio.ensure_future(self.heard("READY=1"))
            ended = asyncio.ensure_future(process.wait())
            await asyncio.wait({hearing, ended}, return_when=asyncio.FIRST_COMPLETED)
            if hearing.done():
                ended.cancel()
                return process
            hearing.cancel()
            said = await _end(process)
            assert "the address is in use" in said, said
            # Somebody took the port since we looked: another one.
            before, self.port = self.port, _free_port()
            config.write_text(config.read_text().replace(f":{before}\n", f":{self.port}\n"))


async def _end(process: asyncio.subprocess.Process) -> str:
    _, said = await process.communicate()
    return said.decode()


@pytest.fixture
async def place(short_tmp: Path) -> AsyncIterator[Place]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(short_tmp / "notify"))
        manager.setblocking(False)
        one = Place(short_tmp, manager)
        yield one
        for process in one.processes:
            if process.returncode is None:
                process.kill()
                await process.communicate()


@pytest.mark.fault("P17")
async def test_ready_watched_asked_and_stopped(place: Place) -> None:
    config = place.write()
    process = await place.started(config)
    await place.heard("WATCHDOG=1")
    await place.heard("WATCHDOG=1")
    status = await ask(place.folder / "c.sock", {"command": "status"})
    assert status["prober"] == "p1"
    assert status["ready"] is False
    assert "mailbox inbox was not read yet" in status["not_ready"][0]
    assert status["mailboxes"] == {"inbox": "blind"}
    process.send_signal(signal.SIGTERM)
    assert await place.heard("STOPPING=1")
    said = await _end(process)
    assert process.returncode == 0, said
    assert "event=ready" in said
    assert "event=blind" in said
    assert said.rstrip().splitlines()[-1].count("event=stopped") == 1
    assert "Traceback" not in said
    assert not (place.folder / "c.sock").exists()


@pytest.mark.fault("P18")
async def test_sighup_takes_over_a_good_configuration_and_refuses_a_bad_one(place: Place) -> None:
    config = place.write()
    good = config.read_text()
    process = await place.started(config)
    config.write_text(good + "kep: 3d\n")
    process.send_signal(signal.SIGHUP)
    assert process.stderr is not None
    said = (await process.stderr.readuntil(b"reload_refused")) + await process.stderr.readline()
    assert b"kep" in said
    config.write_text(good.replace("  in: {", "  inbound: {"))
    process.send_signal(signal.SIGHUP)
    assert "1 leg(s)" in await place.heard("READY=1")
    await process.stderr.readuntil(b"event=reloaded")
    process.send_signal(signal.SIGTERM)
    rest = await _end(process)
    assert process.returncode == 0, rest
    assert "Traceback" not in rest


@pytest.mark.fault("P09")
async def test_it_starts_again_on_its_ledger_after_a_kill(place: Place) -> None:
    config = place.write()
    process = await place.started(config)
    process.kill()
    await process.communicate()
    again = await place.started(config)
    again.send_signal(signal.SIGINT)
    said = await _end(again)
    assert again.returncode == 0, said


async def test_a_second_prober_on_the_same_ledger_does_not_start(place: Place) -> None:
    first = await place.started(place.write())
    second = await place.run(place.write(name="second", port=_free_port()))
    said = await _end(second)
    assert second.returncode == 4, said
    assert "ledger.sqlite" in said
    assert "Traceback" not in said
    assert first.returncode is None


@pytest.mark.fault("P21")
async def test_a_port_that_is_taken_is_named(place: Place) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        process = await place.run(place.write(port=port))
        said = await _end(process)
    assert process.returncode == 3, said
    assert f"cannot listen on 127.0.0.1:{port}: the address is in use" in said
    assert "Traceback" not in said


async def test_a_bad_configuration_says_all_that_is_wrong(place: Place) -> None:
    process = await place.run(place.write(more="keep: soon\nlimts: {}\n"))
    said = await _end(process)
    assert process.returncode == 2, said
    assert "keep" in said
    assert "limts" in said
    assert "Traceback" not in said
    assert not (place.folder / "ledger.sqlite").exists()


async def test_a_missing_configuration_is_named(place: Place) -> None:
    process = await place.run(place.folder / "none.yaml")
    said = await _end(process)
    assert process.returncode == 2, said
    assert "none.yaml" in said
