"""The clock of the sound: holes, overlaps, jumps and changes of format."""

from __future__ import annotations

import numpy as np
import pytest
from making_media import FakeStream, play, sound_frames, tone
from reading_media import damage_of, sound_of

from avsent._media_sound import SoundTrack
from avsent._media_types import MAX_DAMAGE_EVENTS
from avsent.media import SAMPLE_RATE_HZ

STEPS_S = [i / 10 for i in range(10)]


def test_a_hole_in_the_sound_is_filled_with_zeros() -> None:
    starts = [t if t < 0.5 else t + 3.0 for t in STEPS_S]
    events = play(SoundTrack(FakeStream(), 0.0), sound_frames(tone(1.0), starts))
    start_s, samples = sound_of(events)
    assert start_s == 0
    assert len(samples) == pytest.approx(4 * SAMPLE_RATE_HZ, abs=3)
    assert not samples[8_100:55_900].any()
    assert np.abs(samples[56_100:57_000]).max() > 0.4
    assert not damage_of(events)


def test_sound_told_twice_is_cut() -> None:
    starts = [t if t < 0.5 else t - 0.2 for t in STEPS_S]
    _, samples = sound_of(play(SoundTrack(FakeStream(), 0.0), sound_frames(tone(1.0), starts)))
    assert len(samples) == pytest.approx(0.8 * SAMPLE_RATE_HZ, abs=3)


def test_jitter_of_timestamps_is_no_hole() -> None:
    starts = [t + (0.02 if i % 2 else 0.0) for i, t in enumerate(STEPS_S)]
    _, samples = sound_of(play(SoundTrack(FakeStream(), 0.0), sound_frames(tone(1.0), starts)))
    assert len(samples) == SAMPLE_RATE_HZ
    wanted = tone(1.0, rate_hz=SAMPLE_RATE_HZ)
    assert np.abs(samples - wanted)[100:-100].max() < 0.01


@pytest.mark.parametrize("jump_s", [5000.0, -40.0, 1e9])
def test_an_absurd_jump_is_damage_and_sound_goes_on(jump_s: float) -> None:
    starts = [100 + t if t < 0.5 else 100 + t + jump_s for t in STEPS_S]
    events = play(SoundTrack(FakeStream(), 0.0), sound_frames(tone(1.0), starts), other_s=100.0)
    start_s, samples = sound_of(events)
    assert start_s == pytest.approx(100)
    assert len(samples) == SAMPLE_RATE_HZ
    (damage,) = damage_of(events)
    assert damage.time_s == pytest.approx(100.5, abs=0.001)


def test_a_long_hole_is_kept_where_the_picture_went_on() -> None:
    starts = [t if t < 0.5 else t + 700 for t in STEPS_S]
    track = SoundTrack(FakeStream(), 0.0)
    events = play(track, sound_frames(tone(1.0), starts), other_s=701.0)
    assert track.position_s == pytest.approx(701.0)
    assert not damage_of(events)
    assert sum(len(e.samples) for e in events) == pytest.approx(701 * SAMPLE_RATE_HZ, abs=3)


def test_sound_before_zero_is_not_presented() -> None:
    starts = [t - 0.05 for t in STEPS_S]
    start_s, samples = sound_of(
        play(SoundTrack(FakeStream(), 0.0), sound_frames(tone(1.0), starts))
    )
    assert start_s == 0.0
    assert len(samples) == pytest.approx(0.95 * SAMPLE_RATE_HZ, abs=3)


def test_the_format_of_the_sound_may_change() -> None:
    first = sound_frames(tone(1.0), STEPS_S)
    second = sound_frames(
        tone(1.0, rate_hz=44_100), [1 + t for t in STEPS_S], rate_hz=44_100, layout="stereo"
    )
    events = play(SoundTrack(FakeStream(), 0.0), first + second)
    _, samples = sound_of(events)
    assert len(samples) == pytest.approx(2 * SAMPLE_RATE_HZ, abs=40)
    assert not damage_of(events)


def test_no_sample_is_infinite() -> None:
    bad = tone(1.0)
    bad[1000:1010], bad[2000:2010] = np.nan, np.inf
    _, samples = sound_of(play(SoundTrack(FakeStream(), 0.0), sound_frames(bad, STEPS_S)))
    assert np.isfinite(samples).all()


def test_failures_are_reported_once_for_each_run_and_not_for_ever() -> None:
    good = sound_frames(tone(1.0), STEPS_S)
    events = play(SoundTrack(FakeStream(), 0.0), [*good[:3], None, None, None, *good[3:], None])
    assert [d.time_s for d in damage_of(events)] == pytest.approx([0.3, 1.0])
    many = sound_frames(tone(10.0), [i / 10 for i in range(100)])
    mixed = [item for frame in many for item in (frame, None)]
    events = play(SoundTrack(FakeStream(), 0.0), mixed)
    assert len(damage_of(events)) == MAX_DAMAGE_EVENTS
