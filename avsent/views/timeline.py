"""Timeline figure of a video for a paper: one column wide, in colour-blind-safe colours."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import TypeAlias

import numpy as np
from matplotlib import lines, patches, ticker
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from avsent.labels import valence_of
from avsent.result.colours import colour_of_score, colours_of
from avsent.result.record import ModalityShare, Result, UtteranceResult
from avsent.result.writers.wrapping import columns, wrap
from avsent.text import one_line
from avsent.views.figures import plain_frame, save_figure, settings

WIDTH_INCHES = 3.5  # a column of most journals
DPI = 300
MAX_ROWS = 6  # rows of faces; further faces share the last row
MAX_LABELS = 9  # labels with their own colour; further labels are drawn as one
MAX_BARS = 150  # utterances drawn one by one; for more, means over time
MAX_NAME = 300  # characters used of a name: a result may hold any text
FEWEST = 8  # utterances needed for a trend
_POINTS = 300
_SMALL, _PLAIN = 6.5, 7.0
_TITLE_INCHES = 2.75
_TEXT_COLUMNS, _LABEL_COLUMNS, _LEGEND_COLUMNS = 60, 18, 60
_INK, _REST = "#1c1917", "#d6d3d1"
_OF_MODALITY = {"audio": "#3f3b37", "face": "#d9c48f"}
_STEPS_S = (
    *(0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400),
)
_MAX_TICKS = 6
_SIGMAS_S = (2, 5, 10, 15, 20, 30, 60, 120, 300, 600)
_REACH = 3.0  # the trend ends this many sigmas from the nearest utterance

_Values: TypeAlias = NDArray[np.float64]
_Spans: TypeAlias = tuple[_Values, _Values]
"""Starts and ends [N]."""
Layer: TypeAlias = tuple[str, str, _Values]
"""Name, colour, values [N]."""


@settings()
def save_timeline(target: Path, result: Result) -> None:
    """Draw utterances by face, score, probabilities and the shares of voice and face over time.

    ``target``: ``.png``, ``.svg`` or ``.pdf``. Deterministic for a given matplotlib and fonts.
    Raises ValueError for another suffix, OutputError if the file cannot be written.
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
    spans, end_s = (starts, ends), max(result.duration_s, float(ends.max()))
    _draw_rows(panels[0], rows, utterances, spans)
    _draw_scores(panels[1], utterances, spans)
    width_s = None
    if len(utterances) > MAX_BARS:
        width_s = next((step for step in _STEPS_S if end_s / step <= MAX_BARS), _STEPS_S[-1])
    _draw_stack(panels[2], "probability", probabilities(labels, utterances), spans, width_s)
    _draw_stack(panels[3], "share", shares(utterances), spans, width_s)
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
    """A time axis, and a message that there are no utterances."""
    figure = Figure(figsize=(WIDTH_INCHES, 1.3), layout="constrained")
    axes = figure.subplots()
    message = ["No utterances found."]
    for warning in result.warnings[:1]:
        message += wrap(one_line(warning), _TEXT_COLUMNS)[:3]
    axes.text(
        *(0.5, 0.5, "\n".join(message)),
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
    """The name of the file, shortened to fit."""
    name = one_line(PurePath(result.source).name)[:MAX_NAME]
    title = axes.set_title(name, loc="left", fontsize=_PLAIN, pad=4, parse_math=False)
    figure = axes.get_figure(root=True)
    assert figure is not None
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    while title.get_window_extent(renderer).width > _TITLE_INCHES * figure.dpi:
        name = name.removesuffix("…")[:-1]
        title.set_text(f"{name}…")


# --- Panels --------------------------------------------------------------------------------------


def _draw_rows(
    axes: Axes,
    rows: Mapping[int | None, int],
    utterances: Sequence[UtteranceResult],
    spans: _Spans,
) -> None:
    """Utterances in the rows of their faces, coloured by score."""
    places = np.array([float(rows[utterance.track]) for utterance in utterances])
    colours = [colour_of_score(utterance.score) for utterance in utterances]
    _blocks(axes, spans, places - 0.38, places + 0.38, colours)
    tracks = Counter(rows.values())
    names = ["others"] * len(tracks)
    for track, row in rows.items():
        if tracks[row] == 1:
            names[row] = "no face" if track is None else f"track {track}"
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), names)


