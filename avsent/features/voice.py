"""What is heard of an utterance: its log-mel spectrogram and its prosody."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avsent.features.audio import AudioConfig, audible_power, normalised_log
from avsent.features.prosody import prosody_of


@dataclass(frozen=True, slots=True, eq=False)
class AudioFeatures:
    """``log_mel`` [mel, N] float32, mean 0 and deviation 1 over the utterance; ``times_s`` [N];
    ``power`` [mel, N] float32, what it was made from: training changes that; ``prosody`` [24]."""

    times_s: NDArray[np.float64]
    log_mel: NDArray[np.float32]
    power: NDArray[np.float32]
    prosody: NDArray[np.float32] | None = None


def audio_features(
    samples: NDArray[np.float32], start_s: float, config: AudioConfig | None = None
) -> AudioFeatures | None:
    """Of mono ``samples`` [N] whose first one sounds at ``start_s``.

    Returns None where there is nothing to hear: silence (below ``SILENCE_DBFS``) or a sound
    too short for ``MIN_FRAMES`` frames.
    """
    config = config or AudioConfig()
    found = audible_power(samples, config)
    if found is None:
        return None
    power, first = found
    frames = np.arange(first, first + power.shape[1])
    return AudioFeatures(
        times_s=start_s + frames * (config.hop_samples / config.sample_rate_hz),
        log_mel=normalised_log(power, config.floor_db),
        power=power,
        prosody=prosody_of(samples, power, first, config),
    )
