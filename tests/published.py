"""Published corpora beside this checkout; they may not be passed on, so not everyone has them."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import SHARED

MOSI = SHARED / "data" / "mosi" / "mosi_utterance.npz"
RAVDESS = SHARED / "data" / "ravdess"
MELD = SHARED / "data" / "text"


def needs(path: Path) -> pytest.MarkDecorator:
    """For tests that are skipped where ``path`` is not there."""
    inside = path.relative_to(SHARED).as_posix()
    return pytest.mark.skipif(not path.exists(), reason=f"no ../shared/{inside}")


needs_mosi, needs_ravdess, needs_meld = needs(MOSI), needs(RAVDESS), needs(MELD)
