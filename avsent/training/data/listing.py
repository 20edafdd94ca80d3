"""Raw media with labels, in whatever layout: a manifest, MMSA, MELD or RAVDESS."""

from __future__ import annotations

import os
from pathlib import Path

from avsent.errors import DatasetError
from avsent.text import printable
from avsent.training.data import meld, mmsa, ravdess_videos
from avsent.training.data.corpus import Row
from avsent.training.data.manifest import MANIFEST_NAME, read_manifest
from avsent.training.data.table import read_columns

EXPECTED = (
    f"a manifest (.csv), or a folder with {MANIFEST_NAME}, with label.csv and Raw/ (MMSA), with "
    "train_sent_emo.csv (MELD) or with RAVDESS's files"
)


def read_rows(data: Path) -> list[Row]:
    """The labelled utterances of a CSV file (manifest, MMSA's or MELD's, told by its heading) or
    of a folder.

    ``media`` is an absolute path. Raises DatasetError where there are none, or where what is
    there cannot be read.
    """
    name = printable(str(data))
    if "\0" in name or not os.path.exists(data):
        raise DatasetError(f"{name}: no such file or folder; give {EXPECTED}")
    if not os.path.isdir(data):
        if data.suffix.lower() != ".csv":
            raise DatasetError(f"{name}: not a list of utterances; give {EXPECTED}")
        return _read_csv(data)
    if os.path.isfile(data / MANIFEST_NAME):
        return read_manifest(data / MANIFEST_NAME)
    if mmsa.is_mmsa(data):
        return mmsa.read_mmsa(data / mmsa.LABEL_FILE)
    if files := meld.meld_files(data):
        return [row for file in files for row in meld.read_meld(file)]
    if rows := ravdess_videos.read_ravdess_videos(data):
        return rows
    raise DatasetError(f"{name}: no labelled utterances in it; give {EXPECTED}")


def _read_csv(path: Path) -> list[Row]:
    columns = set(read_columns(path))
    if {"video_id", "clip_id"} <= columns:
        return mmsa.read_mmsa(path)
    if {"dialogue_id", "utterance_id"} <= columns:
        return meld.read_meld(path)
    return read_manifest(path)
