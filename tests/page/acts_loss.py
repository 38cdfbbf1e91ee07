"""The acts about mail: the loss of 2015 in whole and in part, the bad host, the re-queue and the all-clear, a stall."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from probe.detection.moments import from_text
from tests.page.outcome import Row, check, only, within
from tests.page.scale import Scale
from tests.page.site import Plan
from tests.page.stage import MX1, MX2, Stage

PAST = 2000
_LOST_AFTER = 75.0  # soon after overdue, so that what is queued again has its outcome, and is recovered


async def total_loss(scale: Scale, run: int) -> list[Row]:
    """Everything is accepted and vanishes, from right after an arrival: the worst moment there is."""
    act = "total loss"
    async with Stage(Plan(act, every=60 if scale.full else 0.5, seed=run), scale) as stage:
        before = stage.sandbox.snapshot().delivered
        await stage.within(lambda: stage.sandbox.snapshot().delivered > before, 90)
        await stage.rest(scale.of(1))
        stage.queue.clear()
        on, _ = stage.fault("backup-db")
        await _page(stage, on, scale.of(360))
        rows = [within(act, "page at the webhook", _first(stage, on), _cap(scale, 180))]
        await stage.rest(scale.of(15))
        rows.append(_queue(act, stage))
        rows.append(only(act, stage.paged(on), ["MailCanaryPathDown route=inbound mx=any mailbox=canaries"]))
        dropped = stage.sandbox.snapshot().dropped
        rows.append(check(act, "dropped after the 250", str(dropped), "> 0", dropped > 0))
        return rows


async def bad_host(scale: Scale, run: int) -> list[Row]:
    """One of two hosts loses what it accepts."""
    act = "bad host"
    plan = Plan(act, every=60 if scale.full else 0.5, hosts=True, seed=run, max_rate=_rate(scale))
    async with Stage(plan, scale) as stage:
        on, _ = stage.fault("bad-host")
        await _page(stage, on, scale.of(480))
        rows = [within(act, "page at the webhook", _first(stage, on), _cap(scale, 180))]
        named = [f"MailCanaryPathDown route=inbound mx={MX2} mailbox=canaries"]

        async def told_apart() -> bool:
            found = await stage.incident()
            return bool(found and found["naming"] and not found["naming"]["untold"])

        rested = await stage.within(told_apart, scale.of(600))
        found = await stage.incident()
        sentence = "nothing" if not found or not found["naming"] else str(found["naming"]["sentence"])
        bad = [] if not found or not found["naming"] else found["naming"]["bad"]
        rows.append(check(act, "the incident says", sentence, f"only {MX2}", bad == [MX2] and rested is not None))
        if rested is not None:
            took = stage.now() - on
            rows.append(Row(act, "fault to the name", f"{took:.1f} s", seconds=took))
        await stage.rest(scale.of(60))
        rows.append(only(act, stage.paged(on), named))
        rows.append(_queue(act, stage))
        good, bad_one = (one.lost for one in stage.sandbox.snapshot().intakes)
        rows.append(check(act, f"lost by {MX1} / {MX2}", f"{good} / {bad_one}", "0 / > 0", good == 0 < bad_one))
        return rows


async def share(scale: Scale, run: int) -> list[Row]:
    """A fifth of the mail vanishes; a canary every 5 s, and a past of 2,000 punctual ones. The first run goes on to the
    re-queue and the all-clear."""
    act = f"20 % lost, run {run}"
    every = 5.0 if scale.full else 0.5
    plan = Plan(act, every, past=PAST, seed=run, lost_after=_LOST_AFTER, max_rate=_rate(scale))
    async with Stage(plan, scale) as stage:
        rows = [await _calibrated(act, stage)]
        on, since = stage.fault("backup-db", share=0.2)
        await _page(stage, on, scale.of(900))
        rows.append(within(act, "page at the webhook", _first(stage, on), _cap(scale, 300)))
        await stage.rest(scale.of(15))
        rows.append(_queue(act, stage))
        rows.append(only(act, stage.paged(on), ["MailCanaryLossDetected route=inbound mx=any mailbox=canaries"]))
        if run == 1 and stage.pages(on):
            rows += await _repaired("re-queue", stage, since)
        return rows


async def requeue(scale: Scale, run: int) -> list[Row]:
    """A total loss, then the re-queue and the all-clear: the short form's way to them."""
    act = "re-queue"
    every = 5.0 if scale.full else 0.5
    plan = Plan(act, every, lost_after=_LOST_AFTER, seed=run, max_rate=_rate(scale))
    async with Stage(plan, scale) as stage:
        on, since = stage.fault("backup-db")
        await _page(stage, on, scale.of(480))
        rows = [within(act, "page at the webhook", _first(stage, on), _cap(scale, 180)), _queue(act, stage)]
        if not stage.pages(on):
            return rows
        return rows + await _repaired(act, stage, since)


