"""Embedding spaces of target and source before and after transfer, for the picture of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

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


class Projection(NamedTuple):
    """``centre`` [D], two ``axes`` [D, 2] of length 1, their ``shares`` of the variance [2]."""

    centre: NDArray[np.float64]
    axes: NDArray[np.float64]
    shares: NDArray[np.float64]

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points [N, D] as [N, 2]."""
        projected: NDArray[np.float64] = (points - self.centre) @ self.axes
        return projected


def principal_axes(points: NDArray[np.float64]) -> Projection:
    """The two directions in which ``points`` [N, D], D ≥ 2, spread the most.

    Each axis points to where its largest part is positive, as the sign is arbitrary.
    """
    centre = points.mean(axis=0)
    # The scatter matrix is small, [D, D], however many points there are.
    sizes, axes = np.linalg.eigh((points - centre).T @ (points - centre))
    sizes, axes = np.maximum(sizes[::-1], 0), axes[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    return Projection(centre, axes, sizes[:2] / max(sizes.sum(), np.finfo(float).tiny))


_FIELDS = ("before", "after", "source", "classes")


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """Embeddings [N, D] of the same N training utterances: the target's before it learnt anything
    and after, the source's; and the class of each [N]."""

    before: NDArray[np.float32]
    after: NDArray[np.float32]
    source: NDArray[np.float32]
    classes: NDArray[np.int64]


@torch.inference_mode()
def target_embeddings(
    model: TargetModel, videos: Videos, device: torch.device
) -> dict[str, Tensor]:
    """Embeddings [V, U, D] of ``videos``, by modality."""
    model.to(device).eval()
    size = 2 * model.config.context.second_gru
    result = {name: torch.zeros(*videos.labels.shape, size) for name in model.config.modalities}
    for rows in batches(videos, 16, 4096, None):
        embedded = model.embed(encoded(model, videos, rows, device))
        for name, value in embedded.values.items():
            result[name][rows, : value.shape[1]] = value.float().cpu()
    return result


def spaces_of(
    model: TargetModel,
    videos: Videos,
    before: dict[str, Tensor],
    teacher: Teacher | None,
    device: torch.device,
) -> dict[str, Space]:
    """The spaces by target modality; empty without a teacher."""
    if teacher is None:
        return {}
    taught = teacher.for_epoch(0)
    after = target_embeddings(model, videos, device)
    spaces = {}
    for name in model.config.modalities:
        used = taught.there & videos.present[name] & videos.known()
        if int(used.sum()) < 2:
            continue
        labels = videos.labels[used]
        spaces[name] = Space(
            before=before[name][used].numpy(),
            after=after[name][used].numpy(),
            source=taught.embeddings[used].numpy(),
            classes=_classes(labels, model.config.real),
        )
    return spaces


def keep_spaces(path: Path, spaces: Mapping[str, Space]) -> None:
    """Write the spaces, so that their picture can be drawn anew; nothing where there are none.

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


def load_spaces(path: Path) -> dict[str, Space] | None:
    """The spaces that :func:`keep_spaces` wrote; None where there is no such file.

    Raises:
        InputError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        arrays = load(path.read_bytes())
        names = sorted({key.partition("/")[0] for key in arrays})
        spaces = {n: Space(*(arrays[f"{n}/{field}"] for field in _FIELDS)) for n in names}
        for space in spaces.values():
            shapes = {space.before.shape, space.after.shape, space.source.shape}
            if len(shapes) != 1 or len(space.before) != len(space.classes):
                raise ValueError(f"embeddings of shapes {shapes}")
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path}: damaged; restore it, or train again") from error
    return spaces


def _classes(labels: Tensor, real: bool) -> NDArray[np.int64]:
    numbers = labels.numpy()
    if real:  # the three polarities
        numbers = np.select([numbers < 0, numbers > 0], [0, 2], 1)
    return np.asarray(numbers, dtype=np.int64)
