"""What every output format has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, TextIO

from avsent.errors import UsageError
from avsent.result.record import Result


class Writer(ABC):
    """Turns results into text.

    Results come as an iterable, so that a format that can (CSV, JSON lines, table) writes each
    one as soon as it is there, while the next file is still being worked on.
    """

    extension: ClassVar[str]
    """Of the files in this format, without the dot."""
    combines: ClassVar[bool] = True
    """Whether the results of several media files can stand in one output."""
    shows_warnings: ClassVar[bool] = False
    """Whether the output holds the warnings on the file as a whole."""

    @abstractmethod
    def write(self, results: Iterable[Result], file: TextIO) -> None:
        """Write all results to an open text file."""

    def only(self, results: Iterable[Result]) -> Result:
        """The one result for a format that does not combine several. Raises UsageError."""
        result, *others = results
        if others:
            raise UsageError(f"one .{self.extension} file is for one video; name a folder with -o")
        return result


def is_utf8(file: TextIO) -> bool:
    """Whether every character can be written to this file; text in memory counts as able."""
    encoding = getattr(file, "encoding", None) or "utf-8"
    return encoding.lower().replace("-", "").replace("_", "") in {"utf8", "utf8sig"}
