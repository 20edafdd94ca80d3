"""The timeline of a video for a paper: one column wide, in colours that the colour-blind see."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MultipleLocator
from numpy.typing import NDArray

from avsent.result.colours import colour_of_score
from avsent.result.record import Result
from avsent.result.utterance import UtteranceResult
from avsent.result.writers.wrapping import columns, wrap
from avsent.text import one_line
from avsent.views.figures import plain_frame, save_figure, settings
from avsent.views.report.layers import MAX_LABELS, Layer, probabilities, rows_of, shares
from avsent.views.report.trend import binned, trend_of

WIDTH_INCHES = 3.5
"""A column of most journals."""
DPI = 300
_SMALL, _PLAIN = 6.5, 7.0
_TITLE_INCHES = 2.75
_TEXT_COLUMNS, _LABEL_COLUMNS, _LEGEND_COLUMNS = 60, 18, 60
_INK = "#1c1917"
MAX_BARS = 150
"""Beside each other, in a column; of more utterances means are drawn."""
MAX_NAME = 300
"""Letters of a name that are looked at: a result may hold any text."""
_STEPS_S = (
    *(0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400),
)
"""Distances of ticks that people count in."""
_MAX_TICKS = 6

_Values: TypeAlias = NDArray[np.float64]


@settings()
def save_timeline(target: Path, result: Result) -> None:
    """Draw utterances by face, score, probabilities and the shares of voice and face over time.

    The same result gives the same bytes with the same matplotlib and fonts.

    Parameters
    ----------
    target
        ``.png``, ``.svg`` or ``.pdf``.

    Raises
    ------
    ValueError
        A suffix of another kind.
    OutputError
        The file cannot be written.
    """
    save_figure(_figure(result), target, DPI)


def _figure(result: Result) -> Figure:
    utterances = sorted(result.utterances, key=lambda utterance: utterance.start_s)
    if not utterances:
        return _empty(result)
    rows = rows_of(utterances)
    labels = result.model.labels
    heights = (0.1 + 0.16 * (1 + max(rows.values())), 1.05, 0.85, 0.6)
    extra = 0.12 * math.ceil(min(len(labels), MAX_LABELS) / 4)
    close = ConstrainedLayoutEngine(h_pad=0.025, w_pad=0.02, hspace=0.02)
    figure = Figure(figsize=(WIDTH_INCHES, sum(heights) + 1.15 + extra), layout=close)
    panels = figure.subplots(4, 1, sharex=True, height_ratios=heights)
    starts = np.array([utterance.start_s for utterance in utterances])
    ends = np.maximum(np.array([utterance.end_s for utterance in utterances]), starts)
    end_s = max(result.duration_s, float(ends.max()))
    _draw_rows(panels[0], rows, utterances, starts, ends)
    _draw_scores(panels[1], utterances, starts, ends)
    stretch = _stretch(utterances, end_s)
    for axes, name, layers in (
        (panels[2], "probability", probabilities(labels, utterances)),
        (panels[3], "share", shares(utterances)),
    ):
        _draw_stack(axes, layers, starts, ends, stretch)
        mean = "" if stretch is None else f"\n(mean of {_seconds(stretch)})"
        axes.set_ylabel(f"{name}{mean}", fontsize=_PLAIN)
    _time_axis(panels[3], end_s)
    for axes in panels:
        plain_frame(axes, grid="x", size=_SMALL)
        axes.tick_params(length=2, pad=2)
    panels[0].tick_params(axis="y", length=0)
    for axes in panels[:-1]:
        axes.tick_params(axis="x", length=0)
        axes.spines["bottom"].set_visible(False)
    figure.align_ylabels(panels[1:])
    _title(panels[0], result)
    return figure


def _empty(result: Result) -> Figure:
    """A line of time, and that nothing was found on it."""
    figure = Figure(figsize=(WIDTH_INCHES, 1.3), layout="constrained")
    axes = figure.subplots()
    said = ["No utterances found."]
    for warning in result.warnings[:1]:
        said += wrap(one_line(warning), _TEXT_COLUMNS)[:3]
    axes.text(
        *(0.5, 0.5, "\n".join(said)),
        transform=axes.transAxes,
        ha="center",
        va="center",
        multialignment="center",
        fontsize=_PLAIN,
        parse_math=False,
    )
    axes.set_yticks([])
    _time_axis(axes, result.duration_s)
    plain_frame(axes, size=_SMALL)
    axes.spines["left"].set_visible(False)
    _title(axes, result)
    return figure


def _title(axes: Axes, result: Result) -> None:
    """The name of the file, as much of it as fits."""
    name = one_line(PurePath(result.source).name)[:MAX_NAME]
    title = axes.set_title(name, loc="left", fontsize=_PLAIN, pad=4, parse_math=False)
    figure = axes.get_figure(root=True)
    assert figure is not None
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    while title.get_window_extent(renderer).width > _TITLE_INCHES * figure.dpi:
        name = name.removesuffix("…")[:-1]
        title.set_text(f"{name}…")


def _short(text: str, width: int) -> str:
    text = text[:MAX_NAME]  # shortening goes letter by letter
    while columns(text) > width:
        text = text.removesuffix("…")[:-1] + "…"
    return text


def _draw_rows(
    axes: Axes,
    rows: Mapping[int | None, int],
    utterances: Sequence[UtteranceResult],
    starts: _Values,
    ends: _Values,
) -> None:
    """When who spoke, coloured by score."""
    places = np.array([float(rows[utterance.track]) for utterance in utterances])
    colours = [colour_of_score(utterance.score) for utterance in utterances]
    _blocks(axes, starts, ends, places - 0.38, places + 0.38, colours)
    names = ["others"] * (1 + max(rows.values()))
    for track, row in rows.items():
        if list(rows.values()).count(row) == 1:
            names[row] = "no face" if track is None else f"track {track}"
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), names)


def _draw_scores(
    axes: Axes, utterances: Sequence[UtteranceResult], starts: _Values, ends: _Values
) -> None:
    """The score of each utterance as a step from zero, and where it tends to."""
    scores = np.array([utterance.score for utterance in utterances])
    colours = [colour_of_score(score) for score in scores]
    _blocks(axes, starts, ends, np.minimum(0, scores), np.maximum(0, scores), colours, alpha=0.55)
    axes.hlines(scores, starts, ends, colors=colours, lw=1.0)
    axes.axhline(0, color=_INK, lw=0.5)
    trend = trend_of(starts, ends, scores)
    if trend is not None:
        name = f"trend (Gaussian, σ = {_seconds(trend.sigma_s)})"
        axes.plot(trend.times_s, trend.values, color=_INK, lw=0.9, label=name)
        _legend(axes, axes.get_lines()[-1:])
    axes.set_ylim(-1.05, 1.05)
    axes.set_yticks([-1, 0, 1], ["−1", "0", "+1"])
    axes.set_ylabel("score", fontsize=_PLAIN)


def _stretch(utterances: Sequence[UtteranceResult], end_s: float) -> float | None:
    """The time over which means are drawn; None for so few utterances that each can be seen."""
    if len(utterances) <= MAX_BARS:
        return None
    return next((step for step in _STEPS_S if end_s / step <= MAX_BARS), _STEPS_S[-1])


def _draw_stack(
    axes: Axes,
    layers: Sequence[Layer],
    starts: _Values,
    ends: _Values,
    stretch: float | None,
) -> None:
    """Values on top of each other; means over a ``stretch`` of seconds where there is one."""
    values = np.stack([layer[2] for layer in layers], axis=1)
    if stretch is not None:
        starts, values = binned(starts, ends, values, stretch)
        ends = starts + stretch
    reached = np.cumsum(values, axis=1)
    for place, (_, colour, _) in enumerate(layers):
        low = reached[:, place] - values[:, place]
        _blocks(axes, starts, ends, low, reached[:, place], [colour] * len(starts))
    handles = [
        Patch(color=colour, lw=0, label=_short(one_line(name), _LABEL_COLUMNS))
        for name, colour, _ in layers
    ]
    _legend(axes, handles)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])


def _legend(axes: Axes, handles: Sequence[Patch | Line2D]) -> None:
    """Above the panel, in as few rows as fit."""
    widths = [columns(str(handle.get_label())) + 5 for handle in handles]
    beside = len(widths)
    while beside > 1 and _legend_width(widths, beside) > _LEGEND_COLUMNS:
        beside -= 1
    legend = axes.legend(
        handles=list(handles),
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=beside,
        fontsize=_SMALL,
        frameon=False,
        borderpad=0.1,
        borderaxespad=0.2,
        handlelength=1.1,
        handletextpad=0.4,
        columnspacing=1.0,
        labelspacing=0.25,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _legend_width(widths: Sequence[int], beside: int) -> int:
    """matplotlib fills column after column, the first ones with one more."""
    fewest, more = divmod(len(widths), beside)
    total = start = 0
    for column in range(beside):
        end = start + fewest + (column < more)
        total += max(widths[start:end])
        start = end
    return total


def _blocks(
    axes: Axes,
    starts: _Values,
    ends: _Values,
    lows: _Values,
    highs: _Values,
    colours: Sequence[str],
    alpha: float | None = None,
) -> None:
    """Rectangles, all in one: thousands of single ones would take their time."""
    corners = [(starts, lows), (starts, highs), (ends, highs), (ends, lows)]
    vertices = np.stack([np.stack(corner, axis=-1) for corner in corners], axis=1)
    axes.add_collection(
        PolyCollection(list(vertices), facecolors=list(colours), linewidths=0, alpha=alpha)
    )


def _time_axis(axes: Axes, end_s: float) -> None:
    end_s = max(end_s, 0.1)
    fitting = [step for step in _STEPS_S if end_s / step <= _MAX_TICKS]
    step = fitting[0] if fitting else end_s / _MAX_TICKS
    hours = end_s >= 3600
    axes.set_xlim(0, end_s)
    axes.xaxis.set_major_locator(MultipleLocator(step))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: _clock(at, step, hours=hours)))
    axes.set_xlabel("time (h:min)" if hours else "time (min:s)", fontsize=_PLAIN)


def _clock(seconds: float, step: float, *, hours: bool) -> str:
    """``1:05``, ``0:01.5`` where ticks are that near; hours and minutes in a file of hours."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    if hours:
        return f"{minutes // 60}:{minutes % 60:02d}"
    return f"{minutes}:{rest // 10:02d}" + (f".{rest % 10}" if step < 1 else "")


def _seconds(seconds: float) -> str:
    return f"{seconds:g} s" if seconds < 120 else f"{seconds / 60:g} min"
