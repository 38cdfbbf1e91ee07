"""The control socket against rough clients, and sd_notify on a real datagram socket."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from probe.engine.control import LONGEST_REQUEST, ControlSocket, ask
from probe.engine.notify import Notifier
from probe.errors import MailCanaryError, UnreachableError


async def _status(request: Mapping[str, Any]) -> Mapping[str, Any]:
    if request.get("fail"):
        raise MailCanaryError("not now")
    return {"in_flight": 3}


@pytest.fixture
def path(short_tmp: Path) -> Path:
    return short_tmp / "control.sock"


@pytest.fixture
async def control(path: Path) -> AsyncIterator[ControlSocket]:
    one = ControlSocket(path, {"status": _status})
    await one.start()
    yield one
    await one.stop()


async def _raw(path: Path, line: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(line)
        await writer.drain()
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_command_is_answered_and_the_socket_is_private(control: ControlSocket, path: Path) -> None:
    assert await ask(path, {"command": "status"}) == {"ok": True, "in_flight": 3}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_refusal_reaches_the_asker(control: ControlSocket, path: Path) -> None:
    with pytest.raises(MailCanaryError, match="not now"):
        await ask(path, {"command": "status", "fail": True})
    with pytest.raises(MailCanaryError, match="unknown command; known are status"):
        await ask(path, {"command": "shred"})


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"\x00\xff garbage\n", "not JSON"),
        (b"[" * 60_000 + b"\n", "not JSON"),
        (b'["status"]\n', 'an object with a "command"'),
        (b'{"command": 7}\n', 'an object with a "command"'),
    ],
)
async def test_garbage_is_named(line: bytes, error: str, control: ControlSocket, path: Path) -> None:
    answer = json.loads(await _raw(path, line))
    assert answer["ok"] is False
    assert error in answer["error"]


async def test_a_line_without_end_gets_no_answer_and_harms_nobody(control: ControlSocket, path: Path) -> None:
    assert await _raw(path, b"x" * (LONGEST_REQUEST * 3) + b"\n") == b""
    assert (await ask(path, {"command": "status"}))["ok"]


async def test_a_socket_left_behind_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    one = ControlSocket(path, {"status": _status})
    await one.start()
    assert (await ask(path, {"command": "status"}))["ok"]
    await one.stop()
    assert not path.exists()


async def test_a_live_socket_is_left_alone(control: ControlSocket, path: Path) -> None:
    with pytest.raises(MailCanaryError, match="another process listens"):
        await ControlSocket(path, {}).start()
    assert (await ask(path, {"command": "status"}))["ok"]


async def test_a_file_in_its_place_is_left_untouched(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(MailCanaryError, match="is not a socket; it was left untouched"):
        await ControlSocket(path, {}).start()
    assert path.read_text() == "precious"


async def test_without_a_daemon_the_asker_is_told(path: Path) -> None:
    with pytest.raises(UnreachableError, match="no daemon answers"):
        await ask(path, {"command": "status"})


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_hears_what_it_should(abstract: bool, short_tmp: Path) -> None:
    name = f"@mailcanary-{os.getpid()}" if abstract else str(short_tmp / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        manager.settimeout(30)
        notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())})
        notifier.ready("watching")
        notifier.alive()
        notifier.stopping()
        heard = [manager.recv(1000).decode() for _ in range(3)]
    assert heard == ["READY=1\nSTATUS=watching", "WATCHDOG=1", "STOPPING=1\nSTATUS=stopping"]
    assert notifier.watchdog == timedelta(seconds=3)


def test_without_a_manager_or_with_a_dead_one_it_is_silent(short_tmp: Path) -> None:
    quiet = Notifier({})
    quiet.ready("watching")
    assert quiet.watchdog is None
    Notifier({"NOTIFY_SOCKET": str(short_tmp / "nobody")}).ready("watching")


@pytest.mark.parametrize(
    "environ", [{"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}]
)
def test_a_watchdog_that_is_not_ours_is_not_fed(environ: dict[str, str]) -> None:
    assert Notifier(environ).watchdog is None
