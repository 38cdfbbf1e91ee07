"""Mail that is not a canary's arrival and looks like one: counted, never believed, never touched.

Every mail here is built from real canaries: what a stranger who once saw one could put into the mailbox.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest

from probe.canary.identity import Keyring, SigningKey, new_canary_id, route_mark
from probe.canary.record import State
from probe.message.compose import compose
from tests.proofs.rig import MAIL_FROM, Prober, away
from tests.worlds.dovecot import Account, Dovecot
from tests.worlds.postfix import Postfix
from tests.worlds.proxy import Proxy

TOKEN = re.compile(rb"\b[a-z2-7]{63}\b|\b[a-z2-7]{29}\b")
ALPHABET = b"abcdefghijklmnopqrstuvwxyz234567"
SLOW = {"overdue_after": "60s", "lost_after": "120s", "watch_for": "1h"}
KEY = SigningKey("k1", b"k" * 48)


def fetched(dovecot: Dovecot, account: Account) -> list[bytes]:
    """Every message in INBOX, as the server has it."""
    with dovecot.imap(account) as client:
        client.select_folder("INBOX", readonly=True)
        return [data[b"BODY[]"] for _, data in sorted(client.fetch(client.search("ALL"), ["BODY.PEEK[]"]).items())]


def counted(dovecot: Dovecot, account: Account) -> int:
    with dovecot.imap(account) as client:
        return int(client.folder_status("INBOX", ["MESSAGES"])[b"MESSAGES"])


def mutated(real: bytes, chance: random.Random) -> bytes:
    """Another letter in every identity, and one byte of the rest of the body changed."""

    def damage(match: re.Match[bytes]) -> bytes:
        text = bytearray(match[0])
        at = chance.randrange(len(text) - 1)  # the last letter has spare bits
        text[at] = chance.choice([letter for letter in ALPHABET if letter != text[at]])
        how = chance.randrange(4)
        return bytes(text[:-1] if how == 1 else text + b"a" if how == 2 else text.upper() if how == 3 else text)

    head, _, body = TOKEN.sub(damage, real).partition(b"\r\n\r\n")
    noise = bytearray(body)
    noise[chance.randrange(len(noise))] = chance.randrange(1, 256)
    return head + b"\r\n\r\n" + bytes(noise)


class Forger:
    """Makes mail for one recipient."""

    def __init__(self, recipient: str, real: Sequence[bytes], foreign: bytes) -> None:
        self.chance = random.Random(4711)
        self.recipient = recipient
        self.real = real
        self.foreign = foreign

    def whole(self, key: SigningKey, sent_ms: int, *, mail_from: str = "stranger@example.net") -> bytes:
        """A whole canary, signed with ``key``."""
        keys, canary = Keyring([key]), new_canary_id(self.chance.randbytes(8))
        mark = route_mark("proofs", "inbound")
        return compose(
            identity_token=keys.token(canary_id=canary, route=mark, sent_ms=sent_ms, attempt=1),
            tag=keys.tag(canary),
            mail_from=mail_from,
            rcpt_to=self.recipient,
            prober_host="example.net",
            date=datetime.now(UTC),
            auto_submitted=True,
            prober="proofs",
            route="inbound",
        )

    def from_elsewhere(self, mail: bytes) -> bytes:
        """Neither From nor the subject's words are ours, so that the header alone decides."""
        mail = mail.replace(b"From: " + MAIL_FROM.encode(), b"From: stranger@example.net")
        return mail.replace(b"Mail canary", b"Hello")

    def reply(self, subject: bytes, fields: bytes) -> bytes:
        real = self.chance.choice(self.real)
        token = re.findall(rb"\b[a-z2-7]{63}\b", real)[0]
        quoted = real.replace(b"\r\n", b"\r\n> ")
        return b"From: %b\r\nTo: %b\r\nSubject: %b\r\nMessage-ID: <%d@example.net>\r\n%b\r\n%b\r\n" % (
            self.recipient.encode(),
            MAIL_FROM.encode(),
            subject,
            self.chance.getrandbits(60),
            fields % {b"id": token} if b"%(id)" in fields else fields,
            quoted,
        )

    def report(self) -> bytes:
        """A bounce that holds the whole canary."""
        real = self.chance.choice(self.real)
        tag = re.findall(rb"\b[a-z2-7]{29}\b", real)[0]
        return (
            b"Return-Path: <>\r\nFrom: MAILER-DAEMON@example.net\r\nTo: %b\r\nSubject: Undelivered Mail (%b)\r\n"
            b"Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
            b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
            b"--b\r\n\r\nIt could not be delivered.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n"
            b"Reporting-MTA: dns; example.net\r\n\r\nAction: failed\r\nStatus: 5.1.1\r\n"
            b"--b\r\nContent-Type: message/rfc822\r\n\r\n%b\r\n--b--\r\n" % (MAIL_FROM.encode(), tag, real)
        )

    def all(self) -> dict[str, list[bytes]]:
        """1,000 mails by what they must be counted as."""
        now = int(datetime.now(UTC).timestamp() * 1000)
        chance, other, namesake = self.chance, SigningKey("other", b"x" * 48), SigningKey("k1", b"x" * 48)
        damaged = [self.from_elsewhere(mutated(chance.choice(self.real), chance)) for _ in range(380)]
        keyed = [self.from_elsewhere(self.whole(other if chance.random() < 0.5 else namesake, now)) for _ in range(150)]
        first, second = self.real[:2]
        both = first.replace(
            re.findall(rb"Message-ID: <([a-z2-7]{63})", first)[0],
            re.findall(rb"Message-ID: <([a-z2-7]{63})", second)[0],
            1,
        )
        answers = [self.reply(b"Re: Mail canary", b"In-Reply-To: <%(id)b@example.net>\r\n") for _ in range(60)]
        answers += [self.reply(b"Fwd: Mail canary", b"X-Mailcanary: v1 %(id)b\r\n") for _ in range(20)]
        vacation = b"Auto-Submitted: auto-replied (vacation)\r\nReferences: <%(id)b@example.net>\r\n"
        answers += [self.reply(b"Auto: I am away", vacation) for _ in range(60)]
        answers += [self.report() for _ in range(60)]
        return {
            "forged": [*damaged, *keyed, *[both] * 20],
            "expired": [self.whole(KEY, now - 3_600_000 * chance.randrange(2, 9_000)) for _ in range(80)],
            "replayed": [self.foreign] * 80,
            "no_ledger_row": [self.whole(KEY, now) for _ in range(90)],
            "reply": answers,
        }


