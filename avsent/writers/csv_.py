"""CSV: one utterance per row, without the attention lists. ``docs/results.md`` has the columns."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import TextIO, TypeAlias

from avsent.results import Result, TimeWeight
from avsent.writers.base import Writer
from avsent.writers.text import one_line

Cell: TypeAlias = str | int | float | bool | None

FIRST_COLUMNS = ("source", "index", "start_s", "end_s", "track", "sentiment", "score")
LAST_COLUMNS = (
    "audio_weight",
    "face_weight",
    "audio_effective",
    "face_effective",
    "face_peak_s",
    "audio_peak_s",
    "text",
    "warnings",
)


class CsvWriter(Writer):
    """One header, then the utterances of all results.

    The columns ``p_<label>`` are those of the first result's model; what is unknown is empty.
    """

    extension = "csv"

    def write(self, results: Iterable[Result], file: TextIO) -> None:
        """Write the rows of each result as soon as it comes."""
        labels: tuple[str, ...] | None = None
        rows = csv.writer(file, lineterminator="\n")
        for result in results:
            if labels is None:
                labels = result.model.labels
                rows.writerow(csv_columns(labels))
            for row in csv_rows(result, labels):
                rows.writerow(row)
            file.flush()


def csv_rows(result: Result, labels: tuple[str, ...]) -> Iterable[list[str]]:
    """The cells of each utterance as text, in the order of the columns."""
    for cells in result_cells(result, labels):
        yield [cell_text(value) for value in cells]


def csv_columns(labels: tuple[str, ...]) -> list[str]:
    """The names of the columns."""
    return [*FIRST_COLUMNS, *(f"p_{one_line(label)}" for label in labels), *LAST_COLUMNS]


def result_cells(result: Result, labels: tuple[str, ...] | None = None) -> Iterable[list[Cell]]:
    """The cells of each utterance as what they are, in the order of the columns; ``labels``:
    those of another model, the probabilities of which this result may lack."""
    for utterance in result.utterances:
        # The rounding of JSON, so that both views show the same numbers.
        plain = utterance.to_dict()
        audio = plain["modalities"].get("audio", {})
        face = plain["modalities"].get("face", {})
        yield [
            result.source,
            *(plain[name] for name in FIRST_COLUMNS[1:]),
            *(plain["probabilities"].get(label) for label in labels or result.model.labels),
            audio.get("weight"),
            face.get("weight"),
            audio.get("effective"),
            face.get("effective"),
            _peak(plain["attention"]["face_frames"]),
            _peak(plain["attention"]["audio_frames"]),
            utterance.text,
            "; ".join(utterance.warnings),
        ]


def peak_time(frames: tuple[TimeWeight, ...]) -> float | None:
    """The moment that drew most attention; None without frames."""
    if not frames:
        return None
    return max(frames, key=lambda frame: frame.weight).time_s


def _peak(frames: list[dict[str, float]]) -> float | None:
    """:func:`peak_time` of rounded weights."""
    return max(frames, key=lambda frame: frame["weight"])["time_s"] if frames else None


def cell_text(value: Cell) -> str:
    """A cell as CSV shows it; what is unknown is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    # Fixed notation: repr would give 1e-06, which some spreadsheets take for text.
    return f"{value:.6f}" if isinstance(value, float) else one_line(str(value))
