"""What a network puts out → probabilities of the labels."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avsent.model.checkpoint import Calibration

HALF_STEP = 0.5
"""Sentiment nearer to 0 than this rounds to 0, which is neutral."""


def probabilities_of(
    outputs: Tensor, calibration: Calibration, *, real: bool
) -> NDArray[np.float64]:
    """Probabilities [N, C] of the labels from ``outputs`` [N, C], or ``real`` [N, 1] numbers.

    Classes: ``softmax(logits / temperature + log_prior)``. Real-valued sentiment: the number's
    error is taken as normal with the deviation it had on validation data; a label's probability
    is the share of that bell over the numbers that round to it.
    """
    if real:
        return _of_numbers(outputs[:, 0].double().numpy(), calibration.deviation)
    logits = outputs.double() / calibration.temperature
    if calibration.log_prior:
        logits = logits + torch.tensor(calibration.log_prior, dtype=torch.float64)
    probabilities: NDArray[np.float64] = torch.softmax(logits, dim=-1).numpy()
    return probabilities


def _of_numbers(numbers: NDArray[np.float64], deviation: float) -> NDArray[np.float64]:
    below = np.array([_bell((-HALF_STEP - number) / deviation) for number in numbers])
    above = np.array([_bell((number - HALF_STEP) / deviation) for number in numbers])
    return np.stack([below, 1.0 - below - above, above], axis=1).clip(0.0, 1.0)


def _bell(z: float) -> float:
    """Share of the standard normal distribution below ``z``."""
    return 0.5 * (1.0 + math.erf(z / math.sqrt(2.0)))
