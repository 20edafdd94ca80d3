"""RAVDESS: 1,440 acted speech clips of 24 actors, landmarks and sound of the same clips.

Livingstone and Russo 2018, CC BY-NC-SA 4.0. Each clip is one spoken sentence; its utterance is
found by the same voice activity detection, its landmarks smoothed by the same filter and its
features made by the same functions as for a video given to ``avsent predict``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avsent.errors import DatasetError
from avsent.faces.smoothing import smooth_landmarks
from avsent.features.audio import audible_power
from avsent.features.config import FeatureConfig
from avsent.features.face import FaceFeatures, face_features
from avsent.labels import EMOTIONS, polarity_of
from avsent.media import FrameSampler
from avsent.utterances import SpeechDetector, SpeechSegmenter, default_detector

FRAME_S = 1001 / 30_000
"""The corpus was filmed at a constant 29.97 pictures per second."""


@dataclass(frozen=True, slots=True, eq=False)
class RavdessClip:
    """One clip: mel power [mel, N] of its utterance (see ``audible_power``), face sequence,
    emotion name, actor 1–24, polarity index (None for surprise)."""

    clip_id: str
    actor: int
    emotion: str
    polarity: int | None
    mel_power: NDArray[np.float32] | None
    face: FaceFeatures | None


def read_ravdess(
    folder: Path,
    config: FeatureConfig | None = None,
    *,
    actors: tuple[int, ...] | None = None,
    on_item: Callable[[int, int], None] = lambda done, total: None,
) -> list[RavdessClip]:
    """The clips of ``folder/landmarks.npz`` and ``folder/audio/<clip_id>.flac``, all or those of
    some ``actors``.

    Raises:
        DatasetError: a file is missing or unreadable.
    """
    import soundfile

    config = config or FeatureConfig()
    source = folder / "landmarks.npz"
    if not source.is_file():
        raise DatasetError(f"{source}: RAVDESS is not there; give the folder that holds it")
    with np.load(source) as data:
        clip_ids = [str(name) for name in data["clip_id"]]
        counts, landmarks = data["n_frames"], data["landmarks"]
        emotions, actor_of = data["emotion"], data["actor"]
    starts = np.concatenate([[0], np.cumsum(counts)])
    detector = default_detector()
    clips = []
    for index, clip_id in enumerate(clip_ids):
        on_item(index, len(clip_ids))
        if actors is not None and int(actor_of[index]) not in actors:
            continue
        sound_file = folder / "audio" / f"{clip_id}.flac"
        try:
            samples, rate_hz = soundfile.read(sound_file, dtype="float32")
        except (OSError, soundfile.LibsndfileError) as error:
            raise DatasetError(f"{sound_file}: cannot be read; restore the file") from error
        if rate_hz != config.audio.sample_rate_hz:
            raise DatasetError(f"{sound_file}: {rate_hz} Hz; resample it to 16000 Hz")
        start_s, end_s = speech_span(samples, rate_hz, detector)
        span = slice(round(start_s * rate_hz), round(end_s * rate_hz))
        audible = audible_power(samples[span], config.audio)
        emotion = EMOTIONS[int(emotions[index]) - 1]
        clips.append(
            RavdessClip(
                clip_id=clip_id,
                actor=int(actor_of[index]),
                emotion=emotion,
                polarity=polarity_of(emotion),
                mel_power=None if audible is None else audible[0],
                face=_face(landmarks[starts[index] : starts[index + 1]], start_s, end_s, config),
            )
        )
    return clips


def cached_ravdess(folder: Path, cache: Path) -> list[RavdessClip]:
    """:func:`read_ravdess`, kept as arrays in the folder ``cache`` for next time.

    The file's name holds a digest of the feature settings: other settings, another file.
    """
    settings = json.dumps(dataclasses.asdict(FeatureConfig()), sort_keys=True)
    digest = hashlib.sha256(settings.encode()).hexdigest()[:8]
    kept = cache / f"ravdess-features-{digest}.npz"
    if kept.is_file():
        with np.load(kept) as data:
            return [_unpacked(data, index) for index in range(int(data["count"]))]
    clips = read_ravdess(folder)
    arrays: dict[str, NDArray[Any]] = {"count": np.array(len(clips))}
    for index, clip in enumerate(clips):
        arrays |= _packed(clip, index)
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = kept.with_name(f"unfinished-{kept.name}")
    np.savez(unfinished, allow_pickle=False, **arrays)
    unfinished.replace(kept)
    return clips


def _packed(clip: RavdessClip, index: int) -> dict[str, NDArray[Any]]:
    polarity = -1 if clip.polarity is None else clip.polarity
    arrays: dict[str, NDArray[Any]] = {
        f"{index}/what": np.array([clip.clip_id, clip.emotion]),
        f"{index}/numbers": np.array([clip.actor, polarity]),
    }
    if clip.mel_power is not None:
        arrays[f"{index}/mel_power"] = clip.mel_power
    if clip.face is not None:
        arrays[f"{index}/times_s"] = clip.face.times_s
        arrays[f"{index}/landmarks"] = clip.face.landmarks
    return arrays


def _unpacked(data: np.lib.npyio.NpzFile, index: int) -> RavdessClip:
    clip_id, emotion = (str(word) for word in data[f"{index}/what"])
    actor, polarity = (int(number) for number in data[f"{index}/numbers"])
    face = None
    if f"{index}/landmarks" in data:
        face = FaceFeatures(data[f"{index}/times_s"], data[f"{index}/landmarks"])
    power = data.get(f"{index}/mel_power")
    return RavdessClip(clip_id, actor, emotion, None if polarity < 0 else polarity, power, face)


def speech_span(
    samples: NDArray[np.float32], rate_hz: int, detector: SpeechDetector
) -> tuple[float, float]:
    """First start and last end of speech in seconds; the whole clip where none is found."""
    segmenter = SpeechSegmenter(detector)
    segments = segmenter.push(0.0, samples) + segmenter.flush()
    if not segments:
        return 0.0, len(samples) / rate_hz
    return segments[0].start_s, segments[-1].end_s


def _face(
    landmarks: NDArray[np.int16], start_s: float, end_s: float, config: FeatureConfig
) -> FaceFeatures | None:
    """The face sequence of one utterance, sampled and smoothed as a video's would be."""
    sampler = FrameSampler(config.face.analysis_rate_hz)
    all_times = np.arange(len(landmarks)) * FRAME_S
    taken = np.array([index for index, time_s in enumerate(all_times) if sampler.take(time_s)])
    times_s = all_times[taken]
    smoothed = smooth_landmarks(times_s, landmarks[taken].astype(np.float32))
    inside = (times_s >= start_s) & (times_s <= end_s)
    return face_features(times_s[inside], smoothed[inside])
