"""The rest of the contract of conformance.py: single messages, sweeps, clean-up, and the end of a connection."""

from __future__ import annotations

import pytest

from probe.errors import FolderMissing, MailboxError
from tests.mailboxes.conformance import TAG, TOKEN, begun, behaviour, connected, found, read
from tests.mailboxes.conformance_worlds import OFF, World, mail, subject_of


@behaviour
def _(world: World) -> None:
    """a missing folder is said to be missing, and the others can still be read"""
    mailbox = connected(world)
    start = begun(mailbox)
    with pytest.raises(FolderMissing):
        read(mailbox, None, "Nowhere")
    world.deliver(mail("still"))
    assert found(read(mailbox, start)) == ["still"]
    assert mailbox.present("Nowhere", start.epoch, [1]) == frozenset()
    assert mailbox.body("Nowhere", start.epoch, 1, 100) == b""
    assert mailbox.remove("Nowhere", start.epoch, [1]).removed == frozenset()


@behaviour
def _(world: World) -> None:
    """present and body tell of exactly the message asked for"""
    mailbox = connected(world)
    start = begun(mailbox)
    world.deliver(mail("one", body="first body"))
    world.deliver(mail("two", body="second body"))
    one, two = (message.uid for message in read(mailbox, start).messages)
    assert mailbox.present("INBOX", start.epoch, [one, two, two + 7]) == {one, two}
    assert mailbox.present("INBOX", start.epoch + 1, [one]) == frozenset()
    whole = mailbox.body("INBOX", start.epoch, two, 100_000)
    assert subject_of(whole) == "two"
    assert b"second body" in whole
    assert mailbox.body("INBOX", start.epoch, two, 20) == whole[:20]
    assert mailbox.body("INBOX", start.epoch + 1, two, 20) == b""
    world.delete("two")
    assert mailbox.present("INBOX", start.epoch, [one, two]) == {one}
    assert mailbox.body("INBOX", start.epoch, two, 100) == b""


@behaviour
def _(world: World) -> None:
    """a sweep finds an identity in any folder but those just read"""
    world.make("Elsewhere")
    mailbox = connected(world)
    world.deliver(mail(f"canary {TAG}"), "Elsewhere")
    world.deliver(mail("header", f"X-Mailcanary: v1 {TOKEN}\r\n"), "Elsewhere")
    world.deliver(mail("foreign"), "Elsewhere")
    world.deliver(mail(f"in the inbox {TAG}"))
    assert mailbox.sweep(["c" * 29], ["INBOX"]) == ()
    hits = mailbox.sweep([TAG, TOKEN], ["INBOX"])
    assert sorted(subject_of(hit.message.header) for hit in hits) == [f"canary {TAG}", "header"]
    assert {hit.name for hit in hits} == {"Elsewhere"}
    for hit in hits:
        assert mailbox.present(hit.name, hit.epoch, [hit.message.uid]) == {hit.message.uid}
    again = mailbox.sweep([TAG, TOKEN], ["INBOX"])
    assert {hit.message.uid for hit in again} == {hit.message.uid for hit in hits}
    assert len(mailbox.sweep([TAG], [])) == 2


@behaviour
def _(world: World) -> None:
    """a clean-up removes what was named and nothing else"""
    mailbox = connected(world)
    start = begun(mailbox)
    for subject in ("ours", "foreign", "ours too", "gone already"):
        world.deliver(mail(subject))
    one, foreign, two, gone = (message.uid for message in read(mailbox, start).messages)
    world.delete("gone already")
    assert mailbox.remove("INBOX", start.epoch + 1, [one, foreign]).removed == frozenset()
    assert mailbox.remove("INBOX", start.epoch + 1, [one]).problem
    assert len(world.subjects()) == 3
    done = mailbox.remove("INBOX", start.epoch, [one, two, gone])
    assert done.removed == {one, two, gone}
    assert done.problem == ""
    assert world.subjects() == ["foreign"]
    assert mailbox.present("INBOX", start.epoch, [one, foreign, two]) == {foreign}
    assert mailbox.remove("INBOX", start.epoch, []).removed == frozenset()
    assert world.subjects() == ["foreign"]


@behaviour
def _(world: World) -> None:
    """with clean-up off nothing is ever removed"""
    mailbox = connected(world, cleanup=OFF)
    start = begun(mailbox)
    world.deliver(mail("ours"))
    (message,) = read(mailbox, start).messages
    done = mailbox.remove("INBOX", start.epoch, [message.uid])
    assert (done.removed, done.problem) == (frozenset(), "cleanup is off")
    assert world.subjects() == ["ours"]


@behaviour
def _(world: World) -> None:
    """reading changes nothing of other people's mail"""
    world.make("Elsewhere")
    for folder in ("INBOX", "Elsewhere"):
        world.deliver(mail(f"in {folder}"), folder)
    mailbox = connected(world)
    start = begun(mailbox)
    world.deliver(mail("new"))
    (message,) = read(mailbox, start, fresh=True).messages
    mailbox.body("INBOX", start.epoch, message.uid, 100)
    mailbox.sweep([TAG], [])
    assert (world.subjects(), world.subjects("Elsewhere")) == (["in INBOX", "new"], ["in Elsewhere"])


@behaviour
def _(world: World) -> None:
    """closed or interrupted it fails as a mailbox, and a new connection works"""
    mailbox = world.open()
    with pytest.raises(MailboxError):
        read(mailbox, None)
    mailbox.connect()
    start = begun(mailbox)
    mailbox.close()
    mailbox.close()
    with pytest.raises(MailboxError):
        read(mailbox, start)
    mailbox.connect()
    mailbox.interrupt()
    with pytest.raises(MailboxError):
        read(mailbox, start)
    mailbox.close()
    mailbox.connect()
    world.deliver(mail("after"))
    assert found(read(mailbox, start, fresh=True)) == ["after"]
    mailbox.close()
