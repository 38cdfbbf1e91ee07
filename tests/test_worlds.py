"""The worlds do what they say: a fault that did not act would make every test built on it worthless."""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Callable

import pytest
from imapclient import IMAPClient
from imapclient.exceptions import LoginError

from tests.worlds.dovecot import Account, Dovecot
from tests.worlds.policy import Stage
from tests.worlds.ports import wait_until
from tests.worlds.postfix import Postfix
from tests.worlds.proxy import Direction, Proxy

NewUser = Callable[[], Account]


def mail(name: str) -> bytes:
    lines = ("From: a@example.net", "To: b@lab.test", f"Message-ID: <{name}@worlds>", f"Subject: {name}", "", "x", "")
    return "\r\n".join(lines).encode()


def saved(dovecot: Dovecot, user: Account, count: int) -> list[str]:
    wait_until(lambda: len(dovecot.saved(user.address)) >= count, 20, f"{count} messages saved", dovecot.log)
    return [each.folder for each in dovecot.saved(user.address)]


def delivered(postfix: Postfix, user: Account, count: int) -> list[tuple[str, str]]:
    wait_until(lambda: len(postfix.deliveries(user.address)) >= count, 20, f"{count} deliveries", postfix.log)
    return [(each.status, each.relay.partition("[")[0]) for each in postfix.deliveries(user.address)]


def test_mail_passes_postfix_and_is_read_over_imap(postfix: Postfix, dovecot: Dovecot, fresh_user: NewUser) -> None:
    user = fresh_user()
    postfix.inject(user.address, mail("one"))
    assert saved(dovecot, user, 1) == ["INBOX"]
    with dovecot.imap(user) as client:
        client.select_folder("INBOX")
        assert client.search(["HEADER", "Message-ID", "<one@worlds>"]) == [1]
        assert (b"\\Junk" in client.list_folders("", "Junk")[0][0]) is True
    assert delivered(postfix, user, 1) == [("sent", "127.0.0.1")]
    (delivery,) = postfix.deliveries(user.address)
    assert (delivery.queue_id, "<one@worlds>") in postfix.accepted()
    assert delivery.sender == "outside@example.net"


def test_a_discard_is_accepted_and_leaves_no_mail(postfix: Postfix, dovecot: Dovecot, fresh_user: NewUser) -> None:
    lossy, healthy = fresh_user(), fresh_user()
    fault = postfix.discard(lossy.address)
    postfix.inject(lossy.address, mail("dropped"))
    postfix.inject(healthy.address, mail("beside"))
    postfix.lift(fault)
    postfix.inject(lossy.address, mail("after"))
    assert delivered(postfix, lossy, 2) == [("sent", "none"), ("sent", "127.0.0.1")]
    assert saved(dovecot, healthy, 1) == ["INBOX"]
    assert [each.message_id for each in dovecot.saved(lossy.address)] == ["<after@worlds>"]


def test_held_mail_waits_for_its_release(postfix: Postfix, dovecot: Dovecot, fresh_user: NewUser) -> None:
    user = fresh_user()
    postfix.hold(user.address, times=1)
    postfix.inject(user.address, mail("held"))
    postfix.inject(user.address, mail("free"))
    assert saved(dovecot, user, 1) == ["INBOX"]
    assert [each.message_id for each in dovecot.saved(user.address)] == ["<free@worlds>"]
    assert "<held@worlds>" in [message_id for _, message_id in postfix.accepted()]
    assert postfix.queued() == 1
    postfix.release_held()
    assert saved(dovecot, user, 2) == ["INBOX", "INBOX"]


def test_greylisting_defers_the_first_tries(postfix: Postfix, dovecot: Dovecot, fresh_user: NewUser) -> None:
    user = fresh_user()
    postfix.greylist(user.address, tries=2)
    for _ in range(2):
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            postfix.inject(user.address, mail("grey"))
        assert refused.value.recipients[user.address][0] == 450
    postfix.inject(user.address, mail("grey"))
    assert saved(dovecot, user, 1) == ["INBOX"]


@pytest.mark.parametrize(
    ("stage", "error"),
    [
        (Stage.CONNECT, smtplib.SMTPConnectError),
        (Stage.EHLO, smtplib.SMTPHeloError),
        (Stage.MAIL, smtplib.SMTPSenderRefused),
        (Stage.RCPT, smtplib.SMTPRecipientsRefused),
        (Stage.DATA, smtplib.SMTPDataError),
        (Stage.END_OF_MESSAGE, smtplib.SMTPDataError),
    ],
)
def test_a_refusal_comes_at_its_stage(
    postfix: Postfix, fresh_user: NewUser, stage: Stage, error: type[smtplib.SMTPException]
) -> None:
    user = fresh_user()
    postfix.reject(stage, "554 5.7.1 not here")
    with pytest.raises(error):
        postfix.inject(user.address, mail(f"refused-{stage}"))
    assert f"<refused-{stage}@worlds>" not in [message_id for _, message_id in postfix.accepted()]
    assert any(f"reject: {stage} " in line and "554 5.7.1" in line for line in postfix.log_lines())


