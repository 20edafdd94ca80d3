"""Windows where a face is seen, in place of utterances that are heard."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from segmenting import times

from avsent import utterances
from avsent.utterances import Segment, WindowSegmenter


def windows(pictures: Iterable[tuple[float, bool]]) -> list[tuple[float, float]]:
    segmenter = WindowSegmenter()
    found: list[Segment] = []
    for time_s, seen in pictures:
        since_s = segmenter.open_since_s
        new = segmenter.push(time_s, seen)
        assert all(s.start_s >= since_s for s in new)
        assert segmenter.open_since_s >= since_s
        found += new
    found += segmenter.flush()
    assert segmenter.flush() == []
    return times(found)


def film(length_s: float, seen: Sequence[tuple[float, float]] = ((0, 1e9),), fps: int = 25):  # type: ignore[no-untyped-def]
    for i in range(round(length_s * fps)):
        yield i / fps, any(a <= i / fps < b for a, b in seen)


@pytest.mark.parametrize(
    ("pictures", "expected"),
    [
        (film(0), []),
        (film(5, []), []),
        (film(3), [(0, 3)]),
        (film(8), [(0, 8)]),
        (film(8.4), [(0, 4.2), (4.2, 8.4)]),
        (film(15.48), [(0, 8), (8, 15.48)]),
        (film(20), [(0, 8), (8, 16), (16, 20)]),
        (film(6, [(1, 2), (2.6, 3), (4.52, 5)]), [(1, 3), (4.52, 5)]),
        (film(0.1, fps=30), [(0, 0.1)]),
        ([(4.0, True)], [(4.0, 4.04)]),
        ([(0.0, True), (30.0, True)], [(0.0, 0.04), (30.0, 30.04)]),
        ([(0.1, True), (0.0, True), (math.nan, True), (0.15, True)], [(0.1, 0.19)]),
    ],
)
def test_windows(pictures: Iterable[tuple[float, bool]], expected: list[object]) -> None:
    assert windows(pictures) == expected


@settings(max_examples=80, deadline=None, database=None)
@given(st.lists(st.tuples(st.floats(0.001, 3), st.booleans()), max_size=200))
def test_windows_are_short_apart_and_hold_every_face(steps: list[tuple[float, bool]]) -> None:
    at_s = np.cumsum([step for step, _ in steps]).tolist()
    pictures = list(zip(at_s, (seen for _, seen in steps), strict=True))
    found = windows(pictures)
    assert all(0 < b - a <= utterances.MAX_WINDOW_S + 1e-3 for a, b in found)
    assert all(b <= c for (_, b), (c, _) in itertools.pairwise(found))
    for time_s, seen in pictures:
        assert not seen or any(a - 1e-3 <= time_s <= b + 1e-3 for a, b in found)
