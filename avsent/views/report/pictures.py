"""Faces in colour, cut from the pictures of a video at wanted moments."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from avsent.extraction.faces.types import Box
from avsent.extraction.media.events import Frame, Sound
from avsent.extraction.media.reader import MediaReader
from avsent.extraction.media.video import (
    _ZERO_TOLERANCE_S,
    SAMPLER_TOLERANCE_S,
    FrameSampler,
    PictureTrack,
)

Picture: TypeAlias = NDArray[np.uint8]
"""BGR [height, width, 3], upright"""
See: TypeAlias = Callable[[float, Picture], None]

FACE_MARGIN = 0.3
"""Kept around a face's box on each side, in parts of its longer side: hair and chin."""


class WantedTimes(FrameSampler):
    """Takes the frames at given presentation times, and no other."""

    def __init__(self, times_s: Sequence[float]) -> None:
        """``times_s``: as they stand in a result, so rounded to microseconds."""
        self._times_s = np.unique(np.asarray(times_s, dtype=np.float64))

    def take(self, time_s: float) -> bool:
        """Whether ``time_s`` is one of the times."""
        after = int(np.searchsorted(self._times_s, time_s))
        near = self._times_s[max(0, after - 1) : after + 1]
        return bool(near.size and np.abs(near - time_s).min() <= SAMPLER_TOLERANCE_S)


class ColourReader(MediaReader):
    """One pass over a file: gives its sound, and shows ``see`` the pictures at ``times_s``.

    Streams, clocks and the times of pictures are those of :class:`MediaReader`, so a picture
    has the very time it had when the file was analysed. Iterate over :meth:`sounds` alone.
    """

    def __init__(self, path: Path, times_s: Sequence[float], see: See) -> None:
        """Raises MediaError."""
        super().__init__(path)
        if self._media.video is None:
            return
        if len(times_s):
            origin_s = self._media.origin_s
            self._picture = _ColourTrack(
                self._media.video, self.info.format, origin_s, WantedTimes(times_s), see
            )
        else:  # the packets of its pictures are passed over
            self._media = replace(self._media, video=None)
            self._picture = None

    def sounds(self) -> Iterator[Sound]:
        """The sound, in order; what cannot be read was told of when the file was analysed."""
        for event in self._streams():
            if isinstance(event, Sound):
                yield event


class _ColourTrack(PictureTrack):
    """Decodes as the analysis did, but hands wanted pictures to ``see`` and gives no events."""

    def __init__(
        self, stream: Any, format_name: str, origin_s: float, wanted: WantedTimes, see: See
    ) -> None:
        super().__init__(stream, format_name, origin_s, analysis_rate_hz=1.0)
        self._sampler = self._planner._sampler = wanted
        self._see = see

    def _pass_on(self) -> Iterator[Frame]:
        time_s, _, frame = heapq.heappop(self._heap)
        if time_s > -_ZERO_TOLERANCE_S and time_s > self._last_s:
            self._last_s = time_s = max(time_s, 0.0)
            self._see_end(frame, time_s)
            if self._sampler.take(time_s):
                self._see(time_s, colour_picture(frame, self._reformatter))
        yield from ()


def colour_picture(frame: VideoFrame, reformatter: VideoReformatter) -> Picture:
    """``frame`` as BGR, rotation tag applied: the colours of what the analysis saw in grey."""
    picture = reformatter.reformat(frame, format="bgr24").to_ndarray()
    turned = np.rot90(picture, round(frame.rotation / 90) % 4)
    return np.ascontiguousarray(turned, dtype=np.uint8)


def face_crop(picture: Picture, box: Box, side_px: int) -> Picture | None:
    """The square around ``box``, at most ``side_px`` wide and never enlarged; where the picture
    ends, it is moved inside. None where the box lies outside the picture."""
    height, width = picture.shape[:2]
    left, top, right, bottom = box
    longer = max(right - left, bottom - top)
    side = round(min(longer * (1 + 2 * FACE_MARGIN), height, width))
    inside = left < width and top < height and right > 0 and bottom > 0
    if side < 2 or not inside:
        return None
    x = _fitted((left + right - side) / 2, side, width)
    y = _fitted((top + bottom - side) / 2, side, height)
    crop = picture[y : y + side, x : x + side]
    if side <= side_px:
        return np.ascontiguousarray(crop)
    smaller = cv2.resize(crop, (side_px, side_px), interpolation=cv2.INTER_AREA)
    return np.asarray(smaller, dtype=np.uint8)


def webp(picture: Picture, quality: int) -> bytes:
    """``picture`` as WebP, which every browser since 2020 shows."""
    done, encoded = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, quality])
    if not done:
        raise ValueError("OpenCV cannot write WebP")
    return encoded.tobytes()


def _fitted(start: float, length: int, limit: int) -> int:
    return max(0, min(round(start), limit - length))
