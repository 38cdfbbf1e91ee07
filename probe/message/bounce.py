"""What a mail in the mailbox of ``bounces:`` is to us: a report that a canary failed, is delayed, went on, or neither.

Two outer forms are reports: multipart/report with report-type=delivery-status (RFC 6522, 3464), and plain text from a
mailer-daemon with an empty envelope sender (qmail, old Exim). So a report that somebody passes on or quotes is none.
As in ``recognise`` only a signature is believed, no input raises, time and memory are bounded by ``BOUNCE_CAP``, and
nothing of the mail gets into a sentence but what was checked. What this cannot know: whoever holds a canary can write
a report of it; and after a tag alone (no token), whether the canary is one of ours at all: the ledger has to know it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from probe.canary.identity import Age, Identity, Keyring, Rejection, expired
from probe.message.addresses import split_tag
from probe.message.carriers import CARRIER_FIELDS, Carrier, gather
from probe.message.headers import Fields, address_of, first, parse_fields
from probe.message.parts import content_type, decoded, parts_of, split_header
from probe.message.recognise import BODY_CAP, HEADER_CAP, RouteExpectation
from probe.message.report import RETURNED_PARTS, STATUS_PARTS, Action, Group, Report, chosen, read_notice, read_status
from probe.message.signs import SIGN_FIELDS, sign_of_answer

BOUNCE_CAP = 128 * 1024
"""Bytes of a mail that are looked at: a report with our canary in it has a few KiB, an Exchange's with HTML some 50."""

_RECIPIENT_FIELDS = ("delivered-to", "x-original-to", "envelope-to", "to")
_RECIPIENTS_MOST = 2  # of one field
_FORM_FIELDS = ("content-type", "return-path", "from", "in-reply-to", "references")
_OUTER = frozenset((*_FORM_FIELDS, *_RECIPIENT_FIELDS, "content-transfer-encoding"))
_RETURNED = frozenset((*CARRIER_FIELDS, *SIGN_FIELDS, "from", "to"))
_STRONG = frozenset((Carrier.HEADER, Carrier.MESSAGE_ID))
_DAEMONS = frozenset(("mailer-daemon", "postmaster"))


class BounceKind(StrEnum):
    """What a mail is. Only ``FAILED`` moves a canary; ``DELAYED`` is an event."""

    FAILED = "failed"
    DELAYED = "delayed"
    OTHER = "other"  # about a canary, but neither: relayed, delivered, expanded, or no form in which it can be told
    FORGED = "forged"  # a report that names a canary, and no signature of ours stands behind it
    EXPIRED = "expired"  # about a canary signed so long ago that nobody waits for it
    OTHER_PROBER = "other_prober"  # about a canary signed with our key for a route this prober does not have
    UNPARSABLE = "unparsable"
    NOT_OURS = "not_ours"


class Matched(StrEnum):
    """By what a report was found to be about a canary."""

    ENVELOPE_ID = "envelope_id"  # the tag in Original-Envelope-Id (RFC 3464 2.2.1)
    RETURNED = "returned"  # the header of the canary, returned within the report
    RECIPIENT = "recipient"  # the tag in the address the report was sent to


@dataclass(frozen=True, slots=True)
class Bounce:
    """What a report says of a canary, and why it counts as that, in one ``sentence``.

    ``canary_id``: set where exactly one identity verified. ``action``: of RFC 3464 2.3.3, or None. ``status``: an
    enhanced code (RFC 3463) or "". ``diagnostic`` (at most 500 bytes), ``reporting_mta`` and ``remote_mta`` (255) are
    the mail's own words on one line, for people. ``token_verified`` False: only a tag did, so ``attempt``,
    ``sent_ms`` and ``route`` are None and the age is unchecked.
    """

    kind: BounceKind
    sentence: str
    canary_id: str | None = None
    action: Action | None = None
    status: str = ""
    diagnostic: str = ""
    reporting_mta: str = ""
    remote_mta: str = ""
    matched: frozenset[Matched] = frozenset()
    token_verified: bool = False
    attempt: int | None = None
    sent_ms: int | None = None
    route: str | None = None


@dataclass(slots=True)
class _Found:
    """What identities stand in a mail. ``claims``: a place of ours holds what looks like one, verified or not."""

    ids: dict[str, None] = field(default_factory=dict)
    matched: set[Matched] = field(default_factory=set)
    identity: Identity | None = None
    claims: bool = False
    recipient: str = ""

    def tag(self, text: str, where: Matched, keyring: Keyring) -> None:
        canary = keyring.verify_tag(text)
        self.claims |= canary is not Rejection.MALFORMED
        if isinstance(canary, str):
            self.ids[canary] = None
            self.matched.add(where)


