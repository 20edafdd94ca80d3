"""The experts of the shipped models, and what they say of people and corpora they never saw.

Members are cross-fitted: member k of each expert learns without the k-th group of RAVDESS's actors
and without the k-th foreign corpus, and judges those. So the fusion learns from what is said of
strangers.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from avsent.extraction.features.face import standardised
from avsent.labels import EMOTIONS, POLARITY_LABELS
from avsent.model.networks.config import ExpertsConfig
from avsent.model.networks.encoders import FaceExtras, PixelNetwork
from avsent.model.networks.experts import (
    AudioExperts,
    FaceExperts,
    FaceMember,
    ProsodyMember,
    VoiceMember,
)
from avsent.training.augmentation import augmented_landmarks
from avsent.training.modality_check import SNR, noisy_landmarks
from recipes.members import Task, Workspace, face_members, keep
from recipes.ravdess import RavdessClip, emotions_of, polarities_of
from recipes.stills import AS_EMOTION, FERPLUS, Stills
from recipes.voice_members import (
    VoiceTraining,
    train_prosody_member,
    train_voice_member,
    usable_rows,
)
from recipes.voices import FOREIGN, RAVDESS, Voice, VoiceFeatures

VOICES = 1
"""To be raised when the same material gives other members of the voice experts."""
CHUNK = 256
Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Stream:
    """One expert's log probabilities in the representation of ``modality``: all of its columns
    (``own``), and the column for each label."""

    modality: str
    own: slice
    columns: tuple[int, ...]


def streams_of(names: Sequence[str]) -> dict[str, Stream]:
    """The streams by name, with the columns of the labels ``names``: the three polarities, or the
    eight emotions. FER+ has no calm: there its column is that of neutral."""
    emotions, polarities, classes = len(EMOTIONS), len(POLARITY_LABELS), len(FERPLUS)
    own = emotions + polarities
    if tuple(names) == POLARITY_LABELS:
        said = tuple(range(emotions, own))
        seen = tuple(range(classes, classes + polarities))
    else:
        assert tuple(names) == EMOTIONS
        said = tuple(range(emotions))
        like = ["neutral" if name == "calm" else name for name in EMOTIONS]
        seen = tuple(AS_EMOTION.index(name) for name in like)
    second = tuple(own + column for column in said)
    pixels = tuple(2 * own + column for column in seen)
    return {
        "whisper": Stream("audio", slice(0, own), said),
        "prosody": Stream("audio", slice(own, 2 * own), second),
        "still": Stream("face", slice(0, own), said),
        "movement": Stream("face", slice(own, 2 * own), second),
        "pixels": Stream("face", slice(2 * own, 2 * own + classes + polarities), pixels),
    }


@dataclass(frozen=True, slots=True, eq=False)
class Experts:
    """Trained members, and the pixel network."""

    voice: tuple[VoiceMember, ...]
    prosody: tuple[ProsodyMember, ...]
    face: tuple[FaceMember, ...]
    pixels: PixelNetwork

    def networks(self, config: ExpertsConfig) -> tuple[AudioExperts, FaceExperts]:
        """The members in the networks of a model, in evaluation mode; Whisper's encoder keeps its
        random weights."""
        config = dataclasses.replace(
            config, audio_members=len(self.voice), face_members=len(self.face)
        )
        audio, face = AudioExperts(config), FaceExperts(config)
        own = (*audio.members, *audio.prosody, *face.members)
        for network, member in zip(own, (*self.voice, *self.prosody, *self.face), strict=True):
            network.load_state_dict(member.state_dict())
        face.pixels.load_state_dict(self.pixels.state_dict())
        return audio.eval(), face.eval()


def ensemble(experts: Sequence[Experts]) -> Experts:
    """All members as one ensemble."""
    return Experts(
        tuple(member for one in experts for member in one.voice),
        tuple(member for one in experts for member in one.prosody),
        tuple(member for one in experts for member in one.face),
        experts[0].pixels,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Everything the experts learn from: clips of RAVDESS; all voices, those of the clips first, in
    several ``versions``; ``noisy``: the voices of the clips in noise."""

    clips: list[RavdessClip]
    voices: list[Voice]
    versions: list[VoiceFeatures]
    noisy: VoiceFeatures | None = None

    def rows(self, actors: Sequence[int], corpora: Sequence[str]) -> NDArray[np.int64]:
        """Usable voices of RAVDESS's ``actors`` and of ``corpora``."""
        usable = usable_rows(self.voices, self.versions[0])
        speakers = {f"actor {actor}" for actor in actors}
        kept = [
            row
            for row in usable.tolist()
            if (self.voices[row].speaker in speakers)
            or (self.voices[row].corpus in corpora and self.voices[row].corpus != RAVDESS)
        ]
        return np.array(kept, dtype=np.int64)


