"""The HMTL target model: voice and face of a video's utterances → sentiment of each.

Two levels of attention: inside an utterance (the encoders) and across the utterances of a video
(self-attention and bi-modal attention). Seo, Na, Kim, IEEE Access 2020; attention after Ghosal
et al., EMNLP 2018.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avsent.networks.attention import cross_attention
from avsent.networks.audio_encoder import AudioEncoder
from avsent.networks.config import TargetConfig
from avsent.networks.context import EmbeddingNetwork
from avsent.networks.face_encoder import FaceEncoder

MODALITIES = ("audio", "face")


@dataclass(frozen=True, slots=True)
class Utterances:
    """Encoded utterances of B videos, padded to U: representations and what is there.

    ``audio`` [B, U, R], ``face`` [B, U, R]; ``audio_present`` and ``face_present`` [B, U] bool
    (False on padding); ``lengths`` [B] utterances per video.
    """

    audio: Tensor
    face: Tensor
    audio_present: Tensor
    face_present: Tensor
    lengths: Tensor

    def without(self, modality: str) -> Utterances:
        """The same videos with ``modality`` missing everywhere."""
        audio, face = self.audio_present, self.face_present
        if modality == "audio":
            audio = torch.zeros_like(audio)
        elif modality == "face":
            face = torch.zeros_like(face)
        else:
            raise ValueError(f"no modality {modality!r}; there are {MODALITIES}")
        return Utterances(self.audio, self.face, audio, face, self.lengths)


@dataclass(frozen=True, slots=True)
class TargetOutput:
    """``logits`` [B, U, C]; per modality the embedding [B, U, D] and context attention [B, U, U].

    ``context["audio"][b, i, j]``: how much the voice of utterance j contributed to utterance i,
    the mean of self-attention and (where i has a face) bi-modal attention onto it.
    """

    logits: Tensor
    embeddings: dict[str, Tensor]
    context: dict[str, Tensor]


class TargetModel(nn.Module):
    """Audio and face encoders, embedding networks, attention over utterances, classifier."""

    def __init__(self, config: TargetConfig) -> None:
        super().__init__()
        self.config = config
        self.audio_encoder = AudioEncoder(config.audio)
        self.face_encoder = FaceEncoder(config.face)
        context = config.context
        self.audio_embedding = EmbeddingNetwork(config.audio.representation, context)
        self.face_embedding = EmbeddingNetwork(config.face.representation, context)
        size = 2 * context.second_gru
        self.classifier = nn.Sequential(
            nn.Linear(6 * size, context.classifier),
            nn.ReLU(),
            nn.Dropout(context.dropout),
            nn.Linear(context.classifier, len(config.labels)),
        )

    def encode_audio(self, log_mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`AudioEncoder.forward`."""
        representation, weight = self.audio_encoder(log_mel, lengths)
        return representation, weight

    def encode_face(self, landmarks: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`FaceEncoder.forward`."""
        representation, weight = self.face_encoder(landmarks, mask)
        return representation, weight

    def forward(self, utterances: Utterances) -> TargetOutput:
        """Class logits of every utterance in the context of its video."""
        has_audio, has_face = utterances.audio_present, utterances.face_present
        audio = self.audio_embedding(utterances.audio, has_audio, utterances.lengths)
        face = self.face_embedding(utterances.face, has_face, utterances.lengths)
        self_audio, audio_to_audio = cross_attention(audio, audio, has_audio)
        self_face, face_to_face = cross_attention(face, face, has_face)
        bi_audio, audio_to_face = cross_attention(audio, face, has_face)
        bi_face, face_to_audio = cross_attention(face, audio, has_audio)
        fused = torch.cat([audio, face, self_audio, self_face, bi_audio, bi_face], dim=-1)
        return TargetOutput(
            logits=self.classifier(fused),
            embeddings={"audio": audio, "face": face},
            context={
                "audio": _contribution(audio_to_audio, face_to_audio, has_audio, has_face),
                "face": _contribution(face_to_face, audio_to_face, has_face, has_audio),
            },
        )


def _contribution(own: Tensor, others: Tensor, has_own: Tensor, has_other: Tensor) -> Tensor:
    """Mean of the attention that an utterance pays to one modality, [B, U, U]; zero rows where
    the utterance lacks that modality."""
    both = has_other[..., None]
    mixed = torch.where(both, (own + others) / 2, own)
    return mixed * has_own[..., None].to(mixed.dtype)


def parameter_count(model: nn.Module) -> int:
    """Trainable parameters of ``model``."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
