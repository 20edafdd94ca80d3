"""Damaged copies of a short video: read, spoilt in memory, written losslessly in sound."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from noise_sounds import Sound, babble, clipped, music, white
from numpy.typing import NDArray

from avsent.extraction.faces.types import Box, Sighting
from avsent.extraction.media.events import SAMPLE_RATE_HZ, Frame
from avsent.extraction.media.events import Sound as Stretch
from avsent.extraction.media.reader import MediaReader
from avsent.training.modality_check import SNR, noisy_pictures

Picture = NDArray[np.uint8]

MOST_WIDE = 640
RATE_HZ = 25.0
PEAK = 0.9
GREY = 128
MS = Fraction(1, 1000)
CLIPPING = 40.0
"""Gain: nearly a square wave is left."""
BLUR_EYES = 4 / 17.5
"""Deviation in eye distances: four pixels of a face of 48, see ``noise_faces``."""
EYES_OF_BOX = 0.4
"""Eye distance over the side of a face's box, and where mouth and chin lie in it: left, top, right,
bottom. Medians of FER2013's faces, with some room."""
MOUTH_IN_BOX = (0.24, 0.60, 0.76, 1.05)
FACE_IN_BOX = (-0.1, -0.15, 1.1, 1.15)
NEAR_S = 0.5
"""A face is where it was last seen, no longer ago (or ahead) than this."""


@dataclass(frozen=True, slots=True, eq=False)
class Copy:
    """Pictures (grey, [H, W]) at their times, and the mono sound from 0 s on."""

    times_s: tuple[float, ...]
    pictures: tuple[Picture, ...]
    sound: Sound


def read(clip: Path, most_s: float) -> Copy:
    """The first ``most_s`` seconds of ``clip``, at most ``MOST_WIDE`` wide."""
    times_s, pictures, stretches = [], [], []
    with MediaReader(clip, analysis_rate_hz=RATE_HZ) as reader:
        for event in reader:
            if isinstance(event, Frame) and event.time_s < most_s:
                times_s.append(event.time_s)
                pictures.append(_even(event.gray))
            elif isinstance(event, Stretch) and event.start_s < most_s:
                stretches.append((event.start_s, event.samples))
            elif isinstance(event, Frame | Stretch) and reader.position_s > most_s + 2:
                break
    sound = np.zeros(round(most_s * SAMPLE_RATE_HZ), dtype=np.float32)
    end = 0
    for start_s, samples in stretches:
        start = max(round(start_s * SAMPLE_RATE_HZ), 0)
        part = samples[: max(len(sound) - start, 0)]
        sound[start : start + len(part)] = part
        end = max(end, start + len(part))
    return Copy(tuple(times_s), tuple(pictures), sound[:end])


def _even(gray: Picture) -> Picture:
    height, width = gray.shape
    scale = min(MOST_WIDE / width, 1.0)
    size = tuple(2 * max(round(side * scale / 2), 1) for side in (width, height))
    return np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def write(copy: Copy, path: Path) -> None:
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


def babble_of(folder: Path) -> list[Sound]:
    """The voices of all videos in ``folder``."""
    return [read(path, 6.0).sound for path in sorted(folder.glob("*.mp*g*"))]


def voice_damages(
    copy: Copy, others: Sequence[Sound], rng: np.random.Generator
) -> dict[str, Callable[[], Copy]]:
    """How ``copy`` is made with another sound, by the name of the damage."""
    sound = copy.sound
    ways: dict[str, Callable[[], Sound]] = {
        "white noise, SNR 0.01": lambda: white(sound, 10 * float(np.log10(SNR)), rng),
        "white noise, 0 dB": lambda: white(sound, 0.0, rng),
        "babble, 0 dB": lambda: babble(sound, others, 0.0, rng),
        "babble, −5 dB": lambda: babble(sound, others, -5.0, rng),
        "music, 0 dB": lambda: music(sound, 0.0, rng),
        "clipped": lambda: clipped(sound, CLIPPING, rng),
        "silence": lambda: np.zeros_like(sound),
    }
    return {kind: functools.partial(_heard, copy, way) for kind, way in ways.items()}


def _heard(copy: Copy, way: Callable[[], Sound]) -> Copy:
    return replace(copy, sound=way())


def face_damages(
    copy: Copy, sightings: Sequence[Sighting], rng: np.random.Generator
) -> dict[str, Callable[[], Copy]]:
    """How ``copy`` is made with other pictures, by the name of the damage; ``sightings``: where
    the faces are."""

    def everywhere(spoil: Callable[[Picture, Box], None]) -> Callable[[], Copy]:
        return functools.partial(_on_faces, copy, sightings, spoil)

    def noisy() -> Copy:
        # One by one: together they would take a gigabyte.
        made = tuple(noisy_pictures(picture[None], SNR, rng)[0] for picture in copy.pictures)
        return replace(copy, pictures=made)

    def grey() -> Copy:
        return replace(copy, pictures=tuple(np.full_like(p, GREY) for p in copy.pictures))

    return {
        "blurred": everywhere(_blur),
        "mouth covered": everywhere(functools.partial(_fill, part=MOUTH_IN_BOX)),
        "face covered": everywhere(functools.partial(_fill, part=FACE_IN_BOX)),
        "noise, SNR 0.01": noisy,
        "grey picture": grey,
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
        spoilt = picture.copy()
        for track in by_track.values():
            nearest = min(track, key=lambda one: abs(one.time_s - time_s))
            if abs(nearest.time_s - time_s) <= NEAR_S:
                spoil(spoilt, nearest.box)
        pictures.append(spoilt)
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
