"""Lists of labelled utterances: manifests, and the layouts of published corpora."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import run_avsent
from corpora import MELD_CSVS, link, make_meld, make_mmsa, meld_lines, talking_heads, write
from hypothesis import example, given, settings
from hypothesis import strategies as st

from avsent.errors import DatasetError, OutputError
from avsent.training.data import manifest
from avsent.training.data.corpus import SPLITS, Row
from avsent.training.data.manifest import default_context, read_manifest, read_rows, write_manifest

# --- manifests -----------------------------------------------------------------------------------


QUICK = settings(max_examples=80, deadline=None, database=None)


def test_manifest_with_all_columns(tmp_path: Path) -> None:
    path = write(
        tmp_path / "manifest.csv",
        "Split , VIDEO,who,start_s,end_s,Speaker,label,emotion,sentiment,text,context\r\n"
        'TRAIN,a/b.mp4,x,0.5,1e1,ann,happy,joy,0.5,"one, ""two""\nthree",scene 1\r\n'
        ",,,,\r\n"
        'dev,"/abs/ c.mp4",, , , , sad , , ,,\r\n'
        "validation,sub/../d.mp4\r\n"
        "test,-e.mp4,,0,1,,,,,,,,\r\n",
    )
    base = Path(os.path.realpath(tmp_path))
    first = Row(
        base / "a/b.mp4", 0.5, 10.0, "ann", "train",
        {"label": "happy", "emotion": "joy", "sentiment": "0.5"},
        'one, "two"\nthree', "scene 1", "manifest.csv:2",
    )  # fmt: skip
    empty = {"label": "", "emotion": "", "sentiment": ""}
    assert read_manifest(path) == [
        first,
        Row(Path("/abs/ c.mp4"), split="valid", labels={**empty, "label": "sad"},
            context="/abs/ c.mp4", where="manifest.csv:5"),
        Row(base / "sub/../d.mp4", split="valid", labels=empty, context=str(base / "d.mp4"),
            where="manifest.csv:6"),
        Row(base / "-e.mp4", 0.0, 1.0, split="test", labels=empty, context=str(base / "-e.mp4"),
            where="manifest.csv:7"),
    ]  # fmt: skip


def test_video_and_one_label_are_enough(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", "emotion,video\nsad,a.mp4\n")
    assert read_manifest(path) == [
        Row(
            media=Path(os.path.realpath(tmp_path)) / "a.mp4",
            labels={"emotion": "sad"},
            context=os.path.realpath(tmp_path / "a.mp4"),
            where="m.csv:2",
        )
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_manifest_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes("video,label,text\nгерой.mp4,sad,“我”\n".encode(encoding))
    (row,) = read_manifest(path)
    assert (row.media.name, row.text) == ("герой.mp4", "“我”")


def test_blanks_around_a_file_name(tmp_path: Path) -> None:
    (tmp_path / "b.mp4").touch()
    (tmp_path / " c.mp4").touch()
    path = write(tmp_path / "m.csv", "label,video\nx, b.mp4\nx, c.mp4\nx, none.mp4\n")
    assert [row.media.name for row in read_manifest(path)] == ["b.mp4", " c.mp4", " none.mp4"]


def test_manifest_through_a_link_to_its_folder(tmp_path: Path) -> None:
    write(tmp_path / "real" / "m.csv", "video,label\na.mp4,x\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "link").symlink_to(tmp_path / "real")
    (row,) = read_manifest(tmp_path / "deep" / "link" / "m.csv")
    assert row.context == os.path.realpath(tmp_path / "real" / "a.mp4")


HEAD = "video,start_s,end_s,split,label\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "m.csv: nothing in it; begin the file with a line video,start_s,end_s,speaker,split"),
        ("video,label\n\n,\n", "m.csv: no rows below the heading"),
        ("file,label\na,x\n", "m.csv:1: no column video; begin the file with a line video,start"),
        ("video,text\na,x\n", "m.csv:1: no column label, emotion or sentiment; add one"),
        ("\nvideo,text\na,x\n", "m.csv:2: no column label, emotion or sentiment; add one"),
        ("video,label,Label\na,x,y\n", "m.csv:1: column label is there twice"),
        (HEAD + "a,0,1,train,x\n,0,1,train,x\n", "m.csv:3: no video is named"),
        (HEAD + "a,1,,train,x\n", "m.csv:2: start_s without end_s; give both"),
        (HEAD + "a,,1,train,x\n", "m.csv:2: end_s without start_s; give both"),
        (HEAD + "a,nan,1,train,x\n", "m.csv:2: start_s “nan” is not a number"),
        (HEAD + "a,0,inf,train,x\n", "m.csv:2: end_s “inf” is not a number"),
        (HEAD + "a,0,1e400,train,x\n", "m.csv:2: end_s “1e400” is not a number"),
        (HEAD + "a,0:01,2,train,x\n", "m.csv:2: start_s “0:01” is not a number"),
        (HEAD + "a,-1,2,train,x\n", "m.csv:2: a time is negative"),
        (HEAD + "a,3,2,train,x\n", "m.csv:2: the end, 2 s, is not after the start, 3 s"),
        (HEAD + "a,2,2,train,x\n", "m.csv:2: the end, 2 s, is not after the start, 2 s"),
        (HEAD + "a,0,2,training,x\n", "m.csv:2: split “training” is none of train, valid, test"),
        (HEAD + 'a,0,2,"a\nb",x\n', "m.csv:2: split “a\\nb” is none of"),
        (HEAD + "a,0,2,test,x,y\n", "m.csv:2: 6 cells under a heading of 5; put text that holds"),
        (HEAD + 'a,0,2,"test,x\nb,0,2,test,x\n', "m.csv:2: not a CSV row"),
        (HEAD + '"a"b,0,2,test,x\n', "m.csv:2: not a CSV row"),
        (HEAD + "a,0,2,test," + "x" * 200_000, "m.csv:2: not a CSV row"),
        (HEAD.encode() + b"caf\xe9,0,2,test,x\n", "m.csv:2: not UTF-8 text; save it as UTF-8"),
        (HEAD + "\0", "m.csv:2: zero bytes"),
    ],
)
def test_bad_manifest_is_refused_in_one_line(
    tmp_path: Path, content: str | bytes, said: str
) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DatasetError) as caught:
        read_manifest(path)
    assert f"{tmp_path}/{said}" in str(caught.value)
    assert str(caught.value).isprintable()


def test_manifest_that_is_missing_a_folder_or_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DatasetError, match="is a folder; give a CSV file"):
        read_manifest(tmp_path)
    with pytest.raises(DatasetError, match="no such file"):
        read_manifest(tmp_path / "none.csv")
    monkeypatch.setattr(manifest, "MAX_FILE_BYTES", 1024**2)
    with pytest.raises(DatasetError, match="over 1 MB, too large"):
        read_manifest(write(tmp_path / "big.csv", "a" * (1024**2 + 1)))


# --- writing -------------------------------------------------------------------------------------

# Any name a file can have, and any text that stands in one; blanks around labels mean nothing.
names = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0") | st.sampled_from("\n\r\"', ;\\\ufeff"),
    min_size=1, max_size=12,
).filter(lambda name: name not in {".", ".."})  # fmt: skip
texts = st.text(
    st.characters(codec="utf-8", exclude_characters="\0") | st.sampled_from('\n\r", '), max_size=12
)
words = texts.map(str.strip)
times = st.none() | st.tuples(
    st.floats(0, 1e6, allow_subnormal=False), st.floats(1e-3, 1e6)
).map(lambda pair: (pair[0], pair[0] + pair[1]))  # fmt: skip


@st.composite
def some_rows(draw: st.DrawFn, folder: Path) -> list[Row]:
    columns = draw(st.sets(st.sampled_from(["label", "emotion", "sentiment"]), min_size=1))
    found = []
    for parts in draw(st.lists(st.lists(names, min_size=1, max_size=2), min_size=1, max_size=5)):
        root = draw(st.sampled_from([folder, Path("/elsewhere")]))
        media = root.joinpath(*parts)
        span = draw(times) or (None, None)
        row = Row(
            media, *span, draw(words), draw(st.sampled_from(["", *SPLITS])),
            {column: draw(words) for column in sorted(columns)}, draw(texts),
            draw(words) or default_context(media),
        )  # fmt: skip
        found.append(row)
    return found


def test_written_manifest_reads_back_the_same(tmp_path: Path) -> None:
    folder = Path(os.path.realpath(tmp_path))

    @QUICK
    @given(some_rows(folder))
    @example([Row(folder / "\n", 0.1 + 0.2, 1 / 3, labels={"label": ""},
                  context=os.path.realpath(folder / "\n"))])  # fmt: skip
    def check(rows: list[Row]) -> None:
        write_manifest(tmp_path / "m.csv", rows)
        assert [replace(row, where="") for row in read_manifest(tmp_path / "m.csv")] == rows

    check()
    assert [path.name for path in tmp_path.iterdir()] == ["m.csv"]


def test_text_of_a_written_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(os.path.realpath(tmp_path))
    (folder / "sub").mkdir()
    monkeypatch.chdir(folder / "sub")
    rows = [
        Row(folder / "sub" / "a, b.mp4", 0.5, 2.0, "ann", "train", {"label": "happy"}),
        Row(folder / "sub" / ".." / "c.mp4", labels={"label": "sad"}, text="oh"),
        Row(folder.parent / "d.mp4", labels={"label": "sad"}),
        Row(Path("e.mp4"), labels={"label": "sad"}),
    ]
    rows = [replace(row, context=default_context(row.media)) for row in rows]
    write_manifest(folder / "m.csv", rows)
    assert (folder / "m.csv").read_text(encoding="utf-8").splitlines() == [
        "video,start_s,end_s,speaker,split,label,text",
        '"sub/a, b.mp4",0.5,2.0,ann,train,happy,',
        "c.mp4,,,,,sad,oh",
        f"{folder.parent}/d.mp4,,,,,sad,",
        "sub/e.mp4,,,,,sad,",
    ]


@pytest.mark.parametrize("bad", [{"media": Path("caf\udce9.mp4")}, {"text": "a\0b"}])
def test_rows_that_could_not_be_read_back_are_not_written(
    tmp_path: Path, bad: dict[str, object]
) -> None:
    write(tmp_path / "m.csv", "old")
    good = Row(tmp_path / "a.mp4", labels={"label": "x"}, where="list.csv:7")
    with pytest.raises(OutputError, match=r"is no valid text; .* list\.csv:7") as caught:
        write_manifest(tmp_path / "m.csv", [good, replace(good, **bad)])  # type: ignore[arg-type]
    assert str(caught.value).isprintable()
    assert (tmp_path / "m.csv").read_text(encoding="utf-8") == "old"
    assert len(list(tmp_path.iterdir())) == 1


# --- layouts -------------------------------------------------------------------------------------


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


def test_meld_without_clips_names_their_expected_places(tmp_path: Path) -> None:
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


def test_folder_or_file_without_utterances_is_refused(tmp_path: Path) -> None:
    expected = r"give a manifest \(\.csv\), or a folder with manifest\.csv"
    with pytest.raises(DatasetError, match=f"no labelled utterances in it; {expected}"):
        read_rows(tmp_path)
    with pytest.raises(DatasetError, match=f"no such file or folder; {expected}"):
        read_rows(tmp_path / "none")
    with pytest.raises(DatasetError, match=f"not a list of utterances; {expected}"):
        read_rows(write(tmp_path / "talk.mp4", "x"))


def test_a_manifest_is_preferred_to_other_layouts(tmp_path: Path, clips: Path) -> None:
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


def test_import_exit_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert (code, "its name must end in .csv" in said) == (2, True)
    code, said = ends("nowhere", "-o", "new.csv")
    assert (code, "nowhere: no such file or folder" in said) == (3, True)
    code, said = ends(".", "-o", "no/new.csv")
    assert (code, "there is no folder no" in said) == (3, True)
    assert not (tmp_path / "new.csv").exists()
