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
from avsent.networks.config import ExpertsConfig
from avsent.networks.experts import AudioExperts, AudioMember, FaceExperts, FaceMember
from avsent.networks.face_encoder import FaceExtras
from avsent.networks.pixel_network import PixelNetwork
from avsent.training.augment import augmented_landmarks, augmented_log_mel
from avsent.training.shipped.corpora import Stills
from avsent.training.shipped.workshop import Task, Workshop, members

CHUNK = 256


@dataclass(frozen=True, slots=True, eq=False)
class Posteriors:
    """Of N items, ``audio`` [N, A] and ``face`` [N, F] as the experts give them; a row of NaN
    where the modality is missing."""

    audio: NDArray[np.float32]
    face: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Experts:
    """Members that were trained, and the pixel network."""

    audio: tuple[AudioMember, ...]
    face: tuple[FaceMember, ...]
    pixels: PixelNetwork

    def networks(self, config: ExpertsConfig) -> tuple[AudioExperts, FaceExperts]:
        """The members in the networks that a model has, in evaluation mode."""
        config = dataclasses.replace(
            config, audio_members=len(self.audio), face_members=len(self.face)
        )
        audio, face = AudioExperts(config), FaceExperts(config)
        for places, made in ((audio.members, self.audio), (face.members, self.face)):
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
    tasks = []
    for number, group in enumerate(groups):
        others = tuple(actor for other in groups if other is not group for actor in other)
        tasks += [Task(kind, others, 100 * seed + number, config) for kind in ("audio", "face")]
    made = members(tasks, shop)
    found = []
    for audio, face in zip(made[::2], made[1::2], strict=True):
        assert isinstance(audio, AudioMember)
        assert isinstance(face, FaceMember)
        found.append(Experts((audio,), (face,), pixels))
    return found


def together(experts: Sequence[Experts]) -> Experts:
    """All members in one."""
    return Experts(
        tuple(member for one in experts for member in one.audio),
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
        if clip.mel_power is not None:
            power = clip.mel_power
            heard = (
                normalised_log(power, FLOOR_DB) if rng is None else augmented_log_mel(power, rng)
            )
            lengths = torch.tensor([heard.shape[1]])
            audio[row] = hear.posteriors(torch.from_numpy(heard)[None], lengths)[0][0].numpy()
        if clip.face is not None and clip.face.neutral is not None:
            frames = np.concatenate([clip.face.landmarks, clip.face.neutral[None]])
            shown = torch.from_numpy(frames)[None]
            if rng is not None:
                generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
                shown = augmented_landmarks(shown, generator)
            face[row] = _seen(see, shown[:, :-1], FaceExtras(neutral=shown[:, -1]))[0]
    return Posteriors(audio, face)


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
