"""Face detection, tracking, landmarks and cuts, on real clips and on made frames."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avsent.errors import InputError
from avsent.extraction.faces.active_speaker import (
    choose_faces,
    mouth_opening,
    sound_envelope,
    speak_in_turn,
)
from avsent.extraction.faces.detection import FaceDetector
from avsent.extraction.faces.geometry import (
    FaceObservation,
    apply,
    as_complex,
    chip_matrix,
    eye_centres,
    eye_distance,
    fit_similarity,
    inverse,
    matrix_of,
    overlap,
    roll,
    same_place,
    warp,
)
from avsent.extraction.faces.landmarks import (
    EYE_DISTANCE_PX,
    MAX_GAP_S,
    TEMPLATE,
    LandmarkPredictor,
    LandmarkSmoother,
    align_crop,
    anchors,
    predictor_path,
    smooth_landmarks,
)
from avsent.extraction.faces.motion import CutDetector
from avsent.extraction.faces.tracking import MAX_FACES, FaceTracker
from avsent.options import FaceChoice


def face_landmarks(scale: float = 1.0, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """Landmarks [68, 2] whose anchors are exactly the template, scaled and shifted."""
    points = np.zeros((68, 2), dtype=np.float32)
    points[36:42], points[42:48] = TEMPLATE[0], TEMPLATE[1]
    points[33] = TEMPLATE[2]
    points[48], points[54] = TEMPLATE[3] - [10, 0], TEMPLATE[3] + [10, 0]
    return points * scale + np.array([x, y], dtype=np.float32)


def test_overlap_of_known_boxes() -> None:
    assert overlap((0, 0, 10, 10), (0, 0, 10, 10)) == 1.0
    assert overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 10, 10), (10, 0, 20, 10)) == 0.0


def test_same_place() -> None:
    assert same_place((0, 0, 10, 10), (1, 1, 11, 11))
    assert same_place((0, 0, 10, 10), (2, 2, 8, 8))
    assert not same_place((0, 0, 10, 10), (9, 9, 19, 19))
    # A small face before a large one is another person.
    assert not same_place((0, 0, 100, 100), (40, 40, 60, 60))


def fitted(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The fitted similarity as a matrix [2, 3]."""
    return matrix_of(*fit_similarity(as_complex(source), as_complex(target)))


def test_similarity_of_a_quarter_turn() -> None:
    source = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    # Twice as large, a quarter turn (x to y), shifted by (5, -1).
    target = np.array([[5.0, -1.0], [5.0, 1.0], [1.0, -1.0]])
    np.testing.assert_allclose(fitted(source, target), [[0, -2, 5], [2, 0, -1]], atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(
    angle=st.floats(-3, 3),
    scale=st.floats(0.05, 20),
    shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
)
def test_similarity_is_recovered(angle: float, scale: float, shift: tuple[float, float]) -> None:
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.column_stack([turn, shift])
    points = np.array([[0.0, 0.0], [30.0, 3.0], [14.0, 25.0], [15.0, 40.0]])
    found = fitted(points, points @ turn.T + np.array(shift))
    np.testing.assert_allclose(found, matrix, atol=1e-6 * scale + 1e-6)
    np.testing.assert_allclose(apply(inverse(found), apply(found, points)), points, atol=1e-2)


def test_one_point_gives_a_shift() -> None:
    same = np.ones((4, 2))
    np.testing.assert_allclose(fitted(same, same + 3), [[1, 0, 3], [0, 1, 3]])


def test_chip_puts_the_box_in_the_middle_and_upright() -> None:
    matrix = chip_matrix((100, 50, 140, 90), 80, 161, np.pi / 2)
    np.testing.assert_allclose(apply(matrix, np.array([[120.0, 70.0]])), [[80, 80]], atol=1e-4)
    # A face rolled by a quarter turn looks down the picture's left: its eye line points down.
    down = apply(matrix, np.array([[120.0, 90.0]]))[0]
    np.testing.assert_allclose(down, [120, 80], atol=1e-4)


def test_roll_is_positive_clockwise() -> None:
    points = face_landmarks()
    assert roll(points) == pytest.approx(0.0)
    points[42:48] += np.array([0, EYE_DISTANCE_PX], dtype=np.float32)
    assert roll(points) == pytest.approx(np.pi / 4, abs=1e-5)


def test_crop_of_an_aligned_face_is_the_frame_itself() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (96, 96), dtype=np.uint8)
    np.testing.assert_array_equal(align_crop(frame, face_landmarks()), frame)


