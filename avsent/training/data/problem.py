"""What a check of a corpus tells: one line for each thing that is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal[
    "missing",
    "unreadable",
    "too_short",
    "unlabelled",
    "bad_label",
    "duplicate",
    "out_of_file",
    "shared_speaker",
    "no_text",
]
NOTES: frozenset[Kind] = frozenset({"no_text"})
"""Kinds that stop nothing: without text, audio and face are trained all the same."""

EVERY_ROW = "all"
"""``where`` of what is wrong with no row in particular."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: ``where`` as in ``Row.where``, and in ``detail`` what, in one
    line."""

    where: str
    kind: Kind
    detail: str

    @property
    def is_note(self) -> bool:
        """Whether training works all the same."""
        return self.kind in NOTES
