"""The maildir kind's reads: no message hides in a race or behind a name, and what cannot be read is said."""

from __future__ import annotations

import gzip
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from probe.canary.coverage import Span
from probe.errors import MailboxError
from probe.mailboxes import maildir_files
from probe.mailboxes.maildir_files import HEADER_LIMIT, Files
from tests.mailboxes.conformance_worlds import mail, subject_of
from tests.mailboxes.maildir_help import Open, found, maildir, open_maildir, read
from tests.worlds.maildir import Maildir

__all__ = ["maildir", "open_maildir"]


@pytest.mark.parametrize("fresh", [True, False])
def test_a_message_keeps_its_number_when_a_reader_moves_and_flags_it(
    maildir: Maildir, open_maildir: Open, fresh: bool
) -> None:
    mailbox = open_maildir()
    start = read(mailbox, None).cursor
    path = maildir.deliver(mail("one"))
    seen = read(mailbox, start)
    path = maildir.flag(path, "")
    assert read(mailbox, seen.cursor, fresh=fresh).messages == ()
    maildir.flag(path, "FS")
    after = read(mailbox, seen.cursor, fresh=fresh)
    assert (after.messages, after.total, after.cursor) == ((), 1, seen.cursor)
    assert mailbox.present("INBOX", start.epoch, [1]) == {1}
    assert subject_of(mailbox.body("INBOX", start.epoch, 1, 1000)) == "one"


@pytest.mark.parametrize("moved_after", range(1, 9))
def test_a_message_that_moves_while_it_is_listed_is_seen_by_the_same_read(
    maildir: Maildir, open_maildir: Open, monkeypatch: pytest.MonkeyPatch, moved_after: int
) -> None:
    """At each step of the read (a listing of one directory, or the first question about a name) it moves to cur."""
    mailbox = open_maildir()
    start = read(mailbox, None).cursor
    path = maildir.deliver(mail("on its way"))
    steps = 0
    names, status = Files.names, Files.status

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == moved_after:
            maildir.flag(path, "S")

    def stepping_names(self: Files, where: str) -> list[str]:
        listed = names(self, where)
        step()
        return listed

    def stepping_status(self: Files, where: str, name: str) -> os.stat_result:
        step()
        return status(self, where, name)

    monkeypatch.setattr(Files, "names", stepping_names)
    monkeypatch.setattr(Files, "status", stepping_status)
    seen = read(mailbox, start)
    assert steps >= moved_after
    assert (found(seen), seen.gaps) == (["on its way"], ())


