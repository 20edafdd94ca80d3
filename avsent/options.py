"""Options of a prediction."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Adapt(StrEnum):
    """``--adapt``: that of the training data, of each track, or of all files given together."""

    none = "none"
    speaker = "speaker"
    corpus = "corpus"


class FaceChoice(StrEnum):
    """``--face``: the most likely speaker, the largest face, or one record for every face."""

    speaking = "speaking"
    largest = "largest"
    all = "all"


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """How a file is analysed.

    ``utterances``: a .srt, .vtt or .csv file with the utterances, instead of finding them;
    ``face``: which of several; ``analysis_rate_hz``: pictures per second in which faces are
    looked for, by default as the model was trained; ``strict``: damage is an error;
    ``landmarks``: the user's own dlib model file; ``adapt``: to each track, or to all files;
    ``threads``: 1 to do all of it in one thread, None for as many as help; ``sightings``: keep
    where each face was; ``check``: whether damaged and doubtful modalities are left out; ``proxy``:
    whether proxies stand in for them, None for what the model was found best with.
    """

    utterances: Path | None = None
    face: FaceChoice = FaceChoice.speaking
    analysis_rate_hz: float | None = None
    strict: bool = False
    landmarks: Path | None = None
    adapt: Adapt = Adapt.none
    threads: int | None = None
    sightings: bool = False
    check: bool = True
    proxy: bool | None = None
