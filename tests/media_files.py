"""Small media files, made-up streams, changed copies of clips, and how to read them all."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from avsent.extraction.media.events import SAMPLE_RATE_HZ, Damage, Frame, Sound
from avsent.extraction.media.reader import MediaReader
from avsent.extraction.utterances.segmentation import FRAME_SAMPLES, Segment, SpeechSegmenter

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

    codec_context = SimpleNamespace(
        name="fake", skip_frame="DEFAULT", sample_aspect_ratio=None, color_trc=2
    )
    sample_aspect_ratio = None
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


def read(path: Path, **options: Any) -> tuple[MediaReader, list[Frame | Sound | Damage]]:
    with MediaReader(path, **options) as reader:
        return reader, list(reader)


def frames_of(events: list[Any]) -> list[Frame]:
    return [e for e in events if isinstance(e, Frame)]


def damage_of(events: list[Any]) -> list[Damage]:
    return [e for e in events if isinstance(e, Damage)]


def sound_of(events: list[Any]) -> tuple[float, np.ndarray]:
    """Start and samples of the joined sound, after checking that the chunks join exactly."""
    chunks = [e for e in events if isinstance(e, Sound)]
    for one, two in itertools.pairwise(chunks):
        assert two.start_s == pytest.approx(
            one.start_s + len(one.samples) / SAMPLE_RATE_HZ, abs=1e-6
        )
    for chunk in chunks:
        assert chunk.samples.dtype == np.float32
        assert chunk.samples.ndim == 1
        assert 0 < len(chunk.samples) <= SAMPLE_RATE_HZ
    return chunks[0].start_s, np.concatenate([c.samples for c in chunks])


def with_sound_of(source: Path, target: Path, *, silence: bool) -> None:
    """Copy the pictures of ``source``; sound is left out, or is digital silence as long."""
    with av.open(str(source)) as before, av.open(str(target), "w") as after:
        pictures = before.streams.video[0]
        copied = after.add_stream_from_template(pictures)
        sound = after.add_stream("aac", rate=16000, layout="mono") if silence else None
        for packet in before.demux(pictures):
            if packet.dts is None:
                continue
            packet.stream = copied
            after.mux(packet)
        if sound is not None:
            seconds = before.duration / av.time_base
            for index in range(int(seconds * 16000) // 1024):
                zeros = np.zeros((1, 1024), dtype=np.float32)
                frame = av.AudioFrame.from_ndarray(zeros, format="fltp", layout="mono")
                frame.rate, frame.pts = 16000, index * 1024
                after.mux(sound.encode(frame))
            after.mux(sound.encode(None))


def in_the_dark(source: Path, target: Path) -> None:
    """Copy the sound of ``source``; its pictures turn black, at the same times."""
    with av.open(str(source)) as before, av.open(str(target), "w") as after:
        pictures, sound = before.streams.video[0], before.streams.audio[0]
        black = after.add_stream("libx264", rate=25)
        black.width, black.height, black.pix_fmt = pictures.width, pictures.height, "yuv420p"
        black.time_base = pictures.time_base
        copied = after.add_stream_from_template(sound)
        for packet in before.demux(pictures, sound):
            if packet.stream is sound and packet.dts is not None:
                packet.stream = copied
                after.mux(packet)
            elif packet.stream is pictures:
                for shown in packet.decode():
                    dark = np.zeros((pictures.height, pictures.width, 3), dtype=np.uint8)
                    frame = av.VideoFrame.from_ndarray(dark, format="rgb24")
                    frame.pts, frame.time_base = shown.pts, shown.time_base
                    after.mux(black.encode(frame))
        after.mux(black.encode(None))


def with_late_sound(source: Path, target: Path, quiet_s: float) -> None:
    """Copy the pictures of ``source``; its sound is digital silence before ``quiet_s``."""
    with av.open(str(source)) as before, av.open(str(target), "w") as after:
        pictures, heard = before.streams.video[0], before.streams.audio[0]
        copied = after.add_stream_from_template(pictures)
        sound = after.add_stream("aac", rate=heard.rate, layout="mono")
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=heard.rate)
        for packet in before.demux(pictures, heard):
            if packet.stream is pictures and packet.dts is not None:
                packet.stream = copied
                after.mux(packet)
            elif packet.stream is heard:
                for frame in [f for whole in packet.decode() for f in resampler.resample(whole)]:
                    samples = frame.to_ndarray()
                    if frame.pts / heard.rate < quiet_s:
                        samples[:] = 0.0
                    changed = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
                    changed.rate, changed.pts = heard.rate, frame.pts
                    after.mux(sound.encode(changed))
        after.mux(sound.encode(None))


SoundArray = NDArray[np.float32]


class LevelDetector:
    """A frame's peak is its probability of being speech: tests can write probabilities."""

    name: ClassVar[str] = "level"

    def __init__(self) -> None:
        self.resets = 0
        self.asked: list[int] = []  # how many frames at once

    def reset(self) -> None:
        self.resets += 1

    def probabilities(self, frames: SoundArray) -> list[float]:
        self.asked.append(len(frames))
        return [float(peak) for peak in np.abs(frames).max(axis=1)]


def frames(*parts: tuple[int, float]) -> SoundArray:
    """Sound of so many frames at each level."""
    return np.concatenate([np.full(n * FRAME_SAMPLES, level, np.float32) for n, level in parts])


def segment(
    sound: SoundArray, start_s: float = 0.0, cuts: Iterable[int] = (), detector: object = None
) -> list[Segment]:
    """Push the sound in pieces; check on the way that nothing reaches back too far."""
    segmenter = SpeechSegmenter(detector or LevelDetector())  # type: ignore[arg-type]
    edges = [0, *sorted(c for c in cuts if c <= sound.size), sound.size]
    found: list[Segment] = []
    for begin, end in itertools.pairwise(edges):
        since_s = segmenter.open_since_s
        new = segmenter.push(start_s + begin / SAMPLE_RATE_HZ, sound[begin:end])
        assert segmenter.open_since_s >= since_s
        assert all(s.start_s >= since_s for s in new)
        found += new
    since_s = segmenter.open_since_s
    last = segmenter.flush()
    assert all(s.start_s >= since_s for s in last)
    assert segmenter.flush() == []
    return found + last


def times(found: Sequence[Segment]) -> list[tuple[float, float]]:
    return [(round(s.start_s, 4), round(s.end_s, 4)) for s in found]
