"""Pictures of faces: FER2013 with FER+'s votes, and strangers' faces from press photographs.

FER2013 (Goodfellow et al. 2013) holds 35,887 grey faces of 48×48 pixels. Its own labels are wrong
in a third of the pictures; FER+ (Barsoum et al. 2016) has ten annotators' votes for each.
"Strangers" are 11,075 faces of 4,500 persons, one label each, given by students.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from avsent.errors import DatasetError
from avsent.extraction.faces.geometry import box_of_landmarks
from avsent.extraction.faces.landmarks import LandmarkPredictor, align_crop
from avsent.extraction.features.face import PICTURE_PX, POINTS, normalise_landmarks
from avsent.labels import EMOTIONS, NEGATIVE, NEUTRAL, POSITIVE
from avsent.training.data.arrays import Arrays, load_arrays, save_arrays

FERPLUS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""Classes of the pictures, in FER+'s order."""
POLARITY = (NEUTRAL, POSITIVE, -1, NEGATIVE, NEGATIVE, NEGATIVE, NEGATIVE, NEGATIVE)
"""Polarity of each; surprise has none."""
AS_EMOTION = ("neutral", "happy", "surprised", "sad", "angry", "disgust", "fearful", None)
"""Each in the names of ``EMOTIONS``, which have no contempt."""
SPLITS = ("train", "valid", "test")
CORPORA = ("ferplus", "strangers")
STRANGERS_HELD, STRANGERS_VALID = 0.2, 0.1
"""Shares of the persons for test and for validation."""
FACE_PX = 192  # side of the enlarged picture that dlib sees; the faces nearly fill theirs
BORDER_PX = 40  # the detector needs some margin
LEAST_SCORE = -0.3  # of dlib's detector


@dataclass(frozen=True, slots=True, eq=False)
class Stills:
    """N pictures: ``grey`` [N, 48, 48] uint8; ``votes`` [N, 8]: shares of the classes ``FERPLUS``;
    ``person`` [N]; and, of faces that dlib finds (``found`` [N]), ``aligned`` [N, 48, 48] as in
    prediction and normalised ``landmarks`` [N, 51, 2]."""

    grey: NDArray[np.uint8]
    votes: NDArray[np.float32]
    person: NDArray[np.int64]
    found: NDArray[np.bool_]
    aligned: NDArray[np.uint8]
    landmarks: NDArray[np.float32]

    @property
    def majority(self) -> NDArray[np.int64]:
        """Class with most votes [N]."""
        return np.asarray(self.votes.argmax(axis=1), dtype=np.int64)

    @property
    def polarity(self) -> NDArray[np.int64]:
        """Polarity of the majority [N], −1 for surprise."""
        return np.asarray(np.array(POLARITY)[self.majority], dtype=np.int64)

    @property
    def emotions(self) -> NDArray[np.float32]:
        """Shares of ``EMOTIONS`` [N, 8], contempt left out; all zeros where only that was voted."""
        shares = np.zeros((len(self.votes), len(EMOTIONS)), dtype=np.float32)
        for place, name in enumerate(AS_EMOTION):
            if name is not None:
                shares[:, EMOTIONS.index(name)] += self.votes[:, place]
        return np.asarray(shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-6))

    @property
    def polarities(self) -> NDArray[np.float32]:
        """Shares of the polarities [N, 3], surprise left out; zeros where only that was voted."""
        shares = np.stack(
            [self.votes[:, np.array(POLARITY) == polarity].sum(axis=1) for polarity in range(3)],
            axis=1,
        )
        return np.asarray(shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-6))

    def only(self, rows: NDArray[Any]) -> Stills:
        """These pictures alone."""
        return Stills(*(getattr(self, name)[rows] for name in self.__slots__))

    def __len__(self) -> int:
        return len(self.grey)


def load_stills(data: Path, cache: Path, corpus: str, split: str) -> Stills:
    """One split of ``corpus`` in the folder ``data``; what dlib finds is kept in ``cache``.

    FER+: pictures that are mostly "unknown" or "no face" are left out, and those that occur in a
    later split, too. Strangers are split by person.

    Raises:
        DatasetError: a file is missing or unreadable.
    """
    if corpus == "ferplus":
        jpegs, votes, person = _ferplus(data / "fer2013", split)
    else:
        jpegs, votes, person = _strangers(data / "strangers", split)
    kept = cache / f"stills-{corpus}-{split}-{len(jpegs)}.npz"
    with contextlib.suppress(DatasetError):  # missing or damaged: made again
        known = load_arrays(kept, ("grey", "found", "aligned", "landmarks"))
        return _stills(known, votes, person)
    faces = _find_faces([_decoded(jpeg) for jpeg in jpegs])
    save_arrays(kept, faces)
    return _stills(faces, votes, person)


