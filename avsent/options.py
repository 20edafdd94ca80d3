"""Options of a prediction."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Adapt(StrEnum):
    """``--adapt``: normalise by the training data, by each track, or by all files together."""

    none = "none"
    speaker = "speaker"
    corpus = "corpus"


class FaceChoice(StrEnum):
    """``--face``: the most likely speaker, the largest face, or every face by itself."""

    speaking = "speaking"
    largest = "largest"
    all = "all"


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """How a file is analysed.

    - ``utterances``: a file with the utterances, instead of finding them; ``tier``: which of the
      tiers of an ELAN or Praat file
    - ``audio_track``, ``video_track``: their numbers, counted from 1; "all" mixes the sound tracks.
      By default the first that the file marks as default, else the first; if that sound has no
      speech, the first that has
    - ``face``: which of several faces
    - ``analysis_rate_hz``: pictures per second in which faces are searched; by default as in
      training
    - ``strict``: whether damage in the file is an error
    - ``landmarks``: the user's own dlib model file
    - ``adapt``: what representations are normalised by
    - ``threads``: 1 to do everything in one thread, None for as many as help
    - ``sightings``: whether to keep where each face was
    - ``check``: whether damaged and doubtful modalities are left out of the decision
    - ``proxy``: whether proxies stand in for these; None for the model's default
    """

    utterances: Path | None = None
    tier: str | None = None
    audio_track: int | str | None = None
    video_track: int | None = None
    face: FaceChoice = FaceChoice.speaking
    analysis_rate_hz: float | None = None
    strict: bool = False
    landmarks: Path | None = None
    adapt: Adapt = Adapt.none
    threads: int | None = None
    sightings: bool = False
    check: bool = True
    proxy: bool | None = None

    @property
    def asked_tracks(self) -> dict[str, list[int]]:
        """Numbers of the tracks asked for, by kind; an empty list stands for all."""
        asked = {"audio": self.audio_track, "video": self.video_track}
        return {kind: [] if n == "all" else [int(n)] for kind, n in asked.items() if n is not None}
