"""From the network's outputs to probabilities of the labels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

HALF_STEP = 0.5
"""Sentiment nearer to 0 than this rounds to 0, which is neutral."""
MAX_SCALE, MAX_LOG_PRIOR = 1e4, 100.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """Probabilities are ``softmax(logits / temperature + log_prior)``.

    ``log_prior`` [C] shifts the classes: how common neutral is differs between corpora.
    ``deviation``: of a real-valued model's error, in units of the labels.
    """

    temperature: float = 1.0
    log_prior: tuple[float, ...] = ()
    deviation: float = 1.0


def check_calibration(calibration: Calibration, classes: int) -> None:
    """Raise ValueError where it gives no probabilities."""
    for name in ("temperature", "deviation"):
        if getattr(calibration, name) <= 0:
            raise ValueError(f"the {name} is not positive")
        if not 1 / MAX_SCALE <= getattr(calibration, name) <= MAX_SCALE:
            raise ValueError(f"the {name} is out of range")
    if max(map(abs, calibration.log_prior), default=0.0) > MAX_LOG_PRIOR:
        raise ValueError("log_prior is out of range")
    if len(calibration.log_prior) not in (0, classes):
        raise ValueError("log_prior does not have one number per label")


def probabilities_of(
    outputs: Tensor, calibration: Calibration, *, real: bool
) -> NDArray[np.float64]:
    """Probabilities [N, C] of the labels from ``outputs`` [N, C], or ``real`` [N, 1] numbers.

    Classes: ``softmax(logits / temperature + log_prior)``. Real-valued sentiment: the error of the
    number is taken as normal with the deviation it had on validation data; the probability of a
    label is the mass of that distribution over the numbers that round to the label.
    """
    if real:
        numbers = outputs[:, 0].double().numpy()
        below, above = (
            0.5
            * (1.0 + _erf((side * numbers - HALF_STEP) / calibration.deviation / math.sqrt(2.0)))
            for side in (-1, 1)
        )
        return np.stack([below, 1.0 - below - above, above], axis=1).clip(0.0, 1.0)
    logits = outputs.double() / calibration.temperature
    if calibration.log_prior:
        logits = logits + torch.tensor(calibration.log_prior, dtype=torch.float64)
    probabilities: NDArray[np.float64] = torch.softmax(logits, dim=-1).numpy()
    return probabilities


_erf = np.vectorize(math.erf, otypes=[np.float64])
