"""Sound of one stream as continuous samples with exact times, by default 16 kHz mono."""

import contextlib
from collections.abc import Iterator
from typing import Any

import av
import numpy as np

from avsent.extraction.media import events
from avsent.extraction.media.events import SAMPLE_RATE_HZ, Damage, Samples, Sound

CHUNK_SAMPLES = SAMPLE_RATE_HZ // 5
MAX_FILL_SAMPLES = SAMPLE_RATE_HZ
DRIFT_TOLERANCE_S = 0.040
"""How far timestamps may stray from the count of samples before sound is padded or cut: containers
round times to milliseconds, codecs to their frame length."""
CANCELLED, SOUND_AGAIN = 0.1, 0.6
"""Power of the channels' mean over that of the strongest: below the first, channels cancel or
dilute each other, and the strongest is used until the second is reached. Equal channels have 1."""
LEAST_POWER = 1e-10  # -100 dBFS: below, nothing is decided
FADE_SAMPLES = SAMPLE_RATE_HZ // 50  # from one mix to the next, so that nothing clicks


class HighPass:
    """Removes offset, rumble and hum, keeps voices: an elliptic filter of order 5, causal (0.1 dB
    ripple above 80 Hz, -27 dB at 60 Hz, at least -40 dB below 50 Hz). It comes before speech
    detection, checks and features. Takes consecutive chunks; their sizes do not matter."""

    def __init__(self) -> None:
        self._sections: Any = None

    def __call__(self, samples: Samples) -> Samples:
        from scipy import signal  # slow to import

        if not samples.size:
            return samples
        if self._sections is None:
            self._sections = signal.ellip(5, 0.1, 40, 80, "high", fs=SAMPLE_RATE_HZ, output="sos")
            self._state = signal.sosfilt_zi(self._sections) * samples[0]
        filtered, self._state = signal.sosfilt(self._sections, samples, zi=self._state)
        return np.asarray(filtered, np.float32)


class Downmix:
    """Mixes channels to one: their mean, or the strongest one where the mean cancels."""

    def __init__(self) -> None:
        self._used: int | None = None  # the channel in use, None for the mean

    def __call__(self, channels: Samples) -> Samples:
        """The mix [N] of the next stretch ``channels`` [C, N]."""
        mean, before = channels.mean(axis=0), self._used
        powers = channels.var(axis=1)  # without the offset
        strongest = int(powers.argmax())
        if powers[strongest] > LEAST_POWER:
            share = mean.var() / powers[strongest]
            if share >= (CANCELLED if before is None else SOUND_AGAIN):
                self._used = None
            elif before is None or powers[before] < CANCELLED * powers[strongest]:
                self._used = strongest
        last = mean if before is None else channels[before]
        mix: Samples = mean if self._used is None else channels[self._used]
        if before == self._used:
            return mix
        fade = np.minimum(np.arange(mix.size, dtype=np.float32) / FADE_SAMPLES, 1)
        return np.asarray(last + fade * (mix - last), np.float32)


