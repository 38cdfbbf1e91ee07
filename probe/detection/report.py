"""The report of one incident, as Markdown for people and as an object for JSON. Pure text: nothing is looked up here.

Its numbers are the record's; it adds words, and the estimate for a volume of mail. What servers said (queue ids) comes
from outside: it is printed only inside code, without control characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from probe.detection.estimate import LostMail, estimate_lost
from probe.detection.moments import to_minute, to_second, to_text
from probe.detection.naming import join_names
from probe.detection.record import Incident, Kind, State
from probe.detection.recovery import Phase
from probe.detection.strata import Loss, Ratio, Stratum, ratio
from probe.detection.window import ADVISED, SMALL_SHARE, advice

MOST_QUEUE_IDS = 200
_LONGEST_ID = 120
_BROKEN = (State.OPEN, State.IDENTIFIED)


def to_json(incident: Incident, volume: int | None = None) -> dict[str, Any]:
    """The record with ``real_mail`` (None without a volume or a window), ``status_page`` and ``instruction``."""
    lost = None if volume is None else estimate_lost(incident, volume)
    return {
        **incident.to_json(),
        "real_mail": lost and lost.to_json(),
        "status_page": status_page(incident, lost),
        "instruction": requeue_instruction(incident),
    }


def to_markdown(incident: Incident, volume: int | None = None) -> str:
    """The whole report. ``volume``: mails to the route within the re-queue window, where that is known."""
    lost = None if volume is None else estimate_lost(incident, volume)
    parts = [
        f"# Incident {_plain(incident.id)}",
        _summary(incident),
        "## For the status page",
        status_page(incident, lost),
        "## What to queue again",
        requeue_instruction(incident),
        "## How much mail was lost",
        _estimate(incident, volume, lost),
        "## What the canaries say",
        _strata(incident.counts.strata) or "Nothing was counted yet.",
        "## Is it over?",
        _all_clear(incident),
        "## What led to this",
        "\n".join(f"* {to_second(at)}: {_plain(sentence)}" for at, sentence in incident.reasons),
    ]
    return "\n\n".join(parts) + "\n"


def status_page(incident: Incident, lost: LostMail | None = None) -> str:
    """One paragraph for customers: what happened, since when, how much, and what comes next. No host is named."""
    if incident.state in (State.FALSE, State.DISMISSED):
        return "Our monitoring reported a problem with incoming mail that turned out to be none. No mail was affected."
    if incident.state is State.SUSPECTED:
        return "We are looking into a possible delay of incoming mail."
    start, end = incident.requeue or (incident.first_bad, None)
    over = incident.state not in _BROKEN
    since = f"from {to_minute(start)} to {to_minute(end)}" if over and end else f"since {to_minute(start)}"
    # A delay loses nothing, as far as is known; how much is late is not what is estimated.
    number = f" We estimate {_number(lost)}." if lost is not None and incident.kind is not Kind.DELAY else ""
    return f"{_happened(incident, since)}{number} {_next(incident)}"


def requeue_instruction(incident: Incident) -> str:
    """What an operator does to get the mail back: the time window and the lost canaries' queue ids to look for."""
    if incident.state in (State.FALSE, State.DISMISSED):
        return "Nothing: it was no incident."
    if incident.requeue is None:
        return "No window can be given yet."
    start, end = incident.requeue
    lines = [
        f"Queue again all mail that {_where(incident)} took from {to_second(start)} to {_end(end)}.",
        f"In RFC 3339: `{to_text(start)}` to `{to_text(end) or 'the all-clear'}`. The window holds the beginning and "
        "the end of the fault with 99 % confidence each, so it also holds mail that did arrive: queue again only by a "
        "way that drops what was delivered before (by Message-ID).",
    ]
    for mx, window in incident.windows:
        proven = (
            f"first proven loss {to_second(window.first_lost)}"
            if window.first_lost
            else "no proven loss that is still missing"
        )
        lines.append(f"* {_plain(mx)}: {to_second(window.start)} to {_end(window.end)}; {proven}.")
        lines += [f"  * {_plain(reason)}" for reason in window.reasons]
        # What is measured can be added to only while the fault runs.
        if incident.state.active and (more := advice(window.measured)):
            lines.append(f"  * {more}")
        elif more := advice(window.measured):
            lines.append(
                f"  * a share under {SMALL_SHARE:.0%} from fewer than {ADVISED:,} canaries: the window is wide"
            )
    lines += ["", *_queue_ids(incident.counts.losses), "", *_replay(incident)]
    return "\n".join(lines)


