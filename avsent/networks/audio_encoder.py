"""Utterance encoder for voice: a fully convolutional network over the log-mel spectrogram.

Its output is a grid of frequency × time cells; attention pools the cells (FBP form), so speech
of any length gives one representation.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from avsent.networks.attention import FrameAttention, piece_masks
from avsent.networks.config import AudioEncoderConfig

TIME_STRIDE = 8
"""Spectrogram frames under one cell of the grid: the first three blocks halve the time axis."""
_TIME_HALVINGS = 3


class AudioEncoder(nn.Module):
    """Log-mel [N, mel, T] → representation [N, R] and attention over time.

    With ``pieces`` S > 1 (AVEF) the representation is [N, S·R]: S equal stretches of time one
    after the other, pooled apart.
    """

    def __init__(self, config: AudioEncoderConfig, pieces: int = 1) -> None:
        super().__init__()
        self.pieces = pieces
        blocks: list[nn.Module] = []
        before = 1
        for index, after in enumerate(config.channels):
            # The first block halves by its stride: most of the time would go into its full map.
            stride = 2 if index == 0 else 1
            blocks += [
                nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
            if index > 0:
                time = 2 if index < _TIME_HALVINGS else 1
                blocks.append(nn.MaxPool2d((2, time), ceil_mode=True))
            before = after
        self.blocks = nn.Sequential(*blocks)
        self.drop = nn.Dropout(config.dropout)
        self.attention = FrameAttention(before, config.attention, config.scale)
        self.out = nn.Linear(before, config.representation)

    def forward(
        self, log_mel: Tensor, lengths: Tensor, prosody: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """``log_mel`` [N, mel, T], valid frames ``lengths`` [N] → representation [N, R] and the
        attention per step of ``TIME_STRIDE`` frames [N, ceil(T / TIME_STRIDE)], summed over
        frequency; with several pieces their mean.

        ``prosody`` says nothing to it.
        """
        grid = self._grid(log_mel, lengths)
        n, channels, bands, steps = grid.shape
        valid_steps = torch.div(lengths + TIME_STRIDE - 1, TIME_STRIDE, rounding_mode="floor")
        mask = torch.arange(steps, device=grid.device)[None] < valid_steps[:, None]
        cells = self.drop(grid.permute(0, 3, 2, 1).reshape(n, steps * bands, channels))
        if self.pieces > 1:
            masks = piece_masks(mask, self.pieces).repeat_interleave(bands, dim=2)
            pooled, by_piece = self.attention.in_pieces(cells, masks)
            weight = by_piece.mean(dim=1)
        else:
            pooled, weight = self.attention(cells, mask.repeat_interleave(bands, dim=1))
        representation = torch.tanh(self.out(pooled)).reshape(n, -1)
        return representation, weight.view(n, steps, bands).sum(dim=-1)

    def _grid(self, log_mel: Tensor, lengths: Tensor) -> Tensor:
        """Cells [N, C, bands, steps] of every spectrogram.

        Batch norm makes something of padding, and the convolutions look over the end of the sound.
        Outside of training it stays 0 in every layer, as beyond the end of a sound of its own: the
        rest of a batch says nothing about an utterance.
        """
        grid = log_mel[:, None]
        if self.training or bool((lengths == log_mel.shape[2]).all()):
            return cast(Tensor, self.blocks(grid))
        valid = lengths
        grid = _cut(grid, valid)
        for layer in self.blocks:
            grid = layer(grid)
            if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
                step = cast(tuple[int, int], layer.stride)[1]
                valid = torch.div(valid + step - 1, step, rounding_mode="floor")
            elif isinstance(layer, nn.ReLU):
                grid = _cut(grid, valid)
        return grid


def _cut(grid: Tensor, lengths: Tensor) -> Tensor:
    """``grid`` [N, C, bands, T] with 0 from step ``lengths`` [N] on."""
    beyond = torch.arange(grid.shape[3], device=grid.device) >= lengths[:, None]
    return grid.masked_fill(beyond[:, None, None], 0.0)
