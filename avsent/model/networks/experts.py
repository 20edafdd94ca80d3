"""Experts in place of the encoders: each learns emotion and polarity from one stream alone.

An utterance is represented by log probabilities of eight emotions and three polarities, the mean
over members trained on different folds. The layers above learn from out-of-fold posteriors, and
so how far to trust each expert. Streams:

- voice: Whisper's encoder, which is not trained here, pooled by attention over time;
- prosody: statistics of pitch, energy and spectral balance;
- still face: landmarks of every frame alone, from clips and from stills;
- moving face: landmarks relative to the speaker's neutral face;
- pixels: aligned crops, from stills.
"""

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from avsent.model.networks import encoders
from avsent.model.networks.attention import FrameAttention
from avsent.model.networks.config import ExpertsConfig
from avsent.model.networks.encoders import FaceExtras, VectorEncoder
from avsent.model.networks.whisper import WhisperEncoder

LEAST_LOG = -8.0  # log probabilities are clipped here


class ExpertHeads(nn.Module):
    """Representation [N, R] → log probabilities [N, E + P] of emotions and of polarities."""

    def __init__(self, size: int, config: ExpertsConfig) -> None:
        super().__init__()
        self.emotion = nn.Linear(size, config.emotions)
        self.polarity = nn.Linear(size, config.polarities)

    def forward(self, representation: Tensor) -> Tensor:
        logits = self.emotion(representation), self.polarity(representation)
        return torch.cat([part.log_softmax(dim=-1) for part in logits], dim=-1)


