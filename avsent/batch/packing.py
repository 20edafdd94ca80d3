"""Results as the journal holds them: compressed JSON."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from avsent.results import Result
from avsent.writers.csv_ import result_cells

if TYPE_CHECKING:
    from avsent.represented import Represented

_MODALITIES = ("audio", "face")


def packed(result: Result) -> tuple[bytes, str]:
    """A result, compressed, and its rows of the table of all utterances."""
    plain = result.to_dict()
    text = json.dumps(plain, allow_nan=False)
    # Rows of what is kept: rounding may make another moment the one that drew most attention.
    rows = list(result_cells(Result.from_dict(plain)))
    return zlib.compress(text.encode("ascii")), json.dumps(rows)


def result_of(stored: bytes) -> Result:
    """The result that :func:`packed` compressed."""
    return Result.from_dict(json.loads(zlib.decompress(stored)))


def packed_representations(represented: Sequence[Represented]) -> bytes:
    """What a result does not hold of its utterances: representations and first warnings."""
    plain = [
        {
            "warnings": list(one.warnings),
            **{
                modality: None if (value := one.of(modality)) is None else value.tolist()
                for modality in _MODALITIES
            },
        }
        for one in represented
    ]
    return zlib.compress(json.dumps(plain).encode("ascii"))


def unpacked_representations(representations: bytes | None) -> list[dict[str, Any]]:
    """By modality, None where it is missing, and under ``warnings`` those of the analysis."""
    if representations is None:
        return []
    plain: list[dict[str, Any]] = json.loads(zlib.decompress(representations))
    return plain
