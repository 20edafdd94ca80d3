"""Lists of labelled utterances of raw media: a manifest, or a published corpus in its own layout.

- A manifest is a CSV file with one labelled utterance per row. Columns, in any order:
  ``video,start_s,end_s,speaker,split,label[,text][,emotion][,sentiment][,context]``; ``video`` and
  one of label, emotion and sentiment are required.
- MMSA (Mao et al. 2022; CMU-MOSI, CMU-MOSEI, CH-SIMS): ``label.csv`` and, beside it,
  ``Raw/<video_id>/<clip_id>.mp4``.
- MELD (Poria et al. 2019): one CSV file per split, and clips ``dia{D}_utt{U}.mp4``. Dialogues are
  numbered anew in every split, so a clip is only looked for in the folders of its split.
- RAVDESS (Livingstone and Russo 2018): names such as ``01-01-06-01-02-01-12.mp4`` state modality,
  vocal channel, emotion, intensity, statement, repetition, actor; files lie anywhere below.
"""

import csv
import io
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from avsent.errors import DatasetError, OutputError
from avsent.files import atomic_text
from avsent.labels import EMOTIONS, LABEL_COLUMNS, POLARITY_LABELS, LabelScale, polarity_of
from avsent.schema import read_object
from avsent.text import counted, csv_rows, number, printable, quoted, read_text, valid_utf8
from avsent.training.data.corpus import SPLITS, Row

MANIFEST_NAME = "manifest.csv"
MAX_FILE_BYTES = 64 * 1024**2  # a row has about 0.2 kB
MAX_ROWS = 300_000
MAX_PARTS = 100  # folders of a path
COLUMNS = ("video", "start_s", "end_s", "speaker", "split", *LABEL_COLUMNS, "text", "context")

