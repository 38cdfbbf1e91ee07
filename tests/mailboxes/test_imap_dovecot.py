"""The imap kind against a real Dovecot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from imapclient import IMAPClient

from probe.canary.coverage import Cursor, Span
from probe.clock import SystemClock
from probe.errors import FolderMissing, LoginRefused, MailboxError
from probe.mailboxes.base import FolderRead, FolderRequest
from probe.mailboxes.imap import Cleanup, CleanupMode, ImapMailbox, Tls
from probe.options import Secret
from tests.mailboxes.conftest import real_options
from tests.worlds.certificates import Certificates
from tests.worlds.dovecot import Account, Dovecot
from tests.worlds.ports import wait_until

Open = Callable[..., ImapMailbox]
Fresh = Callable[[], Account]
LONG = "a" * 63
TAG = "b" * 29


def mail(subject: str = "hello", *, extra: str = "", message_id: str = "x@example.net") -> bytes:
    return f"From: a@example.net\r\nSubject: {subject}\r\nMessage-ID: <{message_id}>\r\n{extra}\r\nbody\r\n".encode()


def append(client: IMAPClient, count: int = 1, folder: str = "INBOX") -> None:
    for n in range(count):
        client.append(folder, mail(f"number {n}"))


def read(mailbox: ImapMailbox, since: Cursor | None, folder: str = "INBOX", **options: object) -> FolderRead:
    return mailbox.read(FolderRequest(folder, since, **options))  # type: ignore[arg-type]


def uids(found: FolderRead) -> list[int]:
    return [message.uid for message in found.messages]


def blind(mailbox: ImapMailbox, since: Cursor, reasons: list[str]) -> bool:
    try:
        read(mailbox, since)
    except MailboxError as error:
        reasons.append(error.reason)
        return True
    return False


@pytest.mark.parametrize("tls", list(Tls))
def test_reads_over_each_kind_of_encryption(dovecot: Dovecot, fresh_user: Fresh, open_mailbox: Open, tls: Tls) -> None:
    account = fresh_user()
    mailbox = open_mailbox(account, tls=tls)
    start = read(mailbox, None)
    assert (start.messages, start.gaps, start.complete, start.total, start.cursor.position) == ((), (), True, 0, 1)
    before = datetime.now(UTC)
    dovecot.deliver(account.address, mail("first"))
    found = read(mailbox, start.cursor)
    (message,) = found.messages
    assert message.uid == 1
    assert b"Subject: first\r\n" in message.header
    assert b"body" not in message.header
    assert message.size > len(message.header)
    assert message.arrived is not None
    assert abs(message.arrived - before) < timedelta(minutes=1)
    assert found.cursor == Cursor(start.cursor.epoch, 2)
    assert (found.total, found.gaps, found.complete, found.read_only) == (1, (), True, False)


def test_first_read_begins_at_the_end(dovecot: Dovecot, fresh_user: Fresh, open_mailbox: Open) -> None:
    account = fresh_user()
    with dovecot.imap(account) as client:
        append(client, 3)
    start = read(open_mailbox(account), None)
    assert (start.cursor.position, start.messages, start.total) == (4, (), 3)


def test_an_empty_poll_is_one_command(dovecot: Dovecot, fresh_user: Fresh, open_mailbox: Open) -> None:
    mailbox = open_mailbox(fresh_user())
    start = read(mailbox, None)
    commands, traffic = mailbox.commands, mailbox.bytes_in + mailbox.bytes_out
    again = read(mailbox, start.cursor)
    assert mailbox.commands == commands + 1
    assert mailbox.bytes_in + mailbox.bytes_out - traffic < 100
    assert (again.cursor, again.messages, again.complete) == (start.cursor, (), True)


def test_one_arrival_costs_three_commands_and_less_than_2_kb(
    dovecot: Dovecot, fresh_user: Fresh, open_mailbox: Open
) -> None:
    account = fresh_user()
    mailbox = open_mailbox(account)
    start = read(mailbox, None)
    dovecot.deliver(account.address, mail(extra=f"X-Mailcanary: v1 {LONG}\r\n", message_id=f"{LONG}@prober"))
    commands, traffic = mailbox.commands, mailbox.bytes_in + mailbox.bytes_out
    assert uids(read(mailbox, start.cursor)) == [1]
    assert mailbox.commands == commands + 3
    assert mailbox.bytes_in + mailbox.bytes_out - traffic < 1500


def test_a_request_with_an_older_cursor_is_answered_in_full(
    dovecot: Dovecot, fresh_user: Fresh, open_mailbox: Open
) -> None:
    account = fresh_user()
    mailbox = open_mailbox(account)
    start = read(mailbox, None)
    with dovecot.imap(account) as client:
        append(client, 2)
    assert uids(read(mailbox, start.cursor)) == [1, 2]
    assert uids(read(mailbox, start.cursor)) == [1, 2]


def test_numbers_that_came_and_went_are_gaps(dovecot: Dovecot, fresh_user: Fresh, open_mailbox: Open) -> None:
    account = fresh_user()
    mailbox = open_mailbox(account)
    start = read(mailbox, None)
    with dovecot.imap(account) as client:
        append(client, 5)
        client.select_folder("INBOX")
        client.delete_messages([2, 3, 5])
        client.expunge()
        found = read(mailbox, start.cursor)
        assert uids(found) == [1, 4]
        assert found.gaps == (Span(2, 3),)
        fresh = read(mailbox, found.cursor, gaps=found.gaps, fresh=True, relist_from=1)
        assert fresh.messages == ()
        assert fresh.gaps == (Span(2, 3), Span(5, 5))
        assert (fresh.cursor.position, fresh.fresh, fresh.total) == (6, True, 2)
        # What was seen and is deleted afterwards changes nothing.
        client.delete_messages([1, 4])
        client.expunge()
    after = read(mailbox, fresh.cursor, gaps=fresh.gaps, fresh=True, relist_from=1)
    assert (after.gaps, after.cursor, after.total) == (fresh.gaps, fresh.cursor, 0)


def test_a_fresh_read_looks_at_gaps_that_exist_after_all(
    dovecot: Dovecot, fresh_user: Fresh, open_mailbox: Open
) -> None:
    account = fresh_user()
    with dovecot.imap(account) as client:
        append(client, 4)
    mailbox = open_mailbox(account)
    epoch = read(mailbox, None).cursor.epoch
    found = read(mailbox, Cursor(epoch, 4), gaps=(Span(2, 3),), fresh=True, relist_from=2)
    assert uids(found) == [2, 3, 4]
    assert (found.gaps, found.cursor.position) == ((), 5)
    unfresh = read(mailbox, Cursor(epoch, 4), gaps=(Span(2, 3),))
    assert (uids(unfresh), unfresh.gaps) == ([4], (Span(2, 3),))


def test_a_folder_made_anew_is_a_reset(dovecot: Dovecot, fresh_user: Fresh, open_mailbox: Open) -> None:
    account = fresh_user()
    mailbox = open_mailbox(account, folders=("INBOX", "Watched"))
    with dovecot.imap(account) as client:
        client.create_folder("Watched")
        append(client, 3, "Watched")
        start = read(mailbox, None, "Watched")
        read(mailbox, None)
        client.delete_folder("Watched")
        client.create_folder("Watched")
        append(client, 2, "Watched")
    found = read(mailbox, start.cursor, "Watched", rescan_since=datetime.now(UTC), gaps=(Span(1, 1),))
    assert found.reset
    assert found.cursor.epoch != start.cursor.epoch
    assert (uids(found), found.gaps, found.cursor.position, found.complete) == ([1, 2], (), 3, True)
    quiet = read(mailbox, start.cursor, "Watched", fresh=True)
    assert (quiet.reset, quiet.messages, quiet.cursor) == (True, (), found.cursor)


def test_junk_is_found_by_its_flag(dovecot: Dovecot, fresh_user: Fresh, open_mailbox: Open) -> None:
    account = fresh_user()
    mailbox = open_mailbox(account, folders=("INBOX", "junk"))
    read(mailbox, None)
    start = read(mailbox, None, "junk")
    assert (start.folder, start.name) == ("junk", "Junk")
    read(mailbox, Cursor(0, 0))
    commands = mailbox.commands
    assert read(mailbox, start.cursor, "junk").messages == ()
    assert mailbox.commands == commands + 1
    with dovecot.imap(account) as client:
        append(client, 1, "Junk")
    assert uids(read(mailbox, start.cursor, "junk")) == [1]


def test_a_missing_folder_leaves_the_connection_usable(fresh_user: Fresh, open_mailbox: Open) -> None:
    mailbox = open_mailbox(fresh_user(), folders=("INBOX", "Nowhere"))
    start = read(mailbox, None)
    for since in (None, Cursor(1, 1)):
        with pytest.raises(FolderMissing, match="Nowhere") as caught:
            read(mailbox, since, "Nowhere")
        assert caught.value.reason == "folder"
    assert read(mailbox, start.cursor).cursor == start.cursor


def test_folder_names_beyond_ascii(dovecot: Dovecot, fresh_user: Fresh, open_mailbox: Open) -> None:
    account = fresh_user()
    name = 'Büro & "Post"'
    with dovecot.imap(account) as client:
        client.create_folder(name)
        append(client, 1, name)
    mailbox = open_mailbox(account, folders=("inbox", name))
    assert read(mailbox, None, name).total == 1
    assert read(mailbox, None, "inbox").name == "INBOX"
    assert mailbox.sweep([LONG]) == ()


def test_more_than_one_read_looks_at_comes_in_slices(dovecot: Dovecot, fresh_user: Fresh, open_mailbox: Open) -> None:
    account = fresh_user()
    mailbox = open_mailbox(account)
    start = read(mailbox, None)
    dovecot.deliver_many(account.address, [mail(f"bulk {n}") for n in range(600)])
    first = read(mailbox, start.cursor, fresh=True)
    assert (len(first.messages), first.complete, first.cursor.position) == (500, False, 501)
    second = read(mailbox, first.cursor)
    assert (len(second.messages), second.complete, second.cursor.position) == (100, True, 601)
    assert uids(first) + uids(second) == list(range(1, 601))
    assert first.gaps == second.gaps == ()
    assert all(b"Subject: bulk" in message.header for message in (*first.messages, *second.messages))


def test_bytes_of_a_read_do_not_grow_with_the_mailbox(
    dovecot: Dovecot, fresh_user: Fresh, open_mailbox: Open
) -> None:
    spent = []
    for foreign in (0, 2000):
        account = fresh_user()
        dovecot.deliver_many(account.address, [mail(f"foreign {n}") for n in range(foreign)])
        mailbox = open_mailbox(account)
        start = read(mailbox, None)
        assert start.total == foreign
        dovecot.deliver(account.address, mail())
        before = mailbox.bytes_in + mailbox.bytes_out
        assert uids(read(mailbox, start.cursor)) == [foreign + 1]
        spent.append(mailbox.bytes_in + mailbox.bytes_out - before)
    assert abs(spent[1] - spent[0]) < 60


def test_present_and_body(dovecot: Dovecot, fresh_user: Fresh, open_mailbox: Open) -> None:
    account = fresh_user()
    mailbox = open_mailbox(account)
    epoch = read(mailbox, None).cursor.epoch
    long = mail("long") + b"0123456789\r\n" * 20_000
    with dovecot.imap(account) as client:
        client.append("INBOX", long)
        append(client, 2)
        client.select_folder("INBOX")
        assert mailbox.present("INBOX", epoch, [1, 2, 3, 4]) == {1, 2, 3}
        client.delete_messages([2])
        client.expunge()
    assert mailbox.present("INBOX", epoch, [1, 2, 3, 4]) == {1, 3}
    assert mailbox.present("INBOX", epoch + 1, [1]) == frozenset()
    assert mailbox.present("Nowhere", epoch, [1]) == frozenset()
    assert mailbox.body("INBOX", epoch, 1, 200_000) == long[:200_000]
    assert mailbox.body("INBOX", epoch, 1, 1_000_000) == long
    assert mailbox.body("INBOX", epoch, 2, 100) == b""
    assert mailbox.body("INBOX", epoch + 1, 1, 100) == b""


def test_sweep_finds_identities_in_folders_nobody_watches(
    dovecot: Dovecot, fresh_user: Fresh, open_mailbox: Open
) -> None:
    account = fresh_user()
    mailbox = open_mailbox(account, folders=("INBOX", "junk"))
    read(mailbox, None)
    with dovecot.imap(account) as client:
        client.create_folder("Archive/2026")
        client.append("Archive/2026", mail(extra=f"X-Mailcanary: v1 {LONG}\r\n"))
        client.append("Archive/2026", mail("another"))
        client.append("Junk", mail(message_id=f"{LONG}@prober"))
        client.append("INBOX", mail(f"[EXTERNAL] canary {TAG}"))
        both = mailbox.sweep([LONG, TAG])
        assert sorted((found.name, found.message.uid) for found in both) == [
            ("Archive/2026", 1),
            ("INBOX", 1),
            ("Junk", 1),
        ]
        assert [found.name for found in mailbox.sweep([LONG, TAG], ("inbox", "junk"))] == ["Archive/2026"]
        crowd = ["c" * 60 + "aa" + letter for letter in "abcdefghijklmnopqrstuvwxyz"]
        assert len(mailbox.sweep([*crowd, LONG])) == 2
        for folder in ("INBOX", "Junk", "Archive/2026"):
            client.select_folder(folder)
            assert client.search(["UNSEEN"]) == client.search(["ALL"])
    # A read goes on where it was.
    assert uids(read(mailbox, Cursor(read(mailbox, None).cursor.epoch, 1))) == [1]


@pytest.mark.parametrize("mode", [CleanupMode.DELETE, CleanupMode.MOVE])
@pytest.mark.parametrize("without", [frozenset(), frozenset({"MOVE"})], ids=["all", "no MOVE"])
def test_removal_takes_ours_and_leaves_what_others_marked(
    dovecot: Dovecot, fresh_user: Fresh, open_mailbox: Open, mode: CleanupMode, without: frozenset[str]
) -> None:
    account = fresh_user()
    target = "Old" if mode is CleanupMode.MOVE else None
    mailbox = open_mailbox(account, cleanup=Cleanup(mode=mode, folder=target))
    session = mailbox._session
    assert session is not None
    assert session.capabilities >= {"UIDPLUS", "MOVE"}
    session.capabilities -= without
    epoch = read(mailbox, None).cursor.epoch
    with dovecot.imap(account) as client:
        client.create_folder("Old")
        append(client, 4)
        client.select_folder("INBOX")
        client.add_flags([2], [rb"\Deleted"])
        assert mailbox.remove("INBOX", epoch + 1, [1, 3]).removed == frozenset()
        done = mailbox.remove("INBOX", epoch, [1, 3, 99])
        assert (done.removed, done.problem) == (frozenset({1, 3, 99}), "")
        client.noop()
        assert client.search(["ALL"]) == [2, 4]
        assert client.search(["DELETED"]) == [2]
        client.select_folder("Old")
        assert len(client.search(["ALL"])) == (2 if mode is CleanupMode.MOVE else 0)
        mailbox.close()
        client.select_folder("INBOX")
        assert client.search(["ALL"]) == [2, 4]


def test_removal_that_cannot_be_says_why(dovecot: Dovecot, fresh_user: Fresh, open_mailbox: Open) -> None:
    account = fresh_user()
    with dovecot.imap(account) as client:
        append(client, 1)
    moving = open_mailbox(account, cleanup=Cleanup(mode=CleanupMode.MOVE, folder="Nowhere"))
    epoch = read(moving, None).cursor.epoch
    refused = moving.remove("INBOX", epoch, [1])
    assert refused.removed == frozenset()
    assert "Nowhere" in refused.problem or "TRYCREATE" in refused.problem
    assert moving.remove("Gone", epoch, [1]).problem
    off = open_mailbox(account, cleanup=Cleanup(mode=CleanupMode.OFF))
    assert off.remove("INBOX", epoch, [1]).problem == "cleanup is off"
    assert read(off, Cursor(epoch, 1)).read_only is False
    assert off.present("INBOX", epoch, [1]) == {1}


def test_a_wrong_password_is_a_refusal(dovecot: Dovecot, fresh_user: Fresh) -> None:
    options = real_options(dovecot, fresh_user(), password=Secret(b"wrong"))
    mailbox = ImapMailbox("real", options, SystemClock())
    with pytest.raises(LoginRefused) as caught:
        mailbox.connect()
    assert caught.value.reason == "auth"
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize("password", ['quo"te\\back', "pässwörd", "sp ace"])
def test_passwords_with_special_characters(dovecot: Dovecot, open_mailbox: Open, password: str) -> None:
    mailbox = open_mailbox(dovecot.new_account(password))
    assert read(mailbox, None).total == 0


def test_a_certificate_that_cannot_be_trusted(
    dovecot: Dovecot, fresh_user: Fresh, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = Certificates(tmp_path_factory.mktemp("stranger"))
    account = fresh_user()
    for tls in (Tls.IMPLICIT, Tls.STARTTLS):
        options = real_options(dovecot, account, tls=tls, ca_file=stranger.ca_file)
        with pytest.raises(MailboxError) as caught:
            ImapMailbox("real", options, SystemClock()).connect()
        assert caught.value.reason == "tls"
        unverified = real_options(dovecot, account, tls=tls, ca_file=stranger.ca_file, verify=False)
        mailbox = ImapMailbox("real", unverified, SystemClock())
        mailbox.connect()
        assert read(mailbox, None).total == 0
        mailbox.close()


def test_a_restart_of_the_server_blinds_and_heals(certificates: Certificates, open_mailbox: Open) -> None:
    # A server of its own: the session's is in use by nobody else, but its log and sessions are shared.
    server = Dovecot(certificates, accounts=1)
    try:
        server.start()
        account = server.new_account()
        mailbox = open_mailbox(account, port=server.imaps_port)
        start = read(mailbox, None)
        # A busy session outlives its master, so it is ended first; till then answers are true.
        server.disconnect(account.address)
        server.stop()
        reasons: list[str] = []
        wait_until(lambda: blind(mailbox, start.cursor, reasons), 10, "the session ends", server.log)
        assert reasons == ["disconnected"]
        with pytest.raises(MailboxError, match="not connected"):
            read(mailbox, start.cursor)
        with pytest.raises(MailboxError) as refused:
            mailbox.connect()
        assert refused.value.reason == "connect"
        server.start()
        server.deliver(account.address, mail())
        mailbox.connect()
        assert uids(read(mailbox, start.cursor)) == [1]
    finally:
        server.close()


def test_the_selected_folder_deleted_by_another_client(
    dovecot: Dovecot, fresh_user: Fresh, open_mailbox: Open
) -> None:
    account = fresh_user()
    with dovecot.imap(account) as client:
        client.create_folder("Watched")
        mailbox = open_mailbox(account, folders=("Watched", "INBOX"))
        start = read(mailbox, None, "Watched")
        client.delete_folder("Watched")
    with pytest.raises(MailboxError):
        read(mailbox, start.cursor, "Watched")
    mailbox.connect()
    with pytest.raises(FolderMissing):
        read(mailbox, start.cursor, "Watched")
    assert read(mailbox, None).complete


def test_counters_go_on_over_connections(fresh_user: Fresh, open_mailbox: Open) -> None:
    mailbox = open_mailbox(fresh_user())
    read(mailbox, None)
    before: Sequence[int] = (mailbox.commands, mailbox.bytes_in, mailbox.bytes_out)
    mailbox.close()
    mailbox.connect()
    after = (mailbox.commands, mailbox.bytes_in, mailbox.bytes_out)
    assert all(new > old > 0 for new, old in zip(after, before, strict=True))
