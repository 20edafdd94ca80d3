"""Where results are written: names, checks before the work, and files that are never half there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from avsent.errors import OutputError, UsageError


def prepare_folder(folder: Path) -> None:
    """Make the folder for outputs where there is none."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {_reason(error)}") from error


def check_target(target: Path, inputs: Iterable[Path], *, makes_folder: bool = False) -> None:
    """Find out before the work whether the file can be written.

    Parameters
    ----------
    inputs
        Files that must not be overwritten.
    makes_folder
        Whether the target's folder will be made where there is none.

    Raises
    ------
    UsageError
        Where writing would overwrite one of the inputs.
    OutputError
        Where there is no such folder, or no right to write in it.
    """
    real = Path(os.path.realpath(target))
    for source in inputs:
        if _same_file(real, source):
            raise UsageError(f"the output {target} is an input; choose another name with -o")
    try:
        mode = real.lstat().st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:
        raise OutputError(f"cannot write {target}: {_reason(error)}") from error
    if mode is not None and stat.S_ISDIR(mode):
        raise OutputError(f"cannot write {target}: it is a folder")
    folder = real.parent
    while makes_folder and not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise OutputError(f"cannot write {target}: there is no folder {target.parent}")
    in_place = mode is not None and not stat.S_ISREG(mode)
    if not os.access(real if in_place else folder, os.W_OK):
        raise OutputError(f"cannot write {target}: no permission to write there")


@contextlib.contextmanager
def atomic_text(target: Path, workshop: Path | None = None) -> Iterator[TextIO]:
    """Open a text file that takes its name only when all of it is written.

    If the block raises (Ctrl-C included), what was written is removed, and an older file of that
    name stays as it was. Pipes and devices (``/dev/null``) are written in place.

    Parameters
    ----------
    workshop
        A folder of the same file system to write in; by default the target's own.
    """
    real = Path(os.path.realpath(target))
    if real.exists() and not real.is_file():
        with _refused(target), _open(real, "w") as file:
            yield file
        return
    with _refused(target), _atomic(real, workshop) as temporary, _open(temporary, "x") as file:
        yield file


@contextlib.contextmanager
def atomic_path(target: Path, workshop: Path | None = None) -> Iterator[Path]:
    """The name of a file to be made, which becomes ``target`` when the block is left; as
    :func:`atomic_text` for what others write."""
    with _refused(target), _atomic(target, workshop) as temporary:
        yield temporary


@contextlib.contextmanager
def _atomic(target: Path, workshop: Path | None) -> Iterator[Path]:
    # The old file's folder, as a rename is only atomic there; a short name always fits.
    temporary = (workshop or target.parent) / f".avsent-{secrets.token_hex(6)}.tmp"
    try:
        yield temporary
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _refused(target: Path) -> Iterator[None]:
    """Turn an error of the file system into a line that names ``target``."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {target}: {_reason(error)}") from error


def _open(path: Path, mode: str) -> TextIO:
    # UTF-8 on every system; a name that is no valid text must not stop the writing.
    return path.open(mode, encoding="utf-8", errors="backslashreplace", newline="")  # type: ignore[return-value]


def _same_file(target: Path, source: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samefile(target, source)
    return False


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, as hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