async def stall(scale: Scale, run: int) -> list[Row]:
    """Nothing moves for 45 seconds, then all of it comes at once. A canary every 5 s, and suspicion from 2 s on."""
    act = "stall of 45 s"
    async with Stage(Plan(act, every=5.0 if scale.full else 0.5, hosts=True, past=PAST, seed=run), scale) as stage:
        rows = [await _calibrated(act, stage)]
        on, _ = stage.fault("delay", seconds=86400.0)
        await stage.rest(scale.of(45))
        held = stage.sandbox.snapshot().queue
        off, _ = stage.repair()
        rows.append(check(act, "messages held, then let go", f"{held} in {off - on:.1f} s", "> 0", held > 0))
        await stage.rest(scale.of(300))
        rows.append(only(act, stage.paged(on), []))
        overdue = await stage.metric("mailcanary_overdue_total")
        rows.append(check(act, "overdue canaries", f"{overdue:.0f}", "0", overdue == 0))
        return rows


async def _calibrated(act: str, stage: Stage) -> Row:
    """What the leg has learned of its past: its noise, and whether a share may page. It looks once in 30 s."""

    async def ready() -> bool:
        return await stage.metric('max(mailcanary_detector_threshold{detector="share"})') < 100

    await stage.within(ready, 60)
    noise = await stage.metric("max(mailcanary_detector_noise_ratio)")
    threshold = await stage.metric('max(mailcanary_detector_threshold{detector="share"})')
    suspicion = await stage.metric("max(mailcanary_detector_suspicion_seconds)")
    text = f"q {noise:.4%}, H {threshold:.1f}, S {suspicion:.1f} s"
    return check(act, f"learned from {PAST} canaries", text, "H finite", threshold < 100)


async def _repaired(act: str, stage: Stage, since: datetime) -> list[Row]:
    """The repair, the re-queue, the all-clear, the report."""
    scale = stage.scale

    async def measured() -> bool:
        found = await stage.incident()
        return bool(found and found["all_clear"] and found["all_clear"][0]["phase"] != "measuring")

    took = await stage.within(measured, scale.of(900))
    stage.say("the share is measured" if took is not None else "the share was not measured in time")
    off, until = stage.repair()
    # What vanished is proven lost first (other folders are searched once a minute); what comes back is recovered.
    gone = stage.sandbox.snapshot().dropped

    async def proven() -> bool:
        return await stage.metric('sum(mailcanary_outcomes_total{outcome="lost"})') >= gone

    if await stage.within(proven, scale.of(stage.plan.lost_after) + 120) is None:
        stage.say("not all that vanished is proven lost")
    before = await _counted(stage)
    stage.sandbox.set_fault("duplicate")
    back = await stage.sandbox.requeue()
    stage.sandbox.clear_fault("duplicate")
    stage.say(f"queued again: {back}, each of them twice")

    async def all_back() -> bool:
        return (await _counted(stage))[0] - before[0] >= back

    climbed = await stage.within(all_back, scale.of(120) + 10)
    await stage.rest(2 * scale.scrape)
    after = await _counted(stage)
    recovered, twice = after[0] - before[0], after[1] - before[1]
    rows = [
        check(act, "recovered climbs by", f"{recovered:.0f}", f"{back}", recovered == back and climbed is not None),
        check(act, "duplicates are counted", f"{twice:.0f}", f"{back}", twice == back),
    ]
    closed = await stage.within(lambda: _state(stage, "closed"), scale.of(2400))
    took = None if closed is None else stage.now() - off
    rows.append(
        check(act, "repair to all-clear", "never" if took is None else f"{took:.1f} s", "closes", took is not None)
    )
    return rows + await _report(act, stage, since, until, took)