_EXAMPLE = "video,start_s,end_s,speaker,split,label"
_SPLIT_NAMES = {**{name: name for name in SPLITS}, "": ""} | dict.fromkeys(
    ("val", "dev", "validation"), "valid"
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
_MELD_NAMES = {"train": "train", "valid": "dev", "test": "test"}
_MELD_FILES = {split: f"{name}_sent_emo.csv" for split, name in _MELD_NAMES.items()}
_MELD_FOLDERS = {
    "train": ("train_splits", "train", "train/train_splits"),
    "valid": ("dev_splits_complete", "dev", "dev/dev_splits_complete"),
    "test": ("output_repeated_splits_test", "test", "test/output_repeated_splits_test"),
}

STATEMENTS = {1: "Kids are talking by the door", 2: "Dogs are sitting by the door"}
"""The sentences of RAVDESS, by the number of the statement."""

_DECIMAL = re.compile(r"^(\s*[+-]?[0-9]*),([0-9]+\s*)$")

_ENDINGS = "mp4|m4v|mkv|avi|mov|mpg|webm|wav|flac|mp3|m4a|ogg"
# Modality 01 (picture and sound) or 03 (sound), as 02 has no voice; channel 01 (speech), as 02 is
# song.
_RAVDESS_NAME = re.compile(
    r"(?P<modality>01|03)-(?P<clip>01-(?P<emotion>0[1-8])-0[12]-(?P<statement>0[12])-0[12]"
    rf"-(?P<actor>[0-9]{{2}}))\.({_ENDINGS})",
    re.IGNORECASE,
)
RAVDESS_CLIP = re.compile(
    r"(?<![\d-])0[1-3]-0[12]-0[1-8]-0[12]-0[12]-0[12]-(0[1-9]|1\d|2[0-4])(?![\d-])"
)
"""The name of a clip of RAVDESS, song and silent video included, in a path."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row: ``cells`` by column name in lower case; ``where`` for a Row ("x.csv:12"), ``place``
    for messages (the same with the folder as given)."""

    cells: Mapping[str, str]
    where: str
    place: str

    def __getitem__(self, column: str) -> str:
        """The stripped cell; "" if there is no such column."""
        return self.cells.get(column, "").strip()


def read_manifest(path: Path) -> list[Row]:
    """The rows of a manifest. Media need not exist; their paths are relative to the manifest and
    stay below its folder, or are absolute.

    Empty ``start_s`` and ``end_s`` mean the whole file, an empty ``context`` the file. Raises
    DatasetError, with the number of the line, for anything unreadable or contradictory.
    """
    folder = Path(os.path.realpath(path)).parent
    table = read_table(
        path, needed=("video",), known=COLUMNS, example=_EXAMPLE, one_of=LABEL_COLUMNS
    )
    return [_row(cells, folder) for cells in table]


def write_manifest(path: Path, rows: Sequence[Row]) -> None:
    """Write ``rows`` so that :func:`read_manifest` returns them, except for ``where``.

    Paths below the manifest's folder are written relative to it, others absolute. Columns that
    no row uses are left out. Raises OutputError if it cannot be written or read back (a file name
    that is no valid text).
    """
    folder = Path(os.path.realpath(path)).parent
    table = [_cells(row, folder) for row in rows]
    named = {column for row in rows for column in row.labels} or {"label"}
    kept = {"video", "start_s", "end_s", "speaker", "split", *named}
    columns = [name for name in COLUMNS if name in kept or any(cells[name] for cells in table)]
    with atomic_text(path) as file:
        file.write(_line(columns))
        for row, cells in zip(rows, table, strict=True):
            for cell in cells.values():
                if cell != valid_utf8(cell) or "\0" in cell or len(cell) > csv.field_size_limit():
                    wrong = f"{quoted(cell)} is no valid text; rename the file, or mend"
                    raise OutputError(f"cannot write {path}: {wrong} {row.where or 'its row'}")
            file.write(_line([cells[column] for column in columns]))


def default_context(media: Path) -> str:
    """The context of a row that names none: its file."""
    return os.path.realpath(media)


def split_of(name: str, place: str) -> str:
    """One of ``SPLITS``, or "" for "". Raises DatasetError for another name."""
    split = _SPLIT_NAMES.get(name.casefold())
    if split is None:
        raise DatasetError(f"{place}: split {quoted(name)} is none of {', '.join(SPLITS)}")
    return split


def read_table(
    path: Path,
    *,
    needed: Collection[str],
    known: Collection[str],
    example: str,
    one_of: Sequence[str] = (),
) -> list[TableRow]:
    """The rows of a CSV file that are not blank.

    ``needed``: required columns; ``one_of``: columns of which one is required, if there are any;
    ``known``: all columns that are read, none of which may occur twice; ``example``: a heading for
    messages. Raises DatasetError for anything that cannot be read.
    """
    name = printable(path)
    rows = _rows(path)
    first = next(rows, None)
    if first is None:
        raise DatasetError(f"{name}: nothing in it; begin the file with a line {example}")
    line, heading = first
    columns = [cell.strip().casefold() for cell in heading]
    place = f"{name}:{line}"
    missing = [column for column in needed if column not in columns]
    if missing:
        absent = " and ".join(missing)
        raise DatasetError(f"{place}: no column {absent}; begin the file with a line {example}")
    if one_of and not set(one_of) & set(columns):
        names = f"{', '.join(one_of[:-1])} or {one_of[-1]}"
        there = f" (there are {', '.join(map(printable, columns[:9]))})"
        raise DatasetError(f"{place}: no column {names}; add one of them{there}")
    twice = [column for column, count in Counter(columns).items() if count > 1 and column in known]
    if twice:
        raise DatasetError(f"{place}: column {twice[0]} is there twice; rename one")
    found: list[TableRow] = []
    kept = set(columns) & {*needed, *known, *one_of}
    for line, cells in rows:
        if any(cell.strip() for cell in cells[len(columns) :]):
            raise DatasetError(
                f"{name}:{line}: {len(cells)} cells under a heading of {len(columns)}; put text "
                "that holds commas in quotes"
            )
        if len(found) == MAX_ROWS:
            raise DatasetError(f"{name}:{line}: more than {MAX_ROWS} rows; cut the file up")
        pairs = zip(columns, cells, strict=False)
        row = dict.fromkeys(kept, "") | {column: cell for column, cell in pairs if column in kept}
        found.append(TableRow(row, f"{path.name}:{line}", f"{name}:{line}"))
    if not found:
        raise DatasetError(f"{name}: no rows below the heading; add one for each utterance")
    return found


def read_columns(path: Path) -> list[str]:
    """The names of a CSV file's columns, in lower case. Raises DatasetError."""
    return [cell.strip().casefold() for cell in next(_rows(path), (1, []))[1]]


def _row(cells: TableRow, folder: Path) -> Row:
    if not cells["video"]:
        raise DatasetError(f"{cells.place}: no video is named; give its path")
    # Blanks around a name belong to it, unless only the file without them exists.
    media, bare = folder / cells.cells["video"], folder / cells["video"]
    if bare != media and not os.path.lexists(media) and os.path.isfile(bare):
        media = bare
    # By the path alone: links inside the folder may lead out of it.
    below = Path(os.path.normpath(media)).is_relative_to(folder)
    if not os.path.isabs(cells["video"]) and not below:
        raise DatasetError(
            f"{cells.place}: video {quoted(cells['video'])} leads out of the manifest's folder; "
            "move the manifest above its videos, or write the whole path"
        )
    start_s, end_s = _times(cells)
    return Row(
        media=media,
        start_s=start_s,
        end_s=end_s,
        speaker=cells["speaker"],
        split=split_of(cells["split"], cells.place),
        labels={column: cells[column] for column in LABEL_COLUMNS if column in cells.cells},
        text=cells.cells.get("text", ""),
        context=cells["context"] or default_context(media),
        where=cells.where,
    )


def _times(cells: TableRow) -> tuple[float, float] | tuple[None, None]:
    if not cells["start_s"] and not cells["end_s"]:
        return None, None
    seconds = []
    for column, other in (("start_s", "end_s"), ("end_s", "start_s")):
        cell, value = cells[column], number(cells[column])
        if not cell:
            wrong = f"{other} without {column}; give both, or none for the whole file"
            raise DatasetError(f"{cells.place}: {wrong}")
        if value is None:
            wrong = f"{column} {quoted(cell)} is not a number; write seconds like 62.345"
            raise DatasetError(f"{cells.place}: {wrong}")
        seconds.append(value + 0.0)  # no negative zero
    start_s, end_s = seconds
    if min(seconds) < 0:
        wrong = "a time is negative; times count from the video's beginning"
        raise DatasetError(f"{cells.place}: {wrong}")
    if end_s <= start_s:
        wrong = f"the end, {end_s:g} s, is not after the start, {start_s:g} s; correct it"
        raise DatasetError(f"{cells.place}: {wrong}")
    return start_s, end_s


def _cells(row: Row, folder: Path) -> dict[str, str]:
    return {
        "video": _path(row.media, folder),
        "start_s": "" if row.start_s is None else repr(row.start_s),
        "end_s": "" if row.end_s is None else repr(row.end_s),
        "speaker": row.speaker,
        "split": row.split,
        **{column: row.labels.get(column, "") for column in LABEL_COLUMNS},
        "text": row.text,
        "context": _own_context(row),
    }


def _own_context(row: Row) -> str:
    return "" if row.context == default_context(row.media) else row.context


def _path(media: Path, folder: Path) -> str:
    """The path in the manifest; links inside its folder keep their names."""
    if ".." in media.parts or not media.is_relative_to(folder):
        media = Path(os.path.realpath(media.parent)) / media.name
    name = (media.relative_to(folder) if media.is_relative_to(folder) else media).as_posix()
    return name if name.strip() else f"./{name}"  # an empty cell would be no name


def _line(cells: Iterable[str]) -> str:
    # The writer puts line breaks of both kinds in quotes only where its own line ends hold both.
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().removesuffix("\r\n") + "\n"


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table, separated by what its first line has most of: commas, semicolons or
    tabs. With one of the others, numbers may have decimal commas."""
    text = read_text(path, DatasetError, max_bytes=MAX_FILE_BYTES, what="a CSV file of utterances")
    mark = max(",;\t", key=text.lstrip().partition("\n")[0].count)
    rows = csv_rows(text, printable(path), DatasetError, strict=True, delimiter=mark)
    for line, cells in rows:
        yield line, cells if mark == "," else [_DECIMAL.sub(r"\1.\2", cell) for cell in cells]


def read_rows(data: Path, on_warning: Callable[[str], None] = lambda warning: None) -> list[Row]:
    """The labelled utterances of a CSV file (manifest, MMSA's or MELD's, by its heading) or of a
    folder.

    ``media`` is an absolute path; the file need not exist. ``on_warning`` takes a line if some were
    found under another path. Raises DatasetError if there are no utterances, or if their list
    cannot be read.
    """
    rows = _read_layout(data)
    folder = Path(os.path.realpath(data if os.path.isdir(data) else data.parent))
    return _located(rows, folder, on_warning)


def _located(rows: list[Row], folder: Path, on_warning: Callable[[str], None]) -> list[Row]:
    """``rows`` with another file where theirs is missing: the only one that fits its path, if it
    fits no other path."""

    @cache
    def entries(parent: Path) -> dict[str, list[Path]]:
        found = defaultdict(list)
        for path in sorted(parent.glob("*")):
            found[_name_key(path.name)].append(path)
            if path.suffix[1:].lower() in _ENDINGS.split("|"):
                found[_name_key(path.stem)].append(path)
        return found

    def fitting(media: Path) -> list[Path]:
        if os.path.lexists(media):
            return [media]
        inside = media.is_relative_to(folder)
        text = str(media.relative_to(folder) if inside else media)
        parts = re.split(r"[/\\]", text.lstrip("/\\"))
        # Of a whole path from another machine, the longest end that is below the folder.
        starts = len(parts) if not inside or re.match(r"[a-zA-Z]:|\\", text) else 1
        for start in range(starts if ".." not in parts and len(parts) <= MAX_PARTS else 0):
            found = [folder]
            for part in parts[start:]:
                exact = [path / part for path in found if os.path.lexists(path / part)]
                found = exact or [one for path in found for one in entries(path)[_name_key(part)]]
            if found:
                return found
        return []

    fits = {media: fitting(media) for media in dict.fromkeys(row.media for row in rows)}
    wanted = Counter(path for found in fits.values() for path in found)
    odd = [
        media for media, found in fits.items() if found != [media] and (found or "\\" in str(media))
    ]
    new = {media: fits[media][0] for media in odd if [wanted[path] for path in fits[media]] == [1]}
    # One line, of a path that fits none or several if there is one.
    for media in sorted(odd, key=lambda media: media in new)[:1]:
        names = " or ".join(printable(_path(path, folder)) for path in fits[media][:3])
        what = f"{names} is used" if media in new else f"it may be {names}: write the exact path"
        what = what if names else "write its path from the folder of the list on, with /"
        where = next(row.where for row in rows if row.media == media)
        more = f" (and {counted(len(odd) - 1, 'other file')})" if len(odd) > 1 else ""
        on_warning(f"{where}: no file {printable(_path(media, folder))}; {what}{more}")
    for index, row in enumerate(rows):
        if (found := new.get(row.media)) is not None:
            context = _own_context(row) or default_context(found)
            rows[index] = replace(row, media=found, context=context)
    return rows


def _name_key(name: str) -> str:
    """Equal for names that differ in case, in zeros at the front, or in the form of accents."""
    return unicodedata.normalize("NFC", name).casefold().lstrip("0")


def _read_layout(data: Path) -> list[Row]:
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


def read_label_map(path: Path) -> LabelScale:
    """The labels of a CSV file with a value and its label in each row, or of a JSON object."""
    if path.suffix.lower() == ".json":
        pairs: list[Any] = list(read_object(path, DatasetError, "write {value: label}").items())
    else:
        pairs = [cells for _, cells in _rows(path)]
    if not pairs or any(len(pair) != 2 or isinstance(pair[1], dict | list) for pair in pairs):
        raise DatasetError(f"{printable(path)}: no pairs; write value,label in each row")
    return LabelScale(names={value: str(label).strip() for value, label in pairs})


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
    splits = [split for split, name in _MELD_NAMES.items() if csv_file.name.startswith(name)]
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
    for column, digits in zip(("Dialogue_ID", "Utterance_ID"), numbers, strict=True):
        if not (digits.isascii() and digits.isdecimal()):
            raise DatasetError(f"{cells.place}: {column} {quoted(digits)} is no number; correct it")
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


def emotion_labels(emotion: str) -> dict[str, str]:
    """Labels of a clip of RAVDESS; surprise has no sentiment."""
    polarity = polarity_of(emotion)
    sentiment = "" if polarity is None else POLARITY_LABELS[polarity]
    return {"label": emotion, "emotion": emotion, "sentiment": sentiment}


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
    return [
        Row(
            media=media,
            speaker=f"actor{name['actor']}",
            labels=emotion_labels(EMOTIONS[int(name["emotion"]) - 1]),
            text=STATEMENTS[int(name["statement"])],
            context=default_context(media),
            where=media.relative_to(root).as_posix(),
        )
        for _, name, media in chosen
    ]
