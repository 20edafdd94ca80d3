"""Labels are data: 2, 3 or 7 classes of sentiment, numbers, emotions, any names."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avsent.errors import CheckpointError, DatasetError
from avsent.labels import (
    EMOTIONS,
    POLARITY_LABELS,
    SENTIMENT_7,
    LabelSet,
    canonical,
    label_column,
    label_set,
    polarity_of,
    round_half_away,
    valence_of,
)
from avsent.model.checkpoint import Calibration
from avsent.model.decision import HALF_STEP, near_even, probabilities_of
from avsent.model.networks.config import (
    AudioEncoderConfig,
    ContextConfig,
    FaceEncoderConfig,
    TargetConfig,
)
from avsent.model.networks.target import TargetModel, Utterances
from avsent.schema import build, read_json


@dataclass(frozen=True)
class Inner:
    size: int = 3
    scale: float = 0.5
    names: tuple[str, ...] = ("a", "b")


@dataclass(frozen=True)
class Outer:
    title: str
    on: bool = False
    limit: float | None = None
    widths: tuple[int, ...] = ()
    inner: Inner = field(default_factory=Inner)


numbers = st.floats(allow_nan=False, allow_infinity=False)
inners = st.builds(Inner, size=st.integers(), scale=numbers, names=st.lists(st.text()).map(tuple))
outers = st.builds(
    Outer,
    title=st.text(),
    on=st.booleans(),
    limit=st.none() | numbers,
    widths=st.lists(st.integers()).map(tuple),
    inner=inners,
)


@given(outers)
def test_round_trip(value: Outer) -> None:
    assert build(Outer, dataclasses.asdict(value)) == value
    assert build(Outer, json.loads(json.dumps(dataclasses.asdict(value)))) == value


def test_defaults_fill_in_and_lists_become_tuples() -> None:
    built = build(Outer, {"title": "t", "widths": [4, 5], "inner": {"names": []}})
    assert built == Outer("t", widths=(4, 5), inner=Inner(names=()))
    assert isinstance(built.widths, tuple)


@pytest.mark.parametrize(("given_value", "expected"), [(2, 2.0), (-0.25, -0.25), (None, None)])
def test_integers_serve_as_floats(given_value: object, expected: float | None) -> None:
    limit = build(Outer, {"title": "t", "limit": given_value}).limit
    assert limit == expected
    assert type(limit) is type(expected)


TITLE = {"title": "t"}
REFUSED: list[tuple[Any, str]] = [
    ([], "config is not an object"),
    ("text", "config is not an object"),
    (None, "config is not an object"),
    ({}, "config lacks the key 'title'"),
    ({**TITLE, "colour": 1}, "config has the unknown key 'colour'"),
    ({**TITLE, "inner": {"sise": 1}}, "config.inner has the unknown key 'sise'"),
    ({**TITLE, "inner": [1]}, "config.inner is not an object"),
    ({**TITLE, "inner": None}, "config.inner is not an object"),
    ({"title": 3}, "config.title should be str, not int"),
    ({"title": None}, "config.title should be str, not NoneType"),
    ({**TITLE, "on": 1}, "config.on should be bool, not int"),
    ({**TITLE, "limit": True}, "config.limit should be float, not bool"),
    ({**TITLE, "limit": "1"}, "config.limit should be float, not str"),
    ({**TITLE, "limit": float("nan")}, "config.limit is not a finite number"),
    ({**TITLE, "limit": float("-inf")}, "config.limit is not a finite number"),
    ({**TITLE, "widths": 3}, "config.widths is not a list"),
    ({**TITLE, "widths": "34"}, "config.widths is not a list"),
    ({**TITLE, "widths": {"0": 3}}, "config.widths is not a list"),
    ({**TITLE, "widths": [1, 2.0]}, "config.widths[1] should be int, not float"),
    ({**TITLE, "widths": [True]}, "config.widths[0] should be int, not bool"),
    ({**TITLE, "inner": {"size": 1.0}}, "config.inner.size should be int, not float"),
    ({**TITLE, "inner": {"size": False}}, "config.inner.size should be int, not bool"),
    ({**TITLE, "inner": {"scale": None}}, "config.inner.scale should be float, not NoneType"),
    ({**TITLE, "inner": {"names": ["a", 1]}}, "config.inner.names[1] should be str, not int"),
    ({**TITLE, "inner": {"names": None}}, "config.inner.names is not a list"),
]


@pytest.mark.parametrize(("data", "message"), REFUSED, ids=[m for _, m in REFUSED])
def test_refused(data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build(Outer, data)


def test_where_names_the_root() -> None:
    with pytest.raises(ValueError, match=r"^card\.inner\.size should be int, not str$"):
        build(Outer, {"title": "t", "inner": {"size": "3"}}, where="card")


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.dictionaries(st.sampled_from(["title", "on", "limit", "inner", "size"]), inside)
    ),
    max_leaves=8,
)


@dataclass(frozen=True)
class Chain:
    format: str
    next: Chain | None = None


def test_nested_too_deep_is_damaged(tmp_path: Path) -> None:
    """JSON that the parser still reads, but that is too deep for the dataclasses."""
    depth = 600
    link = '{"format": "chain", "next": '
    path = tmp_path / "chain.json"
    path.write_text(link * depth + "null" + "}" * depth)
    assert json.loads(path.read_text())
    with pytest.raises(CheckpointError, match=r"chain\.json: damaged, .*; mend it") as caught:
        read_json(path, Chain, lambda chain: None, form="chain", remedy="mend it")
    assert "\n" not in str(caught.value)


@given(junk)
def test_junk_is_built_or_refused(data: Any) -> None:
    try:
        built = build(Outer, data)
    except ValueError:
        return
    assert build(Outer, dataclasses.asdict(built)) == built


# --- a configuration of the networks -------------------------------------------------------------


def test_the_configuration_alone_rebuilds_the_model() -> None:
    config = TargetConfig(
        labels=("low", "high"),
        audio=AudioEncoderConfig(mel_bands=40, channels=(8, 8, 16), scale=1.0),
        face=FaceEncoderConfig(hidden=(32,)),
        context=ContextConfig(first_gru=8),
    )
    model = TargetModel(config)
    again = TargetModel(build(TargetConfig, json.loads(json.dumps(dataclasses.asdict(config)))))
    assert again.config == config
    again.load_state_dict(model.state_dict())
    there = torch.ones(1, 2, dtype=torch.bool)
    videos = Utterances(
        {"audio": torch.randn(1, 2, 64), "face": torch.randn(1, 2, 64)},
        {"audio": there, "face": there},
        torch.tensor([2]),
    )
    assert torch.equal(model.eval()(videos).logits, again.eval()(videos).logits)


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
    ("columns", "asked", "column"),
    [
        (["sentiment"], "", "sentiment"),
        (["sentiment", "emotion"], "", "label"),
        (["label", "emotion"], "", "label"),
        ([], "", "label"),
        (["sentiment"], "emotion", "emotion"),
    ],
)
def test_the_column_to_learn(columns: list[str], asked: str, column: str) -> None:
    assert label_column(columns, asked) == column


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
        ("3", "nan", None),
        ("real", "N/A", None),
        ("none,some", "None", 0.0),
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


def test_near_even_by_hand() -> None:
    rows = np.array([[0.41, 0.38, 0.21], [0.21, 0.3, 0.49], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    assert near_even(rows, Calibration()).tolist() == [True, False, True, False]
    assert near_even(rows, Calibration(unsure_margin=0.02)).tolist() == [False, False, True, False]
    assert near_even(rows, Calibration(unsure_margin=0.2)).tolist() == [True, True, True, False]
    assert not near_even(rows, Calibration(unsure_margin=0.0)).any()
    # Of a number, 0.40: Φ(−0.1) = 0.460 above, 0.356 between, a lead of 0.105; 0.35: 0.440 − 0.362.
    numbers = probabilities_of(torch.tensor([[0.4], [0.35]]), Calibration(), real=True)
    assert near_even(numbers, Calibration()).tolist() == [False, True]
