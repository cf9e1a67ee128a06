"""The figures of a report: plotly, as fragments of html that need plotly.js on the page once.

Every text that a user chose is escaped, because plotly reads a small html of its own in names and
labels. Element ids are given, so that the same numbers give the same bytes.
"""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import cycle, islice
from math import ceil
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

from rewardsmith.report.curves import Curve, Shares

# Distinct under the common color blindnesses, and without the red and green of the verdicts.
PALETTE = (
    "#3366a8",
    "#d9822b",
    "#7e57b5",
    "#17939b",
    "#c2528b",
    "#8c6d46",
    "#5a6b7b",
    "#9a9a2e",
)
FONT = (
    "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', "
    "'Liberation Sans', Arial, sans-serif"
)
INK, MUTED, GRID = "#22262b", "#6a7179", "#e9e8e3"
_AXIS = {
    "gridcolor": GRID,
    "linecolor": "#cfcec8",
    "zeroline": False,
    "tickfont": {"color": MUTED, "size": 11.5},
    "title": {"font": {"color": MUTED, "size": 12}, "standoff": 8},
}


def plotly_js() -> str:
    """The whole of plotly.js, to be put on the page once, so that the report opens offline."""
    return str(get_plotlyjs())


def colors(names: Sequence[str]) -> dict[str, str]:
    """One color per reward, by its place in the study; they repeat after eight."""
    return dict(zip(names, islice(cycle(PALETTE), len(names)), strict=True))


def gold_curves(
    curves: Mapping[str, Curve],
    color: Mapping[str, str],
    *,
    threshold: float | None = None,
    steps: str = "environment steps",
    title: str = "gold per episode",
) -> str:
    """All rewards' gold over training in one figure: IQM, interval as a band, values on hover."""
    figure = go.Figure()
    for name, curve in curves.items():
        for trace in _curve_traces(name, curve, color[name]):
            figure.add_trace(trace)
    if threshold is not None:
        figure.add_hline(
            y=threshold,
            line={"color": MUTED, "width": 1, "dash": "dot"},
            annotation={
                "text": f"threshold {threshold:g}",
                "font": {"color": MUTED, "size": 11},
                "xanchor": "left",
                "x": 0.005,
            },
        )
    figure.update_layout(
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 13}},
        hovermode="x unified",
        margin={"l": 56, "r": 16, "t": 34, "b": 46},
    )
    figure.update_xaxes(title_text=steps)
    figure.update_yaxes(title_text=title)
    return _fragment(figure, "gold-curves", 400)


