"""Small experts, and made-up clips whose emotion is plain to hear and to see."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from avsent.data.ravdess import FULL_SCALE, RavdessClip
from avsent.features.face import FaceFeatures
from avsent.features.prosody import prosody
from avsent.labels import EMOTIONS
from avsent.media import SAMPLE_RATE_HZ
from avsent.networks.config import (
    AudioEncoderConfig,
    ExpertsConfig,
    FaceEncoderConfig,
    MovementConfig,
    PixelConfig,
)
from avsent.networks.experts import AudioMember, FaceMember, ProsodyMember
from avsent.networks.pixel_network import PixelNetwork
from avsent.training import augment
from avsent.training.augment import upright
from avsent.training.shipped.corpora import Stills
from avsent.training.shipped.posteriors import Experts

M = TypeVar("M", bound=nn.Module)

EXPERTS = ExpertsConfig(
    audio_members=2,
    face_members=2,
    audio=AudioEncoderConfig(channels=(8, 16, 24), attention=16, representation=24, dropout=0.1),
    still=FaceEncoderConfig(hidden=(48,), attention=16, representation=24, dropout=0.1),
    movement=MovementConfig(channels=(32,), attention=16, representation=24, dropout=0.1),
    pixels=PixelConfig(members=2, stem=3, channels=(4, 5)),
)
VOICE, FACE = EXPERTS.posteriors("audio"), EXPERTS.posteriors("face")
HEARD, SPOKEN = slice(0, 11), slice(11, 22)
"""Columns of what is heard: by the spectrogram, and by the prosody."""
STILL, MOVING, PIXELS = slice(0, 11), slice(11, 22), slice(22, 32)
"""Columns of what is seen."""


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def with_statistics(model: M, seed: int = 0) -> M:
    """``model`` in evaluation mode, with batch statistics that are not the initial 0 and 1."""
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "scale.mean")):
            buffer.copy_(0.3 * random(*buffer.shape, seed=seed + 5))
        elif name.endswith(("running_var", "scale.deviation")):
            buffer.copy_(0.5 + random(*buffer.shape, seed=seed + 6).abs())
    return model.eval()


def some_experts(seed: int, members: int = 1) -> Experts:
    """Experts that know nothing, each with opinions of its own."""
    torch.manual_seed(seed)
    return Experts(
        tuple(with_statistics(AudioMember(EXPERTS), seed + k) for k in range(members)),
        tuple(with_statistics(ProsodyMember(EXPERTS), seed + k) for k in range(members)),
        tuple(with_statistics(FaceMember(EXPERTS), seed + k) for k in range(members)),
        with_statistics(PixelNetwork(EXPERTS.pixels)),
    )


def some_faces(count: int, frames: int = 3, seed: int = 0) -> Tensor:
    """Normalised landmarks [N, T, 51, 2] of people who do not look alike."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(count, frames, 51, 2, generator=generator) / 4
    points[..., augment.LEFT_EYE, 0] -= 0.5
    points[..., augment.RIGHT_EYE, 0] += 0.5
    return upright(points)


KINDS = (("sad", 0), ("neutral", 1), ("happy", 2), ("surprised", None))
MOVED = (slice(0, 10), slice(0, 0), slice(31, 43), slice(10, 19))
PITCHES_HZ = (95.0, 140.0, 205.0, 300.0)


def buzz(pitch_hz: float | NDArray[np.float64], seconds: float = 1.0) -> NDArray[np.float32]:
    """Twelve harmonics [S] at 16 kHz of a pitch that stays, or of one for each sample."""
    count = round(seconds * SAMPLE_RATE_HZ)
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(pitch_hz, count)) / SAMPLE_RATE_HZ
    return np.asarray(0.2 * sum(np.sin(k * phase) / k for k in range(1, 13)), dtype=np.float32)


def made_clips(count: int, seed: int, actors: int = 1) -> list[RavdessClip]:
    """Clips of four emotions in turn, on one face. The voice is stripes, a band, pulses or noise;
    the mouth has a height for each of them. The sound of it is a buzz of another pitch for each, as
    the spectrogram is made-up, too: neither tells the other."""
    rng, clips = np.random.default_rng(seed), []
    base = some_faces(1, 1)[0].numpy()
    for index in range(count):
        kind = index % 4
        emotion, polarity = KINDS[kind]
        power = rng.gamma(1.0, 0.02, (64, 40)).astype(np.float32)
        band, time = np.indices(power.shape)
        power += (band % 6 == 0, abs(band - 32) < 12, time // 8 % 2 == 0, False)[kind]
        frames = base + rng.normal(0, 0.02, (14, 51, 2))
        swing = 0.3 + 0.25 * np.sin(np.arange(14))
        frames[:, MOVED[kind], 1] += swing[:, None]
        face = FaceFeatures(
            np.arange(14) / 10, frames.astype(np.float32), neutral=base[0].astype(np.float32)
        )
        actor = 1 + index // 4 % actors
        sound = buzz(PITCHES_HZ[kind] * 2 ** rng.uniform(-1 / 12, 1 / 12), 0.4)
        sound += rng.normal(0, 0.01, sound.shape).astype(np.float32)
        speech = np.round(sound * FULL_SCALE).astype(np.int16)
        clips.append(
            RavdessClip(f"{index}", actor, emotion, polarity, power, face, prosody(sound), speech)
        )
    return clips


def made_stills(clips: list[RavdessClip], seed: int = 0) -> Stills:
    """The first frame of each clip, with a picture of noise."""
    rng = np.random.default_rng(seed)
    return Stills(
        torch.from_numpy(np.stack([c.face.landmarks[0] for c in clips if c.face is not None])),
        np.array([-1 if c.polarity is None else c.polarity for c in clips]),
        np.array([EMOTIONS.index(c.emotion) for c in clips]),
        rng.integers(0, 256, (len(clips), 48, 48)).astype(np.uint8),
    )
