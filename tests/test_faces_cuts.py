"""Cuts: found between shots, not within them, not at flashes and fades."""

from __future__ import annotations

import numpy as np
import pytest

from avsent.faces.cuts import CutDetector


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


def test_a_cut_is_found_once() -> None:
    assert cuts([picture(1)] * 5 + [picture(2)] * 5 + [picture(3)] * 5) == [5, 10]


def test_a_still_picture_with_noise_has_none() -> None:
    rng = np.random.default_rng(0)
    base = picture(1).astype(float)
    noisy = [np.clip(base + rng.normal(0, 12, base.shape), 0, 255) for _ in range(10)]
    assert cuts([frame.astype(np.uint8) for frame in noisy]) == []


def test_a_fade_and_a_change_of_brightness_are_none() -> None:
    base = picture(1).astype(float)
    levels = [1.0, 0.8, 0.5, 0.3, 0.1, 0.0, 0.0, 0.1, 0.5, 1.0]
    assert cuts([(base * level).astype(np.uint8) for level in levels]) == []
    assert cuts([picture(1), (base * 0.4 + 100).astype(np.uint8)]) == []


@pytest.mark.parametrize("level", [0, 255])
def test_a_flash_is_none(level: int) -> None:
    flash = np.full((180, 320), level, dtype=np.uint8)
    assert cuts([picture(1)] * 3 + [flash] + [picture(1)] * 3) == []
    assert cuts([picture(1)] * 3 + [flash] * 5 + [picture(2)] * 3) == [8]


def test_a_pan_is_none() -> None:
    wide = picture(1, 180, 640)
    assert cuts([wide[:, x : x + 320] for x in range(0, 320, 16)]) == []


def test_small_change_is_none() -> None:
    changed = picture(1)
    changed[60:110, 100:170] = 255
    assert cuts([picture(1)] * 3 + [changed] * 3) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 300), (50, 50), (1080, 1920)])
def test_any_size(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(3)]
    assert all(isinstance(CutDetector().push(frame), bool) for frame in frames)
