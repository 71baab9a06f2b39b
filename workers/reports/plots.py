"""The report's plots as Vega-Lite specifications. Each takes plain rows and returns a dict; nothing is rendered here."""

from collections.abc import Sequence

import altair as alt

from terms.values import JsonObject
from workers.reports.table import Row

WIDTH, HEIGHT = 195, 180


def massive_dims(rows: Sequence[Row]) -> JsonObject:
    """Rows of model, layer, dim, ratio (ratio_to_median): a heat map on a log scale, one panel per model."""
    chart = (
        alt.Chart(alt.Data(values=list(rows)))
        .mark_rect()
        .encode(
            x=alt.X("layer:O", title="layer"),
            y=alt.Y("dim:O", title="residual dimension"),
            color=alt.Color("ratio:Q", scale=alt.Scale(type="log", scheme="viridis"), title="ratio_to_median"),
            tooltip=["model:N", "layer:O", "dim:O", alt.Tooltip("ratio:Q", format=".1f")],
        )
        .properties(width=220, height=160)
        .facet(facet=alt.Facet("model:N", title=None), columns=3)
        .resolve_scale(y="independent")
    )
    return _spec(chart)


def norms(rows: Sequence[Row]) -> JsonObject:
    """Rows of model, layer, norm, which (full | clean): the stream's norm with and without massive dims, log scale, one panel per model."""
    chart = (
        alt.Chart(alt.Data(values=list(rows)))
        .mark_line(point=True)
        .encode(
            x=alt.X("layer:O", title="layer"),
            y=alt.Y("norm:Q", scale=alt.Scale(type="log"), title="norm of the stream"),
            color=alt.Color("which:N", title=None, scale=alt.Scale(domain=["full", "clean"], range=["#c2410c", "#0369a1"])),
            tooltip=["model:N", "layer:O", "which:N", alt.Tooltip("norm:Q", format=".2f")],
        )
        .properties(width=220, height=140)
        .facet(facet=alt.Facet("model:N", title=None), columns=3)
    )
    return _spec(chart)


def dose_response(rows: Sequence[Row], threshold: float) -> JsonObject:
    """Rows of r, method, layer, score (trait | coherence), value, low, high (None without an interval): scores over dose, one panel per score
    and one line per method. `threshold`: the least coherence, as a dashed line.

    Bands are 95 % intervals of the mean over clusters of questions.
    """
    base = alt.Chart(alt.Data(values=list(rows)))
    x = alt.X("r:Q", scale=alt.Scale(type="log", nice=False), title="dose")
    color = alt.Color("method:N", title=None)
    band = base.transform_filter("isValid(datum.low)").mark_area(opacity=0.15).encode(x=x, y="low:Q", y2="high:Q", color=color)
    line = base.mark_line(point=True).encode(
        x=x,
        y=alt.Y("value:Q", title="score, 0-100", scale=alt.Scale(domain=[0, 100])),
        color=color,
        tooltip=["method:N", alt.Tooltip("r:Q", format=".3g"), "score:N", alt.Tooltip("value:Q", format=".1f"), "layer:O"],
    )
    rule = (
        base.transform_filter("datum.score == 'coherence'")
        .mark_rule(strokeDash=[4, 4], color="#888")
        .encode(y=alt.datum(threshold))
    )
    layers = (band, line, rule) if _has_intervals(rows) else (line, rule)
    layered = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)
    return _spec(layered.facet(facet=alt.Facet("score:N", title=None, sort=["trait", "coherence"]), columns=2))


def forest(rows: Sequence[Row]) -> JsonObject:
    """Rows of row (method), kind (method | control), delta, low, high: gains on test questions with their 95 % intervals."""
    values = list(rows)
    order = [str(row["row"]) for row in values]
    base = alt.Chart(alt.Data(values=values))
    y = alt.Y("row:N", sort=order, title=None, axis=alt.Axis(labelLimit=320))
    color = alt.Color("kind:N", title=None, scale=alt.Scale(domain=["method", "control"], range=["#0369a1", "#9ca3af"]))
    interval = (
        base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=2).encode(y=y, x="low:Q", x2="high:Q", color=color)
    )
    point = base.mark_point(filled=True, size=60).encode(
        y=y,
        x=alt.X("delta:Q", title="gain in points on test questions"),
        color=color,
        tooltip=["row:N", *(alt.Tooltip(f"{name}:Q", format="+.1f") for name in ("delta", "low", "high"))],
    )
    zero = alt.Chart(alt.Data(values=[{"zero": 0}])).mark_rule(color="#444").encode(x="zero:Q")
    layers = (zero, interval, point) if _has_intervals(rows) else (zero, point)
    return _spec(alt.layer(*layers).properties(width=420, height=max(60, 22 * len(values))))


def cosines(rows: Sequence[Row], names: Sequence[str]) -> JsonObject:
    """Rows of a, b, cosine, which (before | after cleaning): two heat maps in the order of `names`."""
    base = alt.Chart(alt.Data(values=list(rows)))
    x, y = alt.X("a:N", sort=list(names), title=None), alt.Y("b:N", sort=list(names), title=None)
    cells = base.mark_rect().encode(
        x=x, y=y, color=alt.Color("cosine:Q", scale=alt.Scale(domain=[-1, 0, 1], range=["#b91c1c", "#ffffff", "#0369a1"]))
    )
    text = base.mark_text(fontSize=10).encode(x=x, y=y, text=alt.Text("cosine:Q", format=".2f"))
    side = max(120, 34 * len(names))
    panels = (cells + text).properties(width=side, height=side)
    return _spec(panels.facet(facet=alt.Facet("which:N", title=None, sort=["before cleaning", "after cleaning"]), columns=2))


def _has_intervals(rows: Sequence[Row]) -> bool:
    """Whether any row has an interval. Without rows a layer has no extent, and Vega warns about it."""
    return any(row.get("low") is not None for row in rows)


def _spec(chart: alt.TopLevelMixin) -> JsonObject:
    spec: JsonObject = chart.configure_view(strokeOpacity=0).to_dict(validate=True)
    spec.pop("config", None)
    return spec
