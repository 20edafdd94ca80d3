"""Where faces are between analysed frames, which utterances are on, and lanes for them."""

from __future__ import annotations

import dataclasses

import pytest
from handmade import make_utterance, patient
from hypothesis import given
from hypothesis import strategies as st

from avsent.extraction.faces.types import Sighting
from avsent.result.utterance import UtteranceResult
from avsent.views.annotate.boxes import MAX_GAP_S, FaceBoxes
from avsent.views.annotate.schedule import Schedule, lanes


def at_tenths(track: int, *tenths: int) -> list[Sighting]:
    """The face moves 10 pixels right and 5 down in a tenth of a second."""
    return [
        Sighting(track, t / 10, (10.0 * t, 5.0 * t, 10.0 * t + 40, 5.0 * t + 50)) for t in tenths
    ]


def test_linear_between_two_sightings() -> None:
    boxes = FaceBoxes(at_tenths(1, 0, 1, 2))
    assert boxes.at(0.1) == {1: (10, 5, 50, 55)}
    assert boxes.at(0.125)[1] == pytest.approx((12.5, 6.25, 52.5, 56.25))
    assert boxes.at(0.05)[1] == pytest.approx((5, 2.5, 45, 52.5))


def test_nothing_outside_and_across_a_gap() -> None:
    boxes = FaceBoxes(at_tenths(1, 10, 11, 15, 16))
    assert boxes.max_gap_s == MAX_GAP_S
    for time_s in (0.0, 0.95, 1.15, 1.3, 1.45, 1.65, 9.0):
        assert boxes.at(time_s) == {}, time_s
    assert set(boxes.at(1.05)) == set(boxes.at(1.55)) == {1}


def test_one_missed_frame_is_no_gap() -> None:
    assert FaceBoxes(at_tenths(1, 0, 1, 4, 5)).at(0.25)[1] == pytest.approx((25, 12.5, 65, 62.5))


def test_sightings_may_be_far_apart_if_all_are() -> None:
    boxes = FaceBoxes(at_tenths(1, 0, 10, 20, 30, 60, 70))  # analysed once a second
    assert boxes.at(0.5)[1] == pytest.approx((50, 25, 90, 75))
    assert boxes.at(4.5) == {}


def test_tracks_do_not_mix() -> None:
    boxes = FaceBoxes([*at_tenths(2, 4, 3), *at_tenths(1, 0, 1, 2, 3)])
    assert set(boxes.at(0.15)) == {1}
    assert set(boxes.at(0.35)) == {2}
    assert set(boxes.at(0.3)) == {1, 2}
    assert len(boxes.between(0.15, 0.35)) == 3
    assert FaceBoxes([]).at(1.0) == {}


def test_times_that_went_through_a_file() -> None:
    boxes = FaceBoxes([Sighting(1, 0.033333, (0.0, 0.0, 8.0, 8.0))])
    assert boxes.at(1 / 30) == {1: (0, 0, 8, 8)}


def lasting(index: int, start_s: float, end_s: float) -> UtteranceResult:
    return dataclasses.replace(make_utterance(index, 3), start_s=start_s, end_s=end_s)


SPANS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 15)).map(lambda p: (p[0], p[0] + p[1])),
    max_size=12,
)


@patient
@given(SPANS, st.integers(-2, 60))
def test_the_schedule_finds_what_is_on(spans: list[tuple[int, int]], time_s: int) -> None:
    utterances = [lasting(number, *span) for number, span in enumerate(spans)]
    found = Schedule(utterances).at(time_s)
    assert {u.index for u in found} == {n for n, (a, b) in enumerate(spans) if a <= time_s < b}
    assert [u.start_s for u in found] == sorted(u.start_s for u in found)


@patient
@given(SPANS)
def test_lanes_keep_utterances_apart(spans: list[tuple[int, int]]) -> None:
    utterances = [lasting(number, *span) for number, span in enumerate(spans)]
    chosen, count = lanes(utterances, 99)
    most = max((sum(a <= t < b for a, b in spans) for t in range(60)), default=0)
    assert count == max(1, most)  # no more than needed
    for one, lane in enumerate(chosen):
        for other in range(one):
            a, b = spans[one], spans[other]
            assert chosen[other] != lane or a[1] <= b[0] or b[1] <= a[0]
    shared, count = lanes(utterances, 2)
    assert count <= 2
    assert all(0 <= lane < count for lane in shared)
