"""An utterance as one row of cells: the columns of CSV, Parquet and data frames.

``docs/results.md`` tells what is in each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from avsent.errors import UsageError
from avsent.result.utterance import TimeWeight, UtteranceResult

if TYPE_CHECKING:
    import pandas as pd

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


def column_names(labels: Sequence[str]) -> list[str]:
    """The names of the columns; the probabilities' are those of a model's ``labels``."""
    return [*FIRST_COLUMNS, *(f"p_{label}" for label in labels), *LAST_COLUMNS]


def utterance_cells(utterance: UtteranceResult, labels: Sequence[str]) -> list[Cell]:
    """The cells of an utterance as what they are, in the order of the columns behind ``source``;
    ``labels`` may be those of another model, the probabilities of which it may lack."""
    # The rounding of JSON, so that both views show the same numbers. No column needs the context,
    # which grows with the square of the video's length.
    attention = replace(utterance.attention, context={})
    plain = replace(utterance, attention=attention).to_dict()
    audio = plain["modalities"].get("audio", {})
    face = plain["modalities"].get("face", {})
    return [
        *(plain[name] for name in FIRST_COLUMNS[1:]),
        *(plain["probabilities"].get(label) for label in labels),
        audio.get("weight"),
        face.get("weight"),
        audio.get("effective"),
        face.get("effective"),
        _peak(plain["attention"]["face_frames"]),
        _peak(plain["attention"]["audio_frames"]),
        utterance.text,
        "; ".join(utterance.warnings),
    ]


def peak_time(frames: Sequence[TimeWeight]) -> float | None:
    """The moment that drew most attention; None without frames."""
    if not frames:
        return None
    return max(frames, key=lambda frame: frame.weight).time_s


def _peak(frames: list[dict[str, float]]) -> float | None:
    """:func:`peak_time` of rounded weights."""
    return max(frames, key=lambda frame: frame["weight"])["time_s"] if frames else None


_TYPES = {
    **dict.fromkeys(("source", "sentiment", "text", "warnings"), "string"),
    "index": "int64",
    "track": "Int64",
    **dict.fromkeys(("audio_effective", "face_effective"), "boolean"),
}
"""pandas' names; what is not here is a number."""


def data_frame(names: Sequence[str], rows: Sequence[Sequence[Cell]]) -> pd.DataFrame:
    """The table of ``rows`` under the columns ``names``.

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
    for place, name in enumerate(names):
        cells = [_valid(row[place]) for row in rows]
        columns[_valid(name)] = pd.Series(cells, dtype=_TYPES.get(name, "float64"))
    return pd.DataFrame(columns)


def _valid(cell: Cell) -> Cell:
    """Text as UTF-8 can hold it, which is how pandas keeps it; a file name may be none."""
    if isinstance(cell, str):
        return cell.encode("utf-8", "backslashreplace").decode("utf-8")
    return cell