def _summary(incident: Incident) -> str:
    loss = incident.loss
    kind = incident.kind.replace("_", " ") if incident.kind else "not known yet"
    rows = [
        ("route", _plain(incident.route)),
        ("state", incident.state.value),
        ("kind", kind),
        ("first overdue canary", to_second(incident.first_bad)),
        ("paged", to_second(incident.detected_at)),
        ("closed", to_second(incident.closed_at) if incident.closed_at else "no"),
        ("legs", _plain(incident.naming.sentence if incident.naming else _where(incident))),
        ("share", _share(loss)),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _share(loss: Ratio) -> str:
    if not loss.judged:
        return "no canary was judged yet"
    which = "sent after the page" if loss.since_page else "from the first overdue one on"
    missing = f", {loss.missing:,} overdue and not yet known" if loss.missing else ""
    return (
        f"{loss.lost:,} lost{missing}, of {loss.judged:,} canaries {which}: {loss.estimate:.2%}, between "
        f"{loss.lower:.2%} and {loss.upper:.2%} (Clopper-Pearson, {loss.confidence:.0%})"
    )


def _happened(incident: Incident, since: str) -> str:
    verb = "is" if incident.state in _BROKEN else "was"
    match incident.kind:
        case Kind.DELAY:
            return f"Incoming mail {verb} delayed {since}."
        case Kind.TOTAL_LOSS:
            some = "" if len(incident.affected) == len(incident.legs) else " on a part of our mail servers"
            return f"Incoming mail {verb} not being delivered{some} {since}."
        case _:
            return f"A part of incoming mail {verb} not being delivered {since}."


def _next(incident: Incident) -> str:
    match incident.state:
        case State.CLOSED if incident.unproven:
            return "The affected part is no longer in use; affected mail will be delivered again."
        case State.CLOSED:
            return "Delivery is confirmed to be back to normal by test mail; affected mail will be delivered again."
        case State.RECOVERING | State.DRAINED:
            return "New mail is arriving in time again; we are confirming that this holds."
        case _:
            return "We are working on it, and will say here when it is over."


def _number(lost: LostMail) -> str:
    if lost.upper == 0:
        return "that no mail was lost"
    return f"that about {lost.estimate:,} messages were affected (between {lost.lower:,} and {lost.upper:,})"


def _where(incident: Incident) -> str:
    if incident.naming is None or incident.naming.untold:
        return f"{_plain(join_names(incident.suspects))} (the legs are not yet told apart)"
    return _plain(join_names(incident.affected))


def _end(end: object) -> str:
    return "the all-clear (it is not over yet)" if end is None else to_second(end)  # type: ignore[arg-type]


def _queue_ids(losses: Sequence[Loss]) -> list[str]:
    gone = [loss for loss in losses if not loss.recovered]
    if not losses:
        return ["No canary is proven lost yet, so there is no queue id to look for."]
    if not gone:
        return [f"All {len(losses):,} lost canaries have come after all."]
    named = [loss for loss in gone if _queue_id(loss)]
    lines = [f"{len(gone):,} canaries were lost after the server had taken them."]
    if not named:
        return [*lines, "No server named a queue id in its reply."]
    shown = named[:MOST_QUEUE_IDS]
    lines[0] += f" Look for their queue ids in the servers' logs{_of(len(shown), len(named))}:"
    patterns = "\n".join(f"{_queue_id(loss)}" for loss in shown)
    listed = "\n".join(f"{to_second(loss.sent)}  {_code(loss.mx)}  queued as {_queue_id(loss)}" for loss in shown)
    return [*lines, "", "```", listed, "```", "", "As patterns for `grep -F -f -`:", "", "```", patterns, "```"]


def _of(shown: int, all_of_them: int) -> str:
    return f" (the first {shown:,} of {all_of_them:,})" if shown < all_of_them else ""


def _replay(incident: Incident) -> list[str]:
    lost = sum(stratum.lost for stratum in incident.counts.strata)
    back = sum(stratum.recovered for stratum in incident.counts.strata)
    if not lost:
        return []
    return [
        f"The replay works when the canaries come too: {back:,} of {lost:,} lost ones are back "
        "(`mailcanary_recovered_total`), and what arrives twice is counted (`mailcanary_duplicates_total`)."
    ]


def _estimate(incident: Incident, volume: int | None, lost: LostMail | None) -> str:
    if volume is None:
        return "Give the number of mails to this route within the window (`--volume N`) for an estimate."
    if lost is None:
        return "No window can be given yet, so there is no estimate."
    about = (
        f"Of {lost.volume:,} mails in the window about **{lost.estimate:,}** were lost, between {lost.lower:,} and "
        f"{lost.upper:,} ({lost.confidence:.0%})."
    )
    legs = [
        f"* {_plain(leg.mx)}: {leg.estimate:,.0f} of {leg.mails:,.0f} ({leg.lower:,.0f} to {leg.upper:,.0f})"
        for leg in lost.legs
    ]
    return "\n".join([about, "", *(legs if len(legs) > 1 else ()), *(f"* {word}" for word in lost.words)])


def _strata(strata: Iterable[Stratum]) -> str:
    rows = []
    for stratum in strata:
        share = ratio([stratum])
        rows.append(
            f"| {_plain(stratum.mx)} | {_plain(stratum.variant)} | {stratum.sent:,} | {stratum.delivered:,} | "
            f"{stratum.late:,} | {stratum.missing:,} | {stratum.lost:,} | {stratum.unknown:,} | "
            f"{share.estimate:.2%} ({share.lower:.2%} to {share.upper:.2%}) |"
        )
    if not rows:
        return ""
    head = "| leg | variant | sent | in time | late | overdue | lost | unknown | share lost or overdue (95 %) |"
    return "\n".join([head, "|---|---|--:|--:|--:|--:|--:|--:|---|", *rows])


def _all_clear(incident: Incident) -> str:
    lines = [f"* {_plain(leg.mx)}: {leg.sentence}." for leg in incident.all_clear]
    if incident.state is State.CLOSED and incident.unproven:
        lines.insert(0, f"Not known: closed at {to_second(incident.closed_at)}, since {_plain(incident.unproven)}.")
    elif incident.state is State.CLOSED:
        lines.insert(0, f"Yes, since {to_second(incident.closed_at)}.")
    elif incident.state.active:
        lines.insert(0, "Not proven yet.")
    waits = [leg for leg in incident.all_clear if leg.phase is not Phase.CLEAR]
    if incident.state.active and not incident.all_clear:
        lines.append("* the first canaries after the page are not judged yet")
    elif incident.state.active and len(waits) > 1:
        lines.append("* the incident ends with the last of these legs")
    backlog = incident.counts.in_flight
    if backlog:
        lines.append(f"* {backlog:,} canaries have no outcome yet, the oldest sent {to_second(incident.counts.oldest)}")
    return "\n".join(lines) or "It was no incident."


def _queue_id(loss: Loss) -> str:
    return _code(loss.queued_as)[:_LONGEST_ID]


def _code(text: str) -> str:
    """For a code block: one line, nothing that ends the block."""
    return "".join(mark for mark in text if mark.isprintable() and mark != "`").strip()


def _plain(text: str) -> str:
    """For running text and tables: nothing that Markdown would take for its own."""
    return "".join(f"\\{mark}" if mark in "\\`*_[]<>|#" else mark for mark in text if mark.isprintable())
