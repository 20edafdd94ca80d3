"""Imported once by the process that workers are forked from: workers then share what would take
each of them seconds and hundreds of megabytes.

Nothing here may start a thread, which a fork would lose: so no network runs.
"""

import contextlib

import numpy as np

import avsent.batch.engines.worker
import avsent.predictor  # noqa: F401
from avsent.errors import AvsentError
from avsent.extraction.faces.tracking import FaceTracker
from avsent.extraction.features.voice import audio_features
from avsent.extraction.media.events import SAMPLE_RATE_HZ

# librosa imports most of itself, and loads what numba compiled, when it is first used.
_NOISE = np.random.default_rng(0).normal(scale=0.1, size=SAMPLE_RATE_HZ).astype(np.float32)
audio_features(_NOISE, 0.0)
# dlib's models. Where their files are missing, --landmarks may name others, or workers fail.
with contextlib.suppress(AvsentError):
    FaceTracker()
