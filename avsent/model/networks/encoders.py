"""Utterance encoders: each makes one vector of a sequence of any length, by attention over time.

Voice: convolutions over the log-mel spectrogram. Face: landmarks of each frame, their movement
away from the neutral face, and aligned crops. Ready-made vectors are standardised only.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from avsent.model.networks import config as configs
from avsent.model.networks.attention import FrameAttention, segment_masks

TIME_STRIDE = 8
"""Spectrogram frames under one cell of the grid: the first three blocks halve the time axis."""
_TIME_HALVINGS = 3


def _convolution(before: int, after: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(after), nn.ReLU()]


class AudioEncoder(nn.Module):
    """Fully convolutional network over log-mel [N, mel, T] → representation [N, R], weights.

    Attention pools its grid of frequency × time cells (FBP form). With ``segments`` S > 1 each of
    S equal segments of time is pooled alone, and the representation is [N, S·R].
    """

    def __init__(self, config: configs.AudioEncoderConfig, segments: int = 1) -> None:
        super().__init__()
        self.segments = segments
        blocks: list[nn.Module] = []
        before = 1
        for index, after in enumerate(config.channels):
            # The first block halves by stride, not by pooling: its full map would take most time.
            blocks += _convolution(before, after, stride=2 if index == 0 else 1)
            if index > 0:
                time = 2 if index < _TIME_HALVINGS else 1
                blocks.append(nn.MaxPool2d((2, time), ceil_mode=True))
            before = after
        self.blocks = nn.Sequential(*blocks)
        self.drop = nn.Dropout(config.dropout)
        self.attention = FrameAttention(before, config.attention, config.scale)
        self.out = nn.Linear(before, config.representation)

    def forward(self, log_mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """``log_mel`` [N, mel, T], valid frames ``lengths`` [N] → representation [N, S·R] and the
        attention per step of ``TIME_STRIDE`` frames [N, ceil(T / TIME_STRIDE)], summed over
        frequency, mean over segments."""
        grid = self._grid(log_mel, lengths)
        n, channels, bands, steps = grid.shape
        valid_steps = torch.div(lengths + TIME_STRIDE - 1, TIME_STRIDE, rounding_mode="floor")
        mask = torch.arange(steps, device=grid.device)[None] < valid_steps[:, None]
        cells = self.drop(grid.permute(0, 3, 2, 1).reshape(n, steps * bands, channels))
        masks = segment_masks(mask, self.segments).repeat_interleave(bands, dim=2)
        pooled, weight = self.attention(cells, masks)
        representation = torch.tanh(self.out(pooled)).reshape(n, -1)
        return representation, weight.mean(dim=1).view(n, steps, bands).sum(dim=-1)

    def _grid(self, log_mel: Tensor, lengths: Tensor) -> Tensor:
        """Cells [N, C, bands, steps] of every spectrogram.

        Batch norm makes padding non-zero, and convolutions would carry that into the last valid
        frames. Outside of training padding is therefore reset to 0 after each block, so an
        utterance gets the same representation in any batch.
        """
        grid = log_mel[:, None]
        if self.training or bool((lengths == log_mel.shape[2]).all()):
            return cast(Tensor, self.blocks(grid))
        valid = lengths
        grid = _zero_padding(grid, valid)
        for layer in self.blocks:
            grid = layer(grid)
            if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
                step = cast(tuple[int, int], layer.stride)[1]
                valid = torch.div(valid + step - 1, step, rounding_mode="floor")
            elif isinstance(layer, nn.ReLU):
                grid = _zero_padding(grid, valid)
        return grid


def _zero_padding(grid: Tensor, lengths: Tensor) -> Tensor:
    """``grid`` [N, C, bands, T] with 0 from step ``lengths`` [N] on."""
    beyond = torch.arange(grid.shape[3], device=grid.device) >= lengths[:, None]
    return grid.masked_fill(beyond[:, None, None], 0.0)


class MovementEncoder(nn.Module):
    """Temporal convolutions over the displacement of the landmarks from the neutral face."""

    def __init__(self, config: configs.MovementConfig) -> None:
        super().__init__()
        size = config.points * 2
        self.way = nn.BatchNorm1d(size, affine=False)
        layers: list[nn.Module] = []
        before = size
        for width in config.channels:
            convolution = nn.Conv1d(before, width, 3, padding=1)
            layers += [convolution, nn.ReLU(), nn.Dropout(config.dropout)]
            before = width
        self.layers = nn.Sequential(*layers)
        self.attention = FrameAttention(before, config.attention, config.scale)
        self.out = nn.Linear(before, config.representation)

    def forward(self, landmarks: Tensor, mask: Tensor, neutral: Tensor) -> Tensor:
        """``landmarks`` [N, T, P, 2], ``mask`` [N, T], ``neutral`` [N, P, 2] → [N, R]."""
        displacement = (landmarks - neutral[:, None]).flatten(start_dim=2)
        normed = self.way(displacement[mask])
        items = normed.new_zeros((*mask.shape, normed.shape[-1]))
        items[mask] = normed
        valid = mask[:, None].to(items.dtype)
        items = items.transpose(1, 2)
        for layer in self.layers:
            items = layer(items) * valid  # padding stays 0, as beyond the ends of a sequence
        pooled, _ = self.attention(items.transpose(1, 2), mask[:, None])
        return torch.tanh(self.out(pooled[:, 0]))


class PixelNetwork(nn.Module):
    """Convolutional network over aligned crops, from stills."""

    def __init__(self, config: configs.PixelConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = [*_convolution(1, config.stem), nn.MaxPool2d(2)]
        before = config.stem
        for index, width in enumerate(config.channels):
            if index > 0:
                layers.append(nn.MaxPool2d(2))
            layers += [*_convolution(before, width), *_convolution(width, width)]
            before = width
        self.blocks = nn.Sequential(*layers)
        self.drop = nn.Dropout(config.dropout)
        self.out = nn.Linear(before, config.classes)
        # On CPU a tenth faster, on a busy one a third.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pictures: Tensor) -> Tensor:
        """``pictures`` [N, H, W], each standardised → log probabilities [N, classes]."""
        features = self.blocks(pictures[:, None]).mean(dim=(2, 3))
        logits: Tensor = self.out(self.drop(features))
        return logits.float().log_softmax(dim=-1)


@dataclass(frozen=True, slots=True)
class FaceExtras:
    """Inputs of N face sequences besides their landmarks.

    ``neutral`` [N, P, 2]: the speakers' faces at rest; ``pixels`` [N, T, classes]: log
    probabilities of the pixel network, NaN in frames that it did not process.
    """

    neutral: Tensor | None = None
    pixels: Tensor | None = None


class FaceEncoder(nn.Module):
    """Dense layers on the normalised landmarks of each frame, attention over frames.

    With ``segments`` S > 1 each of S equal segments of the frames is pooled alone, and the
    representation is [N, S·R].
    """

    def __init__(self, config: configs.FaceEncoderConfig, segments: int = 1) -> None:
        super().__init__()
        self.segments = segments
        size = config.points * 2
        # Not affine: the training corpora set only the scale of each coordinate.
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
        """``landmarks`` [N, T, P, 2], ``mask`` [N, T] → representation [N, S·R] and the attention
        [N, T], mean over segments. ``extras`` are not used."""
        valid = self.frame(self.norm(landmarks.flatten(start_dim=2)[mask]))
        encoded = valid.new_zeros((*mask.shape, self.out.in_features))  # bfloat16 on a GPU
        encoded[mask] = valid
        pooled, weight = self.attention(encoded, segment_masks(mask, self.segments))
        return torch.tanh(self.out(pooled)).flatten(start_dim=1), weight.mean(dim=1)


LIMIT = 3.0
"""Standardised values are clipped here, else rare outliers of prosody outweigh all others."""


class VectorEncoder(nn.Module):
    """Vectors [N, R] → standardised [N, R], clipped at ±``LIMIT``.

    NaN (not known) becomes 0, the mean of the training data.
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
        # Dimensions never observed get infinite deviation, so they normalise to 0.
        deviation = torch.where(known.any(dim=0), deviation.clamp_min(1e-6), torch.inf)
        self.deviation.copy_(deviation)

    def forward(self, vectors: Tensor) -> Tensor:
        standardised: Tensor = (vectors - self.mean) / self.deviation
        return standardised.clamp(-LIMIT, LIMIT).nan_to_num(0.0)
