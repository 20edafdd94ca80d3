"""Real damage to a voice: other talkers, music, a recording level far too high, white noise.

Sounds are mono at 16 kHz, float32 [N]; every function draws from the ``rng`` it is given.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from avsent.extraction.media.events import SAMPLE_RATE_HZ
from avsent.training.modality_check import noisy_sound

Sound = NDArray[np.float32]

TALKERS = 6
"""Fewer can be told apart, and one could be taken for the speaker."""
CLIP_PERCENTILE = 99.0
"""Of the absolute samples: a ``gain`` of 1 clips what is louder."""

LOWEST_ROOT_HZ = 110.0
MAJOR, STEPS = (0, 4, 7), (0, 5, 7, 9)
"""Semitones: of a chord's notes above its root, and of its root above the key: I, IV, V, vi."""
HARMONICS = 6
BEAT_S = (0.3, 0.6)
"""Shortest and longest time between two chords."""
CHORD_DECAY_PER_S = 2.0
DRUM_S, DRUM_DECAY_S, DRUM_LEVEL = 0.1, 0.019, 2.0


def mixed(samples: Sound, noise: NDArray[np.floating], snr_db: float) -> Sound:
    """``samples`` with ``noise`` of the same length, scaled to that ratio of their powers."""
    level = _rms(samples) / max(_rms(noise), 1e-9) * 10 ** (-snr_db / 20)
    return np.asarray(samples + level * noise, dtype=np.float32)


def white(samples: Sound, snr_db: float, rng: np.random.Generator) -> Sound:
    """``samples`` in white noise; M3ER's SNR of 0.01 is −20 dB."""
    return noisy_sound(samples, 10 ** (snr_db / 10), rng)


def babble(
    samples: Sound, others: Sequence[Sound], snr_db: float, rng: np.random.Generator
) -> Sound:
    """``samples`` among ``TALKERS`` of the ``others``, equally loud, each looped from anywhere.

    Raises:
        ValueError: there are fewer others than that.
    """
    if len(others) < TALKERS:
        raise ValueError(f"babble needs {TALKERS} other talkers, not {len(others)}")
    total = np.zeros(len(samples))
    for which in rng.choice(len(others), TALKERS, replace=False):
        other = others[which]
        turned = np.roll(other, int(rng.integers(len(other))))
        total += np.resize(turned, len(samples)) / max(_rms(other), 1e-9)
    return mixed(samples, total, snr_db)


def music(samples: Sound, snr_db: float, rng: np.random.Generator) -> Sound:
    """``samples`` under a band: decaying major chords with harmonics, a drum hit on each."""
    return mixed(samples, band(len(samples), rng), snr_db)


def band(length: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """``length`` samples of music as in :func:`music`."""
    time_s = np.arange(length) / SAMPLE_RATE_HZ
    key_hz = LOWEST_ROOT_HZ * 2 ** (rng.integers(12) / 12)
    beat_s = rng.uniform(*BEAT_S)
    drum = round(DRUM_S * SAMPLE_RATE_HZ)
    hit = DRUM_LEVEL * np.exp(-np.arange(drum) / (DRUM_DECAY_S * SAMPLE_RATE_HZ))
    total = np.zeros(length + drum)
    for start_s in np.arange(0, length / SAMPLE_RATE_HZ, beat_s):
        start = int(start_s * SAMPLE_RATE_HZ)
        since_s = time_s[: length - start]
        notes_hz = key_hz * 2 ** ((rng.choice(STEPS) + np.array(MAJOR)) / 12)
        for note_hz in notes_hz:
            for harmonic in range(1, HARMONICS + 1):
                phase = rng.uniform(0, 2 * np.pi)
                wave = np.sin(2 * np.pi * note_hz * harmonic * since_s + phase)
                total[start:length] += np.exp(-CHORD_DECAY_PER_S * since_s) * wave / harmonic
        total[start : start + drum] += hit * rng.normal(size=drum)
    return total[:length]


def clipped(samples: Sound, gain: float, rng: np.random.Generator) -> Sound:
    """``samples`` recorded ``gain`` times too loud: cut off at full scale. ``rng`` is not used."""
    loud = max(float(np.percentile(np.abs(samples), CLIP_PERCENTILE)), 1e-9)
    return np.asarray(np.clip(samples * (gain / loud), -1, 1), dtype=np.float32)


def _rms(samples: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0
