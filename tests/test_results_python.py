"""A result in Python: as a data frame, in a few words, in a notebook, and from a file."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from handmade import HOSTILE, MODEL, make_result, make_utterance, patient, results
from hypothesis import given
from rich.console import Console
from rich.pretty import pretty_repr

import avsent
from avsent.errors import InputError, UsageError
from avsent.results import ModelInfo, Result
from avsent.writers import Format, make_writer
from avsent.writers.csv_ import csv_columns, result_cells

TYPES = {
    **dict.fromkeys(("source", "sentiment", "text", "warnings"), "string"),
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
    assert list(table.columns) == csv_columns(result.model.labels)
    assert {name: str(kind) for name, kind in table.dtypes.items()} == {
        name: TYPES.get(name, "float64") for name in table.columns
    }
    rows = list(result_cells(result))
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
