"""What a batch tells about all files together."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from itertools import permutations
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from batching_results import (
    CONFIG,
    NO_UTF8,
    OTHER,
    journal_of,
    keep,
    keep_failure,
    results,
    write,
)
from handmade import MODEL, make_result, make_utterance, patient, utterance_results
from hypothesis import given
from hypothesis import strategies as st

from avsent.batch import parquet
from avsent.batch.packing import packed, result_of
from avsent.batch.tables import CSV_NAME, PARQUET_NAME, SUMMARY_NAME
from avsent.results import Attention, Result, TimeWeight
from avsent.writers.csv_ import CsvWriter, cell_text, csv_columns

NAMES = (CSV_NAME, PARQUET_NAME, SUMMARY_NAME)


def contents(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in NAMES}


def rows_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("group_rows", [3, 50_000])
def test_both_tables_hold_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group_rows: int
) -> None:
    monkeypatch.setattr(parquet, "GROUP_ROWS", group_rows)
    with journal_of(tmp_path, results().values(), "bad.mp4") as journal:
        assert write(tmp_path, journal)[0]
    header, *rows = rows_of(tmp_path / CSV_NAME)
    table = pq.read_table(tmp_path / PARQUET_NAME)
    assert header == table.column_names == csv_columns(MODEL.labels)
    assert len(rows) == table.num_rows == 10
    cells = [list(row.values()) for row in table.to_pylist()]
    assert [[cell_text(cell) for cell in row] for row in cells] == rows
    assert [str(kind) for kind in table.schema.types] == [
        *("string", "int32", "double", "double", "int32", "string", "double"),
        *["double"] * 5,
        *("bool", "bool", "double", "double", "string", "string"),
    ]
    # In order of name, those that are no UTF-8 last; by place within a file.
    assert [(row[0], row[1]) for row in rows] == [
        *[("-c.mp4", str(n)) for n in range(4)],
        *[("a.mp4", str(n)) for n in range(3)],
        *[("z/我.mp4", str(n)) for n in range(2)],
        ("sub/caf\\udce9.mp4", "0"),
    ]
    plain = table.to_pylist()
    assert plain[4]["text"] == 'He said "no",\nthen; left'
    assert rows[4][header.index("text")] == 'He said "no", then; left'
    assert [row["text"] for row in plain[:2]] == [None, None]
    assert (plain[0]["track"], plain[0]["warnings"]) == (None, "quiet; dark; grainy")
    assert rows[0][header.index("score")] == "-0.000001"
    no_face = plain[3]
    assert (no_face["face_effective"], no_face["face_weight"]) == (False, 0.0)
    assert (no_face["face_peak_s"], no_face["track"]) == (None, None)
    assert rows[3][header.index("face_peak_s")] == ""


def test_summary_by_hand(tmp_path: Path) -> None:
    with journal_of(tmp_path, results().values(), "bad.mp4") as journal:
        write(tmp_path, journal)
    summary = json.loads((tmp_path / SUMMARY_NAME).read_text(encoding="utf-8"))
    scores = [-1e-06, -0.63, 0.0, 0.63]  # of the four; the first by hand
    scores += [0.63, -0.63, 0.0]  # of the three
    scores += [0.63, -0.63]  # of the two
    scores += [0.63]
    assert summary == {
        "schema": "avsent-batch/1",
        "options": {
            "avsent": "1.0",
            "face": "speaking",
            "adapt": "none",
            "rate": None,
            "strict": False,
            "check": True,
            "proxy": None,
        },
        "model": {"name": "handmade", "sha256": "ab" * 32, "labels": list(MODEL.labels)},
        "files": {"done": 5, "failed": 1, "without_utterances": 1},
        "duration_s": 16.0 + 1.0 + 6.0 + 11.0 + 21.0,
        "utterances": 10,
        "sentiments": {"negative": 3, "neutral": 2, "positive": 5},
        "mean_score": round(sum(scores) / 10, 6),
        "failures": [{"source": "bad.mp4", "error": "bad.mp4: no media file", "exit_code": 3}],
    }


def test_nothing_but_failures_and_silence(tmp_path: Path) -> None:
    with journal_of(tmp_path, [make_result(0, "b.wav")], NO_UTF8) as journal:
        write(tmp_path, journal)
    assert rows_of(tmp_path / CSV_NAME) == [csv_columns(MODEL.labels)]
    assert pq.read_table(tmp_path / PARQUET_NAME).num_rows == 0
    summary = json.loads((tmp_path / SUMMARY_NAME).read_text(encoding="utf-8"))
    assert (summary["utterances"], summary["mean_score"]) == (0, None)
    assert summary["sentiments"] == dict.fromkeys(MODEL.labels, 0)
    assert summary["failures"][0]["source"] == NO_UTF8


def test_nothing_is_written_where_nothing_changed(tmp_path: Path) -> None:
    with journal_of(tmp_path, results().values(), "bad.mp4") as journal:
        assert write(tmp_path, journal)[0]
        before = contents(tmp_path)
        inodes = {name: (tmp_path / name).stat().st_ino for name in NAMES}
        assert not write(tmp_path, journal)[0]
        assert {name: (tmp_path / name).stat().st_ino for name in NAMES} == inodes

        for name in NAMES:
            (tmp_path / name).unlink()
            assert write(tmp_path, journal)[0]
            assert contents(tmp_path) == before
            (tmp_path / name).write_bytes(before[name][:-5])  # as a power cut may leave it
            assert write(tmp_path, journal)[0]
            assert contents(tmp_path) == before
            assert not write(tmp_path, journal)[0]

        keep(journal, results()["a.mp4"], content="another")
        assert write(tmp_path, journal)[0]
        keep_failure(journal, "a.mp4")
        assert write(tmp_path, journal)[0]
        assert contents(tmp_path) != before
        keep(journal, results()["a.mp4"])
        assert write(tmp_path, journal)[0]
        assert contents(tmp_path) == before


def test_a_batch_killed_between_the_tables_writes_them_all_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with journal_of(tmp_path, results().values()) as journal:
        write(tmp_path, journal)
        before = contents(tmp_path)
        # As long as before, so that sizes do not tell.
        other = make_result(3, "a.mp4", text='He said "ok",\nthen; left')
        keep(journal, other, content="another")

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(parquet, "write_parquet", killed)
            with pytest.raises(KeyboardInterrupt):
                write(tmp_path, journal)
        assert contents(tmp_path)[CSV_NAME] != before[CSV_NAME]
        keep(journal, results()["a.mp4"])  # as it was: the old digest holds again
        assert write(tmp_path, journal)[0]
        assert contents(tmp_path) == before


def test_the_order_of_the_work_does_not_show(tmp_path: Path) -> None:
    shown = []
    three = list(results().values())[:3]
    for number, order in enumerate(permutations(three)):
        out = tmp_path / str(number)
        with journal_of(out, order, "x.mp4", "y.mp4") as journal:
            write(out, journal)
        shown.append(contents(out))
    assert all(one == shown[0] for one in shown)


def test_only_files_that_are_there_and_results_of_now(tmp_path: Path) -> None:
    kept = [results()["a.mp4"], results()["b.wav"]]
    (tmp_path / "plain").mkdir()
    with journal_of(tmp_path / "plain", kept, "bad.mp4") as journal:
        write(tmp_path / "plain", journal)
    with journal_of(tmp_path, results().values(), "bad.mp4", "gone.mp4") as journal:
        journal.survey(
            {name: name for name in ["a.mp4", "b.wav", "bad.mp4", "-c.mp4", "w", NO_UTF8]}
        )
        keep(journal, results()["-c.mp4"], OTHER)  # of an earlier run with other options
        journal.begin(NO_UTF8)  # not ended
        keep_failure(journal, "w", OTHER)
        wrote, whole = write(tmp_path, journal)
    assert wrote
    assert [entry.name for entry in whole.done] == ["a.mp4", "b.wav"]
    assert [entry.name for entry in whole.failed] == ["bad.mp4"]
    assert whole.labels == MODEL.labels
    assert contents(tmp_path) == contents(tmp_path / "plain")


def test_configurations() -> None:
    assert CONFIG.digest() != OTHER.digest()
    assert len(CONFIG.digest()) == 64
    assert CONFIG.shown() == {**OTHER.shown(), "strict": False}


# What the journal keeps of a result


@patient
@given(st.lists(utterance_results(), max_size=4), st.text(max_size=5))
def test_rows_are_those_of_the_kept_result(utterances: list, source: str) -> None:
    result = Result(source, 60.0, MODEL, utterances=tuple(utterances))
    stored, rows = packed(result)
    kept = result_of(stored)
    assert kept.to_dict() == result.to_dict()
    assert packed(kept) == (stored, rows)
    shown = io.StringIO()
    CsvWriter().write([kept], shown)
    table = list(csv.reader(io.StringIO(shown.getvalue())))[1:]
    assert [[cell_text(cell) for cell in row] for row in json.loads(rows)] == table


def test_the_peak_is_that_of_the_kept_weights() -> None:
    """Rounded, the first of two moments may draw as much attention as the second."""
    close = (TimeWeight(0.1234567, 0.4999998), TimeWeight(2.0, 0.5000002))
    utterance = dataclasses.replace(
        make_utterance(0, 1), attention=Attention({}, face_frames=close, audio_frames=close)
    )
    _, rows = packed(Result("a.mp4", 9.0, MODEL, utterances=(utterance,)))
    (row,) = json.loads(rows)
    assert row[-4:-2] == [0.123457, 0.123457]
