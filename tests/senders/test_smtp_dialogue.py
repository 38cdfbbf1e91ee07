"""The dialogue in clear: what is accepted, refused, deferred, unsent or unsure, and at which stage."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta

import pytest

from probe.clock import SystemClock
from probe.senders.base import Envelope, Result, Stage, SubmissionLabel
from probe.senders.smtp import SmtpTimeouts
from tests.senders.scripted_server import ENVELOPE, MESSAGE, Act, ScriptedServer, nothing, sender, submit


async def test_an_accepted_message_with_all_that_is_known_of_it() -> None:
    async with ScriptedServer() as server:
        before = SystemClock().now()
        ended = await submit(server.port)
        after = SystemClock().now()
    assert (ended.result, ended.label, ended.stage) == (Result.ACCEPTED, SubmissionLabel.ACCEPTED, Stage.DOT)
    assert (ended.code, ended.enhanced, ended.queued_as) == (250, "2.0.0", "4Wx9Yz1Qab")
    assert ended.dot_at
    assert before.boot < ended.dot_at.boot < after.boot
    assert ended.clock_started == ended.dot_at
    assert ended.address == "127.0.0.1"
    assert (ended.reason, ended.detail, ended.tls, ended.certificate_valid) == ("", "", "", None)
    assert set(ended.phases) == set(Stage) - {Stage.TLS, Stage.AUTH}
    assert all(seconds >= 0 for seconds in ended.phases.values())
    assert [line.stage for line in ended.dialogue] == [
        Stage.CONNECT, Stage.BANNER, Stage.EHLO, Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT,
    ]  # fmt: skip


async def test_the_bytes_on_the_wire() -> None:
    async with ScriptedServer() as server:
        await submit(server.port)
        await asyncio.wait_for(server.client_gone.wait(), 5)
        assert server.heard == (
            b"EHLO prober.example\r\n"
            b"MAIL FROM:<canary@probe.example> SIZE=%d\r\n"
            b"RCPT TO:<support@example.org>\r\n"
            b"DATA\r\n" % len(MESSAGE) + MESSAGE.replace(b"\r\n.dot", b"\r\n..dot") + b".\r\nQUIT\r\n"
        )


async def test_dsn_is_asked_for_where_it_is_offered() -> None:
    async with ScriptedServer({"EHLO": b"250-mx\r\n250 DSN\r\n"}) as server:
        await submit(server.port)
        assert b"MAIL FROM:<canary@probe.example> RET=HDRS ENVID=k1.abc+3Ddef\r\n" in server.heard
        assert b"RCPT TO:<support@example.org> NOTIFY=FAILURE,DELAY\r\n" in server.heard


@pytest.mark.fault("S38")
async def test_no_extension_is_needed() -> None:
    async with ScriptedServer({"EHLO": b"250 mx\r\n"}) as server:
        assert (await submit(server.port)).result is Result.ACCEPTED
        assert b"MAIL FROM:<canary@probe.example>\r\n" in server.heard


@pytest.mark.fault("S11")
async def test_a_server_that_knows_only_helo() -> None:
    async with ScriptedServer({"EHLO": b"502 5.5.1 what?\r\n"}) as server:
        assert (await submit(server.port)).result is Result.ACCEPTED
        assert b"HELO prober.example\r\n" in server.heard


STAGES = [
    ("BANNER", Stage.BANNER),
    ("MAIL", Stage.MAIL),
    ("RCPT", Stage.RCPT),
    ("DATA", Stage.DATA),
    ("DOT", Stage.DOT),
]


@pytest.mark.fault("S09", "S20")
@pytest.mark.parametrize(("verb", "stage"), STAGES)
async def test_refused_with_5xx(verb: str, stage: Stage) -> None:
    async with ScriptedServer({verb: b"554-5.7.1 no\r\n554 5.7.1 never\r\n"}) as server:
        ended = await submit(server.port)
        assert (b"\r\n.\r\n" in server.heard) is (verb == "DOT")
    assert (ended.result, ended.label, ended.stage) == (Result.REFUSED, SubmissionLabel.REFUSED_5XX, stage)
    assert (ended.code, ended.enhanced, ended.reply, ended.queued_as) == (554, "5.7.1", "5.7.1 no 5.7.1 never", "")
    assert f"127.0.0.1 [127.0.0.1]:{server.port} ({stage}): answered 554 5.7.1 no" in ended.detail
    assert (ended.dot_at is not None) is (verb == "DOT")


@pytest.mark.fault("S09", "S41")
@pytest.mark.parametrize("code", [421, 450])
@pytest.mark.parametrize(("verb", "stage"), [*STAGES, ("EHLO", Stage.EHLO)])
async def test_deferred_with_4xx_starts_the_clock(verb: str, stage: Stage, code: int) -> None:
    async with ScriptedServer({verb: b"%d 4.7.0 later\r\n" % code}) as server:
        before = SystemClock().now()
        ended = await submit(server.port)
        after = SystemClock().now()
    assert (ended.result, ended.label, ended.stage) == (Result.DEFERRED, SubmissionLabel.REFUSED_4XX, stage)
    assert (ended.code, ended.enhanced) == (code, "4.7.0")
    assert ended.clock_started
    assert before.boot < ended.clock_started.boot < after.boot
    if verb == "DOT":
        assert ended.clock_started == ended.dot_at
    else:
        assert ended.dot_at is None


@pytest.mark.parametrize("act", [Act.DROP, Act.HANG])
@pytest.mark.parametrize("verb", ["BANNER", "EHLO", "MAIL", "RCPT", "DATA"])
async def test_cut_before_content_is_unsent(verb: str, act: Act) -> None:
    async with ScriptedServer({verb: act}) as server:
        ended = await submit(server.port, short=0.2 if act is Act.HANG else None)
    assert (ended.result, ended.stage) == (Result.UNSENT, Stage(verb.lower()))
    if act is Act.HANG:
        assert (ended.reason, ended.label) == ("timeout", SubmissionLabel.TIMEOUT)
        assert "no answer within 0.2 s" in ended.detail
    else:
        assert (ended.reason, ended.label) == ("connect", SubmissionLabel.CONNECT_ERROR)
        assert "connection closed" in ended.detail
    assert ended.clock_started is None
    assert ended.dialogue[-1].code is None
    assert ended.dialogue[-1].stage is ended.stage


@pytest.mark.fault("S22")
@pytest.mark.parametrize("act", [Act.DROP, Act.HANG, b"garbage\r\n", b"354 again\r\n", b"999 what\r\n"])
@pytest.mark.parametrize("moment", ["CONTENT", "DOT"])
async def test_cut_after_content_is_unsure(moment: str, act: Act | bytes) -> None:
    async with ScriptedServer({moment: act}) as server:
        ended = await submit(server.port, short=0.2 if act is Act.HANG else None)
    assert (ended.result, ended.label, ended.stage) == (Result.UNSURE, SubmissionLabel.UNSURE, Stage.DOT)
    assert ended.clock_started is not None
    assert (ended.reason, ended.queued_as) == ("", "")
    assert "(dot): " in ended.detail


async def test_the_dot_has_a_timeout_of_its_own() -> None:
    limits = SmtpTimeouts(dot=timedelta(seconds=0.2), command=timedelta(seconds=50))
    async with ScriptedServer({"DOT": Act.HANG}) as server:
        ended = await submit(server.port, timeouts=limits)
    assert ended.result is Result.UNSURE
    assert "no answer within 0.2 s" in ended.detail


@pytest.mark.fault("S08")
async def test_the_total_cuts_a_tarpit() -> None:
    async with ScriptedServer({"RCPT": Act.HANG}) as server:
        ended = await submit(server.port, timeouts=SmtpTimeouts(total=timedelta(seconds=0.2)))
    assert (ended.result, ended.reason, ended.stage) == (Result.UNSENT, "timeout", Stage.RCPT)
    assert "not done within 0.2 s in all" in ended.detail


@pytest.mark.fault("S10")
@pytest.mark.parametrize(
    "banner",
    [b"hello there\r\n", b"x" * 1_000_000, b"220-more\r\n" * 100_000, b"\xff\xfe\r\n", b"000 zero\r\n", b"-22 x\r\n"],
)
async def test_a_banner_that_is_none(banner: bytes) -> None:
    async with ScriptedServer({"BANNER": banner}) as server:
        ended = await submit(server.port)
    assert (ended.result, ended.reason, ended.stage) == (Result.UNSENT, "protocol", Stage.BANNER)
    assert len(ended.detail) <= 512


@pytest.mark.parametrize(("verb", "reply"), [("MAIL", b"354 go\r\n"), ("DATA", b"250 ok\r\n"), ("BANNER", b"354 \r\n")])
async def test_a_code_that_means_nothing_there(verb: str, reply: bytes) -> None:
    async with ScriptedServer({verb: reply}) as server:
        ended = await submit(server.port)
    assert (ended.result, ended.reason, ended.stage) == (Result.UNSENT, "protocol", Stage(verb.lower()))


async def test_a_reply_too_many_is_not_taken_for_the_next_answer() -> None:
    async with ScriptedServer({"RCPT": b"250 ok\r\n354 go on\r\n"}) as server:
        ended = await submit(server.port)
        assert b"DATA" not in server.heard
    assert (ended.result, ended.reason) == (Result.UNSENT, "protocol")
    assert "out of turn" in ended.detail


@pytest.mark.fault("S39")
async def test_server_text_is_sanitised_everywhere() -> None:
    hostile = b"550 5.1.1 \x1b[31mred\x00\xff\xc2\x9b " + b"A" * 7000 + b"\r\n"
    async with ScriptedServer({"RCPT": hostile}) as server:
        ended = await submit(server.port)
    assert ended.result is Result.REFUSED
    for text in (ended.reply, ended.detail, *(line.reply for line in ended.dialogue)):
        assert len(text) <= 512
        assert not re.search("[\x00-\x1f\x7f-\x9f\ud800-\udfff]", text)
    assert r"\udcff" in ended.reply


@pytest.mark.fault("S26")
@pytest.mark.parametrize("answer", [Act.HANG, Act.DROP, b"500 no\r\n"])
async def test_quit_changes_nothing_and_is_not_waited_for(answer: Act | bytes) -> None:
    async with ScriptedServer({"QUIT": answer}) as server:
        ended = await submit(server.port)  # the command time-out of 60 s is far beyond the test's patience
        await asyncio.wait_for(server.client_gone.wait(), 5)
        assert server.heard.endswith(b"QUIT\r\n")
    assert ended.result is Result.ACCEPTED


async def test_before_data_comes_after_rcpt_and_before_data() -> None:
    heard = b""

    async def committed() -> None:
        nonlocal heard
        heard = server.heard

    async with ScriptedServer() as server:
        await sender(server.port).submit(ENVELOPE, MESSAGE, mx="any", before_data=committed)
    assert heard.endswith(b"RCPT TO:<support@example.org>\r\n")


@pytest.mark.parametrize("error", [RuntimeError("disk full"), TimeoutError("ledger"), ConnectionError("ledger")])
async def test_before_data_that_fails_passes_through_and_sends_nothing(error: Exception) -> None:
    async def failing() -> None:
        raise error

    async with ScriptedServer() as server:
        with pytest.raises(type(error)) as raised:
            await sender(server.port).submit(ENVELOPE, MESSAGE, mx="any", before_data=failing)
        await asyncio.wait_for(server.client_gone.wait(), 5)
        assert b"DATA" not in server.heard
        assert server.heard.endswith(b"QUIT\r\n")
    assert raised.value is error


async def test_before_data_is_under_no_timeout_of_ours() -> None:
    """A commit must not be cut in the middle: it waits well beyond the total of the attempt."""
    clock = SystemClock()

    async def slow() -> None:
        await clock.sleep(timedelta(seconds=0.4))

    async with ScriptedServer() as server:
        made = sender(server.port, timeouts=SmtpTimeouts(total=timedelta(seconds=0.2)))
        ended = await made.submit(ENVELOPE, MESSAGE, mx="any", before_data=slow)
    assert (ended.result, ended.reason) == (Result.UNSENT, "timeout")


@pytest.mark.parametrize("verb", ["BANNER", "RCPT", "DATA", "DOT"])
async def test_cancelled_closes_the_connection_first(verb: str) -> None:
    async with ScriptedServer({verb: Act.HANG}) as server:
        task = asyncio.ensure_future(submit(server.port))
        await asyncio.wait_for(server.reached.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.client_gone.wait(), 5)
        assert b"QUIT" not in server.heard


async def test_a_large_message_dot_is_the_last_byte_written() -> None:
    large = b"Subject: t\r\n\r\n" + b"x" * 70 + b"\r\n" + (b"y" * 76 + b"\r\n") * 100_000
    async with ScriptedServer({"CONTENT": Act.STALL}) as server:
        ended = await submit(server.port, short=0.3, message=large)
        assert (ended.result, ended.dot_at) == (Result.UNSURE, None)
        assert ended.clock_started is not None


async def test_an_answer_before_the_dot_was_written_is_not_believed() -> None:
    large = b"Subject: t\r\n\r\n" + (b"y" * 76 + b"\r\n") * 100_000
    async with ScriptedServer({"CONTENT": [b"250 ok\r\n"]}) as server:
        # The server says 250 as soon as DATA is there; the client has most of 8 MB still to write.
        ended = await submit(server.port, message=large)
    assert ended.result is Result.UNSURE


@pytest.mark.parametrize("address", ["a>b@example.org", "a b@example.org", "a\r\nRCPT@example.org", "ä@example.org"])
async def test_an_address_that_breaks_out_of_the_envelope_is_never_sent(address: str) -> None:
    async with ScriptedServer() as server:
        made = sender(server.port)
        ended = await made.submit(Envelope("a@b.example", address), MESSAGE, mx="any", before_data=nothing)
        assert b"MAIL" not in server.heard
    assert (ended.result, ended.reason) == (Result.UNSENT, "local")


async def test_probe_sends_nothing() -> None:
    async with ScriptedServer() as server:
        ended = await sender(server.port).probe("any")
        await asyncio.wait_for(server.client_gone.wait(), 5)
        assert server.heard == b"EHLO prober.example\r\nQUIT\r\n"
    assert (ended.result, ended.label) == (Result.ACCEPTED, SubmissionLabel.ACCEPTED)


async def test_probe_says_what_is_wrong() -> None:
    async with ScriptedServer({"BANNER": b"554 5.7.1 go away\r\n"}) as server:
        ended = await sender(server.port).probe("any")
    assert (ended.result, ended.stage, ended.code) == (Result.REFUSED, Stage.BANNER, 554)


async def test_a_relay_is_one_leg() -> None:
    assert await sender(25).legs("example.org") == ("any",)
