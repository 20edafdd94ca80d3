"""Video → features of each utterance, in one pass: the same path for training and prediction.

The reading thread decodes and finds speech; faces are found in the calling thread. An utterance is
handed out as soon as both streams have passed its end, and everything before it is dropped, so
memory does not grow with the length of the video.
"""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avsent.errors import MediaError
from avsent.extraction.buffers import RecentFaces, RecentSound
from avsent.extraction.faces.active_speaker import (
    choose_faces,
    mouth_speaks,
    sound_envelope,
    speak_in_turn,
)
from avsent.extraction.faces.geometry import FaceObservation, Sighting
from avsent.extraction.faces.tracking import FaceTracker, TrackSummary
from avsent.extraction.features.face import FaceConfig, FaceFeatures, NeutralFace, face_features
from avsent.extraction.features.quality import VoiceQuality, face_fault, voice_quality
from avsent.extraction.features.voice import AudioConfig, AudioFeatures, audio_features
from avsent.extraction.media.audio import HighPass
from avsent.extraction.media.events import SAMPLE_RATE_HZ, Damage, Frame, Samples, Sound
from avsent.extraction.media.reader import MediaReader, prefetch
from avsent.extraction.media.tracks import WORDS, names
from avsent.extraction.utterances import segmentation
from avsent.extraction.utterances.boundaries import read_boundaries
from avsent.extraction.utterances.segmentation import Segment, SpeechDetector
from avsent.options import FaceChoice, PredictOptions
from avsent.progress import Progress, ProgressHook, ignore_progress

MAX_LAG_S = 30.0  # a stream that lies further behind the other has ended: it is not waited for
JUDGING_S = 2.0
"""Speech is detected in batches: an utterance is final this much after its end, at the latest."""
MAX_OPEN_S = MAX_LAG_S + segmentation.MAX_UTTERANCE_S + JUDGING_S
"""Faces are kept no longer than this for an utterance that may still be open."""
MIN_FACE_SHARE = 0.2
"""A face found in a smaller share of an utterance's analysed frames is not used."""


@dataclass(frozen=True, slots=True)
class FeatureConfig:
    """How the features of both modalities are made; stored in the checkpoint."""

    audio: AudioConfig = field(default_factory=AudioConfig)
    face: FaceConfig = field(default_factory=FaceConfig)


@dataclass(frozen=True, slots=True, eq=False)
class UtteranceFeatures:
    """One utterance: its features by modality, None where a modality is missing.

    ``provisional``: a window of a file in which no speech was found so far. It is used only if the
    whole file turns out to be silent (:attr:`Extraction.silent`), or to have no speech while the
    face ``speaks``.
    """

    segment: Segment
    track: int | None
    audio: AudioFeatures | None
    face: FaceFeatures | None
    warnings: tuple[str, ...] = ()
    provisional: bool = False
    speaks: bool = False


@dataclass(frozen=True, slots=True)
class SegmentedSound:
    """A chunk of sound, filtered (:class:`HighPass`) and as ``recorded``, and what is known after
    it: the utterances that became final, the earliest start of one to come, and whether anything
    so far was louder than silence."""

    sound: Sound
    recorded: Samples
    segments: list[Segment]
    open_since_s: float
    audible: bool


def segmented(
    events: Iterable[Any], detector: SpeechDetector | None
) -> Generator[Frame | SegmentedSound | Damage, None, None]:
    """The events of a reader, its sound cut into utterances by voice activity."""
    segmenter, high_pass = segmentation.SpeechSegmenter(detector), HighPass()
    end_s: float | None = None
    for event in events:
        if not isinstance(event, Sound):
            yield event
            continue
        end_s = event.start_s + event.samples.size / SAMPLE_RATE_HZ
        sound = Sound(event.start_s, high_pass(event.samples))
        segments, since_s = segmenter.push(event.start_s, sound.samples), segmenter.open_since_s
        yield SegmentedSound(sound, event.samples, segments, since_s, segmenter.heard)
    if end_s is not None:
        rest, nothing = segmenter.flush(), np.zeros(0, dtype=np.float32)
        yield SegmentedSound(Sound(end_s, nothing), nothing, rest, end_s, segmenter.heard)


