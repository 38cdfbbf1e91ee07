"""A Prometheus that scrapes nothing and remembers a month; asked as Grafana asks."""

from __future__ import annotations

import json
import math
import urllib.parse
from pathlib import Path
from typing import Any

from tests.dashboards.known import Asked
from tests.dashboards.month import Month
from tests.worlds.ports import run_tool
from tests.worlds.prometheus import Prometheus

Points = list[tuple[dict[str, str], list[tuple[float, float]]]]


class Past(Prometheus):
    """Filled by ``promtool``; ``month``: what really happened."""

    def __init__(self, promtool: Path, text: Path, month: Month) -> None:
        super().__init__({})
        self.month = month
        # Blocks of two hours, as by default, would make promtool read the file 372 times.
        fill: list[str | Path] = [promtool, "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=768h"]
        run_tool([*fill, text, self.data], seconds=100)

    def command(self) -> list[str | Path]:
        return [*super().command(), "--storage.tsdb.retention.time=10y"]

    def graph(self, query: Asked, begin: int, end: int, step: int) -> Points:
        """A panel over a time range; a query for the last value is asked at the range's end only."""
        expr = query.at(step, end - begin)
        if query.instant:
            answer = self._ask("query", {"query": expr, "time": end})
            return [(each["metric"], _numbers([each["value"]])) for each in answer]
        answer = self._ask("query_range", {"query": expr, "start": begin, "end": end, "step": step})
        return [(each["metric"], _numbers(each["values"])) for each in answer]

    def _ask(self, what: str, parameters: dict[str, Any]) -> list[Any]:
        answer = json.loads(self.get(f"/api/v1/{what}?{urllib.parse.urlencode(parameters)}"))
        assert answer["status"] == "success", answer
        found: list[Any] = answer["data"]["result"]
        return found


def _numbers(pairs: list[list[Any]]) -> list[tuple[float, float]]:
    """What a panel can draw: no gaps made of 0/0."""
    points = [(float(when), float(value)) for when, value in pairs]
    return [(when, value) for when, value in points if not math.isnan(value)]
