"""Finding and following faces on real clips, and on frames that hold none."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from avsent.errors import InputError
from avsent.faces.cuts import CutDetector
from avsent.faces.detector import FaceDetector
from avsent.faces.landmarks import LandmarkPredictor, predictor_path
from avsent.faces.points import eye_centres, eye_distance
from avsent.faces.tracker import MAX_FACES, FaceTracker
from avsent.faces.types import FaceObservation

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "clips"
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
def test_tiny_frames(shape: tuple[int, int]) -> None:
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
