"""Logging in: one mechanism, one try, and no credential in what is kept."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP as Server
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session

from probe.options import Secret
from probe.senders.base import Result, Stage, Submission, SubmissionLabel
from tests.senders.scripted_server import MESSAGE, ScriptedServer, Step, submit

USER, PASSWORD = "prober", "correct horse"
LOGIN: dict[str, Any] = {"username": USER, "password": Secret(PASSWORD.encode())}
PLAIN_TOKEN = b64encode(f"\0{USER}\0{PASSWORD}".encode())


def offering(mechanisms: str, **replies: Step) -> dict[str, Step]:
    return {"EHLO": b"250-mx\r\n250 AUTH " + mechanisms.encode() + b"\r\n", **replies}


def assert_masked(ended: Submission) -> None:
    everything = repr(ended)
    for secret in (PASSWORD, PLAIN_TOKEN.decode(), b64encode(PASSWORD.encode()).decode()):
        assert secret not in everything


async def test_plain_is_preferred() -> None:
    replies = offering("CRAM-MD5 LOGIN PLAIN", **{"AUTH PLAIN": b"235 2.7.0 ok\r\n"})
    async with ScriptedServer(replies) as server:
        ended = await submit(server.port, **LOGIN)
        assert b"AUTH PLAIN " + PLAIN_TOKEN + b"\r\nMAIL" in server.heard
    assert ended.result is Result.ACCEPTED
    assert "AUTH PLAIN ***" in [line.sent for line in ended.dialogue]
    assert Stage.AUTH in ended.phases
    assert_masked(ended)


@pytest.mark.parametrize("form", ["LOGIN", "XOAUTH2 LOGIN CRAM-MD5"])
async def test_login_where_plain_is_not_offered(form: str) -> None:
    async with ScriptedServer(offering(form, **{"AUTH LOGIN": b"334 VXNlcm5hbWU6\r\n"}) | {"TOKEN": TOKENS}) as server:
        ended = await submit(server.port, **LOGIN)
        user, password = b64encode(USER.encode()), b64encode(PASSWORD.encode())
        assert b"AUTH LOGIN\r\n" + user + b"\r\n" + password + b"\r\nMAIL" in server.heard
    assert ended.result is Result.ACCEPTED
    assert_masked(ended)


TOKENS: list[Step] = [b"334 UGFzc3dvcmQ6\r\n", b"235 ok\r\n"]


async def test_the_old_form_of_the_offer_counts() -> None:
    replies: dict[str, Step] = {"EHLO": b"250-mx\r\n250 AUTH=PLAIN\r\n", "AUTH PLAIN": b"235 ok\r\n"}
    async with ScriptedServer(replies) as server:
        assert (await submit(server.port, **LOGIN)).result is Result.ACCEPTED


@pytest.mark.fault("S16", "S17")
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"535 5.7.8 no\r\n", "auth"),
        (b"534 5.7.9 weak\r\n", "auth"),
        (b"454 4.7.0 later\r\n", "auth_temp"),
        (b"421 4.7.0 bye\r\n", "auth_temp"),
        (b"334 \r\n", "protocol"),
    ],
)
async def test_a_refused_login_is_tried_once_by_one_mechanism(answer: bytes, reason: str) -> None:
    async with ScriptedServer(offering("PLAIN LOGIN", **{"AUTH PLAIN": answer})) as server:
        ended = await submit(server.port, **LOGIN)
        assert server.heard.count(b"AUTH") == 1
        assert b"MAIL" not in server.heard
        assert server.connections == 1
    assert (ended.result, ended.reason, ended.stage) == (Result.UNSENT, reason, Stage.AUTH)
    assert ended.code == int(answer[:3])
    if reason != "protocol":
        assert ended.label is SubmissionLabel.AUTH_ERROR


@pytest.mark.parametrize("at", ["AUTH LOGIN", "TOKEN"])
async def test_login_refused_on_the_way(at: str) -> None:
    replies = offering("LOGIN", **{"AUTH LOGIN": b"334 VXNlcm5hbWU6\r\n", "TOKEN": b"334 UGFzc3dvcmQ6\r\n"})
    async with ScriptedServer(replies | {at: b"535 5.7.8 no\r\n"}) as server:
        ended = await submit(server.port, **LOGIN)
        assert b64encode(PASSWORD.encode()) not in server.heard
    assert (ended.result, ended.reason, ended.code) == (Result.UNSENT, "auth", 535)


@pytest.mark.parametrize("ehlo", [b"250 mx\r\n", b"250-mx\r\n250 AUTH CRAM-MD5 XOAUTH2\r\n"])
async def test_nothing_we_can_log_in_by(ehlo: bytes) -> None:
    async with ScriptedServer({"EHLO": ehlo}) as server:
        ended = await submit(server.port, **LOGIN)
        assert b"AUTH" not in server.heard
    assert (ended.result, ended.reason, ended.stage) == (Result.UNSENT, "auth", Stage.AUTH)


@pytest.mark.parametrize("echo", [PLAIN_TOKEN, PASSWORD.encode(), b64encode(PASSWORD.encode())])
async def test_a_server_that_echoes_the_credential(echo: bytes) -> None:
    async with ScriptedServer(offering("PLAIN", **{"AUTH PLAIN": b"535 bad token " + echo + b"\r\n"})) as server:
        ended = await submit(server.port, **LOGIN)
    assert "bad token ***" in ended.reply
    assert_masked(ended)


class Keeping:
    """An aiosmtpd handler that keeps what it was given."""

    def __init__(self) -> None:
        self.content = b""

    async def handle_DATA(self, server: Server, session: Session, envelope: Envelope) -> str:
        self.content = envelope.original_content or b""
        return "250 2.0.0 Ok: queued as 4QhTFk1Xyz"


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")
@pytest.mark.parametrize("excluded", [["LOGIN"], ["PLAIN"]])
async def test_a_server_of_another_hand(excluded: list[str]) -> None:
    """aiosmtpd, by AUTH PLAIN and by AUTH LOGIN."""
    seen: list[LoginPassword] = []

    def check(server: object, session: object, envelope: object, mechanism: str, auth: LoginPassword) -> AuthResult:
        seen.append(auth)
        return AuthResult(success=auth.password == PASSWORD.encode())

    handler = Keeping()
    loop = asyncio.get_running_loop()

    def connection() -> Server:
        return Server(
            handler,
            loop=loop,
            hostname="mx.example",
            authenticator=check,
            auth_require_tls=False,
            auth_required=True,
            auth_exclude_mechanism=excluded,
        )

    server = await loop.create_server(connection, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        ended = await submit(port, **LOGIN)
    finally:
        server.close()
        await server.wait_closed()
    assert (ended.result, ended.queued_as) == (Result.ACCEPTED, "4QhTFk1Xyz")
    assert handler.content == MESSAGE
    assert [auth.login for auth in seen] == [USER.encode()]
