"""Results as the journal holds them: compressed JSON."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from avsent.errors import InputError, OutputError
from avsent.results import Result
from avsent.writers.csv_ import result_cells

if TYPE_CHECKING:
    from avsent.represented import Represented

_MODALITIES = ("audio", "face")


def packed(result: Result) -> tuple[bytes, str]:
    """A result, compressed, and its rows of the table of all utterances."""
    text = json.dumps(result.to_dict(), allow_nan=False)
    return zlib.compress(text.encode("ascii")), json.dumps(list(result_cells(result)))


def result_of(stored: bytes) -> Result:
    """The result that :func:`packed` compressed. Raises OutputError where it is damaged."""
    try:
        return Result.from_dict(json.loads(zlib.decompress(stored)))
    except (zlib.error, ValueError, InputError) as error:
        raise OutputError(
            "the journal is damaged: a result in it cannot be read; remove its folder .avsent to "
            "start anew"
        ) from error


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