def _draw_scores(axes: Axes, utterances: Sequence[UtteranceResult], spans: _Spans) -> None:
    """The score of each utterance as a step from zero, a mark where it is unsure, the trend."""
    scores = np.array([utterance.score for utterance in utterances])
    colours = [colour_of_score(score) for score in scores]
    _blocks(axes, spans, np.minimum(0, scores), np.maximum(0, scores), colours, alpha=0.55)
    axes.hlines(scores, *spans, colors=colours, lw=1.0)
    axes.axhline(0, color=_INK, lw=0.5)
    unsure = np.array([bool(utterance.unsure) for utterance in utterances])
    if unsure.any():
        beside = np.where(scores > 0, -0.13, 0.13)  # across the zero from its step
        places = (np.mean(spans, axis=0)[unsure], beside[unsure])
        axes.plot(*places, color=_INK, ls="", marker="$?$", ms=3.5, mew=0, label="unsure")
    trend = trend_of(*spans, scores)
    if trend is not None:
        times_s, means, sigma_s = trend
        name = f"trend (Gaussian, σ = {_seconds(sigma_s)})"
        axes.plot(times_s, means, color=_INK, lw=0.9, label=name)
    if handles := axes.get_lines()[1:]:  # after the zero
        _legend(axes, handles)
    axes.set_ylim(-1.05, 1.05)
    axes.set_yticks([-1, 0, 1], ["−1", "0", "+1"])
    axes.set_ylabel("score", fontsize=_PLAIN)


def _draw_stack(
    axes: Axes, name: str, layers: Sequence[Layer], spans: _Spans, width_s: float | None
) -> None:
    """Stacked values; means over ``width_s`` seconds unless that is None."""
    values = np.stack([layer[2] for layer in layers], axis=1)
    if width_s is not None:
        starts, values = binned(*spans, values, width_s)
        spans = (starts, starts + width_s)
        name += f"\n(mean of {_seconds(width_s)})"
    tops = np.cumsum(values, axis=1)
    handles = []
    for place, (label, colour, _) in enumerate(layers):
        low = tops[:, place] - values[:, place]
        _blocks(axes, spans, low, tops[:, place], [colour] * len(values))
        label = one_line(label)[:MAX_NAME]
        while columns(label) > _LABEL_COLUMNS:
            label = label.removesuffix("…")[:-1] + "…"
        handles.append(patches.Patch(color=colour, lw=0, label=label))
    _legend(axes, handles)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_ylabel(name, fontsize=_PLAIN)


