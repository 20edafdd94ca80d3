"""Raw media with labels: a manifest, or one of the published corpora in its own layout.

MMSA (Mao et al. 2022; CMU-MOSI, CMU-MOSEI, CH-SIMS): ``label.csv`` with the columns video_id,
clip_id, text, label[, label_T, label_A, label_V], annotation, mode, and beside it
``Raw/<video_id>/<clip_id>.mp4``.

MELD (Poria et al. 2019): dialogues of a TV series, one clip ``dia{D}_utt{U}.mp4`` per utterance;
one CSV file per split, and the clips in the published folders. Dialogues are numbered anew in
every split, so a clip is only looked for in the folders of its split.

RAVDESS (Livingstone and Russo 2018): file names such as ``01-01-06-01-02-01-12.mp4`` state
modality, vocal channel, emotion, intensity, statement, repetition, actor. Files may lie anywhere
below the folder.
"""

import os
import re
from pathlib import Path

from avsent.errors import DatasetError
from avsent.labels import EMOTIONS, POLARITY_LABELS, polarity_of
from avsent.text import printable, quoted
from avsent.training.data.corpus import Row
from avsent.training.data.manifest import (
    MANIFEST_NAME,
    TableRow,
    default_context,
    read_columns,
    read_manifest,
    read_table,
    split_of,
)

EXPECTED = (
    f"a manifest (.csv), or a folder with {MANIFEST_NAME}, with label.csv and Raw/ (MMSA), with "
    "train_sent_emo.csv (MELD) or with RAVDESS's files"
)

_MMSA_FILE = "label.csv"
_MMSA_COLUMNS = ("video_id", "clip_id", "label", "mode")
_MMSA_EXAMPLE = "video_id,clip_id,text,label,annotation,mode"

_MELD_COLUMNS = ("utterance", "speaker", "emotion", "sentiment", "dialogue_id", "utterance_id")
_MELD_EXAMPLE = "Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID"
_MELD_FILES = {
    "train": "train_sent_emo.csv",
    "valid": "dev_sent_emo.csv",
    "test": "test_sent_emo.csv",
}
_MELD_FOLDERS = {
    "train": ("train_splits", "train", "train/train_splits"),
    "valid": ("dev_splits_complete", "dev", "dev/dev_splits_complete"),
    "test": ("output_repeated_splits_test", "test", "test/output_repeated_splits_test"),
}

STATEMENTS = {1: "Kids are talking by the door", 2: "Dogs are sitting by the door"}
"""The sentences of RAVDESS, by the number of the statement."""

# Modality 01 (picture and sound) or 03 (sound), as 02 has no voice; channel 01 (speech), as 02 is
# song.
_RAVDESS_NAME = re.compile(
    r"(?P<modality>01|03)-(?P<clip>01-(?P<emotion>0[1-8])-0[12]-(?P<statement>0[12])-0[12]"
    r"-(?P<actor>[0-9]{2}))\.(mp4|mkv|avi|mov|webm|wav|flac|mp3|m4a|ogg)",
    re.IGNORECASE,
)


def read_rows(data: Path) -> list[Row]:
    """The labelled utterances of a CSV file (manifest, MMSA's or MELD's, by its heading) or of a
    folder.

    ``media`` is an absolute path; the file need not exist. Raises DatasetError if there are no
    utterances, or if their list cannot be read.
    """
    name = printable(data)
    if "\0" in name or not os.path.exists(data):
        raise DatasetError(f"{name}: no such file or folder; give {EXPECTED}")
    if not os.path.isdir(data):
        if data.suffix.lower() != ".csv":
            raise DatasetError(f"{name}: not a list of utterances; give {EXPECTED}")
        columns = set(read_columns(data))
        if {"video_id", "clip_id"} <= columns:
            return _read_mmsa(data)
        if {"dialogue_id", "utterance_id"} <= columns:
            return _read_meld(data)
        return read_manifest(data)
    if os.path.isfile(data / MANIFEST_NAME):
        return read_manifest(data / MANIFEST_NAME)
    if os.path.isfile(data / _MMSA_FILE):
        return _read_mmsa(data / _MMSA_FILE)
    if files := _meld_files(data):
        return [row for file in files for row in _read_meld(file)]
    if rows := _read_ravdess(data):
        return rows
    raise DatasetError(f"{name}: no labelled utterances in it; give {EXPECTED}")


