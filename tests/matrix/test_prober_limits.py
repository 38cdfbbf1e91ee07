"""The daemon as a process, between real servers: no descriptor left, no room on the disk, a disk that fails."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from probe.canary.record import State
from tests.proofs.rig import Prober, away
from tests.worlds.dovecot import Account, Dovecot
from tests.worlds.postfix import Postfix

ROOT = Path(__file__).parents[2]
SLOW = {"overdue_after": "20s", "lost_after": "60s", "watch_for": "5m"}


@pytest.fixture
async def alone(tmp_path: Path, short_tmp: Path, postfix: Postfix, dovecot: Dovecot) -> AsyncIterator[Prober]:
    """What configures the daemon, and asks its ledger; the daemon is a process of its own."""
    prober = Prober(tmp_path, short_tmp, postfix, dovecot)
    try:
        yield prober
        await prober.check()
    finally:
        await prober.close()


@contextmanager
def process(config: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``mailcanary run``; killed at the end of the block if it has not ended."""
    command = [sys.executable, "-m", "probe.cli.main", "run", "-c", str(config)]
    with log.open("wb") as stream:
        running = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
        try:
            yield running
        finally:
            running.kill()
            running.wait()


def delivered(prober: Prober) -> int:
    return sum(1 for one in prober.canaries() if one.state is State.DELIVERED)


async def goes_on_and_ends(prober: Prober, running: subprocess.Popen[bytes]) -> None:
    """Three more arrive, by themselves; then it is told to stop, and does."""
    before = delivered(prober)
    await prober.until(lambda: delivered(prober) >= before + 3, "it goes on by itself")
    running.send_signal(signal.SIGTERM)
    assert await away(running.wait, 30) == 0
    assert {one.state for one in prober.canaries()} <= {State.DELIVERED, State.UNSENT, State.ACCEPTED, State.UNSURE}


def nothing_without_a_row(prober: Prober, postfix: Postfix, before: int) -> None:
    """What Postfix took is in the ledger with its answer, but for those of which it says that it does not know."""
    known = {one.queued_as for one in prober.canaries()}
    unknown = [one for one in postfix.accepted()[before:] if one[0] not in known]
    assert len(unknown) <= sum(one.state is State.UNSURE for one in prober.canaries())


@pytest.mark.fault("P16")
async def test_without_a_descriptor_left_it_sends_nothing_and_lives(
    alone: Prober, fresh_user: Callable[[], Account], tmp_path: Path
) -> None:
    account = fresh_user()
    alone.mailbox("support", account)
    alone.route("inbound", "support", account.address, every="200ms", **SLOW)
    log = tmp_path / "log"
    with process(alone.write(), log) as running:
        await alone.until(lambda: b"ready" in log.read_bytes(), "it is ready")
        await alone.until(lambda: delivered(alone) >= 2, "two arrived")
        _, hard = resource.prlimit(running.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(
            running.pid, resource.RLIMIT_NOFILE, (3, hard)
        )  # those that are open stay; there is no new one
        unsent = "several are unsent for a reason of this machine"
        await alone.until(lambda: sum(one.label in ("local", "bind") for one in alone.canaries()) >= 4, unsent)
        assert running.poll() is None, log.read_text()
        assert len(os.listdir(f"/proc/{running.pid}/fd")) > 3
        resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (hard, hard))
        await goes_on_and_ends(alone, running)
    assert "Traceback" not in log.read_text()


@pytest.mark.fault("P03")
async def test_without_room_on_the_disk_it_sends_nothing_and_lives(
    alone: Prober, postfix: Postfix, fresh_user: Callable[[], Account], tmp_path: Path
) -> None:
    """The kernel refuses each write beyond the first bytes of a file, as with a quota that is used up."""
    account, before = fresh_user(), len(postfix.accepted())
    alone.mailbox("support", account)
    alone.route("inbound", "support", account.address, every="200ms", **SLOW)
    log = tmp_path / "log"
    with process(alone.write(), log) as running:
        await alone.until(lambda: b"ready" in log.read_bytes(), "it is ready")
        await alone.until(lambda: delivered(alone) >= 2, "two arrived")
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        taken = len(postfix.accepted())
        # The log is a file too, so it says nothing now: what it does shows in the ledger and at the mail server.
        await alone.until(lambda: not any(one.state is State.INTENT for one in alone.canaries()), "it has come to rest")
        rows = len(alone.canaries())
        slots = [alone.clock.now()]
        await alone.until(lambda: alone.clock.now().since(slots[0]).total_seconds() > 2, "ten slots pass")
        assert len(alone.canaries()) <= rows + 1
        assert len(postfix.accepted()) <= taken + 1  # at most the one whose content was under way
        assert running.poll() is None
        infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, infinite)
        await goes_on_and_ends(alone, running)
    nothing_without_a_row(alone, postfix, before)


@pytest.mark.fault("P04")
async def test_a_disk_that_fails_to_sync_acknowledges_nothing(
    alone: Prober, postfix: Postfix, fresh_user: Callable[[], Account], tmp_path: Path
) -> None:
    """Each fsync and fdatasync of the running daemon fails with EIO for a while: a tracer answers for the kernel."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace (scripts/install-test-packages)")
    account, before = fresh_user(), len(postfix.accepted())
    alone.mailbox("support", account)
    alone.route("inbound", "support", account.address, every="200ms", **SLOW)
    log = tmp_path / "log"
    with process(alone.write(), log) as running:
        await alone.until(lambda: b"ready" in log.read_bytes(), "it is ready")
        await alone.until(lambda: delivered(alone) >= 2, "two arrived")
        inject = "inject=fsync,fdatasync:error=EIO"
        command = ["strace", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-e", inject, "-p", str(running.pid)]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as tracer:
            await alone.until(lambda: b"event=ledger_unwritable" in log.read_bytes(), "it was told")
            taken = len(postfix.accepted())
            began = alone.clock.now()
            await alone.until(lambda: alone.clock.now().since(began).total_seconds() > 1, "five slots pass")
            assert len(postfix.accepted()) <= taken + 1  # at most the one whose content was under way
            assert running.poll() is None, log.read_text()
            tracer.terminate()
        await goes_on_and_ends(alone, running)
    assert "disk I/O error" in log.read_text()
    assert "Traceback" not in log.read_text()
    nothing_without_a_row(alone, postfix, before)
    assert alone.queries.balance() == 0
