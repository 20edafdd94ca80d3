"""The corpora of the shipped models: RAVDESS clips, FER2013 stills, changed microphones.

FER2013 (Goodfellow et al. 2013) holds 35,887 grey faces of 48×48 pixels in seven classes. They are
too small for dlib's detector, so they are enlarged first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avsent.errors import DatasetError
from avsent.extraction.faces.geometry import box_of_landmarks
from avsent.extraction.faces.landmarks import LandmarkPredictor
from avsent.extraction.features.face import normalise_landmarks
from avsent.labels import EMOTIONS, canonical, polarity_of
from avsent.training.data.arrays import Arrays, load_arrays, save_arrays
from recipes.ravdess import RavdessClip, cached_ravdess

ENLARGE = 4
BORDER_PX = 40
"""The faces fill their images; the detector needs some margin."""
SPLITS = ("train", "valid", "test")


TEST_ACTORS = (21, 22, 23, 24)
"""Held out from the training of the shipped models."""
FOLDS = (
    (2, 5, 14, 15, 16),
    (3, 6, 7, 13, 18),
    (10, 11, 12, 19, 20),
    (8, 17, 21, 23, 24),
    (1, 4, 9, 22),
)
"""Test actors of the five published folds (Luna-Jiménez et al. 2022)."""
NO_LABEL = -1
"""Polarity of surprise: such items teach emotion only."""

SPEED = 0.12
"""Faster and higher, or slower and lower: another speaker."""
TILT_DB = 6.0
EQUALISER_DB = 4.0
TELEPHONE_SHARE = 0.2
TELEPHONE_HZ = (300.0, 3_400.0)
TELEPHONE_DB = -40.0
NOISE_SNR_DB = (8.0, 45.0)
NOISE_TILT_DB = (-12.0, 3.0)


@dataclass(frozen=True, slots=True, eq=False)
class FerFaces:
    """Landmarks [N, 68, 2] float32 (pixels of the enlarged image), class index [N], ``classes``,
    and ``numbers`` [N]: the image of the split that each face is in."""

    landmarks: NDArray[np.float32]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    numbers: NDArray[np.int64]


def read_fer2013(folder: Path, split: str, cache: Path) -> FerFaces:
    """Landmarks of one split of ``folder/fer2013.npz``, kept in the folder ``cache``; faces that
    dlib does not find are left out, and from ``train`` images that occur in other splits.

    Raises:
        DatasetError: the file is missing or has no such split.
    """
    kept = cache / f"fer2013-{split}-faces.npz"
    if not kept.is_file():
        jpegs, labels, classes, elsewhere = _read(folder, split)
        found = _find_faces(jpegs, elsewhere)
        numbers = np.array([index for index, _ in found], dtype=np.int64)
        arrays = {
            "landmarks": np.stack([points for _, points in found]).astype(np.float32),
            "labels": labels[numbers],
            "classes": np.array(classes),
            "numbers": numbers,
        }
        save_arrays(kept, arrays)
    data = load_arrays(kept)
    classes = tuple(data["classes"].tolist())
    return FerFaces(data["landmarks"], data["labels"], classes, data["numbers"])


@dataclass(frozen=True, slots=True, eq=False)
class FerImages:
    """Grey images [N, 48, 48] uint8, class index [N], ``classes``, and ``numbers`` [N]: the place
    of each image in the split."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    numbers: NDArray[np.int64]


def read_fer2013_images(folder: Path, split: str) -> FerImages:
    """The images of one split of ``folder/fer2013.npz``, from ``train`` without those that occur in
    other splits.

    Raises:
        DatasetError: the file is missing or has no such split.
    """
    jpegs, labels, classes, elsewhere = _read(folder, split)
    kept = [index for index, jpeg in enumerate(jpegs) if jpeg not in elsewhere]
    images = [_decoded(jpegs[index]) for index in kept]
    return FerImages(np.stack(images), labels[kept], classes, np.array(kept, dtype=np.int64))


def _read(
    folder: Path, split: str
) -> tuple[list[bytes], NDArray[np.int64], tuple[str, ...], set[bytes]]:
    """JPEGs, labels and classes of a split, and the JPEGs that must not be used in it."""
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


def _find_faces(jpegs: list[bytes], skip: set[bytes]) -> list[tuple[int, NDArray[np.float32]]]:
    """(index, landmarks) of every image in which dlib finds a face."""
    import dlib

    detector, predictor = dlib.get_frontal_face_detector(), LandmarkPredictor()
    found = []
    for index, jpeg in enumerate(jpegs):
        if jpeg in skip:
            continue
        image = _decoded(jpeg)
        large = cv2.resize(image, None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC)
        large = cv2.copyMakeBorder(large, *(BORDER_PX,) * 4, cv2.BORDER_REPLICATE)
        boxes, scores, _ = detector.run(large, 0, -0.3)
        if len(boxes) == 0:
            continue
        box = boxes[int(np.argmax(scores))]
        gray = np.asarray(large, dtype=np.uint8)
        corners = (float(box.left()), float(box.top()), float(box.right()), float(box.bottom()))
        # Again in the box of the landmarks themselves, as for a face tracked in a video.
        found.append((index, predictor(gray, box_of_landmarks(predictor(gray, corners)))))
    return found


