"""M3ER's ablation on RAVDESS: noise and real damage, through the shipped models' experts.

The damage is done to the sound and to the landmarks; experts that never met the actors judge what
is left of them; the fusion, with and without protection, decides on made-up videos of five clips of
one actor. What the plain signal checks find there counts as missing for the protected.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from experiments import Cache, progress
from noise_faces import BLURS_PX, FaceModel, damaged_face, load_or_measure
from noise_judge import PROTECTIONS, Guards, guards_of, hits, judged_by
from noise_sounds import babble, clipped, music, white
from numpy.typing import NDArray

from avsent.extraction.features.quality import (
    LEAST_SHARPNESS,
    MOST_UNSTEADY,
    unsteadiness,
    voice_fault,
)
from avsent.extraction.features.voice import audio_features
from avsent.labels import MODALITIES, POLARITY_LABELS
from avsent.model.networks.config import ExpertsConfig
from avsent.model.networks.target import TargetModel
from avsent.training.data.ravdess_landmarks import RavdessClip
from avsent.training.dataset import Videos, make_videos
from avsent.training.modality_check import SNR, noisy_landmarks
from recipes.corpora import TEST_ACTORS, load_clips, of_actors, read_fer2013_images
from recipes.default_models import GROUPS, STILLS_HELD, VALIDATION, meet
from recipes.fusion import (
    Fusing,
    Pool,
    Posteriors,
    by_speaker,
    cross_fitted,
    drawn,
    fuse,
    guard_material,
    of_clips,
    split_pool,
    together,
)
from recipes.members import Workshop
from recipes.pixels import pixel_network

VERSION = 2
"""To be raised when the same settings begin to give other figures."""
COMPANY = 5
OTHERS = 60
"""Clips of actors that the experts learnt from, who talk in between."""
Figures = dict[str, Any]
Faults = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Spoilt:
    """What the experts say of test clips with damage, and where a signal check finds it [N]."""

    said: Posteriors
    faults: Mapping[str, Faults]


SOUNDS: Mapping[str, Callable[[Any, Sequence[Any], np.random.Generator], Any]] = {
    "voice: noise, SNR 0.01": lambda s, others, rng: white(s, -20.0, rng),
    "voice: babble, −5 dB": lambda s, others, rng: babble(s, others, -5.0, rng),
    "voice: babble, 0 dB": lambda s, others, rng: babble(s, others, 0.0, rng),
    "voice: music, −5 dB": lambda s, others, rng: music(s, -5.0, rng),
    "voice: clipped, 40 times too loud": lambda s, others, rng: clipped(s, 40.0, rng),
}
FACES = {
    "face: noise, SNR 0.01": "noise",
    "face: blurred": "blurred",
    "face: mouth under a mask": "mouth under a mask",
    "face: eyes behind dark glasses": "eyes behind dark glasses",
}
MISSING = {"voice: missing": "audio", "face: missing": "face"}
NOISE = ("voice: noise, SNR 0.01", "face: noise, SNR 0.01")
BOTH = "noise, SNR 0.01, in either"


class Ravdess:
    """The material of all seeds: made at the first use, as all may be known already."""

    def __init__(self, data: Path, cache: Path) -> None:
        self._shop = Workshop(data, cache, 1)
        pixels = pixel_network(self._shop)
        self._config = ExpertsConfig(pixels=pixels.config)
        experts = cross_fitted(self._config, GROUPS, pixels, 0, self._shop)
        self._everyone = together(experts)
        clips = load_clips(data, cache)
        self.test = [clip for clip in of_actors(clips, TEST_ACTORS) if clip.polarity is not None]
        self._others = [
            clip.sound
            for clip in of_actors(clips, GROUPS[0])[:: 240 // OTHERS]
            if clip.sound is not None
        ]
        self._faces: FaceModel = load_or_measure(data, cache)
        self._sharpness = blurred_sharpness(data)
        progress("RAVDESS: posteriors")
        self.strangers = meet(self._config, experts, self._shop)
        self.clean = of_clips(self._config, self._everyone, self.test)

    def spoilt(self, kind: str, rng: np.random.Generator) -> Spoilt:
        """Every test clip with damage ``kind``."""
        nothing = np.zeros(len(self.test), dtype=bool)
        if kind in MISSING:
            gone = MISSING[kind]
            said = {m: getattr(self.clean, m) for m in MODALITIES}
            said[gone] = np.full_like(said[gone], np.nan)
            return Spoilt(Posteriors(**said), dict.fromkeys(MODALITIES, nothing))
        damaged, faults = [], nothing.copy()
        for row, clip in enumerate(self.test):
            changed, fault = self._damaged(clip, kind, rng)
            damaged.append(changed)
            faults[row] = fault
        said = of_clips(self._config, self._everyone, damaged)
        if kind in SOUNDS:
            return Spoilt(
                Posteriors(said.audio, self.clean.face), {"audio": faults, "face": nothing}
            )
        return Spoilt(Posteriors(self.clean.audio, said.face), {"audio": nothing, "face": faults})

    def _damaged(
        self, clip: RavdessClip, kind: str, rng: np.random.Generator
    ) -> tuple[RavdessClip, bool]:
        """The damaged half of a ``clip``, and whether a signal check finds the damage."""
        if kind in SOUNDS:
            assert clip.sound is not None
            sound = SOUNDS[kind](clip.sound, self._others, rng)
            heard = audio_features(sound, 0.0)
            power, spoken = (None, None) if heard is None else (heard.power, heard.prosody)
            only = dataclasses.replace(clip, face=None, mel_power=power, prosody=spoken)
            return only, voice_fault(sound) is not None
        assert clip.face is not None
        how = FACES[kind]
        if how == "noise":
            landmarks = noisy_landmarks(clip.face.landmarks, SNR, rng)
            face = dataclasses.replace(clip.face, landmarks=landmarks)
        else:
            face = damaged_face(clip.face, how, self._faces, rng)
        fault = unsteadiness(face.landmarks) > MOST_UNSTEADY
        if how in BLURS_PX:
            # Of a picture that was not there its blur cannot be measured: another one's stands in.
            fault = fault or bool(rng.choice(self._sharpness) < LEAST_SHARPNESS)
        return dataclasses.replace(clip, mel_power=None, prosody=None, face=face), fault


def run_ravdess(data: Path, cache: Path, kept: Cache, seeds: range) -> list[Figures]:
    """Figures of each seed: by damage and protection."""
    ravdess: Ravdess | None = None

    def measured(seed: int) -> Figures:
        nonlocal ravdess
        ravdess = ravdess or Ravdess(data, cache)
        return _measured(ravdess, seed)

    found = []
    for seed in seeds:
        key = {"kind": "noise on RAVDESS", "version": VERSION, "seed": seed}
        found.append(kept.get_or_run(key, lambda seed=seed: measured(seed)))  # type: ignore[misc]
        progress(f"RAVDESS, seed {seed}")
    return found


def blurred_sharpness(data: Path) -> NDArray[np.float64]:
    """Sharpness of FER2013's public test pictures under the blur of "face: blurred"."""
    import cv2

    from avsent.extraction.features.quality import sharpness

    images = read_fer2013_images(data / "fer2013", "valid").images[::10]
    strength_px = BLURS_PX["blurred"]
    return np.array([sharpness(cv2.GaussianBlur(i, (0, 0), strength_px)[None]) for i in images])


