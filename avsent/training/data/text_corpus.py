"""Labelled texts without sound or picture, to teach from (``--text-corpus``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avsent.errors import DatasetError
from avsent.labels import LABEL_COLUMNS
from avsent.training.data.feature_files import read_features
from avsent.training.data.table import TableRow, read_columns, read_table

TEXT_COLUMNS = ("text", "utterance")
CONTEXT_COLUMNS = ("dialogue_id", "context", "video_id", "video")
MELD_FILES = ("train_sent_emo.csv", "dev_sent_emo.csv")
"""What a folder of MELD gives; its test part stays unseen."""

_EXAMPLE = "text,label (or sentiment, or emotion)"


@dataclass(frozen=True, slots=True)
class TextItem:
    """One sentence; ``labels`` by "label", "emotion", "sentiment" as far as there are.

    ``context``: sentences of the same one belong together, in the order of the list. Where the
    file does not say, each stands alone.
    """

    text: str
    labels: dict[str, str] = field(default_factory=dict)
    context: str = ""


def read_text_corpus(path: Path) -> list[TextItem]:
    """The sentences of a CSV file with a column ``text`` (or ``Utterance``, as in MELD) and at
    least one of ``label``, ``sentiment``, ``emotion``; of a folder of MELD (train and dev); or of
    an .npz feature file (only its train part, where it is split).

    Rows without text are left out, rows without a label are kept as context. Raises DatasetError
    for anything else, with the line where there is one.
    """
    if path.is_dir():
        files = [path / name for name in MELD_FILES if (path / name).is_file()]
        if not files:
            raise DatasetError(
                f"{path}: neither {' nor '.join(MELD_FILES)} in it; name a CSV file in the folder"
            )
        items = [item for file in files for item in _read_csv(file)]
    elif path.suffix.lower() == ".npz":
        items = _read_features(path)
    else:
        items = _read_csv(path)
    if not any(item.labels for item in items):
        raise DatasetError(f"{path}: no text with a label in it; give both for each row")
    return items


def _read_csv(path: Path) -> list[TextItem]:
    columns = read_columns(path)
    text = _first(TEXT_COLUMNS, columns)
    labels = [column for column in LABEL_COLUMNS if column in columns]
    # Where something is missing, the reader says so, with the line of the heading.
    needed = [text or TEXT_COLUMNS[0], *(labels or LABEL_COLUMNS[:1])]
    context = _first(CONTEXT_COLUMNS, columns)
    known = {*needed, *LABEL_COLUMNS, *([context] if context else ())}
    rows = read_table(path, needed=needed, known=known, example=_EXAMPLE)
    return [
        TextItem(
            text=row[needed[0]],
            labels={column: row[column] for column in labels if row[column]},
            context=_context(path, row, context),
        )
        for row in rows
        if row[needed[0]]
    ]


def _context(path: Path, row: TableRow, column: str | None) -> str:
    """With the file's name before it: MELD numbers its dialogues anew in each file."""
    if column is None or not row[column]:
        return row.where
    return f"{path.stem}/{row[column]}"


def _first(wanted: Sequence[str], columns: Sequence[str]) -> str | None:
    return next((column for column in wanted if column in columns), None)


def _read_features(path: Path) -> list[TextItem]:
    samples = read_features(path).samples
    split = any(sample.split for sample in samples)
    taken = [sample for sample in samples if sample.split == "train" or not split]
    return [
        TextItem(s.text, {c: v for c, v in s.labels.items() if v}, s.video)
        for s in taken
        if s.text.strip()
    ]
