"""The four TLS policies against good, bad, missing and hostile TLS; what a stripped STARTTLS gets to see."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from probe.errors import ConfigError
from probe.options import Secret
from probe.senders.base import Result, Stage, SubmissionLabel
from probe.senders.smtp_plan import TlsPolicy
from tests.senders.scripted_server import Act, ScriptedServer, Step, sender, submit

STARTTLS = b"250-mx\r\n250 STARTTLS\r\n"
LOGIN: dict[str, Any] = {"username": "prober", "password": Secret(b"correct horse")}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.fixture(scope="module")
def good(authority: trustme.CA) -> ssl.SSLContext:
    return server_context(authority.issue_cert("127.0.0.1"))


BAD: dict[str, Callable[[trustme.CA], trustme.LeafCert]] = {
    "wrong name": lambda authority: authority.issue_cert("other.example"),
    "unknown authority": lambda authority: trustme.CA().issue_cert("127.0.0.1"),
    "expired": lambda authority: authority.issue_cert(
        "127.0.0.1", not_before=datetime(2020, 1, 1, tzinfo=UTC), not_after=datetime(2020, 2, 1, tzinfo=UTC)
    ),
}


@pytest.fixture(params=BAD)
def bad(request: pytest.FixtureRequest, authority: trustme.CA) -> ssl.SSLContext:
    return server_context(BAD[request.param](authority))


@pytest.mark.parametrize("policy", [TlsPolicy.OPPORTUNISTIC, TlsPolicy.STARTTLS, TlsPolicy.IMPLICIT])
async def test_a_good_certificate(policy: TlsPolicy, good: ssl.SSLContext, ca_file: Path) -> None:
    implicit = policy is TlsPolicy.IMPLICIT
    async with ScriptedServer({"EHLO": STARTTLS}, tls=good, implicit=implicit) as server:
        ended = await submit(server.port, tls=policy, ca_file=ca_file)
        assert b"MAIL" not in server.clear
        assert b"MAIL" in server.secret
    assert ended.result is Result.ACCEPTED
    assert (ended.tls, ended.certificate_valid) == ("TLSv1.3", True)
    assert ended.certificate_expires
    expires = ssl.cert_time_to_seconds("Jan  1 00:00:00 2027 GMT")
    assert ended.certificate_expires.wall // 10**9 > expires
    assert ended.dot_at
    assert ended.certificate_expires.since(ended.dot_at) > timedelta(days=1)
    assert ended.phases[Stage.TLS] > 0
    assert server.connections == 1


async def test_starttls_asks_again_what_is_offered_within_tls(good: ssl.SSLContext, ca_file: Path) -> None:
    clear, secret = b"250-mx\r\n250-DSN\r\n250 STARTTLS\r\n", b"250 mx\r\n"
    async with ScriptedServer({"EHLO": [clear, secret]}, tls=good) as server:
        await submit(server.port, tls=TlsPolicy.STARTTLS, ca_file=ca_file)
        assert server.secret.startswith(b"EHLO prober.example\r\nMAIL FROM:<canary@probe.example>\r\n")


@pytest.mark.fault("S14")
async def test_opportunistic_goes_on_without_verification_and_says_so(bad: ssl.SSLContext, ca_file: Path) -> None:
    async with ScriptedServer({"EHLO": STARTTLS}, tls=bad) as server:
        ended = await submit(server.port, tls=TlsPolicy.OPPORTUNISTIC, ca_file=ca_file)
        assert b"MAIL" not in server.clear
        assert b"MAIL" in server.secret
    assert ended.result is Result.ACCEPTED
    assert (ended.tls, ended.certificate_valid) == ("TLSv1.3", False)
    assert ended.certificate_expires is not None  # of a certificate that was not accepted too
    assert server.connections == 2
    assert any("certificate not accepted" in line.reply for line in ended.dialogue)


@pytest.mark.fault("S14")
@pytest.mark.parametrize("policy", [TlsPolicy.STARTTLS, TlsPolicy.IMPLICIT])
async def test_required_and_a_bad_certificate(policy: TlsPolicy, bad: ssl.SSLContext, ca_file: Path) -> None:
    offer = b"250-mx\r\n250-AUTH PLAIN LOGIN\r\n250 STARTTLS\r\n"
    async with ScriptedServer({"EHLO": offer}, tls=bad, implicit=policy is TlsPolicy.IMPLICIT) as server:
        ended = await submit(server.port, tls=policy, ca_file=ca_file, **LOGIN)
        assert b"AUTH" not in server.heard
        assert b"MAIL" not in server.heard
        assert b"MAIL" not in server.secret
        assert server.connections <= 2  # one more, to see when the certificate ends
    assert (ended.result, ended.reason, ended.stage) == (Result.UNSENT, "tls_cert", Stage.TLS)
    assert ended.certificate_expires is not None
    assert ended.tls == ""
    assert ended.label is SubmissionLabel.TLS_ERROR
    assert "certificate not accepted" in ended.detail
    assert ended.certificate_valid is False


@pytest.mark.parametrize("policy", [TlsPolicy.OPPORTUNISTIC, TlsPolicy.STARTTLS, TlsPolicy.IMPLICIT])
async def test_an_expired_certificate_is_known_as_such(policy: TlsPolicy, authority: trustme.CA, ca_file: Path) -> None:
    expired = server_context(BAD["expired"](authority))
    async with ScriptedServer({"EHLO": STARTTLS}, tls=expired, implicit=policy is TlsPolicy.IMPLICIT) as server:
        ended = await submit(server.port, tls=policy, ca_file=ca_file)
    assert ended.certificate_valid is False
    assert ended.certificate_expires
    assert ended.certificate_expires.utc == datetime(2020, 2, 1, tzinfo=UTC)


async def test_a_second_look_that_stalls_changes_nothing(authority: trustme.CA, ca_file: Path) -> None:
    expired = server_context(BAD["expired"](authority))
    greetings: list[Step] = [b"220 mx\r\n", Act.HANG]
    async with ScriptedServer({"BANNER": greetings, "EHLO": STARTTLS}, tls=expired) as server:
        ended = await submit(server.port, tls=TlsPolicy.STARTTLS, ca_file=ca_file, short=0.3)
    assert (ended.result, ended.reason, ended.stage) == (Result.UNSENT, "tls_cert", Stage.TLS)
    assert (ended.certificate_valid, ended.certificate_expires) == (False, None)


async def test_verify_false_takes_any_certificate_and_is_insecure(bad: ssl.SSLContext) -> None:
    async with ScriptedServer({"EHLO": STARTTLS}, tls=bad) as server:
        ended = await submit(server.port, tls=TlsPolicy.STARTTLS, verify=False)
    assert ended.result is Result.ACCEPTED
    assert (ended.tls, ended.certificate_valid) == ("TLSv1.3", None)
    assert ended.certificate_expires is not None
    assert sender(25, tls=TlsPolicy.STARTTLS, verify=False).insecure
    assert sender(25, tls=TlsPolicy.NONE).insecure
    assert not sender(25, tls=TlsPolicy.OPPORTUNISTIC).insecure


@pytest.mark.fault("S11", "S12")
@pytest.mark.parametrize("offer", [b"250-mx\r\n250 AUTH PLAIN LOGIN\r\n", b"502 what?\r\n"])
async def test_starttls_stripped_no_credential_and_no_mail_in_clear(offer: bytes, ca_file: Path) -> None:
    async with ScriptedServer({"EHLO": offer}) as server:
        ended = await submit(server.port, tls=TlsPolicy.STARTTLS, ca_file=ca_file, **LOGIN)
        await asyncio.wait_for(server.client_gone.wait(), 5)
        assert server.heard.replace(b"HELO prober.example\r\n", b"") in (
            b"EHLO prober.example\r\nQUIT\r\n",
            b"EHLO prober.example\r\nHELO prober.example\r\nQUIT\r\n".replace(b"HELO prober.example\r\n", b""),
        )
        assert b"AUTH" not in server.heard
        assert b"MAIL" not in server.heard
    assert (ended.result, ended.reason, ended.stage) == (Result.UNSENT, "tls_missing", Stage.TLS)
    assert ended.label is SubmissionLabel.TLS_ERROR


@pytest.mark.parametrize(
    ("reply", "result", "reason"),
    [(b"454 4.7.0 not now\r\n", Result.DEFERRED, ""), (b"502 5.5.1 no\r\n", Result.UNSENT, "tls_missing")],
)
async def test_starttls_refused_where_required(reply: bytes, result: Result, reason: str, ca_file: Path) -> None:
    async with ScriptedServer({"EHLO": STARTTLS, "STARTTLS": reply}) as server:
        ended = await submit(server.port, tls=TlsPolicy.STARTTLS, ca_file=ca_file, **LOGIN)
        assert b"MAIL" not in server.heard
        assert b"AUTH" not in server.heard
    assert (ended.result, ended.reason, ended.stage) == (result, reason, Stage.TLS)


@pytest.mark.parametrize("replies", [{}, {"EHLO": STARTTLS, "STARTTLS": b"454 not now\r\n"}])
async def test_opportunistic_goes_on_in_clear(replies: dict[str, Step]) -> None:
    async with ScriptedServer(replies) as server:
        ended = await submit(server.port, tls=TlsPolicy.OPPORTUNISTIC)
        assert b"MAIL" in server.clear
    assert (ended.result, ended.tls, ended.certificate_valid) == (Result.ACCEPTED, "", None)


async def test_none_never_asks_for_tls(good: ssl.SSLContext) -> None:
    async with ScriptedServer({"EHLO": STARTTLS}, tls=good) as server:
        assert (await submit(server.port, tls=TlsPolicy.NONE)).result is Result.ACCEPTED
        assert b"STARTTLS" not in server.heard


@pytest.mark.fault("S13")
async def test_what_was_injected_after_starttls_is_not_believed(good: ssl.SSLContext, ca_file: Path) -> None:
    """CVE-2011-0411's like: replies sent in clear behind the 220 would be read as if they had come within TLS."""
    injected = b"220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n"
    offers = [STARTTLS, b"250-mx\r\n250 AUTH LOGIN\r\n"]
    async with ScriptedServer({"EHLO": offers, "STARTTLS": injected, "AUTH LOGIN": b"535 no\r\n"}, tls=good) as server:
        ended = await submit(server.port, tls=TlsPolicy.STARTTLS, ca_file=ca_file, short=5, **LOGIN)
        assert b"AUTH PLAIN" not in server.heard
        assert b"AUTH" not in server.clear
    # Either the handshake broke on the injected bytes or the session within TLS is the server's own.
    assert ended.result is Result.UNSENT
    assert ended.reason in {"tls", "auth"}
    assert not any("evil" in line.reply for line in ended.dialogue)


