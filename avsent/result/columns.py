"""The table of utterances: the columns of CSV, Parquet and data frames.

``docs/results.md`` explains each column.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from avsent.errors import UsageError
from avsent.result.utterance import UtteranceResult
from avsent.text import one_line, valid_utf8

if TYPE_CHECKING:
    import pandas as pd

Cell: TypeAlias = str | int | float | bool | None

FIRST_COLUMNS = ("source", "index", "start_s", "end_s", "track", "sentiment", "score")
LAST_COLUMNS = (
    *("audio_weight", "face_weight", "audio_effective", "face_effective"),
    *("face_peak_s", "audio_peak_s", "text", "warnings"),
)
_PANDAS_TYPES = {
    **dict.fromkeys(("source", "sentiment", "text", "warnings"), "string"),
    "index": "int64",
    "track": "Int64",
    **dict.fromkeys(("audio_effective", "face_effective"), "boolean"),
}
"""Of columns that hold something else than numbers."""


def column_names(labels: Iterable[str]) -> list[str]:
    """Names of all columns; a column of probabilities for each of a model's ``labels``."""
    return [*FIRST_COLUMNS, *(f"p_{one_line(label)}" for label in labels), *LAST_COLUMNS]


def utterance_cells(utterance: UtteranceResult, labels: Sequence[str]) -> list[Cell]:
    """The cells of an utterance, without ``source``; ``labels`` may be those of another model,
    whose probabilities are then None."""
    # Rounded as in JSON, so that both show the same numbers; without the context, which no column
    # needs and which grows with the square of the video's length.
    attention = replace(utterance.attention, context={})
    plain = replace(utterance, attention=attention).to_dict()
    audio, face = (plain["modalities"].get(name, {}) for name in ("audio", "face"))
    return [
        *(plain[name] for name in FIRST_COLUMNS[1:]),
        *(plain["probabilities"].get(label) for label in labels),
        audio.get("weight"),
        face.get("weight"),
        audio.get("effective"),
        face.get("effective"),
        *(
            peak_time((frame["time_s"], frame["weight"]) for frame in plain["attention"][frames])
            for frames in ("face_frames", "audio_frames")
        ),
        utterance.text,
        "; ".join(utterance.warnings),
    ]


def peak_time(frames: Iterable[tuple[float, float]]) -> float | None:
    """The time of the largest weight among (time, weight); None without frames."""
    peak = max(frames, key=lambda frame: frame[1], default=None)
    return None if peak is None else peak[0]


def data_frame(labels: Sequence[str], rows: Sequence[Sequence[Cell]]) -> pd.DataFrame:
    """The table of ``rows`` for a model with these ``labels``.

    Raises:
        UsageError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise UsageError(
            f"to_dataframe needs pandas ({error}); run pip install 'avsent[pandas]'"
        ) from error
    columns = {}
    for place, name in enumerate(column_names(labels)):
        cells = [valid_cell(row[place]) for row in rows]
        columns[name] = pd.Series(cells, dtype=_PANDAS_TYPES.get(name, "float64"))
    return pd.DataFrame(columns)


def valid_cell(cell: Cell) -> Cell:
    """The cell as pandas and Parquet can keep it: in UTF-8, which a file name need not be."""
    return valid_utf8(cell) if isinstance(cell, str) else cell
