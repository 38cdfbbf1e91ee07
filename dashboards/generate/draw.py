"""From a panel as data to Grafana's, one function a kind. Only this and ``board`` know the SDK."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from grafana_foundation_sdk.builders import common as build
from grafana_foundation_sdk.builders import dashboard as boards
from grafana_foundation_sdk.builders import heatmap, prometheus, stat, statetimeline, statushistory, table, timeseries
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models import heatmap as heatmaps
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.generate.model import Kind, Panel, Query

SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
# Put your own hosts here by the command in docs/dashboards.md; rules.yaml has the same one for runbooks.
PROBER = "https://mailcanary.example.org"
RUNBOOKS = "https://runbooks.example.org/mailcanary"

_DASH = dashboard.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [8, 8]})

B = TypeVar("B", stat.Panel, timeseries.Panel, heatmap.Panel, statetimeline.Panel, statushistory.Panel, table.Panel)


def draw(panel: Panel, number: int, place: dashboard.GridPos) -> dashboard.Panel:
    """Grafana's panel with its id and its place on the grid."""
    drawn = _KINDS[panel.kind](panel)
    drawn.id_val = number
    drawn.grid_pos = place
    return drawn


def link(title: str, url: str) -> boards.DashboardLink:
    """A link out of Grafana, in a new tab."""
    return boards.DashboardLink(title).type(dashboard.DashboardLinkType.LINK).url(url).target_blank(True)


def _runbook(alert: str) -> boards.DashboardLink:
    return link(f"Runbook: {alert}", f"{RUNBOOKS}/{alert}.md")


def _common(builder: B, panel: Panel) -> B:
    """What all kinds share: words, source, unit, colours, links."""
    builder.title(panel.title).description(panel.description).datasource(SOURCE).unit(panel.unit)
    builder.links([_runbook(alert) for alert in panel.runbooks])
    for letter, query in zip("ABCDEFGH", panel.queries, strict=False):
        builder.with_target(_target(query, letter, panel.kind))
    if panel.step:
        builder.interval(panel.step)
    if panel.nothing:
        builder.no_value(panel.nothing)
    if panel.most is not None:
        builder.max(panel.most)
    if panel.steps:
        levels = [
            dashboard.Threshold(value if index else None, colour) for index, (value, colour) in enumerate(panel.steps)
        ]
        builder.thresholds(boards.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(levels))
    if panel.texts is not None:
        builder.mappings([_texts(panel.texts)])
    if panel.legs:
        leg = "route=${__field.labels.route}&mx=${__field.labels.mx}"
        builder.data_links([link("The prober's canaries of this leg", f"{PROBER}/api/canaries?{leg}")])
    return builder


def _texts(texts: Mapping[int, tuple[str, str]]) -> dashboard.ValueMap:
    return dashboard.ValueMap(
        {
            str(value): dashboard.ValueMappingResult(text=text, color=colour, index=index)
            for index, (value, (text, colour)) in enumerate(texts.items())
        }
    )


def _target(query: Query, letter: str, kind: Kind) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).ref_id(letter).legend_format(query.legend).datasource(SOURCE)
    if kind in (Kind.STAT, Kind.TABLE):
        target.instant()
    else:
        target.range()
    if kind is Kind.TABLE:
        target.format(PromQueryFormat.TABLE)
    elif kind is Kind.HEATMAP:
        target.format(PromQueryFormat.HEATMAP)
    if query.exemplar:
        target.exemplar(True)
    return target


def _stat(panel: Panel) -> dashboard.Panel:
    reduce = build.ReduceDataOptions().calcs(["lastNotNull"]).values(False)
    builder = _common(stat.Panel(), panel).reduce_options(reduce).graph_mode(common.BigValueGraphMode.NONE)
    builder.color_mode(common.BigValueColorMode.BACKGROUND if panel.texts else common.BigValueColorMode.VALUE)
    many = panel.texts is not None or len(panel.queries) > 1
    return builder.text_mode(common.BigValueTextMode.VALUE_AND_NAME if many else common.BigValueTextMode.AUTO).build()


