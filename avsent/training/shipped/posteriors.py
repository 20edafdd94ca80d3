"""What experts say about clips and stills they have never met: the material of the fusion.

Members learn from all but one group of actors each and judge that group: every training clip gets
posteriors from strangers, as good as those of a stranger will be. Trained on what an expert says
of its own pupils, the fusion would trust it blindly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avsent.data.ravdess import RavdessClip
from avsent.features.audio import FLOOR_DB, normalised_log
from avsent.features.pixels import standardised
from avsent.features.voice import audio_features
from avsent.media import SAMPLE_RATE_HZ
from avsent.networks.config import ExpertsConfig
from avsent.networks.experts import (
    AudioExperts,
    AudioMember,
    FaceExperts,
    FaceMember,
    ProsodyMember,
)
from avsent.networks.face_encoder import FaceExtras
from avsent.networks.pixel_network import PixelNetwork
from avsent.training.augment import augmented_landmarks
from avsent.training.microphones import another_microphone
from avsent.training.shipped.corpora import Stills, load_clips
from avsent.training.shipped.prosody_member import cached_prosody, train_prosody_member
from avsent.training.shipped.workshop import Task, Workshop, members

CHUNK = 256


@dataclass(frozen=True, slots=True, eq=False)
class Posteriors:
    """Of N items, ``audio`` [N, A] and ``face`` [N, F] as the experts give them; a row of NaN
    where the modality is missing."""

    audio: NDArray[np.float32]
    face: NDArray[np.float32]

    def only(self, rows: NDArray[np.int64]) -> Posteriors:
        """These items alone."""
        return Posteriors(self.audio[rows], self.face[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Experts:
    """Members that were trained, and the pixel network."""

    audio: tuple[AudioMember, ...]
    prosody: tuple[ProsodyMember, ...]
    face: tuple[FaceMember, ...]
    pixels: PixelNetwork

    def networks(self, config: ExpertsConfig) -> tuple[AudioExperts, FaceExperts]:
        """The members in the networks that a model has, in evaluation mode."""
        config = dataclasses.replace(
            config, audio_members=len(self.audio), face_members=len(self.face)
        )
        audio, face = AudioExperts(config), FaceExperts(config)
        for places, made in (
            (audio.members, self.audio),
            (audio.prosody, self.prosody),
            (face.members, self.face),
        ):
            for own, member in zip(places, made, strict=True):
                own.load_state_dict(member.state_dict())
        face.pixels.load_state_dict(self.pixels.state_dict())
        return audio.eval(), face.eval()


def cross_fitted(
    config: ExpertsConfig,
    groups: Sequence[Sequence[int]],
    pixels: PixelNetwork,
    seed: int,
    shop: Workshop,
) -> list[Experts]:
    """One member of each kind per group of actors: taught by the clips of all other groups."""
    clips = load_clips(shop.data, shop.cache)
    versions = cached_prosody(clips, shop.cache)
    tasks, spoken = [], []
    for number, group in enumerate(groups):
        others = tuple(actor for other in groups if other is not group for actor in other)
        tasks += [Task(kind, others, 100 * seed + number, config) for kind in ("audio", "face")]
        rows = [row for row, clip in enumerate(clips) if clip.actor in others]
        spoken.append(train_prosody_member(config, [clips[r] for r in rows], versions[:, rows]))
    made = members(tasks, shop)
    found = []
    for audio, prosody, face in zip(made[::2], spoken, made[1::2], strict=True):
        assert isinstance(audio, AudioMember)
        assert isinstance(face, FaceMember)
        found.append(Experts((audio,), (prosody,), (face,), pixels))
    return found


def together(experts: Sequence[Experts]) -> Experts:
    """All members in one."""
    return Experts(
        tuple(member for one in experts for member in one.audio),
        tuple(member for one in experts for member in one.prosody),
        tuple(member for one in experts for member in one.face),
        experts[0].pixels,
    )


@torch.inference_mode()
def of_clips(
    config: ExpertsConfig,
    experts: Experts,
    clips: Sequence[RavdessClip],
    rng: np.random.Generator | None = None,
) -> Posteriors:
    """Posteriors of ``clips``, unchanged or, with ``rng``, as another microphone and camera would
    have taken them."""
    hear, see = experts.networks(config)
    audio = np.full((len(clips), config.posteriors("audio")), np.nan, dtype=np.float32)
    face = np.full((len(clips), config.posteriors("face")), np.nan, dtype=np.float32)
    for row, clip in enumerate(clips):
        heard = _heard(clip, rng)
        if heard is not None:
            audio[row] = hear.posteriors(*heard)[0][0].numpy()
        if clip.face is not None:
            neutral = clip.face.neutral
            rest = clip.face.landmarks[:1] if neutral is None else neutral[None]
            shown = torch.from_numpy(np.concatenate([clip.face.landmarks, rest]))[None]
            if rng is not None:
                generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
                shown = augmented_landmarks(shown, generator)
            extras = FaceExtras(neutral=None if neutral is None else shown[:, -1])
            face[row] = _seen(see, shown[:, :-1], extras)[0]
    return Posteriors(audio, face)


def _heard(
    clip: RavdessClip, rng: np.random.Generator | None
) -> tuple[Tensor, Tensor, Tensor | None] | None:
    """Log-mel [1, mel, N], its length [1] and prosody [1, 24]; None where nothing is heard."""
    power, spoken, sound = clip.mel_power, clip.prosody, clip.sound
    if rng is not None and sound is not None:
        found = audio_features(another_microphone(sound, SAMPLE_RATE_HZ, rng), 0.0)
        power, spoken = (None, None) if found is None else (found.power, found.prosody)
    if power is None:
        return None
    log_mel = torch.from_numpy(normalised_log(power, FLOOR_DB))[None]
    known = None if spoken is None else torch.from_numpy(spoken)[None]
    return log_mel, torch.tensor([log_mel.shape[2]]), known


@torch.inference_mode()
def of_stills(config: ExpertsConfig, experts: Experts, stills: Stills) -> Posteriors:
    """Posteriors of ``stills``: landmarks and pixels of one frame, no movement and no voice."""
    _, see = experts.networks(config)
    face = []
    for first in range(0, len(stills.pictures), CHUNK):
        rows = slice(first, first + CHUNK)
        looks = see.look_at(torch.from_numpy(standardised(stills.pictures[rows])))
        extras = FaceExtras(looks=looks[:, None])
        face.append(_seen(see, stills.landmarks[rows][:, None], extras))
    audio = np.full((len(stills.pictures), config.posteriors("audio")), np.nan, dtype=np.float32)
    return Posteriors(audio, np.concatenate(face))


def _seen(see: FaceExperts, landmarks: Tensor, extras: FaceExtras) -> NDArray[np.float32]:
    mask = torch.ones(landmarks.shape[:2], dtype=torch.bool)
    found: NDArray[np.float32] = see.posteriors(landmarks, mask, extras)[0].numpy()
    return found
