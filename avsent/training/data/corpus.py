"""A corpus for training: labelled utterances with features, from whatever files."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avsent.extraction.extractor import FeatureConfig
from avsent.labels import LabelScale

ARRAYS = ("audio", "face", "words", "neutral", "pictures", "prosody")
"""Fields of a sample that are arrays."""
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled utterance of raw media, as in a manifest.

    ``start_s`` and ``end_s`` None: the whole file. ``context``: utterances with the same one are
    context of each other, in the order of the rows; by default those of one file. ``labels``: text
    by column, of ``LABEL_COLUMNS``. ``where``: for messages ("manifest.csv:12").
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
    """One utterance with its features; a missing modality is None.

    ``audio``: mel power [mel, N] (see ``audible_power``) or a vector [A]; ``prosody`` [24] of a raw
    voice. ``face``: normalised landmarks [T, 51, 2] or a vector [V]; the speaker's ``neutral``
    [51, 2] and, in grey levels, ``pictures`` [⌈T/2⌉, 48, 48] of every second frame of a raw face.
    ``words``: a vector [W] for its text, if the corpus has one. ``video``: samples of the same one
    are context of each other, in corpus order.
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

    def fingerprints(self) -> list[str]:
        """Of its voice and its face: they tell it again under another name, in another manifest or
        a feature file. Constant arrays, such as zeros for a missing face, have none."""
        arrays = [array for array in (self.audio, self.face) if array is not None and np.ptp(array)]
        return [hashlib.sha256(array.tobytes()).hexdigest()[:16] for array in arrays]


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """Samples of one kind.

    ``vectors``: size of the ready-made vectors by modality ("audio", "face", "text"); other
    modalities are raw (spectrogram, landmarks; text as words). ``features``: settings of the raw
    features; None if all are vectors. ``licence``: for the card of the trained model. ``scale``:
    how the labels are to be read; ``left_out``: files that could not be read, and why.
    ``rows_sha256``: :meth:`rows_digest` of all samples, before some without features were left out.
    """

    name: str
    samples: tuple[Sample, ...]
    vectors: dict[str, int] = field(default_factory=dict)
    features: FeatureConfig | None = None
    licence: str = ""
    scale: LabelScale | None = None
    left_out: tuple[str, ...] = ()
    rows_sha256: str = ""

    def label_columns(self) -> set[str]:
        """Names of the columns of labels that samples have."""
        return {name for sample in self.samples for name in sample.labels}

    def rows_digest(self) -> str:
        """SHA-256 over all that training reads besides features, in hex."""
        if self.rows_sha256:
            return self.rows_sha256
        rows = [
            (s.key, s.video, s.speaker, s.split, s.text, sorted(s.labels.items()))
            for s in self.samples
        ]
        return hashlib.sha256(repr(rows).encode()).hexdigest()

    def digest(self) -> str:
        """SHA-256 over all that training reads, in hex."""
        state = hashlib.sha256(repr((sorted(self.vectors.items()), self.features)).encode())
        for sample in self.samples:
            words = (sample.key, sample.video, sample.speaker, sample.split, sample.text)
            state.update(repr((words, sorted(sample.labels.items()))).encode())
            for name in ARRAYS:
                array = getattr(sample, name)
                shape = b"-" if array is None else repr(array.shape).encode()
                state.update(shape if array is None else shape + array.tobytes())
        return state.hexdigest()

    def subset(self, samples: Iterable[Sample]) -> Corpus:
        """The same corpus with only these samples."""
        return dataclasses.replace(self, samples=tuple(samples), rows_sha256="")
