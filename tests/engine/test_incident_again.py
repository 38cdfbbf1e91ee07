"""Incidents that come again, and the share rule of a new leg: in virtual time."""

from __future__ import annotations

from pathlib import Path

from probe.detection.record import State as Stage
from probe.detection.recovery import Phase
from tests.engine.test_detection import USUAL, LossyPath, incident_of, paged
from tests.engine.test_detection_ends import losing
from tests.engine.world import HOUR, MINUTE, SECOND, World
from tests.jumping import JumpingClock, Virtual


def test_it_is_opened_again_and_counts_only_what_was_lost(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        path = LossyPath()
        world = World(clock, tmp_path, path.way, **USUAL)
        async with world.running():
            await losing(world, path)
            path.share = 0.0
            await world.until(lambda: incident_of(world).state is Stage.CLOSED)
            tries = incident_of(world).all_clear[0].tries
            await clock.sleep(3 * HOUR)
            path.share = 1.0
            await world.until(lambda: incident_of(world).state.active)
            await clock.sleep(2 * MINUTE)
            path.share = 0.0
            await world.until(lambda: incident_of(world).state is Stage.CLOSED)
            await clock.sleep(15 * MINUTE)
            incident = incident_of(world)
            assert len(incident.bouts) == 2
            assert incident.all_clear[0].tries > tries  # the proof pays for those of the first time
            (stratum,) = incident.counts.of(["any"])
            assert stratum.lost == path.lost
            assert stratum.sent < path.lost + 20  # not the three hours between
            windows = [window for _, window in incident.windows]
            assert len(windows) == 2
            assert windows[0].last_bad < windows[1].first_bad

    virtual.run(main)


def test_an_old_incident_called_false_leaves_the_open_one_alone(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        path = LossyPath()
        world = World(clock, tmp_path, path.way, **{**USUAL, "every": MINUTE})
        async with world.running():
            await losing(world, path)
            path.share = 0.0
            await world.until(lambda: incident_of(world).state is Stage.CLOSED)
            old = incident_of(world).id
            await clock.sleep(25 * HOUR)
            path.share = 1.0
            await world.until(lambda: incident_of(world).id != old and incident_of(world).state.active)
            await clock.sleep(MINUTE)
            pages = world.said.getvalue().count("event=incident_paged")
            await world.daemon.detection.incidents.mark_false(old, "a test")
            await clock.sleep(5 * MINUTE)
            assert world.said.getvalue().count("event=incident_paged") == pages == 2
            (watched,) = world.daemon.detection.detecting.legs.values()
            assert watched.detector.open is not None

    virtual.run(main)


def test_a_new_legs_share_is_a_ticket_until_its_past_was_rehearsed(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        path = LossyPath(seed=3)
        world = World(clock, tmp_path, path.way, **{**USUAL, "every": 2 * SECOND})
        async with world.running():
            await world.until(lambda: world.states()["delivered"] >= 20)
            path.share = 0.1
            await world.until(lambda: "event=share_suspected" in world.said.getvalue())
            assert not paged(world)
            path.share = 0.0
            (watched,) = world.daemon.detection.detecting.legs.values()
            await world.until(lambda: watched.detector.tuning.share_pages, 6 * HOUR)
            assert watched.detector.judged >= 2_000
            assert watched.armed
            assert watched.rehearsed is not None
            path.share = 0.2
            await world.until(lambda: paged(world))
            assert incident_of(world).pages[0].rule == "share"

    virtual.run(main)


def test_a_share_that_grows_tenfold_is_told_in_the_open_incident(virtual: Virtual, tmp_path: Path) -> None:
    async def main(clock: JumpingClock) -> None:
        path = LossyPath(seed=5)
        world = World(clock, tmp_path, path.way, **{**USUAL, "every": 2 * SECOND})
        async with world.running():
            await world.until(lambda: world.states()["delivered"] >= 20)
            (watched,) = world.daemon.detection.detecting.legs.values()
            await world.until(lambda: watched.detector.tuning.share_pages and watched.armed, 6 * HOUR)
            path.share = 0.05
            await world.until(lambda: paged(world), 6 * HOUR)
            tracked = world.daemon.detection.incidents.tracked["in"]
            await world.until(lambda: tracked.recoveries["any"].phase is not Phase.MEASURING, 6 * HOUR)
            reasons = len(incident_of(world).reasons)
            path.share = 0.8
            await world.until(lambda: len(incident_of(world).reasons) > reasons, HOUR)
            assert "far more than before" in incident_of(world).reasons[-1][1]
            assert world.said.getvalue().count("event=incident_paged") == 1
            assert incident_of(world).state.active

    virtual.run(main)
