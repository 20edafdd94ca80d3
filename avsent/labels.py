"""Labels of utterances: which classes there are, the polarity of each, and numbers as classes."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

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
MAX_LABEL_MAP = 50_000
MAX_SENTIMENT = 3.0  # numbers as labels run from −3 to 3, as in CMU-MOSI

LABEL_COLUMNS = ("label", "emotion", "sentiment")
"""Columns of a corpus that a model can learn."""


def label_column(columns: Iterable[str], asked: str) -> str:
    """The column to learn: ``asked``, or if that is empty, the only one of ``columns``, else
    "label"."""
    found = set(columns)
    return asked or (found.pop() if len(found) == 1 else LABEL_COLUMNS[0])


_MISSING = re.compile(
    r"-?nan|nat|\\n|#?n[/.]?a\.?|<na>|none|null|missing|[-–—?.]*|#.*[!?]|#nv|-?1\.#(ind|qnan)",
    re.IGNORECASE,
)

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


def is_missing(label: str) -> bool:
    """Whether a cell is empty, or holds what spreadsheets and scripts write for a missing value."""
    return _MISSING.fullmatch(label.strip()) is not None


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
        """Class index or number of ``label``; None where it has none (empty or a word for missing,
        surprise in 2 or 3 classes of sentiment).

        Raises DatasetError if the label is outside the set. The message does not say where.
        """
        name, known = canonical(label), [canonical(one) for one in self.names]
        if is_missing(label) and name not in known:
            return None
        value = number(label.strip())
        if self.real:
            if value is None:
                raise DatasetError(f"{label!r} is not a number; use a column of numbers")
            return value
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

    def doubt(self, labels: Iterable[str]) -> str:
        """Says that the numbers among ``labels`` are hardly sentiment from −3 to 3, and what to do;
        "" if they are, or if there are only names."""
        values = sorted({value for text in labels if (value := number(text.strip())) is not None})
        signed = self.real or set(self.names) <= {*POLARITY_LABELS, *SENTIMENT_7}
        coded = any(number(name) is not None for name in self.names)
        most = max(map(abs, values), default=0.0)
        unit = self.real and most == 1  # CH-SIMS's −1 … 1; of classes, the sign is enough
        fits = signed and values and values[0] < 0 and most <= MAX_SENTIMENT and not unit
        if not values or fits or not (signed or coded):
            return ""
        some = "" if len(values) > 9 else f" ({', '.join(f'{value:g}' for value in values)})"
        taken = "sentiment from −3 to 3" if signed else "names of classes"
        return (
            f"labels are numbers from {values[0]:g} to {values[-1]:g}{some}, read as {taken}: "
            "change them, or give --label-range LOW HIGH, or --label-map FILE for codes"
        )


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
        given = [label for label in labels if not is_missing(label)]
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


@dataclass(frozen=True, slots=True)
class LabelScale:
    """How the labels of a corpus are read: by ``names``, their other names; if there are none,
    numbers from ``low`` (most negative) to ``high`` as −3 to 3."""

    low: float = -MAX_SENTIMENT
    high: float = MAX_SENTIMENT
    names: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < abs(self.high - self.low) < math.inf:
            raise ValueError("a label range needs two different numbers, such as 1 5")
        if self.names:
            pairs = [("", ""), *((new, new) for new in self.names.values()), *self.names.items()]
            object.__setattr__(self, "names", {_key(old): new for old, new in pairs})
        if len(str(self.names)) > MAX_LABEL_MAP:  # a checkpoint has to hold it
            raise ValueError(f"a label map has over {MAX_LABEL_MAP} characters; leave some out")

    @property
    def is_unit(self) -> bool:
        """Whether labels are numbers from −1 to 1, as those of CH-SIMS."""
        return not self.names and (self.low, self.high) == (-1, 1)

    def __str__(self) -> str:
        return "--label-map" if self.names else f"--label-range {self.low:g} {self.high:g}"

    def read(self, label: str, where: str = "") -> str:
        """``label`` as the model learns it. Raises DatasetError if it has no place on the scale;
        ``where`` begins its message."""
        if self.names:
            if (new := self.names.get(_key(label))) is None:
                raise DatasetError(f"{where}{label!r} is not in the file of --label-map; add it")
            return new
        if (value := number(label.strip())) is None:
            return label
        if not min(self.low, self.high) <= value <= max(self.low, self.high):
            raise DatasetError(f"{where}{label!r} is outside {self}; mend it or the range")
        share = (value - self.low) / (self.high - self.low)
        return repr(round((2 * share - 1) * MAX_SENTIMENT, 9) + 0.0)  # no negative zero


def _key(label: str) -> str:
    """One text for all ways to write a label: 1, 01 and 1.0; "" if it is missing."""
    value = number(label.strip())
    return repr(value) if value is not None else "" if is_missing(label) else canonical(label)


def round_half_away(value: float) -> int:
    """Nearest whole number; halves away from zero, as CMU's scripts round."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def _place(name: str) -> tuple[int, str]:
    return (_ORDER.index(name), "") if name in _ORDER else (len(_ORDER), name)
