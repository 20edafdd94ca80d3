"""Cuts a stream of sound, or of pictures, into utterances; sound by the probability of speech.

A segmenter takes chunks of any size (it makes no difference to the result), returns each segment
as soon as it is final, and keeps only the open stretch: memory does not grow with the file.
"""

from __future__ import annotations

import errno
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from avsent.extraction.media.events import SAMPLE_RATE_HZ, Samples
from avsent.machine import one_torch_thread

if TYPE_CHECKING:
    from torch import Tensor

FRAME_SAMPLES = 512  # the only length that silero-vad takes at 16 kHz
FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ


class SpeechDetector(Protocol):
    """Judges the frames of a stream. Holds state: one stream at a time."""

    name: ClassVar[str]

    def reset(self) -> None:
        """Begin a new stream."""

    def probabilities(self, frames: Samples) -> list[float]:
        """Probability (0..1) of speech in each of the next F ≥ 1 ``frames``, float32
        [F, FRAME_SAMPLES]."""


class SileroSpeechDetector:
    """The silero-vad network with the weights in its wheel. Raises what loading raises."""

    name: ClassVar[str] = "silero"

    def __init__(self) -> None:
        # The import sets torch to one thread for good; loading uses deprecated TorchScript.
        with one_torch_thread(), warnings.catch_warnings():
            message = ".*torch.jit.load.*|path is deprecated.*"
            warnings.filterwarnings("ignore", message, DeprecationWarning)
            from silero_vad import load_silero_vad

            model = load_silero_vad()
        with _torch_for_small_input():
            self._network = fastest_network(model)

    def reset(self) -> None:
        self._network.reset()

    def probabilities(self, frames: Samples) -> list[float]:
        import torch

        with _torch_for_small_input():
            return self._network.probabilities(torch.from_numpy(frames)).tolist()


