"""RAVDESS as landmarks and sound: 1,440 acted speech clips of 24 actors.

Livingstone and Russo 2018, CC BY-NC-SA 4.0. Each clip is one spoken sentence. Voice activity
detection, smoothing of the landmarks and features are those of ``avsent predict``.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avsent.errors import DatasetError
from avsent.extraction.extractor import FeatureConfig
from avsent.extraction.faces.landmarks import smooth_landmarks
from avsent.extraction.features.face import FaceFeatures, NeutralFace, face_features
from avsent.extraction.features.voice import audible_power, prosody_of
from avsent.extraction.media.audio import HighPass
from avsent.extraction.media.video import FrameSampler
from avsent.extraction.utterances import segmentation
from avsent.files import file_sha256
from avsent.labels import EMOTIONS, polarity_of
from avsent.progress import Progress, ProgressHook, ignore_progress
from avsent.training.data.arrays import Arrays, load_arrays, pack, pack_json, save_arrays, unpack
from avsent.training.data.corpus import Corpus, Sample
from avsent.training.data.feature_files import FEATURE_VERSION, CorpusOptions
from avsent.training.data.manifest import STATEMENTS, emotion_labels

CLIP_VERSION = 4
"""Part of the cache key: to be raised with every change of the features or of the file format."""
FRAME_S = 1001 / 30_000  # the corpus was filmed at a constant 29.97 frames per second
FULL_SCALE = 32_767
CACHED_ARRAYS = {
    **dict.fromkeys(("mel_power", "prosody", "landmarks", "neutral"), np.float32),
    "times_s": np.float64,
    "speech": np.int16,
}
"""Arrays of a clip in the cache, and their type."""


TEST_ACTORS = (21, 22, 23, 24)
"""Held out from the training of the shipped models."""
FOLDS = (
    (2, 5, 14, 15, 16),
    (3, 6, 7, 13, 18),
    (10, 11, 12, 19, 20),
    (8, 17, 21, 23, 24),
    (1, 4, 9, 22),
)
"""Test actors of the five published folds (Luna-Jiménez et al. 2022)."""
NO_LABEL = -1
"""Polarity of surprise: such items teach emotion only."""


@dataclass(frozen=True, slots=True, eq=False)
class RavdessClip:
    """One clip: ``actor`` 1–24, emotion name, polarity index (None for surprise); mel power
    [mel, N] of its utterance (see ``audible_power``), its ``prosody`` [24] and its samples
    ``speech`` [S] at 16 kHz; face sequence."""

    clip_id: str
    actor: int
    emotion: str
    polarity: int | None
    mel_power: NDArray[np.float32] | None
    face: FaceFeatures | None
    prosody: NDArray[np.float32] | None = None
    speech: NDArray[np.int16] | None = None

    @property
    def sound(self) -> NDArray[np.float32] | None:
        """``speech`` in −1 … 1."""
        if self.speech is None:
            return None
        return np.asarray(self.speech / np.float32(FULL_SCALE), dtype=np.float32)


def read_ravdess(
    folder: Path,
    config: FeatureConfig | None = None,
    *,
    shrink: float = 1.0,
    on_progress: ProgressHook = ignore_progress,
) -> list[RavdessClip]:
    """The clips of ``folder/landmarks.npz`` and ``folder/audio/<clip_id>.flac``.

    ``shrink``: landmarks are scaled by it and rounded to whole pixels, as in a smaller picture.
    Raises DatasetError if a file is missing or unreadable.
    """
    import soundfile

    config = config or FeatureConfig()
    source = folder / "landmarks.npz"
    if not source.is_file():
        raise DatasetError(f"{source}: RAVDESS is not there; give the folder that holds it")
    data = load_arrays(source, ("clip_id", "n_frames", "landmarks", "emotion", "actor"))
    clip_ids = [str(name) for name in data["clip_id"]]
    _check(source, data)
    landmarks, emotions, actor_of = data["landmarks"], data["emotion"], data["actor"]
    if shrink != 1:
        landmarks = np.round(landmarks.astype(np.float64) * shrink).astype(np.int16)
    starts = np.concatenate([[0], np.cumsum(data["n_frames"])])
    detector = segmentation.default_detector()
    clips = []
    for index, clip_id in enumerate(clip_ids):
        done_s, total_s = (float(starts[row]) * FRAME_S for row in (index, -1))
        on_progress(Progress("analyse", str(folder), done_s, total_s))
        sound_file = folder / "audio" / f"{clip_id}.flac"
        try:
            samples, rate_hz = soundfile.read(sound_file, dtype="float32")
        except (OSError, soundfile.LibsndfileError) as error:
            raise DatasetError(f"{sound_file}: cannot be read; restore the file") from error
        if rate_hz != config.audio.sample_rate_hz:
            raise DatasetError(f"{sound_file}: {rate_hz} Hz; resample it to 16000 Hz")
        samples = HighPass()(samples)
        start_s, end_s = _speech_span(samples, rate_hz, detector)
        span = slice(round(start_s * rate_hz), round(end_s * rate_hz))
        speech = samples[span]
        audible = audible_power(speech, config.audio)
        emotion = EMOTIONS[int(emotions[index]) - 1]
        clips.append(
            RavdessClip(
                clip_id=clip_id,
                actor=int(actor_of[index]),
                emotion=emotion,
                polarity=polarity_of(emotion),
                mel_power=None if audible is None else audible[0],
                face=_face(landmarks[starts[index] : starts[index + 1]], start_s, end_s, config),
                prosody=None if audible is None else prosody_of(speech, *audible, config.audio),
                speech=np.round(speech * FULL_SCALE).clip(-FULL_SCALE, FULL_SCALE).astype(np.int16),
            )
        )
    return clips


def cached_ravdess(
    folder: Path,
    cache: Path,
    config: FeatureConfig | None = None,
    *,
    shrink: float = 1.0,
    on_progress: ProgressHook = ignore_progress,
) -> list[RavdessClip]:
    """:func:`read_ravdess`, cached as arrays in the folder ``cache``.

    The file's name holds a digest of the feature settings, the landmarks and the names and sizes
    of the sound files. A damaged file is replaced. Raises DatasetError if a file of the corpus is
    missing or unreadable, OutputError if the cache cannot be written.
    """
    config = config or FeatureConfig()
    size = "" if shrink == 1 else f"-{shrink:g}"
    kept = cache / f"ravdess-features-{_digest(folder, config)}{size}.npz"
    if kept.is_file():
        with contextlib.suppress(DatasetError, LookupError, ValueError, TypeError, RecursionError):
            return _unpacked(load_arrays(kept))
    clips = read_ravdess(folder, config, shrink=shrink, on_progress=on_progress)
    save_arrays(kept, _packed(clips))
    return clips


def statements(folder: Path) -> dict[str, str]:
    """The spoken sentence of each clip, by its name. Raises DatasetError if ``landmarks.npz``
    cannot be read, or holds a statement that is not known."""
    source = folder / "landmarks.npz"
    data = load_arrays(source, ("clip_id", "statement"))
    try:
        return {
            str(clip_id): STATEMENTS[int(number)]
            for clip_id, number in zip(data["clip_id"], data["statement"], strict=True)
        }
    except (KeyError, ValueError, TypeError) as error:
        raise DatasetError(f"{source}: statements other than 1 and 2; restore it") from error


def _digest(folder: Path, config: FeatureConfig) -> str:
    settings = [FEATURE_VERSION, CLIP_VERSION, dataclasses.asdict(config)]
    state = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    try:
        state.update(file_sha256(folder / "landmarks.npz").encode())
        sounds = sorted((folder / "audio").glob("*.flac"))
        state.update(repr([(sound.name, sound.stat().st_size) for sound in sounds]).encode())
    except OSError as error:
        raise DatasetError(
            f"{folder}: RAVDESS cannot be read there ({error.strerror}); give the folder that "
            "holds landmarks.npz and audio/"
        ) from error
    return state.hexdigest()[:12]


def _packed(clips: Sequence[RavdessClip]) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {
        "clips": pack_json([(c.clip_id, c.actor, c.emotion, c.polarity) for c in clips])
    }
    for name, dtype in CACHED_ARRAYS.items():
        of_face = name in ("times_s", "landmarks", "neutral")
        holders = [clip.face if of_face else clip for clip in clips]
        arrays |= pack(name, [getattr(holder, name, None) for holder in holders], dtype)
    return arrays


def _unpacked(arrays: Arrays) -> list[RavdessClip]:
    facts = json.loads(arrays["clips"].tobytes())
    columns = [unpack(name, arrays, dtype) for name, dtype in CACHED_ARRAYS.items()]
    clips = []
    for fact, power, prosody, landmarks, neutral, times_s, speech in zip(
        facts, *columns, strict=True
    ):
        face = None
        if times_s is not None and landmarks is not None:
            face = FaceFeatures(times_s, landmarks, None, neutral)
        clip_id, actor, emotion, polarity = fact
        clips.append(RavdessClip(clip_id, actor, emotion, polarity, power, face, prosody, speech))
    return clips


def _speech_span(
    samples: NDArray[np.float32], rate_hz: int, detector: segmentation.SpeechDetector
) -> tuple[float, float]:
    """Start of the first and end of the last speech segment in seconds; the whole clip if there is
    none."""
    segmenter = segmentation.SpeechSegmenter(detector)
    segments = segmenter.push(0.0, samples) + segmenter.flush()
    if not segments:
        return 0.0, len(samples) / rate_hz
    return segments[0].start_s, segments[-1].end_s


def _check(source: Path, data: Arrays) -> None:
    clips = data["clip_id"].shape
    fits = len(clips) == 1 and all(
        data[name].shape == clips and data[name].dtype.kind == "i"
        for name in ("n_frames", "emotion", "actor")
    )
    if not fits or data["landmarks"].shape != (int(data["n_frames"].sum()), 68, 2):
        raise DatasetError(f"{source}: its arrays do not fit each other; restore the file")
    if (data["n_frames"] < 0).any() or not np.isin(data["emotion"], range(1, 9)).all():
        raise DatasetError(f"{source}: an emotion is not in 1 to 8; restore the file")


def _face(
    landmarks: NDArray[np.int16], start_s: float, end_s: float, config: FeatureConfig
) -> FaceFeatures | None:
    """Face sequence of one utterance, sampled and smoothed like a video's, with the neutral face
    of the whole clip."""
    sampler = FrameSampler(config.face.analysis_rate_hz)
    all_times = np.arange(len(landmarks)) * FRAME_S
    taken = np.array([index for index, time_s in enumerate(all_times) if sampler.take(time_s)])
    times_s = all_times[taken]
    smoothed = smooth_landmarks(times_s, landmarks[taken].astype(np.float32))
    inside = (times_s >= start_s) & (times_s <= end_s)
    face = face_features(times_s[inside], smoothed[inside])
    if face is None:
        return None
    neutral = NeutralFace()
    for frame in smoothed:
        neutral.add(frame)
    return dataclasses.replace(face, neutral=neutral.median())


def ravdess_corpus(
    folder: Path, options: CorpusOptions, on_progress: ProgressHook = ignore_progress
) -> Corpus:
    """The clips of ``folder``, each a video of its own, as they were acted one by one."""
    clips = cached_ravdess(folder, options.cache_folder, options.features, on_progress=on_progress)
    said = statements(folder)
    samples = tuple(
        Sample(
            key=clip.clip_id,
            video=clip.clip_id,
            speaker=f"actor{clip.actor:02d}",
            labels=emotion_labels(clip.emotion),
            text=said.get(clip.clip_id, ""),
            audio=clip.mel_power,
            prosody=clip.prosody,
            face=None if clip.face is None else clip.face.landmarks,
            neutral=None if clip.face is None else clip.face.neutral,
        )
        for clip in clips
    )
    licence = "CC BY-NC-SA 4.0"
    return Corpus("RAVDESS", samples, features=options.features, licence=licence)


def load_clips(data: Path, cache: Path, shrink: float = 1.0) -> list[RavdessClip]:
    """The clips in ``data/ravdess``, see :func:`read_ravdess`; features are cached in ``cache``.

    Raises:
        DatasetError: a file is missing or unreadable.
    """
    return cached_ravdess(data / "ravdess", cache, shrink=shrink)


def of_actors(clips: Sequence[RavdessClip], actors: Sequence[int]) -> list[RavdessClip]:
    """The clips of these ``actors``."""
    return [clip for clip in clips if clip.actor in actors]


def polarities_of(clips: Sequence[RavdessClip]) -> NDArray[np.int64]:
    """Polarity index of each clip [N], ``NO_LABEL`` for surprise."""
    return np.array(
        [NO_LABEL if clip.polarity is None else clip.polarity for clip in clips], dtype=np.int64
    )


def emotions_of(clips: Sequence[RavdessClip]) -> NDArray[np.int64]:
    """Index of each clip's emotion in ``EMOTIONS`` [N]."""
    return np.array([EMOTIONS.index(clip.emotion) for clip in clips], dtype=np.int64)
