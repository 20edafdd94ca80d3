"""Small experts, and synthetic clips whose emotion is easy to tell from voice and face."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from conftest import ROOT
from numpy.typing import NDArray
from torch import Tensor, nn

from avsent.extraction.extractor import FeatureConfig
from avsent.extraction.features.face import FaceFeatures
from avsent.extraction.features.voice import prosody
from avsent.extraction.media.events import SAMPLE_RATE_HZ
from avsent.labels import EMOTIONS, POLARITY_LABELS
from avsent.model.checkpoint import Calibration, save_checkpoint
from avsent.model.index import CARD_FILE, INDEX_FILE
from avsent.model.networks import config as sizes
from avsent.model.networks.config import (
    ContextConfig,
    ExpertsConfig,
    FaceEncoderConfig,
    MovementConfig,
    PixelConfig,
    WhisperConfig,
)
from avsent.model.networks.encoders import PixelNetwork
from avsent.model.networks.experts import FaceMember, ProsodyMember, VoiceMember
from avsent.model.networks.target import TargetModel
from avsent.training import augmentation
from avsent.training.augmentation import upright
from avsent.training.run import Trained
from avsent.training.settings import OptimiserSettings
from recipes.fusion import FusionTraining, Pool, Pools, fuse
from recipes.pixels import PixelTraining, train_pixels
from recipes.posteriors import Experts
from recipes.ravdess import FULL_SCALE, RavdessClip
from recipes.stills import AS_EMOTION, FERPLUS, Stills
from recipes.voices import Voice, VoiceFeatures

MODELS = ROOT / "models"
LABELS = ("angry", "happy")
CARD = """# small

## Data and licence
- **Corpus A** (somebody 2020), CC BY 4.0: sound.
- talks: 1,234 utterances, SHA-256 0123…, licence: own.
- No **text** was used.

## Measured
- **Nothing**: 5 utterances.
"""


def save(folder: Path, seed: int = 0, card: str | None = CARD, **config: Any) -> TargetModel:
    torch.manual_seed(seed)
    small: dict[str, Any] = {
        "labels": LABELS,
        "modalities": ("face",),
        "audio": sizes.AudioEncoderConfig(channels=(2, 3, 4), attention=4, representation=5),
        "face": sizes.FaceEncoderConfig(hidden=(8,), attention=4, representation=4),
        "context": sizes.ContextConfig(first_gru=4, dense=4, second_gru=4, classifier=4),
    }
    model = TargetModel(sizes.TargetConfig(**{**small, **config}))
    about: dict[str, Any] = {"features": FeatureConfig(), "calibration": Calibration()}
    save_checkpoint(folder, model, name=folder.name, licence="MIT", **about)
    if card is not None:
        (folder / CARD_FILE).write_text(card, encoding="utf-8")
    return model


def flip(path: Path, where: float = 0.9) -> None:
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= 1
    path.write_bytes(data)


def edit(models: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = models / INDEX_FILE
    index = json.loads(path.read_text(encoding="utf-8"))
    change(index)
    path.write_text(json.dumps(index), encoding="utf-8")


M = TypeVar("M", bound=nn.Module)

EXPERTS = ExpertsConfig(
    audio_members=2,
    face_members=2,
    voice_attention=6,
    whisper=WhisperConfig(mel_bands=64, size=8, heads=2, layers=3, positions=500, kept=2),
    still=FaceEncoderConfig(hidden=(48,), attention=16, representation=24, dropout=0.1),
    movement=MovementConfig(channels=(32,), attention=16, representation=24, dropout=0.1),
    pixels=PixelConfig(stem=3, channels=(4, 5)),
)
VOICE, FACE = EXPERTS.posteriors("audio"), EXPERTS.posteriors("face")
HEARD, SPOKEN = slice(0, 11), slice(11, 22)
"""Columns of the voice: Whisper, and prosody."""
STILL, MOVING, PIXELS = slice(0, 11), slice(11, 22), slice(22, 33)
"""Columns of the face."""


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
    """Untrained experts, each with its own weights."""
    torch.manual_seed(seed)
    return Experts(
        tuple(with_statistics(VoiceMember(EXPERTS), seed + k) for k in range(members)),
        tuple(with_statistics(ProsodyMember(EXPERTS), seed + k) for k in range(members)),
        tuple(with_statistics(FaceMember(EXPERTS), seed + k) for k in range(members)),
        with_statistics(PixelNetwork(EXPERTS.pixels)),
    )


def some_faces(count: int, frames: int = 3, seed: int = 0) -> Tensor:
    """Normalised landmarks [N, T, 51, 2] of people who do not look alike."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(count, frames, 51, 2, generator=generator) / 4
    points[..., augmentation.LEFT_EYE, 0] -= 0.5
    points[..., augmentation.RIGHT_EYE, 0] += 0.5
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


def stills_of(grey: NDArray[np.uint8], classes: NDArray[np.int64], **changes: Any) -> Stills:
    """Pictures with all votes for one class of ``FERPLUS`` each, every one a person of its own, in
    whose pictures no face was found."""
    count = len(grey)
    made = {
        "grey": grey,
        "votes": np.eye(len(FERPLUS), dtype=np.float32)[classes],
        "person": np.arange(count),
        "found": np.zeros(count, dtype=np.bool_),
        "aligned": grey,
        "landmarks": np.zeros((count, 51, 2), dtype=np.float32),
    }
    return Stills(**(made | changes))


