"""The parts of a result: the decision on each utterance, and the attention behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

DECIMALS = 6
"""Places kept in files: microseconds, and millionths of a weight."""


def short_repr(self: Any) -> str:
    """``__repr__`` of a class that tells rich what is worth printing."""
    parts = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
    return f"{type(self).__name__}({parts})"


@dataclass(frozen=True, slots=True, repr=False)
class More:
    """Stands for items left out: ``… 380 more``."""

    count: int

    def __repr__(self) -> str:
        return f"… {self.count:,} more"


def shortened(items: Sequence[T], ends: int) -> list[T | More]:
    """``items``; of more than ``2 * ends + 1`` the first and last ``ends``, and how many more."""
    left_out = len(items) - 2 * ends
    if left_out <= 1:
        return list(items)
    return [*items[:ends], More(left_out), *items[-ends:]]


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

    def to_dict(self) -> dict[str, Any]:
        """The track as plain JSON-ready types."""
        return {
            "track": int(self.track),
            "start_s": round_time(self.start_s),
            "end_s": round_time(self.end_s),
            "frames": int(self.frames),
        }


@dataclass(frozen=True, slots=True)
class ModalityShare:
    """A modality's share in the decision (shares sum to 1), whether it was usable, and whether a
    proxy, made from the other modality, stood in for it."""

    weight: float
    effective: bool
    proxy: bool = False

    def to_dict(self, weight: float) -> dict[str, Any]:
        """As plain types, with the rounded ``weight``; "proxy" only where there was one."""
        plain: dict[str, Any] = {"weight": weight, "effective": bool(self.effective)}
        return {**plain, "proxy": True} if self.proxy else plain


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

    def __repr__(self) -> str:
        context = ", ".join(f"{name}: {len(weights)}" for name, weights in self.context.items())
        return (
            f"Attention(context={{{context}}}, face_frames={len(self.face_frames)}, "
            f"audio_frames={len(self.audio_frames)})"
        )

    def to_dict(self) -> dict[str, Any]:
        """The attention as plain JSON-ready types."""
        return {
            "context": {name: round_shares(weights) for name, weights in self.context.items()},
            "face_frames": _plain_frames(self.face_frames),
            "audio_frames": _plain_frames(self.audio_frames),
        }


@dataclass(frozen=True, slots=True, repr=False)
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

    __repr__ = short_repr

    def __rich_repr__(self) -> Iterator[tuple[str, object]]:
        """The decision without its probabilities, shares and attention."""
        yield "index", self.index
        yield "start_s", round_time(self.start_s)
        yield "end_s", round_time(self.end_s)
        yield "track", self.track
        yield "sentiment", self.sentiment
        yield "score", round(float(self.score), 3)
        if self.text is not None:
            yield "text", self.text
        if self.warnings:
            yield "warnings", list(self.warnings)

    def to_dict(self) -> dict[str, Any]:
        """The utterance as plain JSON-ready types; ``text`` only where the user gave one."""
        shares = round_shares(share.weight for share in self.modalities.values())
        probabilities = round_shares(self.probabilities.values())
        plain: dict[str, Any] = {
            "index": int(self.index),
            "start_s": round_time(self.start_s),
            "end_s": round_time(self.end_s),
            "track": None if self.track is None else int(self.track),
            "sentiment": self.sentiment,
            "score": round(float(self.score), DECIMALS),
            "probabilities": dict(zip(self.probabilities, probabilities, strict=True)),
            "modalities": {
                name: share.to_dict(weight)
                for (name, share), weight in zip(self.modalities.items(), shares, strict=True)
            },
            "attention": self.attention.to_dict(),
            "warnings": list(self.warnings),
        }
        return plain if self.text is None else {**plain, "text": self.text}


def round_time(seconds: float) -> float:
    """Seconds to the microsecond."""
    return round(float(seconds), DECIMALS)


def round_shares(weights: Iterable[float]) -> list[float]:
    """Round weights such that their sum is kept.

    Rounding each alone would let a thousand equal weights drift by a thousand half-digits;
    rounding the running sum and taking differences keeps the total to half a digit.
    """
    unit = 10**DECIMALS
    rounded: list[float] = []
    exact, given = 0.0, 0
    for weight in weights:
        exact += float(weight)
        reached = round(exact * unit)
        steps = reached - given
        if steps not in _SHARES:
            _SHARES[steps] = steps / unit
        rounded.append(_SHARES[steps])
        given = reached
    return rounded


_SHARES: dict[int, float] = {}
"""Every rounded weight once: two hours of talk have twelve million weights with few different
values, and a float object for each takes four times the memory. At most a million entries."""


def _plain_frames(frames: tuple[TimeWeight, ...]) -> list[dict[str, float]]:
    weights = round_shares(frame.weight for frame in frames)
    return [
        {"time_s": round_time(frame.time_s), "weight": weight}
        for frame, weight in zip(frames, weights, strict=True)
    ]


def lanes(
    spans: Sequence[tuple[float, float]], *, slack: float = 0.0, most: int | None = None
) -> list[int]:
    """The lane of each (start, end), counted from 0: spans of one lane do not overlap.

    Each span, in the order of starts, gets the first free lane. ``slack``: an overlap this long is
    ignored; ``most``: lanes, of which spans that find none free share the last.
    """
    chosen = [0] * len(spans)
    ends: list[float] = []
    for place in sorted(range(len(spans)), key=lambda place: spans[place][0]):
        start, end = spans[place]
        lane = next((n for n, until in enumerate(ends) if until <= start + slack), len(ends))
        if most is not None:
            lane = min(lane, most - 1)
        if lane == len(ends):
            ends.append(end)
        ends[lane] = max(ends[lane], end)
        chosen[place] = lane
    return chosen
