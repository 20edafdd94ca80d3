"""FER2013 stills: dlib landmarks of the faces, for an expression encoder that has seen many people.

The corpus (Goodfellow et al. 2013) holds 35,887 grey faces of 48×48 pixels in seven classes.
Its images are too small for dlib's detector; they are enlarged first, as measured useful.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from avsent.data.npz import Arrays, load_arrays
from avsent.errors import DatasetError
from avsent.faces.geometry import box_of_landmarks
from avsent.faces.landmarks import LandmarkPredictor

ENLARGE = 4
BORDER_PX = 40
"""The faces fill their images; the detector wants some room round them."""
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, slots=True, eq=False)
class FerFaces:
    """Landmarks [N, 68, 2] float32 (pixels of the enlarged image), class index [N], ``classes``,
    and ``numbers`` [N]: which picture of the split each face is in."""

    landmarks: NDArray[np.float32]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    numbers: NDArray[np.int64]


def read_fer2013(
    folder: Path,
    split: str,
    *,
    cache: Path | None = None,
    on_item: Callable[[int, int], None] = lambda done, total: None,
) -> FerFaces:
    """Landmarks of one split of ``folder/fer2013.npz``; faces that dlib does not find are left out.

    Images that occur in more than one split are dropped from ``train``. ``cache`` is a folder
    that keeps the landmarks for the next run.

    Raises:
        DatasetError: the file is missing or holds no such split.
    """
    kept = None if cache is None else cache / f"fer2013-{split}-faces.npz"
    if kept is not None and kept.is_file():
        data = load_arrays(kept)
        classes = tuple(data["classes"].tolist())
        return FerFaces(data["landmarks"], data["labels"], classes, data["numbers"])
    jpegs, labels, classes, elsewhere = _read(folder, split)
    found = _find(jpegs, elsewhere, on_item)
    numbers = np.array([index for index, _ in found], dtype=np.int64)
    faces = FerFaces(
        np.stack([points for _, points in found]).astype(np.float32),
        labels[numbers],
        classes,
        numbers,
    )
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        unfinished = kept.with_name(f"unfinished-{kept.name}")
        np.savez_compressed(
            unfinished,
            landmarks=faces.landmarks,
            labels=faces.labels,
            classes=np.array(classes),
            numbers=numbers,
        )
        unfinished.replace(kept)
    return faces


@dataclass(frozen=True, slots=True, eq=False)
class FerImages:
    """Grey pictures [N, 48, 48] uint8, class index [N], ``classes``, and ``numbers`` [N]: which
    picture of the split each one is."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    numbers: NDArray[np.int64]


def read_fer2013_images(folder: Path, split: str) -> FerImages:
    """The pictures of one split of ``folder/fer2013.npz``.

    Images that occur in more than one split are dropped from ``train``.

    Raises:
        DatasetError: the file is missing or holds no such split.
    """
    jpegs, labels, classes, elsewhere = _read(folder, split)
    kept = [index for index, jpeg in enumerate(jpegs) if jpeg not in elsewhere]
    images = [_decoded(jpegs[index]) for index in kept]
    return FerImages(np.stack(images), labels[kept], classes, np.array(kept, dtype=np.int64))


def _read(
    folder: Path, split: str
) -> tuple[list[bytes], NDArray[np.int64], tuple[str, ...], set[bytes]]:
    """JPEGs, labels and classes of a split, and which JPEGs must not be used in it."""
    source = folder / "fer2013.npz"
    if not source.is_file():
        raise DatasetError(f"{source}: FER2013 is not there; give the folder that holds it")
    data = load_arrays(source)
    if f"{split}_jpeg" not in data:
        raise DatasetError(f"{source}: no split named {split}; there are {', '.join(SPLITS)}")
    classes = tuple(str(name) for name in data["classes"])
    images = {name: _jpegs(data, name) for name in SPLITS}
    labels = data[f"{split}_label"].astype(np.int64)
    elsewhere: set[bytes] = set()
    if split == "train":
        elsewhere = {jpeg for name in SPLITS[1:] for jpeg in images[name]}
    return images[split], labels, classes, elsewhere


def _jpegs(data: Arrays, split: str) -> list[bytes]:
    blob, offset = data[f"{split}_jpeg"], data[f"{split}_offset"]
    return [blob[offset[i] : offset[i + 1]].tobytes() for i in range(len(offset) - 1)]


def _decoded(jpeg: bytes) -> NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(jpeg, dtype=np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise DatasetError("FER2013: an image cannot be decoded; restore fer2013.npz")
    return np.asarray(image, dtype=np.uint8)


def _find(
    jpegs: list[bytes], skip: set[bytes], on_item: Callable[[int, int], None]
) -> list[tuple[int, NDArray[np.float32]]]:
    """(index, landmarks) of every image in which dlib finds a face."""
    import dlib

    detector, predictor = dlib.get_frontal_face_detector(), LandmarkPredictor()
    found = []
    for index, jpeg in enumerate(jpegs):
        on_item(index, len(jpegs))
        if jpeg in skip:
            continue
        image = _decoded(jpeg)
        large = cv2.resize(image, None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC)
        large = cv2.copyMakeBorder(
            large, BORDER_PX, BORDER_PX, BORDER_PX, BORDER_PX, cv2.BORDER_REPLICATE
        )
        boxes, scores, _ = detector.run(large, 0, -0.3)
        if len(boxes) == 0:
            continue
        box = boxes[int(np.argmax(scores))]
        gray = np.asarray(large, dtype=np.uint8)
        corners = (float(box.left()), float(box.top()), float(box.right()), float(box.bottom()))
        # Again in the box that the landmarks themselves span, as for a face tracked in a video.
        found.append((index, predictor(gray, box_of_landmarks(predictor(gray, corners)))))
    return found
