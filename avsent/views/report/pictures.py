"""Faces and spectrograms for the report of a video, gathered in one pass over the file.

Pictures are cropped and compressed at once, and sound is dropped after its utterance, so memory
grows only by the few kilobytes that the page shows of each utterance.
"""

import bisect
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from avsent.extraction.buffers import RecentSound
from avsent.extraction.extractor import Extraction, FeatureConfig
from avsent.extraction.faces.geometry import Box, Sighting
from avsent.extraction.features.voice import AudioConfig, mel_power, normalised_log
from avsent.extraction.media import events
from avsent.extraction.media.reader import MediaReader
from avsent.extraction.media.video import DecodedFrame, displayed
from avsent.options import PredictOptions
from avsent.progress import Progress, ProgressHook, ignore_progress
from avsent.result.record import Result, TimeWeight

Picture: TypeAlias = NDArray[np.uint8]
"""BGR [height, width, 3], as displayed"""

FACE_MARGIN = 0.3  # around a face's box, relative to its longer side: hair and chin
SAME_TIME_S = 5e-4  # times closer than this are equal: results are rounded to microseconds
MAX_APART_S = 0.3  # least distance of crops in a long utterance: neighbours look the same
_QUIET_POWER = 1e-9  # less in every band and frame counts as silence
_USUAL_RATE_HZ = 10.0
_HIGHEST_RATE_HZ = 60.0
_MIN_FRAMES = 8


@dataclass(frozen=True, slots=True)
class Sizes:
    """Per utterance: ``faces``, their width, WebP ``quality`` (of 100), spectrogram ``columns``."""

    faces: int = 6
    face_px: int = 160
    quality: int = 78
    columns: int = 720


def sizes_for(utterances: int) -> Sizes:
    """Smaller for more utterances: the page of an hour stays below about 10 MB."""
    if utterances <= 80:
        return Sizes()
    if utterances <= 400:
        return Sizes(faces=5, face_px=112, quality=70, columns=480)
    return Sizes(faces=4, face_px=80, quality=60, columns=240)


@dataclass(frozen=True, slots=True)
class FaceCrop:
    """The face of an utterance's track at one moment, as WebP, with its attention."""

    time_s: float
    weight: float
    webp: bytes


@dataclass(frozen=True, slots=True)
class Spectrogram:
    """WebP with time to the right and low tones at the bottom, from ``start_s`` to ``end_s``."""

    webp: bytes
    start_s: float
    end_s: float


@dataclass(slots=True)
class UtterancePictures:
    """The pictures of one utterance; ``faces``: most attention first."""

    faces: list[FaceCrop] = field(default_factory=list)
    spectrogram: Spectrogram | None = None


@dataclass(frozen=True, slots=True)
class Gathered:
    """``kind``: ``video`` or ``audio``; ``end_s`` of the media; ``pictures`` of each utterance."""

    kind: str
    end_s: float
    pictures: tuple[UtterancePictures, ...]


