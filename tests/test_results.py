"""The result and its file form: schema ``avsent/1``."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from handmade import make_result, patient, results
from hypothesis import given
from hypothesis import strategies as st

from avsent.errors import InputError
from avsent.results import Attention, Result

SCHEMA = json.loads(
    (Path(__file__).parent.parent / "docs" / "result.schema.json").read_text(encoding="utf-8")
)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_every_field_of_the_schema_is_described() -> None:
    def undescribed(node: object, name: str) -> list[str]:
        if not isinstance(node, dict):
            return []
        found = []
        for key, value in node.get("properties", {}).items():
            target = SCHEMA["$defs"][value["$ref"].rpartition("/")[2]] if "$ref" in value else value
            if "description" not in value and "description" not in target:
                # A modality describes its own fields.
                found += [] if "properties" in target else [f"{name}.{key}"]
            found += undescribed(value, f"{name}.{key}")
        return found

    nodes = {"result": SCHEMA, **SCHEMA["$defs"]}
    assert [name for key, node in nodes.items() for name in undescribed(node, key)] == []


@patient
@given(results())
def test_to_dict_is_valid_and_keeps_sums(result: Result) -> None:
    plain = result.to_dict()
    VALIDATOR.validate(plain)
    assert json.loads(json.dumps(plain)) == plain
    for utterance, original in zip(plain["utterances"], result.utterances, strict=True):
        assert sum(utterance["probabilities"].values()) == pytest.approx(1, abs=1e-6)
        shares = [share["weight"] for share in utterance["modalities"].values()]
        assert sum(shares) == pytest.approx(1, abs=1e-6)
        lists = [
            *utterance["attention"]["context"].values(),
            [frame["weight"] for frame in utterance["attention"]["face_frames"]],
            [frame["weight"] for frame in utterance["attention"]["audio_frames"]],
        ]
        for weights in filter(None, lists):
            assert sum(weights) == pytest.approx(1, abs=1e-6)
        assert ("text" in utterance) == (original.text is not None)


@patient
@given(results())
def test_round_trip(result: Result) -> None:
    plain = result.to_dict()
    again = Result.from_dict(json.loads(json.dumps(plain)))
    assert again.to_dict() == plain
    assert again.source == result.source
    assert [u.text for u in again.utterances] == [u.text for u in result.utterances]


def test_many_equal_weights_still_sum_to_one() -> None:
    # Each of 7000 weights rounds to 0.000143, which would sum to 1.001.
    utterance = make_result().utterances[0]
    even = Attention({"audio": (1 / 7000,) * 7000, "face": ()})
    plain = dataclasses.replace(utterance, attention=even).to_dict()
    assert sum(plain["attention"]["context"]["audio"]) == pytest.approx(1, abs=1e-6)


def test_an_ineffectual_modality_is_empty() -> None:
    plain = make_result().to_dict()["utterances"][-1]
    assert plain["modalities"]["face"] == {"weight": 0.0, "effective": False}
    assert plain["attention"]["context"]["face"] == []
    assert plain["attention"]["face_frames"] == []
    assert plain["track"] is None


def paths_of(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to everything inside, the longest lists cut short."""
    children = node.items() if isinstance(node, dict) else []
    if isinstance(node, list):
        children = list(enumerate(node))[:2]
    return [path] * bool(path) + [
        p for key, child in children for p in paths_of(child, (*path, key))
    ]


PLAIN = make_result(2, text="hello").to_dict()
PATHS = paths_of(PLAIN)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@patient
@given(st.sampled_from(PATHS), JSON_VALUES | st.just(10**400))
def test_malformed_content_is_an_input_error_of_one_line(path: tuple[Any, ...], junk: Any) -> None:
    plain = copy.deepcopy(PLAIN)
    node: Any = plain
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = junk
    # Some junk is legal where it stands; the rest must not raise anything else.
    messages = ["result"]
    try:
        Result.from_dict(plain)
    except InputError as error:
        messages.append(str(error))
    assert all("\n" not in message and "result" in message for message in messages)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "avsent/2"}, "'avsent/2'"),
        ({"duration_s": "long"}, "result.duration_s must be a finite number"),
        ({"duration_s": float("nan")}, "result.duration_s must be a finite number"),
        ({"tracks": {}}, "result.tracks must be a list"),
        ({"utterances": [3]}, "result.utterances[0] must be an object"),
        ({"warnings": [3]}, "result.warnings must be text only"),
    ],
)
def test_malformed_content_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Result.from_dict({**PLAIN, **change})
    assert message in str(caught.value)


def test_missing_field_is_named() -> None:
    plain = {key: value for key, value in PLAIN.items() if key != "model"}
    with pytest.raises(InputError, match=r"result\.model is missing"):
        Result.from_dict(plain)
