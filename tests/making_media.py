"""Small media files, and streams of frames made up in memory, for the tests of avsent.media."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np

MS = Fraction(1, 1000)
RATE_HZ = 48_000


def write_video(path: Path, times_ms: list[int], codec: str = "mpeg4") -> Path:
    """Pictures of 64x32 pixels: the top left quarter white, the rest dark."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        stream.codec_context.time_base = MS
        for number, time_ms in enumerate(times_ms):
            picture = np.full((32, 64, 3), 20 + 3 * (number % 9), np.uint8)
            picture[:16, :32] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time_ms, MS
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def tone(seconds: float, onset_s: float = 0.0, rate_hz: int = RATE_HZ) -> np.ndarray:
    """A sine of 440 Hz and amplitude 0.5, silent before ``onset_s``: float32 [n]."""
    time = np.arange(int(seconds * rate_hz)) / rate_hz
    return np.where(time >= onset_s, 0.5 * np.sin(2 * np.pi * 440 * time), 0).astype(np.float32)


def sound_frames(
    samples: np.ndarray, starts_s: list[float], rate_hz: int = RATE_HZ, layout: str = "mono"
) -> list[av.AudioFrame]:
    """``samples`` [n] cut evenly into frames that begin at the given times."""
    channels = 1 if layout == "mono" else 2
    frames = []
    for part, start_s in zip(np.array_split(samples, len(starts_s)), starts_s, strict=True):
        both = np.repeat(part[None], channels, axis=0)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(both, dtype=np.float32), format="fltp", layout=layout
        )
        frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
        frame.pts = round(start_s * rate_hz)
        frames.append(frame)
    return frames


def write_sound(path: Path, samples: np.ndarray, codec: str, layout: str = "mono") -> Path:
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=RATE_HZ, layout=layout)
        stream.format = stream.codec.audio_formats[0]
        resampler = av.AudioResampler(stream.format, layout, RATE_HZ)
        starts_s = [i * len(samples) / RATE_HZ / 10 for i in range(10)]
        for frame in sound_frames(samples, starts_s, layout=layout):
            for ready in resampler.resample(frame):
                out.mux(stream.encode(ready))
        out.mux(stream.encode(None))
    return path


class FakeStream:
    """A stream whose packets hold decoded frames, or an error to raise."""

    codec_context = SimpleNamespace(name="fake", skip_frame="DEFAULT")
    average_rate = 25
    time_base = MS

    def decode(self, packet: Any) -> list[Any]:
        if packet is None:
            return []
        if packet.frame is None:
            raise av.InvalidDataError(1, "made up")
        return [packet.frame]


def packet_of(frame: Any) -> Any:
    return SimpleNamespace(
        frame=frame, is_corrupt=False, is_discard=False, pts=None, dts=None, time_base=MS
    )


def play(track: Any, frames: list[Any], other_s: float | None = None) -> list[Any]:
    events = [e for frame in frames for e in track.feed(packet_of(frame), other_s)]
    return events + list(track.finish())
