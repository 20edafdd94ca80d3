"""The result of a prediction: schema ``avsent/1`` (``docs/result.schema.json``) as dataclasses.

All times are presentation times in seconds; every non-empty attention list sums to 1; a
modality that is ineffectual in an utterance has weight 0 and empty attention lists.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from avsent.errors import InputError

SCHEMA = "avsent/1"

DECIMALS = 6
"""Places kept in files: microseconds, and millionths of a weight."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Which checkpoint decided."""

    name: str
    sha256: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Track:
    """One person's face over time: first and last time seen, analysed frames."""

    track: int
    start_s: float
    end_s: float
    frames: int


@dataclass(frozen=True, slots=True)
class ModalityShare:
    """A modality's share in the decision (shares sum to 1) and whether it was usable."""

    weight: float
    effective: bool


@dataclass(frozen=True, slots=True)
class TimeWeight:
    """Attention on one moment of the utterance."""

    time_s: float
    weight: float


@dataclass(frozen=True, slots=True)
class Attention:
    """Where the model looked.

    ``context[modality][j]`` is how much utterance ``j`` of the video contributed to this one.
    """

    context: dict[str, tuple[float, ...]]
    face_frames: tuple[TimeWeight, ...] = ()
    audio_frames: tuple[TimeWeight, ...] = ()


