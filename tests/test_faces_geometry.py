"""Boxes, similarity transforms and aligned crops, against values worked out by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avsent.faces.alignment import EYE_DISTANCE_PX, TEMPLATE, align_crop, anchors
from avsent.faces.geometry import (
    apply,
    chip_matrix,
    fit_similarity,
    inverse,
    overlap,
    roll,
    same_place,
    warp,
)


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


def test_similarity_of_a_quarter_turn() -> None:
    source = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    # Twice as large, a quarter turn (x to y), shifted by (5, -1).
    target = np.array([[5.0, -1.0], [5.0, 1.0], [1.0, -1.0]])
    np.testing.assert_allclose(fit_similarity(source, target), [[0, -2, 5], [2, 0, -1]], atol=1e-9)


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
    found = fit_similarity(points, points @ turn.T + np.array(shift))
    np.testing.assert_allclose(found, matrix, atol=1e-6 * scale + 1e-6)
    np.testing.assert_allclose(apply(inverse(found), apply(found, points)), points, atol=1e-2)


def test_one_point_gives_a_shift() -> None:
    same = np.ones((4, 2))
    np.testing.assert_allclose(fit_similarity(same, same + 3), [[1, 0, 3], [0, 1, 3]])


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
