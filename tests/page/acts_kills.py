"""The acts in which a part is killed: the right critical alert comes, and no other."""

from __future__ import annotations

from collections.abc import Sequence

from tests.page.outcome import Row, check, only, within
from tests.page.scale import Scale
from tests.page.site import Plan
from tests.page.stage import MX2, WATCHDOG, Stage

_GRACE = 300.0  # silence after which a dead man's switch calls: the least that docs/alerts.md names


def _plan(act: str, scale: Scale, run: int) -> Plan:
    return Plan(act, every=10.0 if scale.full else 0.5, hosts=True, seed=run)


async def _silence(what: str, scale: Scale, run: int) -> list[Row]:
    """Without Prometheus or Alertmanager nothing can be told: the switch elsewhere hears nothing, and calls."""
    act = f"{what} killed"
    async with Stage(_plan(act, scale, run), scale) as stage:
        regular = scale.of(60) + 3 * scale.scrape
        began = len(stage.notices(WATCHDOG))
        beaten = await stage.within(lambda: len(stage.notices(WATCHDOG)) >= began + 2, 3 * regular)
        rows = [check(act, "the watchdog beats before", "yes" if beaten else "no", "yes", beaten is not None)]
        killed = await stage.kill(what)
        wait = scale.of(_GRACE) + regular

        def silent() -> bool:
            return stage.now() - stage.notices(WATCHDOG)[-1].at >= scale.of(_GRACE)

        quiet = await stage.within(silent, wait)
        last = stage.notices(WATCHDOG)[-1].at - killed
        text = f"last beat {last:+.1f} s, then silence for {stage.now() - killed - last:.0f} s"
        rows.append(
            check(act, "the dead man's switch calls", text, f"{scale.of(_GRACE):g} s silent", quiet is not None)
        )
        rows.append(only(act, stage.paged(killed), []))
        alive = await stage.asked_ok("/healthz")
        rows.append(check(act, "the daemon goes on", "yes" if alive else "no", "yes", alive))
        return rows


async def prometheus(scale: Scale, run: int) -> list[Row]:
    return await _silence("prometheus", scale, run)


async def alertmanager(scale: Scale, run: int) -> list[Row]:
    return await _silence("alertmanager", scale, run)


async def _alert(what: str, wanted: Sequence[str], most: float, look: float, scale: Scale, run: int) -> list[Row]:
    """``wanted`` comes within ``most`` seconds, and in ``look`` seconds after the kill nothing else."""
    act = f"{what} killed"
    async with Stage(_plan(act, scale, run), scale) as stage:
        killed = await stage.kill(what)
        await stage.within(lambda: stage.pages(killed), scale.of(look))
        pages = stage.pages(killed)
        came = pages[0].at - killed if pages else None
        if came is not None:
            stage.say(f"paged: {', '.join(stage.paged(killed))}")
        cap = most if scale.full else 60.0
        rows = [within(act, "page at the webhook", came, cap)]
        await stage.rest(max(0.0, killed + scale.of(look) - stage.now()))
        return [*rows, only(act, stage.paged(killed), wanted)]


async def prober(scale: Scale, run: int) -> list[Row]:
    # 1 min of the rule, a scrape, two evaluations, the group's wait.
    return await _alert("prober", ["MailCanaryProberDown"], 90, 300, scale, run)


async def mailbox(scale: Scale, run: int) -> list[Row]:
    # Long enough that the control canary is missed as well: that is an echo, and held back.
    wanted = ["MailCanaryMailboxBlind mailbox=canaries"]
    return await _alert("mailbox", wanted, 180, 720, scale, run)


async def mx(scale: Scale, run: int) -> list[Row]:
    # Refused counts: more failed than accepted of the last ten minutes.
    wanted = [f"MailCanaryRefused route=inbound mx={MX2} mailbox=canaries"]
    return await _alert("mx", wanted, 300, 480, scale, run)
