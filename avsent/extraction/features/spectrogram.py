"""Log-mel spectrogram of an utterance, normalised so that it carries over to other recordings.

Measurements decided how: a spectrogram floored below its own peak and standardised by one mean and
one deviation per utterance carries over; absolute level, statistics of the corpus and duration do
not. librosa computes the mel power.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avsent.extraction.features.numba_cache import ensure_numba_cache
from avsent.extraction.media.events import SAMPLE_RATE_HZ

WINDOW_SAMPLES = 400
"""25 ms"""
HOP_SAMPLES = 160
"""10 ms"""
FFT_SAMPLES = 512
MEL_BANDS = 64
LOWEST_HZ = 60.0
HIGHEST_HZ = 7600.0
FLOOR_DB = 45.0
"""Power further below the utterance's peak counts as silence."""
TRIM_DB = 35.0
"""Leading and trailing frames further below the loudest frame are cut off."""
SILENCE_DBFS = -60.0
"""Without a louder frame an utterance has no voice: the modality is missing."""
MIN_FRAMES = 16
"""Fewer frames (0.16 s) count as no voice."""


@dataclass(frozen=True, slots=True)
class AudioConfig:
    """How the log-mel spectrogram is made; stored in the checkpoint."""

    sample_rate_hz: int = SAMPLE_RATE_HZ
    window_samples: int = WINDOW_SAMPLES
    hop_samples: int = HOP_SAMPLES
    fft_samples: int = FFT_SAMPLES
    mel_bands: int = MEL_BANDS
    lowest_hz: float = LOWEST_HZ
    highest_hz: float = HIGHEST_HZ
    floor_db: float = FLOOR_DB
    trim_db: float = TRIM_DB


def audible_power(
    samples: NDArray[np.float32], config: AudioConfig
) -> tuple[NDArray[np.float32], int] | None:
    """Mel power [mel, N] of ``samples`` without quiet ends, and the index of its first frame; None
    where there is nothing to hear."""
    if samples.size < MIN_FRAMES * config.hop_samples or _loudest_dbfs(samples) < SILENCE_DBFS:
        return None
    power = mel_power(samples, config)
    loudness_db = 10.0 * np.log10(power.sum(axis=0) + 1e-12)
    heard = np.flatnonzero(loudness_db >= loudness_db.max() - config.trim_db)
    first, last = int(heard[0]), int(heard[-1]) + 1
    return None if last - first < MIN_FRAMES else (power[:, first:last], first)


def mel_power(samples: NDArray[np.float32], config: AudioConfig) -> NDArray[np.float32]:
    """Power in mel bands [mel, N]; frame ``k`` is centred on sample ``k * hop``."""
    ensure_numba_cache()
    import librosa

    power: NDArray[np.float32] = librosa.feature.melspectrogram(
        y=np.ascontiguousarray(samples, dtype=np.float32),
        sr=config.sample_rate_hz,
        n_fft=config.fft_samples,
        win_length=config.window_samples,
        hop_length=config.hop_samples,
        n_mels=config.mel_bands,
        fmin=config.lowest_hz,
        fmax=config.highest_hz,
        center=True,
        pad_mode="constant",
    ).astype(np.float32)
    return power


def normalised_log(power: NDArray[Any], floor_db: float) -> NDArray[np.float32]:
    """Log-mel [mel, N] of ``power`` [mel, N]: decibels, floored at ``floor_db`` below the peak,
    with mean 0 and deviation 1."""
    decibel = 10.0 * np.log10(np.maximum(power, 1e-12))
    decibel = np.maximum(decibel, decibel.max() - floor_db)
    spread = max(float(decibel.std()), 1e-3)
    normalised: NDArray[np.float32] = ((decibel - decibel.mean()) / spread).astype(np.float32)
    return normalised


def _loudest_dbfs(samples: NDArray[np.float32]) -> float:
    """Level of the loudest 25-ms stretch, in dB relative to full scale."""
    usable = samples[: samples.size // WINDOW_SAMPLES * WINDOW_SAMPLES]
    if usable.size == 0:
        usable = samples
    frames = usable.reshape(-1, min(WINDOW_SAMPLES, usable.size)).astype(np.float64)
    mean_square = float(np.mean(frames**2, axis=1).max())
    return float(10.0 * np.log10(mean_square + 1e-20))
