"""Sequences of different length → one tensor and what of it is real."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def pad_log_mels(log_mels: list[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    """Spectrograms [mel, N_i] → padded [B, mel, max N] and lengths [B]."""
    lengths = [log_mel.shape[1] for log_mel in log_mels]
    padded = np.zeros((len(log_mels), log_mels[0].shape[0], max(lengths)), dtype=np.float32)
    for row, log_mel in zip(padded, log_mels, strict=True):
        row[:, : log_mel.shape[1]] = log_mel
    return torch.from_numpy(padded), torch.tensor(lengths)


def pad_faces(sequences: list[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    """Landmarks [T_i, P, 2] → padded [B, max T, P, 2] and mask [B, max T]."""
    longest = max(len(sequence) for sequence in sequences)
    padded = np.zeros((len(sequences), longest, *sequences[0].shape[1:]), dtype=np.float32)
    mask = np.zeros((len(sequences), longest), dtype=bool)
    for row, sequence in enumerate(sequences):
        padded[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = True
    return torch.from_numpy(padded), torch.from_numpy(mask)
