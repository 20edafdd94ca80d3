"""Damage to voices, to pictures of faces, to landmarks, and to copies of videos.

RAVDESS has landmarks but no pictures that could be damaged. So what blur and occlusion do to
landmarks is measured on FER2013's stills: dlib's predictor looks at the sharp and at the damaged
picture in the same rectangle, and per coordinate ``damaged = offset + gain · sharp + residual`` is
fitted. Copies of short videos are damaged in memory and written anew, with lossless sound. Sounds
are mono at 16 kHz, float32 [N]; pictures are grey [H, W].
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from avsent.extraction.faces.geometry import Box, Sighting, box_of_landmarks, eye_centres
from avsent.extraction.faces.landmarks import LandmarkPredictor
from avsent.extraction.features.face import FaceFeatures, normalise_landmarks
from avsent.extraction.media.events import SAMPLE_RATE_HZ, Frame
from avsent.extraction.media.events import Sound as SoundEvent
from avsent.extraction.media.reader import MediaReader
from avsent.training.augmentation import upright
from avsent.training.data.arrays import load_arrays, save_arrays
from avsent.training.modality_check import SNR
from recipes.corpora import BORDER_PX, ENLARGE, read_fer2013, read_fer2013_images
from recipes.fusion import noisy_pictures, noisy_sound

Sound = NDArray[np.float32]
Picture = NDArray[np.uint8]
Points = NDArray[np.float32]
Rng = np.random.Generator

TALKERS = 6  # of babble: fewer can be told apart, and one could be taken for the speaker
CLIP_PERCENTILE = 99.0  # of the absolute samples: a ``gain`` of 1 clips what is louder
LOWEST_ROOT_HZ, HARMONICS, CHORD_DECAY_PER_S = 110.0, 6, 2.0
MAJOR, STEPS = (0, 4, 7), (0, 5, 7, 9)
"""Semitones: of a chord above its root, and of its root above the key: I, IV, V, vi."""
BEAT_S = (0.3, 0.6)  # shortest and longest time between two chords
DRUM_S, DRUM_DECAY_S, DRUM_LEVEL = 0.1, 0.019, 2.0

SKIN_POINTS = [1, 15, 29, 31, 35]
"""Jaw beside the eyes, and nose: bare skin whatever the expression."""
MASK_GREY = 200
MOUTH_POINTS, NOSE_BASE, CHIN = slice(48, 60), 33, 8

VERSION = 2  # of the model of damaged landmarks: raise it when the same pictures give another model
PICTURES = 600
BLURS_PX = {"blurred": 4.0, "blurred slightly": 1.5}
"""Deviations of a Gaussian, in pixels of a picture of 48; the pixel network is right in 18% and 54%
of such stills, in 61% of sharp ones."""
CHANGING = 0.15
"""Share of a residual's variance that is drawn anew for every picture: 9% to 26% in 30 videos."""
PARTS = {"brows": slice(10), "nose": slice(10, 19), "eyes": slice(19, 31), "mouth": slice(31, 51)}
MOVEMENT = {
    "blurred": (0.07, 0.32, 0.09, 0.39),
    "blurred slightly": (0.64, 0.94, 0.42, 0.90),
    "mouth under a mask": (0.87, 0.75, 0.62, 0.12),
    "mouth behind a hand": (0.90, 0.85, 0.67, 0.28),
    "eyes behind dark glasses": (0.30, 0.59, 0.04, 0.79),
}
"""By part, what is left of the movement of one person's landmarks within a clip; measured in the
same videos. The gain among people (from stills) is larger where a part is covered: the rest of the
face tells dlib how large a covered mouth is, but not that it opens."""

MOST_S, MOST_WIDE, RATE_HZ = 6.0, 640, 25.0
PEAK, GREY, MS = 0.9, 128, Fraction(1, 1000)
CLIPPING = 40.0  # gain: nearly a square wave is left
BLUR_EYES, EYES_OF_BOX = 4 / 17.5, 0.4
"""Deviation in eye distances (four pixels of a face of 48), and eye distance over the side of a
face's box; medians of FER2013's faces, as are the parts of the box below."""
MOUTH_IN_BOX, FACE_IN_BOX = (0.24, 0.60, 0.76, 1.05), (-0.1, -0.15, 1.1, 1.15)
NEAR_S = 0.5  # a face is where it was last seen at most this long ago or ahead


