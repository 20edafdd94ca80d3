"""``--annotate``: write the video again, with the result drawn into its pictures.

The reader of the analysis decodes it, so times in the result are times in the new file, even if
the clocks of the source jump. Pictures are encoded as H.264 with their own times; sound is copied,
or encoded as AAC if the container does not take it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, VideoReformatter
from numpy.typing import NDArray
from PIL import Image

from avsent.errors import InputError, MediaError, OutputError
from avsent.extraction.faces.geometry import Sighting
from avsent.extraction.media import audio, events
from avsent.extraction.media.reader import MediaReader, SoundSink
from avsent.extraction.media.video import PQ, DecodedFrame, displayed
from avsent.files import atomic_path, check_target
from avsent.progress import Progress, ProgressHook, ignore_progress
from avsent.result.record import Result
from avsent.text import printable
from avsent.views.annotate.drawing import Style
from avsent.views.annotate.overlay import Overlay

_MP4_OPTIONS = {"movflags": "+faststart"}  # the index comes first: the file plays while it loads
# By default FFmpeg shifts all times of the file if the sound begins a little before 0.
_MATROSKA_OPTIONS = {"avoid_negative_ts": "disabled"}

_HD_LINES = 720  # from this height on, videos without a colour matrix are BT.709
# Matrices between YUV and RGB, as FFmpeg numbers them
_RGB_MATRIX, _BT709, _BT601, _BT2020, _BT2020_CONSTANT = 0, 1, 6, 9, 10
_KNOWN_MATRICES = frozenset({_BT709, 4, 5, _BT601, 7, _BT2020})
# Bilinear, rounded, full chroma: without these flags pictures get 1/255 darker.
_EXACT_COLOURS = 0x2 | 0x40000 | 0x2000

_STANDARD_BASE = Fraction(1, 90_000)  # exact for the usual frame rates, also 30000/1001
_MAX_RATE_HZ = 240
_KEY_FRAME_S = 2.0  # players seek to key frames
# veryfast: 720p faster than real time on two cores. crf 20: no visible loss.
_ENCODERS = {"libx264": {"preset": "veryfast", "crf": "20"}, "libopenh264": {"b": "4M"}}

# Sound that players decode in these containers, by FFmpeg's names.
_MP4_SOUND = frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "alac", "opus", "flac"})
_COPIED_SOUND = {
    "mp4": _MP4_SOUND,
    "matroska": _MP4_SOUND
    | {"vorbis", "mp2", "mp2float", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le"}
    | {"dca", "truehd"},
}
_AAC_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_AAC_LAYOUTS = frozenset({"mono", "stereo", "5.1", "7.1"})
_BITS_PER_CHANNEL = 80_000
_BEFORE_START_S = 0.1  # the decoder needs a little sound from before the start


def annotate(
    source: Path,
    target: Path,
    result: Result,
    sightings: Sequence[Sighting],
    on_progress: ProgressHook = ignore_progress,
) -> None:
    """Write ``source`` to ``target`` (mp4, or Matroska for .mkv) with boxes of faces, sentiment,
    text and a timeline drawn in.

    Every picture keeps its presentation time; damaged parts are left out. ``sightings``: boxes of
    the faces in pixels of the displayed picture. ``target`` is written whole or not at all. Raises
    InputError if there is no picture to draw on or the source cannot be read, UsageError if the
    target is the source, OutputError if it cannot be written.
    """
    check_target(target, [source])
    with MediaReader(source, asked=result.media_tracks) as reader:
        if reader.media.video is None:
            raise InputError(
                f"{printable(source)} has no picture to draw on; leave --annotate out, or "
                "take --report to look at sound"
            )
        pictures = (event for event in reader.in_colour() if isinstance(event, DecodedFrame))
        first = next(pictures, None)
    if first is None:
        raise MediaError(
            f"{printable(source)} has no picture that can be decoded; check that it plays, "
            "or leave --annotate out"
        )
    container, options = "mp4", _MP4_OPTIONS
    if target.suffix.lower() == ".mkv":
        container, options = "matroska", _MATROSKA_OPTIONS
    try:
        with (
            atomic_path(target) as temporary,
            MediaReader(source, asked=result.media_tracks) as reader,
            av.open(f"file:{temporary.absolute()}", "w", container, options) as out,
        ):
            duration_s = result.duration_s or reader.media.duration_s or 0.0
            encoder = _PictureEncoder(out, reader.media.video, first)
            style = Style(encoder.width, encoder.height, result.model.labels)
            overlay = Overlay(style, result, sightings, duration_s)
            sound: SoundSink | None = None
            if (stream := reader.media.audio) is not None:
                copied = stream.codec_context.name in _COPIED_SOUND[container]
                sink = _CopiedSound if copied else _EncodedSound
                sound = sink(out, stream, reader.media.origin_s)
            for event in reader.in_colour(sound=sound):
                if isinstance(event, DecodedFrame):
                    encoder.write(event, overlay)
                    on_progress(Progress("annotate", str(source), event.time_s, duration_s or None))
            encoder.finish()
            on_progress(Progress("annotate", str(source), duration_s, duration_s or None))
    except av.FFmpegError as error:  # errors of reading are handled in the reader
        reason = error.strerror or "the encoder failed"
        raise OutputError(f"cannot write {target}: {reason}") from error


class _PictureEncoder:
    """Draws on pictures and encodes them into ``out``; ``first`` sets size and colours of all."""

    def __init__(self, out: Any, source: Any, first: DecodedFrame) -> None:
        self._out = out
        self._to_rgb, self._to_yuv = VideoReformatter(), VideoReformatter()
        self._size = first.size
        usual = _BT709 if min(self._size) >= _HD_LINES else _BT601
        matrix = usual if first.frame.format.is_rgb else int(first.frame.colorspace)
        self._matrix = _BT2020 if matrix == _BT2020_CONSTANT else matrix
        if self._matrix not in _KNOWN_MATRICES:
            self._matrix = usual
        rate = source.average_rate or source.guessed_rate or Fraction(25)
        rate = Fraction(min(max(rate, 1), _MAX_RATE_HZ)).limit_denominator(1001)
        name = next((name for name in _ENCODERS if name in av.codecs_available), None)
        if name is None:
            raise OutputError("this build of FFmpeg has no encoder for H.264; reinstall av")
        self._stream = out.add_stream(name, rate=rate, options=_ENCODERS[name])
        # yuv420p has pairs of columns and rows.
        self.width, self.height = (side + side % 2 for side in self._size)
        self._stream.width, self._stream.height = self.width, self.height
        self._stream.pix_fmt = "yuv420p"
        # The source's own clock where it is fine enough and can be written.
        base = source.time_base or Fraction(0)
        fine = base.numerator == 1 and 1000 < base.denominator <= 1_000_000
        self._base = base if fine else _STANDARD_BASE
        context = self._stream.codec_context
        context.time_base = self._stream.time_base = self._base
        context.gop_size = max(1, round(_KEY_FRAME_S * rate))
        context.thread_count = 0  # as many as help
        context.color_range = ColorRange.MPEG
        context.colorspace = usual if matrix == _RGB_MATRIX else matrix
        given = source.codec_context  # frames tell these only since PyAV 17
        context.color_primaries, context.color_trc = given.color_primaries, given.color_trc
        if first.transfer == PQ:
            context.color_trc = _BT709
        self._last_stamp = -1

    def write(self, picture: DecodedFrame, overlay: Overlay) -> None:
        """Draw on one picture and encode it. Raises av.FFmpegError if it cannot be written."""
        stamp = round(picture.time_s / self._base)
        if stamp <= self._last_stamp:
            return
        self._last_stamp = stamp
        pixels, scale = self._displayed(picture)
        image = Image.frombuffer("RGBA", (self.width, self.height), pixels, "raw", "RGBA", 0, 1)
        image.readonly = 0  # draw into the array itself: two copies at 1080p take 4 ms
        overlay.draw(image, picture.time_s, scale)
        frame = self._to_yuv.reformat(
            av.VideoFrame.from_numpy_buffer(pixels, "rgba"),
            format="yuv420p",
            dst_colorspace=self._matrix,
            dst_color_range=ColorRange.MPEG,
        )
        frame.pts, frame.time_base = stamp, self._base
        if picture.frame.duration and picture.frame.time_base:
            length_s = events.seconds(picture.frame.duration, picture.frame.time_base)
            frame.duration = round(length_s / self._base)
        self._out.mux(self._stream.encode(frame))

    def finish(self) -> None:
        self._out.mux(self._stream.encode(None))

    def _displayed(self, picture: DecodedFrame) -> tuple[NDArray[Any], tuple[float, float]]:
        """``picture`` as RGBA of the size to write, and its scale. If size or pixel shape change in
        mid-stream, it keeps its proportions; its edge fills the rest, right and below."""
        scale = min(np.divide(self._size, picture.size).tolist())
        width, height = (max(1, round(side * scale)) for side in picture.size)
        pixels = displayed(
            picture,
            "rgba",
            self._to_rgb,
            (width, height),
            src_colorspace=None if picture.frame.format.is_rgb else self._matrix,
            src_color_range=picture.frame.color_range,
            interpolation=_EXACT_COLOURS,
        )
        if pixels.shape[:2] != (self.height, self.width):
            more = [(0, self.height - height), (0, self.width - width), (0, 0)]
            pixels = np.pad(pixels, more, mode="edge")
        return pixels, (scale, scale)


class _CopiedSound:
    """Copies packets unchanged, by the rules of the reader's SoundTrack, so that sound has the same
    times as in the result even if the clock jumps.

    The reader calls ``feed`` and ``finish`` as those of SoundTrack; they yield nothing and raise
    av.FFmpegError if sound cannot be written.
    """

    def __init__(self, out: av.container.OutputContainer, stream: Any, origin_s: float) -> None:
        self._out, self._stream = out, stream
        self._copy = out.add_stream_from_template(stream)
        self._clock = events.StreamClock(origin_s)
        self._silence_left_s = events.MAX_SILENCE_S
        self._last_dts: int | None = None
        self.position_s: float | None = None
        """End of the sound written, None before the first."""

    def feed(self, packet: Any, other_s: float | None) -> tuple[()]:
        """Write one packet; ``other_s`` is the position of the picture, if there is one."""
        length_s = events.seconds(packet.duration or 0, packet.time_base)
        time_s = None if packet.is_corrupt else self._place(packet, length_s, other_s)
        if time_s is None:
            return ()
        self.position_s = max(self.position_s or 0.0, time_s + length_s)
        packet.pts = packet.dts = round(time_s / packet.time_base)
        # The container refuses a second packet for the same time.
        if self._last_dts is None or packet.dts > self._last_dts:
            self._last_dts = packet.dts
            packet.stream = self._copy
            self._out.mux(packet)
        return ()

    def finish(self) -> tuple[()]:
        return ()

    def _place(self, packet: Any, length_s: float, other_s: float | None) -> float | None:
        """Presentation time of a packet; None if it ends before the start."""
        stamp = packet.pts if packet.pts is not None else packet.dts
        base = packet.time_base or self._stream.time_base
        end_s = self.position_s
        time_s = end_s or 0.0
        if stamp is not None:
            time_s = self._clock.time_s(events.seconds(stamp, base))
        if end_s is None:
            time_s = self._clock.begin(time_s)
            if self._clock.jumped(time_s, max(time_s, 0.0), None):
                time_s = 0.0
            return None if time_s + length_s < -_BEFORE_START_S else time_s
        if self._clock.jumped(time_s, end_s, other_s):
            time_s = end_s
        hole_s = max(0.0, time_s - end_s) if length_s else 0.0  # 0: the length is unknown
        if hole_s > self._silence_left_s:
            self._clock.shift(-hole_s)
            time_s, hole_s = end_s, 0.0
        self._silence_left_s += events.SILENCE_SHARE * length_s - hole_s
        return time_s


class _EncodedSound:
    """Encodes a SoundTrack as AAC of its rate and channels; called as :class:`_CopiedSound`."""

    def __init__(self, out: av.container.OutputContainer, stream: Any, origin_s: float) -> None:
        given_hz = stream.codec_context.sample_rate or _AAC_RATES_HZ[-1]
        self._rate_hz = next((r for r in _AAC_RATES_HZ if r >= given_hz), _AAC_RATES_HZ[-1])
        layout = stream.codec_context.layout.name
        self._layout = layout if layout in _AAC_LAYOUTS else "stereo"
        self._track = audio.SoundTrack(stream, origin_s, self._rate_hz, self._layout)
        self._out = out
        self._encoder: Any = out.add_stream("aac", rate=self._rate_hz, layout=self._layout)
        self._encoder.bit_rate = _BITS_PER_CHANNEL * self._encoder.layout.nb_channels

    @property
    def position_s(self) -> float | None:
        return self._track.position_s

    def feed(self, packet: Any, other_s: float | None) -> tuple[()]:
        return self._write(self._track.feed(packet, other_s))

    def finish(self) -> tuple[()]:
        self._write(self._track.finish())
        self._out.mux(self._encoder.encode(None))
        return ()

    def _write(self, decoded: Iterable[events.Sound | events.Damage]) -> tuple[()]:
        for event in decoded:
            if isinstance(event, events.Sound):
                samples = np.ascontiguousarray(event.samples)
                frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=self._layout)
                frame.sample_rate, frame.time_base = self._rate_hz, Fraction(1, self._rate_hz)
                frame.pts = round(event.start_s * self._rate_hz)
                self._out.mux(self._encoder.encode(frame))
        return ()
