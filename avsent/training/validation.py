"""Outputs of a model on the validation part: the value of an epoch, predictions, calibration."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from avsent.errors import DatasetError
from avsent.model.checkpoint import Calibration
from avsent.model.decision import probabilities_of
from avsent.model.networks.target import TargetModel
from avsent.training import metrics
from avsent.training.dataset import Videos, batches, encoded
from avsent.training.evaluation import Predictions

TEMPERATURES = np.geomspace(0.5, 5.0, 91)
MIN_DEVIATION = 0.1
"""A handful of validation utterances may be predicted too well by chance."""


@torch.inference_mode()
def outputs_of(
    model: TargetModel, videos: Videos, device: torch.device, *, videos_at_once: int = 16
) -> NDArray[np.float64]:
    """Logits [V, U, C] (numbers: [V, U, 1]) of all ``videos``, as at prediction: not augmented,
    and checked by the guard of a model that has one. Padding holds arbitrary values."""
    was_training = model.training
    model.eval()
    size = 1 if model.config.real else len(model.config.labels)
    result = np.zeros((*videos.labels.shape, size))
    for rows in batches(videos, videos_at_once, 4096, None):
        output = model(model.check_modalities(encoded(model, videos, rows, device)).utterances)
        result[rows, : output.logits.shape[1]] = output.logits.double().cpu().numpy()
    model.train(was_training)
    return result


def validation(
    model: TargetModel, videos: Videos, select: str, device: torch.device
) -> tuple[float, dict[str, float]]:
    """The value that epochs are chosen by (more is better), and all measured figures by name.

    ``select``: "balanced_accuracy", "auc", "loss" or "mae"; "auto" is balanced accuracy, mean
    absolute error for numbers. Of equal values the smaller loss wins.
    """
    known = evaluable(model, videos)
    outputs = outputs_of(model, videos, device)[known]
    truth = videos.labels.numpy()[known]
    if model.config.real:
        mae = float(np.abs(outputs[:, 0] - truth).mean())
        return -mae, {"valid_mae": mae}
    classes = truth.astype(np.int64)
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss = float(-logs[np.arange(len(classes)), classes].mean())
    found = metrics.scores(classes, outputs.argmax(axis=1), len(model.config.labels))
    measured = {
        "valid_loss": loss,
        "valid_accuracy": found.accuracy,
        "valid_balanced_accuracy": found.balanced_accuracy,
    }
    auc = metrics.auc(classes, np.exp(logs))
    if auc is not None:
        measured["valid_auc"] = auc
    if select == "loss":
        return -loss, measured
    if select == "auc" and auc is not None:
        return auc - 1e-6 * loss, measured
    return found.balanced_accuracy - 1e-6 * loss, measured


def evaluable(model: TargetModel, videos: Videos) -> NDArray[np.bool_]:
    """Utterances [V, U] with a label and a modality that the model uses."""
    return _labelled(videos, model.config.modalities)


def _labelled(videos: Videos, modalities: Sequence[str]) -> NDArray[np.bool_]:
    present = torch.stack([videos.present[name] for name in modalities]).any(dim=0)
    both: NDArray[np.bool_] = (videos.known() & present).numpy()
    return both


def check_parts(train: Videos, valid: Videos, modalities: Sequence[str]) -> None:
    """Raise DatasetError if a part has no labelled utterance with one of the ``modalities``."""
    for name, videos in (("training", train), ("validation", valid)):
        if not _labelled(videos, modalities).any():
            raise DatasetError(
                f"no {name} utterance has a label and {' or '.join(modalities)}; add some"
            )


def predictions_of(
    model: TargetModel,
    videos: Videos,
    device: torch.device,
    calibration: Calibration | None = None,
) -> Predictions:
    """Predictions on every utterance with a label and one of the model's modalities."""
    model.to(device)
    known = evaluable(model, videos)
    outputs = torch.from_numpy(outputs_of(model, videos, device)[known])
    chosen = [videos.samples[v][u] for v, u in np.argwhere(known)]
    real = model.config.real
    return Predictions(
        keys=tuple(sample.key for sample in chosen),
        videos=tuple(sample.video for sample in chosen),
        speakers=tuple(sample.speaker for sample in chosen),
        labels=model.config.labels,
        truth=videos.labels.numpy()[known],
        probabilities=probabilities_of(outputs, calibration or Calibration(), real=real),
        values=outputs[:, 0].numpy() if real else None,
    )


def calibrate(model: TargetModel, videos: Videos, device: torch.device) -> Calibration:
    """Calibration of ``model`` on the labelled utterances of ``videos``."""
    known = evaluable(model, videos)
    outputs = outputs_of(model, videos, device)[known]
    truth = videos.labels.numpy()[known]
    if model.config.real:
        error = float(np.sqrt(np.mean((outputs[:, 0] - truth) ** 2)))
        return Calibration(deviation=max(error, MIN_DEVIATION))
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
