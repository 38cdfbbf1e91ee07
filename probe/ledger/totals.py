"""The running totals, as committed: a mirror in memory of the ledger's ``totals``, safe to read from any thread.

They are kept by route, those that belong to no route under "", and each such group remembers when it last changed:
who shows them all again and again needs to look only at what has changed meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from probe.canary.counters import LABELS

Key = tuple[str, tuple[str, ...]]

_OF_A_ROUTE = frozenset(name for name, labels in LABELS.items() if labels[:1] == ("route",))


def group_of(key: Key) -> str:
    """The route that a total belongs to, or ""."""
    name, labels = key
    return labels[0] if labels and name in _OF_A_ROUTE else ""


class Totals:
    """Counters by (name, label values). Only what a commit made durable is ever added."""

    def __init__(self, values: Mapping[Key, float] | None = None) -> None:
        self._lock = threading.Lock()
        self._groups: dict[str, dict[Key, float]] = {}
        self._changed: dict[str, dict[str, int]] = {}
        self._latest: dict[str, int] = {}
        self._serial = 0
        self.add(values or {})

    def add(self, counts: Mapping[Key, float]) -> None:
        """Add what was just committed."""
        with self._lock:
            self._serial += 1
            for key, value in counts.items():
                group = group_of(key)
                values = self._groups.setdefault(group, {})
                values[key] = values.get(key, 0.0) + value
                self._latest[group] = self._serial
                self._changed.setdefault(group, {})[key[0]] = self._serial

    def changes(self, since: int) -> tuple[int, Mapping[str, set[str]]]:
        """A number for now; and the groups that have changed since the number of an earlier call (at first, 0), each
        with the names that did."""
        with self._lock:
            changed = {
                group: {name for name, serial in names.items() if serial > since}
                for group, names in self._changed.items()
                if self._latest[group] > since
            }
            return self._serial, changed

    def groups(self) -> list[str]:
        """Every route that something was counted for, and "" where something was counted for none."""
        with self._lock:
            return list(self._groups)

    def group(self, name: str) -> dict[Key, float]:
        """The totals of a route, or with "" of none, consistent with one commit."""
        with self._lock:
            return dict(self._groups.get(name, {}))

    def snapshot(self) -> dict[Key, float]:
        """All of them, consistent with one commit."""
        with self._lock:
            return {key: value for values in self._groups.values() for key, value in values.items()}

    def get(self, name: str, labels: tuple[str, ...] = ()) -> float:
        """One of them; 0 where nothing was counted yet."""
        with self._lock:
            return self._groups.get(group_of((name, labels)), {}).get((name, labels), 0.0)

    def sum(self, name: str) -> float:
        """Over all label values."""
        with self._lock:
            return sum(value for values in self._groups.values() for (key, _), value in values.items() if key == name)
