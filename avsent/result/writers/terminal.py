"""The table for a terminal; plain text where the output is none."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.text import Text

from avsent.result.columns import peak_time
from avsent.result.record import Result
from avsent.result.utterance import UtteranceResult
from avsent.result.writers.base import Writer, is_utf8
from avsent.text import clock, one_line

CELL = 4
MODALITIES = ("audio", "face")


def attention_lines(utterances: Sequence[UtteranceResult], width: int, none: str) -> Iterable[Text]:
    """One block per modality: a row per utterance, a column per utterance it drew from.

    Parameters
    ----------
    width
        Columns of the terminal; what does not fit is cut, and the block says so.
    none
        What stands for a modality that is ineffectual in an utterance.
    """
    label = max(len(str(utterance.index)) for utterance in utterances)
    shown = min(len(utterances), max(1, (width - label) // CELL))
    for modality in MODALITIES:
        title = f"Context attention, {modality}: % that each utterance (across) gave to each (down)"
        yield Text()
        yield Text(title[:width])
        numbers = "".join(f"{utterance.index:>{CELL}}" for utterance in utterances[:shown])
        yield Text(" " * label + numbers, style=Style(dim=True))
        for utterance in utterances:
            weights = utterance.attention.context.get(modality, ())
            line = Text(f"{utterance.index:>{label}}", style=Style(dim=True))
            line = Text.assemble(line, *(_cell(weight) for weight in weights[:shown]))
            yield line if weights else line.append(f"{none:>{CELL}}", style=Style(dim=True))
        if shown < len(utterances):
            yield Text(
                f"Cut to the first {shown} of {len(utterances)} columns; JSON has them all.",
                style=Style(color="yellow"),
            )


def _cell(weight: float) -> Text:
    percent = round(100 * weight)
    style = Style(bold=True) if percent >= 50 else Style(dim=percent == 0)
    return Text(f"{percent:>{CELL}}", style=style)


PLAIN_WIDTH = 100
"""Columns of a table in a file or pipe."""
GAP = "  "
BARS = (21, 11, 7)
"""Widths of the score's bar, from wide terminals to narrow ones; odd, for the zero."""
DIM = Style(dim=True)
WARNING = Style(color="yellow")
COLOURS = {"positive": "green", "negative": "red"}


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters of drawings: for UTF-8, or for terminals that show ASCII alone."""

    dash: str
    dot: str
    block: str
    rule: str
    axis: str
    none: str
    quotes: tuple[str, str]


UTF8 = Glyphs("–", "·", "█", "─", "│", "–", ("“", "”"))
ASCII = Glyphs("-", "-", "#", "-", "|", "-", ('"', '"'))


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its heading and what an utterance shows in it."""

    heading: str
    justify: Literal["left", "right"]
    cell: Callable[[UtteranceResult], Text]
    spare: bool = False
    """Whether it is left out where the terminal is too narrow."""


class TableWriter(Writer):
    """One line per utterance; its words and warnings below it; remarks on the file at the end.

    Parameters
    ----------
    attention
        Whether to add how much each utterance contributed to each other, per modality.
    width
        Columns to use; by default those of the terminal, or ``PLAIN_WIDTH`` where it is none.
    """

    extension = "txt"
    shows_warnings = True

    def __init__(self, *, attention: bool = False, width: int | None = None) -> None:
        self.attention = attention
        self.width = width

    def write(self, results: Iterable[Result], file: TextIO) -> None:
        """Write the table of each result as soon as it comes."""
        console = Console(file=file, markup=False, emoji=False, highlight=False)
        width = self.width or (console.width if console.is_terminal else PLAIN_WIDTH)
        glyphs = UTF8 if is_utf8(file) else ASCII
        for number, result in enumerate(results):
            blank = [Text()] if number else []
            for line in itertools.chain(blank, self._lines(result, width, glyphs)):
                # Lines are cut to the width here, and rich would fold a wide one in the middle.
                console.print(line, soft_wrap=True)
            file.flush()

    def _lines(self, result: Result, width: int, glyphs: Glyphs) -> Iterable[Text]:
        yield _title(result, glyphs)
        if result.utterances:
            yield Text()
            yield from _rows(result.utterances, width, glyphs)
        else:
            yield Text("No utterances found.")
        if self.attention and result.utterances:
            yield from attention_lines(result.utterances, width, glyphs.none)
        if result.warnings:
            yield Text()
            for warning in result.warnings:
                yield from _folded(f"! {one_line(warning)}", width, 0, WARNING)


def _title(result: Result, glyphs: Glyphs) -> Text:
    count = len(result.utterances)
    facts = [
        clock(result.duration_s),
        f"{count} utterance{'' if count == 1 else 's'}",
        f"model {one_line(result.model.name)}",
    ]
    title = Text(one_line(result.source), style=Style(bold=True))
    return title.append(f" {glyphs.dot} ".join(["", *facts]), style=DIM)