class FramewiseNetwork:
    """silero-vad as its wheel offers it: one call for each frame."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def reset(self) -> None:
        self._model.reset_states()

    def probabilities(self, frames: Tensor) -> Tensor:
        import torch

        return torch.cat([self._model(frame, SAMPLE_RATE_HZ).flatten() for frame in frames])


class BatchedNetwork:
    """The modules of silero-vad, called once for all frames: eight times as fast.

    Each frame is encoded independently, with a little sound before it; only the LSTM after the
    encoder runs from frame to frame. Raises anything if the modules are different.
    """

    def __init__(self, model: Any) -> None:
        import torch

        self._modules = model._model
        self._context = int(self._modules.context_size_samples)
        cell = dict(self._modules.decoder.rnn.named_parameters())
        self._lstm = torch.nn.LSTM(cell["weight_ih"].shape[1], cell["weight_hh"].shape[1])
        self._lstm.load_state_dict({f"{name}_l0": weights for name, weights in cell.items()})
        self.reset()

    def reset(self) -> None:
        import torch

        self._before = torch.zeros(self._context)
        self._state: tuple[Tensor, Tensor] | None = None

    def probabilities(self, frames: Tensor) -> Tensor:
        import torch

        sound = torch.cat([self._before, frames.flatten()])
        self._before = sound[-self._context :].clone()  # a view would keep all of ``sound``
        length = frames.shape[1]
        spectra = self._modules.run_extractors(sound.unfold(0, self._context + length, length))
        hidden, self._state = self._lstm(self._modules.encoder(spectra).squeeze(-1), self._state)
        head: Tensor = self._modules.decoder.decoder(hidden.unsqueeze(-1))
        return head.mean(dim=(1, 2))


def fastest_network(model: Any) -> FramewiseNetwork | BatchedNetwork:
    """The batched network if its output on a test sound is that of ``model``, else frame by frame.

    The modules of ``model`` are not public: another version of silero-vad may have different ones.
    """
    import torch

    framewise = FramewiseNetwork(model)
    # Humming in pulses, 0.4 s: the probabilities range from 0.08 to 0.84.
    time_s = np.arange(12 * FRAME_SAMPLES) / SAMPLE_RATE_HZ
    hum = sum(np.sin(2 * math.pi * 90 * k * time_s) / k for k in range(1, 8))
    pulses = 0.3 * hum * np.abs(np.sin(2 * math.pi * 3 * time_s))
    frames = torch.from_numpy(pulses.astype(np.float32)).view(-1, FRAME_SAMPLES)
    framewise.reset()
    expected = framewise.probabilities(frames)
    framewise.reset()
    try:
        batched = BatchedNetwork(model)
        found = torch.cat([batched.probabilities(part) for part in (frames[:8], frames[8:])])
        largest_error = float((found - expected).abs().max())
        batched.reset()
    except Exception:  # whatever another version lacks, calls frame by frame work
        return framewise
    return batched if largest_error <= 1e-4 else framewise


@contextmanager
def _torch_for_small_input() -> Iterator[None]:
    """Run torch without threads, gradients and TorchScript's optimiser, which cost time here. The
    optimiser takes 60 ms at the first frames; some versions of torch lack it."""
    import torch

    optimised = getattr(torch.jit, "optimized_execution", nullcontext)
    with one_torch_thread(), torch.inference_mode(), optimised(False):
        yield


class EnergySpeechDetector:
    """The fallback: speech is louder than the background and not flat noise."""

    name: ClassVar[str] = "energy"
    QUIET_DB = -60.0  # dBFS; anything below is never speech
    FIRST_BACKGROUND_DB = -30.0  # dBFS; assumed until the sound falls lower
    RISE_DB_PER_S = 2.0  # how fast the background follows a rise; it follows a fall at once
    CONTRAST_DB = 12.0  # above the background, where speech has a probability of 0.5
    MAX_FLATNESS = 0.35  # spectral flatness: voices are below 0.2, white noise is at 0.56

    _background_db = FIRST_BACKGROUND_DB

    def reset(self) -> None:
        self._background_db = self.FIRST_BACKGROUND_DB

    def probabilities(self, frames: Samples) -> list[float]:
        return [self._probability(frame) for frame in frames]

    def _probability(self, frame: Samples) -> float:
        # The first difference suppresses rumble and hum.
        level_db = 10 * math.log10(float(power(np.diff(frame))) + 1e-12)
        risen_db = self._background_db + self.RISE_DB_PER_S * FRAME_S
        self._background_db = max(min(level_db, risen_db), self.QUIET_DB)
        spectrum = np.abs(np.fft.rfft(frame * np.hanning(frame.size)))[1:] ** 2 + 1e-12
        flatness = float(np.exp(np.log(spectrum).mean()) / spectrum.mean())
        if level_db <= self.QUIET_DB or flatness > self.MAX_FLATNESS:
            return 0.0
        excess_db = level_db - self._background_db - self.CONTRAST_DB
        return 1 / (1 + math.exp(-excess_db / 3))


def default_detector() -> SpeechDetector:
    """silero-vad, or the energy-based fallback (see ``name``) if it cannot be loaded. Raises
    MemoryError where memory lacks: with the fallback, a batch would silently keep a poorer
    result."""
    try:
        return SileroSpeechDetector()
    except MemoryError:
        raise
    except Exception as error:  # another version may fail in any way
        if _out_of_memory(error):
            raise MemoryError("not enough memory to load silero-vad") from error
        return EnergySpeechDetector()


def _out_of_memory(error: BaseException | None) -> bool:
    """Whether ``error`` or a cause of it is lack of memory: torch raises RuntimeError for it, the
    loader of libraries OSError."""
    while error is not None:
        text = str(error).lower()
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        if "not enough memory" in text or "cannot allocate memory" in text:
            return True
        error = error.__cause__ or error.__context__
    return False


def power(samples: Samples) -> NDArray[np.float64]:
    """Mean square of ``samples`` [..., N], N ≥ 1, over N; full scale is 1."""
    return np.asarray(np.square(samples, dtype=np.float64).mean(axis=-1))


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
SILENCE_POWER = 10 ** (-60.0 / 10)  # -60 dBFS; sound without a louder frame is silent
LEVEL_PERCENTILE = 75.0  # of the powers in a batch: speech raises its level, a click does not
ORDINARY_POWER = 10 ** (-45.0 / 10)  # of the loudest batch: quieter recordings are amplified …
MOST_GAIN = 10 ** (40.0 / 20)  # … for the detector alone, to that level, by 40 dB at most

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


class SpeechSegmenter:
    """Cuts a stream of sound into utterances by the detector's probability, with hysteresis.

    Gaps under ``MERGE_GAP_S`` are merged; both ends are padded by up to ``PAD_S``, which leaves
    no gap shorter than that; stretches over ``MAX_UTTERANCE_S`` are split at their quietest
    point; those with less than ``MIN_UTTERANCE_S`` of speech are dropped. ``detector``: None to
    look for nothing but silence.
    """

    def __init__(self, detector: SpeechDetector | None) -> None:
        self._detector = detector
        self.heard = False  # whether the sound so far is more than silence
        self._restart(0.0)

    def _restart(self, origin_s: float) -> None:
        if self._detector is not None:
            self._detector.reset()
        self._origin_s = origin_s
        self._received = 0  # samples since the origin
        self._rest: Samples = np.zeros(0, np.float32)  # samples that do not yet fill a batch
        self._frames = 0  # frames judged since the origin
        self._loudest = 0.0  # power of the loudest batch of these
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
        clean = np.concatenate([self._rest, clean.clip(-1, 1)])
        self._received += samples.size
        frames = clean[: clean.size - clean.size % FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
        self.heard = self.heard or _is_sound(power(frames))
        whole = clean.size - clean.size % (BATCH_FRAMES * FRAME_SAMPLES)
        for batch in clean[:whole].reshape(-1, BATCH_FRAMES, FRAME_SAMPLES):
            self._judge(batch, power(batch), final)
        self._rest = clean[whole:].copy()
        return final

    def flush(self) -> list[Segment]:
        """End the stream; return what was still open. A later push begins a new stream."""
        final: list[Segment] = []
        if self._rest.size:
            padded = np.pad(self._rest, (0, -self._rest.size % FRAME_SAMPLES))
            frames = padded.reshape(-1, FRAME_SAMPLES)
            powers = power(frames)
            # Without the padding of the last frame
            powers[-1] = power(self._rest[(len(frames) - 1) * FRAME_SAMPLES :])
            self.heard = self.heard or _is_sound(powers)
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
        detector = self._detector
        self._loudest = max(self._loudest, float(np.percentile(powers, LEVEL_PERCENTILE)))
        if self._loudest < ORDINARY_POWER:
            gain = min((ORDINARY_POWER / max(self._loudest, 1e-20)) ** 0.5, MOST_GAIN)
            frames = (frames * np.float32(gain)).clip(-1, 1)
        probabilities = [0.0] * len(frames) if detector is None else detector.probabilities(frames)
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


def _is_sound(powers: NDArray[np.float64]) -> bool:
    return bool(powers.max(initial=0.0) > SILENCE_POWER)


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
