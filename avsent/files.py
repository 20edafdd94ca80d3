"""Files that results are written to: checked before the work, and never half there."""

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from avsent.errors import OutputError, UsageError

TEMPORARY = ".avsent-"
"""How the names of half-written files begin; ``kill -9`` may leave such files behind."""


def prepare_folder(folder: Path) -> None:
    """Make the folder for outputs where there is none."""
    with _naming(f"make the folder {folder}"):
        folder.mkdir(parents=True, exist_ok=True)


def check_target(target: Path, inputs: Iterable[Path], *, makes_folder: bool = False) -> None:
    """Check before the work that the file ``target`` can be written.

    ``makes_folder``: whether the target's folder will be made where there is none. Raises
    UsageError if writing would overwrite one of the ``inputs``, OutputError if there is no such
    folder, or no right to write in it.
    """
    real = Path(os.path.realpath(target))
    for source in inputs:
        with contextlib.suppress(OSError):
            if os.path.samefile(real, source):
                raise UsageError(f"the output {target} is an input; choose another name with -o")
    mode = None
    with _naming(f"write {target}"), contextlib.suppress(FileNotFoundError):
        mode = real.lstat().st_mode
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
    name stays as it was. Links are followed; pipes and devices (``/dev/null``) are written in
    place. ``workshop``: a folder of the same file system to write in, by default the target's own.
    Raises OutputError if the file cannot be written.
    """
    real = Path(os.path.realpath(target))
    in_place = real.exists() and not real.is_file()
    with (
        _naming(f"write {target}"),
        contextlib.nullcontext(real) if in_place else _renamed(real, workshop) as path,
        # UTF-8 on every system; a name that is no valid text must not stop the writing.
        path.open(
            "w" if in_place else "x", encoding="utf-8", errors="backslashreplace", newline=""
        ) as file,
    ):
        yield file


@contextlib.contextmanager
def atomic_path(target: Path, workshop: Path | None = None) -> Iterator[Path]:
    """As :func:`atomic_text` for what others write: the name of a new file, which becomes
    ``target`` when the block ends."""
    with _naming(f"write {target}"), _renamed(target, workshop) as path:
        yield path


def write_bytes(target: Path, data: bytes) -> None:
    """Write a file that takes its name only when all of it is on the disk. Raises OutputError."""
    with atomic_path(target) as path, path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _renamed(target: Path, workshop: Path | None) -> Iterator[Path]:
    # A rename is atomic within one file system only; a short name fits in every one.
    temporary = (workshop or target.parent) / f"{TEMPORARY}{secrets.token_hex(6)}.tmp"
    try:
        yield temporary
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _naming(what: str) -> Iterator[None]:
    """Turn an error of the file system into the message that avsent cannot do ``what``."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot {what}: {error.strerror or error}") from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, as hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
