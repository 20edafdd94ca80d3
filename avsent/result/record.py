"""The result of a prediction: schema ``avsent/1`` (``docs/result.schema.json``) as dataclasses.

All times are presentation times in seconds; every non-empty attention list sums to 1; a
modality that is ineffectual in an utterance has weight 0 and empty attention lists.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsent.errors import InputError
from avsent.result.columns import column_names, utterance_cells
from avsent.result.utterance import (
    DECIMALS,
    Attention,
    ModalityShare,
    ModelInfo,
    TimeWeight,
    Track,
    UtteranceResult,
    round_time,
    shortened,
)
from avsent.schema import Fields

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "DECIMALS",
    "SCHEMA",
    "Attention",
    "ModalityShare",
    "ModelInfo",
    "Result",
    "TimeWeight",
    "Track",
    "UtteranceResult",
]

SCHEMA = "avsent/1"
MAX_FILE_BYTES = 512 * 1024**2
"""Four hours of talk: it grows with the square. Reading takes some times as much memory."""

REPR_ENDS = 2
"""How many utterances at the beginning and at the end are told of where there are many."""


@dataclass(frozen=True, slots=True)
class Result:
    """All decisions on one media file.

    A notebook shows it as a table, everything else in a few words; :meth:`to_dict` has it all.
    """

    source: str
    duration_s: float
    model: ModelInfo
    tracks: tuple[Track, ...] = ()
    utterances: tuple[UtteranceResult, ...] = ()
    warnings: tuple[str, ...] = ()
    schema: str = field(default=SCHEMA)

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
            "tracks": [
                {
                    "track": int(track.track),
                    "start_s": round_time(track.start_s),
                    "end_s": round_time(track.end_s),
                    "frames": int(track.frames),
                }
                for track in self.tracks
            ],
            "utterances": [utterance.to_dict() for utterance in self.utterances],
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_dict(cls, plain: object) -> Result:
        """Read back what :meth:`to_dict` gave; keys that are not known are ignored.

        Raises
        ------
        InputError
            Where ``plain`` is not a result of schema ``avsent/1``, naming the first wrong field.
        """
        root = Fields(plain, "result")
        schema = root.text("schema")
        if schema != SCHEMA:
            raise InputError(f"result.schema is {schema!r}; this version reads {SCHEMA!r} only")
        model = root.fields("model")
        return cls(
            source=root.text("source"),
            duration_s=root.time("duration_s"),
            model=ModelInfo(model.text("name"), model.text("sha256"), model.texts("labels")),
            tracks=tuple(
                Track(t.whole("track"), t.time("start_s"), t.time("end_s"), t.whole("frames"))
                for t in root.items("tracks")
            ),
            utterances=tuple(_read_utterance(u) for u in root.items("utterances")),
            warnings=root.texts("warnings"),
        )

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
        from avsent.result.columns import data_frame

        labels = self.model.labels
        rows = [[self.source, *utterance_cells(one, labels)] for one in self.utterances]
        return data_frame(column_names(labels), rows)

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({told})"

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


def _read_utterance(plain: Fields) -> UtteranceResult:
    probabilities, modalities = plain.fields("probabilities"), plain.fields("modalities")
    shares = {name: modalities.fields(name) for name in modalities.mapping}
    attention = plain.fields("attention")
    context = attention.fields("context")
    return UtteranceResult(
        index=plain.whole("index"),
        start_s=plain.time("start_s"),
        end_s=plain.time("end_s"),
        track=None if plain.value("track") is None else plain.whole("track"),
        sentiment=plain.text("sentiment"),
        score=plain.number("score"),
        probabilities={name: probabilities.number(name) for name in probabilities.mapping},
        modalities={
            name: ModalityShare(
                share.number("weight"),
                share.flag("effective"),
                share.flag("proxy") if "proxy" in share.mapping else False,
            )
            for name, share in shares.items()
        },
        attention=Attention(
            context={name: context.numbers(name) for name in context.mapping},
            face_frames=_read_frames(attention, "face_frames"),
            audio_frames=_read_frames(attention, "audio_frames"),
        ),
        warnings=plain.texts("warnings"),
        text=plain.text("text") if "text" in plain.mapping else None,
    )


def _read_frames(attention: Fields, key: str) -> tuple[TimeWeight, ...]:
    return tuple(
        TimeWeight(frame.time("time_s"), frame.number("weight")) for frame in attention.items(key)
    )