def test_eyes_and_mouth_lie_as_in_fer2013() -> None:
    # Means over the faces of its test part that dlib finds, in pictures enlarged to 96 pixels:
    # eyes 35.2 apart in row 36.6, mouth in row 73.9; symmetric about the middle, 47.5.
    left, right, nose, mouth = TEMPLATE
    np.testing.assert_allclose(left, [30.0, 36.5])
    np.testing.assert_allclose(right, [65.0, 36.5])
    np.testing.assert_allclose([nose[0], mouth[0]], 47.5)
    assert right[1] < nose[1] < mouth[1]
    assert mouth[1] == pytest.approx(73.9, abs=1.0)


@pytest.mark.parametrize(("scale", "turn"), [(0.5, 0.0), (1.7, 0.4), (4.0, -1.2), (2.0, 3.0)])
def test_eyes_land_where_they_should(scale: float, turn: float) -> None:
    face = face_landmarks() - np.float32(47.5)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = (scale * face @ rotation.T + 300).astype(np.float32)
    frame = np.zeros((600, 600), dtype=np.uint8)
    side = max(2, round(2 * scale))
    for (x, y), level in zip(anchors(points)[:2], (255, 128), strict=True):
        cv2.circle(frame, (round(x), round(y)), side, level, -1)
    crop = align_crop(frame, points).astype(float)
    rows, columns = np.mgrid[0:96, 0:96]
    for half, x in ((columns < 48, 30.0), (columns >= 48, 65.0)):
        seen = crop * half
        found = [(columns * seen).sum() / seen.sum(), (rows * seen).sum() / seen.sum()]
        np.testing.assert_allclose(found, [x, 36.5], atol=1.05 if scale < 1 else 0.6)
    assert crop[36:38, 30].max() > crop[36:38, 65].max()  # the left one is on the left


@pytest.mark.parametrize("scale", [0.5, 2.0, 5.0, 9.0])
def test_anchor_marks_land_on_the_template(scale: float) -> None:
    side = round(150 * scale)
    points = face_landmarks(scale, 20 * scale, 15 * scale)
    frame = np.zeros((side, side), dtype=np.uint8)
    for x, y in anchors(points):
        cv2.circle(frame, (round(x), round(y)), max(2, round(2 * scale)), 255, -1)
    crop = align_crop(frame, points).astype(float)
    for x, y in TEMPLATE:
        window = crop[round(y) - 5 : round(y) + 6, round(x) - 5 : round(x) + 6]
        rows, columns = np.mgrid[-5:6, -5:6]
        centre = np.array([(columns * window).sum(), (rows * window).sum()]) / window.sum()
        expected = [x - round(x), y - round(y)]
        np.testing.assert_allclose(centre, expected, atol=1.05 if scale < 1 else 0.6)


def test_large_faces_are_averaged_not_sampled() -> None:
    # A fine chequerboard is grey when averaged and stays black and white when sampled.
    y, x = np.mgrid[0:1200, 0:1200]
    frame = (255 * ((x + y) % 2)).astype(np.uint8)
    crop = align_crop(frame, face_landmarks(10.0, 100, 100))
    assert crop.min() > 110
    assert crop.max() < 145


def test_beyond_the_frame_the_edge_repeats() -> None:
    frame = np.full((40, 40), 77, dtype=np.uint8)
    assert (align_crop(frame, face_landmarks(1.0, -30, -30)) == 77).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (2, 300), (3, 3)])
def test_tiny_frames_can_be_warped(shape: tuple[int, int]) -> None:
    frame = np.full(shape, 9, dtype=np.uint8)
    for side in (1.0, 40.0, 4000.0):
        chip = warp(frame, chip_matrix((0, 0, side, side), 60, 96), 96)
        assert chip.shape == (96, 96)
        assert (chip == 9).all()


def some_face(scale: float = 1.0) -> np.ndarray:
    points = np.random.default_rng(1).normal(0, 30, (68, 2))
    points[36:42], points[42:48] = (-30, 0), (30, 0)
    return (points * scale).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.01, 0.6), min_size=1, max_size=20))
def test_smoothing_keeps_a_still_face(steps_s: list[float]) -> None:
    face = some_face()
    times_s = np.cumsum(steps_s)
    smoothed = smooth_landmarks(times_s, np.stack([face] * len(times_s)))
    np.testing.assert_allclose(smoothed, np.stack([face] * len(times_s)), rtol=1e-5, atol=1e-4)


def test_smoothing_reduces_noise() -> None:
    face, rng = some_face(), np.random.default_rng(2)
    noise = rng.normal(0, 0.3, (100, 68, 2)).astype(np.float32)
    smoothed = smooth_landmarks(np.arange(100) / 10, face + noise)
    assert (smoothed - face).std() < 0.85 * noise.std()


