"""A talking puppet: a portrait whose landmarks follow an expression and a pose.

`puppet.py` computes the landmarks, `warp.py` draws the picture. Lengths are in units of the
distance between the eyes unless a name says pixels; x grows to the right and y downward.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import cv2
import dlib
import numpy as np
from numpy.typing import NDArray
from skimage.data import astronaut

Points = NDArray[np.float64]
Image = NDArray[np.uint8]

FRAME_WIDTH_PX = 640
FRAME_HEIGHT_PX = 480
FACE_WIDTH_PX = 205.0
FACE_CENTRE_PX = (320.0, 255.0)
DETECT_SCALE = 3.0  # the portrait's face is 92 px wide, just above dlib's minimum
FOLD_BLUR_PX = 8.0
MOUTH_DARK_RGB = (50.0, 20.0, 18.0)

CORNERS = (48, 54)
UPPER_OUTER = (49, 50, 51, 52, 53)
LOWER_OUTER = (55, 56, 57, 58, 59)
UPPER_INNER = (61, 62, 63)
LOWER_INNER = (67, 66, 65)
INNER_CORNERS = (60, 64)
LOWER_LIP = (*LOWER_OUTER, *LOWER_INNER)
UPPER_LIP = (*UPPER_OUTER, *UPPER_INNER)
MOUTH = tuple(range(48, 68))
UPPER_LIDS = (37, 38, 43, 44)
LOWER_LIDS = (41, 40, 47, 46)
BROWS = tuple(range(17, 27))
LEFT_CHEEK, RIGHT_CHEEK, BETWEEN_BROWS = 68, 69, 70

# Depth in front of the ears: turning the head is a sideways shift in proportion to it.
NOSE_DEPTH, MOUTH_DEPTH, EYE_DEPTH, JAW_DEPTH = 1.0, 0.75, 0.55, 0.25


@dataclass(frozen=True)
class Expression:
    """A facial expression, as offsets from the neutral face, x outward and y down."""

    smile: float = 0.0  # 0 neutral, 1 as photographed
    corner_drop: float = 0.0
    corner_in: float = 0.0
    lip_press: float = 0.0
    inner_brow_rise: float = 0.0
    outer_brow_rise: float = 0.0
    brow_pinch: float = 0.0
    squint: float = 0.0  # 0 open as photographed, 1 shut
    cheek_rise: float = 0.0
    tilt_deg: float = 0.0
    head_drop: float = 0.0

    def toward(self, other: Expression, amount: float) -> Expression:
        """Interpolate from this expression (`amount` 0) to `other` (1)."""
        pairs = {k: (v, getattr(other, k)) for k, v in vars(self).items()}
        return Expression(**{k: a + amount * (b - a) for k, (a, b) in pairs.items()})


@dataclass(frozen=True)
class Pose:
    """What moves within an utterance: the mouth, the lids and the head."""

    mouth_open: float = 0.0  # 0 shut, 1 as far as speech opens it
    blink: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    turn: float = 0.0
    roll_deg: float = 0.0


def landmark_model() -> Path:
    """Path of the 68-point model. Importing its package would need setuptools."""
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or spec.origin is None:
        raise SystemExit("face_recognition_models is missing: pip install face_recognition_models")
    return Path(spec.origin).parent / "models" / "shape_predictor_68_face_landmarks.dat"


class Puppet:
    """The portrait, its neutral landmarks, and the landmarks of an expression and a pose."""

    def __init__(self) -> None:
        portrait = astronaut()
        big = cv2.resize(
            portrait, None, fx=DETECT_SCALE, fy=DETECT_SCALE, interpolation=cv2.INTER_CUBIC
        )
        face = dlib.get_frontal_face_detector()(cv2.cvtColor(big, cv2.COLOR_RGB2GRAY), 0)[0]
        shape = dlib.shape_predictor(str(landmark_model()))(big, face)
        found = np.array([(p.x, p.y) for p in shape.parts()]) / DETECT_SCALE

        zoom = FACE_WIDTH_PX / (found[16, 0] - found[0, 0])
        move = np.array(FACE_CENTRE_PX) - zoom * found[[0, 8, 16]].mean(axis=0)
        matrix = np.array([[zoom, 0.0, move[0]], [0.0, zoom, move[1]]])
        self.portrait: Image = cv2.warpAffine(
            portrait,
            matrix,
            (FRAME_WIDTH_PX, FRAME_HEIGHT_PX),
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
        self.source = self._with_cheeks(found * zoom + move)
        self.eye_px = float(
            np.linalg.norm(self.source[36:42].mean(axis=0) - self.source[42:48].mean(axis=0))
        )
        self.teeth = self._teeth()
        self._part_lips()
        self.neutral = self._neutral()
        self.depth = self._depth()
        self.unsmiling = self._without_folds()

    @staticmethod
    def _with_cheeks(p: Points) -> Points:
        extra = [
            p[[2, 31, 41]].mean(axis=0),
            p[[14, 35, 46]].mean(axis=0),
            p[[21, 22]].mean(axis=0),
        ]
        return np.vstack([p, extra])

    def _part_lips(self) -> None:
        """Move the inner lip line onto the lips, so that no teeth move with a closing lip."""
        self.source[list(UPPER_INNER), 1] -= 0.010 * self.eye_px
        self.source[list(LOWER_INNER), 1] += 0.022 * self.eye_px

    def _neutral(self) -> Points:
        """The neutral face: a narrower mouth, its corners level with the closed lips."""
        p, u = self.source.copy(), self.eye_px
        middle = p[list(CORNERS), 0].mean()
        p[list(MOUTH), 0] = middle + (p[list(MOUTH), 0] - middle) * 0.80
        nose = p[33, 1]
        seam = nose + 0.30 * u
        p[list(CORNERS), 1] = seam + 0.012 * u
        p[list(INNER_CORNERS), 1] = seam + 0.008 * u
        p[list(UPPER_INNER), 1] = seam
        p[list(LOWER_INNER), 1] = seam
        upper = np.array([-0.055, -0.098, -0.085, -0.098, -0.055])
        lower = np.array([0.085, 0.130, 0.142, 0.130, 0.085])
        p[list(UPPER_OUTER), 1] = seam + upper * u
        p[list(LOWER_OUTER), 1] = seam + lower * u
        p[[LEFT_CHEEK, RIGHT_CHEEK], 1] += 0.05 * u
        p[[4, 5, 11, 12], 0] += np.array([0.02, 0.02, -0.02, -0.02]) * u
        return p

    def _depth(self) -> NDArray[np.float64]:
        depth = np.full(len(self.source), EYE_DEPTH)
        depth[:17] = JAW_DEPTH * np.sin(np.linspace(0.0, np.pi, 17))
        depth[27:36] = NOSE_DEPTH
        depth[list(MOUTH)] = MOUTH_DEPTH
        return depth

    def _without_folds(self) -> Image:
        """The portrait with the creases beside the photographed smile smoothed away."""
        mask = np.zeros((FRAME_HEIGHT_PX, FRAME_WIDTH_PX), np.uint8)
        for nostril, corner, side in ((31, 48, -1.0), (35, 54, 1.0)):
            wing = self.source[nostril] + (side * 0.15 * self.eye_px, -0.02 * self.eye_px)
            cheek = self.source[corner] + (side * 0.15 * self.eye_px, -0.14 * self.eye_px)
            end = self.source[corner] + (side * 0.14 * self.eye_px, 0.06 * self.eye_px)
            path = np.array([wing, cheek, end]).round().astype(np.int32)
            cv2.polylines(mask, [path], False, 255, int(0.15 * self.eye_px))
        weight = cv2.GaussianBlur(mask, (0, 0), 0.06 * self.eye_px)[..., None] / 255.0
        smooth = cv2.GaussianBlur(self.portrait, (0, 0), FOLD_BLUR_PX)
        return (self.portrait * (1.0 - weight) + smooth * weight).round().astype(np.uint8)

    def _teeth(self) -> NDArray[np.float32]:
        """The inside of the mouth: the photographed teeth and the dark around them."""
        ring = self.source[[60, 61, 62, 63, 64, 65, 66, 67]]
        ring[5:, 1] -= 0.02 * self.eye_px  # the gum line, not the lip, ends the teeth
        mask = np.zeros((FRAME_HEIGHT_PX, FRAME_WIDTH_PX), np.float32)
        cv2.fillPoly(mask, [ring.round().astype(np.int32)], 1.0)
        mask = cv2.GaussianBlur(mask, (0, 0), 1.0)[..., None]
        dark = np.array(MOUTH_DARK_RGB, np.float32)
        return self.portrait.astype(np.float32) * mask + dark * (1.0 - mask)

    def landmarks(self, look: Expression, pose: Pose) -> Points:
        """Landmarks for an expression and a pose, in pixels."""
        u = self.eye_px
        p = self.neutral + look.smile * (self.source - self.neutral)
        out = np.sign(p[:, 0] - p[27, 0])
        p[list(CORNERS + INNER_CORNERS), 1] += look.corner_drop * u
        p[[49, 53, 55, 59], 1] += 0.45 * look.corner_drop * u
        p[list(MOUTH), 0] -= out[list(MOUTH)] * 0.5 * look.corner_in * u
        p[list(CORNERS + INNER_CORNERS), 0] -= out[[48, 54, 60, 64]] * 0.5 * look.corner_in * u
        p[list(UPPER_OUTER), 1] += look.lip_press * u
        p[list(LOWER_OUTER), 1] -= look.lip_press * u
        rise = np.interp(np.arange(5), [0, 4], [look.outer_brow_rise, look.inner_brow_rise])
        p[17:22, 1] -= rise * u
        p[22:27, 1] -= rise[::-1] * u
        p[[20, 21, 22, 23], 0] -= out[[20, 21, 22, 23]] * look.brow_pinch * u
        p[[LEFT_CHEEK, RIGHT_CHEEK], 1] -= look.cheek_rise * u

        opening = pose.mouth_open * u
        p[list(LOWER_LIP), 1] += np.repeat([0.20, 0.24], [5, 3]) * opening
        p[[66, 57], 1] += 0.03 * opening
        p[list(UPPER_LIP), 1] -= 0.03 * opening
        p[list(CORNERS + INNER_CORNERS), 1] += 0.05 * opening
        p[list(CORNERS + INNER_CORNERS), 0] -= out[[48, 54, 60, 64]] * 0.03 * opening
        p[4:13, 1] += 0.20 * np.sin(np.linspace(0.15, np.pi - 0.15, 9)) * opening

        gap = p[list(LOWER_LIDS), 1] - p[list(UPPER_LIDS), 1]
        p[list(UPPER_LIDS), 1] += 0.45 * look.squint * gap
        p[list(LOWER_LIDS), 1] -= 0.50 * look.squint * gap
        return self.placed(p, self.depth, look, pose)

    def placed(self, p: Points, depth: NDArray[np.float64], look: Expression, pose: Pose) -> Points:
        """Turn, tilt and shift the whole head about the base of the neck."""
        u = self.eye_px
        p = p + np.outer(depth, (pose.turn * u, 0.35 * look.head_drop * u))
        angle = np.deg2rad(pose.roll_deg + look.tilt_deg)
        spin = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        neck = self.source[8] + (0.0, 0.3 * u)
        move = np.array(pose.shift) * u + (0.0, look.head_drop * u)
        return (p - neck) @ spin.T + neck + move
