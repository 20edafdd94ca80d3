"""The table of all utterances as Parquet, where pyarrow is installed."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from avsent.writers.csv_ import FIRST_COLUMNS, LAST_COLUMNS, Cell, csv_columns
from avsent.writers.files import atomic_path

GROUP_ROWS = 50_000
"""Rows written at once: memory does not grow with the table."""

_KINDS = {
    **dict.fromkeys(("source", "sentiment", "text", "warnings"), "string"),
    **dict.fromkeys(("index", "track"), "int32"),
    **dict.fromkeys(("audio_effective", "face_effective"), "bool"),
}


def write_parquet(
    target: Path, workshop: Path, labels: tuple[str, ...], rows: Iterable[list[Cell]]
) -> None:
    """Write ``rows``, with the columns of CSV: text, numbers and truth values as what they are,
    null for what is unknown. Raises OutputError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = csv_columns(labels)
    assert len(names) == len(FIRST_COLUMNS) + len(labels) + len(LAST_COLUMNS)
    schema = pa.schema([(name, pa.type_for_alias(_KINDS.get(name, "double"))) for name in names])
    remaining = iter(rows)
    with atomic_path(target, workshop) as path, pq.ParquetWriter(path, schema) as writer:
        while group := list(islice(remaining, GROUP_ROWS)):
            columns = zip(*([_valid(cell) for cell in row] for row in group), strict=True)
            arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
            writer.write_table(pa.table(arrays, schema))


def _valid(cell: Cell) -> Cell:
    """Parquet holds UTF-8 only; a file name may be none."""
    if isinstance(cell, str):
        return cell.encode("utf-8", "backslashreplace").decode("utf-8")
    return cell