def test_smoothing_restarts_after_a_gap() -> None:
    smoother, face = LandmarkSmoother(), some_face()
    smoother(0.0, face)
    after = smoother(MAX_GAP_S + 0.01, face + 50)
    np.testing.assert_array_equal(after, face + 50)
    within = smoother(MAX_GAP_S + 0.06, face + 51)
    assert np.abs(within - (face + 51)).max() > 0


def test_smoothing_does_not_depend_on_size() -> None:
    face, rng = some_face(), np.random.default_rng(3)
    frames = face + rng.normal(0, 1, (20, 68, 2)).astype(np.float32)
    times_s = np.arange(20) / 10
    small, large = smooth_landmarks(times_s, frames), smooth_landmarks(times_s, frames * 4)
    np.testing.assert_allclose(small * 4, large, rtol=1e-4, atol=1e-2)


def test_smoothing_of_no_frames() -> None:
    assert smooth_landmarks(np.zeros(0), np.zeros((0, 68, 2))).shape == (0, 68, 2)


def picture(seed: int, height: int = 180, width: int = 320) -> np.ndarray:
    """A picture [H, W] with structure at all sizes."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width))
    for size in (4, 9, 18):
        coarse = rng.normal(size=(size, size))
        rows = np.arange(height) * size // height
        columns = np.arange(width) * size // width
        total += coarse[rows][:, columns]
    return np.clip(128 + 35 * total, 0, 255).astype(np.uint8)


def cuts(frames: list[np.ndarray]) -> list[int]:
    detector = CutDetector()
    return [index for index, frame in enumerate(frames) if detector.push(frame)]


def test_a_cut_is_detected_once() -> None:
    assert cuts([picture(1)] * 5 + [picture(2)] * 5 + [picture(3)] * 5) == [5, 10]


def test_noise_is_no_cut() -> None:
    rng = np.random.default_rng(0)
    base = picture(1).astype(float)
    noisy = [np.clip(base + rng.normal(0, 12, base.shape), 0, 255) for _ in range(10)]
    assert cuts([frame.astype(np.uint8) for frame in noisy]) == []


def test_a_fade_and_a_change_of_brightness_are_no_cuts() -> None:
    base = picture(1).astype(float)
    levels = [1.0, 0.8, 0.5, 0.3, 0.1, 0.0, 0.0, 0.1, 0.5, 1.0]
    assert cuts([(base * level).astype(np.uint8) for level in levels]) == []
    assert cuts([picture(1), (base * 0.4 + 100).astype(np.uint8)]) == []


@pytest.mark.parametrize("level", [0, 255])
def test_a_flash_is_no_cut(level: int) -> None:
    flash = np.full((180, 320), level, dtype=np.uint8)
    assert cuts([picture(1)] * 3 + [flash] + [picture(1)] * 3) == []
    assert cuts([picture(1)] * 3 + [flash] * 5 + [picture(2)] * 3) == [8]


def test_a_pan_is_no_cut() -> None:
    wide = picture(1, 180, 640)
    assert cuts([wide[:, x : x + 320] for x in range(0, 320, 16)]) == []


def test_a_small_change_is_no_cut() -> None:
    changed = picture(1)
    changed[60:110, 100:170] = 255
    assert cuts([picture(1)] * 3 + [changed] * 3) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 300), (50, 50), (1080, 1920)])
def test_frames_of_any_size_can_be_compared(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(3)]
    assert all(isinstance(CutDetector().push(frame), bool) for frame in frames)


CLIPS = Path(__file__).resolve().parents[3] / "shared" / "clips"
needs_clips = pytest.mark.skipif(not CLIPS.is_dir(), reason="the real clips are not here")

Frame = tuple[float, np.ndarray]


@cache
def frames(name: str, until_s: float = 3.0) -> tuple[Frame, ...]:
    """About ten frames a second (time_s, gray) of a clip."""
    taken: list[Frame] = []
    with av.open(str(CLIPS / name)) as container:
        for frame in container.decode(video=0):
            time_s = float(frame.time or 0.0)
            if time_s > until_s:
                break
            if not taken or time_s >= taken[-1][0] + 0.095:
                gray = np.rot90(frame.to_ndarray(format="gray"), round(frame.rotation / 90))
                taken.append((time_s, np.ascontiguousarray(gray)))
    return tuple(taken)


def track(
    taken: tuple[Frame, ...] | list[Frame],
) -> tuple[list[list[FaceObservation]], FaceTracker]:
    tracker = FaceTracker()
    return [tracker.push(time_s, gray) for time_s, gray in taken], tracker


def normalised(landmarks: np.ndarray) -> np.ndarray:
    left, right = eye_centres(landmarks)
    return (landmarks - (left + right) / 2) / eye_distance(landmarks)


@needs_clips
def test_one_face_is_one_track() -> None:
    seen, tracker = track(frames("face_20s.mp4"))
    assert all(len(faces) == 1 for faces in seen)
    (summary,) = tracker.tracks
    assert (summary.track, summary.start_s, summary.frames) == (1, 0.0, len(seen))
    observation = seen[-1][0]
    assert observation.landmarks.shape == (68, 2)
    assert observation.landmarks.dtype == np.float32
    assert observation.crop.shape == (96, 96)
    assert observation.crop.dtype == np.uint8
    inside = observation.landmarks[36:48]
    assert (inside > observation.box[:2]).all()
    assert (inside < observation.box[2:]).all()


@needs_clips
def test_same_frames_same_faces() -> None:
    first, _ = track(frames("talk_surprise_zh.mp4", 2.0))
    again, _ = track(frames("talk_surprise_zh.mp4", 2.0))
    for a, b in zip(first, again, strict=True):
        assert [o.track for o in a] == [o.track for o in b]
        for one, other in zip(a, b, strict=True):
            np.testing.assert_array_equal(one.landmarks, other.landmarks)
            np.testing.assert_array_equal(one.crop, other.crop)
            assert one.box == other.box


@needs_clips
def test_the_caller_may_decode_into_the_same_memory() -> None:
    taken = frames("talk_angry_zh.mp4", 1.0)
    apart, _ = track(taken)
    tracker, memory = FaceTracker(), taken[0][1].copy()
    for (time_s, gray), expected in zip(taken, apart, strict=True):
        memory[:] = gray
        (seen,) = tracker.push(time_s, memory)
        np.testing.assert_array_equal(seen.landmarks, expected[0].landmarks)


@needs_clips
def test_a_moving_face_stays_one_track() -> None:
    """Across the frame: the chip in which it is followed is cut anew on the way."""
    _, gray = frames("talk_700.mp4")[0]
    face = cv2.resize(gray[40:600, 120:680], (280, 280), interpolation=cv2.INTER_AREA)
    moving: list[Frame] = []
    for step in range(16):
        frame = np.full((360, 640), 90, dtype=np.uint8)
        frame[40:320, 20 * step : 20 * step + 280] = face
        moving.append((step / 10, frame))
    seen, tracker = track(moving)
    assert [s.track for s in tracker.tracks] == [1]
    assert all(len(faces) == 1 for faces in seen)
    lefts = np.array([faces[0].box[0] for faces in seen])
    np.testing.assert_allclose(np.diff(lefts), 20, atol=4)


@needs_clips
def test_a_cut_ends_the_track() -> None:
    before, after = frames("talk_angry_zh.mp4", 1.0), frames("face_20s.mp4", 1.0)
    size = (640, 360)
    joined = [(t, cv2.resize(gray, size)) for t, gray in before]
    joined += [(t + 1.1, cv2.resize(gray, size)) for t, gray in after]
    seen, tracker = track(joined)
    assert [summary.track for summary in tracker.tracks] == [1, 2]
    assert {o.track for faces in seen[: len(before)] for o in faces} == {1}
    assert {o.track for faces in seen[len(before) :] for o in faces} == {2}
    assert len(seen[len(before)]) == 1, "the new face is there in the first frame of its shot"


@needs_clips
def test_a_face_that_leaves_leaves_no_phantom() -> None:
    taken = frames("face_leaves_hevc_vfr.mov", 5.0)
    seen, tracker = track(taken)
    assert [s.track for s in tracker.tracks] == [1]
    for (time_s, _), faces in zip(taken, seen, strict=True):
        assert len(faces) == (time_s < 2.38), time_s


@needs_clips
def test_a_face_that_turns_black_and_comes_back_is_the_same_within_a_second() -> None:
    taken = list(frames("talk_700.mp4", 2.0))
    dark = [(t, np.zeros_like(g) if 0.8 < t < 1.25 else g) for t, g in taken]
    seen, tracker = track(dark)
    assert [s.track for s in tracker.tracks] == [1]
    assert all(len(faces) == (not 0.8 < t < 1.25) for (t, _), faces in zip(dark, seen, strict=True))


@needs_clips
@pytest.mark.parametrize("name", ["no_face_vfr.mp4", "no_duration.webm", "unordered_pts.mov"])
def test_no_face_no_track(name: str) -> None:
    seen, tracker = track(frames(name, 1.0))
    assert tracker.tracks == []
    assert not any(seen)


@needs_clips
def test_three_frames_are_enough_for_a_face() -> None:
    seen, _ = track(frames("talk_vfr.mp4", 0.15))
    assert seen
    assert all(len(faces) == 1 for faces in seen)


@needs_clips
def test_small_faces_are_found() -> None:
    wide = np.full((720, 1280), 90, dtype=np.uint8)
    _, gray = frames("talk_700.mp4")[0]
    wide[300:560, 900:1160] = cv2.resize(gray, (260, 260), interpolation=cv2.INTER_AREA)
    (faces,) = track([(0.0, wide)])[0]
    assert len(faces) == 1
    assert 60 < faces[0].box[2] - faces[0].box[0] < 115


@needs_clips
def test_crowds_are_capped_and_numbered_by_size() -> None:
    _, gray = frames("talk_700.mp4")[0]
    face = cv2.resize(gray[80:560, 180:660], (300, 300), interpolation=cv2.INTER_AREA)
    crowd = np.tile(face, (3, 5))
    (faces,) = track([(0.0, crowd)])[0]
    assert len(faces) == MAX_FACES
    assert [o.track for o in faces] == list(range(1, MAX_FACES + 1))


@needs_clips
@pytest.mark.parametrize("scale", [0.3, 0.5, 2.0, 3.0])
def test_landmarks_do_not_depend_on_size(scale: float) -> None:
    predictor = LandmarkPredictor()
    _, gray = frames("talk_700.mp4")[5]
    found = FaceDetector().whole(gray, 640)[0]
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = np.asarray(cv2.resize(gray, None, fx=scale, fy=scale, interpolation=how), np.uint8)
    left, top, right, bottom = (v * scale for v in found.box)
    apart = np.linalg.norm(
        normalised(predictor(resized, (left, top, right, bottom)))
        - normalised(predictor(gray, found.box)),
        axis=1,
    )
    assert apart.mean() < 0.02
    assert apart.max() < 0.07


@needs_clips
@pytest.mark.parametrize("name", ["acted_happy_1080p.mp4", "talk_surprise_zh.mp4", "talk_700.mp4"])
def test_no_cut_within_a_shot(name: str) -> None:
    detector = CutDetector()
    assert not any(detector.push(gray) for _, gray in frames(name))


@needs_clips
def test_cuts_of_the_stage_clip() -> None:
    detector = CutDetector()
    found = [time_s for time_s, gray in frames("many_faces_stage.mp4", 10.0) if detector.push(gray)]
    # Seen by eye in the decoded frames.
    np.testing.assert_allclose(found, [1.55, 3.65, 7.95], atol=0.11)


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (300, 2), (50, 50), (33, 31)])
def test_tiny_frames_have_no_face(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    tracker = FaceTracker()
    for index in range(4):
        assert tracker.push(index / 10, rng.integers(0, 256, shape, dtype=np.uint8)) == []
    assert tracker.tracks == []


def test_frames_may_change_size() -> None:
    tracker = FaceTracker()
    for index, shape in enumerate([(120, 160), (60, 80), (1, 1), (90, 120)]):
        assert tracker.push(index / 10, np.full(shape, 60, dtype=np.uint8)) == []


def test_landmark_model_is_missing_or_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such landmark model"):
        predictor_path(tmp_path / "nothing.dat")
    wrong = tmp_path / "wrong.dat"
    wrong.write_bytes(b"not a model")
    with pytest.raises(InputError, match="not a dlib landmark model"):
        FaceTracker(wrong)


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


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_two_who_speak_in_turn(share: float) -> None:
    times_s = np.arange(0, 10, 0.1)
    rng = np.random.default_rng(1)
    still, talk = (0.05 + rng.normal(0, spread, len(times_s)) for spread in (0.002, 0.04))
    first = times_s < 10 * share

    def of(track: int, openings: np.ndarray) -> list[FaceObservation]:
        return seen(track, openings, times_s=times_s)

    def in_turn(a: np.ndarray, b: np.ndarray) -> bool:
        return speak_in_turn(sorted(of(1, a) + of(2, b), key=lambda one: one.time_s))

    before, after = np.where(first, talk, still), np.where(first, still, talk)
    assert in_turn(before, after)
    assert in_turn(after, before)
    assert not in_turn(talk, still)
    assert not in_turn(before, still)
    assert not in_turn(talk, talk[::-1])
    assert not speak_in_turn(of(1, before))


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
