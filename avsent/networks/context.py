"""Embedding network over the utterances of a video: BiGRU → dense → BiGRU (HMTL)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from avsent.networks.config import ContextConfig


class EmbeddingNetwork(nn.Module):
    """One modality's utterance representations in the light of their neighbours.

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

        An utterance without this modality enters as zeros and leaves as zeros, so that a
        modality that is missing everywhere cannot speak through biases.
        """
        absent = ~present[..., None]
        utterances = utterances.masked_fill(absent, 0.0)
        hidden = self.drop(_over_utterances(self.first, utterances, lengths))
        hidden = self.drop(torch.tanh(self.dense(hidden)))
        hidden = self.drop(_over_utterances(self.second, hidden, lengths))
        masked: Tensor = hidden.masked_fill(absent, 0.0)
        return masked


def _over_utterances(gru: nn.GRU, items: Tensor, lengths: Tensor) -> Tensor:
    packed = pack_padded_sequence(items, lengths.cpu(), batch_first=True, enforce_sorted=False)
    hidden, _ = gru(packed)
    unpacked, _ = pad_packed_sequence(hidden, batch_first=True, total_length=items.shape[1])
    return unpacked
