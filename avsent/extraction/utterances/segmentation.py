"""Cuts a stream of sound, or of pictures, into utterances.

A segmenter takes chunks of any size (it makes no difference to the result), returns each segment
as soon as it is final, and keeps only the open stretch: memory does not grow with the file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avsent.extraction.media.events import SAMPLE_RATE_HZ
from avsent.extraction.utterances.voice_activity import (
    FRAME_S,
    FRAME_SAMPLES,
    Samples,
    SpeechDetector,
    default_detector,
    power,
)

# Frames (1 s) judged together, which is cheaper. Batches are counted from the start of the stream,
# so the sizes of the chunks change no bit of the result.
BATCH_FRAMES = 32

START_PROBABILITY = 0.5  # speech begins with a frame at least this likely to be speech …
END_PROBABILITY = 0.35  # … and ends with the first one less likely than this
PAD_S = 0.06  # soft onsets and endings lie just outside what the detector reports
MERGE_GAP_S = 0.3
MIN_UTTERANCE_S = 0.25
MAX_UTTERANCE_S = 15.0
SPLIT_FROM_S, SPLIT_TO_S = 4.0, 11.0  # after the start; both parts have at least 3.9 s
SMOOTHING_FRAMES = 9  # 0.29 s: finds the middle of a pause, not a quiet frame inside a word
SILENCE_FLOOR_DB = -60.0  # dBFS, RMS of a frame; sound without a louder frame is silent

MAX_WINDOW_S = 8.0
WINDOW_TAIL_S = 1.0  # no shorter window is left at the end: the last two are halves instead
FACE_GAP_S = 1.0  # longest gap (a turned head, a missed frame) that does not end a window
PICTURE_S = 0.04  # longest duration assumed for the last picture


@dataclass(frozen=True, slots=True)
class Segment:
    """Start and end of an utterance, ``start_s < end_s``, and its text where known."""

    start_s: float
    end_s: float
    text: str | None = None


class SilenceMeter:
    """Tells whether any frame (32 ms) of a stream of sound is louder than ``SILENCE_FLOOR_DB``."""

    def __init__(self) -> None:
        self.heard = False
        self._rest: Samples = np.zeros(0, np.float32)  # less than a frame

    def push(self, samples: Samples) -> None:
        """Take the next samples [N], 16 kHz mono, full scale ±1."""
        sound = np.concatenate([self._rest, samples])
        frames = sound[: sound.size - sound.size % FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
        self._rest = sound[frames.size :].copy()  # a view would keep all of ``sound``
        self._measure(frames)

    def flush(self) -> None:
        """End the stream; its last frame may be short."""
        if self._rest.size:
            self._measure(self._rest[None])
            self._rest = self._rest[:0]

    def _measure(self, frames: Samples) -> None:
        loudest = power(frames).max(initial=0.0)
        self.heard = self.heard or bool(loudest > 10 ** (SILENCE_FLOOR_DB / 10))


class SpeechSegmenter:
    """Cuts a stream of sound into utterances by the detector's probability, with hysteresis.

    Gaps under ``MERGE_GAP_S`` are merged; both ends are padded by up to ``PAD_S``, which leaves
    no gap shorter than that; stretches over ``MAX_UTTERANCE_S`` are split at their quietest
    point; those with less than ``MIN_UTTERANCE_S`` of speech are dropped.
    """

    def __init__(self, detector: SpeechDetector | None = None) -> None:
        self._detector = detector or default_detector()
        self._silence = SilenceMeter()
        self._restart(0.0)

    def _restart(self, origin_s: float) -> None:
        self._detector.reset()
        self._origin_s = origin_s
        self._received = 0  # samples since the origin
        self._rest: Samples = np.zeros(0, np.float32)  # samples that do not yet fill a batch
        self._frames = 0  # frames judged since the origin
        self._speaking = False
        self._first: int | None = None  # frame that begins the open stretch, if one is open …
        self._end = -FRAME_SAMPLES  # … the one after its last speech (none yet: long ago) …
        self._start_s = origin_s  # … its padded start …
        self._powers: list[float] = []  # … and the power of each frame from its first on

    @property
    def open_since_s(self) -> float:
        """The earliest time at which a segment still to come may start (0.0 at first)."""
        if self._first is not None:
            return self._start_s
        return max(self._time_s(self._frames) - PAD_S, self._origin_s)

    @property
    def heard(self) -> bool:
        """Whether the sound so far is more than silence."""
        return self._silence.heard

    def push(self, start_s: float, samples: Samples) -> list[Segment]:
        """Take the next chunk; return the segments that became final, in order.

        ``samples``: float32 [N], 16 kHz mono, full scale ±1; NaN and infinity count as 0.
        ``start_s``: time of the first chunk; the others follow without a hole.
        Raises ``ValueError`` for an array that is not 1-D.
        """
        final: list[Segment] = []
        if not self._received:
            self._restart(start_s)
        clean = np.nan_to_num(samples.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        clean = clean.clip(-1, 1)
        self._silence.push(clean)
        clean = np.concatenate([self._rest, clean])
        self._received += samples.size
        whole = clean.size - clean.size % (BATCH_FRAMES * FRAME_SAMPLES)
        for batch in clean[:whole].reshape(-1, BATCH_FRAMES, FRAME_SAMPLES):
            self._judge(batch, power(batch), final)
        self._rest = clean[whole:].copy()
        return final

    def flush(self) -> list[Segment]:
        """End the stream; return what was still open. A later push begins a new stream."""
        final: list[Segment] = []
        self._silence.flush()
        if self._rest.size:
            padded = np.pad(self._rest, (0, -self._rest.size % FRAME_SAMPLES))
            frames = padded.reshape(-1, FRAME_SAMPLES)
            powers = power(frames)
            # Without the padding of the last frame
            powers[-1] = power(self._rest[(len(frames) - 1) * FRAME_SAMPLES :])
            self._judge(frames, powers, final)
        self._close(PAD_S, final)
        self._restart(self._now_s)
        return final

    @property
    def _now_s(self) -> float:
        return self._origin_s + self._received / SAMPLE_RATE_HZ

    def _time_s(self, frame: int) -> float:
        return self._origin_s + frame * FRAME_S

    def _judge(self, frames: Samples, powers: NDArray[np.float64], final: list[Segment]) -> None:
        """Judge the next frames [F, FRAME_SAMPLES], whose powers [F] are given."""
        probabilities = self._detector.probabilities(frames)
        for probability, level in zip(probabilities, powers.tolist(), strict=True):
            self._take(probability, level, final)

    def _take(self, probability: float, level: float, final: list[Segment]) -> None:
        least = END_PROBABILITY if self._speaking else START_PROBABILITY
        self._speaking = probability >= least
        if self._speaking:
            gap_s = (self._frames - self._end) * FRAME_S
            if gap_s >= MERGE_GAP_S:
                pad_s = min(PAD_S, (gap_s - MERGE_GAP_S) / 2)
                self._close(pad_s, final)
                self._first = self._frames
                self._start_s = max(self._time_s(self._frames) - pad_s, self._origin_s)
            self._end = self._frames + 1
        self._frames += 1
        if self._first is None:
            return
        self._powers.append(level)
        # Only after such a gap can the next stretch no longer shorten this one's padding.
        if (self._frames - self._end) * FRAME_S >= MERGE_GAP_S + 2 * PAD_S:
            self._close(PAD_S, final)
        elif self._time_s(self._end) - self._start_s > MAX_UTTERANCE_S:
            self._split(self._first, final)

    def _split(self, first: int, final: list[Segment]) -> None:
        """Cut the open stretch, from frame ``first``, at its quietest point; keep the rest."""
        smooth = np.convolve(self._powers, np.hanning(SMOOTHING_FRAMES + 2), mode="same")
        low, high = round(SPLIT_FROM_S / FRAME_S), round(SPLIT_TO_S / FRAME_S)
        cut = low + int(smooth[low:high].argmin())
        cut_s = self._time_s(first + cut)
        final.append(Segment(self._start_s, cut_s))
        self._first, self._start_s = first + cut, cut_s
        del self._powers[:cut]

    def _close(self, pad_s: float, final: list[Segment]) -> None:
        if self._first is None:
            return
        # The last frame of the stream may be padded beyond the end of the sound.
        speech_end_s = min(self._time_s(self._end), self._now_s)
        end_s = min(speech_end_s + pad_s, self._now_s, self._start_s + MAX_UTTERANCE_S)
        if speech_end_s - self._time_s(self._first) >= MIN_UTTERANCE_S:
            final.append(Segment(self._start_s, end_s))
        self._first = None
        self._powers.clear()


class WindowSegmenter:
    """For files without sound: cuts the time in which a face is seen into windows."""

    def __init__(self) -> None:
        self._open: tuple[float, float] | None = None  # from when to when a face was seen
        self._seen_s = self._now_s = -math.inf  # the newest picture with a face, the newest

    @property
    def open_since_s(self) -> float:
        """The earliest time at which a window still to come may start (0.0 at first)."""
        return self._open[0] if self._open else max(self._now_s, 0.0)

    def push(self, time_s: float, face_seen: bool) -> list[Segment]:
        """Take the next picture; return the windows that became final, in order."""
        final: list[Segment] = []
        if not self._now_s < time_s < math.inf:
            return final  # out of order, or no time at all
        if self._open and time_s - self._seen_s > FACE_GAP_S:
            final += self.flush()
        elif self._open and self._seen_s == self._now_s:
            self._open = (self._open[0], time_s)
        if face_seen:
            start_s = self._open[0] if self._open else time_s
            if time_s - start_s >= MAX_WINDOW_S + WINDOW_TAIL_S:
                final.append(Segment(start_s, start_s + MAX_WINDOW_S))
                start_s += MAX_WINDOW_S
            self._open = (start_s, time_s + min(time_s - self._now_s, PICTURE_S))
            self._seen_s = time_s
        self._now_s = time_s
        return final

    def flush(self) -> list[Segment]:
        """End the stream; return what was still open."""
        if self._open is None:
            return []
        (start_s, end_s), self._open = self._open, None
        if end_s - start_s <= MAX_WINDOW_S + PICTURE_S:
            return [Segment(start_s, min(end_s, start_s + MAX_WINDOW_S))]
        middle_s = (start_s + end_s) / 2
        return [Segment(start_s, middle_s), Segment(middle_s, end_s)]