async def _report(act: str, stage: Stage, since: datetime, until: datetime, took: float | None) -> list[Row]:

    async def ended() -> bool:
        found = await stage.incident()
        return bool(found and found["requeue"] and found["requeue"]["to"])

    closed = await stage.within(ended, 400)  # the engine finds the window now and then, once it is over every 5 min
    found = await stage.incident()
    assert found is not None
    told: dict[str, Any] = json.loads(await stage.command("report", found["id"], "--format", "json"))
    rows = [_by_the_rule(act, stage, told, took), _window(act, told, since, until)]
    rows.append(Row(act, "all-clear to the window's end", "never" if closed is None else f"{closed:.1f} s"))
    text = await stage.command("report", found["id"])
    says = "Queue again all mail" in text
    loss = told["loss_ratio"]
    rows.append(check(act, "report as text", "instruction there" if says else "no instruction", "instruction", says))
    rows.append(Row(act, "kind; loss ratio as reported", f"{told['kind']}; {json.dumps(loss)}"))
    return rows


def _by_the_rule(act: str, stage: Stage, told: dict[str, Any], took: float | None) -> Row:
    """Closed by the proof, and held: not by a number of good ones in a row, nor by hand."""
    hold = stage.scale.of(300)
    legs = told["all_clear"]
    text = "; ".join(f"proof {leg['proof']:.2f} of {leg['level']:.2f}, {leg['phase']}" for leg in legs)
    met = bool(legs) and all(leg["phase"] == "clear" and leg["proof"] >= leg["level"] for leg in legs)
    return check(
        act, "by the rule, held for 5 min", text, f"clear, >= {hold:g} s", met and took is not None and took >= hold
    )


def _window(act: str, told: dict[str, Any], since: datetime, until: datetime) -> Row:
    window = told["requeue"]
    if not window or not window["to"]:
        return check(act, "the window holds the true one", "no window", "yes", False)
    start, end = from_text(window["from"]), from_text(window["to"])
    early, late = (since - start).total_seconds(), (end - until).total_seconds()
    text = f"begins {early:.0f} s before, ends {late:.0f} s after"
    return check(act, "the window holds the true one", text, "before, after", early >= 0 and late >= 0)


async def _state(stage: Stage, state: str) -> bool:
    found = await stage.incident()
    return bool(found and found["state"] == state)


async def _counted(stage: Stage) -> tuple[float, float]:
    """Recovered canaries and duplicates until now."""
    return (
        await stage.metric("sum(mailcanary_recovered_total)"),
        await stage.metric("sum(mailcanary_duplicates_total)"),
    )


async def _page(stage: Stage, on: float, most: float) -> None:
    """Wait for the first page."""
    if await stage.within(lambda: stage.pages(on), most) is not None:
        stage.say(f"paged: {', '.join(stage.paged(on))}")


def _first(stage: Stage, on: float) -> float | None:
    """Seconds from the fault to the first page."""
    pages = stage.pages(on)
    return pages[0].at - on if pages else None


def _queue(act: str, stage: Stage) -> Row:
    most = max(stage.queue, default=0)
    return check(
        act, "queue figure", f"{most} in {len(stage.queue)} samples", "0 in each", bool(stage.queue) and not most
    )


def _cap(scale: Scale, seconds: float) -> float:
    """The bar; in the short form only that it comes: the machine may be loaded."""
    return seconds if scale.full else 60.0


def _rate(scale: Scale) -> str:
    return "60/min" if scale.full else "600/min"
