"""Changed copies of real clips in which the speaking stays the same.

The stream that a variant does not change is copied packet by packet; the other one is encoded
again with the same presentation times. For clips that begin at 0 and are not rotated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np

X264 = {"crf": "18", "preset": "ultrafast"}
CLOCK_HZ = 90_000
"""Of written pictures: fine enough for any camera's times."""
SLOW_HZ = 12.5
TELEPHONE_HZ = 8000
QUIETER = 10 ** (-12 / 20)
SLACK_S = 1e-4
"""What rounding may take from a presentation time."""


def shortened(source: Path, target: Path, max_s: float | None = None, share: float = 1.0) -> Path:
    """The clip itself, its pictures at ``share`` of their size."""
    return _written(source, target, max_s, pictures=partial(_Pictures, share=share))


def mirrored(source: Path, target: Path, max_s: float | None = None) -> Path:
    """Left and right swapped."""
    return _written(source, target, max_s, pictures=partial(_Pictures, change=_flipped))


def half_size(source: Path, target: Path, max_s: float | None = None) -> Path:
    """Half as wide and half as high."""
    return shortened(source, target, max_s, share=0.5)


def slower_frames(source: Path, target: Path, max_s: float | None = None) -> Path:
    """At most 12.5 pictures a second: the first at or after each tick of that clock."""
    due = 0

    def seldom(frame: av.VideoFrame) -> av.VideoFrame | None:
        nonlocal due
        now = int((frame.time + SLACK_S) * SLOW_HZ)
        if now < due:
            return None
        due = now + 1
        return frame

    return _written(source, target, max_s, pictures=partial(_Pictures, change=seldom))


def sound_8k(source: Path, target: Path, max_s: float | None = None) -> Path:
    """Telephone sound: one channel, 8 kHz."""
    telephone = partial(_Sound, rate_hz=TELEPHONE_HZ, layout="mono")
    return _written(source, target, max_s, sound=telephone)


def quieter(source: Path, target: Path, max_s: float | None = None) -> Path:
    """The sound 12 dB quieter."""
    return _written(source, target, max_s, sound=partial(_Sound, gain=QUIETER))


VARIANTS: dict[str, Callable[[Path, Path, float | None], Path]] = {
    "mirrored": mirrored,
    "half_size": half_size,
    "slower_frames": slower_frames,
    "sound_8k": sound_8k,
    "quieter": quieter,
}


class _Copied:
    """Packets unchanged, up to a time in decoding order, so that all of them can be decoded: where
    pictures are stored out of order, one or two later ones remain."""

    def __init__(self, after: Any, stream: Any) -> None:
        self._to = after.add_stream_from_template(stream)

    def feed(self, packet: Any, end_s: float) -> Iterator[Any]:
        if packet.dts is not None and packet.dts * packet.time_base < end_s:
            packet.stream = self._to
            yield packet


class _Pictures:
    """Pictures decoded, changed and encoded, each at its time; ``change`` may return None."""

    def __init__(
        self,
        after: Any,
        stream: Any,
        change: Callable[[av.VideoFrame], av.VideoFrame | None] = lambda frame: frame,
        share: float = 1.0,
    ) -> None:
        self._change = change
        self._to = after.add_stream("libx264", rate=stream.average_rate, options=X264)
        self._to.pix_fmt = "yuv420p"
        # The codec wants even numbers.
        self._to.width = 2 * round(share * stream.width / 2)
        self._to.height = 2 * round(share * stream.height / 2)
        self._to.codec_context.time_base = self._to.time_base = Fraction(1, CLOCK_HZ)

    def feed(self, packet: Any, end_s: float) -> Iterator[Any]:
        for frame in packet.decode():
            changed = self._change(frame) if frame.time < end_s else None
            if changed is None:
                continue
            shown = changed.reformat(
                self._to.width, self._to.height, "yuv420p", interpolation="AREA"
            )
            shown.pts, shown.time_base = round(frame.time * CLOCK_HZ), Fraction(1, CLOCK_HZ)
            shown.pict_type = 0  # up to this encoder, whatever the one before it chose
            yield from self._to.encode(shown)
        if packet.size == 0:
            yield from self._to.encode(None)


class _Sound:
    """Sound decoded, resampled and scaled by ``gain``; written as PCM, without delay or loss."""

    def __init__(
        self,
        after: Any,
        stream: Any,
        rate_hz: int | None = None,
        layout: str | None = None,
        gain: float = 1.0,
    ) -> None:
        self._gain = gain
        rate_hz, layout = rate_hz or stream.rate, layout or stream.layout.name
        self._to = after.add_stream("pcm_s16le", rate=rate_hz, layout=layout)
        self._resampler = av.AudioResampler(format="s16", layout=layout, rate=rate_hz)

    def feed(self, packet: Any, end_s: float) -> Iterator[Any]:
        heard: list[Any] = [frame for frame in packet.decode() if frame.time < end_s]
        if packet.size == 0:
            heard.append(None)
        for frame in [part for whole in heard for part in self._resampler.resample(whole)]:
            samples = np.round(frame.to_ndarray() * self._gain).astype(np.int16)
            softer = av.AudioFrame.from_ndarray(samples, format="s16", layout=frame.layout.name)
            softer.rate, softer.pts, softer.time_base = frame.rate, frame.pts, frame.time_base
            yield from self._to.encode(softer)
        if packet.size == 0:
            yield from self._to.encode(None)


def _written(
    source: Path,
    target: Path,
    max_s: float | None,
    *,
    pictures: Callable[[Any, Any], Any] = _Copied,
    sound: Callable[[Any, Any], Any] = _Copied,
) -> Path:
    """``source`` as ``pictures`` and ``sound`` write it, without what is later than ``max_s``."""
    end_s = float("inf") if max_s is None else max_s
    with av.open(str(source)) as before, av.open(str(target), "w") as after:
        seen, heard = before.streams.video[0], before.streams.audio[0]
        lanes = {seen.index: pictures(after, seen), heard.index: sound(after, heard)}
        for packet in before.demux(seen, heard):
            for ready in lanes[packet.stream.index].feed(packet, end_s):
                after.mux(ready)
    return target


def _flipped(frame: av.VideoFrame) -> av.VideoFrame:
    planes = frame.to_ndarray(format="yuv420p")
    luma, chroma = planes[: frame.height], planes[frame.height :]
    halves = chroma.reshape(-1, frame.width // 2)[:, ::-1].reshape(chroma.shape)
    both = np.concatenate([luma[:, ::-1], halves])
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(both), format="yuv420p")