def cross_fitted(
    config: ExpertsConfig,
    groups: Sequence[Sequence[int]],
    corpora: Sequence[str],
    material: Material,
    pixels: PixelNetwork,
    workspace: Workspace,
    seed: int = 0,
    training: VoiceTraining | None = None,
) -> list[Experts]:
    """One member of each kind per group of actors: it learns from the other groups, and from all
    ``corpora`` but the foreign one of the same number."""
    training = training or VoiceTraining()
    tasks, found = [], []
    for number, group in enumerate(groups):
        others = tuple(actor for other in groups if other is not group for actor in other)
        tasks.append(Task(others, 100 * seed + number, config))
        left = FOREIGN[number] if number < len(FOREIGN) else ""
        rows = material.rows(others, [corpus for corpus in corpora if corpus != left])
        found.append(_voice_members(config, material, rows, tasks[-1].seed, training, workspace))
        workspace.say(f"voice experts without actors {group} and {left or 'no corpus'}: trained")
    return [
        Experts((voice,), (prosody,), (face,), pixels)
        for (voice, prosody), face in zip(found, face_members(tasks, workspace), strict=True)
    ]


def _voice_members(
    config: ExpertsConfig,
    material: Material,
    rows: NDArray[np.int64],
    seed: int,
    training: VoiceTraining,
    workspace: Workspace,
) -> tuple[VoiceMember, ProsodyMember]:
    """The members of both voice experts that learn from ``rows``, trained or from the cache."""
    known = [material.voices[row] for row in rows]
    labels = [(one.corpus, one.speaker, one.emotion, one.polarity) for one in known]
    words = VOICES, config, training, seed, rows.tolist(), labels
    digest = hashlib.sha256(repr(words).encode())
    for version in material.versions:
        digest.update(version.counts.tobytes() + version.prosody.tobytes())
    name = f"{seed}-{digest.hexdigest()[:12]}.safetensors"
    members = VoiceMember(config), ProsodyMember(config)
    files = [workspace.cache / "members" / f"{kind}-{name}" for kind in ("voice", "prosody")]
    if not all(file.is_file() for file in files):
        given = config, material.voices, material.versions, rows
        keep(train_voice_member(*given, seed, training), files[0])
        keep(train_prosody_member(*given, training), files[1])
    for member, file in zip(members, files, strict=True):
        member.load_state_dict(load_file(file))
        member.eval()
    return members


@torch.inference_mode()
def of_voices(
    config: ExpertsConfig,
    experts: Experts,
    features: VoiceFeatures,
    rows: NDArray[np.int64],
) -> Array:
    """Posteriors [n, R] of these ``rows``; NaN for silence."""
    network, _ = experts.networks(config)
    found = np.full((len(rows), config.posteriors("audio")), np.nan, dtype=np.float32)
    for first in range(0, len(rows), CHUNK):
        part = rows[first : first + CHUNK]
        steps, mask, prosody = features.of(part)
        said = network.posteriors(steps, mask, prosody)[0].numpy()
        heard = features.counts[part] > 0
        found[first : first + CHUNK][heard] = said[heard]
    return found


