"""``avsent data check``: everything that is wrong with a corpus, at once."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import run_avsent
from corpora import link, make_mmsa, talking_heads, write

from avsent.progress import Progress, ProgressHook, ignore_progress
from avsent.training.data.check import LabelCheck, Problem, find_problems, probe_files, summary
from avsent.training.data.corpus import Row
from avsent.training.data.manifest import read_rows

HEAD = "video,start_s,end_s,speaker,split,label,text\n"


def check_rows(
    rows: list[Row],
    *,
    label: str = "label",
    labels: str = "auto",
    split_by: str = "speaker",
    on_progress: ProgressHook = ignore_progress,
) -> list[Problem]:
    """What the command finds."""
    files = probe_files((row.media for row in rows), on_progress)
    return find_problems(rows, files, LabelCheck(rows, label, labels), split_by)


def kinds(problems: list[Problem]) -> list[tuple[str, str]]:
    """Where and kind of each."""
    return [(problem.where, problem.kind) for problem in problems]


def labelled(*labels: str, column: str = "label") -> list[Row]:
    """Rows of missing files, so that only their labels can be judged."""
    return [
        Row(Path(f"/none/{number}.mp4"), labels={column: label}, text="x", where=f"m:{number}")
        for number, label in enumerate(labels)
    ]


def label_problems(rows: list[Row], labels: str = "auto", label: str = "label") -> list[Problem]:
    found = check_rows(rows, labels=labels, label=label)
    return [problem for problem in found if problem.kind not in ("missing", "label_scale")]


@pytest.fixture
def bad_corpus(tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a manifest full of mistakes, which is also the current folder."""
    heads = talking_heads(clips)
    link(heads[0], tmp_path / "a.mpg")
    shutil.copy(heads[0], tmp_path / "copy of, a.mpg")
    link(heads[1], tmp_path / "b.mpg")
    link(clips / "rotated_90_3frames.mov", tmp_path / "short.mov")
    link(clips / "empty_file.webm", tmp_path / "empty.webm")
    link(clips / "no_duration.webm", tmp_path / "endless.webm")
    link(tmp_path / "gone.mp4", tmp_path / "broken link.mp4")
    write(tmp_path / "notes.mp4", "hello")
    (tmp_path / "folder.mp4").mkdir()
    write(
        tmp_path / "manifest.csv",
        HEAD
        + "a.mpg,0,2,ann,train,happy,x\n"  # 2
        + "a.mpg,0,2,ann,train,happy,x\n"
        + '"copy of, a.mpg",0,2,ann,train,happy,"two\nlines"\n'
        + "b.mpg,1,1.1,bob,train,sad,\n"  # 6
        + "b.mpg,1,200,bob,test,sad,x\n"
        + "b.mpg,,,bob,test,,x\n"
        + "short.mov,,,,,4,x\n"
        + "empty.webm,,,cy,,sad,x\n"  # 10
        + "endless.webm,0,1000,cy,,sad,x\n"
        + "broken link.mp4,,,,,sad,x\n"
        + "notes.mp4,,,,,sad,x\n"
        + "folder.mp4,,,,,sad,x\n"
        + "нет.mp4,0,1,ann,valid,sad,x\n",  # 15
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


EXPECTED = [
    ("3", "duplicate", "the same utterance as manifest.csv:2"),
    ("4", "duplicate", "the same content as manifest.csv:2: copy of, a.mpg and a.mpg"),
    ("6", "too_short", "b.mpg: 0.1 s, less than 0.2 s"),
    ("6", "no_text", "text is empty"),
    ("7", "out_of_file", "ends at 200 s, b.mpg at "),
    (
        "7",
        "shared_speaker",
        "speaker “bob” is in test, and in train (manifest.csv:6); keep it in one split",
    ),
    ("8", "unlabelled", "label is empty"),
    ("9", "too_short", "short.mov: 0.1 s, less than 0.2 s"),
    ("9", "bad_label", "label: “4” is a number, the other labels are not; mend it"),
    ("10", "unreadable", "empty.webm is empty (0 bytes); fetch or record it again"),
    ("11", "out_of_file", "ends at 1000 s, endless.webm at 4.9"),
    ("12", "missing", "no such file: broken link.mp4"),
    ("13", "unreadable", "notes.mp4 is not a media file that avsent reads"),
    ("14", "unreadable", "folder.mp4 is a folder"),
    ("15", "missing", "no such file: нет.mp4"),
    ("15", "shared_speaker", "speaker “ann” is in valid, and in train (manifest.csv:2)"),
]


def test_all_problems_are_found_at_once(bad_corpus: Path) -> None:
    steps: list[Progress] = []
    problems = check_rows(read_rows(bad_corpus), on_progress=steps.append)
    assert kinds(problems) == [(f"manifest.csv:{line}", kind) for line, kind, _ in EXPECTED]
    for problem, (_, _, detail) in zip(problems, EXPECTED, strict=True):
        assert problem.detail.startswith(detail)
        assert problem.detail.isprintable()
    assert [problem.kind for problem in problems if problem.is_note] == ["no_text"]
    assert [step.completed for step in steps] == list(range(1, 11))
    assert {step.total for step in steps} == {10}


def test_a_good_corpus_has_no_problem(tmp_path: Path, clips: Path) -> None:
    rows = read_rows(make_mmsa(tmp_path, clips))
    assert kinds(check_rows(rows)) == [("label.csv:4", "no_text")]
    assert kinds(check_rows(rows, split_by="video", labels="3")) == [("label.csv:4", "no_text")]


def test_no_text_at_all_is_one_note(tmp_path: Path, clips: Path) -> None:
    rows = labelled("sad", "happy")
    bare = [Row(row.media, labels=row.labels, where=row.where) for row in rows]
    assert kinds(label_problems(bare)) == [("all", "no_text")]


def test_damaged_and_partial_files_are_readable(clips: Path) -> None:
    names = ["corrupted_midway.mp4", "failing_audio.mp4", "speech_only.wav", "no_audio_face.mp4"]
    files = [clips / name for name in names]
    for path, facts in probe_files(files).items():
        assert not facts.problem, path
        assert facts.duration_s is not None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "x")
    path.chmod(0)
    facts = probe_files([path])[path]
    assert "may not be read" in facts.problem
    assert not facts.missing


