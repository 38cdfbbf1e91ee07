"""What the tests of control canaries share."""

from __future__ import annotations

from pathlib import Path

from probe.exposition.live import MailboxView
from probe.message.control import SUBJECT
from tests.engine.world import HOUR, MINUTE, World
from tests.jumping import JumpingClock

EVERY = 5 * MINUTE
OURS = SUBJECT.encode()


def view(world: World) -> MailboxView:
    return world.daemon.view.snapshot().mailboxes[0]


def missed(world: World) -> str:
    return world.daemon.watchers["inbox"].control.unseen()


def send(world: World) -> None:
    """One canary now, as if its slot had come."""
    (leg,) = world.daemon.legs
    leg._launch(world.clock.now())


def lying(world: World, folder: str = "INBOX") -> list[bytes]:
    """The control messages that lie in a folder."""
    return [raw for raw, _ in world.account.folders[folder].messages.values() if OURS in raw]


def quiet(clock: JumpingClock, folder: Path, **more: object) -> World:
    """A world whose route sends next to nothing."""
    return World(clock, folder, every=12 * HOUR, control=EVERY, **more)  # type: ignore[arg-type]


def token_of(raw: bytes) -> str:
    return raw.partition(b"Message-ID: <")[2].partition(b"@")[0].decode()
