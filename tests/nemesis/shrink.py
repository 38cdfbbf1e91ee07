"""From a history that fails to a smaller one that fails in the same way: fewer faults, fewer canaries, less time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.nemesis.faults import Plan

Fails = Callable[[Plan], bool]
FEWEST_CANARIES = 4


class Shrinker:
    """Tries at most ``most`` histories. ``fails``: whether a plan still does."""

    def __init__(self, fails: Fails, most: int = 120) -> None:
        self._fails = fails
        self._left = most

    def shrink(self, plan: Plan) -> Plan:
        """The smallest that was found; the plan itself where nothing can be left out."""
        before: Plan | None = None
        while plan != before and self._left > 0:
            before = plan
            plan = self._fewer_faults(plan)
            plan = self._shorter(plan)
        return self._briefer(plan)

    def _try(self, plan: Plan) -> bool:
        if self._left <= 0:
            return False
        self._left -= 1
        return self._fails(plan)

    def _fewer_faults(self, plan: Plan) -> Plan:
        """Leave out a half, a quarter ... a single one, as long as it fails without it."""
        size = max(1, len(plan.faults) // 2)
        while plan.faults:
            start = 0
            while start < len(plan.faults):
                smaller = replace(plan, faults=plan.faults[:start] + plan.faults[start + size :])
                if self._try(smaller):
                    plan = smaller
                else:
                    start += size
            if size == 1:
                break
            size //= 2
        return plan

    def _shorter(self, plan: Plan) -> Plan:
        """End sooner: the faults after the end go with it."""
        while plan.canaries > FEWEST_CANARIES:
            shorter = replace(plan, canaries=max(FEWEST_CANARIES, plan.canaries * 2 // 3))
            kept = tuple(fault for fault in plan.faults if fault.at < shorter.horizon)
            shorter = replace(shorter, faults=kept, calm=min(plan.calm, 30.0))
            if not self._try(shorter):
                break
            plan = shorter
        return plan

    def _briefer(self, plan: Plan) -> Plan:
        """Faults that last half as long."""
        for number, fault in enumerate(plan.faults):
            while fault.lasts > 1:
                fault = replace(fault, lasts=fault.lasts / 2)
                faults = (*plan.faults[:number], fault, *plan.faults[number + 1 :])
                if not self._try(replace(plan, faults=faults)):
                    break
                plan = replace(plan, faults=faults)
        return plan
