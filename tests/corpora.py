"""Published corpora, which not everyone has beside the checkout, and folders like theirs, made from
the real clips."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import pytest
from conftest import SHARED

MOSI = SHARED / "data" / "mosi" / "mosi_utterance.npz"
RAVDESS = SHARED / "data" / "ravdess"
MELD = SHARED / "data" / "text"


def needs(path: Path) -> pytest.MarkDecorator:
    """For tests that are skipped where ``path`` is not there."""
    inside = path.relative_to(SHARED).as_posix()
    return pytest.mark.skipif(not path.exists(), reason=f"no ../shared/{inside}")


needs_mosi, needs_ravdess, needs_meld = needs(MOSI), needs(RAVDESS), needs(MELD)

MELD_CSVS = {split: f"{split}_sent_emo.csv" for split in ("train", "dev", "test")}
MELD_FOLDERS = {
    "train": "train_splits",
    "dev": "dev_splits_complete",
    "test": "output_repeated_splits_test",
}


def talking_heads(clips: Path) -> list[Path]:
    """The 15 clips of 3 s, each of other content."""
    return sorted((clips / "grid").glob("*.mpg"))


def link(clip: Path, target: Path) -> Path:
    """The clip under another name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(clip.resolve())
    return target


def write(path: Path, text: str) -> Path:
    """A file of that text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


def make_mmsa(folder: Path, clips: Path) -> Path:
    """Four clips of three videos, one for each split."""
    rows = [
        ("vid_a", "0001", "Good, really", 1.6, "Positive", "train"),
        ("vid_a", "0002", "没有意思", -0.8, "Negative", "train"),
        ("vid b", "1", "", 0.0, "Neutral", "valid"),
        ("-c", "12", "bye", -2, "Negative", "test"),
    ]
    lines = ["video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode"]
    for clip, (video, name, text, label, annotation, mode) in zip(
        talking_heads(clips), rows, strict=False
    ):
        lines.append(f'{video},{name},"{text}",{label},0,0,0,{annotation},{mode}')
        link(clip, folder / "Raw" / video / f"{name}.mp4")
    write(folder / "label.csv", "\n".join(lines) + "\n")
    return folder


def meld_lines(split: str, count: int) -> list[str]:
    """The first lines of a real MELD file, heading included."""
    source = SHARED / "data" / "text" / MELD_CSVS[split]
    if not source.is_file():
        pytest.skip("MELD's transcripts are not beside this checkout (../shared/data/text)")
    with source.open(encoding="utf-8") as file:
        return list(itertools.islice(file, count + 1))


def make_meld(folder: Path, clips: Path, *, nested: bool = False) -> Path:
    """Three utterances of each split, as published; ``nested``: the CSV of the training split
    lies in a folder train, above the clips."""
    heads = iter(talking_heads(clips))
    for split, name in MELD_CSVS.items():
        home = folder / "train" if nested and split == "train" else folder
        text = "".join(meld_lines(split, 3))
        write(home / name, text)
        for row in csv.DictReader(text.splitlines()):
            clip = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}.mp4"
            link(next(heads), home / MELD_FOLDERS[split] / clip)
    return folder
