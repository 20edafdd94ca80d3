"""Texts to teach from, and `avsent extract`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from conftest import run_avsent
from published import MELD, MOSI, needs_meld, needs_mosi

from avsent.errors import DatasetError
from avsent.training.data.open_corpus import open_corpus
from avsent.training.data.text_corpus import read_text_corpus

# --- texts to teach from -------------------------------------------------------------------------


@needs_meld
def test_meld_gives_train_and_dev() -> None:
    items = read_text_corpus(MELD)
    assert len(items) == 9989 + 1109
    assert len({item.context for item in items}) == len(
        {item.context for item in read_text_corpus(MELD / "train_sent_emo.csv")}
    ) + len({item.context for item in read_text_corpus(MELD / "dev_sent_emo.csv")})
    assert items[0].text.startswith("also I was the point person")
    assert items[0].labels == {"emotion": "neutral", "sentiment": "neutral"}
    assert items[0].context == items[1].context == "train_sent_emo/0"
    assert Counter(item.labels["sentiment"] for item in items).keys() == {
        "positive",
        "neutral",
        "negative",
    }


@needs_mosi
def test_only_the_train_part_of_a_feature_file_teaches() -> None:
    items, samples = read_text_corpus(MOSI), open_corpus(MOSI).samples
    assert len(items) == 1447
    assert {item.context for item in items} == {s.video for s in samples if s.split == "train"}
    assert items[0].labels.keys() == {"label", "sentiment"}


def test_a_list_of_texts(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    path.write_text('Text,LABEL,context\n"good, really",happy,d1\n,sad,d1\nwell,,d1\nbad,sad,\n')
    items = read_text_corpus(path)
    assert [item.text for item in items] == ["good, really", "well", "bad"]
    assert [item.labels for item in items] == [{"label": "happy"}, {}, {"label": "sad"}]
    assert [item.context for item in items] == ["texts/d1", "texts/d1", "texts.csv:5"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"texts\.csv: nothing in it"),
        (b"label\nhappy\n", r"texts\.csv:1: no column text"),
        (b"text\ngood\n", r"texts\.csv:1: no column label"),
        (b"text,label\n", r"texts\.csv: no rows"),
        (b"text,label\ngood,\n", r"texts\.csv: no text with a label"),
        (b"text,label\ngood,happy\nb\xffd,sad\n", r"texts\.csv:3: not UTF-8"),
        (b"text,label\ngood,happy,more\n", r"texts\.csv:2: 3 cells"),
    ],
)
def test_lists_that_are_no_texts(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "texts.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_text_corpus(tmp_path / "texts.csv")
    with pytest.raises(DatasetError, match="neither train_sent_emo"):
        read_text_corpus(tmp_path)


# --- avsent extract ------------------------------------------------------------------------------


def test_extract_from_the_command_line(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(
        "video,start_s,end_s,speaker,split,label\n"
        f"{clips / 'talk_happy_zh.mp4'},0.5,1.5,b,train,happy\n"
        f"{clips / 'talk_happy_zh.mp4'},90,91,b,train,happy\n"
    )
    out, cache = tmp_path / "out.npz", tmp_path / "cache"
    done = run_avsent("extract", tmp_path, "-o", out, "--cache", cache)
    assert (done.returncode, done.stdout) == (0, "")
    assert "1 utterance without a voice or a face, left out: manifest.csv:3" in done.stderr
    (sample,) = open_corpus(out).samples
    assert sample.labels == {"label": "happy"}
    assert sample.audio is not None
    assert sample.face is not None
    assert sample.prosody is not None
    assert sample.pictures is None  # people can be recognised in them
    done = run_avsent("extract", tmp_path, "-o", out, "--cache", cache, "--pictures")
    assert done.returncode == 0
    (sample,) = open_corpus(out).samples
    assert sample.pictures is not None
    assert len(list((cache / "features").iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("extract", "a.mp4", "-o", "out.csv"), 2, "ending .npz"),
        (("extract", "a.mp4", "-o", "x.npz", "--face", "all"), 2, "--face all is for prediction"),
        (("extract", "gone", "-o", "x.npz"), 3, "gone: no such file"),
        (("extract", "sub", "-o", "no/x.npz"), 3, "there is no folder no"),
        (("extract", "sub", "-o", "x.npz"), 3, "sub: no labelled utterances"),
        (("extract", "a.npz", "-o", "a.npz"), 2, "is an input"),
    ],
)
def test_extract_says_what_is_wrong(
    arguments: tuple[str, ...], code: int, message: str, folder: Path
) -> None:
    (folder / "a.npz").touch()
    done = run_avsent(*arguments, cwd=folder)
    assert done.returncode == code
    assert message in done.stderr.partition("\n")[0]
    assert not (folder / "x.npz").exists()
