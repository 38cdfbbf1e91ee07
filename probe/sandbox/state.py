"""What the sandbox says about itself: one frozen picture of its figures."""

from __future__ import annotations

from dataclasses import dataclass

from probe.sandbox.faults import Fault, FaultName


@dataclass(frozen=True, slots=True)
class IntakeState:
    """One intake host: its name, where it listens, and how many messages it answered 250 for."""

    host: str
    address: str
    port: int
    accepted: int


@dataclass(frozen=True, slots=True)
class SandboxState:
    """The figures at one moment. Always: sum of accepted = queue + delivered + dropped.

    ``queue`` is the spool's own honest count of waiting messages: what an operator's queue monitor shows.
    ``dropped`` counts what vanished after the 250; ``requeued`` how many of these were brought back since.
    """

    queue: int
    intakes: tuple[IntakeState, ...]
    delivered: int
    dropped: int
    requeued: int
    faults: tuple[Fault, ...]

    def as_json(self) -> dict[str, object]:
        """For ``GET /api/sandbox``."""
        return {
            "queue": self.queue,
            "intakes": [
                {"host": one.host, "address": one.address, "port": one.port, "accepted": one.accepted}
                for one in self.intakes
            ],
            "delivered": self.delivered,
            "dropped": self.dropped,
            "requeued": self.requeued,
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
