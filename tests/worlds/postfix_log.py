"""What Postfix's log says: who was taken in, and every try to deliver. Whole seconds only, so no instants here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from dataclasses import dataclass

_LINE = re.compile(
    r"^\w{3} +\d+ [\d:]{8} \S+ postfix(?:/submission)?/(?P<part>[\w-]+)\[\d+\]: (?P<id>[0-9A-F]{6,}): "
    r"(?P<rest>.*)$"
)
_DELIVERY = re.compile(
    r"to=<(?P<to>[^>]*)>.* relay=(?P<relay>[^,]*),.* delay=(?P<delay>[\d.]+),.* dsn=(?P<dsn>[\d.]+), "
    r"status=(?P<status>\w+) \((?P<text>.*)\)$"
)
_MESSAGE_ID = re.compile(r"message-id=(<[^>]*>)")
_FROM = re.compile(r"from=<(?P<sender>[^>]*)>, size=")


@dataclass(frozen=True, slots=True)
class Delivery:
    """One try to deliver, as logged. ``status`` is sent, deferred or bounced; ``delay_seconds`` counts from the
    message's receipt; ``relay`` is ``none`` for a silent discard.
    """

    queue_id: str
    message_id: str
    sender: str
    recipient: str
    status: str
    dsn: str
    relay: str
    delay_seconds: float
    text: str


def parsed(lines: Iterable[str]) -> list[re.Match[str]]:
    """The lines that speak of a queue id, as matches with ``part`` (the daemon), ``id`` and ``rest``."""
    return [match for line in lines if (match := _LINE.match(line))]


def taken_in(lines: Iterable[str], held: Set[str]) -> list[tuple[str, str]]:
    """(queue id, message id) of each message the queue manager has seen, or that is ``held``, in the log's order.

    A message that was refused after its last byte, or broken off, has a message id in the log and no more.
    """
    matches = parsed(lines)
    taken = held | {match["id"] for match in matches if match["part"] == "qmgr"}
    found = ((match["id"], _MESSAGE_ID.search(match["rest"])) for match in matches if match["part"] == "cleanup")
    return [(queue_id, message_id[1]) for queue_id, message_id in found if message_id and queue_id in taken]


def tries(lines: Iterable[str]) -> list[Delivery]:
    """Every try to deliver, in the log's order."""
    message_ids: dict[str, str] = {}
    senders: dict[str, str] = {}
    result = []
    for match in parsed(lines):
        queue_id, rest = match["id"], match["rest"]
        if found := _MESSAGE_ID.search(rest):
            message_ids[queue_id] = found[1]
        elif found := _FROM.match(rest):
            senders[queue_id] = found["sender"]
        elif found := _DELIVERY.match(rest):
            result.append(
                Delivery(
                    queue_id,
                    message_ids.get(queue_id, ""),
                    senders.get(queue_id, ""),
                    found["to"],
                    found["status"],
                    found["dsn"],
                    found["relay"],
                    float(found["delay"]),
                    found["text"],
                )
            )
    return result