def made_stills(clips: list[RavdessClip], seed: int = 0) -> Stills:
    """The first frame of each clip, with a picture of noise."""
    landmarks = np.stack([c.face.landmarks[0] for c in clips if c.face is not None])
    classes = np.array([AS_EMOTION.index(clip.emotion) for clip in clips])
    grey = np.random.default_rng(seed).integers(0, 256, (len(clips), 48, 48)).astype(np.uint8)
    found = np.ones(len(clips), dtype=np.bool_)
    return stills_of(grey, classes, landmarks=landmarks, found=found)


def made_voices(count: int, seed: int, corpus: str = "A") -> tuple[list[Voice], VoiceFeatures]:
    """Voices of four emotions in turn and what Whisper would make of them: of most steps noise, of
    one in three the emotion. The last is silent."""
    rng = np.random.default_rng(seed)
    middles = np.random.default_rng(7).normal(0, 2, (4, 8))
    voices, steps, counts = [], [], []
    for row in range(count):
        emotion, polarity = KINDS[row % 4]
        length = int(rng.integers(4, 9)) if row + 1 < count else 0
        values = rng.normal(0, 0.5, (length, 2, 8))
        values[::3] += middles[row % 4]
        steps.append(values.astype(np.float16))
        counts.append(length)
        label = -1 if polarity is None else polarity
        voices.append(
            Voice(f"{corpus}{row}", corpus, f"{row % 3}", EMOTIONS.index(emotion), label, buzz(99))
        )
    prosody = rng.normal(0, 1, (count, EXPERTS.prosody)).astype(np.float32)
    prosody[:, :8] += middles[np.arange(count) % 4]
    prosody[-1] = np.nan
    return voices, VoiceFeatures(np.concatenate(steps), np.array(counts), prosody)


TINY = PixelConfig(stem=4, channels=(8,), dropout=0.1)
QUICK = PixelTraining(network=TINY, epochs=3, small_epochs=1, strong_epochs=2, batch=20)


def bright_halves(count: int, seed: int = 0) -> Stills:
    """Noisy pictures, brighter in their upper (class 0) or lower half (class 1).

    Not left and right: a face means the same in the mirror, so copies are mirrored at random.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = rng.normal(90, 25, (count, 48, 48))
    for image, label in zip(images, labels, strict=True):
        image[24 * label : 24 * (label + 1)] += 70
    return stills_of(images.clip(0, 255).astype(np.uint8), labels)


NOBODY = bright_halves(0)


def weights(network: PixelNetwork) -> dict[str, bytes]:
    return {
        name: value.detach().contiguous().numpy().tobytes()
        for name, value in network.state_dict().items()
    }


class CutOffError(Exception):
    """Power failed."""


def cut_off_after(
    epoch: int, state: Path, settings: PixelTraining = QUICK, images: Stills | None = None
) -> None:
    """Train with seed 7, and interrupt after that many epochs."""

    def say(line: str) -> None:
        if f"epoch {epoch} of" in line:
            raise CutOffError

    with pytest.raises(CutOffError):
        train_pixels(images or bright_halves(60), NOBODY, 7, settings, state, say)


SETTINGS = FusionTraining(
    videos=240,
    validation_videos=60,
    context=ContextConfig(first_gru=8, dense=12, second_gru=8, classifier=12, dropout=0.1),
    optimiser=OptimiserSettings(
        epochs=3, patience=3, batch_videos=16, learning_rate=3e-3, select="loss"
    ),
)


def pool_of(
    speakers: int,
    seed: int,
    *,
    corpus: str = "RAVDESS",
    lacks: str = "",
    each: int = 6,
    versions: int = 1,
) -> Pool:
    """``each`` utterances of every polarity by every speaker and one without, whose posteriors
    tell it; the first columns of either modality hold row and version. Pools that lack no modality
    have no pixels; of some of their voices no prosody is known, of others no movement."""
    rng = np.random.default_rng(seed)
    means = {size: np.random.default_rng(9).normal(0, 1, (3, size)) for size in (VOICE, FACE)}
    own = np.repeat([-1, 0, 1, 2], [1, each, each, each])
    labels = np.tile(own, speakers)
    found: dict[str, list[NDArray[np.float32]]] = {"audio": [], "face": []}
    for version in range(versions):
        for modality, size in (("audio", VOICE), ("face", FACE)):
            vectors = means[size][labels.clip(0)] + rng.normal(0, 0.7, (len(labels), size))
            vectors[:, 0], vectors[:, 1] = np.arange(len(labels)) / 100, version
            if modality == "audio":
                vectors[3::11, SPOKEN] = np.nan
            elif lacks == "audio":
                vectors[:, MOVING] = np.nan
            else:
                vectors[4::11, MOVING], vectors[:, PIXELS] = np.nan, np.nan
            if modality != lacks:
                found[modality].append(vectors.astype(np.float32))
    names = np.array([f"actor {number}" for number in range(speakers) for _ in own])
    noisy = {modality: kept[0][::-1].copy() for modality, kept in found.items() if kept}
    return Pool(
        POLARITY_LABELS,
        labels,
        np.array([corpus] * len(labels)),
        names,
        tuple(found["audio"]),
        tuple(found["face"]),
        noisy,
    )


def pools_of(speakers: int, seed: int, each: int = 6, versions: int = 1) -> Pools:
    """Clips, voices of the same speakers and stills, as the fusion learns from."""
    clips = pool_of(speakers, seed, each=each, versions=versions)
    voices = dataclasses.replace(clips, face=(), noisy={})
    stills = pool_of(5, seed + 1, corpus="ferplus", lacks="audio", each=each)
    return Pools(clips, voices, stills)


@cache
def trained() -> Trained:
    parts = pools_of(8, 0, versions=2).split(("actor 6", "actor 7"), 0.4, 0)
    return fuse(parts, SETTINGS, seed=0)


def row_of(vector: NDArray[np.float32]) -> int:
    return round(float(vector[0]) * 100)
