"""Rows of cells as a pandas table; pandas is needed for nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from avsent.errors import UsageError
from avsent.result_cells import Cell

if TYPE_CHECKING:
    import pandas as pd

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
