"""Checks on the files a user names, made before anything heavy is loaded."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from avsent.errors import InputError, MediaError


def check_media(path: Path) -> None:
    """Raise MediaError where the path is, at first sight, no media file."""
    _check(path, MediaError)


def check_option_file(option: str, path: Path | None) -> None:
    """Raise InputError where the file given to an option cannot be read."""
    if path is not None:
        _check(path, InputError, f"{option}: ")


def _check(path: Path, error_class: type[InputError], prefix: str = "") -> None:
    try:
        found = path.stat()
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise error_class(f"{prefix}cannot read {path}: {reason}; check the name") from error
    if stat.S_ISDIR(found.st_mode):
        raise error_class(f"{prefix}{path} is a folder; name the files in it")
    # Pipes have no size.
    if stat.S_ISREG(found.st_mode) and found.st_size == 0:
        raise error_class(f"{prefix}{path} is empty; copy it again from its source")
    if not os.access(path, os.R_OK):
        raise error_class(f"{prefix}cannot read {path}: no permission; ask its owner for it")
