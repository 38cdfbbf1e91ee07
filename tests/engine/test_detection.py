"""From the first lost canary to the all-clear, in virtual time, by the daemon's own loops."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from probe.canary import counters
from probe.config.model import Limits
from probe.detection.record import Incident, Kind
from probe.detection.record import State as Stage
from probe.options import Rate
from probe.senders.base import BeforeData, ContentSent, Submission
from tests.engine import fakes
from tests.engine.world import HOUR, MINUTE, SECOND, World
from tests.jumping import JumpingClock, Virtual

USUAL = {"paging": True, "overdue_after": MINUTE, "lost_after": 10 * MINUTE, "watch_for": HOUR}


class LossyPath:
    """A path that loses ``share`` of the mail to ``bad`` hosts (all, where None), and delivers the rest at once."""

    def __init__(self, seed: int = 1) -> None:
        self.share = 0.0
        self.bad: set[str] | None = None
        self.chance = random.Random(seed)
        self.lost = 0

    async def way(
        self, sender: fakes.FakeSender, one: fakes.Handed, before: BeforeData, sent: ContentSent
    ) -> Submission:
        hit = self.bad is None or one.mx in self.bad
        if hit and self.chance.random() < self.share:
            self.lost += 1
            return await fakes.drops(sender, one, before, sent)
        return await fakes.delivers(SECOND / 5)(sender, one, before, sent)


def incident_of(world: World) -> Incident:
    return world.daemon.detection.incidents.tracked["in"].incident


def paged(world: World) -> bool:
    return "in" in world.daemon.detection.incidents.tracked


def test_a_total_loss_pages_within_minutes_and_closes_after_the_repair(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        path = LossyPath()
        world = World(clock, tmp_path, path.way, **USUAL)
        async with world.running():
            await world.until(lambda: world.states()["delivered"] >= 30)
            assert not paged(world)
            path.share, began = 1.0, clock.now()
            await world.until(lambda: paged(world))
            assert clock.now().since(began) < timedelta(minutes=2.5)
            incident = incident_of(world)
            assert incident.state in (Stage.OPEN, Stage.IDENTIFIED)
            assert incident.pages[0].rule == "blackout"
            await clock.sleep(5 * MINUTE)
            assert incident_of(world).kind is Kind.TOTAL_LOSS
            path.share, repaired = 0.0, clock.now()
            await world.until(lambda: incident_of(world).state is Stage.CLOSED)
            assert timedelta(minutes=5) < clock.now().since(repaired) < timedelta(minutes=8)  # the hold is 5 min
            await clock.sleep(12 * MINUTE)  # the lost ones get their outcome
            incident = incident_of(world)
            assert incident.counts.of(["any"])[0].lost == path.lost
            assert incident.requeue is not None
            start, end = incident.requeue
            assert start <= began.utc
            assert end is not None
            assert end >= repaired.utc - MINUTE
            (row,) = world.ledger.queries.incidents()
            assert (row.id, row.state) == (incident.id, "closed")
            world.check_books()
        assert world.said.getvalue().count("event=incident_paged") == 1

    virtual.run(main)


def test_a_healthy_path_opens_nothing_and_sends_nothing_extra(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, LossyPath().way, **USUAL)
        async with world.running():
            await clock.sleep(6 * HOUR)
            assert not paged(world)
            assert 355 <= len(world.sender.handed) <= 362

    virtual.run(main)


def test_blindness_is_no_loss(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, LossyPath().way, **USUAL)
        async with world.running():
            await world.until(lambda: world.states()["delivered"] >= 5)
            before = len(world.sender.handed)
            world.account.went_down()
            await clock.sleep(10 * MINUTE)
            assert len(world.sender.handed) - before <= 11  # the schedule alone
            world.account.trouble = None
            await clock.sleep(10 * MINUTE)
            assert not paged(world)
            (watched,) = world.daemon.detection.detecting.legs.values()
            assert watched.detector.score == 0

    virtual.run(main)


def test_the_bad_host_is_named(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        path = LossyPath()
        world = World(clock, tmp_path, path.way, mxs=("mx1", "mx2", "mx3"), **USUAL)
        async with world.running():
            await world.until(lambda: world.states()["delivered"] >= 60)
            path.share, path.bad = 1.0, {"mx2"}
            await world.until(lambda: paged(world) and incident_of(world).state is Stage.IDENTIFIED)
            naming = incident_of(world).naming
            assert (naming.bad, naming.untold) == (("mx2",), ())
            assert naming.sentence.startswith("only mx2")
            assert incident_of(world).affected == ("mx2",)

    virtual.run(main)


def test_a_restart_goes_on_with_the_incident(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        path = LossyPath()
        world = World(clock, tmp_path, path.way, **USUAL)
        async with world.running():
            await world.until(lambda: world.states()["delivered"] >= 10)
            path.share = 1.0
            await world.until(lambda: paged(world))
            await clock.sleep(MINUTE)
            name = incident_of(world).id
            await world.restart(after=MINUTE)
            assert incident_of(world).id == name
            await clock.sleep(5 * MINUTE)
            assert len(incident_of(world).pages) == 1
            path.share = 0.0
            await world.until(lambda: incident_of(world).state is Stage.CLOSED)
            assert [row.id for row in world.ledger.queries.incidents()] == [name]
            world.check_books()

    virtual.run(main)


def test_a_detector_keeps_its_score_over_a_restart(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        path = LossyPath()
        world = World(clock, tmp_path, path.way, **USUAL)
        async with world.running():
            await world.until(lambda: world.states()["delivered"] >= 10)
            path.share = 1.0
            await world.until(lambda: path.lost == 1)
            path.share = 0.0
            await clock.sleep(90 * SECOND)
            (watched,) = world.daemon.detection.detecting.legs.values()
            judged = watched.detector.judged
            assert 0 < watched.detector.score < 1
            await world.restart()
            (watched,) = world.daemon.detection.detecting.legs.values()
            assert watched.detector.judged >= judged - 1
            assert 0 < watched.detector.score < 1

    virtual.run(main)


def test_extras_keep_within_the_limits(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        path = LossyPath()
        limits = Limits(per_recipient=(Rate(20, MINUTE), Rate(200, HOUR)))
        world = World(clock, tmp_path, path.way, limits=limits, **USUAL)
        async with world.running():
            await world.until(lambda: world.states()["delivered"] >= 5)
            path.share = 1.0
            await clock.sleep(HOUR)
            assert paged(world)
            times = [one.at.boot / 1e9 for one in world.sender.handed]
            for most, per in ((20, 60), (200, 3600)):
                assert max(sum(at <= other < at + per for other in times) for at in times) <= most
            # The schedule never had to wait for an extra one.
            assert world.total(counters.CAP_HITS) == 0

    virtual.run(main)


def test_a_route_that_only_measures_sends_no_extras(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.drops, **{**USUAL, "paging": False})
        async with world.running():
            await clock.sleep(HOUR)
            assert not paged(world)
            assert 58 <= len(world.sender.handed) <= 62

    virtual.run(main)


@pytest.mark.parametrize("closed", [False, True])
def test_an_operator_may_call_it_false(virtual: Virtual, tmp_path: Path, closed: bool) -> None:
    async def main(clock: JumpingClock) -> None:
        path = LossyPath()
        world = World(clock, tmp_path, path.way, **USUAL)
        async with world.running():
            await world.until(lambda: world.states()["delivered"] >= 5)
            path.share = 1.0
            await world.until(lambda: paged(world))
            await clock.sleep(2 * MINUTE)
            path.share = 0.0
            await clock.sleep(30 * SECOND)  # a leg that is still dark would page again
            if closed:
                await world.until(lambda: incident_of(world).state is Stage.CLOSED)
            name = incident_of(world).id
            await world.daemon.detection.incidents.mark_false(name, "a test of the relay")
            (row,) = world.ledger.queries.incidents()
            assert (row.id, row.state) == (name, "false")
            (watched,) = world.daemon.detection.detecting.legs.values()
            assert watched.detector.open is None
            await clock.sleep(10 * MINUTE)
        assert world.said.getvalue().count("event=incident_paged") == 1

    virtual.run(main)


def test_a_reload_keeps_detectors_and_incidents(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        path = LossyPath()
        world = World(clock, tmp_path, path.way, **USUAL)
        async with world.running():
            await world.until(lambda: world.states()["delivered"] >= 5)
            path.share = 1.0
            await world.until(lambda: paged(world))
            name = incident_of(world).id
            await clock.sleep(2 * MINUTE)
            world.config = replace(world.config, limits=world.config.limits)
            assert await world.daemon.reload(lambda: world.config)
            path.share = 0.0
            await world.until(lambda: incident_of(world).state is Stage.CLOSED)
            assert incident_of(world).id == name

    virtual.run(main)
