"""The steps of a drill, each with its time since the drill began; told as they come, and as JSON at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from probe.cli.output import say
from probe.clock import Clock, Instant
from probe.exposition.present import clean, duration_text


@dataclass(slots=True)
class Steps:
    """``quiet``: nothing is printed. Steps are told once; times are seconds since ``begin``."""

    clock: Clock
    quiet: bool
    times: dict[str, float] = field(default_factory=dict)
    print: Callable[[str], None] = say
    _began: Instant | None = None

    def begin(self) -> None:
        """From now on the time counts."""
        self._began = self.clock.now()

    @property
    def seconds(self) -> float:
        """Since the beginning; 0 before it."""
        return 0.0 if self._began is None else self.clock.now().since(self._began).total_seconds()

    def take(self, name: str, words: str) -> None:
        """This step was reached now."""
        if name in self.times:
            return
        self.times[name] = round(self.seconds, 3)
        self.note(words)

    def note(self, words: str) -> None:
        """A line at the present time that is no step."""
        if not self.quiet:
            self.print(clean(f"{duration_text(round(self.seconds, 1)):>8}  {words}", 500))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a drill ended. ``facts``: what else its JSON says."""

    drill: str
    paged: bool
    sentence: str
    times: dict[str, float]
    facts: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """``steps``: seconds since the drill began; one that was not reached is not in it."""
        own = {"drill": self.drill, "paged": self.paged, "sentence": self.sentence, "steps": self.times}
        return {**own, **self.facts}
