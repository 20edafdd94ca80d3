"""The spectrogram of an utterance as a picture: what the model hears, as people read it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from avsent.extraction.features.spectrogram import AudioConfig, mel_power, normalised_log
from avsent.views.report.pictures import webp

_QUIET_POWER = 1e-9
"""Less than this in every band at every time is no sound."""


@dataclass(frozen=True, slots=True)
class Spectrogram:
    """``webp``: time to the right, low tones below; it spans ``start_s`` to ``end_s``."""

    webp: bytes
    width: int
    height: int
    start_s: float
    end_s: float


def spectrogram_of(
    samples: NDArray[np.float32], start_s: float, columns: int, quality: int
) -> Spectrogram | None:
    """Of mono ``samples`` [N] whose first one sounds at ``start_s``; None where all is silent.

    The log-mel spectrogram of :mod:`avsent.extraction.features.spectrogram`, but with its quiet ends.
    """
    levels = spectrogram_levels(samples)
    if levels is None:
        return None
    step_s = AudioConfig().hop_samples / AudioConfig().sample_rate_hz
    lasted_s = levels.shape[1] * step_s
    if levels.shape[1] > columns:
        narrower = cv2.resize(levels, (columns, levels.shape[0]), interpolation=cv2.INTER_AREA)
        levels = np.asarray(narrower, dtype=np.uint8)
    # Magma: even steps of sound look like even steps of light, to the colour-blind, too.
    picture = cv2.applyColorMap(levels[::-1], cv2.COLORMAP_MAGMA)
    return Spectrogram(
        webp=webp(np.asarray(picture, dtype=np.uint8), quality),
        width=levels.shape[1],
        height=levels.shape[0],
        start_s=start_s - step_s / 2,  # a frame is centred on its time
        end_s=start_s - step_s / 2 + lasted_s,
    )


def spectrogram_levels(samples: NDArray[np.float32]) -> NDArray[np.uint8] | None:
    """Loudness [mel, N], 0 at the floor and 255 at the peak, a frame for each 10 ms."""
    config = AudioConfig()
    if samples.size < config.hop_samples:
        return None
    power = mel_power(samples, config)
    if power.max() < _QUIET_POWER:
        return None
    level = normalised_log(power, config.floor_db)
    level = (level - level.min()) / max(float(np.ptp(level)), 1e-6)
    levels: NDArray[np.uint8] = np.round(255 * level).astype(np.uint8)
    return levels
