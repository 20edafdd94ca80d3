"""``--annotate``: write the video again, with the result drawn into its pictures.

The reader of the analysis decodes it, so times in the result are times in the new file, even if
the clocks of the source jump. Pictures are encoded as H.264 with their own times; sound is copied,
or encoded as AAC if the container does not take it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter
from numpy.typing import NDArray
from PIL import Image

from avsent.errors import InputError, MediaError, OutputError
from avsent.extraction.faces.geometry import Sighting
from avsent.extraction.media.audio import DRIFT_TOLERANCE_S
from avsent.extraction.media.events import MAX_SILENCE_S, SILENCE_SHARE, StreamClock, seconds
from avsent.extraction.media.reader import MediaReader
from avsent.extraction.media.video import DecodedFrame, quarter_turns
from avsent.files import atomic_path, check_target
from avsent.progress import Progress, ProgressHook, ignore_progress
from avsent.result.record import Result
from avsent.text import printable
from avsent.views.annotate.drawing import Style
from avsent.views.annotate.overlay import Overlay

_STEP = "annotate"
_REPORT_EVERY_S = 0.5

_HD_LINES = 720  # from this height on, videos without a colour matrix are BT.709
# Matrices between YUV and RGB, as FFmpeg numbers them
_RGB_MATRIX, _BT709, _BT601, _BT2020, _BT2020_CONSTANT = 0, 1, 6, 9, 10
_KNOWN_MATRICES = frozenset({_BT709, 4, 5, _BT601, 7, _BT2020})
# Bilinear, rounded, full chroma: without these flags pictures get 1/255 darker.
_EXACT_COLOURS = 0x2 | 0x40000 | 0x2000

_FINE_HZ = (1000, 1_000_000)
_STANDARD_BASE = Fraction(1, 90_000)  # exact for the usual frame rates, also 30000/1001
_MPEG4_BASE = Fraction(1, 60_000)  # MPEG-4 counts to 65535
_MAX_RATE_HZ = 240
_KEY_FRAME_S = 2.0  # players seek to key frames
# The first one in this build of FFmpeg is used. veryfast: 720p faster than real time on two
# cores. crf 20: no visible loss.
_ENCODERS = {
    "libx264": {"preset": "veryfast", "crf": "20"},
    "libopenh264": {"b": "4M"},
    "mpeg4": {"qscale": "3", "flags": "+qscale"},
}

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
    the faces in pixels of the upright picture. ``target`` is written whole or not at all.

    Raises:
        InputError: there is no picture to draw on, or the source cannot be read.
        UsageError: the target is the source. OutputError: it cannot be written.
    """
    check_target(target, [source])
    with MediaReader(source) as reader:
        if reader.media.video is None:
            raise InputError(
                f"{printable(source)} has no picture to draw on; leave --annotate out, or "
                "take --report to look at sound"
            )
        first = next(_pictures(reader, None), None)
    if first is None:
        raise MediaError(
            f"{printable(source)} has no picture that can be decoded; check that it plays, "
            "or leave --annotate out"
        )
    try:
        with (
            atomic_path(target) as temporary,
            MediaReader(source) as reader,
            _open_output(temporary, matroska=target.suffix.lower() == ".mkv") as out,
        ):
            duration_s = result.duration_s or reader.media.duration_s or 0.0
            encoder = _PictureEncoder(out, reader.media.video, first.frame)
            style = Style(encoder.width, encoder.height, result.model.labels)
            overlay = Overlay(style, result, sightings, duration_s)
            sound = _sound_sink(out, reader.media.audio, reader.media.origin_s)
            reported_s = -_REPORT_EVERY_S
            for picture in _pictures(reader, sound):
                encoder.write(picture, overlay)
                if picture.time_s - reported_s >= _REPORT_EVERY_S:
                    reported_s = picture.time_s
                    on_progress(Progress(_STEP, str(source), reported_s, duration_s or None))
            encoder.finish()
            on_progress(Progress(_STEP, str(source), duration_s, duration_s or None))
    except av.FFmpegError as error:  # errors of reading are handled in the reader
        reason = error.strerror or "the encoder failed"
        raise OutputError(f"cannot write {target}: {reason}") from error


def _pictures(reader: MediaReader, sound: _SoundSink | None) -> Iterator[DecodedFrame]:
    """All that decode. Raises av.FFmpegError if sound cannot be written."""
    events = reader.in_colour(sound=sound)
    return (event for event in events if isinstance(event, DecodedFrame))


# Pictures


def _open_output(path: Path, *, matroska: bool) -> OutputContainer:
    # faststart: the index comes first, so the file plays while it loads. By default FFmpeg would
    # shift all times of a Matroska file if the sound begins a little before 0.
    options = {"avoid_negative_ts": "disabled"} if matroska else {"movflags": "+faststart"}
    name = f"file:{path.absolute()}"
    return av.open(name, "w", format="matroska" if matroska else "mp4", options=options)


