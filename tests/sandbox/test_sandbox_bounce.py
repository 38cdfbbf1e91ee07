"""What a sender asks for reports (RFC 3461), and the report that comes back (RFC 3464) as the library parses it."""

from __future__ import annotations

import asyncio
import email
import email.parser
import smtplib
from dataclasses import replace
from typing import Any

import pytest

from probe.sandbox.bounce import report, wants_report
from probe.sandbox.dsn import MailRequest, RcptRequest, mail_request, rcpt_request
from probe.sandbox.stores import MessageStore, StoredMessage

NOTHING = MailRequest()


@pytest.mark.parametrize(
    ("argument", "rest", "asked"),
    [
        ("FROM:<a@b.example>", "FROM:<a@b.example>", NOTHING),
        ("FROM:<> SIZE=10", "FROM:<> SIZE=10", NOTHING),
        ("FROM:<a@b.example> RET=HDRS ENVID=QqAbc", "FROM:<a@b.example>", MailRequest("QqAbc")),
        ("FROM: <a@b.example> ret=full SIZE=9 envid=a+2Bb", "FROM: <a@b.example> SIZE=9", MailRequest("a+b", True)),
        ('FROM:<"> RET=FULL"@b.example>', 'FROM:<"> RET=FULL"@b.example>', NOTHING),
        ("FROM:<a@b.example> ENVID=<x>", "FROM:<a@b.example>", MailRequest("<x>")),
        ("FROM:a@b.example ENVID=x", "FROM:a@b.example ENVID=x", NOTHING),
    ],
)
def test_what_mail_asks(argument: str, rest: str, asked: MailRequest) -> None:
    assert mail_request(argument) == (rest, asked)


@pytest.mark.parametrize(
    "parameters",
    [
        "RET=ALL",
        "RET=HDRS RET=HDRS",
        "RET",
        "ENVID=",
        "ENVID=a=b",
        "ENVID=a+2b",
        "ENVID=a+0D+0AX-Forged:+20yes",
        "ENVID=a+E9",
        "ENVID=" + "a" * 101,
    ],
)
def test_what_mail_must_not_ask(parameters: str) -> None:
    with pytest.raises(ValueError, match=r"RET|ENVID"):
        mail_request(f"FROM:<a@b.example> {parameters}")


@pytest.mark.parametrize(
    ("parameters", "asked"),
    [
        ("", RcptRequest()),
        ("NOTIFY=FAILURE,DELAY", RcptRequest()),
        ("NOTIFY=success", RcptRequest(on_failure=False)),
        ("NOTIFY=NEVER ORCPT=rfc822;a+2Bb@c.example", RcptRequest(False, "rfc822;a+b@c.example")),
    ],
)
def test_what_rcpt_asks(parameters: str, asked: RcptRequest) -> None:
    assert rcpt_request(f"TO:<a@b.example> {parameters}") == ("TO:<a@b.example>", asked)


@pytest.mark.parametrize(
    "parameters",
    [
        "NOTIFY=NEVER,DELAY",
        "NOTIFY=EVER",
        "NOTIFY=",
        "ORCPT=a",
        "ORCPT=a;",
        "ORCPT=rfc822;a+0Ab",
        "ORCPT=x;" + "a" * 500,
    ],
)
def test_what_rcpt_must_not_ask(parameters: str) -> None:
    with pytest.raises(ValueError, match=r"NOTIFY|ORCPT"):
        rcpt_request(f"TO:<a@b.example> {parameters}")


def _send(bench: Any, mail: str, *rcpts: str, content: bytes = b"Subject: x\r\nX-Own: 1\r\n\r\nHello\r\n") -> None:
    with smtplib.SMTP(bench.sandbox.intakes[0].address, bench.sandbox.intakes[0].port) as client:
        client.ehlo("prober.example")
        assert client.has_extn("dsn")
        for line in (f"MAIL FROM:<{mail}", *(f"RCPT TO:<canary{rcpt}" for rcpt in rcpts)):
            assert client.docmd(line)[0] == 250, line
        assert client.data(content)[0] == 250


async def _bounced(bench: Any, *arguments: str, **more: Any) -> list[Any]:
    """The mails in the mailbox after one that bounced."""
    bench.sandbox.set_fault("bounce")
    await asyncio.to_thread(_send, bench, *arguments, **more)
    await bench.settled()
    assert bench.sandbox.snapshot().bounced == 1
    return [email.message_from_bytes(raw) for raw in await bench.mailbox()]


async def test_a_report_has_the_form_of_the_standard(bench: Any) -> None:
    (found,) = await _bounced(
        bench,
        "prober+tag@prober.sandbox.test> RET=HDRS ENVID=Qq7xy",
        "@sandbox.test> NOTIFY=FAILURE,DELAY ORCPT=rfc822;first@sandbox.test",
    )
    assert not found.defects
    assert (found["Return-Path"], found["Auto-Submitted"]) == ("<>", "auto-replied")
    assert found["Delivered-To"] == "prober+tag@prober.sandbox.test"
    assert (found.get_content_type(), found.get_param("report-type")) == ("multipart/report", "delivery-status")
    human, status, returned = found.get_payload()
    assert "552 5.2.2 Mailbox full" in human.get_payload()
    assert status.get_content_type() == "message/delivery-status"
    about, group = status.get_payload()
    assert about["Original-Envelope-Id"] == "Qq7xy"
    assert about["Reporting-MTA"] == "dns; mx1.sandbox.test"
    assert dict(group.items()) == {
        "Original-Recipient": "rfc822; first@sandbox.test",
        "Final-Recipient": "rfc822; canary@sandbox.test",
        "Action": "failed",
        "Status": "5.2.2",
        "Remote-MTA": "dns; store.sandbox.test",
        "Diagnostic-Code": "smtp; 552 5.2.2 Mailbox full",
    }
    assert returned.get_content_type() == "text/rfc822-headers"
    headers = email.parser.HeaderParser().parsestr(returned.get_payload())
    assert (headers["Subject"], headers["X-Own"]) == ("x", "1")
    assert headers["Received"].startswith("from prober.example")
    assert "Hello" not in returned.get_payload()


