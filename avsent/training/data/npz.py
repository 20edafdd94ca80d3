"""Files of arrays: written whole or not at all, read without trusting their own word."""

from __future__ import annotations

import os
import secrets
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from avsent.errors import DatasetError, OutputError

Arrays = Mapping[str, NDArray[Any]]

_MAX_DEFLATION = 30
"""Features are packed to a tenth at best, and a file may not give much more than it holds..."""
_ALWAYS_BYTES = 128 * 1024**2
"""...beyond what any machine has room for."""
_PART_BYTES = 2**20
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What numpy writes."""


def save_arrays(target: Path, arrays: Arrays, *, compress: bool = False) -> None:
    """Write ``arrays`` to the .npz file ``target``, whose folder is made where there is none.

    Raises:
        OutputError: it cannot be written; then nothing is left behind, and an older file stays.
    """
    real = Path(os.path.realpath(target))
    temporary = real.with_name(f".avsent-{secrets.token_hex(6)}.tmp")
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                save = np.savez_compressed if compress else np.savez
                save(file, allow_pickle=False, **arrays)
            os.replace(temporary, real)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write {target}: {reason}; choose another folder") from error


def array_names(path: Path) -> set[str]:
    """Names of the arrays in the .npz file ``path``. Raises DatasetError as ``load_arrays``."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except _UNREADABLE as error:
        raise _unusable(path, error) from error


def load_arrays(path: Path, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays ``names`` of the .npz file ``path``, by default all.

    The sizes that they state are held against that of the file before memory is taken: together
    at most 30 times as much, or 128 MB.

    Raises:
        DatasetError: the file or an array is missing, damaged, or holds Python objects.
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
                if held[name].compress_type not in _PACKINGS:
                    raise ValueError(f"{name} is packed in a way that numpy does not use")
                with archive.open(held[name]) as file:
                    arrays[name] = _read(file, name, held[name].file_size)
    except _UNREADABLE as error:
        raise _unusable(path, error) from error
    return arrays


_UNREADABLE = (
    *(OSError, EOFError, ValueError, RuntimeError, MemoryError, OverflowError, TypeError),
    *(zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError, SyntaxError),
)
"""What damaged archives make zipfile and numpy raise (RuntimeError: encrypted)."""


def _read(file: IO[bytes], name: str, size: int) -> NDArray[Any]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"{name} is of the unknown format {version}")
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects")
    count = 1
    for length in shape:
        count *= length
    left = size - file.tell()
    if min(shape, default=0) < 0 or count * dtype.itemsize != left:
        raise ValueError(f"{name} states another size than it has")
    data = bytearray(left)
    if _fill(data, file) != left:
        raise ValueError(f"{name} breaks off")
    if dtype.itemsize == 0 or count == 0:
        return np.zeros(shape, dtype)
    array = np.frombuffer(data, dtype)
    return array.reshape(shape, order="F" if fortran else "C")


def _fill(data: bytearray, file: IO[bytes]) -> int:
    """Read into ``data`` until it is full or the file ends, without a second copy; how much."""
    done = 0
    while part := file.read(min(_PART_BYTES, len(data) - done)):
        data[done : done + len(part)] = part
        done += len(part)
    return done


def _unusable(path: Path, error: BaseException) -> DatasetError:
    if isinstance(error, FileNotFoundError):
        return DatasetError(f"{path}: no such file; check the name")
    if isinstance(error, OSError) and error.strerror:
        return DatasetError(f"{path}: cannot be read ({error.strerror}); check the file")
    reason = " ".join(str(error).split()) or type(error).__name__
    return DatasetError(f"{path}: damaged or no .npz file ({reason}); restore it or make it anew")