def gather(
    path: Path,
    result: Result,
    sightings: Sequence[Sighting] | None,
    on_progress: ProgressHook = ignore_progress,
) -> Gathered:
    """Read the file once for all pictures of its report. Raises MediaError.

    ``sightings``: boxes of the faces from the analysis; None to detect them again, which takes as
    long as the analysis.
    """
    sizes = sizes_for(len(result.utterances))
    if sightings is None:
        wanted = any(utterance.attention.face_frames for utterance in result.utterances)
        sightings = find_sightings(path, result, on_progress) if wanted else ()
    pictures = tuple(UtterancePictures() for _ in result.utterances)
    crops = sorted(_planned_crops(result, sightings, sizes.faces))
    times_s = [time_s for time_s, *_ in crops]
    reformatter = VideoReformatter()
    heard = RecentSound(events.SAMPLE_RATE_HZ)
    waiting = sorted((one.end_s, one.start_s, n) for n, one in enumerate(result.utterances))
    # Earliest start of the last 0, 1, 2, ... utterances: sound before it can be dropped.
    starts_s = (start_s for _, start_s, _ in reversed(waiting))
    needed_s = list(accumulate(starts_s, min, initial=np.inf))

    def take_picture(decoded: DecodedFrame) -> None:
        time_s, picture = decoded.time_s, displayed(decoded, "bgr24", reformatter)
        first = int(np.searchsorted(times_s, time_s - SAME_TIME_S))
        last = int(np.searchsorted(times_s, time_s + SAME_TIME_S, side="right"))
        for _, weight, place, box in crops[first:last]:
            face = face_crop(picture, box, sizes.face_px)
            if face is not None:
                crop = FaceCrop(time_s, weight, _webp(face, sizes.quality))
                bisect.insort(pictures[place].faces, crop, key=lambda c: (-c.weight, c.time_s))

    def draw_spectrogram() -> None:
        end_s, start_s, place = waiting.pop(0)
        samples, from_s = heard.between(start_s, end_s)
        drawn = spectrogram_of(samples, from_s, sizes.columns, sizes.quality)
        pictures[place].spectrogram = drawn

    with MediaReader(path, asked=result.media_tracks) as reader:
        total_s = reader.media.duration_s
        for event in reader.in_colour(times_s):
            if isinstance(event, DecodedFrame):
                take_picture(event)
            if not isinstance(event, events.Sound):  # the analysis has reported what cannot be read
                continue
            heard.add(event.start_s, event.samples)
            while waiting and waiting[0][0] <= heard.end_s:
                draw_spectrogram()
            heard.forget(min(needed_s[len(waiting)], heard.end_s))
            done_s = reader.position_s if total_s is None else min(reader.position_s, total_s)
            on_progress(Progress("report", str(path), done_s, total_s))
        while waiting:  # utterances that last longer than the sound
            draw_spectrogram()
        return Gathered(
            kind="audio" if reader.media.video is None else "video",
            end_s=min((reader.end_s, total_s or 0.0), key=lambda s: abs(s - result.duration_s)),
            pictures=pictures,
        )


def find_sightings(
    path: Path, result: Result, on_progress: ProgressHook = ignore_progress
) -> list[Sighting]:
    """Detect the faces of a video again, with the settings of its analysis, so that tracks get the
    same numbers. Raises MediaError."""
    video = next(iter(result.media_tracks.get("video", ())), None)
    options = PredictOptions(
        audio_track="all",  # whichever: none is searched for speech
        video_track=video,
        sightings=True,
        analysis_rate_hz=analysis_rate_of(result),
    )
    extraction = Extraction(path, FeatureConfig(), options, on_progress, segments=())
    for _ in extraction:
        pass
    return extraction.sightings


def analysis_rate_of(result: Result) -> float:
    """Frames per second of the analysis, estimated from the densest utterance (faces that are
    not always visible only lower the estimate). Without an estimate, or near it, the usual rate.
    """
    densest = 0.0
    for utterance in result.utterances:
        frames = utterance.attention.face_frames
        if len(frames) >= _MIN_FRAMES and frames[-1].time_s > frames[0].time_s:
            lasted_s = frames[-1].time_s - frames[0].time_s
            densest = max(densest, (len(frames) - 1) / lasted_s)
    if densest < 1 or abs(densest - _USUAL_RATE_HZ) < 0.15 * _USUAL_RATE_HZ:
        return _USUAL_RATE_HZ
    return min(_HIGHEST_RATE_HZ, float(round(densest)))


# --- Faces ---------------------------------------------------------------------------------------


def _planned_crops(
    result: Result, sightings: Sequence[Sighting], most: int
) -> Iterator[tuple[float, float, int, Box]]:
    """Time, weight, place of the utterance and box of each crop to make."""
    by_track: dict[int, list[Sighting]] = defaultdict(list)
    for sighting in sightings:
        by_track[sighting.track].append(sighting)
    times = {track: np.array([s.time_s for s in own]) for track, own in by_track.items()}
    for place, utterance in enumerate(result.utterances):
        if utterance.track is None or utterance.track not in by_track:
            continue
        seen_s = times[utterance.track]
        for moment in strongest(utterance.attention.face_frames, most):
            after = int(np.searchsorted(seen_s, moment.time_s - SAME_TIME_S))
            if after < len(seen_s) and abs(seen_s[after] - moment.time_s) <= SAME_TIME_S:
                box = by_track[utterance.track][after].box
                yield moment.time_s, moment.weight, place, box


