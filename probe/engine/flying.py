"""Canaries that have no outcome yet. Those of an earlier run are decoded when somebody asks for one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, ValuesView

from probe.canary.record import Canary
from probe.ledger.stored import StoredCanary

Outline = Canary | StoredCanary  # both tell id, leg, state, sent, deadlines, key and overdue by the same names


class Flying(Mapping[str, Canary]):
    """By id, in the order of entry."""

    def __init__(self, outlines: Iterable[Outline] = ()) -> None:
        self._all: dict[str, Outline] = {one.id: one for one in outlines}
        self._coded = list(self._all)

    def __getitem__(self, canary_id: str) -> Canary:
        one = self._all[canary_id]
        if isinstance(one, StoredCanary):
            self._all[canary_id] = one = one.canary()
        return one

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, canary_id: object) -> bool:
        return canary_id in self._all

    @property
    def oldest(self) -> Canary | None:
        """The first that entered."""
        return next(iter(self.values()), None)

    @property
    def youngest(self) -> Canary | None:
        """The last that entered."""
        return next((self[one] for one in reversed(self._all)), None)

    def outlines(self) -> ValuesView[Outline]:
        """All, as they are: nothing is decoded."""
        return self._all.values()

    def decode(self, at_most: int) -> bool:
        """Decode some of those that came with the start; whether any are left."""
        some = self._coded[-at_most:]
        del self._coded[-at_most:]
        for canary_id in some:
            self.get(canary_id)
        return bool(self._coded)

    def put(self, one: Outline) -> None:
        """Enter a canary, or what it has become."""
        self._all[one.id] = one

    def drop(self, canary_id: str) -> bool:
        """Whether it was there."""
        return self._all.pop(canary_id, None) is not None
