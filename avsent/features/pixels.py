"""Aligned crops as the pixel network sees them: small, and free of the camera's brightness."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

PICTURE_PX = 48
PICTURE_EVERY = 2
"""Of a face sequence every second frame is looked at: at 10 Hz an expression is seen five times a
second, and the network on pixels costs more than all others together."""
MIN_DEVIATION = 4.0
"""Grey levels: below it there is nothing to be seen, and noise is not blown up."""


def pictures_of(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Those of the ``crops`` [T, S, S] of a face sequence that are looked at, [⌈T/2⌉, 48, 48]."""
    shape = PICTURE_PX, PICTURE_PX
    small = [
        cv2.resize(crop, shape, interpolation=cv2.INTER_AREA) for crop in crops[::PICTURE_EVERY]
    ]
    return np.stack(small).astype(np.uint8)


def standardised(grey: NDArray[Any]) -> NDArray[np.float32]:
    """Each picture of ``grey`` [T, H, W] with mean 0 and deviation 1."""
    values = grey.astype(np.float32)
    values -= values.mean(axis=(1, 2), keepdims=True)
    values /= np.maximum(values.std(axis=(1, 2), keepdims=True), MIN_DEVIATION)
    return values
