"""CSV: one utterance per row, without the attention lists. ``docs/results.md`` has the columns."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import TextIO

from avsent.results import Result, TimeWeight
from avsent.writers.base import Writer
from avsent.writers.text import one_line

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
                columns = [f"p_{one_line(label)}" for label in labels]
                rows.writerow([*FIRST_COLUMNS, *columns, *LAST_COLUMNS])
            for row in csv_rows(result, labels):
                rows.writerow(row)
            file.flush()


def csv_rows(result: Result, labels: tuple[str, ...]) -> Iterable[list[str]]:
    """The cells of each utterance, in the order of the columns."""
    for utterance in result.utterances:
        # The rounding of JSON, so that both views show the same numbers.
        plain = utterance.to_dict()
        audio = plain["modalities"].get("audio", {})
        face = plain["modalities"].get("face", {})
        cells = [
            result.source,
            *(plain[name] for name in FIRST_COLUMNS[1:]),
            *(plain["probabilities"].get(label) for label in labels),
            audio.get("weight"),
            face.get("weight"),
            audio.get("effective"),
            face.get("effective"),
            peak_time(utterance.attention.face_frames),
            peak_time(utterance.attention.audio_frames),
            utterance.text,
            "; ".join(utterance.warnings),
        ]
        yield [_cell(value) for value in cells]


def peak_time(frames: tuple[TimeWeight, ...]) -> float | None:
    """The moment that drew most attention; None without frames."""
    if not frames:
        return None
    return max(frames, key=lambda frame: frame.weight).time_s


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    # Fixed notation: repr would give 1e-06, which some spreadsheets take for text.
    return f"{value:.6f}" if isinstance(value, float) else one_line(str(value))
