"""Experts in place of the encoders: each learns emotion and polarity from one stream alone.

An utterance is represented by log probabilities of eight emotions and three polarities, the mean
over members trained on different folds. The layers above learn from out-of-fold posteriors, and
so how far to trust each expert. Streams:

- voice: log-mel spectrogram;
- prosody: statistics of pitch, energy and spectral balance;
- still face: landmarks of every frame alone, from clips and from stills;
- moving face: landmarks relative to the speaker's neutral face;
- pixels: aligned crops, from stills.
"""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from avsent.model.networks import encoders
from avsent.model.networks.config import ExpertsConfig, VoteConfig
from avsent.model.networks.encoders import FaceExtras, VectorEncoder


class ExpertVotes(nn.Module):
    """Weighted votes of the streams; ``weight`` [S] starts at 1, ``bias`` [C] at 0."""

    def __init__(self, streams: tuple[VoteConfig, ...], labels: int) -> None:
        super().__init__()
        for stream in streams:
            if len(stream.columns) != labels or len(stream.log_prior) not in (0, labels):
                raise ValueError("a vote needs one column per label, and a prior for each or none")
        self.streams = streams
        self.weight = nn.Parameter(torch.ones(len(streams)))
        self.bias = nn.Parameter(torch.zeros(labels))

    def forward(
        self,
        values: dict[str, Tensor],
        present: dict[str, Tensor],
        scales: dict[str, VectorEncoder],
    ) -> Tensor:
        """``values`` [B, U, R], standardised by ``scales``, ``present`` [B, U] → [B, U, C]."""
        logits = self.bias.expand(*next(iter(values.values())).shape[:2], -1)
        for weight, stream in zip(self.weight, self.streams, strict=True):
            columns = list(stream.columns)
            scale = scales[stream.modality]
            standardised = values[stream.modality][..., columns]
            # All zeros: the stream is missing, or was never known in training.
            known = present[stream.modality] & (standardised != 0).any(dim=-1)
            deviation = scale.deviation[columns]
            deviation = torch.where(deviation.isfinite(), deviation, torch.zeros_like(deviation))
            votes = standardised * deviation + scale.mean[columns]
            if stream.log_prior:
                votes = votes - votes.new_tensor(stream.log_prior)
            logits = logits + weight * votes * known[..., None].to(votes.dtype)
        return logits


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


class AudioMember(nn.Module):
    """One network on the spectrogram."""

    def __init__(self, config: ExpertsConfig) -> None:
        super().__init__()
        self.encoder = encoders.AudioEncoder(config.audio)
        self.votes = ExpertHeads(config.audio.representation, config)

    def forward(self, log_mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`AudioEncoder.forward`, with log probabilities [N, E + P]."""
        representation, weight = self.encoder(log_mel, lengths)
        return self.votes(representation), weight


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
    """Log-mel [N, mel, T] and prosody [N, P] → standardised posteriors [N, R].

    Unknown prosody counts as the mean of the training data.
    """

    def __init__(self, config: ExpertsConfig) -> None:
        super().__init__()
        self.members = nn.ModuleList(AudioMember(config) for _ in range(config.audio_members))
        self.prosody = nn.ModuleList(ProsodyMember(config) for _ in range(config.audio_members))
        self.scale = VectorEncoder(config.posteriors("audio"))

    def posteriors(
        self, log_mel: Tensor, lengths: Tensor, prosody: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean log probabilities [N, R] of all members by spectrogram and by prosody (NaN in rows
        where it is not known), and mean attention over time."""
        outputs = [member(log_mel, lengths) for member in self.members]
        voice = _mean(votes for votes, _ in outputs)
        spoken = torch.full_like(voice, torch.nan)
        if prosody is not None:
            known = ~prosody.isnan().all(dim=-1)
            by_prosody = _mean(member(prosody[known]) for member in self.prosody)
            spoken[known] = by_prosody.to(spoken.dtype)
        both = torch.cat([voice, spoken], dim=-1).clamp_min(LEAST_LOG)
        return both, _mean(weight for _, weight in outputs)

    def forward(
        self, log_mel: Tensor, lengths: Tensor, prosody: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`AudioEncoder.forward`."""
        votes, weight = self.posteriors(log_mel, lengths, prosody)
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
        """Log probabilities [S, 7] of the standardised crops ``pictures`` [S, 48, 48]."""
        return cast(Tensor, self.pixels(pictures)[1])

    def _pixel_stream(self, weight: Tensor, pixels: Tensor | None) -> Tensor:
        """Mean [N, 7 + P] of the log probabilities ``pixels`` [N, T, 7] of the frames, weighted by
        the landmarks' attention ``weight`` [N, T]."""
        if pixels is None:
            size = self.config.pixels.classes + self.config.polarities
            return weight.new_full((len(weight), size), torch.nan)
        share = weight * ~pixels[..., 0].isnan()
        share = share / share.sum(dim=1, keepdim=True)  # NaN without any crop
        mean = torch.einsum("nt,ntc->nc", share, pixels.nan_to_num())
        return with_polarity(mean, self.config)


def with_polarity(votes: Tensor, config: ExpertsConfig) -> Tensor:
    """Log probabilities ``votes`` [..., 7] of the pixel network's classes, normalised, followed by
    those of the polarities of these classes [..., 7 + P]."""
    votes = votes.log_softmax(dim=-1)
    sums = []
    for polarity in range(config.polarities):
        classes = [i for i, found in enumerate(config.pixel_polarity) if found == polarity]
        sums.append(votes[..., classes].logsumexp(dim=-1))
    return torch.cat([votes, torch.stack(sums, dim=-1).log_softmax(dim=-1)], dim=-1)
