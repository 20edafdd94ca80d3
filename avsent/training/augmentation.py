"""Random changes that another microphone, camera or speaker would make to the same utterance.

Strengths are those found to carry over to recordings outside the training corpora.
"""

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avsent.extraction.features.voice import FLOOR_DB, normalised_log

SPEED = 0.15
MEL_WARP = 0.10
TILT_DB = 6.0
EQUALISER_DB = 4.0
NOISE_SNR_DB = (5.0, 45.0)
TELEPHONE_SHARE = 0.15
"""Share of utterances whose highest bands are taken away, as a telephone does."""
MASK_BANDS = 10
MASK_FRAMES = 24
MAX_FRAMES = 256  # longer spectrograms are cropped at random in training

YAW_RAD = 0.25
PITCH_RAD = 0.15
AXIS_SCALE = 0.06
NOISE_EYE_DISTANCES = 0.02

MIRROR_POINTS = (
    *(9, 8, 7, 6, 5, 4, 3, 2, 1, 0),  # brows
    *(10, 11, 12, 13, 18, 17, 16, 15, 14),  # nose
    *(28, 27, 26, 25, 30, 29, 22, 21, 20, 19, 24, 23),  # eyes
    *(37, 36, 35, 34, 33, 32, 31, 42, 41, 40, 39, 38),  # outer lips
    *(47, 46, 45, 44, 43, 50, 49, 48),  # inner lips
)
"""For each of the 51 points (no jaw line), the one that takes its place in the mirror."""
LEFT_EYE, RIGHT_EYE = slice(19, 25), slice(25, 31)
_DEPTH = np.concatenate(
    [
        [-0.10, 0.0, 0.08, 0.12, 0.12, 0.12, 0.12, 0.08, 0.0, -0.10],  # brows
        [0.12, 0.22, 0.34, 0.46, 0.20, 0.27, 0.31, 0.27, 0.20],  # nose
        [-0.10, 0.0, 0.0, -0.02, 0.0, 0.0, -0.02, 0.0, 0.0, -0.10, 0.0, 0.0],  # eyes
        [0.05, 0.17, 0.26, 0.28, 0.26, 0.17, 0.05, 0.15, 0.22, 0.24, 0.22, 0.15],  # outer lips
        [0.06, 0.20, 0.22, 0.20, 0.06, 0.18, 0.20, 0.18],  # inner lips
    ],
    dtype=np.float32,
)
"""Rough height of each point above the plane of the eyes, in eye distances (our estimate)."""


def augmented_log_mel(
    power: NDArray[np.float32], rng: np.random.Generator, floor_db: float = FLOOR_DB
) -> NDArray[np.float32]:
    """A changed copy of mel ``power`` [mel, N] as a normalised log-mel [mel, N']."""
    bands, frames = power.shape
    power = _stretched(power, rng)
    tilt = rng.uniform(-TILT_DB, TILT_DB) * np.linspace(-0.5, 0.5, bands)
    phase, waves = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 3.0)
    bend = np.sin(phase + waves * np.linspace(0, 2 * np.pi, bands))
    curve_db = tilt + rng.uniform(0, EQUALISER_DB) * bend
    if rng.random() < TELEPHONE_SHARE:
        curve_db[int(bands * rng.uniform(0.7, 0.9)) :] -= 40.0
    power = power * (10 ** (curve_db / 10))[:, None].astype(np.float32)
    noise_tilt_db = rng.uniform(-12, 3) * np.linspace(0, 1, bands)
    noise = (10 ** (noise_tilt_db / 10))[:, None] * rng.gamma(3.0, 1 / 3.0, power.shape)
    snr = 10 ** (rng.uniform(*NOISE_SNR_DB) / 10)
    noise *= power.sum(axis=0).mean() / (snr * noise.sum(axis=0).mean())
    log_mel = normalised_log(power + noise, floor_db)
    if log_mel.shape[1] > MAX_FRAMES:
        first = int(rng.integers(log_mel.shape[1] - MAX_FRAMES))
        log_mel = log_mel[:, first : first + MAX_FRAMES]
    for _ in range(2):
        if rng.random() < 0.5:
            height, low = int(rng.integers(1, MASK_BANDS)), int(rng.integers(bands - MASK_BANDS))
            log_mel[low : low + height] = 0.0
        if rng.random() < 0.5:
            width = int(rng.integers(1, min(MASK_FRAMES, max(2, frames // 4))))
            start = int(rng.integers(max(1, log_mel.shape[1] - width)))
            log_mel[:, start : start + width] = 0.0
    return log_mel


def _stretched(power: NDArray[np.float32], rng: np.random.Generator) -> NDArray[Any]:
    """Another speaking rate (time axis) and another vocal-tract length (mel axis)."""
    bands, frames = power.shape
    new_frames = max(16, round(frames * rng.uniform(1 - SPEED, 1 + SPEED)))
    warp = rng.uniform(1 - MEL_WARP, 1 + MEL_WARP)
    columns = (np.arange(new_frames, dtype=np.float32) + 0.5) * (frames / new_frames) - 0.5
    rows = np.arange(bands, dtype=np.float32) * np.float32(warp)
    grid_x, grid_y = np.meshgrid(columns.astype(np.float32), rows)
    return np.maximum(
        cv2.remap(power, grid_x, grid_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), 0.0
    )


def augmented_landmarks(landmarks: Tensor, generator: torch.Generator) -> Tensor:
    """Changed copies of normalised ``landmarks`` [N, T, 51, 2], one change per sequence N.

    The head is turned (yaw, pitch) with a rough depth for each point, the axes scaled, the
    points jittered, half of the faces mirrored; then eye-centred and scaled again.
    """
    n = landmarks.shape[0]

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    points = landmarks.clone()
    mirrored = torch.rand(n, generator=generator) < 0.5
    flipped = points[mirrored][:, :, list(MIRROR_POINTS)]
    points[mirrored] = flipped * torch.tensor([-1.0, 1.0])
    yaw, pitch = YAW_RAD * normal(n, 1, 1), PITCH_RAD * normal(n, 1, 1)
    depth = torch.from_numpy(_DEPTH)
    x = points[..., 0] * torch.cos(yaw) + depth * torch.sin(yaw)
    y = points[..., 1] * torch.cos(pitch) - depth * torch.sin(pitch)
    points = torch.stack([x, y], dim=-1) * (1 + AXIS_SCALE * normal(n, 1, 1, 2))
    strength = NOISE_EYE_DISTANCES * torch.rand(n, 1, 1, 1, generator=generator)
    points = points + strength * torch.randn(points.shape, generator=generator)
    return upright(points)


def upright(points: Tensor) -> Tensor:
    """[..., 51, 2] eye-centred, upright, in eye distances: as ``normalise_landmarks``, in torch."""
    left, right = points[..., LEFT_EYE, :].mean(-2), points[..., RIGHT_EYE, :].mean(-2)
    axis = right - left
    distance = axis.norm(dim=-1).clamp_min(1e-4)
    cos, sin = (axis[..., 0] / distance)[..., None], (axis[..., 1] / distance)[..., None]
    centred = points - ((left + right) / 2)[..., None, :]
    x = cos * centred[..., 0] + sin * centred[..., 1]
    y = -sin * centred[..., 0] + cos * centred[..., 1]
    normalised: Tensor = torch.stack([x, y], dim=-1) / distance[..., None, None]
    return normalised
