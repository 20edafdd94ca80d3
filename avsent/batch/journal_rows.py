"""Rows of the journal as values, and values as SQLite can hold them; a journal may be anybody's."""

from __future__ import annotations

import dataclasses
import math
import os
from typing import Any

from avsent.batch.entries import Entry, State


def entry_of(row: list[Any]) -> Entry:
    """An entry from a row; ValueError or TypeError for what this program never wrote."""
    name, stem, *facts = row
    entry = Entry(text_of(name), text_of(stem), *facts)
    for value, kinds in zip(facts, _KINDS, strict=True):
        if value is not None and not isinstance(value, kinds):
            raise TypeError("a value of another type")
    if not (_stays_below(entry.name) and _stays_below(entry.stem)):
        raise ValueError("a path that leads elsewhere")
    if not math.isfinite(entry.duration_s or 0.0) or entry.attempts is None:
        raise ValueError("a number out of range")
    return dataclasses.replace(entry, state=State(entry.state), present=bool(entry.present))


_NUMBER = (int, float)
_KINDS: tuple[type | tuple[type, ...], ...] = (
    *(int, int, _NUMBER, str, str, str, int, _NUMBER, int, str, int, int),  # as in Entry
)


def _stays_below(name: str) -> bool:
    """Whether ``name`` leads to a file below the folder that it is relative to."""
    return all(part not in ("", ".", "..") for part in name.split("/")) and "\0" not in name


def key_of(name: str) -> str | bytes:
    """A file name as SQLite can hold it: text, or the bytes of a name that is no text."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


def text_of(key: str | bytes) -> str:
    if not isinstance(key, str | bytes):
        raise TypeError("a name that is none")
    return os.fsdecode(key) if isinstance(key, bytes) else key


def line_of(text: str | None) -> str | None:
    """Text that SQLite can hold: file names in it may be no UTF-8."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode("utf-8")
