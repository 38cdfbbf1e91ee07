"""What a mail in a watched folder is to us: an arrival, an answer to a canary, a forgery, or none of our business.

Anybody can put mail there, so: only a signature is believed; no input raises; time and memory are bounded by the caps;
nothing of the mail gets into a sentence. What this cannot know is whether the mail took the path under test, or whether
it is the first copy: the ledger and the life of the canary judge that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from probe.canary.identity import Age, Identity, Keyring, expired
from probe.message.carriers import CARRIER_FIELDS, Carrier, Evidence, gather
from probe.message.control import ATTEMPT as CONTROL_ATTEMPT
from probe.message.headers import Fields, address_of, parse_fields, printable
from probe.message.signs import SIGN_FIELDS, sign_of_answer

HEADER_CAP = 64 * 1024
BODY_CAP = 64 * 1024
RECEIVED_MOST = 50
RECEIVED_CAP = 2048

_WANTED = frozenset((*CARRIER_FIELDS, *SIGN_FIELDS, "from", "received"))
_STRONG = frozenset((Carrier.HEADER, Carrier.MESSAGE_ID))


class Kind(StrEnum):
    """What a mail is. Only ``ARRIVAL`` moves a canary."""

    ARRIVAL = "arrival"
    REPLY = "reply"  # an answer to a canary, or somebody's copy of one: reply, forward, auto-reply, bounce
    FORGED = "forged"  # claims to be a canary and no signature of ours stands behind it
    EXPIRED = "expired"  # signed, but so long ago that nobody waits for it
    REPLAYED = "replayed"  # signed, but for another mailbox of this prober
    OTHER_PROBER = "other_prober"  # signed with our key for a route this prober does not have
    UNPARSABLE = "unparsable"
    NOT_OURS = "not_ours"
    UNNAMED = "unnamed"  # from a route's mail_from, and nothing in it names a canary: it may be one
    NEEDS_BODY = "needs_body"  # only the body can tell: call again with it
    CONTROL = "control"  # put here by this prober itself; no canary


@dataclass(frozen=True, slots=True)
class RouteExpectation:
    """What a canary of a route looks like. ``max_age_ms`` is the route's ``watch_for``.

    ``earlier``: what canaries that may still arrive looked like before the route was changed. Which of them a canary
    is, only the ledger knows.
    """

    route: str
    mailbox: str
    mail_from: str
    max_age_ms: int
    earlier: tuple[RouteExpectation, ...] = ()

    @property
    def forms(self) -> tuple[RouteExpectation, ...]:
        return (self, *self.earlier)


@dataclass(frozen=True, slots=True)
class Recognition:
    """What a mail is, and why, in one ``sentence`` that holds nothing of the mail but verified identities.

    ``canary_id`` is set wherever exactly one identity verified. ``token_verified`` False: only the tag did, so
    ``attempt``, ``sent_ms`` and ``route`` are None, age and mailbox are unchecked, and the ledger has to know the
    canary. ``carriers``: the places that verified. ``received``: the Received fields from the top, unfolded, at most
    50 of at most 2 KiB, without control characters; empty where nothing verified.
    """

    kind: Kind
    sentence: str
    canary_id: str | None = None
    attempt: int | None = None
    sent_ms: int | None = None
    route: str | None = None
    carriers: frozenset[Carrier] = frozenset()
    token_verified: bool = False
    received: tuple[str, ...] = ()


def recognise(
    header: bytes,
    *,
    keyring: Keyring,
    now_ms: int,
    known: Mapping[bytes, RouteExpectation],
    mailbox: str,
    body: bytes | None = None,
    control: bytes = b"",
) -> Recognition:
    """Judge one mail. Never raises.

    ``header``: raw, cut at 64 KiB. ``body``: None at first; where the answer is NEEDS_BODY, the first bytes of the
    whole message or of its body, cut at 64 KiB. ``known``: the routes of this prober by ``route_mark``. ``mailbox``:
    where the mail lies. ``now_ms``: wall milliseconds. A token signed in the future counts (our clock was set back);
    an expired one is EXPIRED with its ``canary_id``, should the ledger know better. ``control``: the mark of this
    mailbox's control messages; of them only the signature is judged here, not the age.
    """
    try:
        return _recognise(header[:HEADER_CAP], _beneath(header, body), keyring, now_ms, known, mailbox, control)
    except Exception as error:
        # The outermost door to hostile input: one mail that trips an unknown fault here must not stop the reading of
        # all others behind it. It is counted as unparsable, which shows as a metric.
        return Recognition(Kind.UNPARSABLE, f"the mail could not be parsed ({type(error).__name__})")


def _beneath(header: bytes, body: bytes | None) -> bytes | None:
    """The body without the header that a mailbox hands out before it: what stands there is judged as header."""
    if body is None:
        return None
    if header and body.startswith(header):
        body = body[len(header) :]
    return body[:BODY_CAP]


def _recognise(
    header: bytes,
    body: bytes | None,
    keyring: Keyring,
    now_ms: int,
    known: Mapping[bytes, RouteExpectation],
    mailbox: str,
    control: bytes,
) -> Recognition:
    fields = parse_fields(header, _WANTED)
    evidence = gather(fields, body, keyring)
    sign = sign_of_answer(fields)
    senders = {address_of(value) for value in fields.get("from", ())}
    sender = senders.pop() if len(senders) == 1 else ""
    if not evidence.carriers:
        return _unverified(evidence, sign, sender, known, mailbox, have_body=body is not None)
    tokens = [identity for _, identity in evidence.tokens]
    if tokens and all(one.route == control and one.attempt == CONTROL_ATTEMPT for one in tokens):
        return _control(evidence, sign)
    return _verified(fields, evidence, sign, sender, now_ms, known, mailbox)


def _unverified(
    evidence: Evidence,
    sign: str | None,
    sender: str,
    known: Mapping[bytes, RouteExpectation],
    mailbox: str,
    *,
    have_body: bool,
) -> Recognition:
    """No carrier verified: an answer that refers to a canary, a forgery, not ours, or not yet known."""
    answered = evidence.answered
    if answered is not None:
        expectation = known.get(answered.route)
        if expectation is None:
            return Recognition(Kind.OTHER_PROBER, "it answers a canary of another prober", answered.canary_id)
        return Recognition(
            Kind.REPLY,
            "it answers a canary: In-Reply-To or References names one",
            answered.canary_id,
            answered.attempt,
            answered.sent_ms,
            expectation.route,
        )
    from_us = _from_route(sender, None, known)
    if not have_body and sign is None and (from_us or evidence.subject_ours):
        return Recognition(Kind.NEEDS_BODY, "it looks like a canary, but only its body can tell")
    if evidence.claims:
        return Recognition(Kind.FORGED, "it stands where a canary's identity stands, but no signature of ours verifies")
    if evidence.subject_claims and sign is None:
        return Recognition(Kind.FORGED, "its subject is a canary's, but no signature of ours verifies")
    forms = [form for one in known.values() for form in one.forms if form.mailbox == mailbox]
    if sign is None and any(sender == form.mail_from.lower() for form in forms):
        return Recognition(Kind.UNNAMED, "it is from a route's mail_from, and nothing in it names a canary")
    return Recognition(Kind.NOT_OURS, "no canary's identity is in it")


def _control(evidence: Evidence, sign: str | None) -> Recognition:
    """A control message, or mail that quotes one: nothing then, for it never counts as anything else."""
    if sign is not None or len(evidence.canary_ids) > 1 or not evidence.carriers & _STRONG:
        return Recognition(Kind.NOT_OURS, "it quotes a control message of this mailbox")
    return Recognition(
        Kind.CONTROL,
        "it is a control message of this mailbox",
        canary_id=next(iter(evidence.canary_ids)),
        carriers=evidence.carriers,
        token_verified=True,
    )


def _verified(
    fields: Fields,
    evidence: Evidence,
    sign: str | None,
    sender: str,
    now_ms: int,
    known: Mapping[bytes, RouteExpectation],
    mailbox: str,
) -> Recognition:
    """At least one carrier verified. The order matters: whose, whether an answer, whether consistent, then the rest."""
    identity = evidence.tokens[0][1] if evidence.tokens else None
    expectation = known.get(identity.route) if identity is not None else None
    ids = sorted(evidence.canary_ids)

    def verdict(kind: Kind, sentence: str) -> Recognition:
        return Recognition(
            kind=kind,
            sentence=sentence,
            canary_id=ids[0] if len(ids) == 1 else None,
            attempt=identity.attempt if identity is not None and len(ids) == 1 else None,
            sent_ms=identity.sent_ms if identity is not None and len(ids) == 1 else None,
            route=expectation.route if expectation is not None and len(ids) == 1 else None,
            carriers=evidence.carriers,
            token_verified=identity is not None,
            received=_received(fields),
        )

    if identity is not None and expectation is None:
        return verdict(Kind.OTHER_PROBER, "it is signed with our key, but for no route of this prober")
    if sign is not None:
        return verdict(Kind.REPLY, f"it quotes a canary, but {sign}")
    if len(ids) > 1:
        return verdict(Kind.FORGED, f"it carries the identities of {len(ids)} canaries at once: {', '.join(ids)}")
    if not evidence.carriers & _STRONG:
        if evidence.embedded:
            return verdict(Kind.REPLY, "a whole canary, header included, is attached to it or quoted in it")
        if not _from_route(sender, expectation, known):
            return verdict(Kind.REPLY, "its subject or body quotes a canary, but From is not the route's mail_from")
    if identity is None or expectation is None:
        return verdict(Kind.ARRIVAL, "the tag in its subject verifies; only the ledger knows its route")
    if all(form.mailbox != mailbox for form in expectation.forms):
        return verdict(Kind.REPLAYED, f"it is a canary of route {expectation.route}, whose mailbox is another")
    return verdict(*_by_age(identity, now_ms, expectation, evidence))


def _by_age(identity: Identity, now_ms: int, expectation: RouteExpectation, evidence: Evidence) -> tuple[Kind, str]:
    age = expired(identity, now_ms, max(form.max_age_ms for form in expectation.forms))
    if age is Age.EXPIRED:
        hours = (now_ms - identity.sent_ms) / 3_600_000
        return Kind.EXPIRED, f"it is a canary of route {expectation.route}, signed {hours:.1f} h ago: past its watch"
    survived = ", ".join(carrier for carrier in Carrier if carrier in evidence.carriers)
    note = "; it was signed in our future, so the clock was set back" if age is Age.FROM_FUTURE else ""
    return Kind.ARRIVAL, f"it is a canary of route {expectation.route}, verified by {survived}{note}"


def _from_route(sender: str, expectation: RouteExpectation | None, known: Mapping[bytes, RouteExpectation]) -> bool:
    """Whether From is the route's mail_from; of any route's, where only a tag verified."""
    expected = known.values() if expectation is None else (expectation,)
    return any(sender == form.mail_from.lower() for one in expected for form in one.forms)


def _received(fields: Fields) -> tuple[str, ...]:
    return tuple(printable(value, RECEIVED_CAP) for value in fields.get("received", ())[:RECEIVED_MOST])
