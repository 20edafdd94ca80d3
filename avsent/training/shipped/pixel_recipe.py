"""How the shipped pixel network is made: two teachers, then one pupil that is as small as they.

One teacher saw strongly changed pictures to the end, the other slightly changed ones from the
middle on; what both say of a picture and of its mirror image is more often right than either, and
the pupil learns it. Together they would cost four times as much at every prediction.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avsent.data.fer2013 import FerImages, read_fer2013_images
from avsent.data.npz import load_arrays, save_arrays
from avsent.errors import DatasetError
from avsent.networks.pixel_network import PixelMember, PixelNetwork
from avsent.training.pixel_training import (
    PixelTraining,
    make_network,
    train_member,
    what_teachers_say,
)
from avsent.training.shipped.workshop import Workshop

TEACHERS = (
    (0, PixelTraining(strong_epochs=50)),
    (1, PixelTraining()),
)
"""Seed and settings of each."""
PUPIL = (2, PixelTraining(epochs=60, small_epochs=24, strong_epochs=30, light=0.5))


def pixel_network(shop: Workshop) -> PixelNetwork:
    """The pupil, taught by all of FER2013's training part.

    Raises:
        DatasetError: FER2013 is missing or unreadable.
    """
    if shop.jobs > 1:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(shop.jobs, mp_context=context) as pool:
            for done in [
                pool.submit(_teacher, seed, training, shop.data, shop.cache)
                for seed, training in TEACHERS
            ]:
                done.result()
    images = read_fer2013_images(shop.data / "fer2013", "train")
    teachers = [_teacher(seed, training, shop.data, shop.cache) for seed, training in TEACHERS]
    seed, training = PUPIL
    said = _said(teachers, images, shop.cache)
    pupil = train_member(images, seed, training, _file(shop.cache, seed), shop.say, said)
    return make_network([pupil], dataclasses.replace(training.network, members=1))


def _said(teachers: list[PixelMember], images: FerImages, cache: Path) -> NDArray[np.float32]:
    """What the teachers say of ``images``, kept in ``cache``: it takes minutes."""
    digest = hashlib.sha256(images.images.tobytes())
    for teacher in teachers:
        for tensor in teacher.state_dict().values():
            digest.update(tensor.contiguous().numpy().tobytes())
    kept = cache / f"pixel-teachers-{digest.hexdigest()[:12]}.npz"
    with contextlib.suppress(DatasetError):  # not there, or damaged: made anew
        return np.asarray(load_arrays(kept, ("said",))["said"], dtype=np.float32)
    said = what_teachers_say(teachers, TEACHERS[0][1].network, images.images)
    save_arrays(kept, {"said": said})
    return said


def _teacher(seed: int, training: PixelTraining, data: Path, cache: Path) -> PixelMember:
    torch.set_num_threads(1)
    images = read_fer2013_images(data / "fer2013", "train")
    return train_member(images, seed, training, _file(cache, seed))


def _file(cache: Path, seed: int) -> Path:
    return cache / f"pixels-{seed}.safetensors"
