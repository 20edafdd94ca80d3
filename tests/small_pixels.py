"""A small pixel network, pictures that it learns in a moment, and a training that breaks off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avsent.data.fer2013 import FerImages
from avsent.networks.config import PixelConfig
from avsent.networks.pixel_network import PixelMember
from avsent.training.pixel_training import PixelTraining, train_member

TINY = PixelConfig(members=1, stem=4, channels=(8,), classes=2, dropout=0.1)
QUICK = PixelTraining(network=TINY, epochs=3, small_epochs=1, batch=20)


def bright_halves(count: int, seed: int = 0) -> FerImages:
    """Noisy pictures, brighter in their upper (class 0) or lower half (class 1).

    Not left and right: a face means the same in the mirror, so copies are mirrored at random.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = rng.normal(90, 25, (count, 48, 48))
    for image, label in zip(images, labels, strict=True):
        image[24 * label : 24 * (label + 1)] += 70
    numbers = np.arange(count)
    return FerImages(images.clip(0, 255).astype(np.uint8), labels, ("upper", "lower"), numbers)


def weights(member: PixelMember) -> dict[str, bytes]:
    return {
        name: value.detach().contiguous().numpy().tobytes()
        for name, value in member.state_dict().items()
    }


class CutOffError(Exception):
    """Power failed."""


def cut_off_after(
    epoch: int, state: Path, settings: PixelTraining = QUICK, images: FerImages | None = None
) -> None:
    """Train with seed 7, and break off when that many epochs are done."""

    def say(line: str) -> None:
        if f"epoch {epoch} of" in line:
            raise CutOffError

    with pytest.raises(CutOffError):
        train_member(images or bright_halves(60), 7, settings, state, say)
