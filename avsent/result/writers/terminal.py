"""The table for a terminal; plain text where the output is a file or pipe."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.text import Text

from avsent.labels import MODALITIES
from avsent.result.record import Result, UtteranceResult, peak_time
from avsent.result.writers.data import Writer, is_utf8
from avsent.result.writers.wrapping import wrap
from avsent.text import clock, one_line, score_text

PLAIN_WIDTH = 100  # columns of a table in a file or pipe
GAP = "  "
BARS = (21, 11, 7)
"""Widths of the score's bar, from wide terminals to narrow ones; odd, for the zero."""
CELL = 4  # width of a number in the context attention
DIM, BOLD, WARNING = Style(dim=True), Style(bold=True), Style(color="yellow")
COLOURS = {"positive": "green", "negative": "red"}


class Column(NamedTuple):
    """Its heading, whether its cells are flush right, and what an utterance shows in it."""

    heading: str
    right: bool
    cell: Callable[[UtteranceResult], Text]


class TableWriter(Writer):
    """One line per utterance, below it the text and warnings; warnings on the file at the end.

    ``attention``: whether to add how much each utterance contributed to each other, per modality;
    ``width``: in columns, by default that of the terminal, or ``PLAIN_WIDTH`` in a file or pipe.
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
        table = _Table(width, utf8=is_utf8(file))
        for number, result in enumerate(results):
            lines = [Text()] if number else []
            lines += table.lines(result, attention=self.attention)
            for line in lines:
                # Lines are cut to the width here; rich would fold a wide one in the middle.
                console.print(line, soft_wrap=True)
            file.flush()


class _Table:
    """Lines of at most ``width`` columns, in UTF-8 or in ASCII alone."""

    def __init__(self, width: int, *, utf8: bool) -> None:
        self.width = width
        glyphs = "–·█─│“”" if utf8 else '--#-|""'
        self.dash, self.dot, self.block, self.rule, self.axis, *self.quotes = list(glyphs)

    def lines(self, result: Result, *, attention: bool) -> Iterable[Text]:
        utterances = result.utterances
        count = f"{len(utterances)} utterance{'' if len(utterances) == 1 else 's'}"
        facts = ["", clock(result.duration_s), count, f"model {one_line(result.model.name)}"]
        dot = f" {self.dot} "
        yield Text(one_line(result.source), style=BOLD).append(dot.join(facts), style=DIM)
        if utterances:
            yield Text()
            yield from self._rows(utterances)
            if unsure := sum(bool(one.unsure) for one in utterances):
                meaning = "two labels nearly even, or unlike the training data"
                told = f"? unsure ({unsure} of {len(utterances)}): {meaning}"
                yield from self._folded(told, 0, DIM)
            if attention:
                yield from self._attention(utterances)
        else:
            yield Text("No utterances found.")
        if result.warnings:
            yield Text()
            for warning in result.warnings:
                yield from self._folded(f"! {one_line(warning)}", 0, WARNING)

    def _rows(self, utterances: Sequence[UtteranceResult]) -> Iterable[Text]:
        columns, widths = self._fit(utterances)
        yield _joined([Text(column.heading, style=DIM) for column in columns], columns, widths)
        indent = widths[0] + len(GAP)
        for utterance in utterances:
            yield _joined([column.cell(utterance) for column in columns], columns, widths)
            if text := one_line(utterance.text or ""):
                yield from self._folded(text.join(self.quotes), indent, DIM)
            for warning in utterance.warnings:
                yield from self._folded(f"! {one_line(warning)}", indent, WARNING)

    def _fit(self, utterances: Sequence[UtteranceResult]) -> tuple[list[Column], list[int]]:
        """The columns that fit: first with a shorter bar, then without track, then without bar."""
        choices = [self._columns(bar) for bar in BARS]
        choices += [choices[-1][:-1], [*choices[-1][:4], *choices[-1][5:-1]]]
        for columns in choices:
            widths = [
                max(cell_len(column.heading), *(column.cell(u).cell_len for u in utterances))
                for column in columns
            ]
            if sum(widths) + len(GAP) * (len(columns) - 1) <= self.width:
                break
        return columns, widths

    def _columns(self, bar: int) -> list[Column]:
        dash = self.dash
        return [
            Column("#", True, lambda one: Text(str(one.index), style=DIM)),
            Column(
                "time", False, lambda one: Text(dash.join(map(clock, (one.start_s, one.end_s))))
            ),
            Column("label", False, self._label),
            Column("score", True, lambda one: Text(score_text(one.score))),
            Column(f"-1{'0':^{bar - 4}}+1", False, lambda one: self._bar(one, bar)),
            Column("audio @peak", True, lambda one: self._share(one, "audio")),
            Column("face @peak", True, lambda one: self._share(one, "face")),
            Column("track", True, lambda one: Text(dash if one.track is None else str(one.track))),
        ]

    def _label(self, utterance: UtteranceResult) -> Text:
        label = Text(one_line(utterance.sentiment), style=_colour(utterance))
        return label.append("?", style=DIM) if utterance.unsure else label

    def _share(self, utterance: UtteranceResult, modality: str) -> Text:
        """A modality's share in the decision, and the time of its largest attention."""
        share = utterance.modalities.get(modality)
        if share is None or not share.effective:
            return Text(self.dash, style=DIM)
        attention = utterance.attention
        frames = attention.audio_frames if modality == "audio" else attention.face_frames
        peak_s = peak_time((frame.time_s, frame.weight) for frame in frames)
        text = Text(f"{round(100 * share.weight)}%")
        return text if peak_s is None else text.append(f" @{clock(peak_s)}", style=DIM)

    def _bar(self, utterance: UtteranceResult, width: int) -> Text:
        """The score as a bar from the middle: to the left below zero, else to the right."""
        half = width // 2
        filled = min(half, round(abs(utterance.score) * half))
        side = Text(self.rule * (half - filled), style=DIM)
        block = Text(self.block * filled, style=_colour(utterance))
        rest = Text(self.rule * half, style=DIM)
        axis = Text(self.axis)
        parts = [side, block, axis, rest] if utterance.score < 0 else [rest, axis, block, side]
        return Text.assemble(*parts)

    def _folded(self, text: str, indent: int, style: Style) -> Iterable[Text]:
        """The text in lines of the width left beside the indent."""
        for line in wrap(text, max(20, self.width - indent), even=False):
            yield Text.assemble(" " * indent, Text(line, style=style))

    def _attention(self, utterances: Sequence[UtteranceResult]) -> Iterable[Text]:
        """One block per modality: a row per utterance, a column per utterance it drew from."""
        label = max(len(str(utterance.index)) for utterance in utterances)
        count = min(len(utterances), max(1, (self.width - label) // CELL))
        numbers = "".join(f"{utterance.index:>{CELL}}" for utterance in utterances[:count])
        for modality in MODALITIES:
            title = (
                f"Context attention, {modality}: % that each utterance (across) gave to each (down)"
            )
            yield Text()
            yield Text(title[: self.width])
            yield Text(" " * label + numbers, style=DIM)
            for utterance in utterances:
                weights = utterance.attention.context.get(modality, ())
                cells = [_percent(weight) for weight in weights[:count]]
                none = Text(f"{self.dash:>{CELL}}", style=DIM)
                index = Text(f"{utterance.index:>{label}}", style=DIM)
                yield Text.assemble(index, *(cells or [none]))
            if count < len(utterances):
                cut = f"Cut to the first {count} of {len(utterances)} columns; JSON has them all."
                yield Text(cut, style=WARNING)


def _percent(weight: float) -> Text:
    percent = round(100 * weight)
    return Text(f"{percent:>{CELL}}", style=BOLD if percent >= 50 else Style(dim=percent == 0))


def _colour(utterance: UtteranceResult) -> Style:
    return Style(color=COLOURS.get(utterance.sentiment, "cyan"))


def _joined(cells: Sequence[Text], columns: Sequence[Column], widths: Sequence[int]) -> Text:
    line = Text()
    for cell, column, width in zip(cells, columns, widths, strict=True):
        blanks = Text(" " * (width - cell.cell_len))
        parts = [blanks, cell] if column.right else [cell, blanks]
        line = Text.assemble(line, GAP if line else "", *parts)
    line.rstrip()
    return line
