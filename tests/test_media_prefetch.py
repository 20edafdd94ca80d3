"""Reading ahead in a thread: the same events, bounded, and never left running."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from making_media import write_video

from avsent.errors import MediaError
from avsent.media import Frame, MediaReader, prefetch


def helper_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "avsent-prefetch"]


@given(st.lists(st.integers(), max_size=100), st.integers(1, 30))
def test_prefetch_changes_nothing(items: list[int], size: int) -> None:
    assert list(prefetch(items, size)) == items
    assert not helper_threads()


def test_prefetch_raises_what_the_source_raised_after_its_events() -> None:
    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise MediaError("broken")

    events = prefetch(source())
    got = [next(events), next(events)]
    with pytest.raises(MediaError, match="broken"):
        next(events)
    assert got == [1, 2]
    assert not helper_threads()


def test_prefetch_stops_with_its_consumer_and_closes_the_source() -> None:
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            closed.set()

    events = prefetch(source(), 3)
    assert next(events) == 0
    assert helper_threads()
    events.close()
    assert closed.is_set()
    assert not helper_threads()

    def interrupted() -> None:
        for _ in prefetch(source(), 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not helper_threads()


def test_prefetch_is_bounded() -> None:
    produced = []

    def source() -> Iterator[int]:
        for number in range(1000):
            produced.append(number)
            yield number

    events = prefetch(source(), 4)
    for expected in range(20):
        assert next(events) == expected
        assert len(produced) <= expected + 7
    events.close()


def test_prefetch_needs_room() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        prefetch([1], 0)


def test_prefetch_over_a_reader(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", list(range(0, 2000, 40)))
    with MediaReader(path) as reader:
        times = [e.time_s for e in prefetch(reader) if isinstance(e, Frame)]
    assert len(times) == 20
    assert reader.position_s == pytest.approx(1.96)
    assert reader.end_s == pytest.approx(2.0)
