"""Whether a trained model tells utterances apart at all: if not, ``avsent train`` says so.

A learning rate or an adversarial weight that is too large drives the GRUs of the embedding networks
to their limits, where what goes in no longer matters. Such a model still decides, for the same
class everywhere, and its accuracy may look like that of a weak one.
"""

from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avsent.model.checkpoint import Calibration
from avsent.model.networks.target import TargetModel
from avsent.training.dataset import Videos, batches, encoded
from avsent.training.evaluation import predictions_of
from avsent.training.splits import SeedData

LEAST_EFFECT = 1e-4
"""Embeddings that another utterance's input changes by less than this share of their length are
the same. Measured on CMU-MOSI and synthetic data: 0.001 and more before training, 0.005 and more
after it, below 0.00002 if it collapsed."""
LEAST_MISSED = 5
"""A decision for one class everywhere counts if so many utterances are of others: a model that
recognised every second of them would miss all in 1 of 32 cases."""


def find_collapse(
    model: TargetModel, data: SeedData, device: torch.device, calibration: Calibration
) -> dict[str, Any]:
    """What collapsed, measured on the validation part, or on the training part without one; empty
    if nothing did.

    ``embeddings``: the modalities whose embeddings are the same for all utterances; ``decision``:
    the class that is decided for everywhere, else None; ``part``: "validation" or "training".
    """
    part, videos = "validation", data.valid
    if not videos.usable(model.config.modalities).any():
        part, videos = "training", data.train
    effects = input_effects(model, videos, device)
    same = [modality for modality, effect in effects.items() if effect < LEAST_EFFECT]
    predictions = predictions_of(model, videos, device, calibration)
    decided = np.unique(predictions.probabilities.argmax(axis=1))
    missed = int((predictions.class_truth() != decided[0]).sum())
    constant = len(decided) == 1 and missed >= LEAST_MISSED
    if not same and not constant:
        return {}
    decision = predictions.labels[int(decided[0])] if constant else None
    return {"embeddings": same, "decision": decision, "part": part}


@torch.no_grad()
def input_effects(model: TargetModel, videos: Videos, device: torch.device) -> dict[str, float]:
    """By modality, how far embeddings move if each utterance gets the input of another one, as a
    share of their length; modalities of fewer than two utterances are left out.

    The plain variance between utterances would not do: embeddings also depend on the place of an
    utterance in its video, even if the input has no effect.
    """
    model.to(device).eval()
    moved, length = defaultdict[str, float](float), defaultdict[str, float](float)

    def square(values: Tensor) -> float:
        return float(values.double().square().sum())

    for rows in batches(videos, 16, 4096, None):
        utterances = encoded(model, videos, rows, device)
        swapped = {name: values.clone() for name, values in utterances.values.items()}
        for name, there in utterances.present.items():
            swapped[name][there] = swapped[name][there].roll(1, dims=0)
        own = model.embed(utterances).values
        other = model.embed(replace(utterances, values=swapped)).values
        for name, there in utterances.present.items():
            if int(there.sum()) > 1:
                moved[name] += square((own[name] - other[name])[there]) / 2
                length[name] += square(own[name][there])
    return {name: float(np.sqrt(moved[name] / max(length[name], 1e-300))) for name in moved}
