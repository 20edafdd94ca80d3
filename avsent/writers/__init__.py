"""One small class per output format, and the files they are written to."""

from __future__ import annotations

from avsent.writers.base import Writer
from avsent.writers.formats import Format, make_writer

__all__ = ["Format", "Writer", "make_writer"]
