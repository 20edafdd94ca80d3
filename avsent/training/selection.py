"""What a model makes of the validation part, and the one number an epoch is chosen by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from avsent.errors import DatasetError
from avsent.networks.target import TargetModel
from avsent.training import metrics
from avsent.training.videos import Videos, batches, encoded


@torch.inference_mode()
def outputs_of(
    model: TargetModel, videos: Videos, device: torch.device, *, videos_at_once: int = 16
) -> NDArray[np.float64]:
    """Logits [V, U, C] (numbers: [V, U, 1]) of all ``videos``, unchanged, as at prediction: a
    model with a guard checks them. They mean nothing on padding."""
    was_training = model.training
    model.eval()
    size = 1 if model.config.real else len(model.config.labels)
    result = np.zeros((*videos.labels.shape, size))
    for rows in batches(videos, videos_at_once, 4096, None):
        output = model(model.guarded(encoded(model, videos, rows, device)).utterances)
        result[rows, : output.logits.shape[1]] = output.logits.double().cpu().numpy()
    model.train(was_training)
    return result


def validation(
    model: TargetModel, videos: Videos, select: str, device: torch.device
) -> tuple[float, dict[str, float]]:
    """The value an epoch is chosen by (more is better), and all that was measured, by name.

    ``select``: "balanced_accuracy", "auc", "loss" or "mae"; "auto" is balanced accuracy, mean
    absolute error for numbers. Ties go to the smaller loss.
    """
    outputs = outputs_of(model, videos, device)
    known = judged(model, videos)
    truth = videos.labels.numpy()[known]
    if model.config.real:
        errors = np.abs(outputs[..., 0][known] - truth)
        mae = float(errors.mean())
        return -mae, {"valid_mae": mae}
    classes = truth.astype(np.int64)
    logits = outputs[known]
    shifted = logits - logits.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss = float(-logs[np.arange(len(classes)), classes].mean())
    found = metrics.scores(classes, logits.argmax(axis=1), len(model.config.labels))
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


def judged(model: TargetModel, videos: Videos) -> NDArray[np.bool_]:
    """Utterances [V, U] with a label and a modality that the model uses."""
    return usable(videos, model.config.modalities)


def usable(videos: Videos, modalities: Sequence[str]) -> NDArray[np.bool_]:
    """Utterances [V, U] with a label and one of the ``modalities``."""
    present = torch.stack([videos.present[name] for name in modalities]).any(dim=0)
    there: NDArray[np.bool_] = (videos.known() & present).numpy()
    return there


def check_parts(train: Videos, valid: Videos, modalities: Sequence[str]) -> None:
    """Raise DatasetError where there is nothing to learn from, or to choose an epoch by."""
    for name, videos in (("training", train), ("validation", valid)):
        if not usable(videos, modalities).any():
            raise DatasetError(
                f"no {name} utterance has a label and {' or '.join(modalities)}; add some"
            )
