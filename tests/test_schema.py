"""Dataclasses from plain data: every wrong entry is refused, and the message says where."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avsent.model.networks.config import (
    AudioEncoderConfig,
    ContextConfig,
    FaceEncoderConfig,
    TargetConfig,
)
from avsent.model.networks.target import TargetModel, Utterances
from avsent.schema import build


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
