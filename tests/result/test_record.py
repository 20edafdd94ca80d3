"""A result in Python: as a data frame, in a few words, in a notebook, and from a file."""

from __future__ import annotations

import copy
import csv
import dataclasses
import io
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
import pytest
from conftest import ROOT
from handmade import HOSTILE, LABELS, MODEL, make_result, make_utterance, patient, results
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.pretty import pretty_repr

import avsent
from avsent.errors import InputError, UsageError
from avsent.result.record import (
    FIRST_COLUMNS,
    LAST_COLUMNS,
    Attention,
    ModelInfo,
    Result,
    Track,
    column_names,
)
from avsent.result.writers import Format, make_writer

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "result.schema.json").read_text(encoding="utf-8")
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
        ({"duration_s": "long"}, "result.duration_s should be float, not str"),
        ({"duration_s": float("nan")}, "result.duration_s is not a finite number"),
        ({"tracks": {}}, "result.tracks is not a list"),
        ({"utterances": [3]}, "result.utterances[0] is not an object"),
        ({"warnings": [3]}, "result.warnings[0] should be str, not int"),
    ],
)
def test_malformed_content_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Result.from_dict({**PLAIN, **change})
    assert message in str(caught.value)


def test_files_of_other_programs_are_read() -> None:
    track = {"track": 1.0, "start_s": 0, "end_s": 9.5, "frames": 95, "colour": "red"}
    result = Result.from_dict({**PLAIN, "tracks": [track], "made_by": "hand"})
    assert result.tracks == (Track(1, 0.0, 9.5, 95),)
    for change, message in (
        ({"track": 1.5}, "result.tracks[0].track should be int, not float"),
        ({"track": 2**60}, "result.tracks[0].track is too large"),
        ({"end_s": 1e10}, "result.tracks[0].end_s is not a time in seconds"),
        ({"frames": True}, "result.tracks[0].frames should be int, not bool"),
    ):
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            Result.from_dict({**PLAIN, "tracks": [{**track, **change}]})
    for name in ("tracks", "utterances", "warnings"):  # the class has defaults, a file has not
        with pytest.raises(InputError, match=f"result lacks the key '{name}'"):
            Result.from_dict({key: value for key, value in PLAIN.items() if key != name})


def test_missing_field_is_named() -> None:
    plain = {key: value for key, value in PLAIN.items() if key != "model"}
    with pytest.raises(InputError, match="result lacks the key 'model'"):
        Result.from_dict(plain)


def test_unsure_and_results_without_it() -> None:
    one = dataclasses.replace(make_utterance(0, 1), unsure="nearly even")
    assert (one.marked_label, make_utterance(0, 1).marked_label) == ("positive?", "positive")
    assert "unsure='nearly even'" in repr(one)
    result = dataclasses.replace(make_result(2), utterances=(one, make_utterance(1, 2)))
    plain = result.to_dict()
    assert [utterance["unsure"] for utterance in plain["utterances"]] == ["nearly even", None]
    assert Result.from_dict(plain) == Result.from_dict(json.loads(json.dumps(plain)))
    assert [one.unsure for one in Result.from_dict(plain).utterances] == ["nearly even", None]
    assert "<br><bdi>Unsure: nearly even</bdi>" in result._repr_html_()
    assert result._repr_html_().count("Unsure") == 1
    for utterance in plain["utterances"]:  # as written before there was the field
        del utterance["unsure"]
    jsonschema.validate(plain, json.loads((ROOT / "docs/result.schema.json").read_text("utf-8")))
    assert [one.unsure for one in Result.from_dict(plain).utterances] == [None, None]
    with pytest.raises(InputError, match=r"utterances\[0\].unsure should be str, not bool"):
        Result.from_dict({**plain, "utterances": [{**plain["utterances"][0], "unsure": True}]})


TYPES = {
    **dict.fromkeys(("source", "sentiment", "text", "warnings", "unsure"), "string"),
    "index": "int64",
    "track": "Int64",
    **dict.fromkeys(("audio_effective", "face_effective"), "boolean"),
}


def hostile() -> Result:
    """Everything that comes from outside tries to break out."""
    mean = HOSTILE + '"><script>alert(1)</script>'
    one = dataclasses.replace(make_utterance(0, 1), sentiment=mean, text=mean, warnings=(mean,))
    model = ModelInfo(mean, "0" * 64, ("negative", mean))
    return Result(mean, 5.0, model, utterances=(one,), warnings=(mean,))


# --- data frames ----------------------------------------------------------------------------------


