"""What blur and occlusion do to a face's landmarks, measured on stills and carried over to films.

Of RAVDESS there are landmarks, but no pictures that could be damaged. So FER2013's pictures are:
dlib's predictor looks at the sharp picture and at the damaged one, in the same rectangle. What it
then finds is mostly the average face; per coordinate ``damaged = offset + gain · sharp + residual``
is fitted, and the residuals are kept.

    python benchmarks/noise_faces.py --data ../shared/data --cache cache
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from experiments import table
from noise_pictures import Picture, Points, blurred, eyes_covered, mouth_covered
from numpy.typing import NDArray

from avsent.extraction.faces.geometry import box_of_landmarks
from avsent.extraction.faces.landmarks import LandmarkPredictor
from avsent.extraction.features.face import FaceFeatures, normalise_landmarks
from avsent.training.augmentation import upright
from avsent.training.data.arrays import load_arrays, save_arrays
from recipes.corpora import BORDER_PX, ENLARGE, FerFaces, read_fer2013, read_fer2013_images

VERSION = 1
"""To be raised when the same pictures begin to give another model."""
PICTURES = 600
BLURS_PX = {"blurred": 4.0, "blurred slightly": 1.5}
"""Deviations of a Gaussian, in pixels of a picture of 48. With the first one the pixel network is
right in 18% of stills (mean over seven classes), with the second one in 54%, in sharp ones in 61%.
"""
CHANGING = 0.15
"""Share of a residual's variance that is drawn anew for every picture of a clip: 9% to 26% in 30
real videos whose pictures were damaged in the same ways."""
PARTS = {
    "brows": slice(0, 10),
    "nose": slice(10, 19),
    "eyes": slice(19, 31),
    "mouth": slice(31, 51),
}
MOVEMENT = {
    "blurred": (0.07, 0.32, 0.09, 0.39),
    "blurred slightly": (0.64, 0.94, 0.42, 0.90),
    "mouth under a mask": (0.87, 0.75, 0.62, 0.12),
    "mouth behind a hand": (0.90, 0.85, 0.67, 0.28),
    "eyes behind dark glasses": (0.30, 0.59, 0.04, 0.79),
}
"""What is left, by part, of how one person's landmarks move about their mean in a clip; measured in
the same videos. Stills tell the gain among people, which is larger where a part is covered: of a
covered mouth dlib knows by the rest of the face how large it is, but not that it opens."""


@dataclass(frozen=True, slots=True, eq=False)
class Damage:
    """What one kind of damage makes of normalised landmarks [51, 2]: ``offset + gain · sharp`` and
    one of ``residuals`` [R, 51, 2], all in eye distances."""

    offset: NDArray[np.float32]
    gain: NDArray[np.float32]
    residuals: NDArray[np.float32]


FaceModel = Mapping[str, Damage]
"""By the name of the damage, see :data:`DAMAGES`."""


DAMAGES: Mapping[str, Callable[[Picture, Points], Picture]] = {
    **{
        kind: functools.partial(blurred, strength_px=strength_px)
        for kind, strength_px in BLURS_PX.items()
    },
    "mouth under a mask": functools.partial(mouth_covered, mask=True),
    "mouth behind a hand": functools.partial(mouth_covered, mask=False),
    "eyes behind dark glasses": eyes_covered,
}


def load_or_measure(data: Path, cache: Path) -> dict[str, Damage]:
    """The damage model measured on FER2013 in ``data``; kept in the folder ``cache``."""
    kept = cache / f"face-damage-{VERSION}.npz"
    if not kept.is_file():
        made = measure(data, cache)
        save_arrays(
            kept,
            {
                f"{number} {name}": value
                for number, damage in enumerate(made.values())
                for name, value in (
                    ("offset", damage.offset),
                    ("gain", damage.gain),
                    ("residuals", damage.residuals),
                )
            },
        )
    arrays = load_arrays(kept)
    return {
        kind: Damage(*(arrays[f"{number} {name}"] for name in ("offset", "gain", "residuals")))
        for number, kind in enumerate(DAMAGES)
    }


def measure(
    data: Path,
    cache: Path,
    damages: Mapping[str, Callable[[Picture, Points], Picture]] = DAMAGES,
    pictures: int = PICTURES,
) -> dict[str, Damage]:
    """Every one of ``damages`` on so many ``pictures`` of FER2013's public test part."""
    sharp: list[Points] = []
    found: dict[str, list[Points]] = {kind: [] for kind in damages}
    predictor = LandmarkPredictor()
    for picture, points in stills(data, cache, pictures):
        box = box_of_landmarks(points)
        sharp.append(predictor(picture, box))
        for kind, spoil in damages.items():
            found[kind].append(predictor(spoil(picture, points), box))
    return {kind: fitted(np.stack(sharp), np.stack(those)) for kind, those in found.items()}


