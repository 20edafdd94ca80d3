"""dlib's 68 facial landmarks on a chip of fixed size, smoothed, and the crop aligned by them.

dlib rounds landmarks to whole pixels. On a face of 60 pixels that error is as large as the
movement of a mouth corner, so statistics of it do not transfer to other recordings. Therefore the
predictor always runs on a copy of the face scaled to ``CHIP_FACE_PX``.
"""

import importlib.util
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avsent.errors import InputError
from avsent.extraction.faces import geometry
from avsent.extraction.faces.geometry import Box, Gray, Points

CHIP_FACE_PX = 192  # width of the detector's box in the predictor's chip
CHIP_MARGIN_PX = 54
"""Border round the box for chin, brows and the jaw of a turned head: of 2100 faces no landmark lay
further outside than 47 pixels."""

PREDICTOR_FILE = "shape_predictor_68_face_landmarks.dat"

_LOADED = threading.local()


def load_once(key: str, load: Callable[[], Any]) -> Any:
    """The dlib model that ``load`` returns, loaded once per thread for each ``key``: a file is
    100 MB, and two threads must not use one of dlib's objects at the same time."""
    if key not in vars(_LOADED):
        setattr(_LOADED, key, load())
    return getattr(_LOADED, key)


def model_file(name: str) -> Path | None:
    """Path of the file ``name`` of the installed ``face_recognition_models``, if it is there."""
    # Importing the package would need pkg_resources, which newer setuptools lack.
    spec = importlib.util.find_spec("face_recognition_models")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "models" / name
        if path.is_file():
            return path
    return None


def predictor_path(user_path: Path | None = None) -> Path:
    """Path of dlib's 68-point model: the user's file, or that of ``face_recognition_models``.
    Raises InputError if the file is not there."""
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
            self._predictor = load_once(str(file), lambda: dlib.shape_predictor(str(file)))
        except (RuntimeError, ValueError, MemoryError) as error:  # a wrong file states any size
            raise InputError(f"{file}: not a dlib landmark model; check the file") from error

    def __call__(self, gray: Gray, box: Box) -> NDArray[np.float32]:
        """Landmarks [68, 2] (x, y) in pixels of ``gray`` [H, W] for the face in ``box``."""
        left, top, right, bottom = box
        side = max(right - left, bottom - top, 4.0)
        scale, near = CHIP_FACE_PX / side, CHIP_MARGIN_PX
        to_chip = np.array([[scale, 0.0, near - left * scale], [0.0, scale, near - top * scale]])
        chip = geometry.warp(gray, to_chip, CHIP_FACE_PX + 2 * near)
        width, height = round((right - left) * scale), round((bottom - top) * scale)
        face = self._dlib.rectangle(near, near, near + width, near + height)
        parts = self._predictor(chip, face).parts()
        points = np.array([(p.x, p.y) for p in parts], dtype=np.float32)
        if points.shape != (geometry.LANDMARK_COUNT, 2):
            raise InputError("the landmark model does not give 68 points; avsent needs 68")
        points /= np.float32(scale)
        points += np.array([left - near / scale, top - near / scale], dtype=np.float32)
        return points


NOSE_BASE = 33
MOUTH_CORNERS = (48, 54)

EYE_DISTANCE_PX = 35.0  # distance of the eye centres in the crop
EYE_ROW_PX = 36.5
"""Row of the eyes. Both are means over FER2013, so that faces are framed as in the pictures from
which the pixel network learnt."""

# Distances below the eyes in eye distances: means over frontal faces
NOSE_BASE_DROP = 0.71
MOUTH_DROP = 1.08

TEMPLATE = np.array(
    [
        [(geometry.CROP_PX - 1 - EYE_DISTANCE_PX) / 2, EYE_ROW_PX],
        [(geometry.CROP_PX - 1 + EYE_DISTANCE_PX) / 2, EYE_ROW_PX],
        [(geometry.CROP_PX - 1) / 2, EYE_ROW_PX + NOSE_BASE_DROP * EYE_DISTANCE_PX],
        [(geometry.CROP_PX - 1) / 2, EYE_ROW_PX + MOUTH_DROP * EYE_DISTANCE_PX],
    ]
)
"""Eyes, base of the nose and middle of the mouth in the crop [4, 2]."""

# Weight of each landmark in each anchor [4, 68]: one product instead of three means
_SHARES = np.zeros((4, geometry.LANDMARK_COUNT))
_SHARES[0, geometry.LEFT_EYE] = _SHARES[1, geometry.RIGHT_EYE] = 1 / 6
_SHARES[2, NOSE_BASE] = 1
_SHARES[3, list(MOUTH_CORNERS)] = 1 / 2
_TEMPLATE_POINTS = geometry.as_complex(TEMPLATE)


def anchors(landmarks: Points) -> NDArray[np.float64]:
    """The eye centres, nose base and middle of the mouth corners [4, 2] of ``landmarks`` [68, 2].

    Mouth corners, not lips: speaking must not shift the crop.
    """
    return np.asarray(_SHARES @ landmarks)


def align_crop(gray: Gray, landmarks: Points) -> Gray:
    """The face with ``landmarks`` [68, 2] in ``gray`` [H, W] as an upright crop [96, 96]."""
    turn, shift = geometry.fit_similarity(geometry.as_complex(anchors(landmarks)), _TEMPLATE_POINTS)
    return geometry.warp(gray, geometry.matrix_of(turn, shift), geometry.CROP_PX)


MIN_CUTOFF_HZ = 2.0  # cut-off frequency of the smoothing for a face at rest
CUTOFF_PER_SPEED = 4.0  # rise of the cut-off in Hz per eye distance per second
MAX_GAP_S = 0.5  # after a longer gap the filter restarts


class LandmarkSmoother:
    """Smooths the landmarks of one face, frame by frame: the faster a point, the less."""

    def __init__(self) -> None:
        self._time_s: float | None = None
        self._state: NDArray[np.float32] | None = None

    def __call__(self, time_s: float, landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Smoothed copy of ``landmarks`` [68, 2] (pixels) seen at ``time_s``."""
        state, last_s = self._state, self._time_s
        self._time_s = time_s
        if state is None or last_s is None or not 0 < time_s - last_s <= MAX_GAP_S:
            self._state = landmarks.astype(np.float32)
            return self._state.copy()
        step_s = time_s - last_s
        moved = landmarks - state
        unit = max(math.hypot(*geometry.eye_axis(landmarks)), 1e-3)
        speed = np.hypot(moved[:, :1], moved[:, 1:]) / (unit * step_s)
        cutoff_hz = MIN_CUTOFF_HZ + CUTOFF_PER_SPEED * speed
        share = 1.0 - np.exp(-2.0 * math.pi * cutoff_hz * step_s)
        self._state = (state + share * moved).astype(np.float32)
        return self._state.copy()


def smooth_landmarks(times_s: Points, landmarks: Points) -> NDArray[np.float32]:
    """The whole track [T, 68, 2] at ``times_s`` [T] through one :class:`LandmarkSmoother`."""
    smoother = LandmarkSmoother()
    pairs = zip(times_s, landmarks, strict=True)
    frames = [smoother(float(time_s), frame.astype(np.float32)) for time_s, frame in pairs]
    return np.stack(frames) if frames else np.zeros((0, 68, 2), dtype=np.float32)
