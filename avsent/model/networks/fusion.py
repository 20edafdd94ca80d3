"""Fusion heads: from the embeddings of voice and face to the decision on each utterance.

``hmtl``: attention over the utterances of a video, inside and between modalities (Seo, Na, Kim,
IEEE Access 2020). ``concat``: concatenation, the baseline. ``tfn``: tensor fusion (Zadeh et al.,
EMNLP 2017). ``lmf``: its low-rank form (Liu, Shen et al., ACL 2018). ``fbp``: factorized bilinear
pooling (Zhang, Wang, Du, IJCNN 2019). ``multiplicative``: see :func:`class_losses`.

Over the segments of an utterance: ``avef``: concatenation, then the mean (Ma 2019). ``cnn-lstm``:
concatenation, then an LSTM (Rastgoo et al. 2019). ``mult``: the Multimodal Transformer (Tsai et
al., ACL 2019).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from avsent.model.networks.attention import TransformerLayer, cross_attention, with_positions
from avsent.model.networks.config import TargetConfig


@dataclass(frozen=True, slots=True)
class Embedded:
    """Embedding networks' output for B videos of up to U utterances.

    By modality: ``values`` [B, U, D], zero where it is missing; ``present`` [B, U] bool, False on
    padding; ``segments`` [B, U, S, D]: the same for S segments of each utterance, only for heads
    that read them.
    """

    values: dict[str, Tensor]
    present: dict[str, Tensor]
    segments: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TargetOutput:
    """``logits`` [B, U, C], or [B, U, 1] numbers. By modality: the embedding [B, U, D], where it
    is ``present`` [B, U], the context attention [B, U, U], and the ``votes`` [B, U, C] of each
    modality alone, from heads that have them.

    ``context["audio"][b, i, j]``: how much the voice of utterance j contributed to utterance i;
    rows sum to 1, or to 0 where i lacks the modality.
    """

    logits: Tensor
    embeddings: dict[str, Tensor]
    present: dict[str, Tensor]
    context: dict[str, Tensor]
    votes: dict[str, Tensor] = field(default_factory=dict)


def _classifier(size: int, config: TargetConfig) -> nn.Sequential:
    """HMTL's classifier: dense ReLU → dense, dropout between."""
    context = config.context
    first, last = nn.Linear(size, context.classifier), nn.Linear(context.classifier, config.outputs)
    return nn.Sequential(first, nn.ReLU(), nn.Dropout(context.dropout), last)


