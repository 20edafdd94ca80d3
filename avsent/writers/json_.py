"""JSON: the whole result, as in ``docs/result.schema.json``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, TextIO

from avsent.results import Result
from avsent.writers.base import Writer, is_utf8

# Legal inside JSON strings as they are, but able to control a terminal, or not UTF-8 at all.
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class JsonWriter(Writer):
    """One object for one media file; an array for several.

    Parameters
    ----------
    array
        Whether to write an array. By default what comes decides; a caller that was given several
        files says True, so that its output has the same shape when only one of them succeeds.
    """

    extension = "json"
    shows_warnings = True

    def __init__(self, *, array: bool | None = None) -> None:
        self.array = array

    def write(self, results: Iterable[Result], file: TextIO) -> None:
        """Write when all results are there, so that an interruption leaves no half array."""
        plain = [result.to_dict() for result in results]
        array = len(plain) != 1 if self.array is None else self.array
        file.write(dump_json(plain if array else plain[0], file, indent=2) + "\n")


def dump_json(plain: Any, file: TextIO, *, indent: int | None = None) -> str:
    """JSON text that is readable in any script, yet plain ASCII where the file needs it."""
    text = json.dumps(plain, ensure_ascii=not is_utf8(file), allow_nan=False, indent=indent)
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
