"""Facial movement of an utterance: how the face leaves the speaker's own neutral, over time.

Unlike the frame encoder it sees the order of frames, and no identity: the neutral is taken away.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avsent.networks.attention import FrameAttention
from avsent.networks.config import MovementConfig


class MovementEncoder(nn.Module):
    """Landmarks [N, T, P, 2] and neutral faces [N, P, 2] → representation [N, R]."""

    def __init__(self, config: MovementConfig) -> None:
        super().__init__()
        size = config.points * 2
        self.way = nn.BatchNorm1d(size, affine=False)
        layers: list[nn.Module] = []
        before = size
        for width in config.channels:
            layers += [
                nn.Conv1d(before, width, 3, padding=1),
                nn.ReLU(),
                nn.Dropout(config.dropout),
            ]
            before = width
        self.layers = nn.Sequential(*layers)
        self.attention = FrameAttention(before, config.attention, config.scale)
        self.out = nn.Linear(before, config.representation)

    def forward(self, landmarks: Tensor, mask: Tensor, neutral: Tensor) -> Tensor:
        """``landmarks`` [N, T, P, 2], ``mask`` [N, T], ``neutral`` [N, P, 2] → [N, R]."""
        n, frames = mask.shape
        way = (landmarks - neutral[:, None]).reshape(n, frames, -1)
        seen = self.way(way[mask])
        items = seen.new_zeros((n, frames, seen.shape[-1]))
        items[mask] = seen
        there = mask[:, None].to(items.dtype)
        items = items.transpose(1, 2)
        for layer in self.layers:
            # Padding stays 0 in every layer, as beyond the ends of a sequence of its own.
            items = layer(items) * there
        pooled, _ = self.attention(items.transpose(1, 2), mask)
        return torch.tanh(self.out(pooled))
