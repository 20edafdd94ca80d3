"""Writing the pictures: H.264 with the source's own times, whatever their rate."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, cast

import av
from av.container import OutputContainer

from avsent.views.annotate.picture import Look, Picture

_FINE_HZ = (1000, 1_000_000)
_STANDARD = Fraction(1, 90_000)  # exact for 24, 25, 30, 50, 60 pictures a second, 30000/1001 too
_MPEG4 = Fraction(1, 60_000)  # MPEG-4 counts to 65535
_MAX_RATE_HZ = 240
_LIMITED_RANGE = 1


@dataclass(frozen=True, slots=True)
class _Encoder:
    name: str
    options: dict[str, str]


# veryfast: 720p faster than real time on two cores; 20: no loss that the eye sees.
_ENCODERS = (
    _Encoder("libx264", {"preset": "veryfast", "crf": "20"}),
    _Encoder("libopenh264", {"b": "4M"}),
    _Encoder("mpeg4", {"qscale": "3", "flags": "+qscale"}),
)
_KEY_FRAME_S = 2.0  # players jump to these


@cache
def _encoder() -> _Encoder:
    """The best encoder that this build of FFmpeg has."""
    for encoder in _ENCODERS[:-1]:
        try:
            av.codec.Codec(encoder.name, "w")
        except (ValueError, LookupError):
            continue
        return encoder
    return _ENCODERS[-1]


def open_output(path: Path, *, matroska: bool) -> OutputContainer:
    """A container to write into; mp4 begins with its index, so that it plays while it loads."""
    # Left alone, FFmpeg moves all times of a Matroska file if the sound begins a little before 0.
    options = {"avoid_negative_ts": "disabled"} if matroska else {"movflags": "+faststart"}
    name = f"file:{path.absolute()}"
    return av.open(name, "w", format="matroska" if matroska else "mp4", options=options)


class PictureSink:
    """Encodes pictures into ``out``."""

    def __init__(self, out: OutputContainer, source: Any, look: Look) -> None:
        encoder = _encoder()
        rate = source.average_rate or source.guessed_rate or Fraction(25)
        rate = Fraction(min(max(rate, 1), _MAX_RATE_HZ)).limit_denominator(1001)
        self._out = out
        self._stream = cast(Any, out.add_stream(encoder.name, rate=rate, options=encoder.options))
        self._stream.width, self._stream.height = look.even_width, look.even_height
        self._stream.pix_fmt = "yuv420p"
        self._base = _time_base(source.time_base, encoder.name)
        context = self._stream.codec_context
        context.time_base = self._stream.time_base = self._base
        context.gop_size = max(1, round(_KEY_FRAME_S * rate))
        context.thread_count = 0  # as many as help
        context.color_range = _LIMITED_RANGE
        context.colorspace, context.color_primaries = look.matrix, look.primaries
        context.color_trc = look.transfer
        if look.aspect is not None:
            context.sample_aspect_ratio = Fraction(*look.aspect)
        self._last: int | None = None

    def write(self, picture: Picture) -> None:
        """Encode one picture; times increase. Raises av.FFmpegError if it cannot be written."""
        stamp = round(picture.time_s / self._base)
        if self._last is not None and stamp <= self._last:
            return
        self._last = stamp
        frame = picture.frame
        frame.pts, frame.time_base = stamp, self._base
        if picture.duration_s is not None:
            frame.duration = round(picture.duration_s / self._base)
        self._out.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write what the encoder still holds."""
        self._out.mux(self._stream.encode(None))


def _time_base(source: Fraction | None, encoder: str) -> Fraction:
    """The source's own clock where it is fine enough and can be written, else a fine one."""
    if encoder == "mpeg4":
        return _MPEG4
    fine = source and source.numerator == 1 and _FINE_HZ[0] < source.denominator <= _FINE_HZ[1]
    return source if source and fine else _STANDARD
