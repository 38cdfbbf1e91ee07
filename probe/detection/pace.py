"""How long a number of canaries takes under the caps in force, and how such a time is said."""

from __future__ import annotations

import math
from collections.abc import Sequence

Cap = tuple[int, float]
"""So many canaries in any window of so many seconds."""


def seconds_to_send(canaries: int, gap: float, caps: Sequence[Cap] = ()) -> float:
    """About how long ``canaries`` take, one every ``gap`` seconds at the most, under ``caps``.

    A cap over a minute or less is taken as used up already; of a longer one, as many as it holds go unhindered.
    """
    paces = [canaries * per / most for most, per in caps if per <= 60 or canaries > most]
    return max([canaries * gap, *paces])


def in_words(seconds: float) -> str:
    """``40 s``, ``5 min``, ``3.2 h``, ``2.5 days``: rounded up to what is shown."""
    if seconds < 60:
        return f"{math.ceil(seconds)} s"
    if seconds < 120 * 60:
        return f"{math.ceil(seconds / 60)} min"
    if seconds < 48 * 3600:
        return f"{math.ceil(seconds / 360) / 10:g} h"
    return f"{math.ceil(seconds / 8640) / 10:g} days"
