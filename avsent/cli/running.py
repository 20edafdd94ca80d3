"""Working through several files: one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import typer

from avsent.cli.inputs import check_media
from avsent.cli.outcome import report, warn
from avsent.cli.progress import ProgressBar
from avsent.errors import AvsentError, InputError, PartialFailure
from avsent.progress import ProgressHook
from avsent.results import Result

T = TypeVar("T")
PredictOne: TypeAlias = Callable[[Path, ProgressHook], Result]


@dataclass(frozen=True, slots=True)
class Together(Generic[T]):
    """Results that need all files: each is analysed, then each is concluded with the others."""

    analyse: Callable[[Path, ProgressHook], T]
    conclude: Callable[[T, Sequence[T]], Result]


class Run:
    """The results of several files, one after the other, and what became of each.

    Parameters
    ----------
    predict
        Makes the result of one file, or of all together; called only for files that are there.
    warns
        Whether to print the warnings on each file (for outputs that do not hold them).
    quiet
        Whether to draw no progress bar.
    debug
        Whether to print the traceback of each failure.
    """

    def __init__(
        self,
        predict: PredictOne | Together[Any],
        *,
        warns: bool = True,
        quiet: bool,
        debug: bool,
    ) -> None:
        self._predict = predict
        self._warns = warns
        self._quiet = quiet
        self._debug = debug
        self._exit_codes: list[int] = []

    def results(self, paths: Sequence[Path]) -> Iterator[tuple[int, Result]]:
        """Each result with the number of its file; a failure is printed when its turn comes.

        Raises
        ------
        typer.Exit
            At the end, with the exit code of the first failure, where no file succeeded: before
            the consumer completes an output in which nothing would be.
        """
        if isinstance(self._predict, Together):
            results = self._together(paths, self._predict)
        else:
            results = self._each(paths, self._predict)
        for number, result in results:
            if self._warns:
                for warning in result.warnings or _remarks(result):
                    warn(f"{result.source}: {warning}")
            yield number, result
        if self._exit_codes and len(self._exit_codes) == len(paths):
            raise typer.Exit(self._exit_codes[0])

    def _each(
        self, paths: Sequence[Path], work: Callable[[Path, ProgressHook], T]
    ) -> Iterator[tuple[int, T]]:
        """What ``work`` makes of each file, behind a progress bar."""
        for number, path in enumerate(paths):
            name = path.name if len(paths) == 1 else f"[{number + 1}/{len(paths)}] {path.name}"
            try:
                check_media(path)
                with ProgressBar(name, quiet=self._quiet) as bar:
                    done = work(path, bar)
            except Exception as error:
                self._failed(error)
                continue
            yield number, done

    def _together(self, paths: Sequence[Path], work: Together[T]) -> Iterator[tuple[int, Result]]:
        analysed = list(self._each(paths, work.analyse))
        for place, (number, own) in enumerate(analysed):
            others = [other for at, (_, other) in enumerate(analysed) if at != place]
            try:
                result = work.conclude(own, others)
            except Exception as error:
                self._failed(error)
                continue
            yield number, result

    def _failed(self, error: Exception) -> None:
        """Print what became of a file; raise what would become of every file."""
        # A wrong option or a damaged checkpoint is the same for all of them.
        if isinstance(error, AvsentError) and not isinstance(error, InputError):
            raise error
        self._exit_codes.append(report(error, debug=self._debug))

    def finish(self, count: int) -> None:
        """Raise PartialFailure where some of so many files failed."""
        if self._exit_codes:
            failed = len(self._exit_codes)
            raise PartialFailure(f"{failed} of {count} files failed; the others are done")


def _remarks(result: Result) -> tuple[str, ...]:
    """What an empty output does not tell."""
    return () if result.utterances else ("no utterances found",)
