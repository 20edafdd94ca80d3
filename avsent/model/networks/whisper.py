"""The encoder of Whisper (Radford et al. 2022, OpenAI, MIT licence): a voice representation that
text taught, on speech of many languages.

Two convolutions over the log-mel spectrogram, then Transformer layers. Whisper pads every sound to
30 s; here it keeps its length, and one longer than ``WINDOW_FRAMES`` is cut into equal windows.
"""

import torch
from torch import Tensor, nn

from avsent.model.networks.config import WhisperConfig

WINDOW_FRAMES = 1_000
"""Mel frames (10 s) that are encoded together: the cost of attention grows with their square."""
STEP_FRAMES = 8
"""Mel frames under one step of the output (80 ms): four outputs of the Transformer."""
DYNAMIC_RANGE = 8.0  # decades below the loudest cell, as in Whisper's own front end
LOUDEST = 1.4
"""Value of the loudest cell: that of loud speech in Whisper's scale. Whisper does not normalise
the level; here it must not matter, as it depends on the microphone's gain."""


def whisper_input(power: Tensor) -> Tensor:
    """Mel power [..., mel, T] of one sound → Whisper's input [..., mel, T], free of the level."""
    logs = torch.log10(power.clamp_min(1e-10))
    logs = logs - logs.amax(dim=(-2, -1), keepdim=True)
    return logs.clamp_min(-DYNAMIC_RANGE) / 4 + LOUDEST


class WhisperEncoder(nn.Module):
    """Spectrograms → outputs of the upper layers, each the mean over steps of 80 ms."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv1d(config.mel_bands, config.size, 3, padding=1)
        self.conv2 = nn.Conv1d(config.size, config.size, 3, stride=2, padding=1)
        self.positions = nn.Parameter(torch.zeros(config.positions, config.size))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                config.size,
                config.heads,
                4 * config.size,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(config.layers)
        )
        self.requires_grad_(False)  # it is used as it is

    def forward(self, power: Tensor) -> Tensor:
        """Mel power [mel, T] of one sound → [steps, outputs, size], steps = ⌈T / 8⌉."""
        frames = whisper_input(power)
        windows = -(-frames.shape[1] // WINDOW_FRAMES)
        # Whole steps in each window, so that every step but the last covers 80 ms.
        length = -(-frames.shape[1] // (windows * STEP_FRAMES)) * STEP_FRAMES
        return torch.cat([self._window(part) for part in torch.split(frames, length, dim=1)])

    def _window(self, frames: Tensor) -> Tensor:
        hidden = nn.functional.gelu(self.conv1(frames[None]))
        hidden = nn.functional.gelu(self.conv2(hidden)).transpose(1, 2)
        hidden = hidden + self.positions[: hidden.shape[1]]
        found = []
        for number, layer in enumerate(self.layers, start=1):
            hidden = layer(hidden)
            if number >= self.config.kept:
                found.append(hidden[0])
        outputs = torch.stack(found).transpose(1, 2)  # [outputs, size, T / 2]
        pooled = nn.functional.avg_pool1d(outputs, STEP_FRAMES // 2, ceil_mode=True)
        return pooled.permute(2, 0, 1)
