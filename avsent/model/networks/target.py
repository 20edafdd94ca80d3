"""The HMTL model: modalities of a video's utterances → sentiment of each.

Seo, Na, Kim, IEEE Access 2020. The target model (voice, face or both) and the source model (text,
or another modality to transfer from) are the same network. Two levels of attention: inside an
utterance (the encoders) and across the utterances of a video (the fusion head).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from avsent.labels import MODALITIES
from avsent.model.networks.attention import EmbeddingNetwork
from avsent.model.networks.config import SEGMENTS, TargetConfig
from avsent.model.networks.encoders import AudioEncoder, FaceEncoder, VectorEncoder
from avsent.model.networks.experts import AudioExperts, FaceExperts
from avsent.model.networks.fusion import Embedded, TargetOutput, make_head
from avsent.model.networks.modality_check import CheckOutcome, ModalityCheck


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
        return replace(self, present=present)


@dataclass(frozen=True, slots=True)
class CheckedUtterances:
    """``utterances`` after the modality check; its ``outcome`` (None: the model has no check);
    by modality where a proxy replaces it, ``proxied`` [B, U] bool."""

    utterances: Utterances
    outcome: CheckOutcome | None
    proxied: dict[str, Tensor]

    def without(self, modality: str) -> Utterances:
        """The utterances without ``modality``, and without proxies made from it."""
        left = self.utterances.without(modality)
        present = {m: there & ~self.proxied[m] for m, there in left.present.items()}
        return replace(left, present=present)


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
        self.head = make_head(config)
        self.guard: ModalityCheck | None = None  # checkpoints have its buffers under this name
        if config.guard is not None:
            sizes = {m: config.representation_size(m) for m in MODALITIES}
            self.set_modality_check(ModalityCheck(config.guard, sizes))

    def set_modality_check(self, check: ModalityCheck | None) -> None:
        """Use ``check`` from now on; None for none. Raises ValueError without voice and face."""
        if check is not None and self.config.modalities != MODALITIES:
            raise ValueError("a modality check needs voice and face")
        self.guard = check
        self.config = replace(self.config, guard=None if check is None else check.config)

    def check_modalities(
        self, utterances: Utterances, *, check: bool = True, proxy: bool | None = None
    ) -> CheckedUtterances:
        """Drop ineffectual modalities and put proxies in their place.

        ``check``: False takes all that is present as effective; ``proxy``: None follows the
        checkpoint. A model without a modality check leaves all as it is.
        """
        proxied = {m: torch.zeros_like(there) for m, there in utterances.present.items()}
        if self.guard is None:
            return CheckedUtterances(utterances, None, proxied)
        outcome = self.guard.check(utterances.values, utterances.present)
        values, present = utterances.values, outcome.effective if check else utterances.present
        if self.guard.config.stand_in if proxy is None else proxy:
            values, proxied = self.guard.fill_proxies(values, present)
            present = {m: present[m] | proxied[m] for m in present}
        kept = Utterances(values, present, utterances.lengths)
        return CheckedUtterances(kept, outcome, proxied)

    def encoder(self, modality: str) -> nn.Module:
        return self.get_submodule(f"{modality}_encoder")

    def embedding(self, modality: str) -> nn.Module:
        return self.get_submodule(f"{modality}_embedding")

    def classify_pixels(self, pictures: Tensor) -> Tensor | None:
        """Log probabilities [S, C] of ``pictures`` [S, 48, 48]; None without a pixel network."""
        encoder = self.encoder("face")
        return encoder.classify_pixels(pictures) if isinstance(encoder, FaceExperts) else None

    def forward(self, utterances: Utterances) -> TargetOutput:
        """Decision on every utterance in the context of its video."""
        output: TargetOutput = self.head(self.embed(utterances))
        return output

    def scale(self, modality: str) -> VectorEncoder:
        """Standardises the ready-made vectors, or the experts' posteriors, of ``modality``."""
        encoder = self.encoder(modality)
        scale = encoder if isinstance(encoder, VectorEncoder) else encoder.get_submodule("scale")
        assert isinstance(scale, VectorEncoder)
        return scale

    def embed(self, utterances: Utterances) -> Embedded:
        """Embeddings of every utterance, by modality.

        For heads that read segments, the embedding networks run over the segments of a video's
        utterances; an embedding is the mean of its segments. A modality without segments repeats
        its embedding.
        """
        values, present, segments = {}, {}, {}
        for modality in self.config.modalities:
            there = present[modality] = utterances.present[modality]
            count = self.config.segments(modality)
            items = utterances.values[modality].reshape(
                there.shape[0], there.shape[1] * count, self.config.input_size(modality)
            )
            embedded: Tensor = self.embedding(modality)(
                items, there.repeat_interleave(count, dim=1), utterances.lengths * count
            )
            cut = embedded.reshape(*there.shape, count, embedded.shape[-1])
            # No mean over one segment: it must not change a bit.
            values[modality] = cut.mean(dim=2) if count > 1 else cut[:, :, 0]
            segments[modality] = cut
        if self.config.fusion.name not in SEGMENTS:
            return Embedded(values, present)
        most = max(cut.shape[2] for cut in segments.values())
        whole = {m: cut.expand(-1, -1, most, -1) for m, cut in segments.items()}
        return Embedded(values, present, whole)


def _encoder(modality: str, config: TargetConfig) -> nn.Module:
    ready = config.vectors.of(modality)
    if ready:
        return VectorEncoder(ready)
    if config.experts is not None and modality in MODALITIES:
        return AudioExperts(config.experts) if modality == "audio" else FaceExperts(config.experts)
    if modality == "audio":
        return AudioEncoder(config.audio, config.segments(modality))
    if modality == "face":
        return FaceEncoder(config.face, config.segments(modality))
    raise ValueError("text enters as vectors: their size is missing")
