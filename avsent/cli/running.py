"""Working through several files: one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import typer

from avsent.cli.inputs import check_media
from avsent.cli.outcome import report, warn
from avsent.cli.progress import ProgressBar
from avsent.errors import AvsentError, InputError, PartialFailure
from avsent.progress import ProgressHook
from avsent.results import Result

PredictOne: TypeAlias = Callable[[Path, ProgressHook], Result]


class Run:
    """The results of several files, one after the other, and what became of each.

    Parameters
    ----------
    predict_one
        Makes the result of one file; called only for files that are there.
    warns
        Whether to print the warnings on each file (for outputs that do not hold them).
    quiet
        Whether to draw no progress bar.
    debug
        Whether to print the traceback of each failure.
    """

    def __init__(
        self, predict_one: PredictOne, *, warns: bool = True, quiet: bool, debug: bool
    ) -> None:
        self._predict_one = predict_one
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
        for number, path in enumerate(paths):
            name = path.name if len(paths) == 1 else f"[{number + 1}/{len(paths)}] {path.name}"
            try:
                check_media(path)
                with ProgressBar(name, quiet=self._quiet) as bar:
                    result = self._predict_one(path, bar)
            except Exception as error:
                # A wrong option or a damaged checkpoint is the same for every file.
                if isinstance(error, AvsentError) and not isinstance(error, InputError):
                    raise
                self._exit_codes.append(report(error, debug=self._debug))
                continue
            if self._warns:
                for warning in result.warnings or _remarks(result):
                    warn(f"{result.source}: {warning}")
            yield number, result
        if self._exit_codes and len(self._exit_codes) == len(paths):
            raise typer.Exit(self._exit_codes[0])

    def finish(self, count: int) -> None:
        """Raise PartialFailure where some of so many files failed."""
        if self._exit_codes:
            failed = len(self._exit_codes)
            raise PartialFailure(f"{failed} of {count} files failed; the others are done")


def _remarks(result: Result) -> tuple[str, ...]:
    """What an empty output does not tell."""
    return () if result.utterances else ("no utterances found",)
