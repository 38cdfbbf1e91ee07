"""Writes ``dashboards/json/``, one file a dashboard."""

from __future__ import annotations

from pathlib import Path

from dashboards.generate import board, incident, overview, prober, route

JSON = Path(__file__).parents[1] / "json"
BOARDS = (overview.BOARD, route.BOARD, incident.BOARD, prober.BOARD)


def files() -> dict[Path, str]:
    """The path of each file and its text."""
    return {JSON / f"{each.name}.json": board.encode(board.build(each)) for each in BOARDS}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