# --- labels --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "kind", "wrong"),
    [
        (["1.5", "-2", "0", "low"], "auto", {"m:3": "“low” is not a number, the other labels are"}),
        (["joy", "sad", "1"], "auto", {"m:2": "“1” is a number, the other labels are not"}),
        (["joy", "sad", "happiness"], "auto", {}),
        (["joy", "sad", "surprise"], "3", {}),  # surprise has no polarity, and is left out
        (["joy", "sad", "grin", "2"], "3", {"m:2": "'grin' is none of the labels negative"}),
        (["1", "joy"], "real", {"m:1": "'joy' is not a number; use a column of numbers"}),
        (["happy", "sad", "angry"], "happy, sad", {"m:2": "'angry' is none of the labels happy"}),
        (["happy", "Happy"], "auto", {"all": "the labels hold 1 classes; at least two"}),
        (["happy", "sad"], "happy", {"all": "the labels hold 1 classes; at least two"}),
        (["-3", "0.5", "bad"], "7", {"m:2": "'bad' is none of the labels highly negative"}),
    ],
)
def test_bad_labels(labels: list[str], kind: str, wrong: dict[str, str]) -> None:
    problems = label_problems(labelled(*labels), kind)
    assert kinds(problems) == [(where, "bad_label") for where in wrong]
    for problem in problems:
        assert problem.detail.startswith(f"label: {wrong[problem.where]}")


def test_missing_label_column() -> None:
    rows = labelled("sad", "happy", " ", column="emotion")
    assert kinds(label_problems(rows, label="emotion")) == [("m:2", "unlabelled")]
    (problem,) = label_problems(rows)
    assert problem == Problem(
        "all", "unlabelled", "no column label; there is emotion: give --label"
    )


