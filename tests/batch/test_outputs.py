"""The outputs of a batch: result files, the tables of all files, the summary."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import unicodedata
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from batching import CONFIG, NO_UTF8, OTHER, journal_of, keep, keep_failure, results, write
from handmade import MODEL, make_result, make_utterance, patient, utterance_results
from hypothesis import given
from hypothesis import strategies as st

from avsent.batch import outputs
from avsent.batch.folders import assign_stems
from avsent.batch.journal import Journal, packed, result_of
from avsent.batch.outputs import CSV_NAME, PARQUET_NAME, SUMMARY_NAME, Outputs, check_out
from avsent.errors import OutputError
from avsent.result.record import Attention, Result, TimeWeight, column_names
from avsent.result.writers import Format, make_writer
from avsent.result.writers.data import CsvWriter, cell_text

STEMS = {"a.mp4": "a.mp4", "z/我.mp4": "z/我.mp4", NO_UTF8: NO_UTF8}


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with journal_of(tmp_path, [results()[name] for name in STEMS]) as journal:
        yield journal


def write_all(out: Path, journal: Journal, *formats: Format) -> list[str]:
    """Write what is missing, as a batch does that goes on; gives the names."""
    files = Outputs(out, formats, journal)
    files.prepare()
    missing = list(files.missing(STEMS))
    for name in missing:
        files.write(name, STEMS[name], results()[name])
    return missing


def tree(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and ".avsent" not in path.parts
    }


def test_missing_and_truncated_files_are_written_again(tmp_path: Path, journal: Journal) -> None:
    assert write_all(tmp_path, journal, Format.json, Format.srt) == list(STEMS)
    whole = tree(tmp_path)
    assert set(whole) == {f"{stem}.{end}" for stem in STEMS.values() for end in ("json", "srt")}
    assert Result.from_dict(json.loads(whole["a.mp4.json"])).source == "a.mp4"
    assert list((tmp_path / ".avsent" / "tmp").iterdir()) == []
    assert write_all(tmp_path, journal, Format.srt, Format.json) == []

    (tmp_path / "z" / "我.mp4.srt").unlink()
    (tmp_path / f"{NO_UTF8}.json").write_bytes(whole[f"{NO_UTF8}.json"][:-1])
    assert write_all(tmp_path, journal, Format.json, Format.srt) == ["z/我.mp4", NO_UTF8]
    assert tree(tmp_path) == whole
    # What was asked for once and is not now is left alone.
    (tmp_path / "a.mp4.srt").unlink()
    assert write_all(tmp_path, journal, Format.json) == []


def test_a_new_format_beside_the_old(tmp_path: Path, journal: Journal) -> None:
    write_all(tmp_path, journal, Format.json)
    before = tree(tmp_path)
    assert write_all(tmp_path, journal, Format.json, Format.csv, Format.table) == list(STEMS)
    after = tree(tmp_path)
    assert {name: after[name] for name in before} == before
    assert {"a.mp4.csv", "a.mp4.txt"} <= set(after)
    assert len(after) == 9


def test_half_written_files_of_a_killed_batch_are_removed(tmp_path: Path, journal: Journal) -> None:
    workshop = tmp_path / ".avsent" / "tmp"
    (workshop / "sub").mkdir(parents=True)
    (workshop / ".avsent-0123.tmp").write_bytes(b"half")
    write_all(tmp_path, journal, Format.json)
    assert list(workshop.iterdir()) == []


def test_outputs_of_a_file_that_fails_now_are_removed(tmp_path: Path, journal: Journal) -> None:
    write_all(tmp_path, journal, *Format)
    assert len(tree(tmp_path)) == len(STEMS) * len(Format)
    Outputs(tmp_path, [Format.json], journal).remove("a.mp4", STEMS["a.mp4"])
    assert not [name for name in tree(tmp_path) if name.startswith("a.mp4")]
    assert len(tree(tmp_path)) == (len(STEMS) - 1) * len(Format)


def test_a_result_that_cannot_be_written(tmp_path: Path, journal: Journal) -> None:
    files = Outputs(tmp_path, [Format.json], journal)
    files.prepare()
    (tmp_path / "z").touch()
    with pytest.raises(OutputError, match="cannot make the folder"):
        files.write("z/我.mp4", "z/我.mp4", make_result())
    (tmp_path / "a.mp4.json").mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*a\.mp4\.json: Is a directory"):
        files.write("a.mp4", "a.mp4", make_result())
    assert journal.outputs() == {}
    assert list((tmp_path / ".avsent" / "tmp").iterdir()) == []


def test_output_folders(tmp_path: Path) -> None:
    check_out(tmp_path / "new" / "folder")
    check_out(tmp_path / "new" / "folder")
    (tmp_path / "file").touch()
    for name, message in [
        ("file", "is a file; give a folder with -o"),
        ("file/sub", "cannot make the folder"),
        ("x" * 300, "File name too long"),
    ]:
        with pytest.raises(OutputError, match=message) as error:
            check_out(tmp_path / name)
        assert "\n" not in str(error.value)
    assert sorted(os.listdir(tmp_path)) == ["file", "new"]


EXTENSIONS = {make_writer(format).extension for format in Format}


def folded(path: str) -> str:
    """As the file system of a Mac compares names: without case and Unicode form."""
    plain = unicodedata.normalize("NFD", path).casefold()
    return unicodedata.normalize("NFD", plain)


def output_names(stems: dict[str, str]) -> list[str]:
    return [f"{stem}.{ending}" for stem in stems.values() for ending in EXTENSIONS]


def test_the_name_with_its_ending() -> None:
    names = ["a.mp4", "a.wav", "sub/a.mp4", "no ending", "sub/x.tar.gz", "-a.mp4"]
    assert assign_stems(names, {}) == {name: name for name in names}


def test_names_that_some_file_systems_confuse() -> None:
    assert assign_stems(["A.mp4", "a.MP4", "a.mp4", "a.mp4.2"], {}) == {
        "A.mp4": "A.mp4",
        "a.MP4": "a.MP4.2",
        "a.mp4": "a.mp4.3",
        "a.mp4.2": "a.mp4.2.2",
    }
    assert list(assign_stems(["é.mp4", "e\u0301.mp4"], {}).values()) == [
        "é.mp4",
        "e\u0301.mp4.2",
    ]
    assert assign_stems(["D/a.mp4", "d/a.mp4"], {})["d/a.mp4"] == "d/a.mp4.2"
    assert assign_stems(["\u015b.mp4", "\u017f\u0301.mp4"], {})["\u017f\u0301.mp4"][-2:] == ".2"


@pytest.mark.parametrize("name", ["utterances", "Utterances", "summary", "SUMMARY"])
def test_names_of_the_tables_are_taken_at_the_top(name: str) -> None:
    tables = {folded(table) for table in (CSV_NAME, PARQUET_NAME, SUMMARY_NAME)}
    stems = assign_stems([name, f"sub/{name}", f"{name}.mp4"], {})
    assert not tables & {folded(path) for path in output_names(stems)}
    assert stems[f"sub/{name}"] == f"sub/{name}"
    assert stems[f"{name}.mp4"] == f"{name}.mp4"


def test_long_names_are_cut_between_characters() -> None:
    long = ["我" * 84 + end for end in (".m4", ".mp", ".MP")]  # 255 bytes each
    stems = assign_stems([*long, "x" * 255, "y" * 246, os.fsdecode(b"\xe9" * 255)], {})
    assert stems["y" * 246] == "y" * 246
    for stem in stems.values():
        assert len(os.fsencode(stem)) + max(map(len, EXTENSIONS)) + 1 <= 255
    assert len({folded(path) for path in output_names(stems)}) == len(stems) * len(EXTENSIONS)
    assert stems[long[0]].rpartition("~")[0] == "我" * 79


part = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=85),
    st.sampled_from(["a", "A", "a.2", "A.2", "a.2.2", "ß", "ss", "é", "e\u0301", "utterances"]),
    st.binary(min_size=1, max_size=255).map(
        lambda raw: os.fsdecode(raw.replace(b"/", b"_").replace(b"\0", b"_"))
    ),
)
NAMES = st.lists(st.lists(part, min_size=1, max_size=2).map("/".join), max_size=8, unique=True)


@patient
@given(NAMES, NAMES)
def test_no_two_outputs_have_the_same_path(before: list[str], now: list[str]) -> None:
    known = assign_stems(before, {})
    stems = assign_stems(now, known)
    assert set(stems) == {*before, *now}
    assert {name: stems[name] for name in before} == known
    assert stems == assign_stems(now, known)
    places = [folded(path) for path in output_names(stems)]
    assert len(set(places)) == len(places)
    assert not {folded(CSV_NAME), folded(SUMMARY_NAME), folded(PARQUET_NAME)} & set(places)
    for name, stem in stems.items():
        assert stem.rpartition("/")[0] == name.rpartition("/")[0]
        last = stem.rpartition("/")[2]
        assert all(len(os.fsencode(f"{last}.{ending}")) <= 255 for ending in EXTENSIONS)
        if len(os.fsencode(last)) < 240 and len(stems) == 1:
            assert stem == name or name in ("utterances", "summary")


TABLES = (CSV_NAME, PARQUET_NAME, SUMMARY_NAME)


def contents(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in TABLES}


def rows_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("group_rows", [3, 50_000])
def test_both_tables_hold_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group_rows: int
) -> None:
    monkeypatch.setattr(outputs, "GROUP_ROWS", group_rows)
    with journal_of(tmp_path, results().values(), "bad.mp4") as journal:
        assert write(tmp_path, journal)[0]
    header, *rows = rows_of(tmp_path / CSV_NAME)
    table = pq.read_table(tmp_path / PARQUET_NAME)
    assert header == table.column_names == column_names(MODEL.labels)
    assert len(rows) == table.num_rows == 10
    cells = [list(row.values()) for row in table.to_pylist()]
    assert [[cell_text(cell) for cell in row] for row in cells] == rows
    assert [str(kind) for kind in table.schema.types] == [
        *("string", "int32", "double", "double", "int32", "string", "double"),
        *["double"] * 5,
        *("bool", "bool", "double", "double", "string", "string", "string"),
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
    assert [row["unsure"] for row in plain[:2]] == ["nearly even", None]
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
        "unsure": 1,
        "sentiments": {"negative": 3, "neutral": 2, "positive": 5},
        "mean_score": round(sum(scores) / 10, 6),
        "failures": [{"source": "bad.mp4", "error": "bad.mp4: no media file", "exit_code": 3}],
    }


def test_nothing_but_failures_and_silence(tmp_path: Path) -> None:
    with journal_of(tmp_path, [make_result(0, "b.wav")], NO_UTF8) as journal:
        write(tmp_path, journal)
    assert rows_of(tmp_path / CSV_NAME) == [column_names(MODEL.labels)]
    assert pq.read_table(tmp_path / PARQUET_NAME).num_rows == 0
    summary = json.loads((tmp_path / SUMMARY_NAME).read_text(encoding="utf-8"))
    assert (summary["utterances"], summary["mean_score"]) == (0, None)
    assert summary["sentiments"] == dict.fromkeys(MODEL.labels, 0)
    assert summary["failures"][0]["source"] == NO_UTF8


def test_unchanged_tables_are_not_written_again(tmp_path: Path) -> None:
    with journal_of(tmp_path, results().values(), "bad.mp4") as journal:
        assert write(tmp_path, journal)[0]
        before = contents(tmp_path)
        inodes = {name: (tmp_path / name).stat().st_ino for name in TABLES}
        assert not write(tmp_path, journal)[0]
        assert {name: (tmp_path / name).stat().st_ino for name in TABLES} == inodes

        for name in TABLES:
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


def test_a_batch_killed_between_two_tables_writes_all_again(
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
            patch.setattr(outputs, "write_parquet", killed)
            with pytest.raises(KeyboardInterrupt):
                write(tmp_path, journal)
        assert contents(tmp_path)[CSV_NAME] != before[CSV_NAME]
        keep(journal, results()["a.mp4"])  # as it was: the old digest holds again
        assert write(tmp_path, journal)[0]
        assert contents(tmp_path) == before


def test_the_order_of_the_work_makes_no_difference(tmp_path: Path) -> None:
    shown = []
    three = list(results().values())[:3]
    for number, order in enumerate(permutations(three)):
        out = tmp_path / str(number)
        with journal_of(out, order, "x.mp4", "y.mp4") as journal:
            write(out, journal)
        shown.append(contents(out))
    assert all(one == shown[0] for one in shown)


def test_tables_hold_only_current_files_and_results(tmp_path: Path) -> None:
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
        wrote, found = write(tmp_path, journal)
    assert wrote
    assert [entry.name for entry in found.done] == ["a.mp4", "b.wav"]
    assert [entry.name for entry in found.failed] == ["bad.mp4"]
    assert contents(tmp_path) == contents(tmp_path / "plain")


def test_configurations() -> None:
    assert CONFIG.digest() != OTHER.digest()
    assert len(CONFIG.digest()) == 64
    assert CONFIG.options() == {**OTHER.options(), "strict": False}


# Results in the journal


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
    assert row[-5:-3] == [0.123457, 0.123457]
