"""The columns of CSV and Parquet are those that the documentation names, with their types."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from pathlib import Path

import pytest
from conftest import ROOT
from handmade import LABELS, make_result

from avsent.result_cells import FIRST_COLUMNS, LAST_COLUMNS
from avsent.results import Result
from avsent.writers import Format, make_writer
from avsent.writers.csv_ import csv_columns, result_cells

TYPES: dict[str, type] = {"text": str, "whole number": int, "number": float, "truth value": bool}
PARQUET = {"text": "string", "whole number": "int32", "number": "double", "truth value": "bool"}


def documented() -> dict[str, tuple[str, str]]:
    """Type and when it is unknown, by column, in the order of the table."""
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    section = text.partition("## Columns of CSV\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", section, re.MULTILINE)
    assert len(rows) == section.count("\n| `")
    assert all(meaning.strip() for *_, meaning in rows)
    return {column: (kind, unknown) for column, kind, unknown, _ in rows}


def expanded() -> dict[str, tuple[str, str]]:
    """The same, with a column for each label."""
    found = {}
    for column, facts in documented().items():
        names = [f"p_{label}" for label in LABELS] if column == "p_<label>" else [column]
        found.update(dict.fromkeys(names, facts))
    return found


def results() -> list[Result]:
    """With and without what may be unknown."""
    full = make_result(2, text="good morning")
    bare = tuple(
        dataclasses.replace(
            one,
            modalities={},
            attention=dataclasses.replace(one.attention, face_frames=(), audio_frames=()),
            probabilities={},
        )
        for one in make_result(1).utterances
    )
    return [full, dataclasses.replace(make_result(1), utterances=bare)]


def test_the_documentation_names_all_columns_in_their_order() -> None:
    assert list(documented()) == [*FIRST_COLUMNS, "p_<label>", *LAST_COLUMNS]
    assert list(expanded()) == csv_columns(LABELS)
    assert {kind for kind, _ in documented().values()} == set(TYPES)


def test_cells_are_of_the_documented_type() -> None:
    seen: set[tuple[str, bool]] = set()
    for result in results():
        for cells in result_cells(result, LABELS):
            for (column, (kind, unknown)), cell in zip(expanded().items(), cells, strict=True):
                if cell is None:
                    assert not unknown.startswith("never"), column
                else:
                    assert type(cell) is TYPES[kind], column
                seen.add((column, cell is None))
    for column, (_, unknown) in expanded().items():
        assert (column, False) in seen
        assert ((column, True) in seen) == (not unknown.startswith("never"))


def test_csv_has_them() -> None:
    file = io.StringIO()
    make_writer(Format.csv).write(results(), file)
    file.seek(0)
    header, *rows = csv.reader(file)
    assert header == list(expanded())
    numbers = [place for place, (kind, _) in enumerate(expanded().values()) if kind == "number"]
    for row in rows:
        assert all(re.fullmatch(r"(-?\d+\.\d{6})?", row[place]) for place in numbers)


def test_parquet_has_them(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    from avsent.batch.parquet import write_parquet

    rows = [cells for result in results() for cells in result_cells(result, LABELS)]
    write_parquet(tmp_path / "a.parquet", tmp_path, LABELS, rows)
    table = pq.read_table(tmp_path / "a.parquet")
    assert {field.name: str(field.type) for field in table.schema} == {
        column: PARQUET[kind] for column, (kind, _) in expanded().items()
    }
    assert [list(row.values()) for row in table.to_pylist()] == rows
