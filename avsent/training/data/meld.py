"""MELD (Poria et al. 2019): dialogues of a TV series, a clip ``dia{D}_utt{U}.mp4`` an utterance.

One CSV file per split, and the clips in the folders in which they are published. The numbers of
dialogues begin anew in every split, so a clip is only looked for in the folders of its split.
"""

from __future__ import annotations

import os
from pathlib import Path

from avsent.errors import DatasetError
from avsent.text import quoted
from avsent.training.data.corpus import Row
from avsent.training.data.table import TableRow, read_table

NEEDED = ("utterance", "speaker", "emotion", "sentiment", "dialogue_id", "utterance_id")

_EXAMPLE = "Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID"
_CSV_NAMES = {
    "train": "train_sent_emo.csv",
    "valid": "dev_sent_emo.csv",
    "test": "test_sent_emo.csv",
}
_CLIP_FOLDERS = {
    "train": ("train_splits", "train", "train/train_splits"),
    "valid": ("dev_splits_complete", "dev", "dev/dev_splits_complete"),
    "test": ("output_repeated_splits_test", "test", "test/output_repeated_splits_test"),
}


def meld_files(folder: Path) -> list[Path]:
    """MELD's CSV files in the folder, or in its folders train, dev and test."""
    found = []
    for split, name in _CSV_NAMES.items():
        places = [folder / name, folder / _CLIP_FOLDERS[split][1] / name]
        found += [path for path in places if os.path.isfile(path)][:1]
    return found


def read_meld(csv_file: Path) -> list[Row]:
    """The utterances of one of MELD's CSV files; the clips need not be there.

    The split is that of the file's name (train…, dev…, test…). Raises DatasetError where the
    file cannot be read, or its name tells no split.
    """
    table = read_table(csv_file, needed=NEEDED, known=NEEDED, example=_EXAMPLE)
    prefixes = {"train": "train", "dev": "valid", "test": "test"}
    names = [split for prefix, split in prefixes.items() if csv_file.name.startswith(prefix)]
    if not names:
        raise DatasetError(
            f"{csv_file}: a MELD file whose name tells no split; name it train_sent_emo.csv, "
            "dev_sent_emo.csv or test_sent_emo.csv"
        )
    folders = _clip_folders(Path(os.path.realpath(csv_file)), names[0])
    return [_row(cells, names[0], folders) for cells in table]


def _clip_folders(csv_file: Path, split: str) -> list[Path]:
    """Where clips may be: those folders that are there, or else the one where they should be."""
    beside, above = csv_file.parent, csv_file.parent.parent
    places = [beside / name for name in _CLIP_FOLDERS[split]]
    if len(meld_files(beside)) <= 1 or beside.name in _CLIP_FOLDERS[split]:
        places.append(beside)  # clips of several splits under one roof have the same names
    places += [above / name for name in _CLIP_FOLDERS[split]]
    return [place for place in places if os.path.isdir(place)] or places[:1]


def _row(cells: TableRow, split: str, folders: list[Path]) -> Row:
    numbers = (cells["dialogue_id"], cells["utterance_id"])
    for column, number in zip(("Dialogue_ID", "Utterance_ID"), numbers, strict=True):
        if not (number.isascii() and number.isdecimal()):
            raise DatasetError(f"{cells.place}: {column} {quoted(number)} is no number; correct it")
    dialogue, utterance = map(int, numbers)
    clips = [folder / f"dia{dialogue}_utt{utterance}.mp4" for folder in folders]
    return Row(
        media=next((clip for clip in clips if os.path.lexists(clip)), clips[0]),
        speaker=cells["speaker"],
        split=split,
        labels={
            "label": cells["sentiment"],
            "emotion": cells["emotion"],
            "sentiment": cells["sentiment"],
        },
        text=cells.cells["utterance"],
        context=f"{split} dialogue {dialogue}",
        where=cells.where,
    )
