"""Incidents that end otherwise than by their proof, or begin otherwise than by the book: in virtual time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from probe.detection.record import State as Stage
from probe.engine.pacing import Pace
from probe.engine.supervisor import Pulse
from probe.options import Rate
from probe.senders.base import BeforeData, ContentSent, Result, Submission, SubmissionLabel
from probe.senders.base import Stage as Step
from tests.engine import fakes
from tests.engine.test_detection import USUAL, LossyPath, incident_of, paged
from tests.engine.world import HOUR, MINUTE, SECOND, WIDE, World
from tests.jumping import JumpingClock, Virtual


async def losing(world: World, path: LossyPath) -> None:
    """A total loss, paged."""
    await world.until(lambda: world.states()["delivered"] >= 5)
    path.share = 1.0
    await world.until(lambda: paged(world))
    await world.clock.sleep(2 * MINUTE)  # enough of it to know its share: the proof is then short


def removed(world: World) -> None:
    world.config = replace(world.config, routes={"other": replace(world.config.routes["in"], name="other")})


@pytest.mark.parametrize("how", ["reload", "restart"])
def test_a_route_that_is_removed_ends_its_incident_without_an_all_clear(
    virtual: Virtual, tmp_path: Path, how: str
) -> None:
    async def main(clock: JumpingClock) -> None:
        path = LossyPath()
        world = World(clock, tmp_path, path.way, **USUAL)
        async with world.running():
            await losing(world, path)
            removed(world)
            if how == "reload":
                assert await world.daemon.reload(lambda: world.config)
            else:
                await world.restart()
            await clock.sleep(30 * SECOND)
            incident = incident_of(world)
            assert incident.state is Stage.CLOSED
            assert "removed from the configuration" in incident.unproven
            assert "the all-clear" not in incident.reasons[-1][1]
            (row,) = [row for row in world.ledger.queries.incidents() if row.route == "in"]
            assert row.state == "closed"

    virtual.run(main)


def test_canaries_that_arrive_while_their_route_is_away_make_no_points(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        world = World(clock, tmp_path, fakes.delivers(20 * SECOND), **USUAL)
        async with world.running():
            await world.until(lambda: world.states()["delivered"] >= 5)
            await world.until(lambda: world.states()["accepted"] == 1)
            back = world.config
            removed(world)
            assert await world.daemon.reload(lambda: world.config)
            await clock.sleep(3 * MINUTE)
            world.config = back
            assert await world.daemon.reload(lambda: world.config)
            await clock.sleep(10 * MINUTE)
            watched = world.daemon.detection.detecting.legs[("in", "any")]
            assert watched.detector.score == 0
            assert watched.detector.runs == 0
            assert watched.detector.judged > 10

    virtual.run(main)


def test_a_host_that_leaves_dns_for_good_ends_its_part(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        path = LossyPath()
        pace = Pace(sweeps_apart=SECOND, hosts_apart=MINUTE)
        world = World(clock, tmp_path, path.way, mxs=("mx1", "mx2"), pace=pace, **USUAL)
        async with world.running():
            path.bad = {"mx2"}
            await losing(world, path)
            world.sender.mxs = ("mx1",)
            await clock.sleep(50 * MINUTE)
            assert incident_of(world).state.active  # it may come back
            await world.until(lambda: incident_of(world).state is Stage.CLOSED, 3 * HOUR)
            assert incident_of(world).unproven.startswith("mx2 left")
            said = world.said.getvalue()
            assert said.count("event=incident_paged") == 1

    virtual.run(main)


def test_a_host_that_is_new_pages_into_the_open_incident(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        path = LossyPath()
        pace = Pace(sweeps_apart=SECOND, hosts_apart=MINUTE)
        world = World(clock, tmp_path, path.way, mxs=("mx1", "mx2"), pace=pace, **USUAL)
        async with world.running():
            path.bad = {"mx2", "mx3"}
            await losing(world, path)
            world.sender.mxs = ("mx1", "mx2", "mx3")
            await world.until(lambda: "mx3" in incident_of(world).affected)
            await clock.sleep(2 * MINUTE)
            path.share = 0.0
            await world.until(lambda: incident_of(world).state is Stage.CLOSED)
            assert incident_of(world).unproven == ""
            assert "event=task_crashed" not in world.said.getvalue()

    virtual.run(main)


class Complains(LossyPath):
    """A path that loses everything, and a server that says of the third canary in a minute that it is too much."""

    busy = False

    async def way(
        self, sender: fakes.FakeSender, one: fakes.Handed, before: BeforeData, sent: ContentSent
    ) -> Submission:
        recent = [other for other in sender.handed if one.at.since(other.at) < MINUTE]
        if self.busy and len(recent) > 15:
            return Submission(
                Result.DEFERRED,
                SubmissionLabel.REFUSED_4XX,
                Step.RCPT,
                code=450,
                enhanced="4.2.1",
                reply="receiving mail too quickly",
                clock_started=one.at,
            )
        return await super().way(sender, one, before, sent)


def test_a_server_that_says_too_much_gets_half_for_an_hour(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        path = Complains()
        limits = replace(WIDE, per_recipient=(Rate(20, MINUTE),))
        world = World(clock, tmp_path, path.way, limits=limits, **USUAL)
        async with world.running():
            path.busy = True
            await losing(world, path)
            await world.until(lambda: "extras_halved" in world.said.getvalue())
            since = clock.now()
            await clock.sleep(30 * MINUTE)
            sent = [one for one in world.sender.handed if one.at.since(since) > MINUTE]
            assert 5 * 29 <= len(sent) <= 11 * 30
            # Not told twice, and kept over a restart and a reload.
            await world.restart()
            room = world.daemon.detection.extras._recipients["canary@example.net"]
            assert room.state()["halved_until"] is not None
            assert await world.daemon.reload(lambda: world.config)
            await clock.sleep(10 * SECOND)
            room = world.daemon.detection.extras._recipients["canary@example.net"]
            assert room.state()["halved_until"] is not None
        assert world.said.getvalue().count("event=extras_halved") == 1

    virtual.run(main)


def test_a_leg_too_noisy_for_any_share_still_pages_when_dark(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        path = LossyPath()
        world = World(clock, tmp_path, path.way, **USUAL)
        async with world.running():
            await world.until(lambda: world.states()["delivered"] >= 5)
            (watched,) = world.daemon.detection.detecting.legs.values()
            watched.calibrated = replace(watched.calibrated, noise=0.4)
            path.share = 1.0
            await world.until(lambda: paged(world))
            assert incident_of(world).pages[0].rule == "blackout"

    virtual.run(main)


def test_the_connection_dropped_every_30_seconds_hides_no_total_loss(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        path = LossyPath()
        world = World(clock, tmp_path, path.way, **USUAL)
        async with world.running():
            await world.until(lambda: world.states()["delivered"] >= 5)
            path.share, began = 1.0, clock.now()
            while not paged(world):
                assert clock.now().since(began) < 10 * MINUTE
                world.account.went_down()
                await clock.sleep(8 * SECOND)
                world.account.trouble = None
                await clock.sleep(22 * SECOND)
            assert clock.now().since(began) < timedelta(minutes=6)

    virtual.run(main)


def test_a_rule_that_would_have_paged_for_nothing_asks_for_a_point_more(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        path = LossyPath(seed=3)
        world = World(clock, tmp_path, path.way, **USUAL)
        async with world.running():
            await world.until(lambda: world.states()["delivered"] >= 20)
            (watched,) = world.daemon.detection.detecting.legs.values()
            for _ in range(2):  # dark for long enough to page, and no incident that anybody has on record
                path.share = 1.0
                await clock.sleep(4 * MINUTE)
                path.share = 0.0
                await clock.sleep(30 * MINUTE)
            watched.calibration._excluded.clear()
            plain = watched.calibrated.tuning.score
            play = world.daemon.detection.rehearsals._pages
            pages = await play(watched, world.daemon._stopping, Pulse(clock))
            assert pages >= 2
            assert watched.was_rehearsed(pages, world.daemon.detection.detecting.now())
            assert watched.calibrated.tuning.score >= plain + 1
            # Tried again without that point: it stays as long as the past is what it is.
            assert (
                await world.daemon.detection.rehearsals._pages(watched, world.daemon._stopping, Pulse(clock)) == pages
            )

    virtual.run(main)
