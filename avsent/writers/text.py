"""What the writers show texts and times with; the ground floor has it, for everybody."""

from __future__ import annotations

from avsent.shown import clock, one_line

__all__ = ["clock", "one_line"]
