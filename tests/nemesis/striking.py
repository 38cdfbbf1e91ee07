"""How each kind of fault is done to a world."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from probe.canary.identity import Keyring, SigningKey, route_mark
from probe.errors import MailCanaryError
from probe.message.compose import compose
from tests.nemesis.faults import LEDGER, MAILBOX, PATH, Fault
from tests.nemesis.history import identity
from tests.nemesis.mail import ASTRAY, Box

if TYPE_CHECKING:
    from tests.nemesis.running import World

FOREIGN_KEY = SigningKey("k1", b"f" * 32)
PATIENCE = 60.0  # seconds that a reload may hold up what comes after it
STEPS = (-86_400.0, -3600.0, -20.0, 20.0, 900.0, 3600.0, 86_400.0, 40 * 86_400.0)


class Striking:
    """Faults that begin and end."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._active: list[Fault] = []

    async def begin(self, fault: Fault) -> None:
        if fault.lasts:
            self._active.append(fault)
        if fault.kind in PATH:
            self._path(fault)
        elif fault.kind in MAILBOX:
            self._mailbox(fault)
        elif fault.kind in LEDGER:
            self._ledger()
        else:
            await getattr(self, f"_{fault.kind}")(fault)

    async def end(self, fault: Fault) -> None:
        if fault not in self._active:
            return
        self._active.remove(fault)
        if fault.kind in PATH:
            self._path(fault)
        elif fault.kind in MAILBOX:
            self._mailbox(fault)
        elif fault.kind in LEDGER:
            self._ledger()
            if fault.kind == "fsync":
                await self._world.restart(crash=True)

    def heal(self) -> None:
        """Nothing is wrong any more."""
        before, self._active = self._active, []
        for fault in before:
            if fault.kind in PATH:
                self._path(fault)
            elif fault.kind in MAILBOX:
                self._mailbox(fault)
        self._ledger()

    def started(self) -> None:
        """A new process meets what is still wrong with its ledger."""
        self._ledger()

    async def order(self, name: str, **request: Any) -> None:
        """An order as the control socket would give it; what is refused is no concern here."""
        daemon = self._world.prober.daemon
        if daemon is None or self._world.prober.dead:
            return
        order = asyncio.ensure_future(daemon._orders.handlers[name](request))
        died = asyncio.ensure_future(self._world.prober.life.died.wait())
        await asyncio.wait({order, died}, return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        if order.done():
            with suppress(MailCanaryError):
                order.result()

    # What lasts: set from all that is at work.

    def _path(self, fault: Fault) -> None:
        paths = sorted(self._world.paths)
        for name in paths:
            self._world.paths[name].active = [
                one for one in self._active if one.kind in PATH and paths[int(one.of * 2 % 1 * len(paths))] == name
            ]

    def _box(self, fault: Fault) -> Box:
        boxes = sorted(self._world.boxes)
        return self._world.boxes[boxes[int(fault.of * len(boxes))]]

    def _mailbox(self, fault: Fault) -> None:
        box = self._box(fault)
        box.troubles = {one.kind: one for one in self._active if one.kind in MAILBOX and self._box(one) is box}
        box.trouble = None
        if "down" in box.troubles:
            box.went_down("connect")
        elif "login" in box.troubles:
            box.refuse_login()
        box.pieces = 1 + int(fault.draw * 3) if "cut" in box.troubles else 500
        usual = self._world.plan.setup["mailboxes"][box.name]
        box.latency = 3.0 if "slow" in box.troubles else usual["latency"]
        box.away = {usual["folders"][-1]} if "folder_gone" in box.troubles else set()
        if "hidden" not in box.troubles:
            box.hidden.clear()

    def _ledger(self) -> None:
        kinds = {one.kind: one for one in self._active if one.kind in LEDGER}
        life = self._world.prober.life
        life.fails = 1.0 if "unwritable" in kinds else 0.5 if "choppy" in kinds else 0.0
        life.slow = 0.5 if "slow_commit" in kinds else 0.0
        life.fsync = (life.fsync or 1) if "fsync" in kinds else 0

    # What is of one moment.

    async def _renumber(self, fault: Fault) -> None:
        box = self._box(fault)
        box.renumber(sorted(set(box.folders) - {ASTRAY})[0])

    async def _delete(self, fault: Fault) -> None:
        await self._tamper(fault, None)

    async def _move(self, fault: Fault) -> None:
        box = self._box(fault)
        targets = sorted(set(box.folders) - {"INBOX"})
        await self._tamper(fault, targets[int(fault.draw * len(targets))])

    async def _tamper(self, fault: Fault, target: str | None) -> None:
        """Another client at work for some seconds, so that it meets what nobody has seen; never in a mailbox that is
        declared exclusive."""
        box = self._box(fault)
        if self._world.plan.setup["mailboxes"][box.name]["exclusive"]:
            return
        chance = random.Random(f"{fault.draw}")

        def act() -> None:
            for uid in list(box.folders["INBOX"].messages):
                if chance.random() < fault.share:
                    if target is None:
                        box.lose("INBOX", uid, "others")
                    else:
                        box.shift(uid, "INBOX", target)

        for turn in range(20):
            asyncio.get_running_loop().call_later(turn * (0.05 + fault.draw), act)

    async def _drop(self, fault: Fault) -> None:
        self._box(fault).drop_connections = True

    async def _forge(self, fault: Fault) -> None:
        """A canary of another key, a whole canary that comes again, and one that is quoted in an answer."""
        box = self._box(fault)
        route = self._world.plan.setup["routes"][0]
        canary, mark = "a" * 12 + "q", route_mark("p1", route["name"])
        ring = Keyring([FOREIGN_KEY])
        token = ring.token(canary_id=canary, route=mark, sent_ms=self._world.clock.now().wall // 10**6, attempt=1)
        forged = compose(
            identity_token=token,
            tag=ring.tag(canary),
            mail_from="probe@example.org",
            rcpt_to="alpha.one@example.net",
            prober_host="example.org",
            date=self._world.clock.now().utc,
            auto_submitted=True,
            prober="p1",
            route=route["name"],
        )
        box.put(forged, "INBOX", "forged")
        for sender in self._world.senders.values():
            for one in sender.handed[-20::5]:
                named = identity(one.message)
                if named is not None:
                    text = one.message.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\r\n> ")
                    head = b"From: someone@example.net\r\nSubject: Re: Mail canary\r\nIn-Reply-To: <x@y>\r\n\r\n> "
                    box.put(head + text, "INBOX", "answer")

    async def _alien(self, fault: Fault) -> None:
        box = self._box(fault)
        for number in range(int(fault.draw * 30)):
            box.put(f"From: a@example.com\r\nSubject: lunch {number}\r\n\r\nat noon\r\n".encode(), "INBOX", "alien")

    async def _step(self, fault: Fault) -> None:
        self._world.clock.step(timedelta(seconds=STEPS[int(fault.draw * len(STEPS))]))
        self._world.record.clocks()

    async def _suspend(self, fault: Fault) -> None:
        self._world.clock.suspend(timedelta(seconds=10 + 3000 * fault.draw**3))
        self._world.record.clocks()
        for box in self._world.boxes.values():
            box.drop_connections = True

    async def _reload(self, fault: Fault) -> None:
        reload = asyncio.ensure_future(self._world.reload(fault.draw))
        died = asyncio.ensure_future(self._world.prober.life.died.wait())
        await asyncio.wait({reload, died}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        if reload.done() and not reload.cancelled():
            reload.result()

    async def _restart(self, fault: Fault) -> None:
        await self._world.restart(crash=False, down=0.1 + 30 * fault.draw**2)

    async def _crash(self, fault: Fault) -> None:
        await self._world.restart(crash=True, down=0.1 + 30 * fault.draw**2)

    async def _crash_commit(self, fault: Fault) -> None:
        self._world.prober.life.countdown = 1 + int(fault.draw * 20)

    async def _pause(self, fault: Fault) -> None:
        routes = [route["name"] for route in self._world.spec["routes"]]
        await self.order("pause", route=routes[int(fault.of * len(routes))], seconds=fault.lasts, reason="nemesis")