def test_postfix_offers_starttls_and_auth(postfix: Postfix, dovecot: Dovecot, fresh_user: NewUser) -> None:
    user, context = fresh_user(), dovecot.certificates.client_context()
    with smtplib.SMTP("localhost", postfix.port) as client:
        client.starttls(context=context)
        client.ehlo()
        assert not client.has_extn("auth")
    with smtplib.SMTP("localhost", postfix.submission_port) as client:
        client.ehlo()
        assert not client.has_extn("auth")
        client.starttls(context=context)
        client.login(user.address, user.password)
        client.sendmail(user.address, [user.address], mail("submitted"))
    with (
        smtplib.SMTP_SSL("localhost", postfix.submissions_port, context=context) as client,
        pytest.raises(smtplib.SMTPAuthenticationError),
    ):
        client.login(user.address, "wrong")
    assert saved(dovecot, user, 1) == ["INBOX"]


def test_a_server_rule_files_mail_elsewhere(dovecot: Dovecot, fresh_user: NewUser) -> None:
    user = fresh_user()
    dovecot.file_into(user.address, "Lists/Unwatched")
    dovecot.deliver(user.address, mail("filed"))
    dovecot.without_rules(user.address)
    dovecot.deliver(user.address, mail("kept"))
    assert saved(dovecot, user, 2) == ["Lists/Unwatched", "INBOX"]


def test_a_password_changes_while_dovecot_runs(dovecot: Dovecot, fresh_user: NewUser) -> None:
    user = fresh_user()
    with dovecot.imap(user):
        pass
    changed = dovecot.set_password(user.address, "other")
    with pytest.raises(LoginError):
        _login_once(dovecot, user)
    with dovecot.imap(changed) as client:
        assert client.folder_exists("INBOX")


def _login_once(dovecot: Dovecot, user: Account) -> None:
    client = IMAPClient("localhost", dovecot.imap_port, ssl=False)
    try:
        client.starttls(dovecot.certificates.client_context())
        client.login(user.address, user.password)
    finally:
        client.shutdown()


def test_mail_queues_while_dovecot_is_down(postfix: Postfix, dovecot: Dovecot, fresh_user: NewUser) -> None:
    user = fresh_user()
    dovecot.stop()
    assert not dovecot.running
    postfix.inject(user.address, mail("queued"))
    assert delivered(postfix, user, 1)[0][0] == "deferred"
    postfix.restart()
    dovecot.start()
    postfix.flush()
    assert saved(dovecot, user, 1) == ["INBOX"]


def test_an_unknown_user_is_refused(dovecot: Dovecot, fresh_user: NewUser) -> None:
    user = fresh_user()
    dovecot.deliver(user.address, mail("known"))
    dovecot.remove_account(user.address)
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        dovecot.deliver(user.address, mail("unknown"))


def test_bulk_mail_is_found_by_dovecot(dovecot: Dovecot, fresh_user: NewUser) -> None:
    user = fresh_user()
    dovecot.deliver(user.address, mail("first"))
    dovecot.deliver_many(user.address, [mail(f"bulk{number}") for number in range(500)])
    dovecot.deliver(user.address, mail("last"))
    with dovecot.imap(user) as client:
        assert client.select_folder("INBOX")[b"EXISTS"] == 502
        assert client.search(["HEADER", "Message-ID", "<bulk499@worlds>"]) != []


def test_the_proxy_counts_records_and_rewrites(dovecot: Dovecot) -> None:
    def strip(direction: Direction, data: bytes) -> bytes:
        return data.replace(b"STARTTLS", b"XXXXXXXX") if direction is Direction.DOWN else data

    proxy = Proxy(dovecot.imap_port, rewrite=strip, record=True)
    try:
        with socket.create_connection((proxy.host, proxy.port), timeout=20) as client:
            greeting = client.recv(4096)
            assert b"XXXXXXXX" in greeting
            assert b"STARTTLS" not in greeting
            client.sendall(b"a LOGOUT\r\n")
            rest = b"".join(iter(lambda: client.recv(4096), b""))
        wait_until(lambda: proxy.open_connections == 0, 20, "the proxy's connection ends")
        assert bytes(proxy.sent) == b"a LOGOUT\r\n"
        assert proxy.bytes_down == len(greeting) + len(rest)
        assert proxy.connections == 1
    finally:
        proxy.close()


def test_the_proxy_stalls_cuts_and_refuses(dovecot: Dovecot, proxy_to: Callable[[int], Proxy]) -> None:
    proxy = proxy_to(dovecot.imap_port)
    with socket.create_connection((proxy.host, proxy.port), timeout=20) as client:
        client.recv(4096)
        proxy.stall()
        client.sendall(b"a NOOP\r\n")
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(4096)
        client.settimeout(20)
        proxy.flow()
        assert client.recv(4096).startswith(b"a ")
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((proxy.host, proxy.port), timeout=20)
        client.sendall(b"b NOOP\r\n")
        assert client.recv(4096).startswith(b"b ")
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            client.recv(4096)
    proxy.accept()
    with socket.create_connection((proxy.host, proxy.port), timeout=20) as client:
        assert client.recv(4096).startswith(b"* OK")


def test_the_certificate_is_verified(dovecot: Dovecot) -> None:
    with (
        socket.create_connection(("localhost", dovecot.imaps_port), timeout=20) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")
