"""Settings that decide what features look like; a checkpoint carries them."""

from __future__ import annotations

from dataclasses import dataclass, field

from avsent.extraction.features.face import FaceConfig
from avsent.extraction.features.spectrogram import AudioConfig


@dataclass(frozen=True, slots=True)
class FeatureConfig:
    """Feature settings of both modalities."""

    audio: AudioConfig = field(default_factory=AudioConfig)
    face: FaceConfig = field(default_factory=FaceConfig)
