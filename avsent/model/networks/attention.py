"""Attention inside an utterance, and over the utterances of a video.

Masks are True at valid entries. A row without any valid entry gets all-zero weights; a plain
softmax would give NaN.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from avsent.model.networks.config import ContextConfig


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax of ``scores`` [..., L] over the entries where ``mask`` [..., L] is True."""
    filled = scores.masked_fill(~mask, float("-inf"))
    peak = filled.amax(dim=-1, keepdim=True)
    peak = torch.where(torch.isfinite(peak), peak, torch.zeros_like(peak))
    weight = torch.exp(filled - peak)
    return weight / weight.sum(dim=-1, keepdim=True).clamp_min(1e-12)


class FrameAttention(nn.Module):
    """Attention over the frames or time-frequency cells of an utterance, with a scale factor.

    ``e_i = uᵀ tanh(W a_i + b)``, ``α_i = exp(λ e_i) / Σ_k exp(λ e_k)``, ``a = Σ α_i a_i``
    (Zhang, Wang, Du, "Deep Fusion", IJCNN 2019). λ = 0 is the mean, λ = 1 the plain softmax.
    """

    def __init__(self, size: int, hidden: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.projection = nn.Linear(size, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, items: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """``items`` [N, L, C], ``masks`` [N, S, L] → pooled [N, S, C], weights α [N, S, L].

        Each of the S segments of an utterance has its own softmax over the same energies.
        """
        energy: Tensor = self.scale * self.score(torch.tanh(self.projection(items))).squeeze(-1)
        weight = masked_softmax(energy[:, None, :].expand(masks.shape), masks)
        return torch.einsum("nsl,nlc->nsc", weight, items), weight


def segment_masks(mask: Tensor, segments: int) -> Tensor:
    """``mask`` [N, L] cut into S equal segments of its valid steps, [N, S, L].

    Of ``n`` valid steps, segment s holds those from floor(s·n/S) to ceil((s+1)·n/S): no segment
    is empty if there is any step, and neighbours share a step unless n is a multiple of S.
    """
    count = mask.sum(dim=1)[:, None]
    place = (mask.cumsum(dim=1) - 1)[:, None, :]
    number = torch.arange(segments, device=mask.device)[None]
    first = torch.div(number * count, segments, rounding_mode="floor")
    end = torch.div((number + 1) * count + segments - 1, segments, rounding_mode="floor")
    inside = (place >= first[..., None]) & (place < end[..., None])
    return inside & mask[:, None, :]


def cross_attention(queries: Tensor, values: Tensor, values_mask: Tensor) -> tuple[Tensor, Tensor]:
    """``softmax(X Yᵀ) Y ⊙ X`` (Ghosal et al., EMNLP 2018), padding masked.

    ``queries`` X and ``values`` Y [B, U, D], ``values_mask`` [B, U] → attended [B, U, D],
    weights [B, U, U] whose rows run over the utterances of ``values``. With X = Y this is the
    self-attention SA(X); with two modalities it is one half of the bi-modal attention BA(X, Y).
    """
    scores = torch.einsum("bud,bvd->buv", queries, values)
    weight = masked_softmax(scores, values_mask[:, None, :].expand_as(scores))
    attended = torch.einsum("buv,bvd->bud", weight, values)
    return attended * queries, weight


def with_positions(items: Tensor) -> Tensor:
    """``items`` [N, L, D] times √D plus sinusoidal positions (Vaswani et al. 2017); D is even."""
    length, size = items.shape[1:]
    exact = torch.promote_types(items.dtype, torch.float32)  # bfloat16 is too coarse for angles
    place = torch.arange(length, device=items.device, dtype=exact)
    even = torch.arange(0, size, 2, device=items.device, dtype=exact)
    angle = place[:, None] * torch.pow(10_000.0, -even / size)
    positions = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)
    return items * math.sqrt(size) + positions


class TransformerLayer(nn.Module):
    """``x + attention(x, y)``, then ``x + dense(ReLU(dense(x)))``, each of normalised input
    (pre-norm), with dropout on what is added.

    The projections of the attention have no bias: softmax cancels that of the keys.
    """

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.dense_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.query, self.key, self.value, self.out = (
            nn.Linear(size, size, bias=False) for _ in range(4)
        )
        self.first, self.second = nn.Linear(size, 2 * size), nn.Linear(2 * size, size)
        self.drop = nn.Dropout(dropout)

    def forward(self, items: Tensor, source: Tensor, present: Tensor | None = None) -> Tensor:
        """``items`` [N, L, D] attend to ``source`` [N, K, D] → [N, L, D]; nothing is added by a
        source that is not ``present`` [N]."""
        normed, others = self.attention_norm(items), self.attention_norm(source)
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(normed), self.key(others), self.value(others))
        )
        attended = nn.functional.scaled_dot_product_attention(query, key, value)
        added = self.out(attended.transpose(1, 2).flatten(2))
        if present is not None:
            added = added.masked_fill(~present[:, None, None], 0.0)
        items = items + self.drop(added)
        hidden = torch.relu(self.first(self.dense_norm(items)))
        changed: Tensor = items + self.drop(self.second(hidden))
        return changed


class EmbeddingNetwork(nn.Module):
    """Embeds one modality's utterances in the context of their video.

    Seo, Na, Kim, IEEE Access 2020: bidirectional GRU → dense → bidirectional GRU, dropout on
    each layer; the GRUs run over the utterances of a video, not over frames.
    """

    def __init__(self, size: int, config: ContextConfig) -> None:
        super().__init__()
        self.first = nn.GRU(size, config.first_gru, batch_first=True, bidirectional=True)
        self.dense = nn.Linear(2 * config.first_gru, config.dense)
        self.second = nn.GRU(config.dense, config.second_gru, batch_first=True, bidirectional=True)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, utterances: Tensor, present: Tensor, lengths: Tensor) -> Tensor:
        """``utterances`` [B, U, R], ``present`` [B, U], ``lengths`` [B] → [B, U, D].

        An utterance without this modality is zero in input and output, so that biases cannot
        contribute for a missing modality.
        """
        absent = ~present[..., None]
        utterances = utterances.masked_fill(absent, 0.0)
        hidden = self.drop(_run_packed(self.first, utterances, lengths))
        hidden = self.drop(torch.tanh(self.dense(hidden)))
        hidden = self.drop(_run_packed(self.second, hidden, lengths))
        masked: Tensor = hidden.masked_fill(absent, 0.0)
        return masked


def _run_packed(gru: nn.GRU, items: Tensor, lengths: Tensor) -> Tensor:
    packed = pack_padded_sequence(items, lengths.cpu(), batch_first=True, enforce_sorted=False)
    hidden, _ = gru(packed)
    unpacked, _ = pad_packed_sequence(hidden, batch_first=True, total_length=items.shape[1])
    return unpacked
