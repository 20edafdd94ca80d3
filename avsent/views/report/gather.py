"""What a report shows of a video besides the result: faces and spectrograms, in one pass.

Pictures are cut and packed as they come, and sound is forgotten once its utterance is over, so
memory grows by the few kilobytes that the page gets of each utterance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avsent.extraction.buffers import RecentSound
from avsent.extraction.extractor import Extraction, ExtractionOptions
from avsent.extraction.faces.types import Sighting
from avsent.extraction.features.config import FeatureConfig
from avsent.extraction.media.events import SAMPLE_RATE_HZ
from avsent.progress import Progress, ProgressHook, ignore_progress
from avsent.result.record import Result
from avsent.views.report.moments import Sizes, analysis_rate_of, strongest
from avsent.views.report.pictures import ColourReader, Picture, face_crop, webp
from avsent.views.report.spectrogram import Spectrogram, spectrogram_of

SAME_TIME_S = 5e-4
"""Times closer than this are one: results are rounded to microseconds."""


@dataclass(frozen=True, slots=True)
class FaceCrop:
    """The face of an utterance's track at one moment: WebP, and the attention on it."""

    time_s: float
    weight: float
    webp: bytes


@dataclass(slots=True)
class UtterancePictures:
    """What there is to see of one utterance; ``faces``: most attention first."""

    faces: list[FaceCrop] = field(default_factory=list)
    spectrogram: Spectrogram | None = None


@dataclass(frozen=True, slots=True)
class Gathered:
    """``kind``: ``video`` or ``audio``; ``end_s``: where the media really ends; ``pictures``: in
    the order of the utterances."""

    kind: str
    end_s: float
    pictures: tuple[UtterancePictures, ...]


def gather(
    path: Path,
    result: Result,
    sightings: Sequence[Sighting] | None,
    sizes: Sizes,
    on_progress: ProgressHook = ignore_progress,
) -> Gathered:
    """Go through the file once for all that its report shows.

    ``sightings``: where the faces were when it was analysed; None to look for them again, which
    takes as long as the analysis did.

    Raises:
        MediaError: the file cannot be read.
    """
    wanted = any(utterance.attention.face_frames for utterance in result.utterances)
    if sightings is None:
        sightings = find_sightings(path, result, on_progress) if wanted else ()
    collector = _Collector(result, sightings, sizes)
    with ColourReader(path, collector.times_s, collector.see) as reader:
        total_s = reader.info.duration_s
        for sound in reader.sounds():
            collector.hear(sound.start_s, sound.samples)
            done_s = reader.position_s if total_s is None else min(reader.position_s, total_s)
            on_progress(Progress("report", str(path), done_s, total_s))
        collector.finish()
        return Gathered(
            kind="video" if reader.info.has_video else "audio",
            end_s=max(reader.end_s, total_s or 0.0),
            pictures=tuple(collector.pictures),
        )


def find_sightings(
    path: Path, result: Result, on_progress: ProgressHook = ignore_progress
) -> list[Sighting]:
    """Look for the faces of a video again, as they were looked for when it was analysed: tracks
    get the same numbers.

    Raises:
        MediaError: the file cannot be read.
    """
    options = ExtractionOptions(
        segments=(), sightings=True, analysis_rate_hz=analysis_rate_of(result)
    )
    extraction = Extraction(path, FeatureConfig(), options, on_progress)
    for _ in extraction:
        pass
    return extraction.sightings


class _Collector:
    """Takes pictures and sound as they come, and keeps what each utterance needs of them."""

    def __init__(self, result: Result, sightings: Sequence[Sighting], sizes: Sizes) -> None:
        self.pictures = [UtterancePictures() for _ in result.utterances]
        self._sizes = sizes
        self._crops = list(_crops_to_make(result, sightings, sizes.faces))
        self._crops.sort(key=lambda crop: crop.time_s)
        self.times_s = [crop.time_s for crop in self._crops]
        self._sound = RecentSound(SAMPLE_RATE_HZ)
        self._unheard = sorted(
            (utterance.end_s, utterance.start_s, place)
            for place, utterance in enumerate(result.utterances)
        )
        self._needed_s = _needed_from(self._unheard)

    def see(self, time_s: float, picture: Picture) -> None:
        """Cut out the faces of this moment."""
        first = int(np.searchsorted(self.times_s, time_s - SAME_TIME_S))
        last = int(np.searchsorted(self.times_s, time_s + SAME_TIME_S, side="right"))
        for crop in self._crops[first:last]:
            face = face_crop(picture, crop.sighting.box, self._sizes.face_px)
            if face is not None:
                faces = self.pictures[crop.place].faces
                faces.append(FaceCrop(time_s, crop.weight, webp(face, self._sizes.quality)))
                faces.sort(key=lambda one: (-one.weight, one.time_s))

    def hear(self, start_s: float, samples: NDArray[np.float32]) -> None:
        """Draw the utterances that are over with this sound."""
        self._sound.add(start_s, samples)
        while self._unheard and self._unheard[0][0] <= self._sound.end_s:
            self._draw()
        self._sound.forget(min(self._needed_s[-len(self._unheard) - 1], self._sound.end_s))

    def finish(self) -> None:
        """Draw the utterances that the sound does not reach the end of."""
        while self._unheard:
            self._draw()

    def _draw(self) -> None:
        end_s, start_s, place = self._unheard.pop(0)
        samples, from_s = self._sound.between(start_s, end_s)
        self.pictures[place].spectrogram = spectrogram_of(
            samples, from_s, self._sizes.columns, self._sizes.quality
        )


@dataclass(frozen=True, slots=True)
class _Crop:
    """A picture to be cut for the utterance at ``place``."""

    time_s: float
    weight: float
    place: int
    sighting: Sighting


def _crops_to_make(result: Result, sightings: Sequence[Sighting], most: int) -> Iterator[_Crop]:
    by_track: dict[int, list[Sighting]] = defaultdict(list)
    for sighting in sightings:
        by_track[sighting.track].append(sighting)
    times = {track: np.array([one.time_s for one in seen]) for track, seen in by_track.items()}
    for place, utterance in enumerate(result.utterances):
        if utterance.track is None or utterance.track not in by_track:
            continue
        seen_s = times[utterance.track]
        for moment in strongest(utterance.attention.face_frames, most):
            after = int(np.searchsorted(seen_s, moment.time_s - SAME_TIME_S))
            if after < len(seen_s) and abs(seen_s[after] - moment.time_s) <= SAME_TIME_S:
                sighting = by_track[utterance.track][after]
                yield _Crop(moment.time_s, moment.weight, place, sighting)


def _needed_from(ends: Sequence[tuple[float, float, int]]) -> list[float]:
    """For each number of utterances still unheard, counted from the end of the list by
    ``[-number - 1]``: the earliest start among them; infinity for none."""
    needed = [np.inf]
    for _, start_s, _ in reversed(ends):
        needed.append(min(needed[-1], start_s))
    return needed[::-1]