def joined(parts: Sequence[Stills]) -> Stills:
    """All pictures of ``parts``, one after the other."""
    names = Stills.__slots__
    return Stills(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _stills(faces: Arrays, votes: NDArray[np.float32], person: NDArray[np.int64]) -> Stills:
    return Stills(
        grey=faces["grey"],
        votes=votes,
        person=person,
        found=faces["found"],
        aligned=faces["aligned"],
        landmarks=faces["landmarks"],
    )


_Part = tuple[list[bytes], NDArray[np.float32], NDArray[np.int64]]


def _ferplus(folder: Path, split: str) -> _Part:
    pictures = _arrays(folder / "fer2013.npz")
    counts = _arrays(folder / "ferplus_votes.npz")[f"{split}_votes"].astype(np.float32)
    jpegs = _jpegs(pictures, f"{split}_")
    later = SPLITS[SPLITS.index(split) + 1 :]
    elsewhere = {jpeg for name in later for jpeg in _jpegs(pictures, f"{name}_")}
    known = counts[:, : len(FERPLUS)].sum(axis=1)
    good = (known > 0) & (known > counts[:, len(FERPLUS) :].sum(axis=1))
    rows = [row for row in np.flatnonzero(good).tolist() if jpegs[row] not in elsewhere]
    votes = counts[rows, : len(FERPLUS)] / known[rows, None]
    # Nobody knows who they are: each is taken for a person of its own.
    return [jpegs[row] for row in rows], votes, np.arange(len(rows))


def _strangers(folder: Path, split: str) -> _Part:
    data = _arrays(folder / "strangers.npz")
    people = np.random.default_rng(0).permutation(np.unique(data["person"]))
    held, valid = (round(share * len(people)) for share in (STRANGERS_HELD, STRANGERS_VALID))
    part_of = {"test": people[:held], "valid": people[held : held + valid]}
    wanted = part_of.get(split, people[held + valid :])
    rows = np.flatnonzero(np.isin(data["person"], wanted))
    jpegs = _jpegs(data, "")
    class_of = [FERPLUS.index(str(name)) for name in data["classes"]]
    votes = np.zeros((len(rows), len(FERPLUS)), dtype=np.float32)
    votes[np.arange(len(rows)), np.array(class_of)[data["label"][rows]]] = 1
    return [jpegs[row] for row in rows], votes, data["person"][rows].astype(np.int64)


def _arrays(source: Path) -> Arrays:
    if not source.is_file():
        raise DatasetError(f"{source}: not there; give the folder that holds the corpora")
    return load_arrays(source)


def _jpegs(data: Arrays, prefix: str) -> list[bytes]:
    blob, offset = data[f"{prefix}jpeg"], data[f"{prefix}offset"]
    return [blob[offset[i] : offset[i + 1]].tobytes() for i in range(len(offset) - 1)]


def _decoded(jpeg: bytes) -> NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(jpeg, dtype=np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise DatasetError("a picture cannot be decoded; restore the corpus")
    return np.asarray(image, dtype=np.uint8)


def _find_faces(images: list[NDArray[np.uint8]]) -> Arrays:
    """Pictures of one size; of faces that dlib finds, the aligned ones and the landmarks."""
    import dlib

    detector, predictor = dlib.get_frontal_face_detector(), LandmarkPredictor()
    grey = np.stack([_resized(image, PICTURE_PX) for image in images])
    found = np.zeros(len(images), dtype=np.bool_)
    aligned = np.zeros_like(grey)
    landmarks = np.zeros((len(images), POINTS, 2), dtype=np.float32)
    for index, image in enumerate(images):
        large = cv2.copyMakeBorder(
            _resized(image, FACE_PX), *(BORDER_PX,) * 4, borderType=cv2.BORDER_REPLICATE
        )
        gray = np.asarray(large, dtype=np.uint8)
        boxes, scores, _ = detector.run(gray, 0, LEAST_SCORE)
        if len(boxes) == 0:
            continue
        box = boxes[int(np.argmax(scores))]
        corners = (float(box.left()), float(box.top()), float(box.right()), float(box.bottom()))
        # Again in the box of the landmarks themselves, as for a face tracked in a video.
        points = predictor(gray, box_of_landmarks(predictor(gray, corners)))
        normalised, usable = normalise_landmarks(points[None])
        found[index] = usable[0]
        landmarks[index] = normalised[0]
        aligned[index] = _resized(align_crop(gray, points), PICTURE_PX)
    return {"grey": grey, "found": found, "aligned": aligned, "landmarks": landmarks}


def _resized(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    how = cv2.INTER_AREA if min(image.shape) > side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (side, side), interpolation=how), dtype=np.uint8)