class SoundTrack:
    """Decodes, resamples and joins the packets of one sound stream.

    Positions are counted in samples from the first one, so consecutive chunks join exactly. They
    follow the stream's timestamps: zeros fill a hole, an overlap is cut, an absurd jump is
    reported and removed. ``layout``: yield all channels of this layout [channels, N], not mono [N].
    """

    def __init__(
        self, stream: Any, origin_s: float, rate_hz: int = SAMPLE_RATE_HZ, layout: str | None = None
    ) -> None:
        self._stream, self._rate_hz, self._layout = stream, rate_hz, layout
        self._clock = events.StreamClock(origin_s)
        self._log = events.DamageLog("audio")
        self._resampler: av.AudioResampler | None = None
        self._setup: tuple[str, int, int] | None = None
        self._start_s: float | None = None  # of the first sample
        self._delivered = 0  # samples given out
        self._held: list[Samples] = []  # resampled, not yet given out
        self._held_samples = 0
        channels = () if layout is None else (av.AudioLayout(layout).nb_channels,)
        self._channels: tuple[int, ...] = channels  # leading axis of the samples
        self._mix = Downmix()
        self._cut = 0  # samples still to be dropped after an overlap
        self._silence_left_s = events.MAX_SILENCE_S
        self._anchor_s = 0.0  # time of the last anchor, and length of the sound fed since then
        self._fed_s = 0.0

    @property
    def position_s(self) -> float | None:
        """End of the sound decoded so far, None before the first sample."""
        return None if self._start_s is None else self._anchor_s + self._fed_s

    def feed(self, packet: Any, other_s: float | None) -> Iterator[Sound | Damage]:
        """Decode one packet; ``other_s`` is the position of the picture, if there is one."""
        if packet.is_corrupt:
            yield from self._log.failed(self.position_s, "bytes of the sound are missing")
        try:
            frames = self._stream.decode(packet)
        except (av.FFmpegError, ValueError):
            yield from self._log.failed(self.position_s, "a stretch of sound does not decode")
            return
        for frame in frames:
            yield from self._add(frame, other_s)

    def finish(self) -> Iterator[Sound | Damage]:
        """Yield what decoder, resampler and chunker still hold."""
        try:
            frames = self._stream.decode(None)
        except (av.FFmpegError, ValueError):
            frames = []
        for frame in frames:
            if frame.time_base is None:  # PyAV leaves it out when it drains the decoder
                frame.time_base = self._stream.time_base
            yield from self._add(frame, None)
        self._flush_resampler()
        yield from self._chunks(everything=True)

    def _add(self, frame: av.AudioFrame, other_s: float | None) -> Iterator[Sound | Damage]:
        if not frame.samples or not frame.sample_rate:
            return
        if frame.is_corrupt:
            yield from self._log.failed(self.position_s, "a stretch of sound is damaged")
        else:
            self._log.recovered()
        if events.impossible_sound(frame.sample_rate, frame.layout.nb_channels):
            yield from self._log.failed(self.position_s, "the sound cannot be resampled")
            return
        yield from self._anchor(frame, other_s)
        setup = (frame.format.name, frame.layout.nb_channels, frame.sample_rate)
        if setup != self._setup:
            self._flush_resampler()
            yield from self._chunks(everything=True)
            self._setup, self._mix = setup, Downmix()
        try:
            resampled = self._resampler_for(frame).resample(frame)
        except (av.FFmpegError, ValueError):
            # Not counted as fed: zeros fill the hole before the next timestamp.
            self._resampler = None
            yield from self._log.failed(self.position_s, "the sound cannot be resampled")
            return
        self._fed_s += frame.samples / frame.sample_rate
        self._silence_left_s += events.SILENCE_SHARE * frame.samples / frame.sample_rate
        self._hold(resampled)
        yield from self._chunks(everything=False)

    def _anchor(self, frame: av.AudioFrame, other_s: float | None) -> Iterator[Sound | Damage]:
        """Bring the count of samples in line with the timestamp of ``frame``."""
        expected_s, base = self.position_s, frame.time_base
        raw_s = events.seconds(frame.pts, base) if frame.pts is not None and base else None
        if expected_s is None:
            began_s = 0.0 if raw_s is None else self._clock.time_s(raw_s)
            time_s = self._clock.begin(began_s)
            if time_s < began_s or self._clock.jumped(time_s, max(time_s, 0.0), None):
                yield from self._log.failed(0.0, "the sound begins at an impossible time")
                time_s = 0.0
            # Codec delay may put the first samples before zero; they are not presented.
            self._start_s = max(time_s, 0.0)
            self._cut = round((self._start_s - time_s) * self._rate_hz)
            self._anchor_s = time_s
            return
        if raw_s is None:
            return
        time_s = self._clock.time_s(raw_s)
        if self._clock.jumped(time_s, expected_s, other_s):
            yield from self._log.failed(expected_s, "the clock of the sound jumps")
            return
        hole_s = time_s - expected_s
        if abs(hole_s) <= DRIFT_TOLERANCE_S:
            return
        if hole_s > self._silence_left_s:
            self._clock.shift(-hole_s)
            yield from self._log.failed(expected_s, "more sound is missing than can be believed")
            return
        self._silence_left_s -= max(0.0, hole_s)
        self._flush_resampler()
        assert self._start_s is not None
        due = round((time_s - self._start_s) * self._rate_hz)
        missing = due - self._delivered - self._held_samples
        self._cut = max(0, -missing)
        self._anchor_s, self._fed_s = time_s, 0.0
        if missing > 0:
            yield from self._chunks(everything=True)
            for begin in range(0, missing, MAX_FILL_SAMPLES):
                part = min(missing - begin, MAX_FILL_SAMPLES)
                yield self._deliver(np.zeros((*self._channels, part), np.float32))

    def _resampler_for(self, frame: av.AudioFrame) -> av.AudioResampler:
        if self._resampler is None:
            # All channels are kept: FFmpeg's own mix is louder for float codecs than for integer
            # ones, and drops a fourth channel without a name as a subwoofer.
            usual = {1: "mono", 2: "stereo"}.get(frame.layout.nb_channels, frame.layout)
            layout: Any = self._layout or usual
            # "flt", packed: PyAV crashes at eight planes or more.
            self._resampler = av.AudioResampler(format="flt", layout=layout, rate=self._rate_hz)
        return self._resampler

    def _flush_resampler(self) -> None:
        if self._resampler is not None:
            # An error here only means that nothing was left in it.
            with contextlib.suppress(av.FFmpegError, ValueError):
                self._hold(self._resampler.resample(None))
            self._resampler = None

    def _hold(self, frames: list[av.AudioFrame]) -> None:
        for frame in frames:
            if frame is None:  # flushing a resampler that had nothing to do
                continue
            packed: Any = frame.to_ndarray()
            samples = packed.reshape(-1, frame.layout.nb_channels).T
            dropped = min(self._cut, samples.shape[-1])
            self._cut -= dropped
            samples = samples[..., dropped:]
            if not samples.size:
                continue
            # Float formats can hold NaN, and one would spoil a whole spectrogram.
            samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
            self._held.append(np.array(samples, np.float32))
            self._held_samples += samples.shape[-1]

    def _chunks(self, *, everything: bool) -> Iterator[Sound]:
        if self._held_samples < CHUNK_SAMPLES and not (everything and self._held):
            return
        joined = np.concatenate(self._held, axis=-1)
        count = joined.shape[-1]
        whole = count if everything else count // CHUNK_SAMPLES * CHUNK_SAMPLES
        self._held = [joined[..., whole:].copy()] if whole < count else []
        self._held_samples = count - whole
        for begin in range(0, whole, CHUNK_SAMPLES):
            part = joined[..., begin : min(begin + CHUNK_SAMPLES, whole)]
            yield self._deliver(part if self._layout else self._mix(part))

    def _deliver(self, samples: Samples) -> Sound:
        assert self._start_s is not None
        start_s = self._start_s + self._delivered / self._rate_hz
        self._delivered += samples.shape[-1]
        return Sound(start_s, samples)