def _measured(ravdess: Ravdess, seed: int) -> Figures:
    systems = {dropout: _trained(ravdess, dropout, seed) for dropout in (False, True)}
    rng = np.random.default_rng([seed, 3])
    order = _order(ravdess.test, rng)
    nothing = {m: np.zeros(len(ravdess.test), dtype=bool) for m in MODALITIES}
    tests = {"clean": (ravdess.clean, nothing)}
    made = {}
    for kind in (*SOUNDS, *FACES, *MISSING):
        made[kind] = ravdess.spoilt(kind, rng)
        tests[kind] = _hit(ravdess.clean, made[kind], hits((len(ravdess.test),), rng))
        progress(f"RAVDESS, seed {seed}: {kind}")
    hit, voice = hits((len(ravdess.test),), rng), rng.random(len(ravdess.test)) < 0.5
    said, faults = _hit(ravdess.clean, made[NOISE[0]], hit & voice)
    tests[BOTH] = _hit(said, made[NOISE[1]], hit & ~voice, faults)
    balanced: dict[str, dict[str, float]] = {}
    dropped: dict[str, dict[str, dict[str, float]]] = {}
    for damage, (said, faults) in tests.items():
        plain = _videos(ravdess.test, order, said, nothing)
        checked = _videos(ravdess.test, order, said, faults)
        for name, protection in PROTECTIONS.items():
            model, guards = systems[protection.dropout]
            signals = protection.check and not protection.plain
            value, shares = judged_by(model, guards, protection, checked if signals else plain)
            balanced.setdefault(damage, {})[name] = value
            dropped.setdefault(damage, {})[name] = {
                m: float(faults[m].mean() + (1 - faults[m].mean()) * shares[m])
                if signals
                else shares[m]
                for m in MODALITIES
            }
    chosen = {
        "with dropout" if dropout else "without": dataclasses.asdict(guards.full.config)
        for dropout, (_, guards) in systems.items()
    }
    return {"balanced": balanced, "dropped": dropped, "chosen": chosen}


