"""Where the results of a command go: standard output, one file, or a file each in a folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from avsent.cli.outcome import printing
from avsent.errors import OutputError, UsageError
from avsent.results import Result
from avsent.writers import Format, Writer, make_writer
from avsent.writers.files import (
    atomic_text,
    check_target,
    names_folder,
    prepare_folder,
    targets_in_folder,
)
from avsent.writers.formats import format_of


@dataclass(frozen=True, slots=True)
class Destination:
    """A writer and its files; without any, results are printed."""

    writer: Writer
    together: Path | None = None
    """The one file for all results."""
    apart: tuple[Path, ...] = ()
    """A file for each source, in the order of the sources."""

    @property
    def targets(self) -> list[Path]:
        """All files that will be written."""
        return [*self.apart, *([self.together] if self.together is not None else [])]

    def check(self, inputs: Sequence[Path]) -> None:
        """Find out before the work whether everything can be written, and overwrites no input."""
        if self.together is not None:
            check_target(self.together, inputs)
        for target in self.apart:
            check_target(target, inputs, makes_folder=True)

    def write(self, results: Iterable[tuple[int, Result]], wrote: Callable[[Path], None]) -> None:
        """Write each result, which comes with the number of its source, as soon as it comes.

        Parameters
        ----------
        wrote
            Called with each file that is complete.
        """
        if self.apart:
            for number, result in results:
                target = self.apart[number]
                prepare_folder(target.parent)
                with atomic_text(target) as file:
                    self.writer.write([result], file)
                wrote(target)
        elif self.together is not None:
            with atomic_text(self.together) as file:
                self.writer.write(_bare(results), file)
            wrote(self.together)
        elif sys.stdout is None:
            raise OutputError("cannot write to standard output: it is closed; give -o FILE")
        else:
            with printing():
                self.writer.write(_bare(results), sys.stdout)


def choose_destination(
    sources: Sequence[Path], format: Format | None, out: str | None, *, attention: bool
) -> Destination:
    """What ``--format`` and ``-o`` mean for these sources.

    Raises
    ------
    UsageError
        For a combination that makes no sense.
    """
    several = len(sources) > 1
    printed = out is None or out == "-"
    if out == "":
        raise UsageError("-o needs the name of a file or folder")
    folder = out is not None and not printed and names_folder(out, several=several)
    if format is None:
        format = Format.table if printed else Format.json if folder else format_of(out or "")
    if format is None:
        raise UsageError(
            f"cannot tell the format of {out}: give --format, or end the name in .json, .csv, …"
        )
    if attention and format not in {Format.table, Format.json, Format.jsonl}:
        raise UsageError(f"--attention has no place in {format}; use table, json or jsonl")
    writer = make_writer(format, several=several and not folder, attention=attention)
    if several and not folder and not writer.combines:
        raise UsageError(f"{format} is for one video at a time: name a folder with -o FOLDER/")
    if out is None or printed:
        return Destination(writer)
    if folder:
        targets = targets_in_folder(Path(out), sources, writer.extension)
        return Destination(writer, apart=tuple(targets))
    return Destination(writer, together=Path(out))


def _bare(results: Iterable[tuple[int, Result]]) -> Iterator[Result]:
    return (result for _, result in results)