@pytest.mark.fault("R23")
@pytest.mark.timeout(180)
async def test_a_thousand_forgeries_are_not_believed(
    prober: Prober, postfix: Postfix, dovecot: Dovecot, fresh_user: Callable[[], Account]
) -> None:
    support, other = fresh_user(), fresh_user()
    prober.mailbox("support", support, idle_poll="300ms", cleanup={"mode": "delete", "after": "6h"})
    prober.mailbox("other", other)
    prober.route("inbound", "support", support.address, **SLOW)
    prober.route("elsewhere", "other", other.address, **SLOW)
    daemon = await prober.start()
    arrived = [await prober.settled(await prober.send("inbound")) for _ in range(4)]
    await prober.settled(await prober.send("elsewhere"))
    rule = await away(postfix.hold, support.address)
    flying = await prober.send("inbound")
    await prober.state(flying, "accepted")
    postfix.lift(rule)

    real = await away(fetched, dovecot, support)
    assert len(real) == len(arrived) == 4
    leg = next(leg for leg in daemon.legs if leg.route.name == "inbound")
    in_flight = leg.attempts.message(prober.canary(flying))  # whoever relays the mail has seen it before it arrives
    forger = Forger(support.address, [*real, in_flight], (await away(fetched, dovecot, other))[0])
    forged = forger.all()
    # A few more with From and subject like ours: only their bodies can tell, and those are fetched.
    alike = [mutated(forger.chance.choice([*real, in_flight]), forger.chance) for _ in range(15)]
    everything = [mail for mails in forged.values() for mail in mails]
    assert len(everything) == 1000
    forger.chance.shuffle(everything)
    expected = {kind: len(mails) for kind, mails in forged.items()} | {"unparsable": 0}
    await away(dovecot.deliver_many, support.address, everything)
    await prober.until(lambda: prober.total("foreign", "support") == 1000, "each of them is counted")
    await away(dovecot.deliver_many, support.address, alike)
    await prober.until(lambda: prober.total("foreign", "support") == 1015, "and those whose bodies are read")
    expected["forged"] += 15
    assert {kind: prober.total("foreign", "support", kind) for kind in expected} == expected
    assert (await prober.metrics()).sum("foreign_total", mailbox="support") == 1015

    # None is believed: nothing arrived, nothing is a duplicate, the one in flight still is.
    assert prober.total("arrivals") == 5
    assert prober.total("duplicates") == 0
    assert prober.canary(flying).state is State.ACCEPTED
    # Exact copies of a real one are duplicates by definition, and nothing else.
    await away(dovecot.deliver_many, support.address, [real[0]] * 10)
    await prober.until(lambda: prober.total("duplicates") == 10, "exact copies are duplicates")
    assert sum(prober.canary(each.id).duplicates for each in arrived) == 10
    assert prober.total("foreign", "support") == 1015
    # All of it lies where it lay.
    assert await away(counted, dovecot, support) == 4 + 1015 + 10

    await away(postfix.release_held)
    released = await prober.settled(flying)
    assert released.state is State.DELIVERED, released.reason
    assert prober.total("arrivals") == 6
    assert prober.outcomes() == {"delivered": 6}