def track_features(
    observations: Sequence[FaceObservation], frames: int, *, check: bool
) -> tuple[FaceFeatures | None, list[str]]:
    """Face features of one track's ``observations`` in ``frames`` analysed pictures, None where the
    face cannot be used, and warnings that say why.

    ``check``: whether a damaged face counts as missing
    (:func:`~avsent.extraction.features.quality.face_fault`).
    """
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


class Extraction:
    """One pass over one file; iterate once, then read the facts about the whole.

    ``segments``: the utterances, instead of those of ``options.utterances`` or of the speech found.
    With ``options.threads`` the decoder has one thread, whatever the number: what it makes of a
    damaged file depends on that. ``detector`` may have been used for another file, but must not be
    in use.

    Attributes:
        silent: nothing was heard: no sound stream, or one without sound.
        duration_s: length of what was read.
        media_tracks: numbers of the tracks that were read, by kind, where the file has several.
        tracks: the faces seen. warnings: what a user should know about the file.
        sightings: where each face was, in order of time, if asked for.

    Raises MediaError if the file cannot be read, or is damaged and ``strict`` was asked for,
    BoundariesError if the user's utterances cannot be read.
    """

    def __init__(
        self,
        path: Path,
        config: FeatureConfig,
        options: PredictOptions | None = None,
        on_progress: ProgressHook = ignore_progress,
        *,
        segments: Sequence[Segment] | None = None,
        detector: SpeechDetector | None = None,
    ) -> None:
        self.path = path
        self.silent = True
        self.duration_s = 0.0
        self.media_tracks: dict[str, tuple[int, ...]] = {}
        self.tracks: list[TrackSummary] = []
        self.warnings: list[str] = []
        self.sightings: list[Sighting] = []
        self._config = config
        self._options = options or PredictOptions()
        self._on_progress = on_progress
        self._detector = detector
        if segments is None and self._options.utterances is not None:
            given = read_boundaries(self._options.utterances, path, self._options.tier)
            segments = given.segments
            self.warnings += given.warnings
        self._given = segments is not None
        self._windows = None if self._given else segmentation.WindowSegmenter()
        # Utterances whose end was not yet reached; True: a provisional window.
        self._waiting = [(segment, False) for segment in segments or ()]
        self._yielded: Counter[tuple[bool, bool]] = Counter()  # by provisional and speaks
        self._spoken = False  # speech was found
        self._heard_s = self._seen_s = self._open_since_s = 0.0  # how far the streams have come
        self._damage: dict[tuple[str, str], str] = {}  # the first place, by stream and reason
        self._places: Counter[tuple[str, str]] = Counter()
        self._sound, self._recorded = (RecentSound(config.audio.sample_rate_hz) for _ in range(2))
        self._faces = RecentFaces()
        self._neutrals: dict[int, NeutralFace] = {}
        self._live_tracks: set[int] = set()

    def __iter__(self) -> Generator[UtteranceFeatures, None, None]:
        rate_hz = self._options.analysis_rate_hz or self._config.face.analysis_rate_hz
        with self._open(rate_hz) as reader:
            media = reader.media
            has_audio, has_video = media.audio is not None, media.video is not None
            tracker = FaceTracker(self._options.landmarks) if has_video else None
            self.tracks = tracker.tracks if tracker is not None else []
            self._heard_s = 0.0 if has_audio else np.inf
            self._seen_s = 0.0 if has_video else np.inf
            events = segmented(reader, self._speech_detector(has_audio))
            if self._options.threads != 1:
                events = prefetch(events)
            # Closing the generators ends the reading thread before the file is closed.
            with closing(events):
                for event in events:
                    match event:
                        case Frame():
                            assert tracker is not None
                            self._take_frame(event, tracker)
                        case SegmentedSound():
                            self._take_sound(event)
                        case Damage():
                            self._take_damage(event)
                    yield from self._complete(_reached(self._heard_s, self._seen_s))
                    self._forget()
                    self._report(reader.position_s, media.duration_s)
            if self._windows is not None and not self._spoken:
                self._waiting += [(segment, True) for segment in self._windows.flush()]
            yield from self._complete(np.inf)
            self.duration_s = reader.duration_s
            if tracker is not None:
                self.warnings += filter(None, (reader.warning, tracker.warning))
            self._warn_of_missing(has_audio, tracker)
            self._report(self.duration_s, self.duration_s)

    def _open(self, rate_hz: float) -> MediaReader:
        """The file with the tracks asked for; by default with the first sound track with speech."""
        threads = None if self._options.threads is None else 1
        opened = partial(MediaReader, self.path, analysis_rate_hz=rate_hz, threads=threads)
        asked = self._options.asked_tracks
        reader = opened(asked=asked)
        several = {kind: t for kind, t in reader.media.tracks.items() if len(t) > 1}
        for kind, tracks in several.items():
            read = reader.media.chosen[kind]
            if read and kind not in self._options.asked_tracks:
                what = f"{len(tracks)} {WORDS[kind]} tracks"
                spoken = self._track_with_speech(read[0], len(tracks)) if kind == "audio" else 0
                if spoken not in (0, read[0]):
                    what = f"no speech in sound track {names(tracks, read)}"
                    read = asked[kind] = [spoken]
                others = names(tracks, [n for n in range(1, len(tracks) + 1) if n not in read])
                judged = f"judged by {names(tracks, read)}, not by {others}"
                self.warnings.append(f"{what}: {judged}; choose with --{kind}-track")
            self.media_tracks[kind] = tuple(read)
        if asked != self._options.asked_tracks:
            reader.close()
            reader = opened(asked=asked)
        return reader

    def _track_with_speech(self, first: int, count: int) -> int:
        """The first of ``count`` sound tracks with speech, beginning with ``first``; that one if
        none has."""
        self._detector = self._detector or segmentation.default_detector()
        number: int
        for number in (first, *range(1, first), *range(first + 1, count + 1)):
            with suppress(MediaError), MediaReader(self.path, asked={"audio": [number]}) as reader:
                heard = segmented(reader.in_colour(()), self._detector)
                for event in heard:
                    if isinstance(event, SegmentedSound) and event.segments:
                        return number
                    total_s = reader.media.duration_s
                    step = f"look for speech in sound track {number}"
                    self._on_progress(Progress(step, str(self.path), reader.position_s, total_s))
        return first

    def neutral(self, track: int | None) -> NDArray[np.float32] | None:
        """The face of ``track`` at rest [51, 2], from all frames so far."""
        found = None if track is None else self._neutrals.get(track)
        return None if found is None else found.median()

    def _speech_detector(self, has_audio: bool) -> SpeechDetector | None:
        if self._given:
            return None
        detector = self._detector or segmentation.default_detector()
        if detector.name != segmentation.SileroSpeechDetector.name and has_audio:
            self.warnings.append("silero-vad cannot be loaded: utterances found by loudness")
        return detector

    def _take_frame(self, frame: Frame, tracker: FaceTracker) -> None:
        found = tracker.push(frame.time_s, frame.gray)
        for face in found:
            self._neutrals.setdefault(face.track, NeutralFace()).add(face.landmarks)
            self._live_tracks.add(face.track)
        for ended in self._live_tracks - tracker.live:
            self._neutrals[ended].settle()
        self._live_tracks &= tracker.live
        self._faces.add(frame.time_s, found)
        if self._options.sightings:
            self.sightings += [Sighting(face.track, frame.time_s, face.box) for face in found]
        self._seen_s = frame.time_s
        if self._windows is not None and not self._spoken:
            self._waiting += [(s, True) for s in self._windows.push(frame.time_s, bool(found))]

    def _take_sound(self, chunk: SegmentedSound) -> None:
        self._sound.add(chunk.sound.start_s, chunk.sound.samples)
        self._recorded.add(chunk.sound.start_s, chunk.recorded)
        self._heard_s = self._sound.end_s
        self._open_since_s = chunk.open_since_s
        self.silent = self.silent and not chunk.audible and not chunk.segments
        if chunk.segments and not self._spoken:
            self._spoken = True
            self._waiting = [(segment, window) for segment, window in self._waiting if not window]
        self._waiting += [(segment, False) for segment in chunk.segments]

    def _take_damage(self, damage: Damage) -> None:
        stream = {"video": "picture", "audio": "sound", "container": "file"}[damage.stream]
        when = "" if damage.time_s is None else f" at {damage.time_s:.2f} s"
        if self._options.strict:
            raise MediaError(
                f"{self.path}: {stream} damaged{when} ({damage.reason}); repair the file, or leave "
                "out --strict to use what decodes"
            )
        self._damage.setdefault((stream, damage.reason), when)
        self._places[stream, damage.reason] += 1

    def _complete(self, known_s: float) -> Iterator[UtteranceFeatures]:
        """Hand out the waiting utterances that end before ``known_s``."""
        ready = [item for item in self._waiting if item[0].end_s <= known_s]
        if not ready:
            return
        self._waiting = [item for item in self._waiting if item[0].end_s > known_s]
        for segment, window in ready:
            yield from self._features(segment, window)

    def _features(self, segment: Segment, window: bool) -> Iterator[UtteranceFeatures]:
        """One utterance for each face that is chosen in it; one without a face where none is."""
        check = self._options.check
        samples, sound_start_s = self._sound.between(segment.start_s, segment.end_s)
        recorded, _ = self._recorded.between(segment.start_s, segment.end_s)
        audio = audio_features(samples, sound_start_s, self._config.audio)
        rate_hz = self._config.audio.sample_rate_hz
        envelope_s, envelope = sound_envelope(samples, sound_start_s, rate_hz)
        frames, observations = self._faces.between(segment.start_s, segment.end_s)
        heard = None if audio is None or (window and self.silent) else envelope
        chosen = choose_faces(observations, envelope_s, heard, self._options.face)
        audio = None if window else audio  # noise
        checked = audio is not None and check
        quality = voice_quality(samples, recorded) if checked else VoiceQuality()
        audio = None if quality.fault else audio
        self.silent = self.silent and audio is None
        speaker_only = check and audio is not None and self._options.face is FaceChoice.speaking
        tracks: list[int | None] = [*chosen] or [None]
        for track in tracks:
            own = [o for o in observations if o.track == track]
            face, warnings = track_features(own, frames, check=check)
            speaks = window and face is not None and mouth_speaks(own)
            if window and not (speaks or self.silent):
                continue
            if face is not None and track and speaker_only and (face.still() or self._photo(track)):
                face = None
                warnings.append("its mouth never moves: the face is not used")
            if speaker_only and not self._given and speak_in_turn(observations):
                what = "two people speak in turn in it, and one is judged"
                warnings.append(f"{what}; cut it with --utterances")
            if quality.fault:
                warnings.append(f"{quality.fault}: the voice is not used")
            elif quality.doubt:
                warnings.append(quality.doubt)
            elif audio is None and not window:
                warnings.append("no voice is heard in it")
            track = None if face is None else track
            self._yielded[window, speaks] += 1
            yield UtteranceFeatures(segment, track, audio, face, tuple(warnings), window, speaks)

    def _photo(self, track: int) -> bool:
        seen = self.tracks[track - 1]
        return self._neutrals[track].still(seen.end_s - seen.start_s)

    def _forget(self) -> None:
        """Drop sound and faces that no utterance to come can need."""
        needed_s = min((segment.start_s for segment, _ in self._waiting), default=np.inf)
        if self._windows is not None:
            oldest_s = 0.0
            if self._heard_s < np.inf:
                seen_s = self._seen_s if self._seen_s < np.inf else 0.0
                needed_s = min(needed_s, max(self._open_since_s, seen_s - MAX_OPEN_S))
                oldest_s = self._heard_s - MAX_OPEN_S  # the pictures may have ended
            if not self._spoken:
                needed_s = min(needed_s, max(self._windows.open_since_s, oldest_s))
        self._sound.forget(min(needed_s, self._heard_s))
        self._recorded.forget(min(needed_s, self._heard_s))
        self._faces.forget(min(needed_s, self._seen_s))

    def _report(self, completed_s: float, total_s: float | None) -> None:
        if total_s is not None:
            completed_s = min(completed_s, total_s)
        self._on_progress(Progress("analyse", str(self.path), completed_s, total_s))

    def _warn_of_missing(self, has_audio: bool, tracker: FaceTracker | None) -> None:
        """Warn of faces, sound or utterances that the file as a whole lacks."""
        for (stream, reason), when in self._damage.items():
            count = self._places[stream, reason]
            places = f", the first of {count} places" if when and count > 1 else ""
            self.warnings.append(f"{stream}{when}{places}: {reason}")
        unheard = not self._given and not self._spoken
        found = self._yielded[unheard, unheard] + self.silent * self._yielded[unheard, False]
        neither = not found and not self._given and not self.tracks
        if tracker is not None and not self.tracks and not neither:
            judged = ": judged by the voice alone" if found and not self.silent else ""
            least = tracker.search.smallest_px
            small = f" (under {least} pixels none is looked for: crop the video)" if least else ""
            self.warnings.append(f"no face found{small}{judged}")
        if self.silent or (found and unheard):
            what = "the sound is silent" if has_audio else "there is no sound"
            what = what if self.silent else "no speech is heard, but a mouth moves"
            judged = ": judged by the face alone" if found and self.tracks else ""
            how = ", in windows of at most 8 s" if judged and not self._given else ""
            self.warnings.append(f"{what}{judged}{how}")
        if neither:
            self.warnings.append("neither a face nor speech found: no utterances")
        elif not found and not self._given:
            nothing = "no speech found: no utterances; give your own with --utterances"
            self.warnings.append(nothing)


