"""A model's predictions on videos with labels, as probabilities that can be judged."""

from __future__ import annotations

import numpy as np
import torch

from avsent.calibration import probabilities_of
from avsent.checkpoints import Calibration
from avsent.networks.target import TargetModel
from avsent.training.evaluation import Predictions
from avsent.training.selection import judged, outputs_of
from avsent.training.videos import Videos


def predictions_of(
    model: TargetModel,
    videos: Videos,
    device: torch.device,
    calibration: Calibration | None = None,
) -> Predictions:
    """Predictions on every utterance with a label and one of the model's modalities."""
    model.to(device)
    outputs = outputs_of(model, videos, device)
    known = judged(model, videos)
    chosen = [videos.samples[v][u] for v, u in np.argwhere(known)]
    found = torch.from_numpy(outputs[known])
    real = model.config.real
    return Predictions(
        keys=tuple(sample.key for sample in chosen),
        videos=tuple(sample.video for sample in chosen),
        speakers=tuple(sample.speaker for sample in chosen),
        labels=model.config.labels,
        truth=videos.labels.numpy()[known],
        probabilities=probabilities_of(found, calibration or Calibration(), real=real),
        values=found[:, 0].numpy() if real else None,
    )
