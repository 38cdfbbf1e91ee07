"""What the rules and runbooks use already and the program does not have yet; the one place that lists it.

The detector and the incidents bring it. An entry that the program has by now fails a test, so this
file can only shrink; it goes when all three are empty.
"""

from __future__ import annotations

# Name of the sample -> its labels.
METRICS: dict[str, tuple[str, ...]] = {}

# Label -> its values, where the set is closed.
VALUES: dict[str, frozenset[str]] = {
    "detector": frozenset({"share", "blackout"}),
    "last": frozenset({"3", "6", "60", "180", "420"}),
    "kind": frozenset({"total_loss", "partial_loss", "delay"}),
}

COMMANDS: frozenset[str] = frozenset()
