"""Drawing on the planes of a yuv420p picture, without a way through RGB.

A :class:`Plate` is made once, in RGB with alpha, and put on many pictures; blending touches only
its own region. All of a picture's planes are uint8 [height, width]; U and V are half as large.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
"""red, green, blue, 0 to 255"""

Bytes = NDArray[np.uint8]

_OPAQUE = 256
_LUMA_WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}


def rgb(colour: str) -> Colour:
    """``#rrggbb`` as numbers."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def mixed(colour: Colour, other: Colour, share: float) -> Colour:
    """``colour`` with a ``share`` of ``other`` in it."""
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(colour, other, strict=True))
    return red, green, blue


class ColourSpace:
    """How a video's Y, U and V are made of RGB: its matrix, and full or limited range."""

    def __init__(self, matrix: str = "bt601", *, full_range: bool = False) -> None:
        red, blue = _LUMA_WEIGHTS[matrix]
        luma = np.array([red, 1 - red - blue, blue])
        u = (np.array([0, 0, 1]) - luma) / (2 * (1 - blue))
        v = (np.array([1, 0, 0]) - luma) / (2 * (1 - red))
        scale = np.array([1, 1, 1]) if full_range else np.array([219, 224, 224]) / 255
        self._weights = np.stack([luma, u, v], axis=1) * scale
        self._offset = np.array([0 if full_range else 16, 128, 128], dtype=np.float64)

    def of(self, colour: Colour) -> Colour:
        """Y, U and V of one colour."""
        y, u, v = np.rint(np.array(colour) @ self._weights + self._offset).astype(int).tolist()
        return y, u, v

    def planes(self, picture: Bytes) -> list[NDArray[np.float32]]:
        """Y, U and V, all of full size, of ``picture`` [height, width, 3] RGB."""
        converted = picture.astype(np.float32) @ self._weights.astype(np.float32)
        converted += self._offset.astype(np.float32)
        return [np.ascontiguousarray(converted[..., channel]) for channel in range(3)]


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """What a plate is made of: ``picture`` [height, width, 3] RGB and ``alpha`` [height, width],
    both uint8; sides are even."""

    picture: Bytes
    alpha: Bytes

    @classmethod
    def blank(cls, width: int, height: int) -> Canvas:
        """A transparent canvas, its sides made even."""
        width, height = max(2, width + width % 2), max(2, height + height % 2)
        return cls(np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8))

    @property
    def width(self) -> int:
        return int(self.alpha.shape[1])

    @property
    def height(self) -> int:
        return int(self.alpha.shape[0])

    def fill(
        self, area: tuple[float, float, float, float], colour: Colour, alpha: float = 1.0
    ) -> None:
        """Replace what is in ``area`` (left, top, right, bottom; edges rounded to pixels)."""
        left, top, right, bottom = (max(0, round(edge)) for edge in area)
        self.picture[top:bottom, left:right] = colour
        self.alpha[top:bottom, left:right] = round(255 * alpha)

    def round_box(
        self,
        area: tuple[float, float, float, float],
        radius: float,
        colour: Colour,
        alpha: float = 1.0,
    ) -> None:
        """Lay a box with round, smooth corners over what is there."""
        left, top, right, bottom = (round(edge) for edge in area)
        width, height = right - left, bottom - top
        if width < 1 or height < 1:
            return
        radius = max(0.5, min(radius, width / 2, height / 2))
        # The distance from the inner box whose corners are the centres of the round ones.
        x = np.abs(np.arange(width) + 0.5 - width / 2) - (width / 2 - radius)
        y = np.abs(np.arange(height) + 0.5 - height / 2) - (height / 2 - radius)
        distance = np.hypot(np.maximum(x, 0)[None], np.maximum(y, 0)[:, None])
        cover = np.clip(radius + 0.5 - distance, 0, 1) * (255 * alpha)
        self.paint(np.rint(cover).astype(np.uint8), left, top, colour)

    def paint(self, cover: Bytes, left: int, top: int, colour: Colour) -> None:
        """Lay ``colour`` over what is there as far as ``cover`` [height, width] goes (0 to 255);
        what lies outside is left out."""
        x0, y0 = max(0, left), max(0, top)
        x1, y1 = min(self.width, left + cover.shape[1]), min(self.height, top + cover.shape[0])
        if x0 >= x1 or y0 >= y1:
            return
        above = cover[y0 - top : y1 - top, x0 - left : x1 - left].astype(np.float32) / 255
        below = self.alpha[y0:y1, x0:x1].astype(np.float32) / 255 * (1 - above)
        both = above + below
        share = np.divide(above, both, out=np.zeros_like(above), where=both > 0)[..., None]
        picture = self.picture[y0:y1, x0:x1].astype(np.float32)
        picture += share * (np.array(colour, np.float32) - picture)
        self.picture[y0:y1, x0:x1] = np.rint(picture).astype(np.uint8)
        self.alpha[y0:y1, x0:x1] = np.rint(both * 255).astype(np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Plate:
    """A canvas ready to be blended: for each plane, colour times alpha, and 256 minus alpha."""

    parts: tuple[tuple[NDArray[np.uint16], NDArray[np.uint16]], ...]

    @classmethod
    def of(cls, canvas: Canvas, space: ColourSpace) -> Plate:
        """The plate of ``canvas`` in a video's colour space."""
        alpha = canvas.alpha.astype(np.float32) * (_OPAQUE / 255)
        half = (canvas.width // 2, canvas.height // 2)
        parts = []
        for number, values in enumerate(space.planes(canvas.picture)):
            weighted, cover = values * alpha, alpha
            if number > 0:  # weighted by alpha, so that hidden colours do not bleed in
                weighted, cover = (
                    np.asarray(cv2.resize(whole, half, interpolation=cv2.INTER_AREA), np.float32)
                    for whole in (weighted, alpha)
                )
            rest = _OPAQUE - np.rint(cover)
            # Half a step more, because blending rounds down.
            added = np.rint(weighted) + _OPAQUE // 2
            parts.append((np.clip(added, 0, 65535).astype(np.uint16), rest.astype(np.uint16)))
        return cls(tuple(parts))

    @property
    def width(self) -> int:
        return int(self.parts[0][0].shape[1])

    @property
    def height(self) -> int:
        return int(self.parts[0][0].shape[0])


class Painter:
    """Draws on the planes of one picture, which it changes; what lies outside is left out."""

    def __init__(self, planes: tuple[Bytes, Bytes, Bytes], space: ColourSpace) -> None:
        self._planes = planes
        self._space = space
        self.height, self.width = planes[0].shape

    def put(self, plate: Plate, left: int, top: int) -> None:
        """Blend ``plate`` in; its place is moved to even pixels, as colour is kept for pairs."""
        left, top = left - left % 2, top - top % 2
        for number, (added, rest) in enumerate(plate.parts):
            plane, step = self._planes[number], 1 if number == 0 else 2
            x, y = left // step, top // step
            x0, y0 = max(0, x), max(0, y)
            x1 = min(plane.shape[1], x + added.shape[1])
            y1 = min(plane.shape[0], y + added.shape[0])
            if x0 >= x1 or y0 >= y1:
                continue
            inside = np.s_[y0 - y : y1 - y, x0 - x : x1 - x]
            region = plane[y0:y1, x0:x1]
            blended = region * rest[inside]  # uint16: at most 255 * 256
            blended += added[inside]
            blended >>= 8
            region[...] = blended

    def fill(self, area: tuple[int, int, int, int], colour: Colour, alpha: float = 1.0) -> None:
        """Lay ``colour`` over ``area``: left, top, right, bottom in pixels."""
        left, right = (min(max(0, x), self.width) for x in (area[0], area[2]))
        top, bottom = (min(max(0, y), self.height) for y in (area[1], area[3]))
        if left >= right or top >= bottom:
            return
        for number, value in enumerate(self._space.of(colour)):
            step = 1 if number == 0 else 2
            region = self._planes[number][
                top // step : -(-bottom // step), left // step : -(-right // step)
            ]
            if alpha >= 1:
                region[...] = value
            else:
                cover = round(_OPAQUE * alpha)
                region[...] = (region * np.uint16(_OPAQUE - cover) + np.uint16(value * cover)) >> 8
