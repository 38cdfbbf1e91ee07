"""The maildir kind's folders, index and clean-up: who may keep the numbers, and what may be removed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from probe.canary.coverage import Cursor
from probe.clock import Instant, SystemClock
from probe.errors import FolderMissing, MailboxError
from probe.mailboxes.base import FolderRead
from probe.mailboxes.cleanup import Cleanup, CleanupMode
from probe.mailboxes.maildir import MaildirMailbox
from probe.mailboxes.maildir_files import Files, opened
from tests.mailboxes.conformance_worlds import mail, subject_of
from tests.mailboxes.maildir_help import Open, connected, found, index_of, maildir, open_maildir, read
from tests.worlds.maildir import Maildir

__all__ = ["maildir", "open_maildir"]


def test_a_missing_or_half_maildir_is_no_login(tmp_path: Path, maildir: Maildir) -> None:
    (maildir.root / "cur").rmdir()
    with pytest.raises(MailboxError, match="lacks new or cur") as half:
        connected(maildir)
    assert half.value.reason == "folder"
    with pytest.raises(MailboxError, match="no such directory") as gone:
        connected(maildir, path=tmp_path / "nowhere")
    assert gone.value.reason == "connect"
    (tmp_path / "link").symlink_to(maildir.root)
    with pytest.raises(MailboxError, match="symbolic links are not followed"):
        connected(maildir, path=tmp_path / "link")


def test_a_maildir_that_goes_away_is_blindness_and_comes_back(maildir: Maildir, open_maildir: Open) -> None:
    mailbox = open_maildir()
    start = read(mailbox, None).cursor
    away = maildir.root.rename(maildir.root.with_name("away"))
    with pytest.raises(MailboxError):
        read(mailbox, start)
    with pytest.raises(MailboxError):
        mailbox.connect()
    away.rename(maildir.root)
    mailbox.connect()
    maildir.deliver(mail("back"))
    seen = read(mailbox, start)
    assert (found(seen), seen.reset) == (["back"], False)


def test_folders_by_name(maildir: Maildir, open_maildir: Open) -> None:
    mailbox = open_maildir()
    with pytest.raises(FolderMissing):
        read(mailbox, None, "junk")
    maildir.make("Spam")
    assert read(mailbox, None, "junk").name == "Spam"
    maildir.make("Junk")
    assert read(mailbox, None, "junk").name == "Junk"
    maildir.make("Archive.2026")
    maildir.deliver(mail("old"), "Archive.2026")
    assert (read(mailbox, None, "Archive/2026").name, read(mailbox, None, "inbox").name) == ("Archive.2026", "INBOX")
    for outside in ("", ".", "..", "../x", "a..b", "a/../b"):
        with pytest.raises(FolderMissing):
            read(mailbox, None, outside)


def test_a_folder_that_was_made_anew_is_a_reset(maildir: Maildir, open_maildir: Open) -> None:
    mailbox = open_maildir()
    start = read(mailbox, None).cursor
    (maildir.root / "cur").rename(maildir.root / "cur.old")
    (maildir.root / "cur").mkdir()
    maildir.deliver(mail("after"))
    long_ago = maildir.deliver(mail("before"))
    os.utime(long_ago, (0, 0))
    anew = read(mailbox, start, rescan_since=datetime.now(UTC) - timedelta(days=1))
    assert anew.reset
    assert anew.cursor.epoch > start.epoch
    assert set(found(anew)) == {"after", "before"}, "put there since is enough, whatever time it was written"
    future = read(mailbox, start, rescan_since=datetime.now(UTC) + timedelta(days=1))
    assert (future.messages, future.reset) == ((), True)


def test_an_index_that_is_older_than_the_ledger_is_a_reset(maildir: Maildir, open_maildir: Open) -> None:
    mailbox = open_maildir()
    start = read(mailbox, None).cursor
    ahead = read(mailbox, Cursor(start.epoch, start.position + 5), rescan_since=datetime.now(UTC))
    assert ahead.reset
    assert ahead.cursor.epoch > start.epoch


def test_a_damaged_index_is_set_aside_and_begun_anew(maildir: Maildir, open_maildir: Open) -> None:
    mailbox = open_maildir()
    start = read(mailbox, None).cursor
    mailbox.close()
    index_of(maildir).write_bytes(b"not a database, " * 100)
    mailbox.connect()
    anew = read(mailbox, start, rescan_since=datetime.now(UTC))
    assert (anew.reset, anew.cursor.epoch > start.epoch) == (True, True)
    assert Path(f"{index_of(maildir)}.damaged").read_bytes().startswith(b"not a database")


def test_two_probers_cannot_keep_one_index_and_a_check_needs_none(maildir: Maildir, open_maildir: Open) -> None:
    checking = open_maildir(index=maildir.root / "no such directory")
    maildir.deliver(mail("there"))
    assert read(checking, None, fresh=False).total == 1
    with pytest.raises(MailboxError, match="see the key index"):
        read(checking, None)
    mailbox = open_maildir()
    read(mailbox, None)
    with pytest.raises(MailboxError, match="locked"):
        read(open_maildir(), None)
    assert read(open_maildir(), None, fresh=False).total == 1


def test_moving_old_canaries_elsewhere(maildir: Maildir, open_maildir: Open) -> None:
    mailbox = open_maildir(cleanup=Cleanup(mode=CleanupMode.MOVE, folder="Old"))
    start = read(mailbox, None).cursor
    for subject in ("ours", "foreign", "blocked"):
        maildir.deliver(mail(subject))
    ours, _, blocked = (message.uid for message in read(mailbox, start).messages)
    assert "Old" in mailbox.remove("INBOX", start.epoch, [ours]).problem
    maildir.make("Old")
    path = maildir.flag(maildir.find("ours"), "S")
    done = mailbox.remove("INBOX", start.epoch, [ours])
    assert done.removed == {ours}
    assert done.problem == ""
    assert [path.name for path in maildir.files("Old")] == [path.name]
    there = maildir.folder("Old") / "cur" / f"{maildir.find('blocked').name}:2,"
    there.write_bytes(b"somebody's")
    done = mailbox.remove("INBOX", start.epoch, [blocked])
    assert (done.removed, "there already" in done.problem, there.read_bytes()) == (frozenset(), True, b"somebody's")
    assert sorted(maildir.subjects()) == ["blocked", "foreign"]


def test_a_file_that_took_the_name_of_ours_is_not_removed(
    maildir: Maildir, open_maildir: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailbox = open_maildir()
    start = read(mailbox, None).cursor
    ours = maildir.deliver(mail("ours"))
    (message,) = read(mailbox, start).messages
    other = maildir.root / "tmp" / "other"
    other.write_bytes(mail("somebody's"))
    other.rename(ours)
    done = mailbox.remove("INBOX", start.epoch, [message.uid])
    assert done.removed == {message.uid}
    assert maildir.subjects() == ["somebody's"]


def test_a_name_that_came_to_stand_for_another_file_is_left_alone(maildir: Maildir) -> None:
    path = maildir.deliver(mail("somebody's"))
    maildir.make("Old")
    with opened(maildir.root, ".") as files, opened(maildir.root, ".Old") as old:
        for wrong in (f"{path.stat().st_ino}/other", f"1/{path.name}"):
            with pytest.raises(FileNotFoundError):
                files.unlink("new", path.name, wrong)
            with pytest.raises(FileNotFoundError):
                files.move("new", path.name, wrong, old)
    assert (maildir.subjects(), maildir.subjects("Old")) == (["somebody's"], [])


def test_a_sweep_looks_again_at_what_it_could_not_read(
    maildir: Maildir, open_maildir: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailbox = open_maildir()
    maildir.make("Elsewhere")
    maildir.deliver(mail("ours", f"X-Mailcanary: v1 {'a' * 63}\r\n"), "Elsewhere")
    maildir.deliver(mail("foreign"), "Elsewhere")

    def refuses(self: Files, where: str, name: str, limit: int) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Files, "content", refuses)
        assert mailbox.sweep(["a" * 63], ["INBOX"]) == ()
    opened: list[str] = []
    content = Files.content

    def counting(self: Files, where: str, name: str, limit: int) -> Any:
        opened.append(name)
        return content(self, where, name, limit)

    monkeypatch.setattr(Files, "content", counting)
    for _ in range(2):
        (hit,) = mailbox.sweep(["a" * 63], ["INBOX"])
        assert subject_of(hit.message.header) == "ours"
    assert len(opened) == 3, "mail without anything like an identity is read once"
    with pytest.raises(MailboxError, match="not a canary token"):
        mailbox.sweep(["no token"])


def test_the_maildir_itself_is_never_written_to(maildir: Maildir, open_maildir: Open) -> None:
    for n in range(3):
        maildir.deliver(mail(f"number {n}"))
    before = sorted((path.relative_to(maildir.root), path.lstat().st_ctime_ns) for path in maildir.root.rglob("*"))
    mailbox = open_maildir()
    start = read(mailbox, None).cursor
    read(mailbox, Cursor(start.epoch, 1))
    mailbox.sweep(["a" * 63])
    mailbox.body("INBOX", start.epoch, 1, 100)
    mailbox.close()
    after = sorted((path.relative_to(maildir.root), path.lstat().st_ctime_ns) for path in maildir.root.rglob("*"))
    assert after == before


@pytest.mark.parametrize("fresh", [True, False])
def test_each_message_of_a_storm_is_found_once(maildir: Maildir, open_maildir: Open, fresh: bool) -> None:
    """One thread delivers, another moves to cur and flags without end: real renames under real listings."""
    count = 400
    mailbox = open_maildir()
    cursor = read(mailbox, None).cursor
    done = threading.Event()

    def deliver() -> None:
        for n in range(count):
            maildir.deliver(mail(f"number {n}"))
        done.set()

    def flag() -> None:
        turn = 0
        while not done.is_set() or list((maildir.root / "new").iterdir()):
            turn += 1
            for path in [*(maildir.root / "new").iterdir(), *list((maildir.root / "cur").iterdir())[-20:]]:
                maildir.flag(path, "FS" if turn % 2 else "S")

    threads = [threading.Thread(target=target) for target in (deliver, flag)]
    for thread in threads:
        thread.start()
    seen: list[str] = []
    while any(thread.is_alive() for thread in threads):
        try:
            looked = read(mailbox, cursor, fresh=fresh)
        except MailboxError:  # too fast to be sure: blind, and the next look will tell
            mailbox.connect()
            continue
        seen += found(looked)
        cursor = looked.cursor
    last = read(mailbox, cursor)
    seen += found(last)
    assert sorted(seen) == sorted(f"number {n}" for n in range(count))
    assert (last.gaps, last.total) == ((), count)


def test_a_poll_lists_only_where_something_can_have_changed(
    maildir: Maildir, open_maildir: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second change within a tick of the file system's clock leaves the directory's time as it was."""
    listings = 0
    names = Files.names
    now = SystemClock().now()

    def counting(self: Files, where: str) -> list[str]:
        nonlocal listings
        listings += 1
        return names(self, where)

    def poll(mailbox: MaildirMailbox, since: Cursor, after: timedelta) -> FolderRead:
        nonlocal listings, now
        now += after
        listings = 0
        return read(mailbox, since, fresh=False)

    mailbox = open_maildir()
    monkeypatch.setattr(mailbox._reader, "_clock", Fixed(lambda: now))
    monkeypatch.setattr(Files, "names", counting)
    start = read(mailbox, None).cursor
    stamps = (maildir.root / "new").stat()
    poll(mailbox, start, timedelta(seconds=1))
    for _ in range(3):
        poll(mailbox, start, timedelta(seconds=0.9))
        assert listings == 2, "not yet settled"
    maildir.deliver(mail("in the same tick"))
    os.utime(maildir.root / "new", ns=(stamps.st_atime_ns, stamps.st_mtime_ns))
    seen = poll(mailbox, start, timedelta(seconds=0.5))
    assert (found(seen), listings) == (["in the same tick"], 2)
    poll(mailbox, seen.cursor, timedelta(seconds=1))
    assert listings == 0
    maildir.deliver(mail("later"))
    assert found(poll(mailbox, seen.cursor, timedelta(seconds=1))) == ["later"]
    read(mailbox, seen.cursor)
    assert listings > 2, "a fresh read lists always"


class Fixed(SystemClock):
    """A clock that says what it is told."""

    def __init__(self, moment: Callable[[], Instant]) -> None:
        self._moment = moment

    def now(self) -> Instant:
        return self._moment()
