"""What the dashboards may name, and what they do name: the generated files as data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dashboards.generate import promql
from dashboards.generate.__main__ import JSON
from tests.alerts import known

NAMES = ("overview", "route", "incident", "prober")
_RATE_SCRAPES = 4  # Grafana's $__rate_interval: four scrapes, or the step and one scrape
SCRAPE = 15


def metrics() -> dict[str, frozenset[str]]:
    """Every metric that may stand in a dashboard, with its labels."""
    found = known.exported()
    found |= {name: frozenset(labels) for name, labels in (promql.OF_THE_TARGET | promql.OF_OTHERS).items()}
    return {name: labels | known.SCRAPED for name, labels in found.items()}


def load(name: str) -> dict[str, Any]:
    """A dashboard as it is committed."""
    board: dict[str, Any] = json.loads((JSON / f"{name}.json").read_text(encoding="utf-8"))
    return board


def panels(name: str) -> list[dict[str, Any]]:
    """Its panels without the headings of rows."""
    return [panel for panel in load(name)["panels"] if panel["type"] != "row"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One query of one dashboard. ``step``: the panel's smallest, seconds."""

    board: str
    panel: str
    letter: str
    expr: str
    instant: bool
    step: int

    @property
    def key(self) -> str:
        """For the ids of tests."""
        return f"{self.board}: {self.panel}: {self.letter}"

    def at(self, step: int, span: int) -> str:
        """The expression as Grafana sends it for a graph of ``span`` seconds with a point each ``step`` seconds."""
        rate = max(step + SCRAPE, _RATE_SCRAPES * SCRAPE)
        return fill(self.expr, {"__interval": f"{step}s", "__rate_interval": f"{rate}s", "__range": f"{span}s"})


VALUES = {"job": "mailcanary", "instance": "prober:9925", "route": ".*", "mx": ".*", "volume": "1000"}


def fill(text: str, more: dict[str, str]) -> str:
    """The text with its variables filled in; a variable that nobody defined stays and will not parse."""
    known_ones = VALUES | more
    return re.sub(r"\$(\w+)", lambda match: known_ones.get(match[1], match[0]), text)


def asked() -> Iterator[Asked]:
    """Every query of every panel and annotation."""
    for name in NAMES:
        for panel in panels(name):
            step = int((panel.get("interval") or "0m").removesuffix("m")) * 60
            for target in panel["targets"]:
                yield Asked(name, panel["title"], target["refId"], target["expr"], target.get("instant", False), step)
        for each in load(name)["annotations"]["list"]:
            yield Asked(name, f"annotation {each['name']}", "A", each["expr"], False, 0)