class VoiceMember(nn.Module):
    """Attention over the steps of Whisper's layers, and a linear classifier of what it pools."""

    def __init__(self, config: ExpertsConfig) -> None:
        super().__init__()
        whisper = config.whisper
        self.attention = FrameAttention(whisper.size, config.voice_attention, config.voice_scale)
        size = 2 * whisper.outputs * whisper.size
        self.scale = VectorEncoder(size)
        self.votes = ExpertHeads(size, config)

    def pool(self, steps: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation over time of ``steps`` [N, S, layers, size], weighted by one attention
        for all layers → [N, 2 · layers · size], weights [N, S]; ``mask`` [N, S]: valid steps."""
        _, weights = self.attention(steps.mean(dim=2), mask[:, None])
        weight = weights[:, 0]
        mean = torch.einsum("ns,nslc->nlc", weight, steps)
        square = torch.einsum("ns,nslc->nlc", weight, (steps - mean[:, None]).square())
        return torch.cat([mean.flatten(1), square.clamp_min(1e-8).sqrt().flatten(1)], 1), weight

    def forward(self, steps: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """→ log probabilities [N, E + P] and the attention [N, S]; see :meth:`pool`."""
        pooled, weight = self.pool(steps, mask)
        return self.votes(self.scale(pooled)), weight


class ProsodyMember(nn.Module):
    """A linear classifier of prosody: statistics [N, P] → log probabilities [N, E + P].

    NaN (not known) counts as the mean.
    """

    def __init__(self, config: ExpertsConfig) -> None:
        super().__init__()
        self.scale = VectorEncoder(config.prosody)
        self.votes = ExpertHeads(config.prosody, config)

    def forward(self, prosody: Tensor) -> Tensor:
        return cast(Tensor, self.votes(self.scale(prosody)))


class FaceMember(nn.Module):
    """One network on the landmarks of each frame, one on their movement."""

    def __init__(self, config: ExpertsConfig) -> None:
        super().__init__()
        self.still = encoders.FaceEncoder(config.still)
        self.still_votes = ExpertHeads(config.still.representation, config)
        self.movement = encoders.MovementEncoder(config.movement)
        self.movement_votes = ExpertHeads(config.movement.representation, config)

    def still_posteriors(self, landmarks: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Log probabilities [N, E + P] by single frames, and the attention over them [N, T]."""
        representation, weight = self.still(landmarks, mask)
        return self.still_votes(representation), weight

    def movement_posteriors(self, landmarks: Tensor, mask: Tensor, neutral: Tensor) -> Tensor:
        """Log probabilities [N, E + P] by the movement."""
        return cast(Tensor, self.movement_votes(self.movement(landmarks, mask, neutral)))


def _mean(tensors: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(tensors)).mean(dim=0)


class AudioExperts(nn.Module):
    """Mel power [mel, T] and prosody [24] of each voice → standardised posteriors [N, R].

    Unknown prosody counts as the mean of the training data.
    """

    def __init__(self, config: ExpertsConfig) -> None:
        super().__init__()
        self.whisper = WhisperEncoder(config.whisper)
        self.members = nn.ModuleList(VoiceMember(config) for _ in range(config.audio_members))
        self.prosody = nn.ModuleList(ProsodyMember(config) for _ in range(config.audio_members))
        self.scale = VectorEncoder(config.posteriors("audio"))

    def posteriors(
        self, steps: Tensor, mask: Tensor, prosody: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean log probabilities [N, R] of all members by Whisper's ``steps`` [N, S, layers, size]
        (valid by ``mask`` [N, S]) and by ``prosody`` [N, 24] (NaN in rows where it is not known),
        and mean attention over the steps [N, S]."""
        outputs = [member(steps, mask) for member in self.members]
        voice = _mean(votes for votes, _ in outputs)
        spoken = torch.full_like(voice, torch.nan)
        if prosody is not None:
            known = ~prosody.isnan().all(dim=-1)
            by_prosody = _mean(member(prosody[known]) for member in self.prosody)
            spoken[known] = by_prosody.to(spoken.dtype)
        both = torch.cat([voice, spoken], dim=-1).clamp_min(LEAST_LOG)
        return both, _mean(weight for _, weight in outputs)

    def forward(
        self, powers: Sequence[Tensor], prosody: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mel power [mel, T_i] of N voices, ``prosody`` [N, 24] → representations [N, R] and
        attention over steps of 80 ms [N, S]."""
        found = [self.whisper(power) for power in powers]
        steps = pad_sequence(found, batch_first=True)
        lengths = torch.tensor([len(one) for one in found], device=steps.device)
        mask = torch.arange(steps.shape[1], device=steps.device) < lengths[:, None]
        votes, weight = self.posteriors(steps, mask, prosody)
        return self.scale(votes), weight


class FaceExperts(nn.Module):
    """Landmarks, the speaker's neutral face and crops → standardised posteriors [N, R].

    A missing stream (no neutral face, no crops) counts as the mean of the training data.
    """

    def __init__(self, config: ExpertsConfig) -> None:
        super().__init__()
        self.members = nn.ModuleList(FaceMember(config) for _ in range(config.face_members))
        self.pixels = encoders.PixelNetwork(config.pixels)
        self.scale = VectorEncoder(config.posteriors("face"))
        self.config = config

    def posteriors(
        self, landmarks: Tensor, mask: Tensor, extras: FaceExtras | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean log probabilities [N, R] of all members by still face, movement and pixels, NaN
        where a stream is missing; and the mean attention over frames [N, T]."""
        extras = extras or FaceExtras()
        members = [cast(FaceMember, member) for member in self.members]
        outputs = [member.still_posteriors(landmarks, mask) for member in members]
        weight = _mean(weight for _, weight in outputs)
        still = _mean(votes for votes, _ in outputs)
        moving = torch.full_like(still, torch.nan)
        if (neutral := extras.neutral) is not None:
            moving = _mean(m.movement_posteriors(landmarks, mask, neutral) for m in members)
        pixels = self._pixel_stream(weight, extras.pixels)
        return torch.cat([still, moving, pixels], dim=-1).clamp_min(LEAST_LOG), weight

    def forward(
        self, landmarks: Tensor, mask: Tensor, extras: FaceExtras | None = None
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`FaceEncoder.forward`."""
        votes, weight = self.posteriors(landmarks, mask, extras)
        return self.scale(votes), weight

    def classify_pixels(self, pictures: Tensor) -> Tensor:
        """Log probabilities [S, classes] of the standardised crops ``pictures`` [S, 48, 48]."""
        return cast(Tensor, self.pixels(pictures))

    def _pixel_stream(self, weight: Tensor, pixels: Tensor | None) -> Tensor:
        """Mean [N, classes + P] of the log probabilities ``pixels`` [N, T, classes] of the frames,
        weighted by the landmarks' attention ``weight`` [N, T]."""
        if pixels is None:
            size = self.config.pixels.classes + self.config.polarities
            return weight.new_full((len(weight), size), torch.nan)
        share = weight * ~pixels[..., 0].isnan()
        share = share / share.sum(dim=1, keepdim=True)  # NaN without any crop
        mean = torch.einsum("nt,ntc->nc", share, pixels.nan_to_num())
        return with_polarity(mean, self.config)


def with_polarity(votes: Tensor, config: ExpertsConfig) -> Tensor:
    """Log probabilities ``votes`` [..., C] of the pixel network's classes, normalised, followed by
    those of the polarities of these classes [..., C + P]."""
    votes = votes.log_softmax(dim=-1)
    sums = []
    for polarity in range(config.polarities):
        classes = [i for i, found in enumerate(config.pixel_polarity) if found == polarity]
        sums.append(votes[..., classes].logsumexp(dim=-1))
    return torch.cat([votes, torch.stack(sums, dim=-1).log_softmax(dim=-1)], dim=-1)