def _graph(panel: Panel) -> timeseries.Panel:
    legend = build.VizLegendOptions().show_legend(True).display_mode(common.LegendDisplayMode.LIST)
    tooltip = build.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
    builder = _common(timeseries.Panel(), panel).tooltip(tooltip)
    builder.legend(legend.placement(common.LegendPlacement.BOTTOM).calcs([]))
    if panel.logarithmic:
        builder.scale_distribution(build.ScaleDistributionConfig().type(common.ScaleDistribution.LOG).log(10))
    else:
        builder.axis_soft_min(0)
    return builder


def _lines(panel: Panel) -> dashboard.Panel:
    builder = _graph(panel).draw_style(common.GraphDrawStyle.LINE).line_width(1).fill_opacity(0)
    builder.show_points(common.VisibilityMode.NEVER)
    if len(panel.steps) > 1:
        builder.thresholds_style(build.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED))
    if panel.dashed:
        builder.override_by_regexp(panel.dashed, [_DASH])
    return builder.build()


def _bars(panel: Panel) -> dashboard.Panel:
    mode = common.StackingMode.PERCENT if panel.percent else common.StackingMode.NORMAL
    builder = _graph(panel).draw_style(common.GraphDrawStyle.BARS).fill_opacity(80).line_width(0)
    builder.stacking(build.StackingConfig().mode(mode).group("A"))
    if panel.dashed:  # counted beside the bars, so never on top of them
        apart = dashboard.DynamicConfigValue("custom.stacking", {"mode": "none", "group": "B"})
        line = dashboard.DynamicConfigValue("custom.drawStyle", "line")
        thin = [
            dashboard.DynamicConfigValue("custom.lineWidth", 1),
            dashboard.DynamicConfigValue("custom.fillOpacity", 0),
        ]
        builder.override_by_regexp(panel.dashed, [line, apart, *thin, _DASH])
    return builder.build()


def _heatmap(panel: Panel) -> dashboard.Panel:
    colours = heatmap.HeatmapColorOptions().mode(heatmaps.HeatmapColorMode.SCHEME).scheme("Blues").steps(64)
    colours.scale(heatmaps.HeatmapColorScale.EXPONENTIAL).exponent(0.5)
    axis = heatmap.YAxisConfig().unit(panel.unit).axis_placement(common.AxisPlacement.LEFT)
    builder = _common(heatmap.Panel(), panel).calculate(False).color(colours).y_axis(axis)
    builder.cell_values(heatmap.CellValues().unit("short"))
    builder.scale_distribution(build.ScaleDistributionConfig().type(common.ScaleDistribution.LINEAR))
    return builder.filter_values(heatmap.FilterValueRange().le(1e-9)).build()


def _states(panel: Panel) -> dashboard.Panel:
    builder = _common(statetimeline.Panel(), panel).merge_values(True).show_value(common.VisibilityMode.AUTO)
    return builder.row_height(0.8).fill_opacity(80).build()


def _cells(panel: Panel) -> dashboard.Panel:
    by_colour = boards.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS)
    builder = _common(statushistory.Panel(), panel).color_scheme(by_colour).max_data_points(60)
    return builder.show_value(common.VisibilityMode.NEVER).row_height(0.8).col_width(0.9).fill_opacity(80).build()


def _table(panel: Panel) -> dashboard.Panel:
    """One line for each set of labels, one column for each query, headed by its legend."""
    builder = _common(table.Panel(), panel).show_header(True).align(common.FieldTextAlignment.AUTO)
    headings = {f"Value #{letter}": query for letter, query in zip("ABCDEFGH", panel.queries, strict=False)}
    if len(panel.queries) == 1:
        headings = {"Value": panel.queries[0]}
    names = {column: query.legend for column, query in headings.items()}
    builder.with_transformation(dashboard.DataTransformerConfig("merge", options={}))
    organize = {"excludeByName": {"Time": True}, "renameByName": names}
    builder.with_transformation(dashboard.DataTransformerConfig("organize", options=organize))
    for query in panel.queries:
        if query.unit:
            builder.override_by_name(query.legend, [dashboard.DynamicConfigValue("unit", query.unit)])
    return builder.build()


_KINDS: dict[Kind, Callable[[Panel], dashboard.Panel]] = {
    Kind.STAT: _stat,
    Kind.LINES: _lines,
    Kind.BARS: _bars,
    Kind.HEATMAP: _heatmap,
    Kind.STATES: _states,
    Kind.CELLS: _cells,
    Kind.TABLE: _table,
}
