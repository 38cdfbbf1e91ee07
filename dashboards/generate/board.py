"""From a dashboard as data to Grafana's classic JSON: variables, annotations, links, and the places of the panels."""

from __future__ import annotations

import json

from grafana_foundation_sdk.builders import dashboard as boards
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from dashboards.generate.draw import PROBER, RUNBOOKS, SOURCE, draw, link
from dashboards.generate.model import Board, Panel
from dashboards.generate.promql import select

TAG = "mailcanary"
COLUMNS = 24
EVERYTHING = dashboard.VariableOption(selected=True, text=["All"], value=["$__all"])
VARIABLES = ("datasource", "job", "instance", "route", "mx")


class _Annotation(dashboard.AnnotationQuery):
    """With the title that Prometheus' annotations have and the SDK does not know."""

    title_format = ""

    def to_json(self) -> dict[str, object]:
        return super().to_json() | {"titleFormat": self.title_format}


def build(board: Board) -> dashboard.Dashboard:
    """Grafana's dashboard."""
    builder = boards.Dashboard(board.title).uid(uid(board)).description(board.description).tags([TAG])
    builder.readonly().refresh("30s").time(board.span, "now").timezone("browser")
    builder.tooltip(dashboard.DashboardCursorSync.CROSSHAIR).variables([*_variables(), *_more_variables(board)])
    builder.links(_links())
    built = builder.build()
    built.annotations = dashboard.AnnotationContainer(list_val=_annotations())
    built.panels = _panels(board)
    return built


def uid(board: Board) -> str:
    """What links lead to: ``/d/<uid>``."""
    return f"{TAG}-{board.name}"


def encode(built: dashboard.Dashboard) -> str:
    """The file's text."""
    return json.dumps(built, cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"


def _variables() -> list[boards.DatasourceVariable | boards.QueryVariable]:
    source = boards.DatasourceVariable("datasource").label("Data source").type("prometheus")
    return [
        source,
        _labels("job", "mailcanary_build_info", "Jobs that scrape a prober."),
        _labels("instance", 'mailcanary_build_info{job=~"$job"}', "Probers."),
        _labels("route", 'mailcanary_target_info{job=~"$job", instance=~"$instance"}', "Paths under test.", ".*"),
        _labels(
            "mx",
            'mailcanary_target_info{job=~"$job", instance=~"$instance", route=~"$route"}',
            "Hosts that the canaries are pinned to; any: not pinned.",
            ".*",
        ),
    ]


def _labels(label: str, series: str, description: str, everything: str = "") -> boards.QueryVariable:
    """A variable of the values of a label. ``everything``: what All stands for; without, the values that were found."""
    asked = f"label_values({series}, {label})"
    variable = boards.QueryVariable(label).label(label).description(description).datasource(SOURCE)
    variable.query({"query": asked, "refId": f"variable-{label}"}).refresh(
        dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED
    )
    variable.sort(dashboard.VariableSort.NATURAL_ASC).multi(True).include_all(True).current(EVERYTHING)
    return variable.all_value(everything) if everything else variable


def _more_variables(board: Board) -> list[boards.TextBoxVariable]:
    if not board.volume:
        return []
    default = dashboard.VariableOption(selected=True, text="1000", value="1000")
    volume = boards.TextBoxVariable("volume").label("Real mails in the window").default_value("1000").current(default)
    return [
        volume.description("How many real mails took this way in the affected window; the estimate is per this number.")
    ]


def _annotations() -> list[dashboard.AnnotationQuery]:
    incidents = _Annotation("Incidents", SOURCE, True, False, "red", expr=f"{select('incident_open')} > 0")
    incidents.title_format = "{{kind}}: {{route}} {{mx}}"
    # What a deploy of the mail system looks like, Prometheus cannot know; ours it can. docs/dashboards.md says how to
    # put another query here.
    versions = "sum by (version) ({0}) unless sum by (version) ({0} offset 10m)"
    deploys = _Annotation("Deploys", SOURCE, True, False, "blue", expr=versions.format(select("build_info")))
    deploys.title_format = "mailcanary {{version}}"
    return [incidents, deploys]


def _links() -> list[Builder[dashboard.DashboardLink]]:
    others = boards.DashboardLink("mailcanary").type(dashboard.DashboardLinkType.DASHBOARDS).tags([TAG])
    others.include_vars(True).keep_time(True).as_dropdown(False)
    return [others, link("Prober", f"{PROBER}/"), link("Runbooks", f"{RUNBOOKS}/")]


def _panels(board: Board) -> list[dashboard.Panel | dashboard.RowPanel]:
    """All panels with their ids and places, each row under its heading. Raises ValueError where a line is not full."""
    made: list[dashboard.Panel | dashboard.RowPanel] = []
    top = 0
    for row in board.rows:
        heading = boards.Row(row.title).id(len(made) + 1).collapsed(False)
        made.append(heading.grid_pos(dashboard.GridPos(1, COLUMNS, 0, top)).build())
        top += 1
        for line in _lines(row.panels):
            left, height = 0, max(panel.height for panel in line)
            for panel in line:
                made.append(draw(panel, len(made) + 1, dashboard.GridPos(height, panel.width, left, top)))
                left += panel.width
            top += height
    return made


def _lines(panels: tuple[Panel, ...]) -> list[list[Panel]]:
    """Panels cut into lines that are full."""
    lines: list[list[Panel]] = [[]]
    for panel in panels:
        if sum(each.width for each in lines[-1]) == COLUMNS:
            lines.append([])
        lines[-1].append(panel)
    for line in lines:
        if sum(panel.width for panel in line) != COLUMNS:
            raise ValueError(f"not {COLUMNS} columns: {', '.join(panel.title for panel in line)}")
    return lines
