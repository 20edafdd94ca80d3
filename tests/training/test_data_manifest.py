"""The manifest: what is read, what is forgiven, what is refused, and that it comes back whole."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from corpora import write
from hypothesis import example, given, settings
from hypothesis import strategies as st

from avsent.errors import DatasetError, OutputError
from avsent.training.data import table
from avsent.training.data.corpus import SPLITS, Row
from avsent.training.data.manifest import default_context, read_manifest, write_manifest

QUICK = settings(max_examples=80, deadline=None, database=None)


def test_everything_that_may_be_given(tmp_path: Path) -> None:
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
def test_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes("video,label,text\nгерой.mp4,sad,“我”\n".encode(encoding))
    (row,) = read_manifest(path)
    assert (row.media.name, row.text) == ("герой.mp4", "“我”")


def test_blanks_around_a_name(tmp_path: Path) -> None:
    (tmp_path / "b.mp4").touch()
    (tmp_path / " c.mp4").touch()
    path = write(tmp_path / "m.csv", "label,video\nx, b.mp4\nx, c.mp4\nx, none.mp4\n")
    assert [row.media.name for row in read_manifest(path)] == ["b.mp4", " c.mp4", " none.mp4"]


def test_through_a_link_to_its_folder(tmp_path: Path) -> None:
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
        ("\nvideo;label\na;x\n", "m.csv:2: no column video; separate the columns with commas"),
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
def test_refused_with_one_line(tmp_path: Path, content: str | bytes, said: str) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DatasetError) as caught:
        read_manifest(path)
    assert f"{tmp_path}/{said}" in str(caught.value)
    assert str(caught.value).isprintable()


def test_refused_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatasetError, match="is a folder; give a CSV file"):
        read_manifest(tmp_path)
    with pytest.raises(DatasetError, match="no such file"):
        read_manifest(tmp_path / "none.csv")
    monkeypatch.setattr(table, "MAX_FILE_BYTES", 1024**2)
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


def test_round_trip(tmp_path: Path) -> None:
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


def test_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_what_would_not_come_back_is_not_written(tmp_path: Path, bad: dict[str, object]) -> None:
    write(tmp_path / "m.csv", "old")
    good = Row(tmp_path / "a.mp4", labels={"label": "x"}, where="list.csv:7")
    with pytest.raises(OutputError, match=r"is no valid text; .* list\.csv:7") as caught:
        write_manifest(tmp_path / "m.csv", [good, replace(good, **bad)])  # type: ignore[arg-type]
    assert str(caught.value).isprintable()
    assert (tmp_path / "m.csv").read_text(encoding="utf-8") == "old"
    assert len(list(tmp_path.iterdir())) == 1
