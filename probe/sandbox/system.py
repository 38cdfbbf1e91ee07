"""The whole sandbox: a zone, two intakes, a spool, a worker, two stores and an IMAP server, and the switches for its
faults.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import secrets
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

from probe.clock import NANOSECONDS, Clock
from probe.sandbox.faults import Fault, FaultBoard, FaultName
from probe.sandbox.greylist import Greylist
from probe.sandbox.imap_server import ImapServer
from probe.sandbox.intake import Intake
from probe.sandbox.loopback import FIRST, on_one_port, second_address
from probe.sandbox.spool import Spool
from probe.sandbox.state import IntakeState, SandboxState
from probe.sandbox.stores import MessageStore
from probe.sandbox.worker import Worker
from probe.sandbox.zone import Host, Zone

_log = logging.getLogger(__name__)

DOMAIN = "sandbox.test"
USER = "canary"
INTAKE_HOSTS = (f"mx1.{DOMAIN}", f"mx2.{DOMAIN}")
BAD_HOST = INTAKE_HOSTS[1]  # where none is named


class Sandbox:
    """An inbound mail system on loopback.

    ``clock``: all waits go through it. ``chance``: where the draws for a share below 1 come from; give it a seed to
    repeat a run. ``folder``: an existing folder for spool and stores; left out, a temporary one that ``stop`` deletes.
    Attributes, known after ``start``: ``intakes`` (each with ``host``, ``address`` and the one ``port`` of all),
    ``resolver`` (where the zone with their MX records is served), ``imap_address`` (host, port), ``user``,
    ``password``. ``recipient`` is the one address that exists (with or without a ``+tag``); ``prober`` is the one whose
    bounces come back, into the same mailbox.
    """

    def __init__(self, *, clock: Clock, chance: random.Random | None = None, folder: Path | None = None) -> None:
        self._clock = clock
        self._faults = FaultBoard(chance or random.Random())
        self._greylist = Greylist()
        self._own_folder = folder is None
        self._folder = folder
        self._worker: Worker | None = None
        self._spool: Spool | None = None
        self._work: asyncio.Task[None] | None = None
        self._ids = itertools.count(1)
        self._series = f"{clock.now().wall // NANOSECONDS:08X}"
        self.recipient = f"{USER}@{DOMAIN}"
        self.prober = f"prober@prober.{DOMAIN}"
        self.user = USER
        self.password = secrets.token_urlsafe(24)
        self._imap = ImapServer(self.user, self.password, clock=clock)
        self._zone: Zone | None = None
        self.intakes: tuple[Intake, ...] = ()

    @property
    def imap_address(self) -> tuple[str, int]:
        """Host and port of the IMAP server."""
        return self._imap.address, self._imap.port

    @property
    def resolver(self) -> str:
        """Where the zone is served, as a sender's option names it; "" before ``start``."""
        return self._zone.resolver if self._zone is not None else ""

    async def start(self) -> None:
        """Start everything; when it returns, mail is taken. Raises OSError, or MailCanaryError on a machine without a
        second address on loopback, with nothing left running."""
        addresses = (FIRST, second_address())
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="mailcanary-sandbox-"))
        spool = self._spool = Spool(self._folder / "spool", clock=self._clock)
        self._worker = Worker(
            clock=self._clock,
            spool=spool,
            primary=MessageStore(self._folder / "primary"),
            backup=MessageStore(self._folder / "backup"),
            deliver=self._imap.deliver,
            takes_bounces=lambda address: _is(address, self.prober),
            faults=self._faults,
        )
        self.intakes = tuple(
            self._intake(host, address, spool) for host, address in zip(INTAKE_HOSTS, addresses, strict=True)
        )
        self._zone = Zone(DOMAIN, [Host(one.host, one.address) for one in self.intakes])
        try:
            await self._imap.start()
            await on_one_port(self._start_first, self._start_second, self._stop_intakes)
            await self._zone.start()
        except OSError:
            await self.stop()
            raise
        self._work = asyncio.get_running_loop().create_task(self._worker.run(), name="sandbox worker")

    def _intake(self, host: str, address: str, spool: Spool) -> Intake:
        return Intake(
            host,
            address,
            clock=self._clock,
            spool=spool,
            faults=self._faults,
            greylist=self._greylist,
            knows=lambda known: _is(known, self.recipient),
            new_id=self._new_id,
        )

    async def _start_first(self) -> int:
        await self.intakes[0].start()
        return self.intakes[0].port

    async def _start_second(self, port: int) -> None:
        await self.intakes[1].start(port)

    async def _stop_intakes(self) -> None:
        for intake in self.intakes:
            await intake.stop()

    async def stop(self) -> None:
        """End everything: intakes first, then the worker, then IMAP. Safe to call twice, or after a failed start."""
        await self._stop_intakes()
        if self._zone is not None:
            await self._zone.stop()
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait({self._work})
            if not self._work.cancelled() and (error := self._work.exception()) is not None:
                _log.error("sandbox: the worker had ended", exc_info=error)
            self._work = None
        await self._imap.stop()
        if self._own_folder and self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    async def supervise(self) -> None:
        """Runs as long as the worker does, and raises what ended it. Cancelled, it leaves the worker running."""
        if self._work is None:
            raise RuntimeError("the sandbox is not running")
        await asyncio.shield(self._work)

    def set_fault(
        self, name: str, *, share: float = 1.0, seconds: float | None = None, intake: str | None = None
    ) -> None:
        """Switch a fault of ``FaultName`` on, or change it; ``delay`` needs ``seconds``. ``share`` is 0 to 1;
        ``intake`` limits it to the mail of one host, which for ``bad-host`` is mx2 where it is left out. Raises
        ValueError with a sentence for the user."""
        try:
            fault = FaultName(name)
        except ValueError:
            raise ValueError(f"no fault {name!r}: there are {', '.join(FaultName)} and off") from None
        if intake is not None and intake not in INTAKE_HOSTS:
            raise ValueError(f"no intake {intake!r}: there are {' and '.join(INTAKE_HOSTS)}")
        if (seconds is not None) != (fault is FaultName.DELAY):
            raise ValueError("seconds belong to the fault delay, and it needs them")
        if seconds is not None and not 0 < seconds <= 86400:
            raise ValueError("seconds must be above 0 and at most 86400")
        if fault is FaultName.BAD_HOST:
            intake = intake or BAD_HOST
        self._faults.set(Fault(fault, share, timedelta(seconds=seconds or 0), intake))

    def clear_fault(self, name: str | None = None) -> None:
        """Switch one fault off, or all (None). What ``delay`` held is delivered at once; ``greylist`` forgets."""
        for fault in FaultName if name is None else (FaultName(name),):
            self._faults.clear(fault)
            if fault is FaultName.DELAY and self._spool is not None:
                self._spool.release()
            if fault is FaultName.GREYLIST:
                self._greylist.forget()

    async def requeue(self) -> int:
        """Bring back what was dropped, from the primary store; the number of messages."""
        if self._worker is None:
            raise RuntimeError("the sandbox is not running")
        return await self._worker.requeue()

    def snapshot(self) -> SandboxState:
        """The figures now; they stay readable after ``stop``."""
        worker, spool = self._worker, self._spool
        return SandboxState(
            queue=spool.waiting if spool else 0,
            intakes=tuple(IntakeState(one.host, one.address, one.port, one.accepted, one.lost) for one in self.intakes),
            delivered=worker.delivered if worker else 0,
            junked=worker.junked if worker else 0,
            duplicated=worker.duplicated if worker else 0,
            bounced=worker.bounced if worker else 0,
            dropped=worker.dropped if worker else 0,
            requeued=worker.requeued if worker else 0,
            greylisted=self._greylist.put_off,
            faults=self._faults.active,
            resolver=self.resolver,
        )

    def _new_id(self) -> str:
        return f"{self._series}{next(self._ids):06X}"


def _is(address: str, known: str) -> bool:
    """Whether ``address`` is ``known``, with or without a ``+tag``."""
    local, _, domain = address.rpartition("@")
    return f"{local.partition('+')[0]}@{domain}".lower() == known
