"""Results as the journal holds them: compressed JSON."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from avsent.errors import InputError, OutputError
from avsent.result.columns import FIRST_COLUMNS, LAST_COLUMNS, Cell
from avsent.result.record import MAX_FILE_BYTES as MAX_RESULT_BYTES
from avsent.result.record import Result
from avsent.result.writers.csv import result_cells

if TYPE_CHECKING:
    from avsent.model.encoding import Represented

_MODALITIES = ("audio", "face")


def packed(result: Result) -> tuple[bytes, str]:
    """A result, compressed, and its rows of the table of all utterances."""
    text = json.dumps(result.to_dict(), allow_nan=False)
    return zlib.compress(text.encode("ascii")), json.dumps(list(result_cells(result)))


def result_of(stored: bytes) -> Result:
    """The result that :func:`packed` compressed. Raises OutputError where it is damaged."""
    try:
        return Result.from_dict(json.loads(unzipped(stored)))
    except (zlib.error, ValueError, RecursionError, InputError) as error:
        raise damaged() from error


def rows_of(stored: str) -> list[list[Cell]]:
    """The rows of the table of all utterances that :func:`packed` gave; see :func:`result_of`."""
    try:
        rows: list[list[Cell]] = json.loads(stored)
        # As many columns as the table has, but those of the labels; and cells that it may hold.
        fits = isinstance(rows, list) and all(
            isinstance(row, list)
            and len(row) > len(FIRST_COLUMNS) + len(LAST_COLUMNS)
            and all(isinstance(cell, str | int | float | None) for cell in row)
            for row in rows
        )
    except (ValueError, RecursionError) as error:
        raise damaged() from error
    if not fits:
        raise damaged()
    return rows


def unzipped(stored: bytes) -> bytes:
    """What was compressed; zlib.error where it is damaged, or far too large to be a result."""
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(stored, MAX_RESULT_BYTES)
    if not unpacker.eof:
        raise zlib.error("cut off, or too large")
    return data


def damaged() -> OutputError:
    """The error for a journal that holds what no batch has written."""
    return OutputError(
        "the journal is damaged: a result in it cannot be read; remove its folder .avsent to "
        "start anew"
    )


def packed_representations(represented: Sequence[Represented]) -> bytes:
    """What a result does not hold of its utterances: representations, first warnings, and the
    attention inside it, which a result lacks where the modality was not believed."""
    plain = [
        {
            "warnings": list(one.warnings),
            "audio_frames": [(frame.time_s, frame.weight) for frame in one.audio_frames],
            "face_frames": [(frame.time_s, frame.weight) for frame in one.face_frames],
            **{
                modality: None if (value := one.of(modality)) is None else value.tolist()
                for modality in _MODALITIES
            },
        }
        for one in represented
    ]
    return zlib.compress(json.dumps(plain).encode("ascii"))


def unpacked_representations(representations: bytes | None) -> list[dict[str, Any]]:
    """By modality, None where it is missing; under ``warnings`` those of the analysis, under
    ``audio_frames`` and ``face_frames`` pairs of time and weight."""
    if representations is None:
        return []
    try:
        plain: list[dict[str, Any]] = json.loads(unzipped(representations))
    except (zlib.error, ValueError, RecursionError) as error:
        raise damaged() from error
    return plain
