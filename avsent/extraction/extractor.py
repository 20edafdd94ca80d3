"""Video → features of each utterance, in one pass: the one path for training and prediction.

Sound is listened to beside decoding, in the reading thread; faces are looked for here. An
utterance is handed out as soon as its last moment was heard and seen, and what lies before it
is forgotten, so memory does not grow with the length of the video.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avsent.errors import BoundariesError, MediaError
from avsent.extraction.buffers import RecentFaces, RecentSound
from avsent.extraction.faces.active_speaker import choose_faces, sound_envelope
from avsent.extraction.faces.tracking import FaceTracker, TrackSummary
from avsent.extraction.faces.types import FaceObservation, Sighting
from avsent.extraction.features.config import FeatureConfig
from avsent.extraction.features.face import MIN_FACE_SHARE, FaceFeatures, NeutralFace, face_features
from avsent.extraction.features.quality import face_fault, voice_fault
from avsent.extraction.features.voice import AudioFeatures, audio_features
from avsent.extraction.media.events import SAMPLE_RATE_HZ, Damage, Frame, Sound
from avsent.extraction.media.reader import MediaReader, prefetch
from avsent.extraction.utterances.boundaries import MAX_GIVEN_S, read_boundaries
from avsent.extraction.utterances.segmentation import (
    MAX_UTTERANCE_S,
    Segment,
    SilenceMeter,
    SpeechSegmenter,
    WindowSegmenter,
)
from avsent.extraction.utterances.voice_activity import (
    SileroSpeechDetector,
    SpeechDetector,
    default_detector,
)
from avsent.options import FaceChoice, PredictOptions
from avsent.progress import Progress, ProgressHook, ignore_progress


def face_of(
    observations: Sequence[FaceObservation], frames: int, *, check: bool
) -> tuple[FaceFeatures | None, list[str]]:
    """Face sequence of one track's ``observations``, out of ``frames`` analysed pictures, None
    where it cannot be used, and warnings that say why. ``check``: whether its signal must be
    sound (:func:`~avsent.extraction.features.quality.face_fault`)."""
    if not observations:
        return None, ["no face is seen in it"] if frames else []
    share = len(observations) / frames
    if share < MIN_FACE_SHARE:
        return None, [f"its face is seen in only {share:.0%} of the pictures"]
    landmarks = np.stack([o.landmarks for o in observations])
    crops = np.stack([o.crop for o in observations])
    fault = face_fault(landmarks, crops) if check else None
    if fault:
        return None, [f"{fault}: the face is not used"]
    return face_features(np.array([o.time_s for o in observations]), landmarks, crops), []


@dataclass(frozen=True, slots=True)
class Heard:
    """A chunk of sound after it was listened to: utterances that became final, how far back a
    future one may begin, and whether anything was louder than silence so far."""

    sound: Sound
    segments: list[Segment]
    open_since_s: float
    heard: bool


def listened(
    reader: MediaReader, detector: SpeechDetector
) -> Generator[Frame | Heard | Damage, None, None]:
    """The reader's events, its sound cut into utterances by voice activity."""
    segmenter = SpeechSegmenter(detector)
    end_s: float | None = None
    for event in reader:
        if not isinstance(event, Sound):
            yield event
            continue
        end_s = event.start_s + event.samples.size / SAMPLE_RATE_HZ
        segments = segmenter.push(event.start_s, event.samples)
        yield Heard(event, segments, segmenter.open_since_s, segmenter.heard)
    if end_s is not None:
        rest = Sound(end_s, np.zeros(0, dtype=np.float32))
        yield Heard(rest, segmenter.flush(), end_s, segmenter.heard)


def watched_for_silence(reader: MediaReader) -> Generator[Frame | Heard | Damage, None, None]:
    """The reader's events; its sound is only watched for silence, the utterances are given."""
    silence = SilenceMeter()
    end_s: float | None = None
    for event in reader:
        if not isinstance(event, Sound):
            yield event
            continue
        end_s = event.start_s + event.samples.size / SAMPLE_RATE_HZ
        silence.push(event.samples)
        yield Heard(event, [], np.inf, silence.heard)
    if end_s is not None:
        silence.flush()
        yield Heard(Sound(end_s, np.zeros(0, dtype=np.float32)), [], np.inf, silence.heard)


MAX_LAG_S = 30.0
"""A stream that lies further behind the other has ended: it is not waited for."""
JUDGING_S = 2.0
"""Sound is judged in batches: an utterance is final this much after its end, at the latest."""
MAX_OPEN_S = MAX_LAG_S + MAX_UTTERANCE_S + JUDGING_S
"""Faces are kept no longer than this for an utterance that may still be open."""


