"""Sizes of the networks, as dataclasses that travel in a checkpoint's ``config.json``.

The HMTL paper's sizes are not known; these are ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class AudioEncoderConfig:
    """Convolutional encoder of log-mel spectrograms; ``scale`` is FBP's λ."""

    mel_bands: int = 64
    channels: tuple[int, ...] = (16, 32, 64, 96)
    attention: int = 64
    scale: float = 0.5
    representation: int = 64
    dropout: float = 0.3


@dataclass(frozen=True, slots=True)
class FaceEncoderConfig:
    """Per-frame landmark encoder with attention over frames; ``scale`` is FBP's λ."""

    points: int = 51
    hidden: tuple[int, ...] = (128, 64)
    attention: int = 64
    scale: float = 0.5
    representation: int = 64
    dropout: float = 0.2


@dataclass(frozen=True, slots=True)
class ContextConfig:
    """Embedding networks (BiGRU → dense → BiGRU) and classifier over a video's utterances."""

    first_gru: int = 48
    dense: int = 64
    second_gru: int = 32
    dropout: float = 0.4
    classifier: int = 64


@dataclass(frozen=True, slots=True)
class TargetConfig:
    """Everything needed to rebuild a :class:`~avsent.networks.target.TargetModel`."""

    labels: tuple[str, ...] = ("negative", "neutral", "positive")
    audio: AudioEncoderConfig = field(default_factory=AudioEncoderConfig)
    face: FaceEncoderConfig = field(default_factory=FaceEncoderConfig)
    context: ContextConfig = field(default_factory=ContextConfig)
