"""The imap kind against servers that lie, flood or break off while they answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from probe.canary.coverage import Cursor, Span
from probe.errors import MailboxError, MailboxHostile
from probe.mailboxes.base import FolderRequest
from probe.mailboxes.imap import CleanupMode
from probe.mailboxes.imap_wire import BYTES_LIMIT, LINE_LIMIT
from tests.mailboxes.scripted_imap import (
    EPOCH,
    SINCE,
    Script,
    ScriptedImap,
    fetched,
    forever,
    reading,
    selection,
    with_mail,
)

Scripted = Callable[..., ScriptedImap]


@pytest.mark.fault("R06", "R15", "R18")
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"* 1 FETCH (UID 10 BODY[HEADER.FIELDS (FROM)]<0> {40000000000}\r\n", "limit"),
        (b"* 1 FETCH (UID 10 BODY[HEADER.FIELDS (FROM)]<0> {%s}\r\n" % (b"9" * 5000), "protocol"),
        (forever(b"x" * 65536), "limit"),
        (forever(b"* 3 EXISTS\r\n" * 5000), "limit"),
        (forever(b"* 1 FETCH (UID 10 X {60000}\r\n" + b"y" * 60000 + b")\r\n"), "limit"),
        (b"* BYE going down\r\n", "disconnected"),
        (b"* BYE [UNAVAILABLE] later\r\n", "throttled"),
        (b"%TAG% NO [LIMIT] slow down\r\n", "throttled"),
        (b"%TAG% NO never\r\n", "protocol"),
        (b"%TAG% BAD what\r\n", "protocol"),
        (b"(((((\r\n%TAG% OK\r\n", "protocol"),
        (b"zzz9 OK somebody else's\r\n", "protocol"),
        (b"* -5 EXISTS\r\n%TAG% OK\r\n", "protocol"),
        (b"* 99999999999 EXISTS\r\n%TAG% OK done\r\n", "protocol"),
        (b"\xff\xfe\x00\r\n%TAG% OK done\r\n", "protocol"),
    ],
)
@pytest.mark.parametrize("verb", ["UID FETCH", "UID SEARCH"])
def test_a_hostile_answer_closes_the_connection(scripted: Scripted, verb: str, answer: Script, reason: str) -> None:
    server = scripted(with_mail(b"* SEARCH 10\r\n", b"") | {verb: answer})
    mailbox = server.mailbox()
    mailbox.connect()
    with pytest.raises(MailboxError) as caught:
        mailbox.read(FolderRequest("INBOX", SINCE))
    assert caught.value.reason == reason
    refusal = isinstance(answer, bytes) and b"NO never" in answer
    assert isinstance(caught.value, MailboxHostile) == (reason in {"limit", "protocol"} and not refusal)
    # Closed, its counters kept; nothing was read beyond the limits.
    assert mailbox.bytes_in < BYTES_LIMIT + LINE_LIMIT
    with pytest.raises(MailboxError, match="not connected"):
        mailbox.read(FolderRequest("INBOX", SINCE))


@pytest.mark.fault("R18")
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"* SEARCH 10 11 x\r\n",
        b"* SEARCH -4\r\n",
        b"* SEARCH 0\r\n",
        b"* SEARCH 4294967296\r\n",
        b"* SEARCH {2}\r\n10\r\n",
        b"* SEARCH " + b"1" * 5000 + b"\r\n",
    ],
)
def test_a_search_that_does_not_list_proves_nothing(scripted: Scripted, answer: bytes) -> None:
    with pytest.raises(MailboxHostile) as caught:
        reading(scripted(with_mail(answer, b"")))
    assert caught.value.reason == "protocol"


@pytest.mark.fault("R19")
@pytest.mark.parametrize(
    "answer",
    [
        b"* 1 FETCH (UID 10)\r\n",
        b"* 1 FETCH (RFC822.SIZE 99)\r\n",
        b"* 1 FETCH (UID 77 RFC822.SIZE 99 BODY[HEADER.FIELDS (FROM)]<0> {3}\r\nFoo)\r\n",
        b"* 1 FETCH " + b"(" * 5000 + b"\r\n",
        b"* 1 FETCH (UID 10 RFC822.SIZE huge BODY[HEADER.FIELDS (FROM)]<0> NIL)\r\n",
        b"* 1 FETCH (UID 10 BODY[HEADER.FIELDS (FROM)]<0> {-5}\r\nFoo)\r\n".replace(b"\r\nFoo", b""),
        b'* 1 FETCH (UID 10 BODY[HEADER.FIELDS (FROM)]<0> "no end)\r\n',
        b"* 1 FETCH\r\n",
        b"",
    ],
)
def test_one_malformed_message_does_not_spoil_the_read(scripted: Scripted, answer: bytes) -> None:
    # It is listed again after the fetch, so it exists, and comes back as one that cannot be parsed.
    server = scripted(with_mail(b"* SEARCH 10 12\r\n", answer + fetched(12, b"From: a\r\n\r\n", number=2)))
    found = reading(server)
    assert [(message.uid, message.header) for message in found.messages] == [(10, b""), (12, b"From: a\r\n\r\n")]
    assert (found.gaps, found.cursor.position, found.complete) == ((Span(11, 11),), 13, True)


def test_a_message_that_vanished_before_the_fetch_is_a_gap(scripted: Scripted) -> None:
    server = scripted(with_mail([b"* SEARCH 10 12\r\n", b"* SEARCH\r\n"], fetched(12, b"From: a\r\n\r\n")))
    found = reading(server)
    assert [message.uid for message in found.messages] == [12]
    assert found.gaps == (Span(10, 11),)


@pytest.mark.fault("R19")
@pytest.mark.parametrize(
    "date",
    [b'"99-Foo-2026 06:30:29 +0000"', b'"24-Nov-2026 06:30:29 +9900"', b'"01-Jan-0001 00:00:00 +0100"', b"NIL", b'""'],
)
def test_an_unusable_date_is_none(scripted: Scripted, date: bytes) -> None:
    found = reading(scripted(with_mail(b"* SEARCH 10\r\n", fetched(10, b"From: a\r\n\r\n", date=date))))
    (message,) = found.messages
    assert (message.arrived, message.header) == (None, b"From: a\r\n\r\n")


def test_unasked_answers_are_not_taken_for_messages(scripted: Scripted) -> None:
    noise = b"* 3 FETCH (FLAGS (\\Seen) UID 10)\r\n* 2 FETCH (UID 4 FLAGS ())\r\n"
    found = reading(scripted(with_mail(b"* SEARCH 10\r\n", noise + fetched(10, b"From: a\r\n\r\n") + noise)))
    assert [(message.uid, message.header) for message in found.messages] == [(10, b"From: a\r\n\r\n")]


def test_news_on_the_answer_to_a_search_is_not_forgotten(scripted: Scripted) -> None:
    # Message 11 is announced together with a SEARCH answer that does not list it yet.
    server = scripted(
        with_mail(
            [b"* SEARCH 10\r\n* 4 EXISTS\r\n", b"* SEARCH 11\r\n"],
            [fetched(10, b"From: a\r\n\r\n"), fetched(11, b"From: b\r\n\r\n")],
            uidnext=11,
        )
    )
    mailbox = server.mailbox()
    mailbox.connect()
    first = mailbox.read(FolderRequest("INBOX", SINCE))
    second = mailbox.read(FolderRequest("INBOX", first.cursor))
    third = mailbox.read(FolderRequest("INBOX", second.cursor))
    mailbox.close()
    assert [[message.uid for message in each.messages] for each in (first, second, third)] == [[10], [11], []]
    assert second.total == 4
    assert server.received.count('SELECT "INBOX"') == 1


def test_select_without_uidnext_asks_for_it(scripted: Scripted) -> None:
    server = scripted({"SELECT": selection(0, None)})
    assert reading(server, None).cursor == Cursor(EPOCH, 10)
    nowhere = scripted({"SELECT": selection(0, None), "STATUS": b'* STATUS "INBOX" (MESSAGES 0)\r\n'})
    with pytest.raises(MailboxHostile, match="UIDNEXT"):
        reading(nowhere, None)
    with pytest.raises(MailboxHostile, match="UIDVALIDITY"):
        reading(scripted({"SELECT": b"* 0 EXISTS\r\n"}), None)


def test_a_uid_beyond_uidnext_moves_the_cursor(scripted: Scripted) -> None:
    server = scripted(with_mail(b"* SEARCH 10 20\r\n", fetched(10, b"") + fetched(20, b""), uidnext=11))
    found = reading(server, fresh=True, relist_from=5)
    assert (found.cursor.position, found.gaps) == (21, (Span(11, 19),))
    assert "UID SEARCH UID 5:*" in server.received


def test_a_large_mailbox_is_listed_in_slices(scripted: Scripted) -> None:
    new = b" ".join(b"%d" % uid for uid in range(100_000, 100_003))
    server = scripted(
        {
            "SELECT": selection(90_000, 100_003),
            "UID SEARCH": [b"* SEARCH " + new + b"\r\n", b"* SEARCH 7\r\n", b"* SEARCH\r\n"],
            "UID FETCH": b"".join(fetched(uid, b"From: a\r\n\r\n") for uid in range(100_000, 100_003)),
        }
    )
    found = reading(server, Cursor(EPOCH, 60_000), fresh=True)
    assert [message.uid for message in found.messages] == [100_000, 100_001, 100_002]
    assert found.gaps == (Span(60_000, 99_999),)
    assert [line for line in server.received if "SEARCH" in line] == [
        "UID SEARCH 70001:* UID 60000:*",
        "UID SEARCH 50001:70000 UID 60000:*",
        "UID SEARCH 30001:50000 UID 60000:*",
    ]


@pytest.mark.fault("R14")
def test_a_read_only_folder_is_read_and_never_cleaned(scripted: Scripted) -> None:
    server = scripted({"SELECT": selection() + b"%TAG% OK [READ-ONLY] done\r\n"})
    mailbox = server.mailbox()
    mailbox.connect()
    found = mailbox.read(FolderRequest("INBOX", None))
    assert found.read_only
    assert mailbox.read(FolderRequest("INBOX", found.cursor)).read_only
    assert "read-only" in mailbox.remove("INBOX", EPOCH, [3]).problem
    mailbox.close()
    assert not any("STORE" in line or "EXPUNGE" in line for line in server.received)


@pytest.mark.fault("R24")
@pytest.mark.parametrize("mode", [CleanupMode.DELETE, CleanupMode.MOVE])
def test_without_uidplus_nothing_is_marked_or_expunged(scripted: Scripted, mode: CleanupMode) -> None:
    server = scripted({"UID SEARCH": b"* SEARCH 3\r\n"}, capabilities="IMAP4rev1")
    mailbox = server.mailbox(cleanup=mode, target="Old" if mode is CleanupMode.MOVE else None)
    mailbox.connect()
    done = mailbox.remove("INBOX", EPOCH, [3])
    mailbox.close()
    assert done.removed == frozenset()
    assert "UIDPLUS" in done.problem
    assert not any(word in line for line in server.received for word in ("STORE", "COPY", "MOVE", "EXPUNGE", "CLOSE"))


@pytest.mark.parametrize(
    ("scripts", "reason"),
    [
        ({"LIST": b"".join(b'* LIST () "/" f%d\r\n' % n for n in range(201))}, "limit"),
        ({"LIST": b'* LIST () "/" INBOX\r\n', "EXAMINE": b"%TAG% NO some trouble\r\n"}, "folder"),
        ({"LIST": b'* LIST () "/" INBOX\r\n', "UID SEARCH": b"* SEARCH " + b"5 " * 3 + b"%s\r\n"}, "limit"),
        ({"LIST": b"* LIST what\r\n"}, "protocol"),
    ],
)
def test_a_sweep_that_could_not_look_everywhere_says_so(
    scripted: Scripted, scripts: dict[str, bytes], reason: str
) -> None:
    many = b" ".join(b"%d" % n for n in range(100, 180))
    server = scripted({verb: script.replace(b"%s", many) for verb, script in scripts.items()})
    mailbox = server.mailbox()
    mailbox.connect()
    with pytest.raises(MailboxError) as caught:
        mailbox.sweep(["a" * 63])
    assert caught.value.reason == reason


def test_a_sweep_skips_what_nobody_can_select(scripted: Scripted) -> None:
    server = scripted(
        {
            "LIST": b'* LIST (\\Noselect) "/" parent\r\n* LIST () "/" {4}\r\ngone\r\n* LIST () NIL "INBOX"\r\n',
            "EXAMINE": [b"%TAG% NO [NONEXISTENT] gone\r\n", selection(1)],
            "UID SEARCH": b"* SEARCH 4\r\n",
            "UID FETCH": fetched(4, b"From: a\r\n\r\n"),
        }
    )
    mailbox = server.mailbox()
    mailbox.connect()
    (found,) = mailbox.sweep(["a" * 63, "b" * 29])
    mailbox.close()
    assert (found.name, found.epoch, found.message.uid) == ("INBOX", EPOCH, 4)
    assert [line for line in server.received if "EXAMINE" in line] == ['EXAMINE "gone"', 'EXAMINE "INBOX"']
    long, tag = "a" * 63, "b" * 29
    search = f"UID SEARCH OR OR HEADER X-MAILCANARY {long} HEADER MESSAGE-ID {long} SUBJECT {tag}"
    assert search in server.received
