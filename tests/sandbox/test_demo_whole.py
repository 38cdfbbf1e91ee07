"""The demo as a user starts it: a process, its page, its faults, and the incident of 2015 as it shows itself."""

from __future__ import annotations

import asyncio
import email.message
import email.parser
import imaplib
import signal

import yaml

from tests.sandbox.demo_process import MX1, MX2, Demo


async def test_the_incident_of_2015_shows_while_the_queue_is_empty(demo: Demo) -> None:
    await demo.until("/api/sandbox", lambda state: state["delivered"] >= 4)
    delivered = await demo.some(MX2, lambda one: one["outcome"] == "delivered")
    assert all(one["queued_as"] for one in delivered)

    # The backup database fails for the mail of one host: its leg shows loss, the queue figure says nothing.
    await demo.fault("backup-db", intake=MX2)
    lost = await demo.some(MX2, lambda one: one["outcome"] == "lost")
    assert all(one["reason"] for one in lost)
    state = await demo.get("/api/sandbox")
    assert state["dropped"] >= len(lost)
    assert state["queue"] <= 2  # what was being worked on at that moment, not a backlog
    clean = await demo.get("/api/canaries?outcome=lost&limit=1000")
    assert {one["mx"] for one in clean["canaries"]} == {MX2}
    assert "mailcanary_outcomes_total{" in await demo.get("/metrics")
    assert "dropped after the 250" in await demo.get("/")

    # What was dropped comes back, and each is matched to its canary.
    await demo.fault("off")
    await demo.post("/api/sandbox/requeue", {})
    first = lost[0]["id"]
    await demo.until(f"/api/canaries/{first}", lambda one: one["recovered_at"])

    demo.process.send_signal(signal.SIGTERM)
    output, _ = await demo.process.communicate()
    text = output.decode()
    assert demo.process.returncode == 0, text
    assert "state/ledger.sqlite" in text
    assert "Stopped." in text
    assert "Traceback" not in text


async def test_a_bad_host_is_named_and_the_host_beside_it_is_clean(demo: Demo) -> None:
    await demo.runs()
    await demo.fault("bad-host")
    lost = await demo.some(MX2, lambda one: one["outcome"] == "lost")
    assert all(one["queued_as"] for one in lost)  # it said 250
    everything = (await demo.get("/api/canaries?limit=1000"))["canaries"]
    assert {one["mx"] for one in everything if one["outcome"] == "lost"} == {MX2}
    state = await demo.get("/api/sandbox")
    by_host = {one["host"]: one["lost"] for one in state["intakes"]}
    assert by_host[MX1] == 0
    assert by_host[MX2] >= len(lost)
    assert state["dropped"] == 0  # nothing could be brought back

    page = await demo.get("/")
    assert f"<strong>demo</strong> / {MX1}" in page
    assert f"<strong>demo</strong> / {MX2}" in page
    metrics = (await demo.get("/metrics")).splitlines()
    losses = [line for line in metrics if line.startswith("mailcanary_outcomes_total{") and 'outcome="lost"' in line]
    assert {mx: sum(float(line.split()[1]) for line in losses if mx in line) > 0 for mx in (MX1, MX2)} == {
        MX1: False,
        MX2: True,
    }


async def test_greylisting_costs_a_try_and_no_mail(demo: Demo) -> None:
    await demo.runs()
    await demo.fault("greylist")
    for mx in (MX1, MX2):
        again = await demo.some(mx, lambda one: one["outcome"] in ("delivered", "late") and one["attempts"] == 2)
        # From the first answer 450 on, and so not less than the wait before the second try.
        assert all(one["latency_seconds"] >= 0.4 for one in again)
    assert (await demo.get("/api/sandbox"))["greylisted"] >= 2
    told = await demo.get(f"/api/canaries/{again[0]['id']}")
    assert "450" in str(told)
    assert "4.7.1" in str(told)


async def test_a_mail_that_is_stored_twice_is_one_arrival_and_a_duplicate(demo: Demo) -> None:
    await demo.runs()
    await demo.fault("duplicate")
    twice = await demo.some(MX1, lambda one: one["duplicates"])
    assert {one["outcome"] for one in twice} == {"delivered"}
    assert {one["duplicates"] for one in twice} == {1}


async def test_junk_is_delivered_and_the_folder_is_told(demo: Demo) -> None:
    await demo.runs()
    await demo.fault("junk", intake=MX2)
    found = await demo.some(MX2, lambda one: one["folder"] not in (None, "INBOX"))
    assert {one["folder"] for one in found} == {"junk"}  # as the configuration names the folder flagged so
    assert {one["outcome"] for one in found} <= {"delivered", "late"}
    everything = (await demo.get("/api/canaries?limit=1000"))["canaries"]
    assert {one["folder"] for one in everything if one["mx"] == MX1} <= {None, "INBOX"}


async def test_a_bounce_lies_in_the_mailbox_that_gets_them(demo: Demo) -> None:
    await demo.runs()
    await demo.fault("bounce", intake=MX1)
    state = await demo.until("/api/sandbox", lambda state: state["bounced"])
    assert state["bounced"] >= 1
    found = await asyncio.to_thread(_reports, demo)
    while not found:
        found = await asyncio.to_thread(_reports, demo)
    parts = list(found[0].walk())
    assert [part.get_content_type() for part in parts] == [
        "multipart/report",
        "text/plain",
        "message/delivery-status",
        "text/plain",  # a group of fields each, as the library has it: of the message, and of the recipient
        "text/plain",
        "text/rfc822-headers",
    ]
    assert parts[3]["Reporting-MTA"] == f"dns; {MX1}"
    assert (parts[4]["Action"], parts[4]["Status"]) == ("failed", "5.2.2")
    returned = email.parser.HeaderParser().parsestr(str(parts[5].get_payload()))
    canaries = (await demo.get("/api/canaries?limit=1000"))["canaries"]
    tag = parts[3]["Original-Envelope-Id"]
    assert tag in returned["Subject"]
    (bounced,) = [one for one in canaries if one["id"][:12] == tag[:12]]  # a tag is longer, and its 13th letter mixed
    assert bounced["mx"] == MX1
    told = await demo.until(f"/api/canaries/{bounced['id']}", lambda one: one["outcome"])
    assert told["outcome"] == "bounced"
    assert "5.2.2" in told["reason"]


def _reports(demo: Demo) -> list[email.message.Message]:
    """The delivery reports in the mailbox, read with the login that the demo's configuration names."""
    config = yaml.safe_load((demo.state / "config.yaml").read_text())["mailboxes"]["demo"]
    password = (demo.state / "mailbox.password").read_text().strip()
    with imaplib.IMAP4(config["host"], config["port"], timeout=30) as client:
        client.login(config["username"], password)
        client.select("INBOX", readonly=True)
        numbers = client.uid("SEARCH", "HEADER", "Auto-Submitted", "auto-replied")[1][0].split()
        raw = [client.uid("FETCH", number.decode(), "(BODY.PEEK[])")[1][0] for number in numbers]
    return [email.message_from_bytes(each[1]) for each in raw if isinstance(each, tuple)]
