"""Utterance encoder for voice: a fully convolutional network over the log-mel spectrogram.

Its output is a grid of frequency × time cells; attention pools the cells (FBP form), so speech
of any length gives one representation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from avsent.model.networks.attention import FrameAttention, piece_masks
from avsent.model.networks.config import (
    AudioEncoderConfig,
    FaceEncoderConfig,
    MovementConfig,
    PixelConfig,
)

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


class PixelMember(nn.Module):
    """One convolutional network: pictures [N, 48, 48] → features [N, channels[-1]]."""

    def __init__(self, config: PixelConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = [*_block(1, config.stem), nn.MaxPool2d(2)]
        before = config.stem
        for index, width in enumerate(config.channels):
            if index > 0:
                layers.append(nn.MaxPool2d(2))
            layers += [*_block(before, width), *_block(width, width)]
            before = width
        self.blocks = nn.Sequential(*layers)
        self.drop = nn.Dropout(config.dropout)
        self.out = nn.Linear(before, config.classes)
        # Faster on a processor: by a tenth, by a third on a busy one.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """``pictures`` [N, H, W], each standardised → features [N, F] and logits [N, classes]."""
        features = self.blocks(pictures[:, None]).mean(dim=(2, 3))
        return features, self.out(self.drop(features))


class PixelNetwork(nn.Module):
    """The members together."""

    def __init__(self, config: PixelConfig) -> None:
        super().__init__()
        self.config = config
        self.members = nn.ModuleList(PixelMember(config) for _ in range(config.members))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """``pictures`` [N, H, W], each standardised → features [N, members · F] and the mean of
        the members' log probabilities [N, classes]."""
        seen = [member(pictures) for member in self.members]
        features = torch.cat([features for features, _ in seen], dim=-1)
        votes = torch.stack([functional.log_softmax(logits, dim=-1) for _, logits in seen])
        return features, votes.mean(dim=0)


def _block(before: int, after: int) -> list[nn.Module]:
    return [
        nn.Conv2d(before, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    ]


@dataclass(frozen=True, slots=True)
class FaceExtras:
    """What is known of N face sequences besides their landmarks.

    ``neutral`` [N, P, 2]: the speakers' faces at rest; ``looks`` [N, T, 7]: log probabilities of
    the pixel network, NaN in frames that it did not look at.
    """

    neutral: Tensor | None = None
    looks: Tensor | None = None


class FaceEncoder(nn.Module):
    """Normalised landmarks [N, T, P, 2] → representation [N, R] and attention over frames.

    With ``pieces`` S > 1 (AVEF) the representation is [N, S·R]: S equal stretches of the frames
    one after the other, pooled apart; the attention is then their mean.
    """

    def __init__(self, config: FaceEncoderConfig, pieces: int = 1) -> None:
        super().__init__()
        self.pieces = pieces
        size = config.points * 2
        # Without scale and shift of its own: the training corpora fix the scale of each
        # coordinate, nothing else.
        self.norm = nn.BatchNorm1d(size, affine=False)
        layers: list[nn.Module] = []
        for width in config.hidden:
            layers += [nn.Linear(size, width), nn.ReLU(), nn.Dropout(config.dropout)]
            size = width
        self.frame = nn.Sequential(*layers)
        self.attention = FrameAttention(size, config.attention, config.scale)
        self.out = nn.Linear(size, config.representation)

    def forward(
        self, landmarks: Tensor, mask: Tensor, extras: FaceExtras | None = None
    ) -> tuple[Tensor, Tensor]:
        """``landmarks`` [N, T, P, 2], ``mask`` [N, T] → representation [N, R], weights [N, T].

        ``extras`` say nothing to it.
        """
        n, frames = mask.shape
        flat = landmarks.reshape(n, frames, -1)
        seen = self.frame(self.norm(flat[mask]))
        encoded = seen.new_zeros((n, frames, self.out.in_features))  # bfloat16 on a GPU
        encoded[mask] = seen
        if self.pieces > 1:
            pooled, by_piece = self.attention.in_pieces(encoded, piece_masks(mask, self.pieces))
            weight = by_piece.mean(dim=1)
        else:
            pooled, weight = self.attention(encoded, mask)
        return torch.tanh(self.out(pooled)).reshape(n, -1), weight


LIMIT = 3.0
"""Standardised values are cut off here: without it the rare outliers of prosody drown the rest."""


class VectorEncoder(nn.Module):
    """Vectors [N, R] → standardised [N, R], cut off at ±``LIMIT``.

    NaN is a value that is not known: it becomes 0, the mean of the training data.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))

    def fit(self, vectors: Tensor) -> None:
        """Take mean and deviation from the training ``vectors`` [N, R]."""
        known = ~vectors.isnan()
        count = known.sum(dim=0).clamp_min(1)
        mean = vectors.nan_to_num().sum(dim=0) / count
        apart = torch.where(known, vectors - mean, torch.zeros_like(vectors))
        deviation = (apart.square().sum(dim=0) / count).sqrt()
        self.mean.copy_(mean)
        # Of what was never known nothing can be said.
        deviation = torch.where(known.any(dim=0), deviation.clamp_min(1e-6), torch.inf)
        self.deviation.copy_(deviation)

    def forward(self, vectors: Tensor) -> Tensor:
        standardised: Tensor = (vectors - self.mean) / self.deviation
        return standardised.clamp(-LIMIT, LIMIT).nan_to_num(0.0)
