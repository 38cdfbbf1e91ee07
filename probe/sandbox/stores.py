"""Where the sandbox keeps messages: one folder of files each for the spool, the primary and the backup store.

A file is written under another name and then renamed, so that it is whole or absent. Nothing is synced to disk: the
folder ends with the sandbox. The number of files is bounded.
"""

from __future__ import annotations

import json
import re
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path

from probe.clock import Instant
from probe.sandbox.dsn import MailRequest, RcptRequest

_UNPRINTABLE = re.compile(r"[^\x21-\x7e]")


def in_header(text: str) -> str:
    """Text from an SMTP command, made safe to stand in a header: printable ASCII without blanks, else ``?``."""
    return _UNPRINTABLE.sub("?", text)[:320]


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as accepted. ``queue_id``: what the sender was told; ``intake``: the host that took it;
    ``content``: with the intake's Received header on top, CRLF line ends. ``rcpt_requests``: one for each of
    ``rcpt_to``, or none at all where nothing was asked for."""

    queue_id: str
    intake: str
    mail_from: str
    rcpt_to: tuple[str, ...]
    accepted: Instant
    content: bytes
    mail_request: MailRequest = field(default_factory=MailRequest)
    rcpt_requests: tuple[RcptRequest, ...] = ()


class MessageStore:
    """A folder of messages, one file each, named by queue id.

    ``keep``: how many *settled* messages stay; older ones are deleted. What is not settled stays until it is
    settled or removed. Every method may raise OSError.
    """

    def __init__(self, folder: Path, *, keep: int = 5_000) -> None:
        self._folder = folder
        self._keep = keep
        self._settled: deque[str] = deque()
        folder.mkdir(parents=True, exist_ok=True)

    def _path(self, queue_id: str) -> Path:
        return self._folder / f"{queue_id}.eml"

    def write(self, message: StoredMessage) -> None:
        """Keep a message; the same queue id again replaces it."""
        envelope = {
            "intake": message.intake,
            "mail_from": message.mail_from,
            "rcpt_to": message.rcpt_to,
            "accepted": [message.accepted.wall, message.accepted.boot, message.accepted.boot_id],
            "mail_request": asdict(message.mail_request),
            "rcpt_requests": [asdict(asked) for asked in message.rcpt_requests],
        }
        path = self._path(message.queue_id)
        partial = path.with_suffix(".tmp")
        partial.write_bytes(json.dumps(envelope).encode("ascii") + b"\n" + message.content)
        partial.replace(path)

    def read(self, queue_id: str) -> StoredMessage:
        """Raises FileNotFoundError where it is not (any more)."""
        head, _, content = self._path(queue_id).read_bytes().partition(b"\n")
        envelope = json.loads(head)
        wall, boot, boot_id = envelope["accepted"]
        return StoredMessage(
            queue_id=queue_id,
            intake=envelope["intake"],
            mail_from=envelope["mail_from"],
            rcpt_to=tuple(envelope["rcpt_to"]),
            accepted=Instant(wall, boot, boot_id),
            content=content,
            mail_request=MailRequest(**envelope["mail_request"]),
            rcpt_requests=tuple(RcptRequest(**asked) for asked in envelope["rcpt_requests"]),
        )

    def remove(self, queue_id: str) -> None:
        """No error where it is gone already."""
        self._path(queue_id).unlink(missing_ok=True)

    def settle(self, queue_id: str) -> None:
        """Nobody needs this message any more: it goes when ``keep`` newer ones are settled."""
        self._settled.append(queue_id)
        while len(self._settled) > self._keep:
            self.remove(self._settled.popleft())

    def names(self) -> frozenset[str]:
        """The queue ids of all messages in the folder."""
        return frozenset(path.stem for path in self._folder.glob("*.eml"))
