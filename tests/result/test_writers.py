"""The output formats."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re

import jsonschema
import pytest
from conftest import ROOT
from handmade import HOSTILE, MODEL, make_result, patient
from hypothesis import given
from hypothesis import strategies as st

from avsent.result.record import FIRST_COLUMNS, LAST_COLUMNS, Result
from avsent.result.writers import Format, make_writer
from avsent.result.writers.data import Writer
from avsent.result.writers.terminal import TableWriter
from avsent.text import clock, one_line, printable, score_text

DOCS = ROOT / "docs"
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def written(writer: Writer, *results: Result) -> str:
    file = io.StringIO()
    writer.write(iter(results), file)
    return file.getvalue()


def hostile() -> Result:
    result = make_result(2, HOSTILE, text=HOSTILE)
    utterance = dataclasses.replace(result.utterances[1], warnings=(HOSTILE,), sentiment=HOSTILE)
    return dataclasses.replace(
        result,
        utterances=(result.utterances[0], utterance),
        warnings=(HOSTILE,),
        model=dataclasses.replace(MODEL, name=HOSTILE),
    )


# JSON


def test_json_of_one_is_an_object_of_the_schema() -> None:
    plain = json.loads(written(make_writer(Format.json), make_result()))
    jsonschema.validate(plain, json.loads((DOCS / "result.schema.json").read_text()))
    assert Result.from_dict(plain).to_dict() == make_result().to_dict()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_json_of_several_is_an_array(count: int) -> None:
    text = written(make_writer(Format.json, several=True), *[make_result()] * count)
    assert len(json.loads(text)) == count
    assert isinstance(json.loads(text), list)


def test_json_is_readable_where_the_file_can_hold_it() -> None:
    result = make_result(1, "我.mp4")
    assert "我.mp4" in written(make_writer(Format.json), result)
    ascii_file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    make_writer(Format.json).write([result], ascii_file)
    ascii_file.seek(0)
    assert json.load(ascii_file)["source"] == "我.mp4"


def test_jsonl_has_a_line_per_utterance() -> None:
    lines = written(make_writer(Format.jsonl), make_result(2), make_result(1, "b.wav")).splitlines()
    plain = [json.loads(line) for line in lines]
    assert [(line["source"], line["index"]) for line in plain] == [
        ("talk.mp4", 0),
        ("talk.mp4", 1),
        ("b.wav", 0),
    ]
    assert {key: plain[0][key] for key in plain[0] if key != "source"} == (
        make_result(2).to_dict()["utterances"][0]
    )


# CSV


def test_csv_has_one_header_and_reads_back() -> None:
    text = written(make_writer(Format.csv), make_result(3, text="one\ntwo, three"), make_result(1))
    rows = list(csv.DictReader(io.StringIO(text)))
    labels = [f"p_{label}" for label in MODEL.labels]
    assert list(rows[0]) == [*FIRST_COLUMNS, *labels, *LAST_COLUMNS]
    assert len(rows) == 4
    first, last = rows[0], rows[2]
    assert first["text"] == "one two, three"
    assert float(first["score"]) == pytest.approx(0.63)
    assert sum(float(first[label]) for label in labels) == pytest.approx(1)
    assert float(first["face_peak_s"]) == pytest.approx(0.42 + 7 * 3.68 / 30, abs=1e-5)
    assert (last["track"], last["face_peak_s"], last["face_effective"]) == ("", "", "false")
    assert last["warnings"] == "no face is seen"


def test_csv_is_written_as_results_come() -> None:
    file = io.StringIO()

    def results() -> object:
        yield make_result(1)
        assert len(file.getvalue().splitlines()) == 2
        yield make_result(1)

    make_writer(Format.csv).write(results(), file)  # type: ignore[arg-type]
    assert len(file.getvalue().splitlines()) == 3


# Table


@pytest.mark.parametrize("width", [80, 100, 120])
def test_table_fits(width: int) -> None:
    text = written(TableWriter(width=width, attention=True), make_result(24, text="words " * 40))
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text
    assert "41%" in text
    assert "! no face is seen" in text
    assert ("Cut to the first" in text) == (width < 100)


def test_table_shows_the_score_as_a_bar_around_zero() -> None:
    lines = written(TableWriter(width=120), make_result(2)).splitlines()
    assert "──────────│██████────" in lines[3]
    assert "────██████│──────────" in lines[4]


def test_table_says_that_there_is_nothing() -> None:
    text = written(TableWriter(attention=True), make_result(0))
    assert "No utterances found." in text
    assert "! no speech was found" in text


def test_table_is_ascii_where_the_file_is() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")
    TableWriter(attention=True).write([make_result()], file)
    file.seek(0)
    assert "----------|######----" in file.read()


def test_table_and_csv_mark_what_is_unsure() -> None:
    result = make_result(12)
    utterances = list(result.utterances)
    for number, reason in ((1, "voice unlike the training data"), (4, "nearly even")):
        utterances[number] = dataclasses.replace(utterances[number], unsure=reason)
    marked = dataclasses.replace(result, utterances=tuple(utterances))
    lines = written(TableWriter(width=100), marked).splitlines()
    labels = [line.split()[2] for line in lines[3:15]]
    assert [number for number, label in enumerate(labels) if label.endswith("?")] == [1, 4]
    assert labels[4] == "negative?"
    assert lines[-1] == "? unsure (2 of 12): two labels nearly even, or unlike the training data"
    assert "?" not in written(TableWriter(width=100), result)
    rows = list(csv.DictReader(io.StringIO(written(make_writer(Format.csv), marked))))
    assert {row["unsure"]: row["sentiment"] for row in rows[1:5]} == {
        "voice unlike the training data": "negative",
        "": "positive",
        "nearly even": "negative",
    }


# Texts from outside


@pytest.mark.parametrize("format", list(Format))
def test_nothing_controls_the_terminal(format: Format) -> None:
    text = written(make_writer(format, attention=True), hostile())
    assert CONTROLS.findall(text) == []
    text.encode()
    if format is Format.table:
        assert "[red]d[/red]" in text


@patient
@given(st.text())
def test_one_line_is_one_printable_line(text: str) -> None:
    line = one_line(text)
    assert CONTROLS.findall(line) == []
    assert "\n" not in line
    line.encode()


@patient
@given(st.text())
def test_printable_shows_every_character(text: str) -> None:
    assert printable(text).isprintable()
    assert printable("a\n\t\x1b\u200d\udcff b") == "a\\n\\t\\x1b\\u200d\\udcff b"
    assert one_line("a\n\t\x1b\u200d\udcff b") == "a \\x1b\u200d\\udcff b"


@pytest.mark.parametrize(
    ("score", "shown"),
    [(0.634, "+0.63"), (-0.2, "-0.20"), (0.0, "+0.00"), (-0.004, "+0.00"), (1, "+1.00")],
)
def test_a_score_has_its_sign(score: float, shown: str) -> None:
    assert score_text(score) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0:00.0"),
        (59.96, "1:00.0"),
        (3599.99, "1:00:00.0"),
        (61.24, "1:01.2"),
        (-0.04, "0:00.0"),
    ],
)
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown
