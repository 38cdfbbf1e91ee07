"""What the sandbox says about itself: one frozen picture of its figures."""

from __future__ import annotations

from dataclasses import dataclass

from probe.sandbox.faults import Fault, FaultName


@dataclass(frozen=True, slots=True)
class IntakeState:
    """One intake host: its name, where it listens, how many messages it answered 250 for, and how many of them it did
    not keep (``bad-host``)."""

    host: str
    address: str
    port: int
    accepted: int
    lost: int


@dataclass(frozen=True, slots=True)
class SandboxState:
    """The figures at one moment. Always: sum of accepted = queue + delivered + bounced + dropped + sum of lost.

    ``queue`` is the spool's own honest count of waiting messages: what an operator's queue monitor shows.
    ``junked`` counts, of the delivered ones, those put into Junk; ``duplicated`` those stored twice, of these and of
    the re-queued ones.
    ``dropped`` counts what vanished from the spool after the 250; ``requeued`` how many of these were brought back
    since. ``greylisted`` counts the answers 450. ``resolver``: where the zone is served, as ``127.0.0.1:5353``.
    """

    queue: int
    intakes: tuple[IntakeState, ...]
    delivered: int
    junked: int
    duplicated: int
    bounced: int
    dropped: int
    requeued: int
    greylisted: int
    faults: tuple[Fault, ...]
    resolver: str

    def figures(self) -> list[tuple[str, int]]:
        """What to show to people, in order: a name and a number each."""
        return [
            ("messages in the queue", self.queue),
            *((f"accepted by {one.host}", one.accepted) for one in self.intakes),
            *((f"lost by {one.host}", one.lost) for one in self.intakes if one.lost),
            ("delivered", self.delivered),
            ("of these into Junk", self.junked),
            ("of these stored twice", self.duplicated),
            ("bounced", self.bounced),
            ("dropped after the 250", self.dropped),
            ("of these re-queued", self.requeued),
            ("put off by greylisting", self.greylisted),
        ]

    def as_json(self) -> dict[str, object]:
        """For ``GET /api/sandbox``."""
        return {
            "queue": self.queue,
            "intakes": [
                {
                    "host": one.host,
                    "address": one.address,
                    "port": one.port,
                    "accepted": one.accepted,
                    "lost": one.lost,
                }
                for one in self.intakes
            ],
            "resolver": self.resolver,
            "delivered": self.delivered,
            "junked": self.junked,
            "duplicated": self.duplicated,
            "bounced": self.bounced,
            "dropped": self.dropped,
            "requeued": self.requeued,
            "greylisted": self.greylisted,
            "faults": [
                {
                    "fault": fault.name.value,
                    "share": fault.share,
                    "seconds": fault.delay.total_seconds() if fault.name is FaultName.DELAY else None,
                    "intake": fault.intake,
                }
                for fault in self.faults
            ],
        }