def _read_mmsa(label_file: Path) -> list[Row]:
    """One row for each clip, in the order of ``label_file``."""
    table = read_table(
        label_file, needed=_MMSA_COLUMNS, known=(*_MMSA_COLUMNS, "text"), example=_MMSA_EXAMPLE
    )
    raw = Path(os.path.realpath(label_file)).parent / "Raw"
    if not os.path.isdir(raw):
        raise DatasetError(
            f"{printable(label_file)}: no folder Raw beside it; put the clips in "
            "Raw/<video_id>/<clip_id>.mp4"
        )
    rows = []
    for cells in table:
        video, clip = cells["video_id"], cells["clip_id"]
        for column, name in (("video_id", video), ("clip_id", clip)):
            if name in {"", ".", ".."} or any(mark in name for mark in "/\\"):
                raise DatasetError(
                    f"{cells.place}: {column} {quoted(name)} is no name of a file or folder; "
                    "correct it"
                )
        rows.append(
            Row(
                media=raw / video / f"{clip}.mp4",
                # The file names no speakers. In CMU-MOSI and MOSEI, a video is one person talking
                # to the camera, so the video stands for the speaker.
                speaker=video,
                split=split_of(cells["mode"], cells.place),
                # The column annotation only repeats the sign of the number.
                labels={"label": cells["label"], "sentiment": cells["label"]},
                text=cells.cells.get("text", ""),
                context=video,
                where=cells.where,
            )
        )
    return rows


def _meld_files(folder: Path) -> list[Path]:
    """MELD's CSV files in the folder, or in its folders train, dev and test."""
    found = []
    for split, name in _MELD_FILES.items():
        places = [folder / name, folder / _MELD_FOLDERS[split][1] / name]
        found += [path for path in places if os.path.isfile(path)][:1]
    return found


def _read_meld(csv_file: Path) -> list[Row]:
    """The utterances of one of MELD's CSV files, whose name tells the split (train, dev, test)."""
    table = read_table(csv_file, needed=_MELD_COLUMNS, known=_MELD_COLUMNS, example=_MELD_EXAMPLE)
    prefixes = {"train": "train", "dev": "valid", "test": "test"}
    splits = [split for prefix, split in prefixes.items() if csv_file.name.startswith(prefix)]
    if not splits:
        raise DatasetError(
            f"{csv_file}: a MELD file whose name tells no split; name it train_sent_emo.csv, "
            "dev_sent_emo.csv or test_sent_emo.csv"
        )
    split = splits[0]
    beside = Path(os.path.realpath(csv_file)).parent
    # Clips of several splits in one folder would have the same names.
    own = len(_meld_files(beside)) <= 1 or beside.name in _MELD_FOLDERS[split]
    folders = [beside / name for name in _MELD_FOLDERS[split]] + [beside] * own
    folders += [beside.parent / name for name in _MELD_FOLDERS[split]]
    folders = [folder for folder in folders if os.path.isdir(folder)] or folders[:1]
    return [_meld_row(cells, split, folders) for cells in table]


def _meld_row(cells: TableRow, split: str, folders: list[Path]) -> Row:
    numbers = (cells["dialogue_id"], cells["utterance_id"])
    for column, number in zip(("Dialogue_ID", "Utterance_ID"), numbers, strict=True):
        if not (number.isascii() and number.isdecimal()):
            raise DatasetError(f"{cells.place}: {column} {quoted(number)} is no number; correct it")
    dialogue, utterance = map(int, numbers)
    clips = [folder / f"dia{dialogue}_utt{utterance}.mp4" for folder in folders]
    sentiment = cells["sentiment"]
    return Row(
        media=next((clip for clip in clips if os.path.lexists(clip)), clips[0]),
        speaker=cells["speaker"],
        split=split,
        labels={"label": sentiment, "emotion": cells["emotion"], "sentiment": sentiment},
        text=cells.cells["utterance"],
        context=f"{split} dialogue {dialogue}",
        where=cells.where,
    )


def _read_ravdess(folder: Path) -> list[Row]:
    """One row for each speech clip below the folder, in the order of actors and clips.

    Of a clip as video and as sound, the video is taken; of copies (some archives hold all files
    twice) the one least deep. Links to folders are not followed.
    """
    root = Path(os.path.realpath(folder))
    best: dict[str, tuple[tuple[str, int, str], re.Match[str], Path]] = {}
    for parent, _, files in os.walk(root):
        for file in files:
            if name := _RAVDESS_NAME.fullmatch(file):
                path = Path(parent, file)
                rank = (name["modality"], len(path.parts), str(path))
                if name["clip"] not in best or rank < best[name["clip"]][0]:
                    best[name["clip"]] = (rank, name, path)
    chosen = sorted(best.values(), key=lambda item: (item[1]["actor"], item[1]["clip"]))
    return [_ravdess_row(name, path, root) for _, name, path in chosen]


def _ravdess_row(name: re.Match[str], media: Path, root: Path) -> Row:
    emotion = EMOTIONS[int(name["emotion"]) - 1]
    polarity = polarity_of(emotion)
    sentiment = "" if polarity is None else POLARITY_LABELS[polarity]
    return Row(
        media=media,
        speaker=f"actor{name['actor']}",
        labels={"label": emotion, "emotion": emotion, "sentiment": sentiment},
        text=STATEMENTS[int(name["statement"])],
        context=default_context(media),
        where=media.relative_to(root).as_posix(),
    )
