"""What ``mailcanary plan`` takes a route's noise to be: what its legs have learned, as far as the ledger knows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from probe.cli.plan_rates import Noise
from probe.config.model import Config
from probe.detection.calibration import Aim, Calibrated, Calibration
from probe.detection.threshold import stall_limit
from probe.engine.detecting import name_of
from probe.exposition.present import clean


def given(config: Config, share: float) -> dict[str, Noise]:
    """``share`` for every route, by the operator's word."""
    return dict.fromkeys(config.routes, Noise(share, "as you said"))


def learned(
    config: Config, legs: Mapping[str, Sequence[str]], detectors: Mapping[str, tuple[int, str]], now: float
) -> dict[str, Noise]:
    """By route, of those that have learned any: of its legs the noisiest, for the rate has to do for each of them.

    ``detectors``: as the ledger keeps them (Queries.detectors). ``now``: unix seconds. What a newer version wrote is
    left out.
    """
    found: dict[str, Noise] = {}
    for route, hosts in legs.items():
        states = {mx: detectors.get(name_of("learned", route, mx), (0, ""))[1] for mx in hosts}
        heard = {mx: one for mx, state in states.items() if (one := _figures(config, route, state, now)) is not None}
        if heard:
            mx, worst = max(heard.items(), key=lambda one: one[1].noise)
            of = f" of {clean(mx, 100)}, the noisiest leg" if len(heard) > 1 else ""
            found[route] = Noise(worst.noise, f"learned from {worst.judged:,} canaries{of}")
    return found


def _figures(config: Config, route: str, state: str, now: float) -> Calibrated | None:
    """None where nothing was judged yet, or the state is none that this version knows."""
    if not state:
        return None
    one = config.routes[route]
    overdue = one.overdue_after.total_seconds()
    # Only the noise is read, on which this has no bearing.
    aim = Aim(overdue, stall_limit(overdue), float(config.detection.smallest_loss), 30 * 86_400 / 60, 1.0)
    try:
        figures = Calibration.restore(json.loads(state)).figures(now, aim)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return None
    return figures if figures.judged else None
