"""A corpus of raw media in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from avsent.labels import LabelSet, canonical
from avsent.text import number, printable
from avsent.training.data.check import length_of
from avsent.training.data.corpus import SPLITS, Row
from avsent.training.data.probe import FileFacts

MAX_LABELS = 12


def summary(
    rows: Sequence[Row], files: Mapping[Path, FileFacts], column: str, labels: LabelSet | None
) -> str:
    """Utterances, files, speakers, hours as far as known, and how many of each split and label."""
    speakers = len({row.speaker for row in rows if row.speaker})
    size = [
        f"{counted(len(rows), 'utterance')} in {counted(len(files), 'file')}",
        counted(speakers, "speaker") if speakers else "speakers unknown",
        _time(rows, files),
    ]
    splits = Counter(row.split for row in rows)
    parts = [", ".join(size)]
    if set(splits) != {""}:
        names = [(split, splits[split]) for split in SPLITS if splits[split]]
        names += [("no split", splits[""])] if splits[""] else []
        parts.append(", ".join(f"{name} {count}" for name, count in names))
    parts.append(_labels([row.labels.get(column, "") for row in rows], labels))
    return "; ".join(filter(None, parts))


def counted(count: int, noun: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _time(rows: Sequence[Row], files: Mapping[Path, FileFacts]) -> str:
    lengths = [length_of(row, files[row.media]) for row in rows]
    known = [length for length in lengths if length is not None]
    if not known:
        return "duration unknown"
    minutes = sum(known) / 60
    text = f"{minutes:.1f} minutes" if minutes < 60 else f"{minutes / 60:.1f} hours"
    return text if len(known) == len(lengths) else f"at least {text}"


def _labels(given: Sequence[str], labels: LabelSet | None) -> str:
    texts = [text for text in given if text.strip()]
    if labels is not None and labels.real:
        values = [value for text in texts if (value := number(text.strip())) is not None]
        return f"labels from {min(values):g} to {max(values):g}" if values else ""
    counts = Counter(canonical(text) for text in texts).most_common()
    named = [f"{printable(name)} {count}" for name, count in counts[:MAX_LABELS]]
    return ", ".join(named + ["…"] * (len(counts) > MAX_LABELS))
