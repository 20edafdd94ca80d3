"""Pictures of avsent.media: which are kept, and in which order they come."""

from __future__ import annotations

import itertools
import math

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making_media import MS, FakeStream, play
from reading_media import damage_of, frames_of

from avsent._media_frames import PictureTrack
from avsent.media import FrameSampler

# --- which frames are kept ----------------------------------------------------------------------


def test_sampler_takes_every_third_of_30_fps() -> None:
    sampler = FrameSampler(10.0)
    assert [n for n in range(300) if sampler.take(n / 30)] == list(range(0, 300, 3))


def test_sampler_takes_10_hz_from_25_fps_and_all_of_a_slow_source() -> None:
    sampler = FrameSampler(10.0)
    assert sum(sampler.take(n / 25) for n in range(2500)) == 1000
    slow = FrameSampler(10.0)
    assert all(slow.take(n / 9) for n in range(500))


@pytest.mark.parametrize("rate_hz", [0.0, -1.0, math.nan, math.inf])
def test_sampler_refuses_a_rate_that_is_not_positive(rate_hz: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        FrameSampler(rate_hz)


steps = st.lists(st.floats(0.001, 2.0), min_size=1, max_size=200)


@given(steps, st.floats(0.5, 60.0), st.floats(0.0, 1e5))
def test_sampler_spacing_and_rate(gaps: list[float], rate_hz: float, start_s: float) -> None:
    times = [start_s + t for t in itertools.accumulate(gaps)]
    sampler = FrameSampler(rate_hz)
    kept = [t for t in times if sampler.take(t)]
    period_s = 1 / rate_hz
    assert kept[0] == times[0]
    assert all(b - a >= period_s / 2 - 0.0006 for a, b in itertools.pairwise(kept))
    assert len(kept) <= (times[-1] - times[0]) * rate_hz + 2
    # No frame is left out when nothing was kept for a whole period before it.
    for time_s in set(times) - set(kept):
        assert any(time_s - period_s < k < time_s for k in kept)


@given(st.integers(20, 120), st.floats(1.0, 10.0), st.floats(0.0, 100.0))
def test_sampler_mean_rate_of_a_fast_source(fps: int, rate_hz: float, start_s: float) -> None:
    sampler = FrameSampler(rate_hz)
    kept = sum(sampler.take(start_s + n / fps) for n in range(fps * 10))
    assert abs(kept - 10 * rate_hz) <= 2


@given(steps, st.floats(1.0, 30.0))
def test_sampler_never_takes_a_time_twice_or_an_earlier_one(
    gaps: list[float], rate_hz: float
) -> None:
    sampler = FrameSampler(rate_hz)
    last = -math.inf
    for time_s in itertools.accumulate(gaps):
        if sampler.take(time_s):
            last = time_s
        assert not sampler.take(last)
        assert not sampler.take(last - 1)


# --- the order of the pictures ------------------------------------------------------------------


def pictures(times_ms: list[int | None]) -> list[av.VideoFrame]:
    frames = []
    for time_ms in times_ms:
        frame = av.VideoFrame(16, 16, "gray")
        frame.pts, frame.time_base = time_ms, MS
        frames.append(frame)
    return frames


def times_of(times_ms: list[int | None]) -> list[int]:
    track = PictureTrack(FakeStream(), "mov", 0.0, 1000.0)
    return [round(f.time_s * 1000) for f in frames_of(play(track, pictures(times_ms)))]


def test_frames_out_of_order_are_sorted_and_late_ones_dropped() -> None:
    assert times_of([0, 120, 40, 80, 160, 160, 200]) == [0, 40, 80, 120, 160, 200]
    assert times_of([0, 40, 80, 120, 160, 200, 240, 20, 280]) == [
        0,
        40,
        80,
        120,
        160,
        200,
        240,
        280,
    ]


def test_frames_without_a_time_follow_at_the_mean_rate() -> None:
    assert times_of([0, None, None, 120]) == [0, 40, 80, 120]


def test_a_restarted_clock_of_the_picture_goes_on() -> None:
    times_ms: list[int | None] = [60_000, 60_040, 60_080, 0, 40, 80]
    track = PictureTrack(FakeStream(), "mov", 0.0, 1000.0)
    events = play(track, pictures(times_ms))
    assert [round(f.time_s * 1000) for f in frames_of(events)] == list(range(60_000, 60_240, 40))
    assert [d.reason for d in damage_of(events)] == ["the clock of the picture jumps"]


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=30))
def test_any_times_come_out_increasing(times_ms: list[int]) -> None:
    out = times_of(list(times_ms))
    assert out == sorted(set(out))
    assert set(out) <= set(times_ms)
