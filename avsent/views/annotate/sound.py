"""The sound on its way into the new file: copied as it is, or encoded where that is refused."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Protocol

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import OutputContainer

from avsent.extraction.media.events import StreamClock, seconds

_COPIED = {
    "mp4": frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "alac", "opus", "flac"}),
    "matroska": frozenset(
        (
            *("aac", "mp3", "mp3float", "ac3", "eac3", "alac", "opus", "flac", "vorbis", "mp2"),
            *("mp2float", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "dca", "truehd"),
        )
    ),
}
"""What players take in these containers, by FFmpeg's names of the decoders."""

_AAC_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_AAC_LAYOUTS = frozenset({"mono", "stereo", "5.1", "7.1"})
_BITS_PER_CHANNEL = 80_000
_BEFORE_START_S = 0.1  # the decoder wants a little sound from before the start
_DRIFT_TOLERANCE_S = 0.040
_MAX_SILENCE_S = 1.0


class SoundSink(Protocol):
    """Takes the packets of the source's sound stream."""

    @property
    def position_s(self) -> float | None:
        """Latest presentation time taken, None before the first."""

    def feed(self, packet: Any, other_s: float | None) -> None:
        """Take a packet; ``other_s`` is the position of the picture. Raises av.FFmpegError where
        it cannot be written; what cannot be read is left out."""

    def finish(self) -> None:
        """Write what is still held."""


def sound_into(out: OutputContainer, stream: Any, origin_s: float) -> SoundSink:
    """The way for ``stream`` into ``out``; the origin of its clock becomes 0."""
    if stream.codec_context.name in _COPIED[out.format.name]:
        return CopiedSound(out, stream, origin_s)
    return EncodedSound(out, stream, origin_s)


class CopiedSound:
    """Packets as they are, with times from the origin; nothing is lost or coded twice."""

    def __init__(self, out: OutputContainer, stream: Any, origin_s: float) -> None:
        self._out = out
        self._copy = out.add_stream_from_template(stream)
        self._clock = StreamClock(origin_s)
        self._end_s: float | None = None
        self._last_dts: int | None = None

    @property
    def position_s(self) -> float | None:
        return self._end_s

    def feed(self, packet: Any, other_s: float | None) -> None:
        base = packet.time_base
        stamp = packet.pts if packet.pts is not None else packet.dts
        if packet.is_corrupt or stamp is None or not base:
            return
        time_s = self._clock.time_s(seconds(stamp, base))
        length_s = seconds(packet.duration or 0, base)
        if self._end_s is not None and self._clock.jumped(time_s, self._end_s, other_s):
            time_s = self._end_s
        if time_s + length_s < -_BEFORE_START_S:
            return
        self._end_s = max(self._end_s or 0.0, time_s + length_s)
        packet.pts = packet.dts = round(time_s / base)
        if self._last_dts is not None and packet.dts <= self._last_dts:
            return  # a second time for the same moment: the container would refuse it
        self._last_dts = packet.dts
        packet.stream = self._copy
        self._out.mux(packet)

    def finish(self) -> None:
        """There is nothing held."""


class EncodedSound:
    """Sound that the container does not take, as AAC of the same rate and channels."""

    def __init__(self, out: OutputContainer, stream: Any, origin_s: float) -> None:
        self._out = out
        self._stream = stream
        self._clock = StreamClock(origin_s)
        given_hz = stream.codec_context.sample_rate or _AAC_RATES_HZ[-1]
        higher = [rate for rate in _AAC_RATES_HZ if rate >= given_hz]
        self._rate_hz = min(higher, default=_AAC_RATES_HZ[-1])
        layout = stream.codec_context.layout
        self._layout = layout.name if layout.name in _AAC_LAYOUTS else "stereo"
        self._encoder: Any = out.add_stream("aac", rate=self._rate_hz, layout=self._layout)
        self._encoder.bit_rate = _BITS_PER_CHANNEL * self._encoder.layout.nb_channels
        self._resampler = AudioResampler("fltp", self._layout, self._rate_hz)
        self._next: int | None = None  # sample due, from the origin

    @property
    def position_s(self) -> float | None:
        return None if self._next is None else self._next / self._rate_hz

    def feed(self, packet: Any, other_s: float | None) -> None:
        for frame in self._decode(packet):
            self._add(frame, other_s)

    def finish(self) -> None:
        for frame in self._decode(None):
            self._add(frame, None)
        self._write(self._resample(None))
        self._out.mux(self._encoder.encode(None))

    def _decode(self, packet: Any) -> list[AudioFrame]:
        try:
            frames: list[AudioFrame] = self._stream.decode(packet)
        except (av.FFmpegError, ValueError):
            return []
        return frames

    def _add(self, frame: AudioFrame, other_s: float | None) -> None:
        base = frame.time_base or self._stream.time_base
        if frame.pts is not None and base:
            time_s = self._clock.time_s(seconds(frame.pts, base))
            position_s = self.position_s
            if position_s is not None and self._clock.jumped(time_s, position_s, other_s):
                time_s = position_s
            if position_s is None:
                self._next = round(time_s * self._rate_hz)
            elif time_s - position_s > _DRIFT_TOLERANCE_S:
                self._write(self._resample(None))
                self._be_silent(round(time_s * self._rate_hz))
            elif position_s - time_s > max(_DRIFT_TOLERANCE_S, frame.samples / frame.sample_rate):
                return  # heard already
        frame.pts = None
        self._write(self._resample(frame))

    def _resample(self, frame: AudioFrame | None) -> list[AudioFrame]:
        try:
            ready = self._resampler.resample(frame)
        except (av.FFmpegError, ValueError):  # another rate or layout from here on
            self._resampler = AudioResampler("fltp", self._layout, self._rate_hz)
            return [] if frame is None else self._resampler.resample(frame)
        if frame is None:  # a drained resampler takes nothing more
            self._resampler = AudioResampler("fltp", self._layout, self._rate_hz)
        return ready

    def _be_silent(self, until: int) -> None:
        """Fill a hole with silence, so that what follows stays in time."""
        while self._next is not None and self._next < until:
            samples = min(until - self._next, round(_MAX_SILENCE_S * self._rate_hz))
            channels = self._encoder.layout.nb_channels
            quiet = np.zeros((channels, samples), np.float32)
            frame = AudioFrame.from_ndarray(quiet, format="fltp", layout=self._layout)
            frame.sample_rate = self._rate_hz
            self._write([frame])

    def _write(self, frames: list[AudioFrame]) -> None:
        for frame in frames:
            self._next = self._next or 0
            frame.pts, frame.time_base = self._next, Fraction(1, self._rate_hz)
            self._next += frame.samples
            self._out.mux(self._encoder.encode(frame))