def may_be_report(header: bytes) -> bool:
    """Whether a mail with this header can be a report, so that its body is worth fetching. Never raises.

    ``header``: raw; read to its first empty line, at most 64 KiB. True for two forms, and for nothing else:

    * its topmost Content-Type is multipart/report with report-type=delivery-status, in any case (RFC 6522 3). The
      sender does not matter, as not every store keeps Return-Path;
    * its topmost Return-Path is ``<>``, its topmost From is the one address of a mailer-daemon or postmaster, its
      topmost Content-Type is text/plain or missing, and neither In-Reply-To nor References is there: qmail, old Exim.

    Of any other mail ``recognise_bounce`` says NOT_OURS.
    """
    try:
        return _form(parse_fields(header[:HEADER_CAP], _FORM_FIELDS)) is not None
    except Exception:
        # As below. What trips an unknown fault is fetched, so that it is judged, and counted as unparsable.
        return True


def recognise_bounce(raw: bytes, *, keyring: Keyring, now_ms: int, known: Mapping[bytes, RouteExpectation]) -> Bounce:
    """Judge one whole mail, cut at 128 KiB. Never raises.

    ``known``: the routes of this prober by ``route_mark``. ``now_ms``: wall milliseconds. Of several recipients the
    canary's own counts (To of the returned header), else the worst action. A token signed in the future counts (our
    clock was set back).
    """
    try:
        return _recognise(raw[:BOUNCE_CAP], keyring, now_ms, known)
    except Exception as error:
        # The outermost door to hostile input, as in recognise: one mail must not stop the reading of all others.
        return Bounce(BounceKind.UNPARSABLE, f"the mail could not be parsed ({type(error).__name__})")


def _form(outer: Fields) -> str | None:
    """ "report" or "notice" (plain text of a mailer-daemon), as ``may_be_report`` says, or None."""
    media, parameters = content_type(first(outer, "content-type"))
    if media == "multipart/report":
        return "report" if parameters.get("report-type", "").lower() == "delivery-status" else None
    if media not in ("", "text/plain") or first(outer, "return-path").replace(" ", "") != "<>":
        return None
    answers = any(any(outer.get(name, ())) for name in ("in-reply-to", "references"))
    daemon = address_of(first(outer, "from")).partition("@")[0] in _DAEMONS
    return "notice" if daemon and not answers else None


def _recognise(raw: bytes, keyring: Keyring, now_ms: int, known: Mapping[bytes, RouteExpectation]) -> Bounce:
    header, body = split_header(raw)
    outer = parse_fields(header[:HEADER_CAP], _OUTER)
    form = _form(outer)
    if form is None:
        return Bounce(BounceKind.NOT_OURS, "it has not the form of a delivery report")
    found = _Found()
    report: Report | None = None
    returned = b""
    if form == "report":
        report, returned = _open(body, content_type(first(outer, "content-type"))[1].get("boundary", ""))
    else:
        text = decoded(body, outer)
        notice = read_notice(text)
        if notice is not None:
            report, returned = notice
        else:
            _search_text(found, text[:BODY_CAP], keyring)
    _search(found, outer, report, returned, keyring, known)
    if found.ids:
        return _verified(found, report, now_ms, known)
    if found.claims:
        return Bounce(BounceKind.FORGED, "a delivery report that names a canary, but no signature of ours verifies")
    if form == "report" and (report is None or not report.groups):
        return Bounce(BounceKind.UNPARSABLE, "a delivery report without a part that machines can read")
    return Bounce(BounceKind.NOT_OURS, "a delivery report, but not of a canary")


def _open(body: bytes, boundary: str) -> tuple[Report | None, bytes]:
    """What a multipart/report says, and the message, or its header, that it returns."""
    parts = parts_of(body, boundary)
    status = next((part.content for part in parts if part.kind in STATUS_PARTS), None)
    returned = next((part.content for part in parts if part.kind in RETURNED_PARTS), b"")
    return None if status is None else read_status(status), returned