@dataclass(frozen=True, slots=True)
class UtteranceResult:
    """The decision on one utterance. ``score`` = P(positive) − P(negative), in −1..1."""

    index: int
    start_s: float
    end_s: float
    track: int | None
    sentiment: str
    score: float
    probabilities: dict[str, float]
    modalities: dict[str, ModalityShare]
    attention: Attention
    warnings: tuple[str, ...] = ()
    text: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The utterance as plain JSON-ready types; ``text`` only where the user gave one."""
        shares = _round_shares(share.weight for share in self.modalities.values())
        plain: dict[str, Any] = {
            "index": int(self.index),
            "start_s": _round_time(self.start_s),
            "end_s": _round_time(self.end_s),
            "track": None if self.track is None else int(self.track),
            "sentiment": self.sentiment,
            "score": round(float(self.score), DECIMALS),
            "probabilities": dict(
                zip(self.probabilities, _round_shares(self.probabilities.values()), strict=True)
            ),
            "modalities": {
                name: {"weight": weight, "effective": bool(share.effective)}
                for (name, share), weight in zip(self.modalities.items(), shares, strict=True)
            },
            "attention": {
                "context": {
                    name: _round_shares(weights) for name, weights in self.attention.context.items()
                },
                "face_frames": _plain_frames(self.attention.face_frames),
                "audio_frames": _plain_frames(self.attention.audio_frames),
            },
            "warnings": list(self.warnings),
        }
        if self.text is not None:
            plain["text"] = self.text
        return plain


@dataclass(frozen=True, slots=True)
class Result:
    """All decisions on one media file."""

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
            "duration_s": _round_time(self.duration_s),
            "model": {
                "name": self.model.name,
                "sha256": self.model.sha256,
                "labels": list(self.model.labels),
            },
            "tracks": [
                {
                    "track": int(track.track),
                    "start_s": _round_time(track.start_s),
                    "end_s": _round_time(track.end_s),
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
        root = _Fields(plain, "result")
        schema = root.text("schema")
        if schema != SCHEMA:
            raise InputError(f"result.schema is {schema!r}; this version reads {SCHEMA!r} only")
        model = root.fields("model")
        return cls(
            source=root.text("source"),
            duration_s=root.number("duration_s"),
            model=ModelInfo(model.text("name"), model.text("sha256"), model.texts("labels")),
            tracks=tuple(
                Track(t.whole("track"), t.number("start_s"), t.number("end_s"), t.whole("frames"))
                for t in root.items("tracks")
            ),
            utterances=tuple(_read_utterance(u) for u in root.items("utterances")),
            warnings=root.texts("warnings"),
        )


def _round_time(seconds: float) -> float:
    return round(float(seconds), DECIMALS)


def _round_shares(weights: Iterable[float]) -> list[float]:
    """Round weights so that their sum is kept.

    Rounding each alone would let a thousand equal weights drift by a thousand half-digits;
    rounding the running sum and taking differences keeps the total to half a digit.
    """
    unit = 10**DECIMALS
    rounded: list[float] = []
    exact, given = 0.0, 0
    for weight in weights:
        exact += float(weight)
        reached = round(exact * unit)
        rounded.append((reached - given) / unit)
        given = reached
    return rounded


def _plain_frames(frames: tuple[TimeWeight, ...]) -> list[dict[str, float]]:
    weights = _round_shares(frame.weight for frame in frames)
    return [
        {"time_s": _round_time(frame.time_s), "weight": weight}
        for frame, weight in zip(frames, weights, strict=True)
    ]


def _read_utterance(plain: _Fields) -> UtteranceResult:
    probabilities, modalities = plain.fields("probabilities"), plain.fields("modalities")
    shares = {name: modalities.fields(name) for name in modalities.mapping}
    attention = plain.fields("attention")
    context = attention.fields("context")
    return UtteranceResult(
        index=plain.whole("index"),
        start_s=plain.number("start_s"),
        end_s=plain.number("end_s"),
        track=None if plain.value("track") is None else plain.whole("track"),
        sentiment=plain.text("sentiment"),
        score=plain.number("score"),
        probabilities={name: probabilities.number(name) for name in probabilities.mapping},
        modalities={
            name: ModalityShare(share.number("weight"), share.flag("effective"))
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


def _read_frames(attention: _Fields, key: str) -> tuple[TimeWeight, ...]:
    return tuple(
        TimeWeight(frame.number("time_s"), frame.number("weight")) for frame in attention.items(key)
    )


class _Fields:
    """A JSON object whose fields are read by type; a wrong one is an InputError that names it."""

    def __init__(self, plain: object, where: str) -> None:
        if not isinstance(plain, dict) or not all(isinstance(key, str) for key in plain):
            raise InputError(f"{where} must be an object with text keys")
        self.mapping: dict[str, object] = plain
        self.where = where

    def value(self, key: str) -> object:
        if key not in self.mapping:
            raise InputError(f"{self.where}.{key} is missing")
        return self.mapping[key]

    def text(self, key: str) -> str:
        value = self.value(key)
        return value if isinstance(value, str) else self._refuse(key, "text")

    def flag(self, key: str) -> bool:
        value = self.value(key)
        return value if isinstance(value, bool) else self._refuse(key, "true or false")

    def number(self, key: str) -> float:
        return self._as_number(self.value(key), key)

    def whole(self, key: str) -> int:
        number = self.number(key)
        return int(number) if number.is_integer() else self._refuse(key, "a whole number")

    def numbers(self, key: str) -> tuple[float, ...]:
        return tuple(self._as_number(value, key) for value in self._list(key))

    def texts(self, key: str) -> tuple[str, ...]:
        values = self._list(key)
        return tuple(v if isinstance(v, str) else self._refuse(key, "text only") for v in values)

    def fields(self, key: str) -> _Fields:
        return _Fields(self.value(key), f"{self.where}.{key}")

    def items(self, key: str) -> list[_Fields]:
        found = enumerate(self._list(key))
        return [_Fields(item, f"{self.where}.{key}[{number}]") for number, item in found]

    def _list(self, key: str) -> list[object]:
        value = self.value(key)
        return value if isinstance(value, list) else self._refuse(key, "a list")

    def _as_number(self, value: object, key: str) -> float:
        # bool is an int to Python; a whole number beyond float's range raises OverflowError.
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            try:
                number = float(value)
            except OverflowError:
                number = math.inf
            if math.isfinite(number):
                return number
        return self._refuse(key, "a finite number")

    def _refuse(self, key: str, expected: str) -> NoReturn:
        raise InputError(f"{self.where}.{key} must be {expected}")