class _PictureEncoder:
    """Draws on pictures and encodes them into ``out``; ``first`` sets size and colours of all."""

    def __init__(self, out: OutputContainer, source: Any, first: VideoFrame) -> None:
        self._out = out
        self._to_rgb, self._to_yuv = VideoReformatter(), VideoReformatter()
        turned = quarter_turns(first) % 2 == 1
        self._size = (first.height, first.width) if turned else (first.width, first.height)
        usual = _BT709 if min(self._size) >= _HD_LINES else _BT601
        matrix = usual if first.format.is_rgb else int(first.colorspace)
        self._matrix = _BT2020 if matrix == _BT2020_CONSTANT else matrix
        if self._matrix not in _KNOWN_MATRICES:
            self._matrix = usual

        name = next((name for name in _ENCODERS if name in av.codecs_available), "mpeg4")
        rate = source.average_rate or source.guessed_rate or Fraction(25)
        rate = Fraction(min(max(rate, 1), _MAX_RATE_HZ)).limit_denominator(1001)
        self._stream = cast(Any, out.add_stream(name, rate=rate, options=_ENCODERS[name]))
        # yuv420p has pairs of columns and rows.
        self.width, self.height = (side + side % 2 for side in self._size)
        self._stream.width, self._stream.height = self.width, self.height
        self._stream.pix_fmt = "yuv420p"
        # The source's own clock where it is fine enough and can be written.
        base = source.time_base or Fraction(0)
        fine = base.numerator == 1 and _FINE_HZ[0] < base.denominator <= _FINE_HZ[1]
        self._base = base if fine else _STANDARD_BASE
        if name == "mpeg4":
            self._base = _MPEG4_BASE
        context = self._stream.codec_context
        context.time_base = self._stream.time_base = self._base
        context.gop_size = max(1, round(_KEY_FRAME_S * rate))
        context.thread_count = 0  # as many as help
        context.color_range = ColorRange.MPEG
        context.colorspace = usual if matrix == _RGB_MATRIX else matrix
        given = source.codec_context  # frames tell these only since PyAV 17
        context.color_primaries, context.color_trc = given.color_primaries, given.color_trc
        aspect = given.sample_aspect_ratio
        if aspect and aspect > 0 and aspect != 1:
            context.sample_aspect_ratio = 1 / aspect if turned else aspect
        self._last_stamp = -1

    def write(self, picture: DecodedFrame, overlay: Overlay) -> None:
        """Draw on one picture and encode it. Raises av.FFmpegError if it cannot be written."""
        stamp = round(picture.time_s / self._base)
        if stamp <= self._last_stamp:
            return
        self._last_stamp = stamp
        pixels, scale = self._upright(picture.frame)
        image = Image.frombuffer("RGBA", (self.width, self.height), pixels, "raw", "RGBA", 0, 1)
        image.readonly = 0  # draw into the array itself: two copies at 1080p take 4 ms
        overlay.draw(image, picture.time_s, scale)
        frame = self._to_yuv.reformat(
            VideoFrame.from_numpy_buffer(pixels, "rgba"),
            format="yuv420p",
            dst_colorspace=self._matrix,
            dst_color_range=ColorRange.MPEG,
        )
        frame.pts, frame.time_base = stamp, self._base
        if picture.frame.duration and picture.frame.time_base:
            length_s = seconds(picture.frame.duration, picture.frame.time_base)
            frame.duration = round(length_s / self._base)
        self._out.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Flush the encoder."""
        self._out.mux(self._stream.encode(None))

    def _upright(self, frame: VideoFrame) -> tuple[NDArray[Any], tuple[float, float]]:
        """``frame`` as RGBA of the size to write, and its scale across and down."""
        turns = quarter_turns(frame)
        width, height = self._size[::-1] if turns % 2 else self._size
        rgba = self._to_rgb.reformat(
            frame,
            width=width,
            height=height,
            format="rgba",
            src_colorspace=None if frame.format.is_rgb else self._matrix,
            src_color_range=frame.color_range,
            interpolation=_EXACT_COLOURS,
        )
        pixels: NDArray[Any] = np.rot90(rgba.to_ndarray(), turns)
        if pixels.shape[:2] != (self.height, self.width):  # repeat the last row or column
            more = [(0, self.height - self._size[1]), (0, self.width - self._size[0]), (0, 0)]
            pixels = np.pad(pixels, more, mode="edge")
        scale = (width / frame.width, height / frame.height)
        return np.ascontiguousarray(pixels), scale[::-1] if turns % 2 else scale


# Sound


def _sound_sink(out: OutputContainer, stream: Any, origin_s: float) -> _SoundSink | None:
    """What writes the sound of ``stream`` into ``out``; None if there is none."""
    if stream is None:
        return None
    copied = stream.codec_context.name in _COPIED_SOUND[out.format.name]
    return (_CopiedSound if copied else _EncodedSound)(out, stream, origin_s)


class _SoundSink:
    """Writes a sound stream by the rules of the reader's SoundTrack, so that sound has the same
    times as in the result even if the clock jumps.

    The reader calls ``feed`` and ``finish`` as those of SoundTrack; they yield nothing and raise
    av.FFmpegError if sound cannot be written. Undecodable sound is left out.
    """

    def __init__(self, out: OutputContainer, stream: Any, origin_s: float) -> None:
        self._out = out
        self._stream = stream
        self._clock = StreamClock(origin_s)
        self._silence_left_s = MAX_SILENCE_S
        self.position_s: float | None = None
        """End of the sound written, None before the first."""

    def feed(self, packet: Any, other_s: float | None) -> tuple[()]:
        """Write one packet; ``other_s`` is the position of the picture, if there is one."""
        raise NotImplementedError

    def finish(self) -> tuple[()]:
        return ()

    def _place(self, item: Any, length_s: float, other_s: float | None) -> float | None:
        """Presentation time of a packet or frame; None if it ends before the start."""
        stamp = item.pts if item.pts is not None else item.dts
        base = item.time_base or self._stream.time_base
        end_s = self.position_s
        time_s = (end_s or 0.0) if stamp is None else self._clock.time_s(seconds(stamp, base))
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
        self._silence_left_s += SILENCE_SHARE * length_s - hole_s
        return time_s


class _CopiedSound(_SoundSink):
    """Copies packets unchanged."""

    def __init__(self, out: OutputContainer, stream: Any, origin_s: float) -> None:
        super().__init__(out, stream, origin_s)
        self._copy = out.add_stream_from_template(stream)
        self._last_dts: int | None = None

    def feed(self, packet: Any, other_s: float | None) -> tuple[()]:
        length_s = seconds(packet.duration or 0, packet.time_base)
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


class _EncodedSound(_SoundSink):
    """Encodes sound as AAC of the same rate and channels."""

    def __init__(self, out: OutputContainer, stream: Any, origin_s: float) -> None:
        super().__init__(out, stream, origin_s)
        given_hz = stream.codec_context.sample_rate or _AAC_RATES_HZ[-1]
        higher = [rate for rate in _AAC_RATES_HZ if rate >= given_hz]
        self._rate_hz = min(higher, default=_AAC_RATES_HZ[-1])
        layout = stream.codec_context.layout
        self._layout = layout.name if layout.name in _AAC_LAYOUTS else "stereo"
        self._encoder: Any = out.add_stream("aac", rate=self._rate_hz, layout=self._layout)
        self._channels = self._encoder.layout.nb_channels
        self._encoder.bit_rate = _BITS_PER_CHANNEL * self._channels
        self._resampler = AudioResampler("fltp", self._layout, self._rate_hz)
        self._next = 0  # sample due, from the origin

    def feed(self, packet: Any, other_s: float | None) -> tuple[()]:
        try:
            frames = self._stream.decode(packet)
        except (av.FFmpegError, ValueError):
            frames = []
        for frame in frames:
            self._add(frame, other_s)
        return ()

    def finish(self) -> tuple[()]:
        self.feed(None, None)
        self._write(self._resample(None))
        self._out.mux(self._encoder.encode(None))
        return ()

    def _add(self, frame: AudioFrame, other_s: float | None) -> None:
        if not frame.samples or not frame.sample_rate:
            return
        length_s = frame.samples / frame.sample_rate
        end_s = self.position_s
        time_s = self._place(frame, length_s, other_s)
        if time_s is None:
            return
        if end_s is None:
            self._next = round(time_s * self._rate_hz)
        elif time_s - end_s > DRIFT_TOLERANCE_S:
            self._write(self._resample(None))
            self._write_silence(round(time_s * self._rate_hz))
        elif end_s - time_s > max(DRIFT_TOLERANCE_S, length_s):
            return  # written already
        frame.pts = None
        self._write(self._resample(frame))

    def _resample(self, frame: AudioFrame | None) -> list[AudioFrame]:
        """``frame`` as the encoder takes it; None drains the resampler."""
        ready: list[AudioFrame] = []
        with suppress(av.FFmpegError, ValueError):
            ready = self._resampler.resample(frame)
            if frame is not None:
                return ready
        # Drained, or rate or layout of the sound have changed.
        self._resampler = AudioResampler("fltp", self._layout, self._rate_hz)
        return ready if frame is None else self._resampler.resample(frame)

    def _write_silence(self, until: int) -> None:
        """Fill a gap with silence, so that later sound stays in time."""
        while self._next < until:
            samples = min(until - self._next, self._rate_hz)
            quiet = np.zeros((self._channels, samples), np.float32)
            frame = AudioFrame.from_ndarray(quiet, format="fltp", layout=self._layout)
            frame.sample_rate = self._rate_hz
            self._write([frame])

    def _write(self, frames: list[AudioFrame]) -> None:
        for frame in frames:
            frame.pts, frame.time_base = self._next, Fraction(1, self._rate_hz)
            self._next += frame.samples
            self.position_s = self._next / self._rate_hz
            self._out.mux(self._encoder.encode(frame))
