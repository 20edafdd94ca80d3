"""Long lists, told of by their ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, repr=False)
class More:
    """Stands for what was left out: ``… 380 more``."""

    count: int

    def __repr__(self) -> str:
        return f"… {self.count:,} more"


def shortened(items: Sequence[T], ends: int) -> list[T | More]:
    """``items``; of more than ``2 * ends + 1`` the first and last ``ends``, and how many more."""
    left_out = len(items) - 2 * ends
    if left_out <= 1:
        return list(items)
    return [*items[:ends], More(left_out), *items[-ends:]]