@pytest.mark.fault("S15")
@pytest.mark.parametrize("policy", [TlsPolicy.STARTTLS, TlsPolicy.IMPLICIT, TlsPolicy.OPPORTUNISTIC])
async def test_a_handshake_that_stalls(policy: TlsPolicy) -> None:
    replies: dict[str, Step] = {"EHLO": STARTTLS, "HANDSHAKE": Act.HANG}
    if policy is TlsPolicy.IMPLICIT:
        replies["BANNER"] = Act.HANG
    async with ScriptedServer(replies) as server:
        ended = await submit(server.port, tls=policy, short=0.2)
        assert b"MAIL" not in server.heard
    assert (ended.result, ended.reason, ended.stage) == (Result.UNSENT, "timeout", Stage.TLS)


async def test_no_tls_behind_the_implicit_port() -> None:
    async with ScriptedServer() as server:
        ended = await submit(server.port, tls=TlsPolicy.IMPLICIT)
    assert (ended.result, ended.reason, ended.stage) == (Result.UNSENT, "tls", Stage.TLS)


async def test_tls_older_than_1_2_is_refused(authority: trustme.CA, ca_file: Path) -> None:
    made = sender(465, tls=TlsPolicy.IMPLICIT, ca_file=ca_file)
    contexts = [made._plan.verified, made._plan.unverified]
    assert [context.minimum_version for context in contexts if context] == [ssl.TLSVersion.TLSv1_2] * 2


def test_a_ca_file_that_cannot_be_read_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"senders\.test\.ca_file: .*absent\.pem"):
        sender(465, tls=TlsPolicy.IMPLICIT, ca_file=tmp_path / "absent.pem")
