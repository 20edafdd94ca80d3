"""Text: read from the user's files, and written such that a terminal or page shows all of it."""

import codecs
import csv
import io
import math
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from avsent.errors import InputError

# Characters that change the writing direction, so that a line could show something else.
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
_BLANKS = re.compile(r"\s+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


def one_line(text: str) -> str:
    """Running text (transcripts, labels, messages) in one line that cannot control a terminal.

    Line breaks and tabs become single blanks; other control characters, lone surrogates and
    changes of the direction of writing are shown as escapes such as ``\\x1b``. Joiners stay, as
    some scripts and emoji need them.
    """
    return "".join(
        _escape(c) if c in _BIDI_CONTROLS or unicodedata.category(c) in _UNPRINTABLE else c
        for c in _BLANKS.sub(" ", text).strip()
    )


def printable(value: object) -> str:
    """An exact value (path, name, cell) in one line: every character that cannot be seen is shown
    as an escape, line breaks, tabs and joiners, too."""
    return "".join(c if c.isprintable() else _escape(c) for c in str(value))


def _escape(character: str) -> str:
    return ascii(character)[1:-1]


def valid_utf8(text: str) -> str:
    """The text with escapes for lone surrogates, which a file name may hold and UTF-8 cannot."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def quoted(cell: str) -> str:
    """A cell in quotes, :func:`printable` and cut where it is long."""
    text = printable(cell.strip())
    return f"“{text if len(text) <= 40 else text[:39] + '…'}”"


def counted(count: int, noun: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def clock(seconds: float) -> str:
    """A time to a tenth of a second: ``0:07.5``, ``1:02:03.0``."""
    tenths = round(abs(seconds) * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    sign = "-" if seconds < 0 and (hours or minutes or tenths) else ""
    tail = f"{tenths // 10:02d}.{tenths % 10}"
    return f"{sign}{hours}:{minutes:02d}:{tail}" if hours else f"{sign}{minutes}:{tail}"


def score_text(score: float) -> str:
    """A score with its sign: ``+0.63``, ``-0.20``; zero is ``+0.00``."""
    return f"{round(score, 2) + 0.0:+.2f}"  # adding 0.0 turns a rounded -0.0 into 0.0


def number(cell: str) -> float | None:
    """The finite number that a cell holds, written with ASCII digits; None for anything else."""
    value = float(cell) if _NUMBER.fullmatch(cell) else math.inf
    return value if math.isfinite(value) else None


def read_text(path: Path, error_class: type[InputError], *, max_bytes: int, what: str) -> str:
    """The text of a file: UTF-8, or UTF-16 with a byte order mark; line ends as they are.

    ``what``: what the file should be, as in "give {what}". Raises ``error_class`` for anything
    that is no regular file, cannot be read, is larger than ``max_bytes`` or no text.
    """
    name = printable(path)
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
        reason = printable(getattr(error, "strerror", None) or error)
        raise error_class(f"{name}: cannot be read ({reason}); check the path") from error
    if len(data) > max_bytes:
        limit_mb = max_bytes // 1024**2
        raise error_class(f"{name}: over {limit_mb} MB, too large; give {what}")
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        # Lines can be counted in UTF-8 only; for UTF-16 the message gives the byte.
        place = f"byte {error.start}" if utf16 else str(data.count(b"\n", 0, error.start) + 1)
        kind = "UTF-16" if utf16 else "UTF-8"
        raise error_class(f"{name}:{place}: not {kind} text; save it as UTF-8") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise error_class(f"{name}:{line}: zero bytes, so not UTF-8 text; save it as UTF-8")
    return text


def csv_rows(
    text: str, name: str, error_class: type[InputError], *, strict: bool, delimiter: str = ","
) -> Iterator[tuple[int, list[str]]]:
    """Each row of a CSV text that is not blank, with the number of the line it begins on.

    ``strict``: refuse quotes in the wrong place; else they are taken for text, and one that is
    never closed swallows the rest of the file. Raises ``error_class`` for a broken row.
    """
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=strict)
    line = 1
    try:
        for row in rows:
            if any(cell.strip() for cell in row):
                yield line, row
            line = rows.line_num + 1
    except csv.Error as error:
        raise error_class(
            f"{name}:{line}: not a CSV row ({printable(error)}); correct it"
        ) from error
