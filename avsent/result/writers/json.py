"""JSON: the whole result, as in ``docs/result.schema.json``."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable
from typing import Any, TextIO

from avsent.result.record import Result
from avsent.result.writers.base import Writer, is_utf8

# Legal inside JSON strings as they are, but able to control a terminal, or not UTF-8 at all.
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class JsonWriter(Writer):
    """One object for one media file; an array for several.

    ``array``: whether several files were given, so that the output has the same shape where only
    one of them succeeds.
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
        """Write the lines of each result as soon as it comes."""
        for result in results:
            for utterance in result.utterances:
                line = {"source": result.source, **utterance.to_dict()}
                file.write(dump_json(line, file) + "\n")
            file.flush()