def _legend(axes: Axes, handles: Sequence[patches.Patch | lines.Line2D]) -> None:
    """Above the panel, in as few rows as possible."""
    widths = [columns(str(handle.get_label())) + 5 for handle in handles]
    count = len(widths)
    while count > 1 and _legend_width(widths, count) > _LEGEND_COLUMNS:
        count -= 1
    legend = axes.legend(
        handles=list(handles),
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=count,
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


def _legend_width(widths: Sequence[int], count: int) -> int:
    """matplotlib fills column after column, like ``numpy.array_split``."""
    return sum(int(column.max()) for column in np.array_split(np.array(widths), count))


def _blocks(
    axes: Axes,
    spans: _Spans,
    lows: _Values,
    highs: _Values,
    colours: Sequence[str],
    alpha: float | None = None,
) -> None:
    """Rectangles as one collection; thousands of patches would be slow."""
    starts, ends = spans
    corners = [(starts, lows), (starts, highs), (ends, highs), (ends, lows)]
    vertices = np.stack([np.stack(corner, axis=-1) for corner in corners], axis=1)
    axes.add_collection(
        PolyCollection(list(vertices), facecolors=list(colours), linewidths=0, alpha=alpha)
    )


def _time_axis(axes: Axes, end_s: float) -> None:
    end_s = max(end_s, 0.1)
    step = next((step for step in _STEPS_S if end_s / step <= _MAX_TICKS), end_s / _MAX_TICKS)
    hours = end_s >= 3600
    axes.set_xlim(0, end_s)
    axes.xaxis.set_major_locator(ticker.MultipleLocator(step))
    axes.xaxis.set_major_formatter(
        ticker.FuncFormatter(lambda at, _: _clock(at, step, hours=hours))
    )
    axes.set_xlabel("time (h:min)" if hours else "time (min:s)", fontsize=_PLAIN)


def _clock(seconds: float, step: float, *, hours: bool) -> str:
    """``1:05``; with tenths if ticks are closer than a second; hours and minutes if ``hours``."""
    minutes, tenths = divmod(round(seconds * 10), 600)
    if hours:
        return f"{minutes // 60}:{minutes % 60:02d}"
    return f"{minutes}:{tenths // 10:02d}" + (f".{tenths % 10}" if step < 1 else "")


def _seconds(seconds: float) -> str:
    return f"{seconds:g} s" if seconds < 120 else f"{seconds / 60:g} min"


# --- Numbers -------------------------------------------------------------------------------------


def rows_of(utterances: Sequence[UtteranceResult]) -> dict[int | None, int]:
    """Row of each face, in the order of tracks; if too many, the most silent share the last."""
    spoken_s: dict[int | None, float] = {}
    for utterance in utterances:
        lasts_s = max(0.0, utterance.end_s - utterance.start_s)
        spoken_s[utterance.track] = spoken_s.get(utterance.track, 0.0) + lasts_s
    own = sorted(spoken_s, key=lambda track: -spoken_s[track])
    own = own[: MAX_ROWS - 1] if len(own) > MAX_ROWS else own
    ordered = sorted(own, key=lambda track: (track is None, track))
    return {track: ordered.index(track) if track in own else len(own) for track in spoken_s}


def probabilities(labels: Sequence[str], utterances: Sequence[UtteranceResult]) -> list[Layer]:
    """Probabilities to stack, negative labels at the bottom."""
    values = {
        label: np.array([utterance.probabilities.get(label, 0.0) for utterance in utterances])
        for label in labels
    }
    largest = sorted(values, key=lambda label: -values[label].mean())[:MAX_LABELS]
    own = [label for label in values if label in largest]
    layers = [
        (name, colour, values[name]) for name, colour in zip(own, colours_of(own), strict=True)
    ]
    layers.sort(key=lambda layer: valence_of(layer[0]))
    if len(own) < len(values):
        rest = [values[label] for label in values if label not in own]
        layers.append(("other labels", _REST, np.sum(rest, axis=0)))
    return layers


def shares(utterances: Sequence[UtteranceResult]) -> list[Layer]:
    """Shares of voice and face in the decision."""
    names = dict.fromkeys(name for utterance in utterances for name in utterance.modalities)
    missing = ModalityShare(0.0, False)
    return [
        (
            name,
            _OF_MODALITY.get(name, _REST),
            np.array([u.modalities.get(name, missing).weight for u in utterances]),
        )
        for name in names
    ]


def trend_of(
    starts_s: _Values, ends_s: _Values, scores: _Values
) -> tuple[_Values, _Values, float] | None:
    """Gaussian-weighted mean score over time: times, values (NaN far from all utterances), and the
    σ of the Gaussian, in seconds; None for fewer than ``FEWEST`` utterances.

    Utterances are weighted by length and by the distance to their middle; σ is about 1/80 of the
    whole time or 1.5 utterances. All arrays are [N].
    """
    if len(scores) < FEWEST:
        return None
    first, last = float(starts_s.min()), float(ends_s.max())
    wanted = (last - first) * max(1 / 80, 1.5 / len(scores))
    sigma = float(next((s for s in _SIGMAS_S if s >= wanted), _SIGMAS_S[-1]))
    times = np.linspace(first, last, _POINTS)
    middles, lengths = (starts_s + ends_s) / 2, np.maximum(ends_s - starts_s, 1e-3)
    distance = np.maximum(starts_s - times[:, None], times[:, None] - ends_s).clip(0)
    weights = lengths * np.exp(-0.5 * ((times[:, None] - middles) / sigma) ** 2)
    total = weights.sum(axis=1)
    near = (distance.min(axis=1) <= _REACH * sigma) & (total > 0)
    values = np.full(_POINTS, np.nan)
    values[near] = (weights[near] @ scores) / total[near]
    return times, values, sigma


def binned(
    starts_s: _Values, ends_s: _Values, values: _Values, width_s: float
) -> tuple[_Values, _Values]:
    """Mean of ``values`` [N, K] in bins of ``width_s``, weighted by overlap.

    Returns the starts [B] of the bins that overlap any utterance, and their means [B, K].
    """
    edges = np.arange(0.0, float(ends_s.max()) + width_s, width_s)
    overlap = np.minimum(ends_s, edges[1:, None]) - np.maximum(starts_s, edges[:-1, None])
    overlap = overlap.clip(0)
    total = overlap.sum(axis=1)
    used = total > 0
    return edges[:-1][used], (overlap[used] @ values) / total[used, None]
