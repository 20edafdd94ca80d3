"""Utterance encoder for faces: every frame's landmarks alone, then attention over the frames.

Frames are encoded one by one on purpose: what a single frame shows carries over to other
cameras and to stills, what changes between frames measures the camera as much as the face.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avsent.networks.attention import FrameAttention, piece_masks
from avsent.networks.config import FaceEncoderConfig


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
