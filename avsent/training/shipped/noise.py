"""Clips and stills full of noise: what the thresholds of the modality check are chosen against."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from avsent.data.ravdess import RavdessClip
from avsent.features.voice import audio_features
from avsent.training.damage import SNR, noisy_landmarks, noisy_pictures, noisy_sound
from avsent.training.shipped.corpora import Stills


def noisy_clip(clip: RavdessClip, rng: np.random.Generator) -> RavdessClip:
    """``clip`` with noise at ``SNR`` in its sound and on its landmarks."""
    changed = clip
    if clip.sound is not None:
        heard = audio_features(noisy_sound(clip.sound, SNR, rng), 0.0)
        power, spoken = (None, None) if heard is None else (heard.power, heard.prosody)
        changed = dataclasses.replace(changed, mel_power=power, prosody=spoken)
    if clip.face is not None:
        landmarks = noisy_landmarks(clip.face.landmarks, SNR, rng)
        changed = dataclasses.replace(
            changed, face=dataclasses.replace(clip.face, landmarks=landmarks)
        )
    return changed


def noisy_stills(stills: Stills, rng: np.random.Generator) -> Stills:
    """``stills`` with noise at ``SNR`` in their pictures, and on their landmarks as much as a
    face's movement over a clip, ``LEAST_MOVEMENT`` over the root of ``SNR``."""
    landmarks = [noisy_landmarks(one[None].numpy(), SNR, rng) for one in stills.landmarks]
    return dataclasses.replace(
        stills,
        landmarks=torch.from_numpy(np.concatenate(landmarks)),
        pictures=noisy_pictures(stills.pictures, SNR, rng),
    )