def _rows(utterances: Sequence[UtteranceResult], width: int, glyphs: Glyphs) -> Iterable[Text]:
    columns, widths = _fit(utterances, width, glyphs)
    headings = [Text(column.heading, style=DIM) for column in columns]
    yield _joined(headings, columns, widths)
    indent = widths[0] + len(GAP)
    for utterance in utterances:
        yield _joined([column.cell(utterance) for column in columns], columns, widths)
        if utterance.text and one_line(utterance.text):
            quoted = one_line(utterance.text).join(glyphs.quotes)
            yield from _folded(quoted, width, indent, DIM)
        for warning in utterance.warnings:
            yield from _folded(f"! {one_line(warning)}", width, indent, WARNING)


def _columns(glyphs: Glyphs, bar: int) -> list[Column]:
    def span(utterance: UtteranceResult) -> Text:
        return Text(f"{clock(utterance.start_s)}{glyphs.dash}{clock(utterance.end_s)}")

    def sentiment(utterance: UtteranceResult) -> Text:
        return Text(one_line(utterance.sentiment), style=_colour(utterance))

    def score(utterance: UtteranceResult) -> Text:
        # Adding 0.0 turns a rounded −0.0 into 0.0.
        return Text(f"{round(utterance.score, 2) + 0.0:+.2f}")

    def track(utterance: UtteranceResult) -> Text:
        return Text(glyphs.none if utterance.track is None else str(utterance.track))

    return [
        Column("#", "right", lambda utterance: Text(str(utterance.index), style=DIM)),
        Column("time", "left", span),
        Column("label", "left", sentiment),
        Column("score", "right", score),
        Column(
            f"-1{'0':^{bar - 4}}+1",
            "left",
            lambda utterance: _bar(utterance, bar, glyphs),
            spare=True,
        ),
        Column("audio @peak", "right", lambda utterance: _share(utterance, "audio", glyphs)),
        Column("face @peak", "right", lambda utterance: _share(utterance, "face", glyphs)),
        Column("track", "right", track, spare=True),
    ]


def _share(utterance: UtteranceResult, modality: str, glyphs: Glyphs) -> Text:
    """A modality's share in the decision, and the moment that drew most of its attention."""
    share = utterance.modalities.get(modality)
    if share is None or not share.effective:
        return Text(glyphs.none, style=DIM)
    attention = utterance.attention
    peak = peak_time(attention.audio_frames if modality == "audio" else attention.face_frames)
    text = Text(f"{round(100 * share.weight)}%")
    return text if peak is None else text.append(f" @{clock(peak)}", style=DIM)


def _bar(utterance: UtteranceResult, width: int, glyphs: Glyphs) -> Text:
    """The score as a bar that grows from the middle: to the left below zero, else to the right."""
    half = width // 2
    filled = min(half, round(abs(utterance.score) * half))
    side = Text(glyphs.rule * (half - filled), style=DIM)
    block = Text(glyphs.block * filled, style=_colour(utterance))
    rest = Text(glyphs.rule * half, style=DIM)
    axis = Text(glyphs.axis)
    parts = [side, block, axis, rest] if utterance.score < 0 else [rest, axis, block, side]
    return Text.assemble(*parts)


def _colour(utterance: UtteranceResult) -> Style:
    return Style(color=COLOURS.get(utterance.sentiment, "cyan"))


def _fit(
    utterances: Sequence[UtteranceResult], width: int, glyphs: Glyphs
) -> tuple[list[Column], list[int]]:
    """The columns that fit: first the bar is made shorter, then what can be spared is left out."""
    choices = [_columns(glyphs, bar) for bar in BARS]
    trackless = [column for column in choices[-1] if column.heading != "track"]
    choices += [trackless, [column for column in trackless if not column.spare]]
    for columns in choices:
        widths = [
            max(cell_len(column.heading), *(column.cell(u).cell_len for u in utterances))
            for column in columns
        ]
        if sum(widths) + len(GAP) * (len(columns) - 1) <= width:
            break
    return columns, widths


def _joined(cells: Sequence[Text], columns: Sequence[Column], widths: Sequence[int]) -> Text:
    line = Text()
    for cell, column, width in zip(cells, columns, widths, strict=True):
        blanks = " " * (width - cell.cell_len)
        parts = [cell, Text(blanks)] if column.justify == "left" else [Text(blanks), cell]
        line = Text.assemble(line, GAP if line else "", *parts)
    line.rstrip()
    return line


def _folded(text: str, width: int, indent: int, style: Style) -> Iterable[Text]:
    """The text in lines of the width left beside the indent."""
    console = Console(width=max(20, width - indent), markup=False, emoji=False, highlight=False)
    for line in Text(text, style=style).wrap(console, console.width):
        line.rstrip()
        yield Text.assemble(" " * indent, line)
