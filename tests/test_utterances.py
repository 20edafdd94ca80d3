"""Streaming segmentation: where utterances begin and end, and that chunks do not matter."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from segmenting import LevelDetector, frames, segment, times

from avsent.media import SAMPLE_RATE_HZ
from avsent.speech import FRAME_S, FRAME_SAMPLES
from avsent.utterances import (
    BATCH_FRAMES,
    MAX_UTTERANCE_S,
    MERGE_GAP_S,
    MIN_UTTERANCE_S,
    PAD_S,
    Segment,
    SpeechSegmenter,
)


def test_hysteresis_and_padding() -> None:
    sound = frames((10, 0.4), (10, 0.5), (10, 0.36), (3, 0.34), (20, 0.4))
    start_s, end_s = 10 * FRAME_S - PAD_S, 30 * FRAME_S + PAD_S
    assert times(segment(sound)) == times([Segment(start_s, end_s)])


def test_first_chunk_may_start_at_any_time() -> None:
    found = segment(frames((10, 1.0), (30, 0.0), (9, 1.0)), start_s=2.43)
    last_s = 2.43 + 40 * FRAME_S - PAD_S
    expected = [Segment(2.43, 2.43 + 10 * FRAME_S + PAD_S), Segment(last_s, 2.43 + 49 * FRAME_S)]
    assert times(found) == times(expected)  # padding stays inside of the sound


@pytest.mark.parametrize(("gap", "count"), [(1, 1), (9, 1), (10, 2), (13, 2), (14, 2), (40, 2)])
def test_gaps_under_the_limit_are_merged(gap: int, count: int) -> None:
    found = segment(frames((20, 0.0), (20, 1.0), (gap, 0.0), (20, 1.0), (20, 0.0)))
    assert len(found) == count
    if count == 2:
        left_s = found[1].start_s - found[0].end_s
        assert left_s == pytest.approx(max(MERGE_GAP_S, gap * FRAME_S - 2 * PAD_S))


@pytest.mark.parametrize(("length", "count"), [(1, 0), (7, 0), (8, 1)])
def test_short_sounds_are_dropped(length: int, count: int) -> None:
    assert len(segment(frames((20, 0.0), (length, 1.0), (20, 0.0)))) == count


def test_several_short_sounds_make_one_utterance() -> None:
    assert len(segment(frames((4, 1.0), (5, 0.0), (4, 1.0), (50, 0.0)))) == 1


def test_long_speech_is_split_at_its_pauses_while_it_goes_on() -> None:
    word, pause = (210, 0.9), (6, 0.0)  # 6.7 s, 0.2 s
    segmenter = SpeechSegmenter(LevelDetector())
    found = segmenter.push(0.0, frames(word, pause, word, pause, word, pause, word))
    assert len(found) == 2  # the rest, from the third word on, is not yet too long
    assert segmenter.open_since_s == found[-1].end_s
    found += segmenter.flush()
    middles = [(216 * i - 3) * FRAME_S for i in (1, 2)]
    assert [s.end_s for s in found[:2]] == pytest.approx(middles, abs=1.01 * FRAME_S)
    assert all(a.end_s == b.start_s for a, b in itertools.pairwise(found))
    assert found[-1].end_s == pytest.approx((4 * 210 + 3 * 6) * FRAME_S)


def test_speech_of_just_over_the_limit_leaves_no_tiny_piece() -> None:
    limit = int(MAX_UTTERANCE_S / FRAME_S)
    assert len(segment(frames((limit, 0.9)))) == 1
    pieces = segment(frames((50, 0.0), (limit + 1, 0.9), (50, 0.0)))
    assert len(pieces) == 2
    assert min(s.end_s - s.start_s for s in pieces) > 3.5


level_runs = st.lists(
    st.tuples(st.integers(1, 60), st.sampled_from([0.0, 0.3, 0.4, 0.6, 0.9])), max_size=25
)


@settings(max_examples=60, deadline=None, database=None)
@given(level_runs, st.lists(st.integers(0, 400_000), max_size=30), st.integers(0, 600))
def test_chunks_do_not_matter_and_limits_hold(
    runs: list[tuple[int, float]], cuts: list[int], rest: int
) -> None:
    tail = np.full(rest, 0.7, np.float32)
    sound = np.concatenate([*(frames(run) for run in runs), tail])
    whole = segment(sound, 1.1)
    assert segment(sound, 1.1, cuts) == whole
    assert segment(sound, 1.1, range(0, sound.size, 160)) == whole
    end_s = 1.1 + sound.size / SAMPLE_RATE_HZ
    for s in whole:
        assert 1.1 <= s.start_s < s.end_s <= end_s + 1e-9
        assert MIN_UTTERANCE_S - 1e-9 <= s.end_s - s.start_s <= MAX_UTTERANCE_S + 1e-9
    for a, b in itertools.pairwise(whole):
        gap_s = b.start_s - a.end_s
        assert gap_s == 0 or gap_s >= MERGE_GAP_S - 1e-9


def test_shorter_than_a_frame() -> None:
    segmenter = SpeechSegmenter(LevelDetector())
    assert segmenter.push(7.0, np.full(100, 0.8, np.float32)) == []
    assert not segmenter.heard  # no frame yet
    assert segmenter.flush() == []
    assert segmenter.heard


def test_frames_wait_for_their_batch_but_are_heard_at_once() -> None:
    detector = LevelDetector()
    segmenter = SpeechSegmenter(detector)
    spoken = frames((BATCH_FRAMES - 1, 0.8))
    for begin in range(0, spoken.size, 3200):
        assert segmenter.push(begin / SAMPLE_RATE_HZ, spoken[begin : begin + 3200]) == []
    assert segmenter.heard
    assert detector.asked == []
    assert segmenter.open_since_s == 0.0  # what waits may be the start of an utterance
    assert segmenter.flush() == [Segment(0.0, spoken.size / SAMPLE_RATE_HZ)]
    assert detector.asked == [BATCH_FRAMES - 1]


@settings(max_examples=30, deadline=None, database=None)
@given(st.lists(st.integers(0, 60_000), max_size=30))
def test_the_cuts_do_not_change_what_is_judged_together(cuts: list[int]) -> None:
    detector = LevelDetector()
    segment(np.zeros(60_000, np.float32), 0.0, cuts, detector)
    whole, rest = divmod(-(-60_000 // FRAME_SAMPLES), BATCH_FRAMES)
    assert detector.asked == [BATCH_FRAMES] * whole + [rest]


def test_the_last_frame_may_be_partial() -> None:
    sound = np.full(8 * FRAME_SAMPLES - 100, 0.8, np.float32)
    assert segment(sound) == []  # 0.249 s
    sound = np.full(9 * FRAME_SAMPLES - 100, 0.8, np.float32)
    assert segment(sound) == [Segment(0.0, sound.size / SAMPLE_RATE_HZ)]


def test_a_segmenter_starts_anew_after_flush() -> None:
    detector = LevelDetector()
    segmenter = SpeechSegmenter(detector)
    segmenter.push(0.0, frames((30, 1.0)))
    assert len(segmenter.flush()) == 1
    resets = detector.resets
    assert resets >= 2
    assert segmenter.push(100.0, frames((30, 1.0))) == []
    assert segmenter.flush()[0].start_s == 100.0


def test_samples_must_have_one_axis() -> None:
    with pytest.raises(ValueError, match="dimension"):
        SpeechSegmenter(LevelDetector()).push(0.0, np.zeros((2, 100), np.float32))


def test_forty_minutes_need_no_more_memory_than_one() -> None:
    rng = np.random.default_rng(1)
    segmenter = SpeechSegmenter(LevelDetector())
    level, pushed, found = 0.0, 0, 0
    while pushed < 40 * 60 * SAMPLE_RATE_HZ:
        if rng.random() < 0.02:
            level = 0.8 - level
        chunk = np.full(int(rng.integers(1, 9000)), level, np.float32)
        found += len(segmenter.push(pushed / SAMPLE_RATE_HZ, chunk))
        pushed += chunk.size
        assert pushed / SAMPLE_RATE_HZ - segmenter.open_since_s < MAX_UTTERANCE_S + 1
        assert segmenter._rest.size < BATCH_FRAMES * FRAME_SAMPLES
        assert len(segmenter._powers) < (MAX_UTTERANCE_S + 1) / FRAME_S
        assert segmenter._rest.base is None
    assert found > 100
