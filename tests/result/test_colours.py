"""The colours of labels and scores: contrast with white, and whether they are told apart."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avsent.labels import EMOTIONS, POLARITY_LABELS, SENTIMENT_7
from avsent.result.colours import (
    NEGATIVE,
    NEUTRAL,
    POSITIVE,
    colour_of,
    colour_of_score,
    colours_of,
)

# Machado, Oliveira, Fernandes: "A physiologically-based model for simulation of color vision
# deficiency" (2009), at full severity, for linear RGB.
SIGHTS = {
    "common": np.eye(3),
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], dtype=float
)


def linear(colour: str) -> np.ndarray:
    """Linear RGB, 0..1."""
    parts = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def contrast_with_white(colour: str) -> float:
    """WCAG's ratio."""
    return float(1.05 / (XYZ[1] @ linear(colour) + 0.05))


def lab(colour: str, sight: str) -> np.ndarray:
    """CIELAB of what is seen."""
    seen = np.clip(np.asarray(SIGHTS[sight]) @ linear(colour), 0, 1)
    t = XYZ @ seen / XYZ.sum(axis=1)
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_the_measures_are_those_of_the_books() -> None:
    assert contrast_with_white("#ffffff") == pytest.approx(1)
    assert contrast_with_white("#000000") == pytest.approx(21)
    assert contrast_with_white("#767676") == pytest.approx(4.54, abs=0.01)
    assert lab("#ff0000", "common") == pytest.approx([53.2, 80.1, 67.2], abs=0.3)


@pytest.mark.parametrize("label", [*POLARITY_LABELS, *SENTIMENT_7, *EMOTIONS, "worried", "maybe"])
def test_white_text_can_be_read_on_every_label(label: str) -> None:
    assert re.fullmatch("#[0-9a-f]{6}", colour_of(label))
    assert contrast_with_white(colour_of(label)) >= 4.5


@given(st.floats(-1, 1))
def test_white_text_can_be_read_on_every_score(score: float) -> None:
    assert contrast_with_white(colour_of_score(score)) >= 4.5


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize(
    ("labels", "least"), [(POLARITY_LABELS, 20), (SENTIMENT_7, 6), (EMOTIONS, 12)]
)
def test_labels_are_told_apart(sight: str, labels: tuple[str, ...], least: float) -> None:
    for one, other in itertools.combinations(labels, 2):
        difference = lab(colour_of(one), sight) - lab(colour_of(other), sight)
        assert np.linalg.norm(difference) >= least, (one, other)


def test_scores_go_from_orange_over_grey_to_teal() -> None:
    assert [colour_of_score(score) for score in (-1, 0, 1)] == [NEGATIVE, NEUTRAL, POSITIVE]
    assert [colour_of(label) for label in POLARITY_LABELS] == [NEGATIVE, NEUTRAL, POSITIVE]
    steps = [lab(colour_of_score(place / 10), "common") for place in range(-10, 11)]
    for before, after in itertools.pairwise(steps):
        assert 0 < np.linalg.norm(after - before) < 12  # no two alike, no jump
    assert colour_of_score(7) == POSITIVE
    assert colour_of_score(-math.inf) == NEGATIVE
    assert colour_of_score(math.nan) == NEUTRAL


def test_names_are_read_as_labels_are() -> None:
    assert colour_of("Joy") == colour_of("happy") == POSITIVE
    assert colour_of(" ANGER ") == colour_of("angry")
    assert colour_of("worried") == NEGATIVE
    assert colour_of("<b>") == colour_of("") == NEUTRAL


def test_labels_of_one_model_have_colours_of_their_own() -> None:
    for labels in (POLARITY_LABELS, SENTIMENT_7, EMOTIONS):
        assert colours_of(labels) == tuple(map(colour_of, labels))
    unknown = colours_of([f"class {number}" for number in range(10)])
    assert len(set(unknown)) == 10
    assert min(map(contrast_with_white, unknown)) >= 4.5
    assert len(colours_of(["?"] * 64)) == 64
    mixed = colours_of(["yes", "no", "surprised", "happy"])
    assert len(set(mixed)) == 4
    assert mixed[2:] == (colour_of("surprised"), colour_of("happy"))