@torch.inference_mode()
def of_clips(
    config: ExpertsConfig,
    experts: Experts,
    clips: Sequence[RavdessClip],
    rng: np.random.Generator | None = None,
    *,
    noisy: bool = False,
) -> Array:
    """Posteriors [N, R] of the faces of ``clips``, NaN where there is none: unchanged, or, with
    ``rng``, as by another camera or ``noisy``."""
    _, network = experts.networks(config)
    found = np.full((len(clips), config.posteriors("face")), np.nan, dtype=np.float32)
    for row, clip in enumerate(clips):
        if clip.face is None:
            continue
        landmarks, neutral = clip.face.landmarks, clip.face.neutral
        if noisy and rng is not None:
            landmarks = noisy_landmarks(landmarks, SNR, rng)
        last = landmarks[:1] if neutral is None else neutral[None]
        frames = torch.from_numpy(np.concatenate([landmarks, last]))[None]
        if rng is not None and not noisy:
            generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
            frames = augmented_landmarks(frames, generator)
        extras = FaceExtras(neutral=None if neutral is None else frames[:, -1])
        found[row] = _of_frames(network, frames[:, :-1], extras)[0]
    return found


@torch.inference_mode()
def of_stills(
    config: ExpertsConfig,
    experts: Experts,
    stills: Stills,
    rng: np.random.Generator | None = None,
) -> Array:
    """Posteriors [N, R] of ``stills`` whose faces were found: landmarks and the aligned picture,
    no movement; with ``rng`` in noise."""
    _, network = experts.networks(config)
    pictures, landmarks = stills.aligned, stills.landmarks
    if rng is not None:
        pictures = noisy_pictures(pictures, SNR, rng)
        landmarks = np.concatenate([noisy_landmarks(one[None], SNR, rng) for one in landmarks])
    parts = []
    for first in range(0, len(pictures), CHUNK):
        rows = slice(first, first + CHUNK)
        looks = network.classify_pixels(torch.from_numpy(standardised(pictures[rows])))
        frames = torch.from_numpy(landmarks[rows])[:, None]
        parts.append(_of_frames(network, frames, FaceExtras(pixels=looks[:, None])))
    return np.concatenate(parts)


def _of_frames(network: FaceExperts, landmarks: torch.Tensor, extras: FaceExtras) -> Array:
    mask = torch.ones(landmarks.shape[:2], dtype=torch.bool)
    found: Array = network.posteriors(landmarks, mask, extras)[0].numpy()
    return found


def noisy_pictures(
    pictures: NDArray[np.uint8], snr: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Grey ``pictures`` [N, H, W] with white noise of 1 / ``snr`` times the variance of each."""
    spread = pictures.std(axis=(1, 2), keepdims=True) / np.sqrt(snr)
    noisy = pictures + spread * rng.normal(size=pictures.shape)
    return np.asarray(np.clip(noisy, 0, 255), dtype=np.uint8)


def clip_labels(clips: Sequence[RavdessClip], names: Sequence[str]) -> NDArray[np.int64]:
    """Index in ``names`` of each clip's label [N], −1 for none."""
    return polarities_of(clips) if tuple(names) == POLARITY_LABELS else emotions_of(clips)


def voice_labels(voices: Sequence[Voice], names: Sequence[str]) -> NDArray[np.int64]:
    """The same for voices."""
    polar = tuple(names) == POLARITY_LABELS
    return np.array([v.polarity if polar else v.emotion for v in voices], dtype=np.int64)


def still_labels(stills: Stills, names: Sequence[str]) -> NDArray[np.int64]:
    """The same for stills: of the class with most votes."""
    if tuple(names) == POLARITY_LABELS:
        return stills.polarity
    place = [-1 if name is None else EMOTIONS.index(name) for name in AS_EMOTION]
    return np.asarray(np.array(place)[stills.majority])
