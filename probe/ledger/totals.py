"""The running totals, as committed: a mirror in memory of the ledger's ``totals``, safe to read from any thread."""

from __future__ import annotations

import threading
from collections.abc import Mapping

Key = tuple[str, tuple[str, ...]]


class Totals:
    """Counters by (name, label values). Only what a commit made durable is ever added."""

    def __init__(self, values: Mapping[Key, float] | None = None) -> None:
        self._lock = threading.Lock()
        self._values: dict[Key, float] = dict(values or {})

    def add(self, counts: Mapping[Key, float]) -> None:
        """Add what was just committed."""
        with self._lock:
            for key, value in counts.items():
                self._values[key] = self._values.get(key, 0.0) + value

    def snapshot(self) -> dict[Key, float]:
        """All of them, consistent with one commit."""
        with self._lock:
            return dict(self._values)

    def get(self, name: str, labels: tuple[str, ...] = ()) -> float:
        """One of them; 0 where nothing was counted yet."""
        with self._lock:
            return self._values.get((name, labels), 0.0)

    def sum(self, name: str) -> float:
        """Over all label values."""
        with self._lock:
            return sum(value for (key, _), value in self._values.items() if key == name)
