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

import numpy as np
from numpy.typing import NDArray

from avsent.errors import InputError
from avsent.faces.geometry import warp
from avsent.faces.loaded import loaded
from avsent.faces.points import LANDMARK_COUNT, Box

CHIP_FACE_PX = 192
"""Width of the detector's box in the chip that the predictor sees."""
CHIP_MARGIN_PX = 54
"""Border round the box, so that chin, brows and the jaw of a turned head are in the chip: of 2100
faces no landmark lay further outside than 47 pixels."""

PREDICTOR_FILE = "shape_predictor_68_face_landmarks.dat"


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
        except (RuntimeError, ValueError, MemoryError) as error:  # sizes in it may be anything
            raise InputError(f"{file}: not a dlib landmark model; check the file") from error

    def __call__(self, gray: NDArray[np.uint8], box: Box) -> NDArray[np.float32]:
        """Landmarks [68, 2] (x, y) in pixels of ``gray`` [H, W] for the face in ``box``."""
        left, top, right, bottom = box
        side = max(right - left, bottom - top, 4.0)
        scale, near = CHIP_FACE_PX / side, CHIP_MARGIN_PX
        to_chip = np.array([[scale, 0.0, near - left * scale], [0.0, scale, near - top * scale]])
        chip = warp(gray, to_chip, CHIP_FACE_PX + 2 * near)
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
        points += np.array([left - near / scale, top - near / scale], dtype=np.float32)
        return points