@dataclass(frozen=True, slots=True)
class ExtractionOptions:
    """``segments``: the user's utterances, or None to find them; ``threads``: 1 to read, listen
    and look in this thread alone, None for as many as help. With a number the decoder has one,
    whatever the number: what it makes of a damaged file depends on that. ``sightings``: whether
    to keep where each face was; ``check``: whether a voice or a face that a plain check of the
    signal fails (see :mod:`avsent.extraction.features.quality`) counts as missing."""

    segments: tuple[Segment, ...] | None = None
    face: FaceChoice = FaceChoice.speaking
    analysis_rate_hz: float = 10.0
    strict: bool = False
    landmarks: Path | None = None
    threads: int | None = None
    sightings: bool = False
    check: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class UtteranceFeatures:
    """One utterance: what was heard and seen of it. A modality that is missing is None.

    ``provisional`` ones are windows of a file in which no sound was heard so far: they count
    only if :attr:`Extraction.silent` holds at the end.
    """

    segment: Segment
    track: int | None
    audio: AudioFeatures | None
    face: FaceFeatures | None
    warnings: tuple[str, ...] = ()
    provisional: bool = False


@dataclass(slots=True)
class _Position:
    """How far each stream has got, and what utterances wait for it."""

    heard_s: float = 0.0
    seen_s: float = 0.0
    open_since_s: float = 0.0
    waiting: list[tuple[Segment, bool]] = field(default_factory=list)