def another_microphone(
    samples: NDArray[np.float32], rate_hz: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """A changed copy of mono ``samples`` [N] at ``rate_hz`` → [N'].

    Speed (and pitch with it), spectral balance, band limits, and noise: like ``augmented_log_mel``,
    but on the waveform, for features that need it.
    """
    count = max(1, round(len(samples) * float(np.exp(rng.uniform(-SPEED, SPEED)))))
    # Band-limited resampling: the same spectrum with more or fewer bins.
    sound = np.fft.irfft(np.fft.rfft(samples), count) * (count / max(len(samples), 1))
    spectrum = np.fft.rfft(sound)
    rates_hz = np.fft.rfftfreq(len(sound), 1 / rate_hz)
    place = np.linspace(-0.5, 0.5, len(rates_hz))
    gain_db = rng.uniform(-TILT_DB, TILT_DB) * place
    waves = 2 * np.pi * rng.uniform(0.5, 3.0) * (place + rng.random())
    gain_db += rng.uniform(0, EQUALISER_DB) * np.sin(waves)
    if rng.random() < TELEPHONE_SHARE:
        gain_db[(rates_hz < TELEPHONE_HZ[0]) | (rates_hz > TELEPHONE_HZ[1])] += TELEPHONE_DB
    sound = np.fft.irfft(spectrum * _factor(gain_db), len(sound))
    hiss = np.fft.rfft(rng.normal(size=len(sound)))
    hiss *= _factor(rng.uniform(*NOISE_TILT_DB) * (place + 0.5))
    noise = np.fft.irfft(hiss, len(sound))
    wanted = sound.std() * float(_factor(-rng.uniform(*NOISE_SNR_DB)))
    changed = sound + noise * (wanted / max(float(noise.std()), 1e-9))
    return np.asarray(changed, dtype=np.float32)


def _factor(decibel: Any) -> Any:
    return 10 ** (decibel / 20)


@dataclass(frozen=True, slots=True, eq=False)
class Stills:
    """FER2013 faces: ``landmarks`` [N, 51, 2] normalised, ``polarity`` [N], ``emotion`` [N], and
    ``pictures`` [N, 48, 48] uint8 of the same faces."""

    landmarks: Tensor
    polarity: NDArray[np.int64]
    emotion: NDArray[np.int64]
    pictures: NDArray[np.uint8]


def load_clips(data: Path, cache: Path, shrink: float = 1.0) -> list[RavdessClip]:
    """The clips in ``data/ravdess``, see ``read_ravdess``; features are cached in ``cache``.

    Raises:
        DatasetError: a file is missing or unreadable.
    """
    return cached_ravdess(data / "ravdess", cache, shrink=shrink)


def load_stills(data: Path, cache: Path, split: str) -> Stills:
    """The faces that dlib finds in one split of ``data/fer2013``; cached in ``cache``.

    Pictures that "valid" shares with "test" are left out of it.

    Raises:
        DatasetError: a file is missing or unreadable.
    """
    faces = read_fer2013(data / "fer2013", split, cache)
    images = read_fer2013_images(data / "fer2013", split)
    landmarks, usable = normalise_landmarks(faces.landmarks)
    names = [faces.classes[label] for label, good in zip(faces.labels, usable, strict=True) if good]
    row_of = {int(number): row for row, number in enumerate(images.numbers)}
    rows = [row_of[int(number)] for number in faces.numbers[usable]]
    pictures = images.images[rows]
    kept = np.ones(len(pictures), dtype=bool)
    if split == "valid":
        tested = {one.tobytes() for one in read_fer2013_images(data / "fer2013", "test").images}
        kept = np.array([one.tobytes() not in tested for one in pictures])
    polarity = [NO_LABEL if p is None else p for p in map(polarity_of, names)]
    return Stills(
        landmarks=torch.from_numpy(landmarks[usable][kept]),
        polarity=np.array(polarity)[kept],
        emotion=np.array([EMOTIONS.index(canonical(name)) for name in names])[kept],
        pictures=pictures[kept],
    )


def of_actors(clips: Sequence[RavdessClip], actors: Sequence[int]) -> list[RavdessClip]:
    """The clips of these ``actors``."""
    return [clip for clip in clips if clip.actor in actors]


def polarities_of(clips: Sequence[RavdessClip]) -> NDArray[np.int64]:
    """Polarity index of each clip [N], ``NO_LABEL`` for surprise."""
    return np.array(
        [NO_LABEL if clip.polarity is None else clip.polarity for clip in clips], dtype=np.int64
    )


def emotions_of(clips: Sequence[RavdessClip]) -> NDArray[np.int64]:
    """Index of each clip's emotion in ``EMOTIONS`` [N]."""
    return np.array([EMOTIONS.index(clip.emotion) for clip in clips], dtype=np.int64)