def _search_text(found: _Found, text: bytes, keyring: Keyring) -> None:
    """A mailer-daemon's text in no known form: it counts where a canary's header stands in it."""
    evidence = gather({}, text, keyring)
    if evidence.embedded:
        found.ids.update(dict.fromkeys(evidence.canary_ids))
        found.matched.add(Matched.RETURNED)
        found.identity = evidence.tokens[0][1]


def _search(
    found: _Found,
    outer: Fields,
    report: Report | None,
    returned: bytes,
    keyring: Keyring,
    known: Mapping[bytes, RouteExpectation],
) -> None:
    """Looks in the three places where a canary's identity can stand."""
    if report is not None:
        found.tag(report.envelope_id, Matched.ENVELOPE_ID, keyring)
    for name in _RECIPIENT_FIELDS:
        for value in outer.get(name, ())[:_RECIPIENTS_MOST]:
            found.tag(split_tag(address_of(value))[1], Matched.RECIPIENT, keyring)
    fields = parse_fields(returned.lstrip(b"\r\n")[:HEADER_CAP], _RETURNED)
    # What was returned may be somebody's answer to a canary, or another report: those are not the canary.
    if sign_of_answer(fields) is None:
        _search_returned(found, fields, keyring, known)


def _search_returned(found: _Found, fields: Fields, keyring: Keyring, known: Mapping[bytes, RouteExpectation]) -> None:
    evidence = gather(fields, None, keyring)
    found.claims |= evidence.claims or evidence.subject_claims
    sender = address_of(first(fields, "from"))
    ours = any(sender == form.mail_from.lower() for expectation in known.values() for form in expectation.forms)
    if evidence.carriers & _STRONG or (evidence.carriers and ours):
        found.ids.update(dict.fromkeys(evidence.canary_ids))
        found.matched.add(Matched.RETURNED)
        found.identity = evidence.tokens[0][1] if evidence.tokens else None
        found.recipient = address_of(first(fields, "to"))


def _verified(found: _Found, report: Report | None, now_ms: int, known: Mapping[bytes, RouteExpectation]) -> Bounce:
    """At least one identity verified: whose, whether consistent, whether still waited for, then what it says."""
    identity = found.identity
    expectation = known.get(identity.route) if identity is not None else None
    ids = sorted(found.ids)
    if len(ids) > 1:
        # Nothing of what it says is kept: of which canary would it be said?
        sentence = f"a delivery report with the identities of {len(ids)} canaries at once: {', '.join(ids)}"
        return Bounce(
            BounceKind.FORGED, sentence, matched=frozenset(found.matched), token_verified=identity is not None
        )
    group = chosen(report.groups, found.recipient) if report is not None else None
    kind, sentence = _judged(group, found.matched)
    if identity is not None and expectation is None:
        kind, sentence = BounceKind.OTHER_PROBER, "a delivery report of a canary for no route of this prober"
    elif identity is not None and expectation is not None and _past(identity, expectation, now_ms):
        hours = (now_ms - identity.sent_ms) / 3_600_000
        kind, sentence = BounceKind.EXPIRED, f"a delivery report of a canary signed {hours:.1f} h ago: past its watch"
    return Bounce(
        kind=kind,
        sentence=sentence,
        canary_id=ids[0],
        action=group.action if group is not None else None,
        status=group.status if group is not None else "",
        diagnostic=group.diagnostic if group is not None else "",
        reporting_mta=report.reporting_mta if report is not None else "",
        remote_mta=group.remote_mta if group is not None else "",
        matched=frozenset(found.matched),
        token_verified=identity is not None,
        attempt=identity.attempt if identity is not None else None,
        sent_ms=identity.sent_ms if identity is not None else None,
        route=expectation.route if expectation is not None else None,
    )


def _past(identity: Identity, expectation: RouteExpectation, now_ms: int) -> bool:
    return expired(identity, now_ms, max(form.max_age_ms for form in expectation.forms)) is Age.EXPIRED


_KINDS = {Action.FAILED: BounceKind.FAILED, Action.DELAYED: BounceKind.DELAYED}


def _judged(group: Group | None, matched: set[Matched]) -> tuple[BounceKind, str]:
    """What a report says of a canary that is ours and still waited for."""
    by = ", ".join(each for each in Matched if each in matched)
    if group is None:
        return BounceKind.OTHER, f"it is about a canary (by {by}), but in no form that says what happened to it"
    kind = _KINDS.get(group.action, BounceKind.OTHER)
    return (
        kind,
        f"a delivery report of a canary: {group.action}, status {group.status or 'not given'}; verified by {by}",
    )
