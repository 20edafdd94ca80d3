"""Text and CSV files given by the user: decoded, split into rows, refused in one line.

Every function takes the class of the error to raise, so that each reader keeps its own.
"""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from avsent.errors import InputError

# Characters that turn the direction of writing and could make a line read otherwise than it is.
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
_BLANKS = re.compile(r"\s+")


def one_line(text: str) -> str:
    """The text in one line that cannot control a terminal.

    Line breaks and tabs become single blanks; other control characters, lone surrogates and
    changes of the direction of writing are shown as escapes such as ``\\x1b``.
    """
    return "".join(map(_visible, _BLANKS.sub(" ", text).strip()))


def _visible(character: str) -> str:
    if character in _BIDI_CONTROLS or unicodedata.category(character) in _UNPRINTABLE:
        code = ord(character)
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    return character


def clock(seconds: float) -> str:
    """A time as people read it, to a tenth of a second: ``0:07.5``, ``1:02:03.0``."""
    tenths = round(abs(seconds) * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    sign = "-" if seconds < 0 and (hours or minutes or tenths) else ""
    tail = f"{tenths // 10:02d}.{tenths % 10}"
    return f"{sign}{hours}:{minutes:02d}:{tail}" if hours else f"{sign}{minutes}:{tail}"


_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


def read_text(path: Path, error_class: type[InputError], *, max_bytes: int, what: str) -> str:
    """The text of a file: UTF-8, or UTF-16 with a byte order mark; line ends as they are.

    ``what``: what the file should be, as in "give {what}". Raises ``error_class`` for anything
    that is no regular file, cannot be read, is larger than ``max_bytes`` or no text.
    """
    name = printable(str(path))
    try:
        if path.is_dir():
            raise error_class(f"{name}: is a folder; give {what}")
        if not path.exists():
            raise error_class(f"{name}: no such file; check the path")
        if not path.is_file():
            raise error_class(f"{name}: not a regular file; save it to one")
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = printable(getattr(error, "strerror", None) or str(error))
        raise error_class(f"{name}: cannot be read ({reason}); check the path") from error
    if len(data) > max_bytes:
        limit_mb = max_bytes // 1024**2
        raise error_class(f"{name}: over {limit_mb} MB, too large; give {what}")
    return _decode(data, name, error_class)


def _decode(data: bytes, name: str, error_class: type[InputError]) -> str:
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if utf16 else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        # Line ends are single bytes in UTF-8 only; elsewhere say how far into the file.
        place = f"byte {error.start}" if utf16 else str(data.count(b"\n", 0, error.start) + 1)
        kind = "UTF-16" if utf16 else "UTF-8"
        raise error_class(f"{name}:{place}: not {kind} text; save it as UTF-8") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise error_class(f"{name}:{line}: zero bytes, so not UTF-8 text; save it as UTF-8")
    return text


def csv_rows(
    text: str, name: str, error_class: type[InputError], *, strict: bool
) -> Iterator[tuple[int, list[str]]]:
    """Each row of a CSV text that is not blank, with the number of the line it begins on.

    ``strict``: refuse quotes in the wrong place; else they are taken for text, and one that is
    never closed swallows the rest of the file. Raises ``error_class`` for a broken row.
    """
    rows = csv.reader(io.StringIO(text, newline=""), strict=strict)
    line = 1
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            reason = printable(str(error))
            raise error_class(f"{name}:{line}: not a CSV row ({reason}); correct it") from error
        if row is None:
            return
        if any(cell.strip() for cell in row):
            yield line, row
        line = rows.line_num + 1


def number(cell: str) -> float | None:
    """The finite number that a cell holds, written with ASCII digits; None for anything else."""
    value = float(cell) if _NUMBER.fullmatch(cell) else math.inf
    return value if math.isfinite(value) else None


def quoted(text: str) -> str:
    """The text in quotes on one line, cut where it is long."""
    text = printable(text.strip())
    return f"“{text if len(text) <= 40 else text[:39] + '…'}”"


def printable(text: str) -> str:
    """The text on one line, with whatever a terminal could not show written as ``\\x…``."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


__all__ = ["clock", "one_line"]
