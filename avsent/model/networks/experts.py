"""Experts in the place of encoders: each was taught emotion and polarity from one stream alone.

The representation of an utterance is what they say: log probabilities of the eight emotions and
of the three polarities, the mean over members that learnt from different people. What lies above
(embedding networks, HMTL fusion, votes) learns from posteriors on people that a member never
met, and so knows how far each can be trusted. Streams:

- voice: log-mel spectrogram;
- prosody: statistics of pitch, energy and spectral balance;
- still face: landmarks of every frame alone, from clips and from stills;
- moving face: landmarks relative to the speaker's own neutral;
- pixels: aligned crops, from stills.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from avsent.model.networks.config import ExpertsConfig, VoteConfig
from avsent.model.networks.encoders import (
    AudioEncoder,
    FaceEncoder,
    FaceExtras,
    MovementEncoder,
    PixelNetwork,
    VectorEncoder,
)


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
        """By modality ``values`` [B, U, R], standardised by ``scales``, and ``present`` [B, U] →
        logits [B, U, C]."""
        logits = self.bias.expand(*next(iter(values.values())).shape[:2], -1)
        for weight, stream in zip(self.weight, self.streams, strict=True):
            columns = list(stream.columns)
            scale = scales[stream.modality]
            standardised = values[stream.modality][..., columns]
            # Nothing but zeros: the stream is missing, or was never known in training.
            there = present[stream.modality] & (standardised != 0).any(dim=-1)
            deviation = scale.deviation[columns]
            deviation = torch.where(deviation.isfinite(), deviation, torch.zeros_like(deviation))
            said = standardised * deviation + scale.mean[columns]
            if stream.log_prior:
                said = said - said.new_tensor(stream.log_prior)
            logits = logits + weight * said * there[..., None].to(said.dtype)
        return logits


LEAST_LOG = -8.0


class ExpertHeads(nn.Module):
    """Representation [N, R] → log probabilities [N, E + P] of emotions and of polarities."""

    def __init__(self, size: int, config: ExpertsConfig) -> None:
        super().__init__()
        self.emotion = nn.Linear(size, config.emotions)
        self.polarity = nn.Linear(size, config.polarities)

    def forward(self, representation: Tensor) -> Tensor:
        logits = self.emotion(representation), self.polarity(representation)
        return torch.cat([functional.log_softmax(part, dim=-1) for part in logits], dim=-1)


class AudioMember(nn.Module):
    """One network that hears emotion."""

    def __init__(self, config: ExpertsConfig) -> None:
        super().__init__()
        self.encoder = AudioEncoder(config.audio)
        self.votes = ExpertHeads(config.audio.representation, config)

    def forward(self, log_mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`AudioEncoder.forward`, with log probabilities [N, E + P]."""
        representation, weight = self.encoder(log_mel, lengths)
        return self.votes(representation), weight


class ProsodyMember(nn.Module):
    """A linear judge of the prosody: statistics [N, P] → log probabilities [N, E + P]."""

    def __init__(self, config: ExpertsConfig) -> None:
        super().__init__()
        self.scale = VectorEncoder(config.prosody)
        self.votes = ExpertHeads(config.prosody, config)

    def forward(self, prosody: Tensor) -> Tensor:
        """NaN, which is not known, counts as the mean."""
        votes: Tensor = self.votes(self.scale(prosody))
        return votes


