"""The result files of a batch: a mirrored tree, written from the journal."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from avsent.batch.journal import FOLDER_NAME, Journal
from avsent.errors import OutputError
from avsent.results import Result
from avsent.writers import Format, make_writer
from avsent.writers.files import atomic_text, prepare_folder

_OF_ALL = frozenset({errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EPERM})
"""Errors of a disk or a whole tree; others are of one name: too long, or not allowed there."""


class Outputs:
    """A result file in each format for each file that is done.

    What was written is known by its size: a file that is gone, or was cut short when the machine
    died, is written again.
    """

    def __init__(self, out: Path, formats: Sequence[Format], journal: Journal) -> None:
        self._out = out
        self._writers = {format: make_writer(format) for format in formats}
        self._journal = journal
        self._written = journal.outputs()
        self.workshop = out / FOLDER_NAME / "tmp"

    def prepare(self) -> None:
        """Remove what a killed batch left half written. Raises OutputError."""
        with contextlib.suppress(OSError):
            shutil.rmtree(self.workshop)
        prepare_folder(self.workshop)

    def write(self, name: str, stem: str, result: Result) -> None:
        """Write the files of one result. Raises OutputError."""
        sizes = {}
        for format, writer in self._writers.items():
            target = self._target(stem, format)
            prepare_folder(target.parent)
            with atomic_text(target, self.workshop) as file:
                writer.write([result], file)
            sizes[format.value] = target.stat().st_size
        self._journal.wrote(name, sizes)

    def missing(self, stems: Mapping[str, str]) -> Iterable[str]:
        """Those of these files, which are done, that have not all their outputs."""
        for name, stem in stems.items():
            if not all(self._is_whole(name, stem, format) for format in self._writers):
                yield name

    def remove(self, name: str, stem: str) -> None:
        """Remove what earlier runs wrote, in whatever format, of a result that holds no more."""
        for (written, format), _ in self._written.items():
            if written == name:
                with contextlib.suppress(OSError):
                    self._target(stem, Format(format)).unlink(missing_ok=True)

    def _is_whole(self, name: str, stem: str, format: Format) -> bool:
        size = self._written.get((name, format.value))
        try:
            return size is not None and self._target(stem, format).stat().st_size == size
        except OSError:
            return False

    def _target(self, stem: str, format: Format) -> Path:
        writer = self._writers.get(format) or make_writer(format)
        return self._out / f"{stem}.{writer.extension}"


def concerns_all(error: OutputError) -> bool:
    """Whether what keeps one output from being written keeps all others, too."""
    cause = error.__cause__
    return not isinstance(cause, OSError) or cause.errno in _OF_ALL


def check_out(out: Path) -> None:
    """Find out before the work whether OUT can hold a batch. Raises OutputError."""
    if os.path.exists(out) and not os.path.isdir(out):
        raise OutputError(f"{out} is a file; give a folder with -o")
    prepare_folder(out)
