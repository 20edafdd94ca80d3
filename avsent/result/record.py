"""The result of a prediction: schema ``avsent/1`` (``docs/result.schema.json``) as dataclasses.

All times are presentation times in seconds; every non-empty attention list sums to 1; a
modality that is ineffectual in an utterance has weight 0 and empty attention lists.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsent.errors import InputError
from avsent.result.columns import Cell, data_frame, utterance_cells
from avsent.result.utterance import (
    ModelInfo,
    Track,
    UtteranceResult,
    round_time,
    short_repr,
    shortened,
)
from avsent.schema import build

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = "avsent/1"
MAX_FILE_BYTES = 512 * 1024**2
"""Four hours of talk, as a file grows with the square of their number. Reading takes some times
as much memory."""
REPR_ENDS = 2
"""Utterances printed at the beginning and at the end where there are many."""


@dataclass(frozen=True, slots=True, repr=False)
class Result:
    """All decisions on one media file.

    A notebook shows it as a table, ``print`` in a few words; :meth:`to_dict` has all of it.
    """

    source: str
    duration_s: float
    model: ModelInfo
    tracks: tuple[Track, ...] = ()
    utterances: tuple[UtteranceResult, ...] = ()
    warnings: tuple[str, ...] = ()
    schema: str = SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON-ready types, keys in the order of the schema."""
        return {
            "schema": self.schema,
            "source": self.source,
            "duration_s": round_time(self.duration_s),
            "model": {
                "name": self.model.name,
                "sha256": self.model.sha256,
                "labels": list(self.model.labels),
            },
            "tracks": [track.to_dict() for track in self.tracks],
            "utterances": [utterance.to_dict() for utterance in self.utterances],
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_dict(cls, plain: object) -> Result:
        """Read back what :meth:`to_dict` gave; unknown keys are ignored.

        Raises
        ------
        InputError
            ``plain`` is not a result of schema ``avsent/1``; names the first wrong field.
        """
        schema = plain.get("schema", SCHEMA) if isinstance(plain, dict) else SCHEMA
        if schema != SCHEMA:
            raise InputError(f"result.schema is {schema!r:.50}; this version reads {SCHEMA!r} only")
        try:
            return build(cls, plain, "result", may_lack=("proxy", "text"))
        except ValueError as error:
            raise InputError(str(error)) from error

    @classmethod
    def load(cls, path: str | Path) -> Result:
        """Read the JSON file of one result, such as ``avsent predict talk.mp4 -o talk.json`` wrote;
        it may stand alone in a list.

        Raises
        ------
        InputError
            It cannot be read, or is no result of schema ``avsent/1``, naming the first wrong field.
        """
        try:
            if Path(path).stat().st_size > MAX_FILE_BYTES:
                raise InputError(f"{path}: far too large for a result; give what avsent wrote")
            plain = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            reason = error.strerror or "no such name"
            raise InputError(f"{path}: cannot be read ({reason}); check the path") from error
        except (ValueError, RecursionError) as error:  # a name no file can have is a ValueError
            raise InputError(f"{path}: is not JSON; give what --format json wrote") from error
        if isinstance(plain, list):
            if len(plain) != 1:
                raise InputError(
                    f"{path}: holds the results of {len(plain)} files, not of one; write them to a "
                    "folder (predict -o FOLDER/)"
                )
            plain = plain[0]
        try:
            return cls.from_dict(plain)
        except InputError as error:
            raise InputError(f"{path}: {error}; give what --format json wrote") from error

    def cells(self, labels: Sequence[str] | None = None) -> Iterator[list[Cell]]:
        """One row per utterance, as in CSV but with numbers and truth values as what they are.

        ``labels``: the columns of probabilities, those of this model by default; what is unknown
        is None.
        """
        for utterance in self.utterances:
            yield [self.source, *utterance_cells(utterance, labels or self.model.labels)]

    def to_dataframe(self) -> pd.DataFrame:
        """One row per utterance as a pandas table, with the columns of CSV (``docs/results.md``).

        Texts, numbers and truth values are what they are; ``track`` and what is true or false are
        of pandas' types that may be unknown. A result without utterances gives an empty table of
        the same columns.

        Raises
        ------
        UsageError
            pandas is not installed.
        """
        return data_frame(self.model.labels, list(self.cells()))

    __repr__ = short_repr

    def __rich_repr__(self) -> Iterator[tuple[str, object]]:
        """What rich prints: as ``repr``, but in colours and over several lines."""
        yield "source", self.source
        yield "duration_s", round_time(self.duration_s)
        yield "model", self.model.name
        yield "tracks", len(self.tracks)
        yield "utterances", shortened(self.utterances, REPR_ENDS)
        if self.warnings:
            yield "warnings", list(self.warnings)

    def _repr_html_(self) -> str:
        """What a notebook shows: a table of the utterances."""
        from avsent.result.notebook import html_table

        return html_table(
            self.source, self.duration_s, self.model.name, self.utterances, self.warnings
        )