def stills(data: Path, cache: Path, pictures: int) -> Iterator[tuple[Picture, Points]]:
    """Enlarged pictures [272, 272] of FER2013's public test part, drawn once for all, with the
    landmarks [68, 2] found on them."""
    faces: FerFaces = read_fer2013(data / "fer2013", "valid", cache=cache)
    images = read_fer2013_images(data / "fer2013", "valid")
    row_of = {int(number): row for row, number in enumerate(images.numbers)}
    drawn = np.random.default_rng(7).permutation(len(faces.numbers))[:pictures]
    for which in sorted(int(number) for number in drawn):
        image = images.images[row_of[int(faces.numbers[which])]]
        yield enlarged(image), faces.landmarks[which]


def enlarged(image: Picture) -> Picture:
    """A picture [48, 48] with room round it [272, 272], as landmarks are looked for on it."""
    large = cv2.resize(image, None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC)
    framed = cv2.copyMakeBorder(large, *(BORDER_PX,) * 4, cv2.BORDER_REPLICATE)
    return np.asarray(framed, dtype=np.uint8)


def fitted(sharp: Points, damaged: Points) -> Damage:
    """The model of landmarks ``damaged`` [N, 68, 2] by ``sharp`` ones [N, 68, 2], in pixels."""
    (before, seen), (after, still_seen) = normalise_landmarks(sharp), normalise_landmarks(damaged)
    both = seen & still_seen
    before, after = before[both].astype(np.float64), after[both].astype(np.float64)
    centred = before - before.mean(axis=0)
    # Where a coordinate hardly varies (the eyes set the unit), its gain means nothing.
    power = np.maximum(np.mean(centred**2, axis=0), 1e-8)
    gain = np.mean(centred * (after - after.mean(axis=0)), axis=0) / power
    offset = after.mean(axis=0) - gain * before.mean(axis=0)
    residuals = after - (offset + gain * before)
    return Damage(offset.astype(np.float32), gain.astype(np.float32), residuals.astype(np.float32))


def damaged_landmarks(
    landmarks: NDArray[np.float32], kind: str, model: FaceModel, rng: np.random.Generator
) -> NDArray[np.float32]:
    """``landmarks`` [T, 51, 2] (normalised) as they would have been found with damage ``kind``.

    The clip's mean face is drawn towards the average face by the gain measured among people, what
    moves about it shrinks by ``MOVEMENT`` (where the kind has one, else by the same gain). What
    dlib makes of a damaged face besides, a residual, is drawn from the measured ones: one for the
    whole clip, since the face and what covers it stay the same, and one for every picture, which
    makes up ``CHANGING`` of the variance.
    """
    return _spoilt(landmarks, landmarks[:1], kind, model, rng)[0]


def damaged_face(
    face: FaceFeatures, kind: str, model: FaceModel, rng: np.random.Generator
) -> FaceFeatures:
    """``face`` with :func:`damaged_landmarks`, and with the neutral that would have been found on
    the same damaged pictures: what stays for the whole clip is part of both."""
    if face.neutral is None:
        landmarks = damaged_landmarks(face.landmarks, kind, model, rng)
        return dataclasses.replace(face, landmarks=landmarks, crops=None)
    landmarks, neutral = _spoilt(face.landmarks, face.neutral[None], kind, model, rng)
    return dataclasses.replace(face, landmarks=landmarks, neutral=neutral[0], crops=None)


def _spoilt(
    landmarks: NDArray[np.float32],
    neutral: NDArray[np.float32],
    kind: str,
    model: FaceModel,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Landmarks [T, 51, 2] and neutral [1, 51, 2], damaged together."""
    damage = model[kind]
    moving = damage.gain
    if kind in MOVEMENT:
        sizes = [part.stop - part.start for part in PARTS.values()]
        moving = np.repeat(MOVEMENT[kind], sizes).astype(np.float32)[:, None]
    count = len(damage.residuals)
    staying = np.sqrt(1 - CHANGING) * damage.residuals[int(rng.integers(count))]
    changing = np.sqrt(CHANGING) * damage.residuals[rng.integers(count, size=len(landmarks))]
    mean = landmarks.mean(axis=0)
    middle = damage.offset + damage.gain * mean + staying
    found = middle + moving * (landmarks - mean) + changing
    return _upright(found), _upright(middle + moving * (neutral - mean))


def _upright(landmarks: NDArray[np.floating]) -> NDArray[np.float32]:
    again: NDArray[np.float32] = upright(torch.from_numpy(landmarks.astype(np.float32))).numpy()
    return again


def section(model: FaceModel) -> str:
    """A table of the ``model`` by part of the face: gain among people, gain among the pictures of a
    clip, residual in eye distances."""
    rows = []
    for kind, damage in model.items():
        cells = [kind]
        for place, part in enumerate(PARTS.values()):
            gain = float(np.mean(damage.gain[part]))
            residual = float(np.sqrt(np.mean(np.square(damage.residuals[:, part]))))
            moving = f"{MOVEMENT[kind][place]:.2f}" if kind in MOVEMENT else "–"
            cells.append(f"{gain:.2f} / {moving} / {residual:.3f}")
        rows.append(cells)
    return table(("damage", *PARTS), rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    given = parser.parse_args()
    print(section(load_or_measure(given.data, given.cache)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