def strongest(frames: Sequence[TimeWeight], most: int) -> list[TimeWeight]:
    """Up to ``most`` moments of greatest weight, greatest first, without close neighbours."""
    if not frames or most < 1:
        return []
    lasted_s = frames[-1].time_s - frames[0].time_s
    apart_s = min(MAX_APART_S, lasted_s / (2 * most)) - SAME_TIME_S
    chosen: list[TimeWeight] = []
    for frame in sorted(frames, key=lambda one: (-one.weight, one.time_s)):
        if all(abs(frame.time_s - other.time_s) >= apart_s for other in chosen):
            chosen.append(frame)
        if len(chosen) == most:
            break
    return chosen


def face_crop(picture: Picture, box: Box, side_px: int) -> Picture | None:
    """The square around ``box``, moved inside the picture, reduced to ``side_px`` but never
    enlarged. None if the box lies outside the picture."""
    height, width = picture.shape[:2]
    left, top, right, bottom = box
    side = round(min(max(right - left, bottom - top) * (1 + 2 * FACE_MARGIN), height, width))
    inside = left < width and top < height and right > 0 and bottom > 0
    if side < 2 or not inside:
        return None
    x = max(0, min(round((left + right - side) / 2), width - side))
    y = max(0, min(round((top + bottom - side) / 2), height - side))
    crop = picture[y : y + side, x : x + side]
    if side <= side_px:
        return np.ascontiguousarray(crop)
    smaller = cv2.resize(crop, (side_px, side_px), interpolation=cv2.INTER_AREA)
    return np.asarray(smaller, dtype=np.uint8)


def _webp(picture: Picture, quality: int) -> bytes:
    done, encoded = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, quality])
    if not done:
        raise ValueError("OpenCV cannot write WebP")
    return encoded.tobytes()


# --- Spectrograms --------------------------------------------------------------------------------


def spectrogram_of(
    samples: NDArray[np.float32], start_s: float, columns: int, quality: int
) -> Spectrogram | None:
    """Spectrogram of mono ``samples`` [N] from ``start_s``; None for silence."""
    levels = spectrogram_levels(samples)
    if levels is None:
        return None
    step_s = AudioConfig().hop_samples / AudioConfig().sample_rate_hz
    lasted_s = levels.shape[1] * step_s
    if levels.shape[1] > columns:
        narrower = cv2.resize(levels, (columns, levels.shape[0]), interpolation=cv2.INTER_AREA)
        levels = np.asarray(narrower, dtype=np.uint8)
    # Magma is perceptually uniform, also for the colour-blind.
    picture = cv2.applyColorMap(levels[::-1], cv2.COLORMAP_MAGMA)
    return Spectrogram(
        webp=_webp(np.asarray(picture, dtype=np.uint8), quality),
        start_s=start_s - step_s / 2,  # a frame is centred on its time
        end_s=start_s - step_s / 2 + lasted_s,
    )


def spectrogram_levels(samples: NDArray[np.float32]) -> NDArray[np.uint8] | None:
    """Log-mel levels [mel, N], a frame each 10 ms, 0 at the floor and 255 at the peak; None for
    silence. Quiet ends are kept, unlike in :mod:`avsent.extraction.features.voice`."""
    config = AudioConfig()
    if samples.size < config.hop_samples:
        return None
    power = mel_power(samples, config)
    if power.max() < _QUIET_POWER:
        return None
    level = normalised_log(power, config.floor_db)
    level = (level - level.min()) / max(float(np.ptp(level)), 1e-6)
    levels: NDArray[np.uint8] = np.round(255 * level).astype(np.uint8)
    return levels
