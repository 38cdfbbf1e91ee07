"""The optional part of the contract (``Placing`` in probe/mailboxes/base.py): a message of our own, put there by us."""

from __future__ import annotations

from datetime import UTC, datetime

from probe.canary.identity import Keyring, SigningKey
from probe.mailboxes.base import Mailbox, Placing
from probe.message.control import SUBJECT, compose_control, control_mark, control_token
from probe.message.recognise import Kind, recognise
from tests.mailboxes.conformance import begun, behaviour, connected, found, judged, read
from tests.mailboxes.conformance_worlds import World, mail

KEYRING = Keyring([SigningKey("k1", b"k" * 32)])
MARK = control_mark("p1", "inbox")
NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)


def control(control_id: str = "a" * 13) -> bytes:
    token = control_token(KEYRING, control_id=control_id, mark=MARK, sent_ms=1)
    return compose_control(token=token, prober="p1", mailbox="inbox", host="prober.example.org", date=NOW)


def placing(mailbox: Mailbox) -> Placing:
    assert isinstance(mailbox, Placing)
    return mailbox


@behaviour
def _(world: World) -> None:
    """a message put there is seen by the next read, under the next number, and recognised"""
    mailbox = connected(world)
    start = begun(mailbox)
    world.deliver(mail("before"))
    assert placing(mailbox).place(control()) == ""
    seen = read(mailbox, start)
    assert found(seen) == ["before", SUBJECT]
    assert (seen.gaps, seen.complete) == ((), True)
    kinds = [
        recognise(one.header, keyring=KEYRING, now_ms=2, known={}, mailbox="inbox", control=MARK).kind
        for one in seen.messages
    ]
    assert kinds == [Kind.NOT_OURS, Kind.CONTROL]


@behaviour
def _(world: World) -> None:
    """what was put there, seen and removed leaves no gap, and the proof of absence stands"""
    mailbox = connected(world)
    start = begun(mailbox)
    assert placing(mailbox).place(control()) == ""
    seen = read(mailbox, start)
    (own,) = seen.messages
    assert mailbox.remove("INBOX", start.epoch, [own.uid]).removed == {own.uid}
    assert world.subjects() == []
    world.deliver(mail("after"))
    later = read(mailbox, seen.cursor, gaps=seen.gaps, fresh=True, relist_from=start.position)
    assert found(later) == ["after"]
    assert judged(start, later, exclusive=True).proven
    assert later.gaps == ()


@behaviour
def _(world: World) -> None:
    """putting a message there needs no folder that was read, and not twice the same number"""
    mailbox = connected(world)
    start = begun(mailbox)
    mailbox.close()
    mailbox = connected(world)
    assert placing(mailbox).place(control()) == ""
    assert placing(mailbox).place(control("c" * 13)) == ""
    first, second = read(mailbox, start, fresh=True).messages
    assert first.uid < second.uid
