"""68 facial landmarks with dlib, on a chip of fixed size so that precision never depends on
how large the face is in the picture.

dlib rounds landmarks to whole pixels. On a face of 60 pixels that rounding is as large as the
movement of a mouth corner, and statistics of it carry nothing over to other recordings. The
predictor therefore always runs on a copy of the face enlarged or reduced to ``CHIP_FACE_PX``.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from avsent.errors import InputError
from avsent.faces.loaded import loaded

LANDMARK_COUNT = 68
CHIP_FACE_PX = 192
"""Width of the detector's box in the chip that the predictor sees."""
CHIP_MARGIN = 0.4
"""Border round the box, as a share of its width, so that the chin and brows are in the chip."""

LEFT_EYE = slice(36, 42)
RIGHT_EYE = slice(42, 48)
INNER_MOUTH = slice(60, 68)

PREDICTOR_FILE = "shape_predictor_68_face_landmarks.dat"

Box = tuple[float, float, float, float]
"""left, top, right, bottom in pixels"""


def model_file(name: str) -> Path | None:
    """The file ``name`` of the installed ``face_recognition_models``, if it is there."""
    # The package itself is not imported: it needs pkg_resources, which newer setuptools lack.
    spec = importlib.util.find_spec("face_recognition_models")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "models" / name
        if path.is_file():
            return path
    return None


def predictor_path(user_path: Path | None = None) -> Path:
    """Where dlib's 68-point model lies: the user's file, or the one of ``face_recognition_models``.

    Raises:
        InputError: the file is not there.
    """
    if user_path is not None:
        if not user_path.is_file():
            raise InputError(
                f"{user_path}: no such landmark model; give --landmarks a dlib 68-point .dat file"
            )
        return user_path
    installed = model_file(PREDICTOR_FILE)
    if installed is not None:
        return installed
    raise InputError(
        "dlib's 68-point landmark model is missing; "
        "run 'pip install face_recognition_models' or give a file with --landmarks"
    )


class LandmarkPredictor:
    """dlib's 68-point shape predictor on size-normalised chips."""

    def __init__(self, path: Path | None = None) -> None:
        import dlib

        self._dlib: Any = dlib
        file = predictor_path(path)
        try:
            self._predictor = loaded(str(file), lambda: dlib.shape_predictor(str(file)))
        except RuntimeError as error:
            raise InputError(f"{file}: not a dlib landmark model; check the file") from error

    def __call__(self, gray: NDArray[np.uint8], box: Box) -> NDArray[np.float32]:
        """Landmarks [68, 2] (x, y) in pixels of ``gray`` [H, W] for the face in ``box``."""
        left, top, right, bottom = box
        side = max(right - left, bottom - top, 4.0)
        scale = CHIP_FACE_PX / side
        margin = CHIP_MARGIN * side
        chip_px = round(CHIP_FACE_PX * (1 + 2 * CHIP_MARGIN))
        to_chip = np.array(
            [[scale, 0.0, -(left - margin) * scale], [0.0, scale, -(top - margin) * scale]]
        )
        shrinking = scale < 0.5
        source = gray
        if shrinking:
            # Area averaging first: a plain warp to a far smaller size would alias.
            source, to_chip = _reduced(gray, box, margin, to_chip)
        chip = cv2.warpAffine(
            source,
            to_chip,
            (chip_px, chip_px),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        near = round(CHIP_MARGIN * CHIP_FACE_PX)
        shape = self._predictor(
            chip,
            self._dlib.rectangle(
                near,
                near,
                near + round((right - left) * scale),
                near + round((bottom - top) * scale),
            ),
        )
        points = np.array([(p.x, p.y) for p in shape.parts()], dtype=np.float32)
        if points.shape != (LANDMARK_COUNT, 2):
            raise InputError("the landmark model does not give 68 points; avsent needs 68")
        points /= np.float32(scale)
        points += np.array([left - margin, top - margin], dtype=np.float32)
        return points


def _reduced(
    gray: NDArray[np.uint8], box: Box, margin: float, to_chip: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The region round ``box``, halved until one more halving would be below chip size."""
    height, width = gray.shape
    x0, y0 = max(0, int(box[0] - margin)), max(0, int(box[1] - margin))
    x1, y1 = min(width, int(box[2] + margin) + 1), min(height, int(box[3] + margin) + 1)
    region = gray[y0:y1, x0:x1]
    scale = float(to_chip[0, 0])
    factor = 2 ** int(np.log2(1 / scale))
    if region.size == 0 or min(region.shape) < 2 * factor:
        return gray, to_chip
    small_w, small_h = region.shape[1] // factor, region.shape[0] // factor
    small = cv2.resize(
        region[: small_h * factor, : small_w * factor],
        (small_w, small_h),
        interpolation=cv2.INTER_AREA,
    )
    moved = to_chip.copy()
    # x_full = x0 + factor * (x_small + 0.5) - 0.5
    offset = (factor - 1) / 2
    moved[:, 2] += to_chip[:, :2] @ np.array([x0 + offset, y0 + offset])
    moved[:, :2] *= factor
    return np.ascontiguousarray(small), moved


def eye_centres(landmarks: NDArray[np.floating[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Centres of the two eyes [..., 2] of ``landmarks`` [..., 68, 2]; left in the picture first."""
    return landmarks[..., LEFT_EYE, :].mean(axis=-2), landmarks[..., RIGHT_EYE, :].mean(axis=-2)


def eye_distance(landmarks: NDArray[np.floating[Any]]) -> NDArray[Any]:
    """Distance of the eye centres in pixels [...]: the unit in which faces are measured."""
    left, right = eye_centres(landmarks)
    distance: NDArray[Any] = np.linalg.norm(right - left, axis=-1)
    return distance