# --- splits --------------------------------------------------------------------------------------


def test_each_split_crossing_is_reported_once() -> None:
    file = Path("/none/a.mp4")
    rows = [
        Row(file, 0.0, 1.0, "ann", "train", {"label": "x"}, "t", "scene", "m:1"),
        Row(file, 1.0, 2.0, "ann", "test", {"label": "y"}, "t", "scene", "m:2"),
        Row(file, 2.0, 3.0, "ann", "test", {"label": "x"}, "t", "other", "m:3"),
        Row(file, 3.0, 4.0, "ann", "", {"label": "x"}, "t", "scene", "m:4"),
        Row(file, 4.0, 5.0, "", "valid", {"label": "x"}, "t", "", "m:5"),
    ]
    by_speaker = [p for p in check_rows(rows) if p.kind == "shared_speaker"]
    assert [p.where for p in by_speaker] == ["m:2"]
    by_video = [p for p in check_rows(rows, split_by="video") if p.kind == "shared_speaker"]
    assert [(p.where, p.detail.split(" is in ")[0]) for p in by_video] == [
        ("m:2", "video /none/a.mp4"),
        ("m:2", "context scene"),
        ("m:5", "video /none/a.mp4"),
    ]


# --- the command ---------------------------------------------------------------------------------


def test_summary(bad_corpus: Path, clips: Path) -> None:
    rows = read_rows(bad_corpus)
    files = probe_files(row.media for row in rows)
    line = summary(rows, files, LabelCheck(rows, "label", "auto"))
    assert line.startswith("13 utterances in 10 files, 3 speakers, at least ")
    assert line.endswith("; train 4, valid 1, test 2, no split 6; sad 8, happy 3, 4 1")
    numbers = read_rows(make_mmsa(bad_corpus / "mmsa", clips))
    files = probe_files(row.media for row in numbers)
    assert summary(numbers, files, LabelCheck(numbers, "label", "auto")) == (
        "4 utterances in 4 files, 3 speakers, 0.2 minutes; train 2, valid 1, test 1; "
        "labels from -2 to 1.6"
    )


def test_command_with_problems(bad_corpus: Path) -> None:
    done = run_avsent("data", "check", ".")
    assert done.returncode == 3
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [(where, kind) for where, kind, _ in lines] == [
        (f"manifest.csv:{line}", kind) for line, kind, _ in EXPECTED
    ]
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("avsent: 13 utterances in 10 files")
    assert done.stderr.endswith("; 15 problems, 1 note\n")
    asked = run_avsent("data", "check", "manifest.csv", "--format", "json", "--quiet")
    assert (asked.returncode, asked.stderr) == (3, "")
    assert [item["detail"] for item in json.loads(asked.stdout)] == [line[2] for line in lines]


def test_command_without_problems(tmp_path: Path, clips: Path) -> None:
    make_mmsa(tmp_path, clips)
    done = run_avsent("data", "check", tmp_path)
    assert (done.returncode, done.stdout) == (0, "label.csv:4\tno_text\ttext is empty\n")
    assert done.stderr.endswith("; nothing wrong, 1 note\n")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["."], 3, "avsent: error: manifest.csv:2: start_s without end_s; give both"),
        (["none"], 3, "avsent: error: none: no such file or folder; give a manifest"),
        ([".", "--label", "mood"], 2, "'mood' is none of label, emotion, sentiment"),
        ([".", "--split-by", "day"], 2, "'day'"),
        ([], 2, "Missing argument"),
    ],
)
def test_command_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, said: str
) -> None:
    write(tmp_path / "manifest.csv", HEAD + "a.mp4,1,,,,x,\n")
    monkeypatch.chdir(tmp_path)
    done = run_avsent("data", "check", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr.splitlines()[0]


def test_group_alone_prints_its_help() -> None:
    done = run_avsent("data")
    assert done.returncode == 0
    assert "check" in done.stdout
    assert "import" in done.stdout