@patient
@given(results())
def test_a_data_frame_holds_what_csv_holds(result: Result) -> None:
    table = result.to_dataframe()
    assert list(table.columns) == column_names(result.model.labels)
    assert {name: str(kind) for name, kind in table.dtypes.items()} == {
        name: TYPES.get(name, "float64") for name in table.columns
    }
    rows = list(result.cells())
    assert len(table) == len(rows)
    for given_row, row in zip(table.itertuples(index=False), rows, strict=True):
        for value, cell in zip(given_row, row, strict=True):
            if cell is None:
                assert pd.isna(value)
            elif isinstance(cell, str):
                assert value == cell.encode("utf-8", "backslashreplace").decode("utf-8")
            else:
                assert value == cell


def test_an_empty_data_frame_has_the_same_columns_and_types() -> None:
    full, empty = make_result(3, text="hi").to_dataframe(), make_result(0).to_dataframe()
    assert empty.empty
    assert list(empty.dtypes.items()) == list(full.dtypes.items())
    assert len(pd.concat([empty, full], ignore_index=True)) == 3


def test_what_is_unknown_is_missing() -> None:
    table = make_result(2).to_dataframe()
    assert table["track"].tolist() == [1, pd.NA]
    assert table["text"].isna().all()
    assert table["face_effective"].tolist() == [True, False]
    assert table["face_peak_s"].isna().tolist() == [False, True]


def test_names_that_are_no_unicode_come_through() -> None:
    table = hostile().to_dataframe()
    assert "\\udcff" in table["source"][0]


def test_without_pandas_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match=r"pip install 'avsent\[pandas\]'"):
        make_result().to_dataframe()


# --- in a few words -------------------------------------------------------------------------------


def test_a_short_result_tells_every_utterance() -> None:
    told = repr(make_result(3, text="hello"))
    assert told.startswith("Result(source='talk.mp4', duration_s=16.0, model='handmade', tracks=1,")
    assert told.count("UtteranceResult(") == 3
    assert "sentiment='positive', score=0.63, text='hello'" in told
    assert "more" not in told


def test_a_long_result_is_told_by_its_ends() -> None:
    told = repr(make_result(384))
    assert [n for n in range(384) if f"index={n}," in told] == [0, 1, 382, 383]
    assert "… 380 more" in told
    assert len(told) < 800


def test_attention_is_told_by_its_lengths() -> None:
    assert repr(make_utterance(0, 4).attention) == (
        "Attention(context={audio: 4, face: 4}, face_frames=30, audio_frames=90)"
    )


def test_rich_prints_the_same() -> None:
    result = make_result(400)
    told = pretty_repr(result, max_width=120)
    assert told.splitlines()[0] == "Result("
    assert "… 396 more" in told
    assert told.count("UtteranceResult(") == 4
    file = io.StringIO()
    Console(file=file, force_terminal=True).print(hostile())
    assert "\x9b2J" not in file.getvalue()


# --- in notebooks ---------------------------------------------------------------------------------