def _reached(heard_s: float, seen_s: float) -> float:
    """Time up to which both streams are known; one that lies too far behind is not waited for."""
    first, second = min(heard_s, seen_s), max(heard_s, seen_s)
    if np.isinf(second):
        return first
    return max(first, second - MAX_LAG_S)


@dataclass(frozen=True, slots=True, eq=False)
class FileFacts:
    """What is known of a file at its end, besides its utterances; small, and without tensors.

    ``silent``: nothing was heard in it; ``neutrals``: the faces at rest [51, 2] of the tracks that
    an utterance has; the others as in :class:`Extraction`.
    """

    source: str
    duration_s: float
    media_tracks: dict[str, tuple[int, ...]]
    tracks: tuple[TrackSummary, ...]
    silent: bool
    neutrals: dict[int, NDArray[np.float32]]
    warnings: tuple[str, ...]
    sightings: tuple[Sighting, ...] = ()


def extract_file(
    path: str | Path,
    config: FeatureConfig,
    take: Callable[[UtteranceFeatures], object],
    options: PredictOptions | None = None,
    on_progress: ProgressHook = ignore_progress,
    detector: SpeechDetector | None = None,
) -> FileFacts:
    """Hand each utterance to ``take`` as soon as its end is known; return the facts of the file.

    ``config``: the features that the model needs; ``detector``: see :class:`Extraction`. Raises
    MediaError if the file cannot be read, BoundariesError if the utterances cannot.
    """
    extraction = Extraction(Path(path), config, options, on_progress, detector=detector)
    tracks: set[int] = set()
    with closing(iter(extraction)) as utterances:
        for utterance in utterances:
            if utterance.track is not None:
                tracks.add(utterance.track)
            take(utterance)
    neutrals = {track: extraction.neutral(track) for track in sorted(tracks)}
    return FileFacts(
        source=str(path),
        duration_s=extraction.duration_s,
        media_tracks=extraction.media_tracks,
        tracks=tuple(extraction.tracks),
        silent=extraction.silent,
        neutrals={track: face for track, face in neutrals.items() if face is not None},
        warnings=tuple(extraction.warnings),
        sightings=tuple(extraction.sightings),
    )
