"""Embeddings of target and source before and after transfer, for the figure of their spaces."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor

from avsent.errors import InputError
from avsent.files import write_bytes
from avsent.model.networks.target import TargetModel
from avsent.training.dataset import Videos, batches, encoded
from avsent.training.trainer import Teacher

_FIELDS = ("before", "after", "source", "classes")


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingSpace:
    """Embeddings [N, D] of the same N training utterances: of the target ``before`` and ``after``
    training, of the ``source``; and the class of each [N]."""

    before: NDArray[np.float32]
    after: NDArray[np.float32]
    source: NDArray[np.float32]
    classes: NDArray[np.int64]


@torch.no_grad()  # not inference_mode: its tensors could not take part in training
def embeddings_of(model: TargetModel, videos: Videos, device: torch.device) -> dict[str, Tensor]:
    """Embeddings [V, U, D] of ``videos``, by modality."""
    model.to(device).eval()
    size = 2 * model.config.context.second_gru
    result = {name: torch.zeros(*videos.labels.shape, size) for name in model.config.modalities}
    for rows in batches(videos, 16, 4096, None):
        embedded = model.embed(encoded(model, videos, rows, device))
        for name, value in embedded.values.items():
            result[name][rows, : value.shape[1]] = value.float().cpu()
    return result


def embedding_spaces(
    model: TargetModel,
    videos: Videos,
    before: dict[str, Tensor],
    teacher: Teacher | None,
    device: torch.device,
) -> dict[str, EmbeddingSpace]:
    """The spaces by target modality; empty without a teacher."""
    if teacher is None:
        return {}
    source = teacher.for_epoch(0)
    after = embeddings_of(model, videos, device)
    spaces = {}
    for name in model.config.modalities:
        used = source.present & videos.present[name] & videos.known()
        if int(used.sum()) < 2:
            continue
        labels = videos.labels[used].numpy()
        if model.config.real:  # the three polarities
            labels = np.select([labels < 0, labels > 0], [0, 2], 1)
        spaces[name] = EmbeddingSpace(
            before=before[name][used].numpy(),
            after=after[name][used].numpy(),
            source=source.embeddings[used].numpy(),
            classes=np.asarray(labels, dtype=np.int64),
        )
    return spaces


def write_spaces(path: Path, spaces: Mapping[str, EmbeddingSpace]) -> None:
    """Write the spaces, so that their figure can be drawn again; no file if there are none.

    Raises:
        OutputError: the file cannot be written.
    """
    if not spaces:
        return
    arrays = {
        f"{modality}/{name}": np.ascontiguousarray(getattr(space, name))
        for modality, space in spaces.items()
        for name in _FIELDS
    }
    write_bytes(path, save(arrays))


def read_spaces(path: Path) -> dict[str, EmbeddingSpace] | None:
    """The spaces that :func:`write_spaces` wrote; None if there is no such file.

    Raises:
        InputError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        arrays = load(path.read_bytes())
        names = sorted({key.partition("/")[0] for key in arrays})
        spaces = {n: EmbeddingSpace(*(arrays[f"{n}/{field}"] for field in _FIELDS)) for n in names}
        for space in spaces.values():
            shapes = {space.before.shape, space.after.shape, space.source.shape}
            if len(shapes) != 1 or len(space.before) != len(space.classes):
                raise ValueError(f"embeddings of shapes {shapes}")
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path}: damaged; restore it, or train again") from error
    return spaces