def mixed(samples: Sound, noise: NDArray[np.floating], snr_db: float) -> Sound:
    """``samples`` with ``noise`` of the same length at that ratio of their powers."""
    level = _rms(samples) / max(_rms(noise), 1e-9) * 10 ** (-snr_db / 20)
    return np.asarray(samples + level * noise, dtype=np.float32)


def white(samples: Sound, snr_db: float, rng: Rng) -> Sound:
    """``samples`` in white noise; M3ER's SNR of 0.01 is −20 dB."""
    return noisy_sound(samples, 10 ** (snr_db / 10), rng)


def babble(samples: Sound, others: Sequence[Sound], snr_db: float, rng: Rng) -> Sound:
    """``samples`` among TALKERS of the ``others``, equally loud, each looped from anywhere."""
    if len(others) < TALKERS:
        raise ValueError(f"babble needs {TALKERS} other talkers, not {len(others)}")
    total = np.zeros(len(samples))
    for which in rng.choice(len(others), TALKERS, replace=False):
        other = others[which]
        turned = np.roll(other, int(rng.integers(len(other))))
        total += np.resize(turned, len(samples)) / max(_rms(other), 1e-9)
    return mixed(samples, total, snr_db)


def music(samples: Sound, snr_db: float, rng: Rng) -> Sound:
    """``samples`` under decaying major chords with harmonics and a drum hit on each."""
    length = len(samples)
    time_s = np.arange(length) / SAMPLE_RATE_HZ
    key_hz = LOWEST_ROOT_HZ * 2 ** (rng.integers(12) / 12)
    beat_s = rng.uniform(*BEAT_S)
    drum = round(DRUM_S * SAMPLE_RATE_HZ)
    hit = DRUM_LEVEL * np.exp(-np.arange(drum) / (DRUM_DECAY_S * SAMPLE_RATE_HZ))
    total = np.zeros(length + drum)
    for start_s in np.arange(0, length / SAMPLE_RATE_HZ, beat_s):
        start = int(start_s * SAMPLE_RATE_HZ)
        since_s = time_s[: length - start]
        for note_hz in key_hz * 2 ** ((rng.choice(STEPS) + np.array(MAJOR)) / 12):
            for harmonic in range(1, HARMONICS + 1):
                phase = rng.uniform(0, 2 * np.pi)
                wave = np.sin(2 * np.pi * note_hz * harmonic * since_s + phase)
                total[start:length] += np.exp(-CHORD_DECAY_PER_S * since_s) * wave / harmonic
        total[start : start + drum] += hit * rng.normal(size=drum)
    return mixed(samples, total[:length], snr_db)


def clipped(samples: Sound, gain: float) -> Sound:
    """``samples`` recorded ``gain`` times too loud: cut off at full scale."""
    loud = max(float(np.percentile(np.abs(samples), CLIP_PERCENTILE)), 1e-9)
    return np.asarray(np.clip(samples * (gain / loud), -1, 1), dtype=np.float32)


