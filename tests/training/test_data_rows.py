"""Labelled utterances from the layouts of published corpora."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import run_avsent
from corpora import MELD_CSVS, link, make_meld, make_mmsa, meld_lines, talking_heads, write

from avsent.errors import DatasetError
from avsent.training.data.corpus import Row
from avsent.training.data.listing import read_rows
from avsent.training.data.manifest import read_manifest


def test_mmsa(tmp_path: Path, clips: Path) -> None:
    rows = read_rows(make_mmsa(tmp_path, clips))
    raw = tmp_path.resolve() / "Raw"
    assert rows[0] == Row(
        media=raw / "vid_a" / "0001.mp4",
        speaker="vid_a",
        split="train",
        labels={"label": "1.6", "sentiment": "1.6"},
        text="Good, really",
        context="vid_a",
        where="label.csv:2",
    )
    assert [row.media for row in rows[1:]] == [
        raw / "vid_a" / "0002.mp4", raw / "vid b" / "1.mp4", raw / "-c" / "12.mp4"
    ]  # fmt: skip
    assert [row.split for row in rows] == ["train", "train", "valid", "test"]
    assert all(row.media.is_file() for row in rows)
    assert read_rows(tmp_path / "label.csv") == rows


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a,1,x,0.5,Positive,training", "label.csv:2: split “training” is none of"),
        ("..,1,x,0.5,Positive,train", "label.csv:2: video_id “..” is no name of a file"),
        ("a,b/c,x,0.5,Positive,train", "label.csv:2: clip_id “b/c” is no name of a file"),
        (",1,x,0.5,Positive,train", "label.csv:2: video_id “” is no name of a file"),
    ],
)
def test_mmsa_refused(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "Raw").mkdir()
    write(tmp_path / "label.csv", f"video_id,clip_id,text,label,annotation,mode\n{line}\n")
    with pytest.raises(DatasetError) as caught:
        read_rows(tmp_path)
    assert said in str(caught.value)


def test_mmsa_without_its_parts(tmp_path: Path) -> None:
    label_file = write(tmp_path / "label.csv", "video_id,clip_id,label\na,1,0\n")
    with pytest.raises(DatasetError, match=r"label\.csv:1: no column mode; begin the file with"):
        read_rows(tmp_path)
    write(label_file, "video_id,clip_id,label,mode\na,1,0,train\n")
    with pytest.raises(DatasetError, match=r"no folder Raw beside it; put the clips in Raw/"):
        read_rows(tmp_path)


@pytest.mark.parametrize("nested", [False, True])
def test_meld(tmp_path: Path, clips: Path, nested: bool) -> None:
    rows = read_rows(make_meld(tmp_path, clips, nested=nested))
    assert [row.split for row in rows] == ["train"] * 3 + ["valid"] * 3 + ["test"] * 3
    assert rows[1] == Row(
        media=tmp_path.resolve() / ("train" if nested else "") / "train_splits/dia0_utt1.mp4",
        speaker="The Interviewer",
        split="train",
        labels={"label": "neutral", "emotion": "neutral", "sentiment": "neutral"},
        text="You must’ve had your hands full.",
        context="train dialogue 0",
        where="train_sent_emo.csv:3",
    )
    # Dialogue 0 is in each split, and each has its own clip.
    assert all(row.media.is_file() for row in rows)
    assert len({row.media.resolve() for row in rows}) == 9
    assert len({row.context for row in rows if " 0" in row.context}) == 3
    assert rows[3].labels == {"label": "negative", "emotion": "sadness", "sentiment": "negative"}


def test_meld_clips_beside_or_above(tmp_path: Path, clips: Path) -> None:
    clip = talking_heads(clips)[0]
    text = "".join(meld_lines("dev", 1))
    beside = write(tmp_path / "a" / MELD_CSVS["dev"], text)
    link(clip, beside.parent / "dia0_utt0.mp4")
    lists = write(tmp_path / "b" / "lists" / MELD_CSVS["dev"], text)
    link(clip, tmp_path / "b" / "dev_splits_complete" / "dia0_utt0.mp4")
    # A clip of another split with the same name must not be taken.
    link(clip, tmp_path / "b" / "train_splits" / "dia0_utt0.mp4")
    for data in (beside, lists):
        (row,) = read_rows(data)
        assert row.media.is_file()
        assert "train" not in str(row.media.relative_to(tmp_path.resolve()))


def test_meld_without_clips_names_where_they_should_be(tmp_path: Path) -> None:
    write(tmp_path / MELD_CSVS["train"], "".join(meld_lines("train", 1)))
    write(tmp_path / MELD_CSVS["test"], "".join(meld_lines("test", 1)))
    media = [row.media.relative_to(tmp_path.resolve()).as_posix() for row in read_rows(tmp_path)]
    assert media == ["train_splits/dia0_utt0.mp4", "output_repeated_splits_test/dia0_utt0.mp4"]


def test_meld_refused(tmp_path: Path) -> None:
    lines = meld_lines("train", 1)
    with pytest.raises(DatasetError, match=r"tells no split; name it train_sent_emo\.csv"):
        read_rows(write(tmp_path / "meld.csv", "".join(lines)))
    broken = lines[1].replace(",0,0,8,", ",x,0,8,")
    with pytest.raises(DatasetError, match=r"csv:2: Dialogue_ID “x” is no number"):
        read_rows(write(tmp_path / MELD_CSVS["train"], lines[0] + broken))
    renamed = lines[0].replace("Speaker", "Who")
    with pytest.raises(DatasetError, match=r"csv:1: no column speaker; begin"):
        read_rows(write(tmp_path / MELD_CSVS["train"], renamed + lines[1]))


def test_ravdess(tmp_path: Path, clips: Path) -> None:
    heads = talking_heads(clips)
    names = [
        "Actor_12/01-01-06-01-02-01-12.mp4",  # fearful
        "Actor_12/02-01-06-01-02-01-12.mp4",  # the same without sound
        "audio/Actor_12/03-01-06-01-02-01-12.wav",  # the same, sound alone
        "audio/Actor_01/03-01-08-02-01-02-01.wav",  # surprised, sound alone
        "Actor_01/01-02-03-01-01-01-01.mp4",  # song
        "Actor_01/01-01-02-01-01-01-01.MP4",  # calm
        "copies/of/Actor_01/01-01-02-01-01-01-01.mp4",
        "Actor_01/01-01-09-01-01-01-01.mp4",  # no such emotion
        "Actor_01/._01-01-02-01-01-01-01.mp4",
        "Actor_01/notes.txt",
    ]
    for head, name in zip(heads, names, strict=False):
        link(head, tmp_path / name)
    rows = read_rows(tmp_path)
    assert [row.where for row in rows] == [names[5], names[3], names[0]]
    assert rows[2] == Row(
        media=tmp_path.resolve() / names[0],
        speaker="actor12",
        labels={"label": "fearful", "emotion": "fearful", "sentiment": "negative"},
        text="Dogs are sitting by the door",
        context=str(heads[0].resolve()),
        where=names[0],
    )
    assert rows[0].labels["sentiment"] == "neutral"
    assert rows[1].labels == {"label": "surprised", "emotion": "surprised", "sentiment": ""}
    assert rows[1].text == "Kids are talking by the door"


def test_nothing_to_read(tmp_path: Path) -> None:
    expected = r"give a manifest \(\.csv\), or a folder with manifest\.csv"
    with pytest.raises(DatasetError, match=f"no labelled utterances in it; {expected}"):
        read_rows(tmp_path)
    with pytest.raises(DatasetError, match=f"no such file or folder; {expected}"):
        read_rows(tmp_path / "none")
    with pytest.raises(DatasetError, match=f"not a list of utterances; {expected}"):
        read_rows(write(tmp_path / "talk.mp4", "x"))


def test_a_manifest_comes_first(tmp_path: Path, clips: Path) -> None:
    make_mmsa(tmp_path, clips)
    write(tmp_path / "manifest.csv", "video,label\na.mp4,sad\n")
    assert [row.where for row in read_rows(tmp_path)] == ["manifest.csv:2"]


# --- avsent data import --------------------------------------------------------------------------


@pytest.mark.parametrize("make", [make_mmsa, make_meld])
@pytest.mark.parametrize("out", ["corpus/manifest.csv", "out/list.csv"])
def test_import_gives_the_same_rows(
    tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch, make: object, out: str
) -> None:
    assert callable(make)
    make(tmp_path / "corpus", clips)
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    rows = read_rows(Path("corpus"))
    done = run_avsent("data", "import", "corpus", "-o", out)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"avsent: wrote {out}: {len(rows)} utterances\n"
    back = read_manifest(Path(out))
    assert [replace(row, where="") for row in back] == [replace(row, where="") for row in rows]
    text = Path(out).read_text(encoding="utf-8")
    assert (str(tmp_path.resolve()) in text) == out.startswith("out")


def test_import_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "manifest.csv", "video,label\na.mp4,sad\n")
    write(tmp_path / "old.csv", "old")

    def ends(*arguments: str) -> tuple[int, str]:
        done = run_avsent("data", "import", *arguments)
        assert done.stdout == ""
        return done.returncode, done.stderr.splitlines()[0] if done.stderr else ""

    assert ends(".", "-o", "old.csv") == (
        3, "avsent: error: old.csv is there already; choose another name, or give --force"
    )  # fmt: skip
    assert (tmp_path / "old.csv").read_text() == "old"
    assert ends(".", "-o", "old.csv", "--force", "-q") == (0, "")
    assert "a.mp4" in (tmp_path / "old.csv").read_text()
    code, said = ends(".", "-o", "manifest.csv", "--force")
    assert (code, "is an input" in said) == (2, True)
    code, said = ends(".", "-o", "manifest.txt")
    assert (code, "needs a name that ends in .csv" in said) == (2, True)
    code, said = ends("nowhere", "-o", "new.csv")
    assert (code, "nowhere: no such file or folder" in said) == (3, True)
    code, said = ends(".", "-o", "no/new.csv")
    assert (code, "there is no folder no" in said) == (3, True)
    assert not (tmp_path / "new.csv").exists()
