"""The outlook of ``mailcanary plan`` as a table, and as a plot of plain characters for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from probe.cli.plan_rates import CONFIDENCE, Outlook, Target
from probe.detection.pace import in_words
from probe.detection.plan import PAGE_DELAY, Leg, see
from probe.exposition.present import clean

WIDTH, HEIGHT = 60, 16
SMALLEST, LARGEST = 0.002, 1.0  # shares, at the ends of the axis
LONGEST = 7 * 86_400.0  # seconds: what takes longer is left out, or the rest of the curve would be flat
NEARLY_ALL = 0.9  # from here to all of it the model knows no figures: either rule may page first
_TICKS = (10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 3 * 86400)
_SHARES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
MEAN, WITHIN, TARGET = "*", "+", "T"


def rows(outlooks: Sequence[Outlook]) -> list[tuple[str, ...]]:
    """The table: a row for each route and share."""
    found: list[tuple[str, ...]] = [
        ("ROUTE", "LEGS", "EACH", "LOSS", "MEAN", f"{CONFIDENCE:.0%} WITHIN", "CANARIES", "HELD BACK BY")
    ]
    for one in outlooks:
        for seen in one.sees:
            sight = seen.sight
            found.append(
                (
                    clean(one.route, 40),
                    clean(", ".join(one.legs), 60),
                    f"every {60 / one.leg.rate:g} s",
                    f"{sight.share:.2%}".replace(".00%", "%"),
                    time_text(sight.mean + PAGE_DELAY),
                    time_text(sight.within + PAGE_DELAY),
                    str(sight.canaries),
                    seen.bound_by or "-",
                )
            )
    return found


def time_text(seconds: float) -> str:
    """A time for people; ``never`` for one that does not end."""
    return in_words(seconds) if math.isfinite(seconds) else "never"


def plot_lines(leg: Leg, target: Target, width: int = WIDTH, height: int = HEIGHT) -> list[str]:
    """Time to the pager (up, logarithmic) against the share lost (to the right, logarithmic), with the target in it.

    ``width`` and ``height``: columns and lines of the field, without the axes; at least 20 and 5.
    """
    shares = [_share_at(column, width) for column in range(width)]
    sights = [see(leg, share, CONFIDENCE) for share in shares]
    curves = {
        WITHIN: [sight.within + PAGE_DELAY for sight in sights],
        MEAN: [sight.mean + PAGE_DELAY for sight in sights],
    }
    times = [time for curve in curves.values() for time in curve if time <= LONGEST] + [target.seconds]
    low, high = math.log(min(times) / 1.2), math.log(max(times) * 1.2)

    def line_of(seconds: float) -> int:
        return round((high - math.log(seconds)) / (high - low) * (height - 1))

    field = [[" "] * width for _ in range(height)]
    for mark, curve in curves.items():
        for column, time in enumerate(curve):
            if time <= LONGEST and not NEARLY_ALL < shares[column] < 1:
                field[line_of(time)][column] = mark
    field[line_of(target.seconds)][_column_of(target.share, width)] = TARGET
    labels = {line_of(tick): in_words(tick) for tick in _TICKS if low <= math.log(tick) <= high}
    lines = [f"{labels.get(number, ''):>8} |{''.join(line)}".rstrip() for number, line in enumerate(field)]
    return [*lines, f"{'':>8} +{'-' * width}", _axis(width), *_key(target)]


def _axis(width: int) -> str:
    """The shares under the field, those that have room."""
    line = [" "] * (width + 6)
    end = -2
    for share in _SHARES:
        label = f"{share * 100:g}%"
        column = _column_of(share, width)
        if column > end + 1:
            line[column : column + len(label)] = label
            end = column + len(label)
    return f"{'':>8}  {''.join(line)}".rstrip()


def _key(target: Target) -> list[str]:
    return [
        f"{'':>8}  time to the pager by share lost: {MEAN} mean, {WITHIN} {CONFIDENCE:.0%} within",
        f"{'':>8}  {TARGET} the target: {target.share:.2%} within {in_words(target.seconds)}",
    ]


def _share_at(column: int, width: int) -> float:
    # Exactly all of it at the end: a total loss pages by a rule of its own.
    part = column / (width - 1)
    return LARGEST if column == width - 1 else SMALLEST * math.exp(math.log(LARGEST / SMALLEST) * part)


def _column_of(share: float, width: int) -> int:
    place = math.log(share / SMALLEST) / math.log(LARGEST / SMALLEST)
    return min(width - 1, max(0, round(place * (width - 1))))
