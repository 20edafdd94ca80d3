"""Labels are data: which classes there are, what polarity each has, and numbers to classes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from avsent.errors import DatasetError

POLARITY_LABELS = ("negative", "neutral", "positive")
NEGATIVE, NEUTRAL, POSITIVE = 0, 1, 2

SENTIMENT_7 = (
    "highly negative",
    "negative",
    "weakly negative",
    "neutral",
    "weakly positive",
    "positive",
    "highly positive",
)
"""CMU-MOSI's names for sentiment rounded to −3 … 3."""

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""RAVDESS's names and order."""

MAX_CLASSES = 64

LABEL_COLUMNS = ("label", "emotion", "sentiment")
"""Columns of a corpus that can be learnt."""

_SYNONYMS = {
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "anger": "angry",
    "fear": "fearful",
    "disgusted": "disgust",
    "surprise": "surprised",
}
_POLARITY = {
    **{name: index for index, name in enumerate(POLARITY_LABELS)},
    **dict.fromkeys(SENTIMENT_7[:3], NEGATIVE),
    **dict.fromkeys(SENTIMENT_7[4:], POSITIVE),
    "happy": POSITIVE,
    "calm": NEUTRAL,
    **dict.fromkeys(("sad", "angry", "fearful", "disgust", "worried"), NEGATIVE),
}
_ORDER = (*POLARITY_LABELS, *(name for name in EMOTIONS if name not in POLARITY_LABELS))


def canonical(label: str) -> str:
    """``label`` in lower case; the emotions' nouns and adjectives under one name (joy → happy)."""
    name = " ".join(label.split()).casefold()
    return _SYNONYMS.get(name, name)


def polarity_of(label: str) -> int | None:
    """Index in ``POLARITY_LABELS`` of a sentiment or emotion; None for surprise, which may be joy
    or fright, and for names that are neither."""
    return _POLARITY.get(canonical(label))


def valence_of(label: str) -> float:
    """−1 for what is negative, 1 for what is positive, 0 for the rest: what ``score`` sums."""
    polarity = polarity_of(label)
    return 0.0 if polarity is None else float(polarity - NEUTRAL)


@dataclass(frozen=True, slots=True)
class LabelSet:
    """What a model tells apart.

    ``names``: the classes. ``real``: labels are numbers (sentiment, −3 … 3) and the model has a
    regression head; ``names`` are then the polarities its numbers are turned into.
    """

    names: tuple[str, ...]
    real: bool = False

    def encode(self, label: str) -> float | None:
        """Class index or number of ``label``; None where it has none (empty, surprise in 2 or 3
        classes of sentiment).

        Raises:
            DatasetError: the label is outside the set. The message does not say where.
        """
        if not label.strip():
            return None
        number = _number(label)
        if self.real:
            if number is None:
                raise DatasetError(f"{label!r} is not a number; use a column of numbers")
            return number
        if number is not None and not self._holds(label):
            return self._of_number(number, label)
        name = canonical(label)
        if self._holds(label):
            return float([canonical(known) for known in self.names].index(name))
        if set(self.names) <= set(POLARITY_LABELS) and (name in _POLARITY or name in EMOTIONS):
            polarity = _POLARITY.get(name)
            if polarity is None or POLARITY_LABELS[polarity] not in self.names:
                return None
            return float(self.names.index(POLARITY_LABELS[polarity]))
        raise DatasetError(
            f"{label!r} is none of the labels {', '.join(self.names)}; mend it or give --labels"
        )

    def _holds(self, label: str) -> bool:
        return canonical(label) in {canonical(known) for known in self.names}

    def _of_number(self, number: float, label: str) -> float:
        if self.names == SENTIMENT_7:
            return float(round_half_away(min(3.0, max(-3.0, number))) + 3)
        if self.names == POLARITY_LABELS:
            return float(POSITIVE if number > 0 else NEGATIVE if number < 0 else NEUTRAL)
        if self.names == ("negative", "positive"):
            return float(number >= 0)  # as CMU-MOSI's binary labels
        raise DatasetError(
            f"{label!r} is none of the labels {', '.join(self.names)}; mend it or give --labels"
        )


def label_set(labels: Iterable[str], kind: str = "auto") -> LabelSet:
    """The label set that ``kind`` asks for: ``2``, ``3``, ``7``, ``real``, names with commas
    between them, or ``auto``: real where all ``labels`` are numbers (other than 0
    and 1 alone), else the names that occur.

    Raises:
        DatasetError: there are no labels, fewer than two classes, or more than ``MAX_CLASSES``.
    """
    kind = kind.strip().casefold()
    fixed = {
        "2": LabelSet(("negative", "positive")),
        "3": LabelSet(POLARITY_LABELS),
        "7": LabelSet(SENTIMENT_7),
        "real": LabelSet(POLARITY_LABELS, real=True),
    }
    if kind in fixed:
        return fixed[kind]
    given = [label for label in labels if label.strip()] if kind == "auto" else kind.split(",")
    if kind == "auto" and given and all(_number(label) is not None for label in given):
        values = {_number(label) for label in given}
        if values != {0.0, 1.0}:  # a yes or no is no measure of sentiment
            return fixed["real"]
    names = sorted({canonical(label) for label in given if label.strip()}, key=_place)
    if len(names) < 2:
        raise DatasetError(f"the labels hold {len(names)} classes; at least two are needed")
    if len(names) > MAX_CLASSES:
        raise DatasetError(
            f"the labels hold {len(names)} classes, more than {MAX_CLASSES}; another column?"
        )
    return LabelSet(tuple(names))


def round_half_away(number: float) -> int:
    """Nearest whole number; halves go away from zero, as CMU's scripts round."""
    return int(math.copysign(math.floor(abs(number) + 0.5), number))


def _place(name: str) -> tuple[int, str]:
    return (_ORDER.index(name), "") if name in _ORDER else (len(_ORDER), name)


def _number(label: str) -> float | None:
    try:
        number = float(label)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