def proxy_curves(curves: Mapping[str, Curve], color: Mapping[str, str], *, columns: int = 4) -> str:
    """Each reward's own training return, one panel each: their units are not comparable."""
    columns = min(columns, len(curves))
    rows = ceil(len(curves) / columns)
    figure = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=[f"<b>{escape(name)}</b>" for name in curves],
        horizontal_spacing=0.2 / columns,
        vertical_spacing=0.3 / rows,
    )
    for i, (name, curve) in enumerate(curves.items()):
        for trace in _curve_traces(name, curve, color[name]):
            figure.add_trace(trace, row=i // columns + 1, col=i % columns + 1)
    _left_titles(figure)
    figure.update_layout(
        showlegend=False, hovermode="x", margin={"l": 44, "r": 12, "t": 30, "b": 34}
    )
    figure.update_xaxes(nticks=4)
    figure.update_yaxes(nticks=5)
    return _fragment(figure, "proxy-curves", 60 + 190 * rows)


def measure_curves(
    measures: Mapping[str, Mapping[str, Curve]], color: Mapping[str, str], *, columns: int = 3
) -> str:
    """What else was measured, a panel each with all rewards: they share its units."""
    columns = min(columns, len(measures))
    rows = ceil(len(measures) / columns)
    figure = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=[f"<b>{escape(title)}</b>" for title in measures],
        horizontal_spacing=0.16 / columns,
        vertical_spacing=0.3 / rows,
    )
    for i, curves in enumerate(measures.values()):
        for name, curve in curves.items():
            for trace in _curve_traces(name, curve, color[name]):
                figure.add_trace(trace, row=i // columns + 1, col=i % columns + 1)
    _left_titles(figure)
    figure.update_layout(
        showlegend=False, hovermode="x", margin={"l": 44, "r": 12, "t": 30, "b": 34}
    )
    figure.update_xaxes(nticks=4)
    figure.update_yaxes(nticks=5)
    return _fragment(figure, "measure-curves", 60 + 190 * rows)


def part_shares(parts: Sequence[Shares], color: str, *, div: str) -> str:
    """One reward's parts: share of its size (stacked) and share of its variance (lines)."""
    figure = make_subplots(
        rows=1,
        cols=2,
        subplot_titles=["share of the reward", "share of its variance"],
        horizontal_spacing=0.08,
    )
    for part, tint in zip(parts, tints(color, len(parts)), strict=True):
        common = {
            "x": part.steps,
            "name": escape(part.part),
            "legendgroup": part.part,
            "hovertemplate": "%{y:.0%}",
            "mode": "lines",
        }
        filled = {"line": {"width": 0.5, "color": "white"}, "stackgroup": "all", "fillcolor": tint}
        figure.add_trace(go.Scatter(y=part.magnitude, **filled, **common), row=1, col=1)
        line = {"line": {"width": 2, "color": tint}, "showlegend": False}
        figure.add_trace(go.Scatter(y=part.variance, **line, **common), row=1, col=2)
    figure.add_hline(y=0, line={"color": "#cfcec8", "width": 1}, row=1, col=2)
    _left_titles(figure)
    figure.update_layout(
        hovermode="x unified",
        legend={"x": 1.01, "y": 1, "font": {"size": 12}, "itemclick": False},
        margin={"l": 48, "r": 12, "t": 28, "b": 34},
    )
    figure.update_yaxes(tickformat=".0%", nticks=5)
    figure.update_yaxes(range=[0, 1], col=1)
    return _fragment(figure, div, 220)


def tints(color: str, n: int) -> list[str]:
    """``n`` tints of a color, from itself towards white, so that parts keep their reward's hue."""
    channels = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    out = []
    for k in range(n):
        t = 0.0 if n == 1 else 0.62 * k / (n - 1)
        out.append("#" + "".join(f"{round(c + (255 - c) * t):02x}" for c in channels))
    return out


def _curve_traces(name: str, curve: Curve, color: str) -> list[Any]:
    label = escape(name)
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    band = go.Scatter(
        x=[*curve.steps, *reversed(curve.steps)],
        y=[*curve.high, *reversed(curve.low)],
        fill="toself",
        fillcolor=f"rgba({red}, {green}, {blue}, 0.14)",
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        legendgroup=name,
        showlegend=False,
    )
    line = go.Scatter(
        x=curve.steps,
        y=curve.center,
        name=label,
        legendgroup=name,
        mode="lines+markers",
        line={"color": color, "width": 2.25},
        marker={"size": 4.5, "color": color},
        customdata=list(zip(curve.low, curve.high, curve.seeds, strict=True)),
        hovertemplate=(
            "%{y:.3~g} [%{customdata[0]:.3~g}, %{customdata[1]:.3~g}], "
            f"%{{customdata[2]}} seeds<extra>{label}</extra>"
        ),
    )
    return [band, line]


def _left_titles(figure: Any) -> None:
    """Subplot titles at the left edge of their panel, where the eye starts."""
    axes = [axis.domain[0] for axis in figure.select_xaxes()]
    for note, left in zip(figure.layout.annotations, axes, strict=False):
        note.update(x=left, xanchor="left", font={"size": 12.5, "color": INK})


def _fragment(figure: Any, div: str, height: int) -> str:
    figure.update_xaxes(**_AXIS, tickformat="~s", hoverformat=",d")
    figure.update_yaxes(**_AXIS)
    figure.update_layout(
        template="none",
        height=height,
        font={"family": FONT, "size": 12.5, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"bgcolor": "white", "bordercolor": "#d8d7d1", "font": {"size": 12}},
    )
    return str(
        figure.to_html(
            full_html=False,
            include_plotlyjs=False,
            include_mathjax=False,
            div_id=div,
            default_height=f"{height}px",
            config={"displayModeBar": False, "responsive": True},
        )
    )