class FusedHead(nn.Module):
    """Fuses all modalities into one vector of ``size`` and classifies that."""

    def __init__(self, config: TargetConfig, size: int) -> None:
        super().__init__()
        self.modalities = config.modalities
        self.classifier = _classifier(size, config)

    def fuse(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        """Fused vector [B, U, size] and the context attention [B, U, U] of each modality."""
        raise NotImplementedError

    def forward(self, embedded: Embedded) -> TargetOutput:
        fused, context = self.fuse(embedded)
        return TargetOutput(self.classifier(fused), embedded.values, embedded.present, context)


def no_context(embedded: Embedded) -> dict[str, Tensor]:
    """Context attention of heads without attention over utterances: each attends to itself."""
    context = {}
    for modality, present in embedded.present.items():
        own = torch.eye(present.shape[1], device=present.device, dtype=torch.float32)
        context[modality] = own * present[..., None]
    return context


class ConcatHead(FusedHead):
    """Concatenation, without attention between utterances or modalities."""

    def __init__(self, config: TargetConfig) -> None:
        super().__init__(config, len(config.modalities) * config.embedding_size)

    def fuse(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        parts = [embedded.values[modality] for modality in self.modalities]
        return torch.cat(parts, dim=-1), no_context(embedded)


class TfnHead(FusedHead):
    """Outer product of the two embeddings, each with a 1 appended.

    A missing modality is zeros: the products vanish, and its 1 passes the other modality on.
    """

    def __init__(self, config: TargetConfig) -> None:
        super().__init__(config, (config.embedding_size + 1) ** 2)

    def fuse(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        first, second = (
            nn.functional.pad(embedded.values[modality], (0, 1), value=1.0)
            for modality in self.modalities
        )
        products = torch.einsum("bui,buj->buij", first, second)
        return products.flatten(start_dim=2), no_context(embedded)


class LmfHead(FusedHead):
    """``h = Σ_r w_r (W_r [a; 1] ∘ V_r [v; 1]) + b``: tensor fusion with a weight of low rank.

    Products first, then their sum over ranks, as in the authors' code: a product of the two sums
    would have rank 1, whatever ``rank`` is. A missing modality is zeros: its 1 passes the other on.
    """

    def __init__(self, config: TargetConfig) -> None:
        rank, size = config.fusion.rank, config.context.classifier
        if rank < 1:
            raise ValueError("lmf needs a rank of 1 or more")
        super().__init__(config, size)
        # The bias of a layer is its column for the appended 1.
        factors = {m: nn.Linear(config.embedding_size, rank * size) for m in config.modalities}
        self.factors = nn.ModuleDict(factors)
        self.weights = nn.Parameter(torch.full((rank,), rank**-0.5))
        self.bias = nn.Parameter(torch.zeros(size))

    def fuse(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        first, second = (self.factors[m](embedded.values[m]) for m in self.modalities)
        products = (first * second).unflatten(-1, (len(self.weights), -1))
        fused = torch.einsum("r,burh->buh", self.weights, products) + self.bias
        return fused, no_context(embedded)


SMALL = 1e-8  # keeps the gradients of square root and norm finite at 0


class FbpHead(FusedHead):
    """Low-rank bilinear products of two modalities.

    A missing modality has factor 1, so that the other passes (ours; the paper has no missing
    modality). If both are missing, z is 0.
    """

    def __init__(self, config: TargetConfig) -> None:
        factors, outputs = config.fusion.factors, config.fusion.outputs
        if min(factors, outputs) < 1:
            raise ValueError("fbp needs one factor and one output or more")
        super().__init__(config, outputs)
        self.factors = factors
        self.normalise = config.fusion.normalise
        size = config.embedding_size, factors * outputs
        projections = {m: nn.Linear(*size, bias=False) for m in config.modalities}
        self.projections = nn.ModuleDict(projections)

    def fuse(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        first, second = (
            self.projections[modality](embedded.values[modality]).masked_fill(
                ~embedded.present[modality][..., None], 1.0
            )
            for modality in self.modalities
        )
        missing = ~_any_present(embedded.present, self.modalities)
        product = (first * second).masked_fill(missing[..., None], 0.0)
        pooled = product.unflatten(-1, (-1, self.factors)).sum(dim=-1)
        return normalised(pooled) if self.normalise else pooled, no_context(embedded)


def _any_present(present: dict[str, Tensor], modalities: Iterable[str]) -> Tensor:
    return torch.stack([present[modality] for modality in modalities]).any(dim=0)


def normalised(pooled: Tensor) -> Tensor:
    """``sign(z) √|z|``, then length 1, over the last axis; 0 stays 0.

    ``z / √(|z| + ε)`` is the signed square root with a finite slope at 0.
    """
    root = pooled / torch.sqrt(pooled.abs() + SMALL)
    return root / torch.sqrt(root.square().sum(dim=-1, keepdim=True) + SMALL)


class AvefHead(FusedHead):
    """``z = 1/S Σ_s ReLU(W [a_s; v_s] + b)``.

    The dense layer is ours: without it, the mean over segments of concatenations equals the
    concatenation of means. Ready-made vectors are one segment; this is then concatenation with
    one more layer.
    """

    def __init__(self, config: TargetConfig) -> None:
        size = config.context.classifier
        super().__init__(config, size)
        self.segment = nn.Linear(len(config.modalities) * config.embedding_size, size)

    def fuse(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        parts = [embedded.segments[modality] for modality in self.modalities]
        together = torch.relu(self.segment(torch.cat(parts, dim=-1)))
        return together.mean(dim=2), no_context(embedded)


class CnnLstmHead(FusedHead):
    """LSTM over the concatenations ``[a_s; v_s]`` of an utterance's segments; its last state."""

    def __init__(self, config: TargetConfig) -> None:
        size = config.context.classifier
        super().__init__(config, size)
        both = len(config.modalities) * config.embedding_size
        self.lstm = nn.LSTM(both, size, batch_first=True)

    def fuse(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        steps = torch.cat([embedded.segments[m] for m in self.modalities], dim=-1)
        _, (last, _) = self.lstm(steps.flatten(0, 1))
        return last[0].unflatten(0, steps.shape[:2]), no_context(embedded)


MULT_LAYERS, MULT_HEADS = 2, 2  # ours: small, for corpora of a few thousand utterances


class MultHead(FusedHead):
    """The segments of each modality attend to those of the other, then to themselves; the last
    ones of both are fused.

    In every layer the other modality is as it came (Tsai et al.). A missing modality (ours) is not
    attended to, and its part of the fused vector is 0.
    """

    def __init__(self, config: TargetConfig) -> None:
        size = config.embedding_size  # even, as it is of two directions
        super().__init__(config, 2 * size)

        def layers() -> nn.ModuleList:
            dropout = config.context.dropout
            each = (TransformerLayer(size, MULT_HEADS, dropout) for _ in range(MULT_LAYERS))
            return nn.ModuleList(each)

        self.across = nn.ModuleDict({modality: layers() for modality in config.modalities})
        self.within = nn.ModuleDict({modality: layers() for modality in config.modalities})
        self.norms = nn.ModuleDict({m: nn.LayerNorm(size) for m in config.modalities})

    def fuse(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        first, second = self.modalities
        parts = [self._attend(embedded, first, second), self._attend(embedded, second, first)]
        return torch.cat(parts, dim=-1), no_context(embedded)

    def _attend(self, embedded: Embedded, own: str, other: str) -> Tensor:
        """``own`` after all layers [B, U, D]."""
        items, source = (with_positions(embedded.segments[m].flatten(0, 1)) for m in (own, other))
        for layer in cast(nn.ModuleList, self.across[own]):
            items = layer(items, source, embedded.present[other].flatten())
        for layer in cast(nn.ModuleList, self.within[own]):
            items = layer(items, items)
        present = embedded.present[own]
        last: Tensor = self.norms[own](items[:, -1]).unflatten(0, present.shape)
        return last.masked_fill(~present[..., None], 0.0)


class MultiplicativeHead(nn.Module):
    """A classifier per modality, combined by :func:`decision_logits`.

    Train with :func:`multiplicative_loss` on the ``votes``.
    """

    def __init__(self, config: TargetConfig) -> None:
        super().__init__()
        if config.outputs < 2:
            raise ValueError("multiplicative fusion needs classes, not a number")
        if config.fusion.beta < 0:
            raise ValueError("multiplicative fusion needs a beta of 0 or more")
        self.beta = config.fusion.beta
        self.original = config.fusion.original
        self.classifiers = nn.ModuleDict(
            {modality: _classifier(config.embedding_size, config) for modality in config.modalities}
        )

    def forward(self, embedded: Embedded) -> TargetOutput:
        """Votes are zero where their modality is missing; logits where all are missing."""
        votes = {
            modality: classify(embedded.values[modality]).masked_fill(
                ~embedded.present[modality][..., None], 0.0
            )
            for modality, classify in self.classifiers.items()
        }
        logits = decision_logits(votes, embedded.present, self.beta, self.original)
        context = no_context(embedded)
        return TargetOutput(logits, embedded.values, embedded.present, context, votes)


def class_losses(
    votes: dict[str, Tensor], present: dict[str, Tensor], beta: float, original: bool
) -> Tensor:
    """Class-wise losses ``c`` [B, U, C] of the ``votes`` [B, U, C] of the modalities ``present``
    [B, U]; 0 where there is none.

    With M modalities present and p_i^y the probability that modality i gives class y:

    * Liu et al. 2018 (``original``): ``c_y = −Σ_i [Π_{j≠i}(1 − p_j^y)]^{β/(M−1)} log p_i^y``
    * M3ER (Mittal et al., AAAI 2020): ``c_y = −Σ_i (p_i^y)^{β/(M−1)} log p_i^y``

    The factor before the logarithm has no gradient. With one modality it is 1: cross-entropy.
    """
    logs, there = _stacked(votes, present)
    return -(_weights(logs.detach(), there, beta, original) * logs).sum(dim=0)


def decision_logits(
    votes: dict[str, Tensor], present: dict[str, Tensor], beta: float, original: bool
) -> Tensor:
    """Logits [B, U, C]: Liu's −c, or ``Σ_i (max_y p_i^y)^{β/(M−1)} log p_i^y``; 0 without any
    modality.

    Liu decides for the class of the smallest loss. M3ER's c_y cannot be used so: its weight goes
    to 0 with p_i^y, so c_y is smallest for the least likely class. We take its weights at the
    class that the modality itself prefers (ours; M3ER does not say).
    """
    if original:
        return -class_losses(votes, present, beta, original)
    logs, there = _stacked(votes, present)
    peak = logs.detach().amax(dim=-1, keepdim=True)
    return (_weights(peak, there, beta, original) * logs).sum(dim=0)


def _stacked(votes: dict[str, Tensor], present: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Log probabilities [M, B, U, C] and where the modality is present [M, B, U, 1]."""
    logs = torch.stack([vote.log_softmax(dim=-1) for vote in votes.values()])
    return logs, torch.stack([present[modality] for modality in votes])[..., None]


def _weights(logs: Tensor, there: Tensor, beta: float, original: bool) -> Tensor:
    """Weights of the log probabilities ``logs`` [M, B, U, C]; 0 where missing, 1 for one alone."""
    others = there.sum(dim=0).to(logs.dtype) - 1
    exponent = torch.where(others > 0, beta / others.clamp_min(1), torch.zeros_like(others))
    if original:
        unsure = (-torch.expm1(logs)).masked_fill(~there, 1.0)
        # No division of the whole product by (1 − p_i): it fails at p_i = 1.
        others_of = (torch.cat([unsure[:i], unsure[i + 1 :]]) for i in range(len(unsure)))
        base = torch.stack([rest.prod(dim=0) for rest in others_of])
    else:
        base = torch.exp(logs)
    return torch.pow(base, exponent) * there


def multiplicative_loss(
    votes: dict[str, Tensor],
    present: dict[str, Tensor],
    truth: Tensor,
    *,
    beta: float,
    original: bool,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Mean ``c_y`` of the true classes ``truth`` [B, U] (−1: none) over the labelled utterances
    that have a modality; 0, with zero gradients, if there is none.

    ``class_weights`` [C] and ``label_smoothing`` (both ours) act as in
    ``torch.nn.functional.cross_entropy``, which this equals with one modality.
    """
    losses = class_losses(votes, present, beta, original)
    used = (truth >= 0) & _any_present(present, votes)
    if not bool(used.any()):
        return losses.sum() * 0.0
    chosen, classes = losses[used], truth[used]
    if class_weights is None:
        class_weights = chosen.new_ones(chosen.shape[-1])
    weight = class_weights[classes]
    true = (weight * chosen.gather(1, classes[:, None]).squeeze(1)).sum()
    every = (class_weights * chosen).sum() / chosen.shape[-1]
    return ((1 - label_smoothing) * true + label_smoothing * every) / weight.sum()


class HmtlHead(FusedHead):
    """Attention over the utterances of a video, inside a modality and between two."""

    def __init__(self, config: TargetConfig) -> None:
        parts = 2 if len(config.modalities) == 1 else 6
        super().__init__(config, parts * config.embedding_size)

    def fuse(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        raw = [embedded.values[modality] for modality in self.modalities]
        present = [embedded.present[modality] for modality in self.modalities]
        own = [cross_attention(x, x, there) for x, there in zip(raw, present, strict=True)]
        if len(raw) == 1:
            ((attended, weight),) = own
            row = weight * present[0][..., None].to(weight.dtype)
            return torch.cat([raw[0], attended], dim=-1), {self.modalities[0]: row}
        first = cross_attention(raw[0], raw[1], present[1])
        second = cross_attention(raw[1], raw[0], present[0])
        fused = torch.cat([*raw, own[0][0], own[1][0], first[0], second[0]], dim=-1)
        return fused, {
            self.modalities[0]: _contribution(own[0][1], second[1], present[0], present[1]),
            self.modalities[1]: _contribution(own[1][1], first[1], present[1], present[0]),
        }


def _contribution(own: Tensor, others: Tensor, has_own: Tensor, has_other: Tensor) -> Tensor:
    """Mean attention over one modality [B, U, U]; zero rows where the utterance lacks it."""
    both = has_other[..., None]
    mixed = torch.where(both, (own + others) / 2, own)
    return mixed * has_own[..., None].to(mixed.dtype)


HEADS: dict[str, Callable[[TargetConfig], nn.Module]] = {
    "hmtl": HmtlHead,
    "concat": ConcatHead,
    "tfn": TfnHead,
    "fbp": FbpHead,
    "multiplicative": MultiplicativeHead,
    "avef": AvefHead,
    "cnn-lstm": CnnLstmHead,
    "lmf": LmfHead,
    "mult": MultHead,
}
PAIRS_ONLY = ("tfn", "fbp", "multiplicative", "lmf", "mult")  # heads that need two modalities
RAW_ONLY = ("cnn-lstm", "mult")  # heads that need a sequence of segments


def make_head(config: TargetConfig) -> nn.Module:
    """The head ``config.fusion.name``. Raises ValueError if unknown or unfit for the modalities."""
    name = config.fusion.name
    if name not in HEADS:
        raise ValueError(f"no fusion {name!r}; there are {', '.join(HEADS)}")
    if name in PAIRS_ONLY and len(config.modalities) != 2:
        raise ValueError(f"fusion {name} needs two modalities")
    if name in RAW_ONLY and any(map(config.cannot_be_cut, config.modalities)):
        raise ValueError(f"fusion {name} needs raw sound and faces")
    return HEADS[name](config)
