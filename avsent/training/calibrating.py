"""Calibration on the validation part: one temperature, or the spread of a number's error."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from avsent.checkpoints import Calibration
from avsent.networks.target import TargetModel
from avsent.training.selection import judged, outputs_of
from avsent.training.videos import Videos

TEMPERATURES = np.geomspace(0.5, 5.0, 91)
LEAST_DEVIATION = 0.1
"""A handful of validation utterances may be met by chance; no model is that sure."""


def calibrate(model: TargetModel, videos: Videos, device: torch.device) -> Calibration:
    """Calibration of ``model`` by the labelled utterances of ``videos``."""
    known = judged(model, videos)
    outputs = outputs_of(model, videos, device)[known]
    truth = videos.labels.numpy()[known]
    if model.config.real:
        error = float(np.sqrt(np.mean((outputs[:, 0] - truth) ** 2)))
        return Calibration(deviation=max(error, LEAST_DEVIATION))
    return Calibration(temperature=fit_temperature(outputs, truth.astype(np.int64)))


def fit_temperature(logits: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """The temperature with the least cross-entropy on ``logits`` [N, C]."""
    losses = [
        -np.log(softmax(logits / t)[np.arange(len(truth)), truth] + 1e-12).mean()
        for t in TEMPERATURES
    ]
    return float(TEMPERATURES[int(np.argmin(losses))])


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Softmax over the last axis."""
    weight = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float64] = weight / weight.sum(axis=-1, keepdims=True)
    return probabilities