def _rms(samples: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0


def blurred(picture: Picture, points: Points, strength_px: float) -> Picture:
    """``picture`` under a Gaussian of deviation ``strength_px`` of a picture of 48."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), strength_px * ENLARGE), dtype=np.uint8)


def mouth_covered(picture: Picture, points: Points, *, mask: bool) -> Picture:
    """A box from the nose to the chin of ``points`` [68, 2]: light grey like a ``mask``, or in the
    tone of the skin like a hand."""
    left, right = eye_centres(points.astype(np.float64))
    along = (right - left) / max(float(np.linalg.norm(right - left)), 1.0)
    down = np.array([-along[1], along[0]])
    sides = points[MOUTH_POINTS] @ along
    wider = 0.35 * (sides.max() - sides.min())
    low, high = sides.min() - wider, sides.max() + wider
    top, bottom = points[NOSE_BASE] @ down, points[CHIN] @ down
    corners = [
        x * along + y * down for x, y in ((low, top), (high, top), (high, bottom), (low, bottom))
    ]
    tone = MASK_GREY
    if not mask:
        at = np.clip(np.round(points[SKIN_POINTS]).astype(int), 0, len(picture) - 1)
        tone = int(np.median(picture[at[:, 1], at[:, 0]]))
    covered = picture.copy()
    cv2.fillConvexPoly(covered, np.round(np.stack(corners)).astype(np.int32), tone)
    return covered


def eyes_covered(picture: Picture, points: Points) -> Picture:
    """Large dark glasses before the eyes of ``points`` [68, 2]."""
    left, right = eye_centres(points.astype(np.float64))
    apart = float(np.linalg.norm(right - left))
    axes = round(0.46 * apart), round(0.36 * apart)
    tilt = float(np.degrees(np.arctan2(right[1] - left[1], right[0] - left[0])))
    covered = picture.copy()
    middles = [(round(x), round(y + 0.05 * apart)) for x, y in (left, right)]
    for middle in middles:
        cv2.ellipse(covered, middle, axes, tilt, 0, 360, 20, thickness=cv2.FILLED)
    cv2.line(covered, middles[0], middles[1], 20, thickness=max(round(0.08 * apart), 1))
    return covered


DAMAGES: Mapping[str, Callable[[Picture, Points], Picture]] = {
    **{kind: functools.partial(blurred, strength_px=px) for kind, px in BLURS_PX.items()},
    "mouth under a mask": functools.partial(mouth_covered, mask=True),
    "mouth behind a hand": functools.partial(mouth_covered, mask=False),
    "eyes behind dark glasses": eyes_covered,
}


FaceModel = dict[str, dict[str, Points]]
"""By kind of damage what it makes of normalised landmarks [51, 2], in eye distances: "offset" +
"gain" · sharp + one of the "residuals" [R, 51, 2]."""


def load_or_measure(data: Path, cache: Path) -> FaceModel:
    """The model measured on FER2013 in ``data``; kept in the folder ``cache``."""
    kept = cache / f"face-damage-{VERSION}.npz"
    if not kept.is_file():
        made = _measured(data, cache)
        save_arrays(
            kept, {f"{k}: {n}": array for k, one in made.items() for n, array in one.items()}
        )
    arrays, names = load_arrays(kept), ("offset", "gain", "residuals")
    return {kind: {name: arrays[f"{kind}: {name}"] for name in names} for kind in DAMAGES}


def _measured(data: Path, cache: Path) -> FaceModel:
    sharp: list[Points] = []
    found: dict[str, list[Points]] = {kind: [] for kind in DAMAGES}
    predictor = LandmarkPredictor()
    for picture, points in _stills(data, cache):
        box = box_of_landmarks(points)
        sharp.append(predictor(picture, box))
        for kind, spoil in DAMAGES.items():
            found[kind].append(predictor(spoil(picture, points), box))
    return {kind: _fitted(np.stack(sharp), np.stack(those)) for kind, those in found.items()}


def _stills(data: Path, cache: Path) -> Iterator[tuple[Picture, Points]]:
    """Enlarged pictures [272, 272] of FER2013's public test part, drawn once for all, with the
    landmarks [68, 2] found on them."""
    faces = read_fer2013(data / "fer2013", "valid", cache=cache)
    images = read_fer2013_images(data / "fer2013", "valid")
    row_of = {int(number): row for row, number in enumerate(images.numbers)}
    drawn = np.random.default_rng(7).permutation(len(faces.numbers))[:PICTURES]
    for which in sorted(int(number) for number in drawn):
        image = images.images[row_of[int(faces.numbers[which])]]
        large = cv2.resize(image, None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC)
        framed = cv2.copyMakeBorder(large, *(BORDER_PX,) * 4, cv2.BORDER_REPLICATE)
        yield np.asarray(framed, dtype=np.uint8), faces.landmarks[which]


def _fitted(sharp: Points, damaged: Points) -> dict[str, Points]:
    """The model from landmarks [N, 68, 2] in pixels, with and without damage."""
    (before, seen), (after, still_seen) = normalise_landmarks(sharp), normalise_landmarks(damaged)
    both = seen & still_seen
    before, after = before[both].astype(np.float64), after[both].astype(np.float64)
    centred = before - before.mean(axis=0)
    # Where a coordinate hardly varies (the eyes set the unit), its gain means nothing.
    power = np.maximum(np.mean(centred**2, axis=0), 1e-8)
    gain = np.mean(centred * (after - after.mean(axis=0)), axis=0) / power
    offset = after.mean(axis=0) - gain * before.mean(axis=0)
    residuals = after - (offset + gain * before)
    made = {"offset": offset, "gain": gain, "residuals": residuals}
    return {name: array.astype(np.float32) for name, array in made.items()}


def damaged_face(face: FaceFeatures, kind: str, model: FaceModel, rng: Rng) -> FaceFeatures:
    """``face`` as it would have been found with damage ``kind``, its neutral included.

    The clip's mean face is drawn towards the average face by the gain measured among people; what
    moves about it shrinks by MOVEMENT. One residual is drawn for the whole clip, since face and
    cover stay the same, and one for every picture, with CHANGING of the variance.
    """
    damage, landmarks = model[kind], face.landmarks
    sizes = [len(range(51)[part]) for part in PARTS.values()]
    moving = np.repeat(MOVEMENT[kind], sizes).astype(np.float32)[:, None]
    residuals = damage["residuals"]
    staying = np.sqrt(1 - CHANGING) * residuals[int(rng.integers(len(residuals)))]
    rows = rng.integers(len(residuals), size=len(landmarks))
    changing = np.sqrt(CHANGING) * residuals[rows]
    middle = landmarks.mean(axis=0)
    drawn = damage["offset"] + damage["gain"] * middle + staying
    found = _upright(drawn + moving * (landmarks - middle) + changing)
    neutral = face.neutral
    if neutral is not None:
        neutral = _upright(drawn + moving * (neutral[None] - middle))[0]
    return replace(face, landmarks=found, neutral=neutral, pictures=None)


def _upright(landmarks: NDArray[np.floating]) -> Points:
    return upright(torch.from_numpy(landmarks.astype(np.float32))).numpy()


def blurred_sharpness(data: Path) -> NDArray[np.float64]:
    """Sharpness of FER2013's public test pictures under the blur of "blurred"."""
    from avsent.extraction.features.quality import sharpness

    images = read_fer2013_images(data / "fer2013", "valid").images[::10]
    strength_px = BLURS_PX["blurred"]
    return np.array([sharpness(cv2.GaussianBlur(i, (0, 0), strength_px)[None]) for i in images])


def landmark_rows(model: FaceModel) -> list[dict[str, Any]]:
    """By damage and part: gain among people, gain within a clip, residual."""
    return [
        {
            "damage": kind,
            "part": name,
            "gain among people": float(np.mean(one["gain"][part])),
            "gain within a clip": MOVEMENT[kind][place],
            "residual": float(np.sqrt(np.mean(np.square(one["residuals"][:, part])))),
        }
        for kind, one in model.items()
        for place, (name, part) in enumerate(PARTS.items())
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Copy:
    """Pictures (grey, [H, W]) at their times, and the mono sound from 0 s on."""

    times_s: tuple[float, ...]
    pictures: tuple[Picture, ...]
    sound: Sound


def read_copy(clip: Path) -> Copy:
    """The first MOST_S seconds of ``clip``, at most MOST_WIDE wide, with even sides."""
    times_s, pictures = [], []
    sound, end = np.zeros(round(MOST_S * SAMPLE_RATE_HZ), dtype=np.float32), 0
    with MediaReader(clip, analysis_rate_hz=RATE_HZ) as reader:
        for event in reader:
            if isinstance(event, Frame) and event.time_s < MOST_S:
                height, width = event.gray.shape
                scale = min(MOST_WIDE / width, 1.0)
                size = tuple(2 * max(round(side * scale / 2), 1) for side in (width, height))
                small = cv2.resize(event.gray, size, interpolation=cv2.INTER_AREA)
                times_s.append(event.time_s)
                pictures.append(np.asarray(small, dtype=np.uint8))
            elif isinstance(event, SoundEvent) and event.start_s < MOST_S:
                start = max(round(event.start_s * SAMPLE_RATE_HZ), 0)
                part = event.samples[: max(len(sound) - start, 0)]
                sound[start : start + len(part)] = part
                end = max(end, start + len(part))
            elif isinstance(event, Frame | SoundEvent) and reader.position_s > MOST_S + 2:
                break
    return Copy(tuple(times_s), tuple(pictures), sound[:end])


def write_copy(copy: Copy, path: Path) -> None:
    """``copy`` as a Matroska file: H.264 of high quality, PCM sound."""
    with av.open(str(path), "w", format="matroska") as out:
        options = {"preset": "ultrafast", "crf": "16"}
        video: Any = out.add_stream("libx264", rate=round(RATE_HZ), options=options)
        video.height, video.width = copy.pictures[0].shape
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = MS
        audio: Any = out.add_stream("pcm_s16le", rate=SAMPLE_RATE_HZ, layout="mono")
        for time_s, picture in zip(copy.times_s, copy.pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="gray")
            frame.pts, frame.time_base = round(time_s * 1000), MS
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        peak = max(float(np.abs(copy.sound).max(initial=0.0)), PEAK)
        whole = np.round(copy.sound * (PEAK / peak) * 32767).astype(np.int16)
        sound = av.AudioFrame.from_ndarray(whole[None], format="s16", layout="mono")
        sound.sample_rate, sound.pts = SAMPLE_RATE_HZ, 0
        sound.time_base = Fraction(1, SAMPLE_RATE_HZ)
        out.mux(audio.encode(sound))
        out.mux(audio.encode(None))


Make = Callable[[], Copy]


def voice_damages(copy: Copy, others: Sequence[Sound], rng: Rng) -> dict[str, Make]:
    """How ``copy`` is made with another sound, by the name of the damage."""
    sound = copy.sound
    ways: dict[str, Callable[[], Sound]] = {
        "white noise, SNR 0.01": lambda: white(sound, 10 * float(np.log10(SNR)), rng),
        "white noise, 0 dB": lambda: white(sound, 0.0, rng),
        "babble, 0 dB": lambda: babble(sound, others, 0.0, rng),
        "babble, −5 dB": lambda: babble(sound, others, -5.0, rng),
        "music, 0 dB": lambda: music(sound, 0.0, rng),
        "clipped": lambda: clipped(sound, CLIPPING),
        "silence": lambda: np.zeros_like(sound),
    }
    return {kind: lambda way=way: replace(copy, sound=way()) for kind, way in ways.items()}


def face_damages(copy: Copy, sightings: Sequence[Sighting], rng: Rng) -> dict[str, Make]:
    """How ``copy`` is made with other pictures; ``sightings``: where the faces are."""

    def noise(picture: Picture) -> Picture:  # one by one: all would take a gigabyte
        return noisy_pictures(picture[None], SNR, rng)[0]

    def each(spoil: Callable[[Picture], Picture]) -> Make:
        return lambda: replace(copy, pictures=tuple(spoil(picture) for picture in copy.pictures))

    faces = functools.partial(functools.partial, _on_faces, copy, sightings)
    return {
        "blurred": faces(_blur),
        "mouth covered": faces(functools.partial(_fill, part=MOUTH_IN_BOX)),
        "face covered": faces(functools.partial(_fill, part=FACE_IN_BOX)),
        "noise, SNR 0.01": each(noise),
        "grey picture": each(lambda picture: np.full_like(picture, GREY)),
    }


def _on_faces(
    copy: Copy, sightings: Sequence[Sighting], spoil: Callable[[Picture, Box], None]
) -> Copy:
    """``copy`` with every face spoilt where it was seen nearest in time."""
    by_track: dict[int, list[Sighting]] = {}
    for sighting in sightings:
        by_track.setdefault(sighting.track, []).append(sighting)
    pictures = []
    for time_s, picture in zip(copy.times_s, copy.pictures, strict=True):
        pictures.append(picture.copy())
        for track in by_track.values():
            nearest = min(track, key=lambda one: abs(one.time_s - time_s))
            if abs(nearest.time_s - time_s) <= NEAR_S:
                spoil(pictures[-1], nearest.box)
    return replace(copy, pictures=tuple(pictures))


def _part(picture: Picture, box: Box, part: Box) -> Picture:
    """That ``part`` of ``box`` (in its sides) as a view of ``picture``."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    x0, x1 = (max(round(left + share * width), 0) for share in (part[0], part[2]))
    y0, y1 = (max(round(top + share * height), 0) for share in (part[1], part[3]))
    return picture[y0:y1, x0:x1]


def _blur(picture: Picture, box: Box) -> None:
    region = _part(picture, box, (-0.4, -0.4, 1.4, 1.4))
    if region.size:
        strength = BLUR_EYES * EYES_OF_BOX * (box[2] - box[0])
        region[:] = cv2.GaussianBlur(region, (0, 0), max(strength, 0.5))


def _fill(picture: Picture, box: Box, part: Box) -> None:
    _part(picture, box, part)[:] = GREY
