"""A corpus as training sees it: labelled utterances with features, whatever file they came from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avsent.extraction.features.config import FeatureConfig

ARRAYS = ("audio", "face", "words", "neutral", "pictures", "prosody")
"""What of a sample are numbers."""
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled utterance of raw media, as a manifest names it.

    ``start_s`` and ``end_s`` None: the whole file. ``context``: utterances with the same one are
    judged together, in the order of the rows; by default those of one file. ``labels``: the
    text of the columns ``LABEL_COLUMNS`` that there are. ``where``: for messages
    ("manifest.csv:12").
    """

    media: Path
    start_s: float | None = None
    end_s: float | None = None
    speaker: str = ""
    split: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    text: str = ""
    context: str = ""
    where: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One utterance with its features; a modality that is missing is None.

    ``audio``: mel power [mel, N] (see ``audible_power``) or a vector [A], with the ``prosody`` [24]
    of the same sound where it is known; ``face``: normalised landmarks [T, 51, 2] or a vector [V],
    with the speaker's ``neutral`` [51, 2] and, in grey levels, ``pictures`` [⌈T/2⌉, 48, 48] of
    every second frame, where they are known; ``words``: a vector [W] for its text, where the corpus
    brings one. ``video``: samples of the same one are
    context of each other, in corpus order.
    """

    key: str
    video: str
    speaker: str = ""
    split: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    text: str = ""
    audio: NDArray[np.float32] | None = None
    face: NDArray[np.float32] | None = None
    words: NDArray[np.float32] | None = None
    neutral: NDArray[np.float32] | None = None
    pictures: NDArray[np.float32] | None = None
    prosody: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """Samples of one kind.

    ``vectors``: size of the ready-made vectors by modality ("audio", "face", "text"); a modality
    that is not in it comes raw (spectrogram, landmarks; text as words). ``features``: how raw
    features were made; None where all are vectors. ``licence``: for the card of what is trained.
    """

    name: str
    samples: tuple[Sample, ...]
    vectors: dict[str, int] = field(default_factory=dict)
    features: FeatureConfig | None = None
    licence: str = ""

    def digest(self) -> str:
        """SHA-256 over everything training can see, in hex."""
        state = hashlib.sha256(repr((sorted(self.vectors.items()), self.features)).encode())
        for sample in self.samples:
            words = (sample.key, sample.video, sample.speaker, sample.split, sample.text)
            state.update(repr((words, sorted(sample.labels.items()))).encode())
            for name in ARRAYS:
                state.update(_bytes_of(getattr(sample, name)))
        return state.hexdigest()

    def subset(self, samples: Iterable[Sample]) -> Corpus:
        """The same corpus with only these samples."""
        return Corpus(self.name, tuple(samples), self.vectors, self.features, self.licence)


def _bytes_of(array: NDArray[Any] | None) -> bytes:
    return b"-" if array is None else repr(array.shape).encode() + array.tobytes()