async def test_the_whole_mail_comes_back_where_that_is_asked(bench: Any) -> None:
    content = "Subject: x\r\n\r\n\u00e9t\u00e9\r\n".encode()
    (found,) = await _bounced(bench, "prober@prober.sandbox.test> RET=FULL", "@sandbox.test>", content=content)
    returned = found.get_payload()[2]
    assert returned.get_content_type() == "message/rfc822"
    assert returned.get_payload(0)["Subject"] == "x"
    assert "\u00e9t\u00e9".encode() in returned.get_payload(0).get_payload(decode=True)
    assert "Original-Envelope-Id" not in found.get_payload()[1].get_payload(0)


async def test_only_those_are_in_the_report_for_whom_it_is_wanted(bench: Any) -> None:
    rcpts = ("+a@sandbox.test> NOTIFY=NEVER", "+b@sandbox.test>", "+c@sandbox.test> NOTIFY=SUCCESS")
    (found,) = await _bounced(bench, "prober@prober.sandbox.test>", *rcpts)
    groups = found.get_payload()[1].get_payload()[1:]
    assert [group["Final-Recipient"] for group in groups] == ["rfc822; canary+b@sandbox.test"]


@pytest.mark.parametrize(
    ("mail", "rcpt"),
    [
        (">", "@sandbox.test>"),  # a report about a report: never
        ("prober@prober.sandbox.test>", "@sandbox.test> NOTIFY=NEVER"),
        ("someone@elsewhere.example>", "@sandbox.test>"),  # nothing leaves this host
    ],
)
async def test_no_report_goes_where_none_may(bench: Any, mail: str, rcpt: str) -> None:
    assert await _bounced(bench, mail, rcpt) == []


async def test_the_requests_are_those_of_the_present_mail(bench: Any) -> None:
    def ask() -> list[int]:
        with smtplib.SMTP(bench.sandbox.intakes[0].address, bench.sandbox.intakes[0].port) as client:
            client.ehlo("prober.example")
            lines = [
                "MAIL FROM:<prober@prober.sandbox.test> ENVID=first",
                "MAIL FROM:<prober@prober.sandbox.test> ENVID=nested",
                "RCPT TO:<other@sandbox.test> NOTIFY=NEVER",
                "RCPT TO:<canary@sandbox.test> NOTIFY=NEVER",
                "RSET",
                "MAIL FROM:<prober@prober.sandbox.test> ENVID=second=",
                "MAIL FROM:<prober@prober.sandbox.test> RET=NONE",
                "MAIL FROM:<prober@prober.sandbox.test> ENVID=third",
                "RCPT TO:<canary@sandbox.test> NOTIFY=SOON",
                "RCPT TO:<canary@sandbox.test>",
            ]
            codes = [client.docmd(line)[0] for line in lines]
            return [*codes, client.data(b"Subject: x\r\n\r\n")[0]]

    bench.sandbox.set_fault("bounce")
    assert await asyncio.to_thread(ask) == [250, 503, 550, 250, 250, 501, 501, 250, 501, 250, 250]
    await bench.settled()
    (raw,) = await bench.mailbox()
    found: Any = email.message_from_bytes(raw)
    assert found.get_payload()[1].get_payload(0)["Original-Envelope-Id"] == "third"


async def test_without_ehlo_there_is_no_dsn(bench: Any) -> None:
    assert await bench.say("HELO x", "MAIL FROM:<a@b.example> ENVID=x") == [250, 501]


async def test_what_is_asked_lasts_as_long_as_the_mail(bench: Any, tmp_path: Any) -> None:
    now = bench.clock.now()
    asked = (RcptRequest(False), RcptRequest(original="rfc822;x@y.example"))
    mail = StoredMessage("A", "mx1.sandbox.test", "p@q.example", ("a@b.example", "c@d.example"), now, b"x\r\n")
    mail = replace(mail, mail_request=MailRequest("id", True), rcpt_requests=asked)
    store = MessageStore(tmp_path / "store")
    store.write(mail)
    assert store.read("A") == mail
    assert wants_report(mail)
    assert not wants_report(replace(mail, rcpt_requests=asked[:1] * 2))


async def test_a_hostile_address_forges_no_field(bench: Any) -> None:
    now = bench.clock.now()
    mail = StoredMessage("A", "mx1.sandbox.test", "p@q\r\nX-F: 1", ("a@b\r\nAction: delivered",), now, b"S: x\r\n\r\n")
    found: Any = email.message_from_bytes(report(mail, now.utc))
    assert found["X-F"] is None
    assert found.get_payload()[1].get_payload(1).get_all("Action") == ["failed"]