def _trained(ravdess: Ravdess, dropout: bool, seed: int) -> tuple[TargetModel, Guards]:
    known = ravdess.strangers
    clips: dict[str, Pool] = by_speaker(known.clips.pool(POLARITY_LABELS), VALIDATION)
    stills = split_pool(known.stills.pool(POLARITY_LABELS), STILLS_HELD, seed=0)
    settings = Fusing(check=False) if dropout else Fusing(check=False, missing=0.0)
    model = fuse(clips, stills, settings, seed).model
    return model, guards_of(
        model,
        guard_material(
            clips, stills, lambda own, still: drawn(own, still, settings, seed, "valid")
        ),
        seed,
    )


def _hit(
    clean: Posteriors,
    spoilt: Spoilt,
    hit: Faults,
    faults: Mapping[str, Faults] | None = None,
) -> tuple[Posteriors, dict[str, Faults]]:
    """``clean`` with what is ``spoilt`` where it is ``hit`` [N]; and what signal checks find."""
    said = Posteriors(
        np.where(hit[:, None], spoilt.said.audio, clean.audio),
        np.where(hit[:, None], spoilt.said.face, clean.face),
    )
    before = faults or {m: np.zeros(len(hit), dtype=bool) for m in MODALITIES}
    return said, {m: before[m] | (hit & spoilt.faults[m]) for m in MODALITIES}


def _order(clips: Sequence[RavdessClip], rng: np.random.Generator) -> list[list[int]]:
    """Made-up videos: rows of clips of one actor, every clip once."""
    actors = np.array([clip.actor for clip in clips])
    videos = []
    for actor in sorted(set(actors.tolist())):
        rows = rng.permutation(np.flatnonzero(actors == actor)).tolist()
        videos += [rows[first : first + COMPANY] for first in range(0, len(rows), COMPANY)]
    return videos


def _videos(
    clips: Sequence[RavdessClip],
    order: Sequence[Sequence[int]],
    said: Posteriors,
    faults: Mapping[str, Faults],
) -> Videos:
    from avsent.training.data.corpus import Sample

    def there(modality: str, row: int) -> NDArray[np.float32] | None:
        vector = getattr(said, modality)[row]
        return None if faults[modality][row] or np.isnan(vector).all() else vector

    samples = [
        Sample(
            key=clips[row].clip_id,
            video=f"video {number}",
            audio=there("audio", row),
            face=there("face", row),
        )
        for number, rows in enumerate(order)
        for row in rows
    ]
    labels = {clip.clip_id: float(clip.polarity or 0) for clip in clips}
    sizes = {"audio": said.audio.shape[1], "face": said.face.shape[1]}
    videos = make_videos(samples, labels, sizes)
    return dataclasses.replace(
        videos, vectors={m: torch.as_tensor(v) for m, v in videos.vectors.items()}
    )
