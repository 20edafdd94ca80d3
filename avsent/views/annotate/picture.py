"""All pictures of a video in the order they are shown, upright, in yuv420p, free to draw on."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from avsent.extraction.media.events import StreamClock, seconds
from avsent.views.annotate.plates import Bytes

_REORDER_FRAMES = 3
_ZERO_TOLERANCE_S = 0.0005
_DEFAULT_INTERVAL_S = 0.04
_TURNS = {
    1: cv2.ROTATE_90_COUNTERCLOCKWISE,
    2: cv2.ROTATE_180,
    3: cv2.ROTATE_90_CLOCKWISE,
}
_HD_LINES = 720  # from here on, videos that do not say so are meant to be BT.709
_RGB_MATRIX = 0
_MATRIX_NAMES = {1: "bt709", 4: "bt601", 5: "bt601", 6: "bt601", 9: "bt2020", 10: "bt2020"}

Planes = tuple[Bytes, Bytes, Bytes]


@dataclass(frozen=True, slots=True)
class Look:
    """What the first picture says of all: ``width`` and ``height`` of it upright, its colour's
    tags as FFmpeg numbers them (``matrix`` also under a name), the shape of its pixels."""

    width: int
    height: int
    matrix: int
    matrix_name: str
    primaries: int
    transfer: int
    aspect: tuple[int, int] | None

    @property
    def even_width(self) -> int:
        """The width of what is written: yuv420p has pairs of columns."""
        return self.width + self.width % 2

    @property
    def even_height(self) -> int:
        """The height of what is written."""
        return self.height + self.height % 2


def look_at(frame: VideoFrame, aspect: Any) -> Look:
    """The look of a video whose first picture is ``frame``; ``aspect``: of its pixels, or None."""
    turned = _turns(frame) % 2 == 1
    width, height = (frame.height, frame.width) if turned else (frame.width, frame.height)
    hd = min(width, height) >= _HD_LINES
    matrix = int(frame.colorspace)
    if matrix == _RGB_MATRIX or frame.format.is_rgb:
        matrix = 1 if hd else 6
    shape = None
    if aspect and aspect > 0 and aspect != 1:
        numbers = (aspect.numerator, aspect.denominator)
        shape = numbers[::-1] if turned else numbers
    return Look(
        width=width,
        height=height,
        matrix=matrix,
        matrix_name=_MATRIX_NAMES.get(matrix, "bt709" if hd else "bt601"),
        primaries=int(frame.color_primaries),
        transfer=int(frame.color_trc),
        aspect=shape,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One picture at its presentation time; ``planes`` are views of ``frame``, to draw on.

    ``duration_s``: how long it is to be shown, None if the file does not say. ``scale``: pixels
    of this picture for each of the analysed one, across and down.
    """

    time_s: float
    duration_s: float | None
    frame: VideoFrame
    planes: Planes
    scale: tuple[float, float]


class PictureFeed:
    """Decodes the packets of one video stream, all of them; damaged stretches are left out.

    Times are those of the analysis (:mod:`avsent.extraction.media.video`): from the same origin, wrong
    jumps of the clock taken out.
    """

    def __init__(self, stream: Any, origin_s: float) -> None:
        self._stream = stream
        self._clock = StreamClock(origin_s)
        rate = stream.average_rate
        self._interval_s = 1 / float(rate) if rate else _DEFAULT_INTERVAL_S
        self._newest_s: float | None = None
        self._last_s = -math.inf
        self._heap: list[tuple[float, int, VideoFrame]] = []
        self._decoded = 0
        self._reformatter = VideoReformatter()
        self.look: Look | None = None
        """Of the first picture decoded."""

    @property
    def position_s(self) -> float | None:
        """Latest presentation time decoded so far."""
        return self._newest_s

    def feed(self, packet: Any, other_s: float | None) -> Iterator[Picture]:
        """What a packet gives; None drains the decoder. ``other_s``: position of the sound."""
        if packet is not None and packet.is_corrupt:
            return  # as in the analysis: its error would take good frames along
        try:
            frames = self._stream.decode(packet)
        except (av.FFmpegError, ValueError):
            frames = []
        for frame in frames:
            self._add(frame, other_s)
            if len(self._heap) > _REORDER_FRAMES:
                yield from self._pass_on()
        if packet is None:
            while self._heap:
                yield from self._pass_on()

    def _add(self, frame: VideoFrame, other_s: float | None) -> None:
        if frame.time_base is None:  # PyAV leaves it out when it drains the decoder
            frame.time_base = self._stream.time_base
        if self.look is None:
            self.look = look_at(frame, self._stream.codec_context.sample_aspect_ratio)
        expected_s = 0.0 if self._newest_s is None else self._newest_s + self._interval_s
        stamp = frame.pts if frame.pts is not None else frame.dts
        if stamp is None or not frame.time_base:
            time_s = expected_s
        else:
            time_s = self._clock.time_s(seconds(stamp, frame.time_base))
            if self._newest_s is not None and self._clock.jumped(time_s, expected_s, other_s):
                time_s = expected_s
        self._newest_s = time_s if self._newest_s is None else max(self._newest_s, time_s)
        self._decoded += 1
        heapq.heappush(self._heap, (time_s, self._decoded, frame))

    def _pass_on(self) -> Iterator[Picture]:
        time_s, _, frame = heapq.heappop(self._heap)
        if time_s <= -_ZERO_TOLERANCE_S or time_s <= self._last_s or self.look is None:
            return
        time_s = max(time_s, 0.0)
        self._last_s = time_s
        duration_s = (
            seconds(frame.duration, frame.time_base) if frame.duration and frame.time_base else None
        )
        ready, planes, scale = self._upright(frame, self.look)
        yield Picture(time_s, duration_s, ready, planes, scale)

    def _upright(
        self, frame: VideoFrame, look: Look
    ) -> tuple[VideoFrame, Planes, tuple[float, float]]:
        """A copy (the decoder still needs ``frame``) of the first picture's size."""
        turns = _turns(frame)
        size = (look.height, look.width) if turns % 2 else (look.width, look.height)
        scale = (size[0] / frame.width, size[1] / frame.height)
        if (
            frame.format.name != "yuv420p"
            or (frame.width, frame.height) != size
            or frame.color_range == ColorRange.JPEG
        ):
            to_matrix = Colorspace.ITU709 if look.matrix == 1 else Colorspace.ITU601
            frame = self._reformatter.reformat(
                frame,
                width=size[0],
                height=size[1],
                format="yuv420p",
                dst_colorspace=to_matrix if frame.format.is_rgb else None,
                dst_color_range=ColorRange.MPEG,
            )
        copy = VideoFrame(look.even_width, look.even_height, "yuv420p")
        planes = []
        for source, target in zip(frame.planes, copy.planes, strict=True):
            pixels, place = _pixels(source), _pixels(target)
            if turns:
                pixels = np.asarray(cv2.rotate(pixels, _TURNS[turns]), np.uint8)
            height, width = pixels.shape
            place[:height, :width] = pixels
            # The column or row that makes an odd size even repeats the last one.
            place[:height, width:] = place[:height, width - 1 : width]
            place[height:] = place[height - 1 : height]
            planes.append(place)
        return copy, (planes[0], planes[1], planes[2]), scale[::-1] if turns % 2 else scale


def _turns(frame: VideoFrame) -> int:
    """Quarter turns counter-clockwise that put the picture upright."""
    return round(frame.rotation / 90) % 4


def _pixels(plane: Any) -> Bytes:
    """A view [height, width] of a plane."""
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]