class Extraction:
    """One pass over one file; iterate once, then read the facts about the whole.

    Attributes:
        silent: nothing was heard: no sound stream, or one without sound.
        duration_s: as the container states it, else the end of the last picture or sound.
        tracks: the faces seen. warnings: what a user should know about the file.
        sightings: where each face was, in order of time, if asked for.

    ``detector`` may be one that was used for another file, but not one that is in use.

    Raises:
        MediaError: the file cannot be read, or is damaged and ``strict`` was asked for.
    """

    def __init__(
        self,
        path: Path,
        config: FeatureConfig,
        options: ExtractionOptions | None = None,
        on_progress: ProgressHook = ignore_progress,
        detector: SpeechDetector | None = None,
    ) -> None:
        self.path = path
        self.silent = True
        self.duration_s = 0.0
        self.tracks: list[TrackSummary] = []
        self.warnings: list[str] = []
        self.sightings: list[Sighting] = []
        self._config = config
        self._options = options or ExtractionOptions()
        self._on_progress = on_progress
        self._detector = detector
        self._sound = RecentSound(config.audio.sample_rate_hz)
        self._faces = RecentFaces()
        self._neutrals: dict[int, NeutralFace] = {}
        self._followed: set[int] = set()
        self._position = _Position()
        self._windows = self._utterances = 0  # handed out so far

    def __iter__(self) -> Iterator[UtteranceFeatures]:
        options = self._options
        decoding = None if options.threads is None else 1
        with MediaReader(
            self.path, analysis_rate_hz=options.analysis_rate_hz, threads=decoding
        ) as reader:
            info, at = reader.info, self._position
            tracker = FaceTracker(options.landmarks) if info.has_video else None
            windows = WindowSegmenter() if options.segments is None else None
            at.waiting = [(segment, False) for segment in options.segments or ()]
            at.heard_s = 0.0 if info.has_audio else np.inf
            at.seen_s = 0.0 if info.has_video else np.inf
            # Closing the generators ends the reading thread before the file is closed.
            with closing(self._ahead(self._listen(reader))) as events:
                for event in events:
                    match event:
                        case Frame():
                            self._see(event, tracker, windows)
                        case Heard():
                            self._hear(event, windows)
                        case Damage():
                            self._damaged(event)
                    yield from self._complete(finished=False)
                    self._forget(windows)
                    self._report(reader.position_s, info.duration_s)
            if windows is not None and self.silent:
                at.waiting += [(segment, True) for segment in windows.flush()]
            yield from self._complete(finished=True)
            self.duration_s = info.duration_s if info.duration_s is not None else reader.end_s
            self.tracks = tracker.tracks if tracker is not None else []
            self._conclude(info.has_audio, info.has_video)
            self._report(self.duration_s, self.duration_s)

    def neutral(self, track: int | None) -> NDArray[np.float32] | None:
        """The face of ``track`` at rest [51, 2], by all that was seen of it so far."""
        found = None if track is None else self._neutrals.get(track)
        return None if found is None else found.median()

    def _ahead(
        self, events: Generator[Frame | Heard | Damage, None, None]
    ) -> Generator[Frame | Heard | Damage, None, None]:
        """The events, read by a thread of its own where more than one may be used."""
        return events if self._options.threads == 1 else prefetch(events)

    def _listen(self, reader: MediaReader) -> Generator[Frame | Heard | Damage, None, None]:
        if self._options.segments is not None:
            return watched_for_silence(reader)
        detector = self._detector or default_detector()
        if detector.name != SileroSpeechDetector.name and reader.info.has_audio:
            self.warnings.append("silero-vad cannot be loaded: utterances found by loudness")
        return listened(reader, detector)

    def _see(
        self, frame: Frame, tracker: FaceTracker | None, windows: WindowSegmenter | None
    ) -> None:
        assert tracker is not None
        found = tracker.push(frame.time_s, frame.gray)
        for face in found:
            self._neutrals.setdefault(face.track, NeutralFace()).add(face.landmarks)
            self._followed.add(face.track)
        for ended in self._followed - tracker.live:
            self._neutrals[ended].settle()
        self._followed &= tracker.live
        self._faces.add(frame.time_s, found)
        if self._options.sightings:
            self.sightings += [Sighting(face.track, frame.time_s, face.box) for face in found]
        at = self._position
        at.seen_s = frame.time_s
        if windows is not None and self.silent:
            at.waiting += [(s, True) for s in windows.push(frame.time_s, bool(found))]

    def _hear(self, heard: Heard, windows: WindowSegmenter | None) -> None:
        at = self._position
        self._sound.add(heard.sound.start_s, heard.sound.samples)
        at.heard_s = self._sound.end_s
        at.open_since_s = heard.open_since_s
        if heard.heard and self.silent:
            self.silent = False
            at.waiting = [(segment, window) for segment, window in at.waiting if not window]
        at.waiting += [(segment, False) for segment in heard.segments]

    def _damaged(self, damage: Damage) -> None:
        stream = {"video": "picture", "audio": "sound", "container": "file"}[damage.stream]
        when = "" if damage.time_s is None else f" at {damage.time_s:.2f} s"
        if self._options.strict:
            raise MediaError(
                f"{self.path}: {stream} damaged{when} ({damage.reason}); repair the file, or leave "
                "out --strict to use what decodes"
            )
        self.warnings.append(f"{stream}{when}: {damage.reason}")

    def _complete(self, *, finished: bool) -> Iterator[UtteranceFeatures]:
        """Hand out the waiting utterances whose end was heard and seen."""
        at = self._position
        known_s = np.inf if finished else _reached(at.heard_s, at.seen_s)
        ready = [item for item in at.waiting if item[0].end_s <= known_s]
        if not ready:
            return
        at.waiting = [item for item in at.waiting if item[0].end_s > known_s]
        for segment, window in ready:
            self._windows += window or self._options.segments is not None
            self._utterances += not window
            yield from self._features(segment, window)

    def _features(self, segment: Segment, window: bool) -> Iterator[UtteranceFeatures]:
        start_s, end_s = segment.start_s, segment.end_s
        samples, sound_start_s = self._sound.between(start_s, end_s)
        audio = audio_features(samples, sound_start_s, self._config.audio)
        heard = audio is not None
        fault = voice_fault(samples) if heard and self._options.check else None
        audio = None if fault else audio
        frames, observations = self._faces.between(start_s, end_s)
        envelope_s, envelope = sound_envelope(
            samples, sound_start_s, self._config.audio.sample_rate_hz
        )
        chosen = choose_faces(
            observations, envelope_s, envelope if heard else None, self._options.face
        )
        judged: list[int | None] = [*chosen] or [None]
        for track in judged:
            seen = [o for o in observations if o.track == track]
            face, warnings = face_of(seen, frames, check=self._options.check)
            if fault:
                warnings.append(f"{fault}: the voice is not used")
            elif audio is None and not window:
                warnings.append("no voice is heard in it")
            yield UtteranceFeatures(
                segment=segment,
                track=track if face is not None else None,
                audio=audio,
                face=face,
                warnings=tuple(warnings),
                provisional=window,
            )

    def _forget(self, windows: WindowSegmenter | None) -> None:
        """Drop sound and faces that no utterance to come can need."""
        at = self._position
        needed_s = min((s.start_s for s, _ in at.waiting), default=np.inf)
        if self._options.segments is None:
            if at.heard_s < np.inf:
                seen_s = at.seen_s if at.seen_s < np.inf else 0.0
                needed_s = min(needed_s, max(at.open_since_s, seen_s - MAX_OPEN_S))
            if windows is not None and self.silent:
                needed_s = min(needed_s, windows.open_since_s)
        self._sound.forget(min(needed_s, at.heard_s))
        self._faces.forget(min(needed_s, at.seen_s))

    def _report(self, completed_s: float, total_s: float | None) -> None:
        if total_s is not None:
            completed_s = min(completed_s, total_s)
        self._on_progress(Progress("analyse", str(self.path), completed_s, total_s))

    def _conclude(self, has_audio: bool, has_video: bool) -> None:
        """What a user should know about the file as a whole."""
        found = self._windows if self.silent else self._utterances
        given = self._options.segments is not None
        neither = not found and not given and not self.tracks
        if has_video and not self.tracks and not neither:
            judged = ": judged by the voice alone" if found and not self.silent else ""
            self.warnings.append(f"no face found{judged}")
        if self.silent:
            what = "the sound is silent" if has_audio else "there is no sound"
            judged = ": judged by the face alone" if found and self.tracks else ""
            how = ", in windows of at most 8 s" if judged and not given else ""
            self.warnings.append(f"{what}{judged}{how}")
        if neither:
            self.warnings.append("neither a face nor speech found: no utterances")
        elif not found and not given:
            nothing = "no speech found: no utterances; give your own with --utterances"
            self.warnings.append(nothing)


