"""Random changes that another microphone, room or speaker would make to the same sound."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SPEED = 0.12
"""Faster and higher, or slower and lower: another speaker."""
TILT_DB = 6.0
EQUALISER_DB = 4.0
TELEPHONE_SHARE = 0.2
TELEPHONE_HZ = (300.0, 3_400.0)
TELEPHONE_DB = -40.0
NOISE_SNR_DB = (8.0, 45.0)
NOISE_TILT_DB = (-12.0, 3.0)


def another_microphone(
    samples: NDArray[np.float32], rate_hz: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """A changed copy of mono ``samples`` [N] at ``rate_hz`` → [N'].

    Speed (and pitch with it), spectral balance, band limits, and noise; what
    ``augmented_log_mel`` does to a spectrogram, for what is measured on the sound itself.
    """
    count = max(1, round(len(samples) * float(np.exp(rng.uniform(-SPEED, SPEED)))))
    # Band-limited: a spectrum with more or fewer lines is the same sound at another rate.
    sound = np.fft.irfft(np.fft.rfft(samples), count) * (count / max(len(samples), 1))
    spectrum = np.fft.rfft(sound)
    rates_hz = np.fft.rfftfreq(len(sound), 1 / rate_hz)
    place = np.linspace(-0.5, 0.5, len(rates_hz))
    gain_db = rng.uniform(-TILT_DB, TILT_DB) * place
    waves = 2 * np.pi * rng.uniform(0.5, 3.0) * (place + rng.random())
    gain_db += rng.uniform(0, EQUALISER_DB) * np.sin(waves)
    if rng.random() < TELEPHONE_SHARE:
        gain_db[(rates_hz < TELEPHONE_HZ[0]) | (rates_hz > TELEPHONE_HZ[1])] += TELEPHONE_DB
    sound = np.fft.irfft(spectrum * _factor(gain_db), len(sound))
    hiss = np.fft.rfft(rng.normal(size=len(sound)))
    hiss *= _factor(rng.uniform(*NOISE_TILT_DB) * (place + 0.5))
    noise = np.fft.irfft(hiss, len(sound))
    wanted = sound.std() * float(_factor(-rng.uniform(*NOISE_SNR_DB)))
    changed = sound + noise * (wanted / max(float(noise.std()), 1e-9))
    return np.asarray(changed, dtype=np.float32)


def _factor(decibel: Any) -> Any:
    return 10 ** (decibel / 20)