def test_what_readdir_left_out_of_one_listing_is_in_a_fresh_read(
    maildir: Maildir, open_maildir: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailbox = open_maildir()
    start = read(mailbox, None).cursor
    maildir.flag(maildir.deliver(mail("hidden")))
    names = Files.names
    listings: list[str] = []

    def skipping(self: Files, where: str) -> list[str]:
        listings.append(where)
        return [] if listings.count(where) in (1, 2) else names(self, where)

    monkeypatch.setattr(Files, "names", skipping)
    assert found(read(mailbox, start)) == ["hidden"]


def test_a_flag_that_is_taken_back_does_not_make_it_a_new_message(maildir: Maildir, open_maildir: Open) -> None:
    """Listed under both names, and then the later of them is gone."""
    mailbox = open_maildir()
    start = read(mailbox, None).cursor
    path = maildir.flag(maildir.deliver(mail("flagged")), "S")
    other = path.name.replace(":2,S", ":2,FS")
    os.link(path, path.with_name(other))
    seen = read(mailbox, start)
    assert (found(seen), seen.total) == (["flagged"], 1)
    listing = mailbox._store._listings["INBOX"]
    listing.places = dict.fromkeys(listing.places, ("cur", other))  # whichever of the two came last
    path.with_name(other).unlink()
    for fresh in (False, True):
        after = read(mailbox, seen.cursor, fresh=fresh)
        assert (after.messages, after.total, after.gaps) == ((), 1, ())
    assert mailbox.present("INBOX", start.epoch, [1]) == {1}


def test_names_that_always_vanish_end_the_read(
    maildir: Maildir, open_maildir: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailbox = open_maildir()
    start = read(mailbox, None).cursor
    monkeypatch.setattr(Files, "names", lambda self, where: ["never.there"])
    with pytest.raises(MailboxError, match="faster than it can be listed"):
        read(mailbox, start)


def test_gone_between_listing_and_looking_is_a_gap(
    maildir: Maildir, open_maildir: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailbox = open_maildir()
    start = read(mailbox, None).cursor
    maildir.deliver(mail("stays"))
    path = maildir.deliver(mail("goes"))
    kept = maildir.root / "tmp" / "kept"
    os.link(path, kept)
    look = Files.look

    def deleting(self: Files, where: str, name: str) -> maildir_files.Look:
        path.unlink(missing_ok=True)
        return look(self, where, name)

    monkeypatch.setattr(Files, "look", deleting)
    seen = read(mailbox, start)
    assert (found(seen), seen.gaps, seen.cursor.position) == (["stays"], (Span(2, 2),), 3)
    monkeypatch.undo()
    kept.rename(path)
    back = read(mailbox, seen.cursor, gaps=seen.gaps, fresh=False)
    assert (found(back), back.gaps) == (["goes"], seen.gaps), "it comes back as a new message"
    later = read(mailbox, back.cursor, gaps=back.gaps, relist_from=1)
    assert (later.gaps, later.messages) == (seen.gaps, ())


def test_not_exclusive_each_fresh_read_leaves_one_number_unseen(maildir: Maildir, open_maildir: Open) -> None:
    mailbox = open_maildir(exclusive=False)
    start = read(mailbox, None)
    assert start.gaps == ()
    poll = read(mailbox, start.cursor, fresh=False)
    assert (poll.cursor, poll.gaps) == (start.cursor, ())
    one = read(mailbox, start.cursor)
    assert (one.cursor.position, one.gaps) == (2, (Span(1, 1),))
    maildir.deliver(mail("between"))
    two = read(mailbox, one.cursor, gaps=one.gaps)
    assert [message.uid for message in two.messages] == [2]
    assert (two.cursor.position, two.gaps) == (4, (Span(3, 3),)), "the newest doubt stands for all before it"


def test_a_base_name_that_comes_again_is_another_message(maildir: Maildir, open_maildir: Open) -> None:
    mailbox = open_maildir()
    start = read(mailbox, None).cursor
    first = maildir.deliver(mail("first"))
    held = maildir.root / "tmp" / "held"
    os.link(first, held)  # so that its inode is not given to the other
    seen = read(mailbox, start)
    second = maildir.root / "tmp" / "other"
    second.write_bytes(mail("second"))
    second.rename(first)
    assert found(read(mailbox, seen.cursor)) == ["second"]
    held.rename(maildir.root / "cur" / f"{first.name}:2,S")
    both = read(mailbox, seen.cursor)
    assert both.total == 2
    assert "second" in found(both)


def test_only_regular_files_that_are_mail_are_messages(maildir: Maildir, open_maildir: Open, tmp_path: Path) -> None:
    mailbox = open_maildir()
    start = read(mailbox, None).cursor
    new = maildir.root / "new"
    secret = tmp_path / "secret"
    secret.write_bytes(mail("secret"))
    (new / "link").symlink_to(secret)
    (new / "directory").mkdir()
    os.mkfifo(new / "fifo")
    (new / ".hidden").write_bytes(mail("hidden"))
    (maildir.root / "tmp" / "half").write_bytes(mail("half"))
    maildir.deliver(mail("real"))
    seen = read(mailbox, start)
    assert (found(seen), seen.total) == (["real"], 1)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        gzip.compress(mail("packed")),
        b"CRYPTED\x03\x07\nSubject: y\n\n",
        b"\x00" * 100,
        b"no field at all\n\nbody\n",
    ],
    ids=["empty", "gzip", "encrypted", "zeros", "no field"],
)
def test_what_cannot_be_read_as_mail_has_no_header_and_so_blocks_a_proof(
    maildir: Maildir, open_maildir: Open, content: bytes
) -> None:
    mailbox = open_maildir()
    start = read(mailbox, None).cursor
    maildir.deliver(content)
    (message,) = read(mailbox, start).messages
    assert (message.header, message.size) == (b"", len(content))


def test_what_nobody_may_read_is_there_all_the_same(
    maildir: Maildir, open_maildir: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailbox = open_maildir()
    start = read(mailbox, None).cursor
    maildir.deliver(mail("no right"))

    def refuses(self: Files, where: str, name: str, limit: int) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Files, "content", refuses)
    seen = read(mailbox, start)
    (message,) = seen.messages
    assert (message.header, message.arrived, seen.gaps) == (b"", None, ())
    assert mailbox.body("INBOX", start.epoch, message.uid, 100) == b""


def test_a_header_that_goes_on_beyond_the_limit_was_not_looked_at(maildir: Maildir, open_maildir: Open) -> None:
    mailbox = open_maildir()
    start = read(mailbox, None).cursor
    fields = b"Subject: long\n" + b"X: " + b"y" * (HEADER_LIMIT - 30) + b"\n"
    maildir.deliver(fields + b"\n" + b"z" * 1000)
    maildir.deliver(fields * 2 + b"X-Mailcanary: below\n\nbody\n")
    maildir.deliver(b"Subject: without a body")
    fits, longer, bare = read(mailbox, start).messages
    assert (fits.header, bare.header) == (fields + b"\n", b"Subject: without a body")
    assert longer.header == b""


def test_the_time_of_arrival_is_that_of_the_file(maildir: Maildir, open_maildir: Open) -> None:
    mailbox = open_maildir()
    start = read(mailbox, None).cursor
    os.utime(maildir.deliver(mail("timed").replace(b"\r\n", b"\n")), ns=(0, 1_700_000_000_123_456_789))
    (message,) = read(mailbox, start).messages
    assert message.arrived == datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)
    assert message.header.endswith(b"timed\n\n")
    assert maildir_files._moment(2**62) is not None
    assert maildir_files._moment(2**63 * 1000) is None


def test_thousands_of_known_messages_are_not_opened_again(
    maildir: Maildir, open_maildir: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(3000):
        (maildir.root / "cur" / f"17000{n:05}.host:2,S").write_bytes(b"Subject: old\n\n")
    mailbox = open_maildir()
    start = read(mailbox, None)
    assert start.total == 3000
    opened: list[str] = []
    content = Files.content

    def counting(self: Files, where: str, name: str, limit: int) -> Any:
        opened.append(name)
        return content(self, where, name, limit)

    monkeypatch.setattr(Files, "content", counting)
    maildir.deliver(mail("new"))
    seen = read(mailbox, start.cursor)
    assert (found(seen), len(opened)) == (["new"], 1)
    read(mailbox, seen.cursor, fresh=False)
    mailbox.close()
    mailbox.connect()
    assert read(mailbox, seen.cursor).messages == ()
    assert len(opened) == 1, "nor after a restart"
