"""Draw a puppet's frame by warping its portrait.

The portrait is split along the line between the lips. Two thin-plate splines warp the parts above
and below; the gap shows the teeth, which move with the skull, on a dark background. Two layers are
needed to close a photographed smile: a single spline would fold the picture.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from puppet import (
    CORNERS,
    FACE_WIDTH_PX,
    FRAME_HEIGHT_PX,
    FRAME_WIDTH_PX,
    INNER_CORNERS,
    LOWER_LIP,
    MOUTH_DEPTH,
    UPPER_LIP,
    Expression,
    Image,
    Points,
    Pose,
    Puppet,
)
from scipy.interpolate import PchipInterpolator

Field = NDArray[np.float32]

WARP_GRID_PX = 5
SPLINE_RIDGE = 1e-4
SEAM_BLEND_PX = 7.0  # blend width of the two layers beside the mouth
LIP_EDGE_PX = 1.3
CLOSED_SEAM_PX = 1.8  # the dark line between shut lips
LIP_SHADOW_PX = 9.0
TEETH_LIGHT = 0.92
SHADOWED_TEETH_RGB = (0.55, 0.42, 0.38)  # light under the upper lip, tinted by it
SEAM_RGB = (120.0, 52.0, 50.0)
SEAM_FADE_PX = (2.0, 7.0)  # gap heights over which the dark seam fades into the teeth
LASH_RGB = (62.0, 40.0, 32.0)
LASH_PX = 1.8
LID_LIGHT = 0.92
LID_WIDER_PX = 6.0  # dlib's eye corners are inside the lashes
LID_OVERLAP_PX = 7.5  # the lid starts above the open eye's lashes, to cover them
LID_SKIN_PX = 6.0  # skin between lid and brow, stretched to make the lid
HAIR_POINTS = 14


def _spline(centres: Points, offsets: Points, at: Points) -> Points:
    """Thin-plate spline through `offsets` at `centres`, evaluated at `at`."""

    def kernel(a: Points, b: Points) -> Points:
        square = ((a[:, None] - b[None]) ** 2).sum(-1)
        return square * np.log(square + 1e-12)

    def affine(p: Points) -> Points:
        return np.hstack([np.ones((len(p), 1)), p])

    # Near-unit coordinates keep the system well conditioned.
    c, q = centres / FACE_WIDTH_PX, at / FACE_WIDTH_PX
    n = len(c)
    system = np.zeros((n + 3, n + 3))
    system[:n, :n] = kernel(c, c) + SPLINE_RIDGE * np.eye(n)
    system[:n, n:] = affine(c)
    system[n:, :n] = affine(c).T
    weights = np.linalg.solve(system, np.vstack([offsets, np.zeros((3, 2))]))
    return kernel(q, c) @ weights[:n] + affine(q) @ weights[n:]


def _smoothstep(x: NDArray[np.floating]) -> NDArray[np.floating]:
    t = np.clip(x, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


class Painter:
    """Draws frames of one puppet."""

    def __init__(self, puppet: Puppet) -> None:
        self.puppet = puppet
        ys, xs = np.mgrid[0:FRAME_HEIGHT_PX, 0:FRAME_WIDTH_PX].astype(np.float32)
        self.xs, self.ys = xs, ys
        self.reach = self._reach()[..., None]
        gx = np.arange(0, FRAME_WIDTH_PX + WARP_GRID_PX, WARP_GRID_PX)
        gy = np.arange(0, FRAME_HEIGHT_PX + WARP_GRID_PX, WARP_GRID_PX)
        self.grid = np.stack(np.meshgrid(gx, gy), axis=-1).astype(np.float64)
        self.hair, self.still = self._anchors()
        lips_up, lips_down = set(UPPER_LIP), set(LOWER_LIP)
        every = range(len(puppet.source))
        self.above = [i for i in every if i not in lips_down]
        self.below = [i for i in every if i not in lips_up]

    def _reach(self) -> Field:
        """Mask: 1 on the head, falling to 0 on the background, which must not move."""
        u = self.puppet.eye_px
        centre = self.puppet.source[[0, 16, 27]].mean(axis=0)
        tall = np.where(self.ys < centre[1], 1.30, 2.0) * u
        radius = np.hypot((self.xs - centre[0]) / (1.55 * u), (self.ys - centre[1]) / tall)
        return _smoothstep((1.35 - radius) / 0.35).astype(np.float32)

    def _anchors(self) -> tuple[Points, Points]:
        """Points of the hair, which move with the head, and of the collar, which stay."""
        u = self.puppet.eye_px
        centre = self.puppet.source[[0, 16, 27]].mean(axis=0)
        turn = np.linspace(np.pi * 0.97, np.pi * 2.03, HAIR_POINTS)
        hair = centre + np.stack([1.45 * np.cos(turn), 1.25 * np.sin(turn)], axis=1) * u
        chin = self.puppet.source[8]
        collar = np.array([(-1.6, 0.1), (-0.9, 0.5), (0.0, 0.65), (0.9, 0.5), (1.6, 0.1)])
        return hair, chin + collar * u

    def _displacement(self, points: Points, hair: Points, use: list[int]) -> Field:
        """For every pixel of the frame, the offset of its source pixel in the portrait."""
        target = np.vstack([points[use], hair, self.still])
        source = np.vstack([self.puppet.source[use], self.hair, self.still])
        coarse = _spline(target, source - target, self.grid.reshape(-1, 2))
        coarse = coarse.reshape(self.grid.shape).astype(np.float32)
        step = np.float32(WARP_GRID_PX)
        return cv2.remap(coarse, self.xs / step, self.ys / step, cv2.INTER_LINEAR)

    def _sample(self, picture: NDArray, displacement: Field) -> NDArray[np.float32]:
        moved = displacement * self.reach
        return cv2.remap(
            picture,
            self.xs + moved[..., 0],
            self.ys + moved[..., 1],
            cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        ).astype(np.float32)

    def _lip_lines(self, p: Points) -> tuple[Field, Field, Field]:
        """Lower edge of the upper lip, upper edge of the lower one, and the mask between them."""
        left, right = p[INNER_CORNERS[0]], p[INNER_CORNERS[1]]
        xs = np.arange(FRAME_WIDTH_PX, dtype=np.float64)
        inside = (xs > left[0]) & (xs < right[0])
        at = np.clip(xs, left[0], right[0])

        def line(ids: tuple[int, ...]) -> Points:
            knots = np.vstack([left, p[list(ids)], right])
            return PchipInterpolator(knots[:, 0], knots[:, 1])(at)

        top, bottom = line((61, 62, 63)), line((67, 66, 65))
        across = np.clip((at - left[0]) / (right[0] - left[0]), 0.0, 1.0)
        least = CLOSED_SEAM_PX * np.sqrt(np.sin(np.pi * across) + 1e-9)
        middle, half = (top + bottom) / 2.0, np.maximum(bottom - top, least) / 2.0
        wide = cv2.GaussianBlur(inside.astype(np.float32)[None], (0, 0), 2.0)[0]
        return (
            (middle - half).astype(np.float32)[None],
            (middle + half).astype(np.float32)[None],
            wide[None],
        )

    def draw(self, look: Expression, pose: Pose) -> Image:
        """Draw the frame for an expression and a pose."""
        puppet = self.puppet
        p = puppet.landmarks(look, pose)
        hair = puppet.placed(self.hair, np.zeros(len(self.hair)), look, pose)
        smile = float(np.clip(look.smile, 0.0, 1.0))
        skin = cv2.addWeighted(puppet.portrait, smile, puppet.unsmiling, 1.0 - smile, 0.0)
        up = self._displacement(p, hair, self.above)
        down = self._displacement(p, hair, self.below)

        top, bottom, between = self._lip_lines(p)
        middle = (top + bottom) / 2.0
        soft = SEAM_BLEND_PX * (1.0 - between) + LIP_EDGE_PX * between
        lower = _smoothstep((self.ys - middle) / soft + 0.5)[..., None]
        frame = self._sample(skin, up) * (1.0 - lower) + self._sample(skin, down) * lower

        gap = np.minimum(self.ys - top, bottom - self.ys)
        open_ = (_smoothstep(gap / LIP_EDGE_PX + 0.5) * between)[..., None]
        inside = self._inside(look, pose, top, bottom)
        frame = frame * (1.0 - open_) + inside * open_
        if pose.blink > 0.0:
            frame = self._lids(frame, p, pose.blink)
        return np.clip(frame.round(), 0, 255).astype(np.uint8)

    def _inside(
        self, look: Expression, pose: Pose, top: Field, bottom: Field
    ) -> NDArray[np.float32]:
        """The inside of the mouth: teeth in the shadow of the upper lip, or only a dark seam."""
        depth = np.clip((self.ys - top) / LIP_SHADOW_PX, 0.0, 1.0)[..., None]
        shadow = np.array(SHADOWED_TEETH_RGB, np.float32)
        lit = shadow + (TEETH_LIGHT - shadow) * depth
        lit = lit + (1.0 - lit) * 0.8 * float(np.clip(look.smile, 0.0, 1.0))
        start, end = SEAM_FADE_PX
        shown = _smoothstep((bottom - top - start) / (end - start))[..., None]
        seam = np.array(SEAM_RGB, np.float32)
        return seam * (1.0 - shown) + self._skull(look, pose) * lit * shown

    def _lids(self, frame: NDArray[np.float32], p: Points, blink: float) -> NDArray[np.float32]:
        """Draw the upper lids over the eyes; a warp would smear brow and cheek."""
        xs = np.arange(FRAME_WIDTH_PX, dtype=np.float64)
        lash = np.array(LASH_RGB, np.float32)
        wider = np.array([LID_WIDER_PX, 0.0])
        for first in (36, 42):
            left, a, b, right, c, d = p[first : first + 6]
            left, right = left - wider, right + wider
            upper = np.array([left, a, b, right]) - np.array([0.0, LID_OVERLAP_PX])
            lower = np.array([left, d, c, right]) + np.array([0.0, 1.0])
            x = np.clip(xs, left[0], right[0])
            crease = PchipInterpolator(upper[:, 0], upper[:, 1])(x).astype(np.float32)
            shut = PchipInterpolator(lower[:, 0], lower[:, 1])(x).astype(np.float32)
            edge = crease + np.float32(blink) * (shut - crease)
            down = np.clip((self.ys - crease) / np.maximum(edge - crease, 1.0), 0.0, 1.0)
            above = crease - LID_SKIN_PX * (1.3 - down)
            skin = cv2.remap(frame, self.xs, above.astype(np.float32), cv2.INTER_LINEAR)
            along = ((xs > left[0]) & (xs < right[0])).astype(np.float32)
            along = cv2.GaussianBlur(along[None], (0, 0), 2.0)
            lid = _smoothstep((self.ys - crease) / 3.0) * _smoothstep(edge - self.ys + 0.5)
            line = np.clip(1.0 - np.abs(self.ys - edge) / LASH_PX, 0.0, 1.0) * 0.8
            for alpha, colour in ((lid * along, skin * LID_LIGHT), (line * along, lash)):
                frame = frame * (1.0 - alpha[..., None]) + colour * alpha[..., None]
        return frame

    def _skull(self, look: Expression, pose: Pose) -> NDArray[np.float32]:
        """The teeth, which move only with the head: lips slide over them."""
        corners = self.puppet.source[list(CORNERS)]
        box = np.vstack([corners, corners + np.array([0.0, self.puppet.eye_px])])
        moved = self.puppet.placed(box, np.full(len(box), MOUTH_DEPTH), look, pose)
        matrix, _ = cv2.estimateAffinePartial2D(box, moved)
        return cv2.warpAffine(
            self.puppet.teeth,
            matrix,
            (FRAME_WIDTH_PX, FRAME_HEIGHT_PX),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
