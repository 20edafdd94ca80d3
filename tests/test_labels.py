"""Labels are data: 2, 3 or 7 classes of sentiment, numbers, emotions, any names."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avsent.errors import DatasetError
from avsent.labels import (
    EMOTIONS,
    POLARITY_LABELS,
    SENTIMENT_7,
    LabelSet,
    canonical,
    label_set,
    polarity_of,
    round_half_away,
    valence_of,
)
from avsent.model.calibration import HALF_STEP, Calibration, probabilities_of

TWO = ("negative", "positive")


@pytest.mark.parametrize(
    ("labels", "kind", "names", "real"),
    [
        ([], "2", TWO, False),
        ([], "3", POLARITY_LABELS, False),
        ([], "7", SENTIMENT_7, False),
        (["0.5"], "real", POLARITY_LABELS, True),
        (["0.5", "-1", " 3e-1 ", ""], "auto", POLARITY_LABELS, True),
        (["positive", "negative", ""], "auto", TWO, False),
        (["positive", "neutral", "negative"], "auto", POLARITY_LABELS, False),
        (["0.5", "happy"], "auto", ("happy", "0.5"), False),
        (["Joy", "happiness", "SAD"], "auto", ("happy", "sad"), False),
        (list(reversed(EMOTIONS)), "auto", EMOTIONS, False),
        ([], "sad, Anger,joy", ("happy", "sad", "angry"), False),
        (["tired", "awake"], "auto", ("awake", "tired"), False),
        ([], "0,1", ("0", "1"), False),
        (["0", "1", "1", ""], "auto", ("0", "1"), False),
        (["0", "1", "2"], "auto", POLARITY_LABELS, True),
    ],
)
def test_sets(labels: list[str], kind: str, names: tuple[str, ...], real: bool) -> None:
    assert label_set(labels, kind) == LabelSet(names, real)


@pytest.mark.parametrize(
    ("labels", "kind", "message"),
    [
        ([], "auto", "hold 0 classes"),
        (["", " "], "auto", "hold 0 classes"),
        (["happy", "joy"], "auto", "hold 1 classes"),
        ([], "happy", "hold 1 classes"),
        ([f"name {number}" for number in range(65)], "auto", "65 classes, more than 64"),
    ],
)
def test_no_sets(labels: list[str], kind: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        label_set(labels, kind)


@pytest.mark.parametrize(
    ("kind", "label", "expected"),
    [
        # As CMU-MOSI's binary labels: 0 is positive.
        ("2", "-0.2", 0.0),
        ("2", "0", 1.0),
        ("2", "neutral", None),
        ("2", "joy", 1.0),
        ("3", "0.0", 1.0),
        ("3", "-0.2", 0.0),
        ("3", "1e-3", 2.0),
        ("3", " Positive ", 2.0),
        ("3", "Disgusted", 0.0),
        ("3", "calm", 1.0),
        ("3", "surprise", None),
        ("3", "", None),
        ("7", "-3", 0.0),
        ("7", "-0.5", 2.0),
        ("7", "-0.49", 3.0),
        ("7", "0.5", 4.0),
        ("7", "1.5", 5.0),
        ("7", "2.5", 6.0),
        ("7", "9", 6.0),
        ("7", "weakly  Positive", 4.0),
        ("real", "-1.25", -1.25),
        ("real", "  ", None),
        ("happy,sad", "joy", 0.0),
        ("happy,sad", "sadness", 1.0),
        ("0,1", "1", 1.0),
        ("one,two", "Two", 1.0),
    ],
)
def test_a_label_as_a_number(kind: str, label: str, expected: float | None) -> None:
    assert label_set([], kind).encode(label) == expected


@pytest.mark.parametrize(
    ("kind", "label", "message"),
    [
        ("2", "tired", "'tired' is none of the labels negative, positive"),
        ("3", "nan", "'nan' is none of"),
        ("7", "happy", "'happy' is none of"),
        ("real", "happy", "'happy' is not a number"),
        ("real", "inf", "'inf' is not a number"),
        ("happy,sad", "surprise", "'surprise' is none of"),
        ("happy,sad", "0.5", "'0.5' is none of"),
        ("0,1", "2", "'2' is none of"),
    ],
)
def test_labels_outside_the_set(kind: str, label: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        label_set([], kind).encode(label)


@given(st.floats(-1000, 1000))
def test_rounding_as_cmu_does(number: float) -> None:
    found = round_half_away(number)
    assert abs(found - number) <= 0.5
    assert round_half_away(-number) == -found
    if abs(number) % 1 == 0.5:
        assert abs(found) > abs(number)


def test_polarity_and_valence() -> None:
    assert [polarity_of(name) for name in SENTIMENT_7] == [0, 0, 0, 1, 2, 2, 2]
    assert [valence_of(name) for name in SENTIMENT_7] == [-1, -1, -1, 0, 1, 1, 1]
    assert [polarity_of(name) for name in EMOTIONS] == [1, 1, 2, 0, 0, 0, 0, None]
    # Joy or fright: surprise has no polarity, and neither has a name that means nothing here.
    assert polarity_of("Surprise") is None
    assert valence_of("surprised") == valence_of("tired") == 0
    assert canonical("  ANGER ") == "angry"


# --- numbers and logits to probabilities --------------------------------------------------------


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=5), st.floats(0.1, 5), st.floats(0.1, 3))
def test_a_number_becomes_shares_of_a_bell(
    numbers: list[float], deviation: float, step: float
) -> None:
    outputs = torch.tensor(numbers)[:, None]
    found = probabilities_of(outputs, Calibration(deviation=deviation), real=True)
    assert found.shape == (len(numbers), 3)
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-12)
    higher = probabilities_of(outputs + step, Calibration(deviation=deviation), real=True)
    assert (higher[:, 2] >= found[:, 2]).all()
    mirrored = probabilities_of(-outputs, Calibration(deviation=deviation), real=True)
    np.testing.assert_allclose(mirrored[:, ::-1], found, atol=1e-9)


def test_a_number_by_hand() -> None:
    """At the limit between neutral and positive, half of the bell is above it."""
    (row,) = probabilities_of(torch.tensor([[HALF_STEP]]), Calibration(deviation=1.0), real=True)
    assert row[2] == pytest.approx(0.5)
    assert row[0] == pytest.approx(0.158655, abs=1e-6)  # one deviation below
    (sure,) = probabilities_of(torch.tensor([[0.0]]), Calibration(deviation=0.1), real=True)
    assert sure[1] == pytest.approx(1.0, abs=1e-5)


def test_temperature_and_prior() -> None:
    logits = torch.tensor([[2.0, 0.0]])
    (row,) = probabilities_of(logits, Calibration(2.0, (0.0, 1.0)), real=False)
    assert row == pytest.approx([0.5, 0.5])
