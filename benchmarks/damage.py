"""Damage to voices and to copies of videos.

Copies of short videos are damaged in memory and written anew, with lossless sound. Sounds are mono
at 16 kHz, float32 [N]; pictures are grey [H, W].
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from avsent.extraction.faces.geometry import Box, Sighting
from avsent.extraction.media.events import SAMPLE_RATE_HZ, Frame
from avsent.extraction.media.events import Sound as SoundEvent
from avsent.extraction.media.reader import MediaReader
from avsent.training.modality_check import SNR
from recipes.posteriors import noisy_pictures
from recipes.voices import noisy_sound

Sound = NDArray[np.float32]
Picture = NDArray[np.uint8]
Rng = np.random.Generator

TALKERS = 6  # of babble: fewer can be told apart, and one could be taken for the speaker
CLIP_PERCENTILE = 99.0  # of the absolute samples: a ``gain`` of 1 clips what is louder
LOWEST_ROOT_HZ, HARMONICS, CHORD_DECAY_PER_S = 110.0, 6, 2.0
MAJOR, STEPS = (0, 4, 7), (0, 5, 7, 9)
"""Semitones: of a chord above its root, and of its root above the key: I, IV, V, vi."""
BEAT_S = (0.3, 0.6)  # shortest and longest time between two chords
DRUM_S, DRUM_DECAY_S, DRUM_LEVEL = 0.1, 0.019, 2.0

MOST_S, MOST_WIDE, RATE_HZ = 6.0, 640, 25.0
PEAK, GREY, MS = 0.9, 128, Fraction(1, 1000)
CLIPPING = 40.0  # gain: nearly a square wave is left
BLUR_EYES, EYES_OF_BOX = 4 / 17.5, 0.4
"""Deviation in eye distances (four pixels of a face of 48), and eye distance over the side of a
face's box; medians of FER2013's faces, as are the parts of the box below."""
MOUTH_IN_BOX, FACE_IN_BOX = (0.24, 0.60, 0.76, 1.05), (-0.1, -0.15, 1.1, 1.15)
EYES_IN_BOX = (0.05, 0.12, 0.95, 0.42)
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

    def made(way: Callable[[], Sound]) -> Make:
        return lambda: replace(copy, sound=way())

    return {kind: made(way) for kind, way in ways.items()}


def face_damages(copy: Copy, sightings: Sequence[Sighting], rng: Rng) -> dict[str, Make]:
    """How ``copy`` is made with other pictures; ``sightings``: where the faces are."""

    def noise(picture: Picture) -> Picture:  # one by one: all would take a gigabyte
        return np.asarray(noisy_pictures(picture[None], SNR, rng)[0])

    def each(spoil: Callable[[Picture], Picture]) -> Make:
        return lambda: replace(copy, pictures=tuple(spoil(picture) for picture in copy.pictures))

    faces = functools.partial(functools.partial, _on_faces, copy, sightings)
    return {
        "blurred": faces(_blur),
        "mouth covered": faces(functools.partial(_fill, part=MOUTH_IN_BOX)),
        "eyes covered": faces(functools.partial(_fill, part=EYES_IN_BOX)),
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
