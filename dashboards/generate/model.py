"""A panel as data. ``draw`` makes Grafana's panel of it, the dashboards are lists of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How it is drawn."""

    STAT = "stat"
    LINES = "lines"
    BARS = "bars"
    HEATMAP = "heatmap"
    STATES = "states"
    CELLS = "cells"
    TABLE = "table"


@dataclass(frozen=True, slots=True)
class Query:
    """``legend``: with ``{{label}}``; in a table the heading of the column."""

    expr: str
    legend: str
    exemplar: bool = False
    unit: str = ""  # of a table's column, where it differs


@dataclass(frozen=True, slots=True)
class Panel:
    """``width``: of 24; ``height``: of a row, the highest counts. ``steps``: value from which a colour holds.

    ``runbooks``: the alerts whose pages help here. ``texts``: value to (text, colour). ``nothing``: what a panel
    without data says, where that is good or at least normal. ``legs``: its series have route and mx, so that a click
    on one can ask the prober for its canaries.
    """

    kind: Kind
    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    width: int
    height: int = 8
    steps: tuple[tuple[float, str], ...] = ()
    texts: Mapping[int, tuple[str, str]] | None = None
    runbooks: tuple[str, ...] = ()
    nothing: str = ""
    legs: bool = False
    logarithmic: bool = False
    step: str = ""  # the smallest
    most: float | None = None  # of the scale
    percent: bool = False  # stacked to 100 %
    dashed: str = ""  # regular expression of the series that are bounds, limits, or counted beside the others


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading, side by side; their widths fill whole lines of 24."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard. ``name``: of its file and, behind ``mailcanary-``, its uid."""

    name: str
    title: str
    description: str
    span: str  # the time range at first, ``now-6h``
    rows: tuple[Row, ...]
    volume: bool = False  # asks for the number of real mails