def _reached(heard_s: float, seen_s: float) -> float:
    """Up to when both streams are known; one that lies too far behind is not waited for."""
    first, second = min(heard_s, seen_s), max(heard_s, seen_s)
    if np.isinf(second):
        return first
    return max(first, second - MAX_LAG_S)


@dataclass(frozen=True, slots=True, eq=False)
class FileFacts:
    """What is known of a file at its end, besides its utterances; small, and without tensors.

    ``silent``: nothing was heard in it, so that provisional utterances count; ``neutrals``: the
    faces at rest [51, 2] of the tracks that an utterance has.
    """

    source: str
    duration_s: float
    tracks: tuple[TrackSummary, ...]
    silent: bool
    neutrals: dict[int, NDArray[np.float32]]
    warnings: tuple[str, ...]
    sightings: tuple[Sighting, ...] = ()


def extract_file(
    path: str | Path,
    features: FeatureConfig,
    options: PredictOptions | None = None,
    on_progress: ProgressHook = ignore_progress,
    detector: SpeechDetector | None = None,
) -> Generator[UtteranceFeatures, None, FileFacts]:
    """Features of each utterance as soon as its end is known; then the facts about the file.

    ``features``: as the model wants them; ``detector``: see :class:`Extraction`. To be closed
    where it is not read to its end: a thread of it reads ahead.

    Raises:
        MediaError: the file cannot be read. BoundariesError: the utterances cannot.
    """
    options = options or PredictOptions()
    extraction = Extraction(
        Path(path),
        features,
        ExtractionOptions(
            segments=_given(options.utterances),
            face=options.face,
            analysis_rate_hz=options.analysis_rate_hz or features.face.analysis_rate_hz,
            strict=options.strict,
            landmarks=options.landmarks,
            threads=options.threads,
            sightings=options.sightings,
            check=options.check,
        ),
        on_progress,
        detector,
    )
    shown: set[int] = set()
    for utterance in extraction:
        if utterance.track is not None:
            shown.add(utterance.track)
        yield utterance
    neutrals = {track: extraction.neutral(track) for track in sorted(shown)}
    return FileFacts(
        source=str(path),
        duration_s=extraction.duration_s,
        tracks=tuple(extraction.tracks),
        silent=extraction.silent,
        neutrals={track: face for track, face in neutrals.items() if face is not None},
        warnings=tuple(extraction.warnings),
        sightings=tuple(extraction.sightings),
    )


def each_of_file(
    utterances: Generator[UtteranceFeatures, None, FileFacts],
    take: Callable[[UtteranceFeatures], object],
) -> FileFacts:
    """Hand every one of :func:`extract_file`'s ``utterances`` to ``take``; the facts at the end."""
    with closing(utterances):
        while True:
            try:
                features = next(utterances)
            except StopIteration as end:
                facts: FileFacts = end.value
                return facts
            take(features)


def _given(path: Path | None) -> tuple[Segment, ...] | None:
    if path is None:
        return None
    segments = read_boundaries(path)
    for segment in segments:
        if segment.end_s - segment.start_s > MAX_GIVEN_S:
            raise BoundariesError(
                f"{path}: the utterance at {segment.start_s:.2f} s is longer than "
                f"{MAX_GIVEN_S:.0f} s; split it"
            )
    return tuple(segments)