class Page(HTMLParser):
    """Counts elements and checks that they close in order; keeps the texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.counts: dict[str, int] = {}
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def shown(result: Result) -> Page:
    html = result._repr_html_()
    html.encode("utf-8")  # a notebook is a file of UTF-8
    return Page(html)


def test_a_notebook_shows_a_row_for_each_utterance() -> None:
    page = shown(make_result(3, text="hello"))
    assert page.counts["tr"] == 4
    assert page.counts["th"] == 8
    assert {"talk.mp4", "positive", "hello", "0:00.4–0:04.1", " +0.63", "59%"} <= set(page.texts)


def test_a_notebook_shows_the_ends_of_a_long_result() -> None:
    page = shown(make_result(400))
    assert page.counts["tr"] == 1 + 10 + 1 + 10
    assert "… 380 more" in page.texts
    assert page.counts["th"] == 7  # no utterance has a text


def test_a_notebook_shows_a_result_without_utterances() -> None:
    page = shown(make_result(0))
    assert "table" not in page.counts
    assert {"No utterances found.", "no speech was found"} <= set(page.texts)


@patient
@given(results())
def test_every_result_can_be_shown(result: Result) -> None:
    page = shown(result)
    assert page.counts.get("tr", 0) == (len(result.utterances) + 1) * bool(result.utterances)
    assert "script" not in page.counts
    assert pretty_repr(result)


def test_nothing_from_outside_breaks_out() -> None:
    page = shown(hostile())
    assert set(page.counts) <= {
        *("div", "p", "strong", "bdi", "table", "thead", "tbody", "tr", "th", "td", "span", "br")
    }
    assert sum("<script>alert(1)</script>" in text for text in page.texts) == 6
    assert not any(c in text for text in page.texts for c in "\x1b\x9b\u202e\udcff")


# --- files ----------------------------------------------------------------------------------------


@patient
@given(results())
def test_a_file_is_read_back(tmp_path_factory: pytest.TempPathFactory, result: Result) -> None:
    path = tmp_path_factory.mktemp("read") / "talk.json"
    with path.open("w", encoding="utf-8") as file:
        make_writer(Format.json).write([result], file)
    assert avsent.Result.load(path).to_dict() == result.to_dict()


def test_a_file_that_holds_no_result_is_told_by_name(tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    for text, what in (
        ("not json", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("\udcff", "is not JSON"),
        (json.dumps([make_result().to_dict()] * 2), "the results of 2 files"),
        ("[]", "the results of 0 files"),
        (json.dumps({"schema": "avsent/2"}), "'avsent/2'"),
    ):
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(InputError) as caught:
            Result.load(path)
        assert what in str(caught.value)
        assert str(path) in str(caught.value)
    path.write_text(json.dumps([make_result().to_dict()]))
    assert Result.load(path).to_dict() == make_result().to_dict()
    for wrong in (tmp_path, tmp_path / "none.json", "nul\0byte"):
        with pytest.raises(InputError):
            Result.load(wrong)


def test_the_model_is_told_by_name() -> None:
    assert f"model={MODEL.name!r}" in repr(make_result())


TYPES_COLUMNS: dict[str, type] = {
    "text": str,
    "whole number": int,
    "number": float,
    "truth value": bool,
}
PARQUET = {"text": "string", "whole number": "int32", "number": "double", "truth value": "bool"}


def documented() -> dict[str, tuple[str, str]]:
    """Type and when it is unknown, by column, in the order of the table."""
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    section = text.partition("## Columns of CSV\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", section, re.MULTILINE)
    assert len(rows) == section.count("\n| `")
    assert all(meaning.strip() for *_, meaning in rows)
    return {column: (kind, unknown) for column, kind, unknown, _ in rows}


def expanded() -> dict[str, tuple[str, str]]:
    """The same, with a column for each label."""
    found = {}
    for column, facts in documented().items():
        names = [f"p_{label}" for label in LABELS] if column == "p_<label>" else [column]
        found.update(dict.fromkeys(names, facts))
    return found


def results_columns() -> list[Result]:
    """With and without what may be unknown."""
    full = make_result(2, text="good morning")
    even = dataclasses.replace(
        full.utterances[0], unsure="neutral 0.41, negative 0.38: nearly even"
    )
    full = dataclasses.replace(full, utterances=(even, *full.utterances[1:]))
    bare = tuple(
        dataclasses.replace(
            one,
            modalities={},
            attention=dataclasses.replace(one.attention, face_frames=(), audio_frames=()),
            probabilities={},
        )
        for one in make_result(1).utterances
    )
    return [full, dataclasses.replace(make_result(1), utterances=bare)]


def test_the_documentation_names_all_columns_in_their_order() -> None:
    assert list(documented()) == [*FIRST_COLUMNS, "p_<label>", *LAST_COLUMNS]
    assert list(expanded()) == column_names(LABELS)
    assert {kind for kind, _ in documented().values()} == set(TYPES_COLUMNS)


def test_cells_are_of_the_documented_type() -> None:
    seen: set[tuple[str, bool]] = set()
    for result in results_columns():
        for cells in result.cells(LABELS):
            for (column, (kind, unknown)), cell in zip(expanded().items(), cells, strict=True):
                if cell is None:
                    assert not unknown.startswith("never"), column
                else:
                    assert type(cell) is TYPES_COLUMNS[kind], column
                seen.add((column, cell is None))
    for column, (_, unknown) in expanded().items():
        assert (column, False) in seen
        assert ((column, True) in seen) == (not unknown.startswith("never"))


def test_csv_has_them() -> None:
    file = io.StringIO()
    make_writer(Format.csv).write(results_columns(), file)
    file.seek(0)
    header, *rows = csv.reader(file)
    assert header == list(expanded())
    numbers = [place for place, (kind, _) in enumerate(expanded().values()) if kind == "number"]
    for row in rows:
        assert all(re.fullmatch(r"(-?\d+\.\d{6})?", row[place]) for place in numbers)


def test_parquet_has_them(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    from avsent.batch.outputs import write_parquet

    rows = [cells for result in results_columns() for cells in result.cells(LABELS)]
    write_parquet(tmp_path / "a.parquet", tmp_path, LABELS, rows)
    table = pq.read_table(tmp_path / "a.parquet")
    assert {field.name: str(field.type) for field in table.schema} == {
        column: PARQUET[kind] for column, (kind, _) in expanded().items()
    }
    assert [list(row.values()) for row in table.to_pylist()] == rows
