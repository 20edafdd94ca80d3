"""Active speaker detection, on drawn faces whose mouths follow the sound or do not."""

from __future__ import annotations

import numpy as np
import pytest

from avsent.extraction.faces.active_speaker import choose_faces, mouth_opening, sound_envelope
from avsent.extraction.faces.types import FaceObservation
from avsent.options import FaceChoice

TIMES_S = 1.0 + np.arange(40) / 10
"""Four seconds, ten faces a second."""
ENVELOPE_TIMES_S = 0.5 + np.arange(250) / 50


def loudness(times_s: np.ndarray) -> np.ndarray:
    """Syllables and pauses that do not repeat, 0..1."""
    return np.clip(0.5 + 0.4 * np.sin(9.1 * times_s) + 0.4 * np.sin(14.3 * times_s + 1) - 0.2, 0, 1)


def face(opening: float, size: float) -> np.ndarray:
    """Landmarks [68, 2] with a lip gap of ``opening`` eye distances of ``size`` pixels."""
    points = np.zeros((68, 2), dtype=np.float32)
    points[42:48, 0] = size
    for upper, lower in ((61, 67), (62, 66), (63, 65)):
        points[upper] = (size / 2, size)
        points[lower] = (size / 2, size * (1 + opening))
    return points


def seen(
    track: int, openings: np.ndarray, size: float = 50.0, times_s: np.ndarray = TIMES_S
) -> list[FaceObservation]:
    crop = np.zeros((96, 96), dtype=np.uint8)
    return [
        FaceObservation(track, float(t), (0, 0, 1, 1), face(float(o), size), crop)
        for t, o in zip(times_s, openings, strict=True)
    ]


def choose(observations: list[FaceObservation], choice: str = "speaking") -> list[int]:
    envelope = loudness(ENVELOPE_TIMES_S)
    return choose_faces(observations, ENVELOPE_TIMES_S, envelope, FaceChoice(choice))


TALKING = 0.05 + 0.3 * loudness(TIMES_S)
STILL = 0.05 + 0.004 * np.random.default_rng(0).normal(size=len(TIMES_S))
CHEWING = 0.05 + 0.3 * loudness(TIMES_S + 7.7)


def test_mouth_opening_is_in_eye_distances() -> None:
    frames = np.stack([face(0.0, 40), face(0.25, 40), face(0.25, 160)])
    np.testing.assert_allclose(mouth_opening(frames), [0.0, 0.25, 0.25], atol=1e-5)


@pytest.mark.parametrize("other", [STILL, CHEWING])
def test_the_mouth_that_follows_the_sound_speaks(other: np.ndarray) -> None:
    assert choose(seen(1, other, size=120) + seen(2, TALKING, size=40)) == [2]
    assert choose(seen(1, TALKING, size=40) + seen(2, other, size=120)) == [1]


@pytest.mark.parametrize("lag_s", [-0.15, 0.15])
def test_a_small_lag_does_not_matter(lag_s: float) -> None:
    late = 0.05 + 0.3 * loudness(TIMES_S + lag_s)
    assert choose(seen(1, CHEWING, size=90) + seen(2, late, size=40)) == [2]


def test_equal_scores_go_to_the_larger_face() -> None:
    assert choose(seen(1, TALKING, size=40) + seen(2, TALKING, size=60)) == [2]
    assert choose(seen(1, STILL, size=60) + seen(2, STILL[::-1], size=40)) == [1]
    assert choose(seen(1, TALKING) + seen(2, TALKING)) == [1]


def test_a_face_seen_briefly_is_not_chosen() -> None:
    glimpse = seen(2, TALKING[:9], size=200, times_s=TIMES_S[:9])
    assert choose(seen(1, STILL) + glimpse) == [1]
    assert choose(seen(1, STILL) + glimpse, "largest") == [1]
    assert choose(seen(1, STILL) + glimpse, "all") == [1]


def test_choices_largest_and_all() -> None:
    both = seen(1, TALKING, size=40) + seen(2, STILL, size=90)
    assert choose(both, "largest") == [2]
    assert choose(both, "all") == [2, 1]
    assert choose([], "all") == []
    assert choose([]) == []


def test_without_sound_the_largest_face_is_chosen() -> None:
    both = seen(1, TALKING, size=40) + seen(2, STILL, size=90)
    assert choose_faces(both, np.zeros(0), None, FaceChoice.speaking) == [2]
    assert choose_faces(both, np.zeros(0), np.zeros(0), FaceChoice.speaking) == [1]


def test_with_many_short_shots_a_face_is_still_chosen() -> None:
    shots = [
        observation
        for k in range(8)
        for observation in seen(k + 1, STILL[:5], times_s=TIMES_S[5 * k : 5 * k + 5])
    ]
    assert len(choose(shots)) == 1


def test_envelope_of_known_sound() -> None:
    rate = 16000
    samples = np.zeros(rate, dtype=np.float32)
    samples[rate // 2 :] = np.sin(2 * np.pi * 200 * np.arange(rate // 2) / rate)
    times_s, envelope = sound_envelope(samples, 10.0, 16000)
    assert len(times_s) == len(envelope) == 50
    assert times_s[0] == pytest.approx(10.01)
    assert (envelope[:25] == 0).all()
    np.testing.assert_allclose(envelope[25:], 1.0, atol=1e-3)


def test_envelope_of_silence_and_nothing() -> None:
    assert (sound_envelope(np.zeros(1000, dtype=np.float32), 0.0, 16000)[1] == 0).all()
    assert len(sound_envelope(np.zeros(10, dtype=np.float32), 0.0, 16000)[0]) == 0
