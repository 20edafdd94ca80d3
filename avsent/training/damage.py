"""Damage for the sake of choosing thresholds: utterances drowned in Gaussian noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from avsent.data.corpus import Sample
from avsent.training.augment import upright
from avsent.training.videos import Videos

SNR = 0.01
"""Power of the signal over that of the noise: M3ER's ablation."""
LEAST_MOVEMENT = 0.01
"""Eye distances: of a face that holds still, or was seen once."""
NOISE_SHAPE = 3.0
"""Mel power of white noise scatters like a gamma variable of this shape."""


def drowned(videos: Videos, seed: int, snr: float = SNR) -> Videos:
    """``videos`` with noise in every modality of every utterance: on ready-made vectors, on the
    mel power of voices, on the landmarks of faces. Their deviations are those over ``videos``."""
    rng = np.random.default_rng([seed, 409])
    strength = float(np.sqrt(1 / snr))
    vectors = {}
    for modality, values in videos.vectors.items():
        there = videos.present[modality]
        known = values[there]  # NaN is a value that is not known
        deviation = (known - known.nanmean(dim=0)).square().nanmean(dim=0).sqrt()
        noise = torch.from_numpy(rng.normal(size=values.shape).astype(np.float32))
        vectors[modality] = torch.where(
            there[..., None], values + strength * deviation * noise, values
        )
    samples = tuple(
        tuple(_drowned(sample, vectors, snr, rng) for sample in video) for video in videos.samples
    )
    return dataclasses.replace(videos, samples=samples, vectors=vectors)


def _drowned(
    sample: Sample, ready: Mapping[str, torch.Tensor], snr: float, rng: np.random.Generator
) -> Sample:
    """A raw ``sample``; what is ``ready`` as a vector stays as it is."""
    changed = sample
    if sample.audio is not None and "audio" not in ready:
        noise = rng.gamma(NOISE_SHAPE, 1 / NOISE_SHAPE, sample.audio.shape)
        level = sample.audio.mean() / snr
        # Of a changed voice the prosody is not known.
        heard = (sample.audio + level * noise).astype(np.float32)
        changed = dataclasses.replace(changed, audio=heard, prosody=None)
    if sample.face is not None and "face" not in ready:
        seen = noisy_landmarks(sample.face, snr, rng)
        changed = dataclasses.replace(changed, face=seen, pictures=None)
    return changed


def noisy_sound(
    samples: NDArray[np.float32], snr: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Mono ``samples`` [N] in white noise of 1 / ``snr`` times their power."""
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)) / snr))
    return (samples + level * rng.normal(size=samples.shape)).astype(np.float32)


def noisy_pictures(
    pictures: NDArray[np.uint8], snr: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Grey ``pictures`` [N, H, W] in white noise of 1 / ``snr`` times the variance of each."""
    spread = pictures.std(axis=(1, 2), keepdims=True) / np.sqrt(snr)
    noisy = pictures + spread * rng.normal(size=pictures.shape)
    return np.asarray(np.clip(noisy, 0, 255), dtype=np.uint8)


def noisy_landmarks(
    landmarks: NDArray[np.float32], snr: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """``landmarks`` [T, 51, 2] in eye distances with noise of 1 / ``snr`` times the power of their
    own movement, centred, turned and scaled anew: as if found so."""
    movement = np.sqrt(np.mean(np.var(landmarks, axis=0))) + LEAST_MOVEMENT
    noise = rng.normal(size=landmarks.shape) * movement / np.sqrt(snr)
    found: NDArray[np.float32] = upright(
        torch.from_numpy((landmarks + noise).astype(np.float32))
    ).numpy()
    return found
