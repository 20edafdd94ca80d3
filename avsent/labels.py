"""Labels of utterances: which classes there are, the polarity of each, and numbers as classes."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from avsent.errors import DatasetError
from avsent.text import number

MODALITIES = ("audio", "face")
"""What a model knows of an utterance, in the order of its inputs."""

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
"""Columns of a corpus that a model can learn."""

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
    """``label`` in lower case, with one name for an emotion's noun and adjective (joy → happy)."""
    name = " ".join(label.split()).casefold()
    return _SYNONYMS.get(name, name)


def polarity_of(label: str) -> int | None:
    """Index in ``POLARITY_LABELS`` of a sentiment or emotion; None for surprise, which may be joy
    or fright, and for unknown names."""
    return _POLARITY.get(canonical(label))


def valence_of(label: str) -> float:
    """−1 of a negative label, 1 of a positive one, else 0: the weights of ``score``."""
    polarity = polarity_of(label)
    return 0.0 if polarity is None else float(polarity - NEUTRAL)


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The classes that a model distinguishes.

    ``names``: the classes. ``real``: labels are numbers (sentiment, −3 … 3) and the model has a
    regression head; ``names`` are then the polarities that its numbers are turned into.
    """

    names: tuple[str, ...]
    real: bool = False

    def encode(self, label: str) -> float | None:
        """Class index or number of ``label``; None where it has none (empty, surprise in 2 or 3
        classes of sentiment).

        Raises DatasetError if the label is outside the set. The message does not say where.
        """
        if not label.strip():
            return None
        value = number(label.strip())
        if self.real:
            if value is None:
                raise DatasetError(f"{label!r} is not a number; use a column of numbers")
            return value
        name, known = canonical(label), [canonical(one) for one in self.names]
        if name in known:
            return float(known.index(name))
        if value is not None:
            index = self._class_of(value)
            if index is not None:
                return float(index)
        elif set(self.names) <= set(POLARITY_LABELS) and (name in _POLARITY or name in EMOTIONS):
            polarity = "" if name not in _POLARITY else POLARITY_LABELS[_POLARITY[name]]
            return float(self.names.index(polarity)) if polarity in self.names else None
        raise DatasetError(
            f"{label!r} is none of the labels {', '.join(self.names)}; mend it or give --labels"
        )

    def _class_of(self, value: float) -> int | None:
        if self.names == SENTIMENT_7:
            return round_half_away(min(3.0, max(-3.0, value))) + 3
        if self.names == POLARITY_LABELS:
            return POSITIVE if value > 0 else NEGATIVE if value < 0 else NEUTRAL
        return int(value >= 0) if self.names == ("negative", "positive") else None  # as CMU-MOSI


def label_set(labels: Iterable[str], kind: str = "auto") -> LabelSet:
    """The label set that ``kind`` names: ``2``, ``3``, ``7``, ``real``, names separated by
    commas, or ``auto``: real where all ``labels`` are numbers (but not only 0 and 1), else the
    names that occur.

    Raises DatasetError if there are no labels, fewer than two classes, or more than
    ``MAX_CLASSES``.
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
    given = kind.split(",")
    if kind == "auto":
        given = [label for label in labels if label.strip()]
        values = {number(label.strip()) for label in given}
        # Yes or no is not a measure of sentiment.
        if values and None not in values and values != {0.0, 1.0}:
            return fixed["real"]
    names = sorted({canonical(label) for label in given if label.strip()}, key=_place)
    if len(names) < 2:
        raise DatasetError(f"the labels hold {len(names)} classes; at least two are needed")
    if len(names) > MAX_CLASSES:
        raise DatasetError(
            f"the labels hold {len(names)} classes, more than {MAX_CLASSES}; another column?"
        )
    return LabelSet(tuple(names))


def round_half_away(value: float) -> int:
    """Nearest whole number; halves away from zero, as CMU's scripts round."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def _place(name: str) -> tuple[int, str]:
    return (_ORDER.index(name), "") if name in _ORDER else (len(_ORDER), name)
