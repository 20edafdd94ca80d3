"""The HMTL model: modalities of a video's utterances → sentiment of each.

The target model (voice, face or both) and the source model (text, or any modality that teaches)
are the same network over other modalities. Two levels of attention: inside an utterance (the
encoders) and across the utterances of a video (the fusion head). Seo, Na, Kim, IEEE Access 2020.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from avsent.labels import MODALITIES
from avsent.model.networks.attention import EmbeddingNetwork
from avsent.model.networks.config import TargetConfig
from avsent.model.networks.encoders import AudioEncoder, FaceEncoder, FaceExtras, VectorEncoder
from avsent.model.networks.experts import AudioExperts, ExpertVotes, FaceExperts
from avsent.model.networks.fusion import Decision, Embedded, FusedHead, HeadSizes, make_head
from avsent.model.networks.modality_check import Checked, Guard


@dataclass(frozen=True, slots=True)
class Utterances:
    """Encoded utterances of B videos, padded to U.

    By modality: ``values`` [B, U, R] representations and ``present`` [B, U] bool (False on
    padding); ``lengths`` [B] utterances per video.
    """

    values: dict[str, Tensor]
    present: dict[str, Tensor]
    lengths: Tensor

    def without(self, modality: str) -> Utterances:
        """The same videos with ``modality`` missing everywhere."""
        if modality not in self.present:
            raise ValueError(f"no modality {modality!r}; there are {tuple(self.present)}")
        present = {**self.present, modality: torch.zeros_like(self.present[modality])}
        return dataclasses.replace(self, present=present)


@dataclass(frozen=True, slots=True)
class Guarded:
    """``utterances`` as they are decided on; what the guard found (None: the model has none), and
    by modality where a proxy stands in [B, U] bool."""

    utterances: Utterances
    checked: Checked | None
    proxied: dict[str, Tensor]

    def without(self, modality: str) -> Utterances:
        """The utterances without ``modality``, and without what was made from it."""
        left = self.utterances.without(modality)
        present = {m: there & ~self.proxied[m] for m, there in left.present.items()}
        return dataclasses.replace(left, present=present)


@dataclass(frozen=True, slots=True)
class TargetOutput:
    """``logits`` [B, U, C], or [B, U, 1] numbers; per modality the embedding [B, U, D], where it
    is ``present`` [B, U], the context attention [B, U, U] and, from heads that have them, the
    ``votes`` [B, U, C] of each modality alone.

    ``context["audio"][b, i, j]``: how much the voice of utterance j contributed to utterance i.
    """

    logits: Tensor
    embeddings: dict[str, Tensor]
    present: dict[str, Tensor]
    context: dict[str, Tensor]
    votes: dict[str, Tensor] = field(default_factory=dict)


class TargetModel(nn.Module):
    """Encoders and embedding networks of each modality, fusion head."""

    def __init__(self, config: TargetConfig) -> None:
        super().__init__()
        self.config = config
        if not config.modalities:
            raise ValueError("a model needs at least one modality")
        for modality in config.modalities:
            self.add_module(f"{modality}_encoder", _encoder(modality, config))
            embedding = EmbeddingNetwork(config.input_size(modality), config.context)
            self.add_module(f"{modality}_embedding", embedding)
        outputs = 1 if config.real else len(config.labels)
        self.votes = ExpertVotes(config.votes, outputs) if config.votes else None
        self.head = make_head(
            HeadSizes(
                modalities=config.modalities,
                embedding=2 * config.context.second_gru,
                outputs=outputs,
                context=config.context,
                fusion=config.fusion,
            )
        )
        if self.votes is not None:
            cast(FusedHead, self.head).start_silent()
        self.guard: Guard | None = None
        if config.guard is not None:
            self.set_guard(
                Guard(config.guard, {m: config.representation_size(m) for m in MODALITIES})
            )

    def set_guard(self, guard: Guard | None) -> None:
        """Let ``guard`` check what is decided on from now on."""
        if guard is not None and self.config.modalities != MODALITIES:
            raise ValueError("a guard needs voice and face")
        self.guard = guard
        self.config = dataclasses.replace(
            self.config, guard=None if guard is None else guard.config
        )

    def guarded(
        self, utterances: Utterances, *, check: bool = True, proxy: bool | None = None
    ) -> Guarded:
        """``utterances`` without their ineffectual modalities, for which proxies stand in.

        ``check``: False for taking all that is present as effective; ``proxy``: None for what the
        checkpoint found best. A model without a guard takes everything as it is.
        """
        nothing = {m: torch.zeros_like(there) for m, there in utterances.present.items()}
        if self.guard is None:
            return Guarded(utterances, None, nothing)
        checked = self.guard.check(utterances.values, utterances.present)
        present = checked.effective if check else utterances.present
        if proxy is None:
            proxy = self.guard.config.stand_in
        if not proxy:
            return Guarded(
                Utterances(utterances.values, present, utterances.lengths), checked, nothing
            )
        values, proxied = self.guard.stood_in(utterances.values, present)
        there = {m: present[m] | proxied[m] for m in present}
        return Guarded(Utterances(values, there, utterances.lengths), checked, proxied)

    def encoder(self, modality: str) -> nn.Module:
        """The utterance encoder of ``modality``."""
        return self.get_submodule(f"{modality}_encoder")

    def embedding(self, modality: str) -> nn.Module:
        """The embedding network of ``modality``."""
        return self.get_submodule(f"{modality}_embedding")

    def encode_audio(
        self, log_mel: Tensor, lengths: Tensor, prosody: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`AudioEncoder.forward` and :meth:`AudioExperts.forward`."""
        representation, weight = self.encoder("audio")(log_mel, lengths, prosody)
        return representation, weight

    def encode_face(
        self, landmarks: Tensor, mask: Tensor, extras: FaceExtras | None = None
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`FaceEncoder.forward` and :meth:`FaceExperts.forward`."""
        representation, weight = self.encoder("face")(landmarks, mask, extras)
        return representation, weight

    def look_at(self, pictures: Tensor) -> Tensor | None:
        """What the pixels of ``pictures`` [S, 48, 48] say [S, 7]; None where the model has no eye
        for them."""
        encoder = self.encoder("face")
        return encoder.look_at(pictures) if isinstance(encoder, FaceExperts) else None

    def forward(self, utterances: Utterances) -> TargetOutput:
        """Decision on every utterance in the context of its video."""
        embedded = self.embed(utterances)
        decision: Decision = self.head(embedded)
        logits = decision.logits
        if self.votes is not None:
            scales = {modality: self.scale(modality) for modality in self.config.modalities}
            logits = logits + self.votes(utterances.values, utterances.present, scales)
        return TargetOutput(
            logits=logits,
            embeddings=embedded.values,
            present=embedded.present,
            context=decision.context,
            votes=decision.votes,
        )

    def scale(self, modality: str) -> VectorEncoder:
        """What standardises the ready-made vectors, or the experts' posteriors, of ``modality``."""
        encoder = self.encoder(modality)
        scale = encoder if isinstance(encoder, VectorEncoder) else encoder.get_submodule("scale")
        assert isinstance(scale, VectorEncoder)
        return scale

    def embed(self, utterances: Utterances) -> Embedded:
        """Embeddings of every utterance, by modality.

        For AVEF the embedding networks run over the pieces of a video's utterances; an embedding
        is then the mean of its pieces. A modality that cannot be cut has the same in each piece.
        """
        values, present, segments = {}, {}, {}
        for modality in self.config.modalities:
            present[modality] = utterances.present[modality]
            pieces = self.config.pieces(modality)
            cut = self._embed_pieces(utterances, modality, pieces)
            # The mean over one piece is left out: it must not change a bit.
            values[modality] = cut.mean(dim=2) if pieces > 1 else cut[:, :, 0]
            segments[modality] = cut
        if self.config.fusion.name != "avef":
            return Embedded(values, present)
        most = max(cut.shape[2] for cut in segments.values())
        whole = {m: cut.expand(-1, -1, most, -1) for m, cut in segments.items()}
        return Embedded(values, present, whole)

    def _embed_pieces(self, utterances: Utterances, modality: str, pieces: int) -> Tensor:
        """Embeddings [B, U, S, D] of S pieces of each utterance, in the order of time."""
        there = utterances.present[modality]
        items = utterances.values[modality].reshape(
            there.shape[0], there.shape[1] * pieces, self.config.input_size(modality)
        )
        embedded: Tensor = self.embedding(modality)(
            items, there.repeat_interleave(pieces, dim=1), utterances.lengths * pieces
        )
        return embedded.reshape(*there.shape, pieces, embedded.shape[-1])


def _encoder(modality: str, config: TargetConfig) -> nn.Module:
    ready = config.vectors.of(modality)
    if ready:
        return VectorEncoder(ready)
    if config.experts is not None and modality in MODALITIES:
        return AudioExperts(config.experts) if modality == "audio" else FaceExperts(config.experts)
    if modality == "audio":
        return AudioEncoder(config.audio, config.pieces(modality))
    if modality == "face":
        return FaceEncoder(config.face, config.pieces(modality))
    raise ValueError("text enters as vectors: their size is missing")


def parameter_count(model: nn.Module) -> int:
    """Trainable parameters of ``model``."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
