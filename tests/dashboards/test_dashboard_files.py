"""The committed files: as the generator makes them, complete, and linked to what exists."""

from __future__ import annotations

import json
import re
import urllib.parse
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.generate import board, overview
from dashboards.generate.__main__ import BOARDS, JSON, files
from dashboards.generate.draw import PROBER, RUNBOOKS
from dashboards.generate.model import Board, Kind, Panel, Query, Row
from tests.alerts.rule_files import RUNBOOKS as RUNBOOK_FILES
from tests.alerts.rule_files import alerts
from tests.dashboards.known import NAMES, load, panels

PROVISIONING = JSON.parent / "provisioning"
EVERY_PANEL = [(name, panel) for name in NAMES for panel in panels(name)]
each_board = pytest.mark.parametrize("name", NAMES)
each_panel = pytest.mark.parametrize(
    ("name", "panel"), EVERY_PANEL, ids=[f"{name}: {panel['title']}" for name, panel in EVERY_PANEL]
)


def test_the_files_are_those_that_the_generator_makes() -> None:
    made = files()
    assert sorted(made) == sorted(JSON.iterdir())
    stale = [path.name for path, text in made.items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "python -m dashboards.generate"


@each_board
def test_grafanas_own_types_read_it_and_write_the_same(name: str) -> None:
    """Nothing in the file is a word that the schema of Grafana 11.6 does not know, but for the annotations' titles."""
    plugins.register_default_plugins()
    read = json.loads(json.dumps(Dashboard.from_json(load(name)), cls=JSONEncoder))
    committed = load(name)
    titles = [each.pop("titleFormat") for each in committed["annotations"]["list"]]
    assert read == committed
    assert all(titles)


@each_board
def test_it_has_its_uid_its_variables_and_its_marks(name: str) -> None:
    whole = load(name)
    assert whole["uid"] == f"mailcanary-{name}"
    assert whole["refresh"] == "30s"
    assert "id" not in whole or whole["id"] is None
    names = [each["name"] for each in whole["templating"]["list"]]
    assert tuple(names[:5]) == board.VARIABLES
    used = set(re.findall(r"\$(\w+)", json.dumps(whole["panels"])))
    assert {each for each in used if not each.startswith("__")} <= set(names)
    assert [each["name"] for each in whole["annotations"]["list"]] == ["Incidents", "Deploys"]
    assert "mailcanary_incident_open" in whole["annotations"]["list"][0]["expr"]
    assert [each["title"] for each in whole["links"]] == ["mailcanary", "Prober", "Runbooks"]


@each_panel
def test_a_panel_says_what_it_shows(name: str, panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)


@each_panel
def test_a_query_asks_as_its_panel_needs(name: str, panel: dict[str, Any]) -> None:
    at_once = panel["type"] in ("stat", "table")
    assert all(bool(target.get("instant")) is at_once for target in panel["targets"])
    assert all(target["legendFormat"] for target in panel["targets"])
    if panel["type"] == "table":
        assert all(target["format"] == "table" for target in panel["targets"])
    if panel["type"] == "heatmap":
        assert [target["format"] for target in panel["targets"]] == ["heatmap"]


@each_board
def test_panels_stand_on_the_grid_and_not_on_each_other(name: str) -> None:
    whole = load(name)["panels"]
    assert [panel["id"] for panel in whole] == list(range(1, len(whole) + 1))
    places = [panel["gridPos"] for panel in whole]
    assert all(place["x"] + place["w"] <= 24 and place["h"] > 0 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)


def test_a_line_that_is_not_full_is_refused() -> None:
    narrow = Panel(Kind.STAT, "Narrow", "Too narrow.", "none", (Query("vector(1)", "one"),), 7)
    with pytest.raises(ValueError, match="not 24 columns: Narrow"):
        board.build(Board("b", "b", "b", "now-1h", (Row("row", (narrow,)),)))


@each_panel
def test_links_lead_to_runbooks_that_exist_and_to_the_prober(name: str, panel: dict[str, Any]) -> None:
    for each in panel.get("links") or []:
        where = each["url"]
        assert where.startswith(f"{RUNBOOKS}/")
        assert (RUNBOOK_FILES / Path(where).name).exists(), where
    for each in panel["fieldConfig"]["defaults"].get("links") or []:
        assert each["url"].startswith(f"{PROBER}/api/canaries?")


def test_every_alert_has_a_panel_that_links_to_its_runbook() -> None:
    linked = {Path(each["url"]).stem for _, panel in EVERY_PANEL for each in panel.get("links") or []}
    assert {rule.name for rule in alerts()} - linked == {"MailCanaryAbsent"}  # of what is absent there is no panel


def test_an_alert_leads_to_a_dashboard_with_its_variables() -> None:
    asked = [urllib.parse.urlsplit(rule.annotations["dashboard_url"]) for rule in alerts()]
    assert asked
    for each in asked:
        name = each.path.removeprefix("/d/mailcanary-")
        variables = {one["name"] for one in load(name)["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)=", each.query)) <= variables


def test_exemplars_are_asked_for_where_they_are_drawn() -> None:
    """Points on lines; an older Grafana draws none on heatmaps."""
    with_them = [
        (panel["type"], target["expr"])
        for _, panel in EVERY_PANEL
        for target in panel["targets"]
        if target.get("exemplar")
    ]
    assert {kind for kind, _ in with_them} == {"timeseries"}
    assert all("mailcanary_delivery_seconds_bucket" in expr for _, expr in with_them)
    assert len(with_them) == 5


def test_the_objective_is_that_of_the_rules() -> None:
    (rule,) = [rule for rule in alerts() if rule.name == "MailCanaryErrorBudgetBurn"]
    assert set(re.findall(r"\* (0\.\d+)", rule.expr)) == {str(overview.BUDGET)}


def test_the_provisioning_files_fit() -> None:
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards.yaml").read_text(encoding="utf-8"))["providers"]
    assert provider["type"] == "file"
    assert provider["allowUiUpdates"] is False
    page = (JSON.parents[1] / "docs" / "dashboards.md").read_text(encoding="utf-8")
    assert provider["options"]["path"] in page
    (source,) = yaml.safe_load((PROVISIONING / "datasources.yaml").read_text(encoding="utf-8"))["datasources"]
    assert source["type"] == "prometheus"
    assert source["uid"] in page
    (to_the_canary,) = source["jsonData"]["exemplarTraceIdDestinations"]
    assert to_the_canary["url"] == f"{PROBER}/canaries/$${{__value.raw}}"
    assert PROBER in page
    assert RUNBOOKS in page


def test_the_page_names_every_panel() -> None:
    page = (JSON.parents[1] / "docs" / "dashboards.md").read_text(encoding="utf-8")
    assert [panel["title"] for _, panel in EVERY_PANEL if f"**{panel['title']}**" not in page] == []
    assert [each.title for each in BOARDS if each.title not in page] == []
