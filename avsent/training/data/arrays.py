"""Files of arrays (.npz): written atomically, read as untrusted input.

Arrays of different shapes (one per utterance) form a *column*: all their numbers one after the
other under ``<name>``, with ``<name>_offsets`` [N+1] and ``<name>_shapes`` [N, 3] (−1 for fewer
dimensions, all −1 for a missing array). Text is JSON in bytes. So no file holds Python objects, and
a file of 10,000 utterances has a dozen members.
"""

import json
import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from avsent.errors import DatasetError, OutputError
from avsent.files import atomic_path

Arrays = Mapping[str, NDArray[Any]]

MAX_DIMENSIONS = 3

_MAX_DEFLATION = 30
"""A file may unpack to 30 times its size (compressed features: 10 times at most) ..."""
_ALWAYS_BYTES = 128 * 1024**2  # ... or to this, which fits any machine
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # those that numpy writes
_UNREADABLE = (
    *(OSError, EOFError, ValueError, RuntimeError, MemoryError, OverflowError, TypeError),
    *(zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError, SyntaxError),
)
"""Raised by zipfile and numpy for damaged archives (RuntimeError: encrypted)."""


def save_arrays(target: Path, arrays: Arrays) -> None:
    """Write ``arrays`` to the .npz file ``target``; makes its folder. Raises OutputError if it
    cannot be written; then nothing is left behind, and an older file stays."""
    real = Path(os.path.realpath(target))
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"cannot write {target}: {reason}; choose another folder") from error
    with atomic_path(real) as temporary, temporary.open("xb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def array_names(path: Path) -> set[str]:
    """Names of the arrays in the .npz file ``path``. Raises DatasetError as ``load_arrays``."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except _UNREADABLE as error:
        raise _unusable(path, error) from error


def load_arrays(path: Path, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays ``names`` of the .npz file ``path``, by default all.

    The stated sizes are checked before memory is allocated: all arrays together may have at most 30
    times the size of the file, or 128 MB if that is more. Raises DatasetError if the file or an
    array is missing, damaged, or holds Python objects.
    """
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            held = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            left = max(_ALWAYS_BYTES, path.stat().st_size * _MAX_DEFLATION)
            for name in held if names is None else names:
                if name not in held:
                    raise DatasetError(
                        f"{path}: lacks the array {name!r}; give a feature file that has it"
                    )
                left -= held[name].file_size
                if left < 0:
                    raise ValueError(f"{name} is larger than a file of this size may hold")
                if held[name].compress_type not in _COMPRESSIONS:
                    raise ValueError(f"{name} is packed in a way that numpy does not use")
                arrays[name] = _read(archive, held[name], name)
    except _UNREADABLE as error:
        raise _unusable(path, error) from error
    return arrays


def pack_json(value: object) -> NDArray[np.uint8]:
    """``value`` as JSON in bytes."""
    return np.frombuffer(json.dumps(value).encode("ascii"), dtype=np.uint8)


def pack(
    name: str, items: Sequence[NDArray[Any] | None], dtype: DTypeLike = np.float32
) -> dict[str, NDArray[Any]]:
    """The column of ``items`` (at most three dimensions each, some missing)."""
    shapes = np.full((len(items), MAX_DIMENSIONS), -1, dtype=np.int64)
    for index, item in enumerate(items):
        if item is not None:
            shapes[index, : item.ndim] = item.shape
    flat = [np.zeros(0, dtype) if item is None else item.ravel() for item in items]
    return {
        name: np.concatenate([np.zeros(0, dtype), *flat]).astype(dtype),
        f"{name}_offsets": np.cumsum([0, *(part.size for part in flat)], dtype=np.int64),
        f"{name}_shapes": shapes,
    }


def unpack(name: str, arrays: Arrays, dtype: DTypeLike = np.float32) -> list[NDArray[Any] | None]:
    """The items given to :func:`pack`. Raises ValueError if the three arrays do not fit each other,
    are not of type ``dtype``, or hold a number that is not finite; KeyError if one is missing."""
    flat, offsets, shapes = (arrays[f"{name}{part}"] for part in ("", "_offsets", "_shapes"))
    if flat.ndim != 1 or flat.dtype != dtype or offsets.ndim != 1 or offsets.dtype != np.int64:
        raise ValueError(f"{name} has the wrong type")
    if shapes.dtype != np.int64 or shapes.shape != (len(offsets) - 1, MAX_DIMENSIONS):
        raise ValueError(f"{name} has the wrong shape")
    if offsets[0] != 0 or offsets[-1] != flat.size or (np.diff(offsets) < 0).any():
        raise ValueError(f"the offsets of {name} are wrong")
    if not np.isfinite(flat).all():
        raise ValueError(f"{name} holds values that are not finite")
    items: list[NDArray[Any] | None] = []
    for row, start, end in zip(shapes.tolist(), offsets, offsets[1:], strict=False):
        shape = [length for length in row if length >= 0]
        if row[: len(shape)] != shape or (not shape and start < end):
            raise ValueError(f"a shape of {name} is wrong")
        # ValueError where the shape does not fit.
        items.append(flat[start:end].reshape(shape) if shape else None)
    return items


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> NDArray[Any]:
    """One array; its header must state its true size, which numpy does not check."""
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise ValueError(f"{name} is of the unknown format {version}")
        if dtype.hasobject:
            raise ValueError(f"{name} holds Python objects")
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or size != info.file_size - file.tell():
            raise ValueError(f"{name} states another size than it has")
    if size == 0:
        return np.zeros(shape, dtype)
    with archive.open(info) as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def _unusable(path: Path, error: BaseException) -> DatasetError:
    if isinstance(error, FileNotFoundError):
        return DatasetError(f"{path}: no such file; check the name")
    if isinstance(error, OSError) and error.strerror:
        return DatasetError(f"{path}: cannot be read ({error.strerror}); check the file")
    reason = " ".join(str(error).split()) or type(error).__name__
    return DatasetError(f"{path}: damaged or no .npz file ({reason}); restore it or make it anew")