class FaceMember(nn.Module):
    """One network that sees emotion in landmarks: in each frame alone, and in their movement."""

    def __init__(self, config: ExpertsConfig) -> None:
        super().__init__()
        self.still = FaceEncoder(config.still)
        self.still_votes = ExpertHeads(config.still.representation, config)
        self.movement = MovementEncoder(config.movement)
        self.movement_votes = ExpertHeads(config.movement.representation, config)

    def look(self, landmarks: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Log probabilities [N, E + P] by the frames alone, and the attention over them [N, T]."""
        representation, weight = self.still(landmarks, mask)
        return self.still_votes(representation), weight

    def watch(self, landmarks: Tensor, mask: Tensor, neutral: Tensor) -> Tensor:
        """Log probabilities [N, E + P] by the movement."""
        votes: Tensor = self.movement_votes(self.movement(landmarks, mask, neutral))
        return votes


class AudioExperts(nn.Module):
    """Log-mel [N, mel, T] and prosody [N, P] → standardised posteriors [N, R].

    Where the prosody is not known its stream has the mean of the training data.
    """

    def __init__(self, config: ExpertsConfig) -> None:
        super().__init__()
        self.members = nn.ModuleList(AudioMember(config) for _ in range(config.audio_members))
        self.prosody = nn.ModuleList(ProsodyMember(config) for _ in range(config.audio_members))
        self.scale = VectorEncoder(config.posteriors("audio"))

    def posteriors(
        self, log_mel: Tensor, lengths: Tensor, prosody: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean log probabilities [N, R] of all members, by the spectrogram and by the prosody (NaN
        in rows where it is not known), and mean attention over time."""
        heard = [member(log_mel, lengths) for member in self.members]
        votes = torch.stack([votes for votes, _ in heard]).mean(dim=0)
        spoken = torch.full_like(votes, torch.nan)
        if prosody is not None:
            known = ~prosody.isnan().all(dim=-1)
            judged = torch.stack([member(prosody[known]) for member in self.prosody])
            spoken[known] = judged.mean(dim=0).to(spoken.dtype)
        both = torch.cat([votes, spoken], dim=-1).clamp_min(LEAST_LOG)
        return both, torch.stack([weight for _, weight in heard]).mean(dim=0)

    def forward(
        self, log_mel: Tensor, lengths: Tensor, prosody: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`AudioEncoder.forward`."""
        votes, weight = self.posteriors(log_mel, lengths, prosody)
        return self.scale(votes), weight


class FaceExperts(nn.Module):
    """Landmarks, the speaker's neutral and crops → standardised posteriors [N, R].

    A stream that is not there (no neutral, no picture) has the mean of the training data.
    """

    def __init__(self, config: ExpertsConfig) -> None:
        super().__init__()
        self.members = nn.ModuleList(FaceMember(config) for _ in range(config.face_members))
        self.pixels = PixelNetwork(config.pixels)
        self.scale = VectorEncoder(config.posteriors("face"))
        self.config = config

    def posteriors(
        self, landmarks: Tensor, mask: Tensor, extras: FaceExtras | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean log probabilities [N, R] of all members: still, moving, pixels; NaN where a stream
        is missing. And the mean attention over frames [N, T]."""
        extras = extras or FaceExtras()
        members = [cast(FaceMember, member) for member in self.members]
        looked = [member.look(landmarks, mask) for member in members]
        weight = torch.stack([weight for _, weight in looked]).mean(dim=0)
        parts = [torch.stack([votes for votes, _ in looked]).mean(dim=0)]
        if extras.neutral is not None:
            watched = [member.watch(landmarks, mask, extras.neutral) for member in members]
            parts.append(torch.stack(watched).mean(dim=0))
        else:
            parts.append(torch.full_like(parts[0], torch.nan))
        parts.append(self._pictured(weight, extras))
        return torch.cat(parts, dim=-1).clamp_min(LEAST_LOG), weight

    def forward(
        self, landmarks: Tensor, mask: Tensor, extras: FaceExtras | None = None
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`FaceEncoder.forward`."""
        votes, weight = self.posteriors(landmarks, mask, extras)
        return self.scale(votes), weight

    def look_at(self, pictures: Tensor) -> Tensor:
        """Log probabilities [S, 7] by the pixels of ``pictures`` [S, 48, 48], standardised."""
        votes: Tensor = self.pixels(pictures)[1]
        return votes

    def _pictured(self, weight: Tensor, extras: FaceExtras) -> Tensor:
        """Log probabilities [N, 7 + P] of the pictures: their mean, weighed by the attention that
        the landmarks of the same frames get."""
        if extras.looks is None:
            size = self.config.pixels.classes + self.config.polarities
            return weight.new_full((len(weight), size), torch.nan)
        share = weight * ~extras.looks[..., 0].isnan()
        share = share / share.sum(dim=1, keepdim=True)  # NaN where there is no picture at all
        mean = torch.einsum("nt,ntc->nc", share, extras.looks.nan_to_num())
        return with_polarity(mean, self.config)


def with_polarity(votes: Tensor, config: ExpertsConfig) -> Tensor:
    """Log probabilities ``votes`` [..., 7] of the pixel network's classes, normalised, and those
    of the polarities that the classes have [..., 7 + P]."""
    votes = functional.log_softmax(votes, dim=-1)
    sums = []
    for polarity in range(config.polarities):
        classes = [i for i, found in enumerate(config.pixel_polarity) if found == polarity]
        sums.append(votes[..., classes].logsumexp(dim=-1))
    return torch.cat([votes, functional.log_softmax(torch.stack(sums, dim=-1), dim=-1)], dim=-1)
