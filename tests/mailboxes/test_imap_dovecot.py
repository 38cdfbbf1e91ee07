"""The imap kind's reads against a real Dovecot: what is seen, what is missing, what it costs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from probe.canary.coverage import Cursor, Span
from probe.errors import FolderMissing
from probe.mailboxes.imap import Tls
from tests.mailboxes.imap_help import LONG, Fresh, Open, append, mail, read, uids
from tests.worlds.dovecot import Dovecot


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


@pytest.mark.fault("R21")
def test_bytes_of_a_read_do_not_grow_with_the_mailbox(dovecot: Dovecot, fresh_user: Fresh, open_mailbox: Open) -> None:
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
