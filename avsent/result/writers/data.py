"""JSON, JSON lines and CSV, and what every output format has in common.

``docs/result.schema.json`` describes the JSON, ``docs/results.md`` the columns of CSV.
"""

import csv
import dataclasses
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, TextIO

from avsent.errors import UsageError
from avsent.result.record import Cell, Result, column_names
from avsent.text import one_line

# Legal inside JSON strings as they are, but able to control a terminal, or not UTF-8 at all.
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


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


class JsonWriter(Writer):
    """One object for one media file; an array for several.

    ``array``: whether several files were given, even if only one of them succeeds.
    """

    extension = "json"
    shows_warnings = True

    def __init__(self, *, array: bool) -> None:
        self.array = array

    def write(self, results: Iterable[Result], file: TextIO) -> None:
        """Write when all results are there, so that an interruption leaves no half array."""
        all_results = list(results)
        for number, result in enumerate(all_results):
            if self.array:
                file.write(",\n" if number else "[\n")
            _write_object(result, file)
        file.write("\n" if not self.array else "\n]\n" if all_results else "[\n]\n")


def _write_object(result: Result, file: TextIO) -> None:
    """One key per line, one utterance per line.

    Utterances are converted and written one by one: the context attention of a long video grows
    with the square of its utterances, and must not be in memory twice.
    """
    frame = dataclasses.replace(result, utterances=()).to_dict()
    for number, (key, value) in enumerate(frame.items()):
        file.write("{\n" if number == 0 else ",\n")
        file.write(f"  {dump_json(key, file)}: ")
        if key != "utterances" or not result.utterances:
            file.write(dump_json(value, file))
            continue
        for index, utterance in enumerate(result.utterances):
            file.write("[\n    " if index == 0 else ",\n    ")
            file.write(dump_json(utterance.to_dict(), file))
        file.write("\n  ]")
    file.write("\n}")


def dump_json(plain: Any, file: TextIO) -> str:
    """JSON text that is readable in any script, yet plain ASCII where the file needs it."""
    text = json.dumps(plain, ensure_ascii=not is_utf8(file), allow_nan=False)
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class JsonLinesWriter(Writer):
    """Each utterance as in JSON, with ``source`` in front."""

    extension = "jsonl"

    def write(self, results: Iterable[Result], file: TextIO) -> None:
        for result in results:
            for utterance in result.utterances:
                line = {"source": result.source, **utterance.to_dict()}
                file.write(dump_json(line, file) + "\n")
            file.flush()


class CsvWriter(Writer):
    """One header, then the utterances of all results.

    The columns ``p_<label>`` are those of the first result's model; what is unknown is empty.
    """

    extension = "csv"

    def write(self, results: Iterable[Result], file: TextIO) -> None:
        labels: tuple[str, ...] | None = None
        rows = csv.writer(file, lineterminator="\n")
        for result in results:
            if labels is None:
                labels = result.model.labels
                rows.writerow(column_names(labels))
            for cells in result.cells(labels):
                rows.writerow(map(cell_text, cells))
            file.flush()


def cell_text(value: Cell) -> str:
    """A cell as CSV shows it; what is unknown is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    # Fixed notation: repr would give 1e-06, which some spreadsheets take for text.
    return f"{value:.6f}" if isinstance(value, float) else one_line(str(value))
