"""What every kind of mailbox must do, whatever it reads: the contract of probe/mailboxes/base.py as behaviours.

Each behaviour is given a world (conformance_worlds.py) with an empty account. Absence is judged here by the engine's
own rule (``prove_absence``), so what is tested is what a verdict would rest on.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from probe.canary.coverage import Cursor, Doubt, FolderRecord, Proof, Span, prove_absence
from probe.clock import SystemClock
from probe.mailboxes.base import FolderRead, FolderRequest, Mailbox
from tests.mailboxes.conformance_worlds import World, mail, subject_of

TAG, TOKEN = "b" * 29, "a" * 63

Behaviour = Callable[[World], None]
BEHAVIOURS: dict[str, Behaviour] = {}


def behaviour(check: Behaviour) -> Behaviour:
    """One line of the contract; its docstring is its name."""
    assert check.__doc__
    BEHAVIOURS[check.__doc__] = check
    return check


def run(name: str, world: World) -> None:
    """One behaviour in a world; whatever it opened is closed after it."""
    opened: list[Mailbox] = []
    make = world.open

    def recorded(**options: Any) -> Mailbox:
        opened.append(make(**options))
        return opened[-1]

    world.open = recorded  # type: ignore[method-assign]
    try:
        BEHAVIOURS[name](world)
    finally:
        for mailbox in opened:
            mailbox.close()


def connected(world: World, **options: object) -> Mailbox:
    mailbox = world.open(**options)  # type: ignore[arg-type]
    mailbox.connect()
    return mailbox


def read(mailbox: Mailbox, since: Cursor | None, folder: str = "INBOX", **options: object) -> FolderRead:
    return mailbox.read(FolderRequest(folder, since, **options))  # type: ignore[arg-type]


def begun(mailbox: Mailbox, folder: str = "INBOX") -> Cursor:
    """The cursor of a first read, as the engine makes it."""
    return read(mailbox, None, folder, fresh=True).cursor


def found(one: FolderRead) -> list[str]:
    return [subject_of(message.header) for message in one.messages]


def judged(floor: Cursor, last: FolderRead, *, exclusive: bool) -> Proof:
    """What the engine would say of a canary sent at ``floor``, with a deadline just before the last read."""
    deadline = last.began + timedelta(microseconds=-1)
    record = FolderRecord("INBOX", last.began, last.ended, last.cursor, floor.position, last.gaps)
    return prove_absence({"INBOX": floor}, deadline, [record], exclusive=exclusive)


@behaviour
def _(world: World) -> None:
    """a first read begins at the end"""
    world.deliver(mail("old"))
    mailbox = connected(world)
    first = read(mailbox, None, fresh=True)
    assert (first.messages, first.gaps, first.complete, first.reset, first.total) == ((), (), True, False, 1)
    assert (first.folder, first.name, first.fresh) == ("INBOX", "INBOX", True)
    assert first.ended.since(first.began) >= timedelta(0)
    again = read(mailbox, first.cursor)
    assert (again.cursor, again.messages, again.gaps, again.fresh) == (first.cursor, (), (), False)


@behaviour
def _(world: World) -> None:
    """new mail is found once, in order"""
    mailbox = connected(world)
    first = read(mailbox, None)
    for subject in ("one", "two", "three"):
        world.deliver(mail(subject))
    second = read(mailbox, first.cursor)
    assert found(second) == ["one", "two", "three"]
    uids = [message.uid for message in second.messages]
    assert uids == sorted(set(uids))
    assert first.cursor.position <= uids[0] <= uids[-1] < second.cursor.position
    assert (second.gaps, second.complete, second.total) == ((), True, 3)
    assert read(mailbox, second.cursor).messages == ()
    assert read(mailbox, second.cursor, fresh=True, relist_from=first.cursor.position).messages == ()
    assert found(read(mailbox, first.cursor)) == ["one", "two", "three"], "the engine owns the cursor"


@behaviour
def _(world: World) -> None:
    """a message tells its header, its size and when it came"""
    mailbox = connected(world)
    start = begun(mailbox)
    world.deliver(mail("told", f"X-Mailcanary: v1 {TOKEN}\r\n", "x" * 1000))
    (message,) = read(mailbox, start).messages
    assert f"X-Mailcanary: v1 {TOKEN}".encode() in message.header
    assert b"xxx" not in message.header
    assert message.size >= 1000
    assert message.arrived is not None
    assert abs(message.arrived - SystemClock().now().utc) < timedelta(minutes=1)


@behaviour
def _(world: World) -> None:
    """a fresh read after the deadline proves absence where nobody else deletes"""
    mailbox = connected(world, exclusive=True)
    floor = begun(mailbox)
    quiet = read(mailbox, floor, fresh=True, relist_from=floor.position)
    assert judged(floor, quiet, exclusive=True).proven
    world.deliver(mail("foreign"))
    seen = read(mailbox, quiet.cursor, gaps=quiet.gaps)
    last = read(mailbox, seen.cursor, gaps=seen.gaps, fresh=True, relist_from=floor.position)
    assert (last.fresh, last.complete, found(seen), found(last)) == (True, True, ["foreign"], [])
    assert judged(floor, last, exclusive=True).proven


@behaviour
def _(world: World) -> None:
    """what came and went unseen is never proven absent"""
    mailbox = connected(world, exclusive=False)
    floor = begun(mailbox)
    world.deliver(mail("gone"))
    world.delete("gone")
    between = read(mailbox, floor)
    last = read(mailbox, between.cursor, gaps=between.gaps, fresh=True, relist_from=floor.position)
    assert judged(floor, last, exclusive=False).doubt is Doubt.UID_GAP
    again = read(mailbox, last.cursor, gaps=last.gaps, fresh=True, relist_from=floor.position)
    assert judged(floor, again, exclusive=False).doubt is Doubt.UID_GAP, "a doubt does not pass away"


@behaviour
def _(world: World) -> None:
    """what came and went is a gap of its own"""
    mailbox = connected(world)
    floor = begun(mailbox)
    world.deliver(mail("one"))
    world.deliver(mail("gone"))
    world.delete("gone")
    world.deliver(mail("two"))
    seen = read(mailbox, floor)
    first, second = (message.uid for message in seen.messages)
    assert seen.gaps == (Span(first + 1, second - 1),)
    later = read(mailbox, seen.cursor, gaps=seen.gaps, fresh=True, relist_from=floor.position)
    assert later.gaps == seen.gaps


@behaviour
def _(world: World) -> None:
    """new numbers are said to be new, and mail is read again by date"""
    mailbox = connected(world)
    start = begun(mailbox)
    mailbox.close()
    world.renumber()
    mailbox = connected(world)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    anew = read(mailbox, start, fresh=True, rescan_since=yesterday)
    assert anew.reset
    assert anew.cursor.epoch != start.epoch
    assert (found(anew), anew.gaps, anew.complete) == (["kept"], (), True)
    assert judged(start, anew, exclusive=True).doubt is Doubt.EPOCH_CHANGED
    assert mailbox.present("INBOX", start.epoch, [anew.messages[0].uid]) == frozenset()
    after = read(mailbox, anew.cursor)
    assert (after.reset, after.messages) == (False, ())


@behaviour
def _(world: World) -> None:
    """a cap ends a read early and the rest comes with the next"""
    mailbox = connected(world)
    start = begun(mailbox)
    world.deliver_many([mail(f"number {n}") for n in range(world.most + 5)])
    first = read(mailbox, start, fresh=True)
    assert (first.complete, len(first.messages)) == (False, world.most)
    second = read(mailbox, first.cursor, gaps=first.gaps, fresh=True, relist_from=start.position)
    assert (second.complete, len(second.messages)) == (True, 5)
    assert len({*found(first), *found(second)}) == world.most + 5
    assert judged(start, second, exclusive=True).proven


@behaviour
def _(world: World) -> None:
    """another object goes on from the cursor as if nothing had happened"""
    mailbox = connected(world)
    start = begun(mailbox)
    world.deliver(mail("before"))
    known = read(mailbox, start)
    mailbox.close()
    world.deliver(mail("meanwhile"))
    mailbox = connected(world)
    after = read(mailbox, known.cursor, gaps=known.gaps, fresh=True, relist_from=start.position)
    assert (found(after), after.gaps, after.reset, after.complete) == (["meanwhile"], (), False, True)
    assert judged(start, after, exclusive=True).proven
    (old,) = known.messages
    assert mailbox.present("INBOX", start.epoch, [old.uid]) == {old.uid}
    done = mailbox.remove("INBOX", start.epoch, [old.uid])
    assert done.removed == {old.uid}
    assert world.subjects() == ["meanwhile"]


@behaviour
def _(world: World) -> None:
    """a look that was not kept is found again from the same cursor"""
    mailbox = connected(world)
    start = begun(mailbox)
    world.deliver(mail("one"))
    seen = read(mailbox, start)
    mailbox.close()  # a crash before the ledger had it
    again = read(connected(world), start, fresh=True)
    assert [message.uid for message in again.messages] == [message.uid for message in seen.messages]
    assert again.cursor.epoch == start.epoch
