"""What a checkpoint's configuration may ask for: sizes within reason, parts that fit each other."""

from __future__ import annotations

import dataclasses

from avsent.features.config import FeatureConfig
from avsent.features.face import POINTS
from avsent.features.prosody import SIZE as PROSODY_SIZE
from avsent.media import SAMPLE_RATE_HZ
from avsent.networks.config import (
    AudioEncoderConfig,
    ContextConfig,
    ExpertsConfig,
    FaceEncoderConfig,
    GuardConfig,
    MovementConfig,
    PixelConfig,
    TargetConfig,
)
from avsent.networks.fusion.choice import HEADS
from avsent.networks.target import MODALITIES

MAX_FFT_SAMPLES = 8192
MAX_OVERLAP = 16
"""FFTs that a sample is in: the spectrogram of a long utterance must not fill the memory."""
MIN_AUDIO_BLOCKS = 3
"""The audio encoder halves time in its first three blocks; times of attention rely on it."""
MAX_PIXEL_BLOCKS = 5
"""More would halve a picture of 48 pixels to nothing."""
MAX_MEMBERS = 32
MODALITY_CHOICES = (("audio",), ("face",), ("audio", "face"), ("text",))
MAX_VECTOR = 65536
MAX_LAYER_SIZE = 4096
"""No size in a config may be larger: a damaged one must not allocate the machine's memory."""

Part = AudioEncoderConfig | FaceEncoderConfig | MovementConfig | PixelConfig | ContextConfig


def check_sizes(model: TargetConfig, features: FeatureConfig) -> None:
    """Raise ValueError where a size is out of all proportion or parts contradict each other."""
    experts = model.experts
    sizes = [len(model.labels), model.fusion.factors, model.fusion.outputs, model.fusion.segments]
    parts: list[Part] = [model.audio, model.face, model.context]
    if experts is not None:
        sizes += [experts.emotions, experts.polarities]
        parts += [experts.audio, experts.still, experts.movement, experts.pixels]
        _check_votes(experts)
    if min(sizes) < 1 or max(sizes) > MAX_LAYER_SIZE:
        raise ValueError(f"a layer size is not within 1 and {MAX_LAYER_SIZE}")
    _check_features(features)
    for part in parts:
        _check_part(part, features)
    if model.modalities not in MODALITY_CHOICES:
        raise ValueError("its modalities are none of those a model can have")
    if any(not 0 <= model.vectors.of(name) <= MAX_VECTOR for name in (*MODALITIES, "text")):
        raise ValueError("the size of a vector is out of range")
    if model.fusion.name not in HEADS:
        raise ValueError(f"there is no fusion {model.fusion.name!r}")
    if model.guard is not None:
        _check_guard(model.guard, model)
    for vote in model.votes:
        if vote.modality not in model.modalities:
            raise ValueError("a vote comes from a modality that the model does not have")
        size = model.representation_size(vote.modality)
        if len(vote.columns) != len(model.labels) or any(not 0 <= c < size for c in vote.columns):
            raise ValueError("the columns of a vote do not fit the labels or the representation")
        if len(vote.log_prior) not in (0, len(model.labels)):
            raise ValueError("the prior of a vote does not have one number per label")
    if len(set(model.labels)) != len(model.labels) or len(model.labels) < 2:
        raise ValueError("the labels are not two or more different names")


def _check_part(part: Part, features: FeatureConfig) -> None:
    """Raise ValueError where a network has impossible sizes, or others than its features."""
    numbers = dataclasses.asdict(part)
    layers = numbers.get("channels", numbers.get("hidden", ()))
    sizes = [*layers, *(number for number in numbers.values() if type(number) is int)]
    if min(sizes) < 1 or max(sizes) > MAX_LAYER_SIZE:
        raise ValueError(f"a layer size is not within 1 and {MAX_LAYER_SIZE}")
    least = MIN_AUDIO_BLOCKS if isinstance(part, AudioEncoderConfig) else 0
    if not least <= len(layers) <= (MAX_PIXEL_BLOCKS if isinstance(part, PixelConfig) else 16):
        raise ValueError("the number of layers is out of range")
    if not 0 <= part.dropout < 1:
        raise ValueError("a dropout is not within 0 and 1")
    if numbers.get("mel_bands", features.audio.mel_bands) != features.audio.mel_bands:
        raise ValueError("network and features differ in mel bands")
    if numbers.get("points", features.face.points) != features.face.points:
        raise ValueError("network and features differ in landmark points")


def _check_votes(experts: ExpertsConfig) -> None:
    """Raise ValueError where there are too few or too many members, or the statistics of prosody,
    classes of pixels and their polarities do not fit."""
    if experts.prosody != PROSODY_SIZE:
        raise ValueError("network and features differ in prosody")
    members = experts.audio_members, experts.face_members, experts.pixels.members
    if min(members) < 1 or max(members) > MAX_MEMBERS:
        raise ValueError(f"a number of members is not within 1 and {MAX_MEMBERS}")
    polarity = experts.pixel_polarity
    if len(polarity) != experts.pixels.classes:
        raise ValueError("pixel_polarity has not one entry per class")
    if any(not -1 <= entry < experts.polarities for entry in polarity):
        raise ValueError("pixel_polarity names a polarity that is none")


def _check_guard(guard: GuardConfig, model: TargetConfig) -> None:
    """Raise ValueError where a model has nothing to guard, or a size is out of range."""
    if model.modalities != MODALITIES:
        raise ValueError("a guard needs voice and face")
    sizes = guard.components, guard.basis, guard.neighbours
    if min(sizes) < 1 or max(sizes) > MAX_LAYER_SIZE:
        raise ValueError(f"a size of the guard is not within 1 and {MAX_LAYER_SIZE}")
    if len(guard.farthest) != len(MODALITIES) or min(guard.farthest) <= 0:
        raise ValueError("the guard has not one positive distance per modality")
    if guard.ridge <= 0:
        raise ValueError("the ridge of the guard is not positive")


def _check_features(features: FeatureConfig) -> None:
    """Raise ValueError where features could not be made as the config says."""
    audio, face = features.audio, features.face
    if audio.sample_rate_hz != SAMPLE_RATE_HZ:
        raise ValueError(f"the sample rate is not {SAMPLE_RATE_HZ} Hz")
    if not 1 <= audio.hop_samples <= audio.window_samples <= audio.fft_samples <= MAX_FFT_SAMPLES:
        raise ValueError("hop, window and FFT do not follow each other in size")
    if audio.fft_samples > MAX_OVERLAP * audio.hop_samples:
        raise ValueError(f"the hop is less than 1/{MAX_OVERLAP} of the FFT")
    if not 0 <= audio.lowest_hz < audio.highest_hz <= SAMPLE_RATE_HZ / 2:
        raise ValueError("the band of frequencies is empty or out of range")
    if audio.floor_db <= 0 or audio.trim_db <= 0:
        raise ValueError("a level in decibels is not positive")
    if face.points != POINTS:
        raise ValueError(f"faces have {POINTS} points")
    if not 0.01 <= face.analysis_rate_hz <= 1000:
        raise ValueError("the analysis rate is out of range")