def bare(mail: bytes) -> bytes:
    """What a gateway leaves that rewrites every header: the identity in the body, and From."""
    left = re.sub(rb"Message-ID: .*?\r\n|Subject: .*?\r\n|X-Mailcanary: .*?\r\n .*?\r\n", b"", mail)
    assert len(TOKEN.findall(left)) == 1
    return left


@pytest.mark.fault("R22")
async def test_a_flood_that_only_bodies_could_tell_hides_no_canary(
    prober: Prober,
    postfix: Postfix,
    dovecot: Dovecot,
    fresh_user: Callable[[], Account],
    proxy_to: Callable[..., Proxy],
) -> None:
    """Bodies are fetched for twenty strangers a read; what was not looked at then must not pass for absent."""
    flooded, rewritten = fresh_user(), fresh_user()
    watch = proxy_to(dovecot.imap_port)
    prober.mailbox("flooded", flooded, port=watch.port, exclusive=True)
    prober.mailbox("rewritten", rewritten, port=watch.port)
    prober.route("flooded", "flooded", flooded.address)
    prober.route("rewritten", "rewritten", rewritten.address, **SLOW)
    daemon = await prober.start()
    rules = [await away(postfix.discard, account.address) for account in (flooded, rewritten)]
    many = [await prober.send("rewritten") for _ in range(25)]
    flying = await prober.send("flooded")
    for each in (*many, flying):
        await prober.state(each, "accepted")
    for rule in rules:
        postfix.lift(rule)
    flooded_leg, rewritten_leg = daemon.legs
    real = flooded_leg.attempts.message(prober.canary(flying))
    chance = random.Random(5)
    watch.stall()  # so that all of it comes in one read
    await away(dovecot.deliver_many, flooded.address, [*(mutated(real, chance) for _ in range(40)), bare(real)])
    genuine = [bare(rewritten_leg.attempts.message(prober.canary(each))) for each in many]
    await away(dovecot.deliver_many, rewritten.address, genuine)
    watch.flow()
    for each in many:  # genuine ones do not use the allowance up
        assert (await prober.settled(each)).state is State.DELIVERED
    verdict = await prober.settled(flying)
    assert (verdict.state, verdict.label) == (State.UNKNOWN, "unreadable"), verdict.reason
    assert prober.total("foreign", "flooded", "forged") == 20
    assert prober.total("foreign", "flooded", "unparsable") == 21
    assert prober.total("foreign", "rewritten") == 0
