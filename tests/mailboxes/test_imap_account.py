"""The imap kind on a real Dovecot, beside its reads: looks elsewhere, removal, login, TLS, broken connections."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from probe.canary.coverage import Cursor
from probe.clock import SystemClock
from probe.errors import FolderMissing, LoginRefused, MailboxError
from probe.mailboxes.imap import Cleanup, CleanupMode, ImapMailbox, Tls
from probe.options import Secret
from tests.mailboxes.conftest import real_options
from tests.mailboxes.imap_help import LONG, TAG, Fresh, Open, append, mail, read, uids
from tests.worlds.certificates import Certificates
from tests.worlds.dovecot import Dovecot
from tests.worlds.ports import wait_until


def blind(mailbox: ImapMailbox, since: Cursor, reasons: list[str]) -> bool:
    try:
        read(mailbox, since)
    except MailboxError as error:
        reasons.append(error.reason)
        return True
    return False


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


@pytest.mark.fault("R17")
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


def test_the_selected_folder_deleted_by_another_client(dovecot: Dovecot, fresh_user: Fresh, open_mailbox: Open) -> None:
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
