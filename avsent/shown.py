"""Texts from outside, made safe to print: names, words and warnings may hold anything."""

from __future__ import annotations

import re
import unicodedata

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
