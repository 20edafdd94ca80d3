"""Arrays of many shapes as a few flat ones, as a .npz file holds them best."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_DIMENSIONS = 3


def pack(name: str, items: Sequence[NDArray[np.float32] | None]) -> dict[str, NDArray[Any]]:
    """Arrays of any shapes as one flat array, offsets and shapes."""
    shapes = np.full((len(items), MAX_DIMENSIONS), -1, dtype=np.int64)
    for index, item in enumerate(items):
        if item is not None:
            shapes[index, : item.ndim] = item.shape
    flat = [np.zeros(0, dtype=np.float32) if item is None else item.ravel() for item in items]
    return {
        name: np.concatenate([np.zeros(0, dtype=np.float32), *flat]).astype(np.float32),
        f"{name}_offsets": np.cumsum([0, *(part.size for part in flat)], dtype=np.int64),
        f"{name}_shapes": shapes,
    }


def unpack(name: str, arrays: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float32] | None]:
    """What :func:`pack` was given.

    Raises:
        ValueError: the three arrays do not fit each other.
    """
    flat, offsets = arrays[name], arrays[f"{name}_offsets"]
    shapes = arrays[f"{name}_shapes"]
    if flat.ndim != 1 or flat.dtype != np.float32 or offsets.ndim != 1 or not len(offsets):
        raise ValueError(f"{name} has the wrong type")
    if offsets.dtype != np.int64:
        raise ValueError(f"{name} has the wrong type")
    if shapes.dtype != np.int64 or shapes.shape != (len(offsets) - 1, MAX_DIMENSIONS):
        raise ValueError(f"{name} has the wrong shape")
    if offsets[0] != 0 or offsets[-1] != flat.size or (np.diff(offsets) < 0).any():
        raise ValueError(f"the offsets of {name} are wrong")
    if not np.isfinite(flat).all():
        raise ValueError(f"{name} holds values that are not finite")
    items: list[NDArray[np.float32] | None] = []
    for index, row in enumerate(shapes):
        shape = [int(length) for length in row if length >= 0]
        part = flat[offsets[index] : offsets[index + 1]]
        if row[: len(shape)].tolist() != shape or (not shape and part.size):
            raise ValueError(f"a shape of {name} is wrong")
        items.append(part.reshape(shape) if shape else None)  # ValueError where it does not fit
    return items


def pack_json(value: object) -> NDArray[np.uint8]:
    """``value`` as JSON in bytes: text of any length and script, without Python objects."""
    return np.frombuffer(json.dumps(value).encode("ascii"), dtype=np.uint8)
