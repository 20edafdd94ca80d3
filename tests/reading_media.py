"""All events of a media file, and those of one kind."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avsent.media import SAMPLE_RATE_HZ, Damage, Frame, MediaReader, Sound


def read(path: Path, **options: Any) -> tuple[MediaReader, list[Frame | Sound | Damage]]:
    with MediaReader(path, **options) as reader:
        return reader, list(reader)


def frames_of(events: list[Any]) -> list[Frame]:
    return [e for e in events if isinstance(e, Frame)]


def damage_of(events: list[Any]) -> list[Damage]:
    return [e for e in events if isinstance(e, Damage)]


def sound_of(events: list[Any]) -> tuple[float, np.ndarray]:
    """Start and samples of the joined sound, after checking that the chunks join exactly."""
    chunks = [e for e in events if isinstance(e, Sound)]
    for one, two in itertools.pairwise(chunks):
        assert two.start_s == pytest.approx(
            one.start_s + len(one.samples) / SAMPLE_RATE_HZ, abs=1e-6
        )
    for chunk in chunks:
        assert chunk.samples.dtype == np.float32
        assert chunk.samples.ndim == 1
        assert 0 < len(chunk.samples) <= SAMPLE_RATE_HZ
    return chunks[0].start_s, np.concatenate([c.samples for c in chunks])
