"""What is wrong with a corpus of raw media, all at once, before hours of extraction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from avsent.progress import ProgressHook, ignore_progress
from avsent.text import printable, quoted
from avsent.training.data.check_labels import LabelCheck
from avsent.training.data.corpus import Row
from avsent.training.data.manifest import default_context
from avsent.training.data.probe import FileFacts, probe_files, shown
from avsent.training.data.problem import EVERY_ROW, Problem

MIN_DURATION_S = 0.2
"""Shorter than nearly any word: too little to make features of."""

SLACK_S = 0.1
"""How far an utterance may end after its file: annotations and containers round."""


def check_rows(
    rows: Sequence[Row],
    *,
    label: str = "label",
    labels: str = "auto",
    split_by: str = "speaker",
    on_progress: ProgressHook = ignore_progress,
) -> list[Problem]:
    """Everything that is wrong with ``rows``, in their order. Each file is opened once, and not
    decoded further than its first picture or sound.

    ``label``: the column of ``LABEL_COLUMNS``; ``labels``: as ``avsent.labels.label_set`` takes
    it; ``split_by``: what may be in one split only, "speaker" or "video".
    """
    files = probe_files((row.media for row in rows), on_progress)
    return find_problems(rows, files, LabelCheck(rows, label, labels), split_by)


def find_problems(
    rows: Sequence[Row],
    files: Mapping[Path, FileFacts],
    label_check: LabelCheck,
    split_by: str,
) -> list[Problem]:
    """:func:`check_rows` for files that were looked at before (``probe_files``)."""
    duplicates = _Duplicates(files)
    crossings = _Crossings(split_by)
    any_text = any(row.text.strip() for row in rows)
    problems = list(label_check.overall())
    for row in rows:
        problems += _of_file(row, files[row.media])
        problems += label_check.problems(row)
        problems += duplicates.problems(row)
        problems += crossings.problems(row)
        if any_text and not row.text.strip():
            problems.append(Problem(row.where, "no_text", "text is empty"))
    if not any_text:
        problems.append(Problem(EVERY_ROW, "no_text", "no utterance has a text"))
    return problems


def _of_file(row: Row, facts: FileFacts) -> Iterator[Problem]:
    if facts.missing:
        yield Problem(row.where, "missing", f"no such file: {shown(row.media)}")
        return
    if facts.problem:
        yield Problem(row.where, "unreadable", facts.problem)
    length_s = length_of(row, facts)
    if length_s is not None and length_s < MIN_DURATION_S:
        detail = f"{shown(row.media)}: {length_s:.3g} s, less than {MIN_DURATION_S:g} s"
        yield Problem(row.where, "too_short", detail)
    end_s = facts.duration_s
    if row.end_s is not None and end_s is not None and row.end_s > end_s + SLACK_S:
        detail = f"ends at {row.end_s:g} s, {shown(row.media)} at {end_s:.2f} s"
        yield Problem(row.where, "out_of_file", detail)


def length_of(row: Row, facts: FileFacts) -> float | None:
    """Seconds that the utterance lasts; None for a whole file of unknown duration."""
    if row.start_s is None or row.end_s is None:
        return facts.duration_s
    return row.end_s - row.start_s


class _Duplicates:
    """Utterances that were there before: the same stretch of the same content."""

    def __init__(self, files: Mapping[Path, FileFacts]) -> None:
        self._files = files
        self._first: dict[tuple[str, float | None, float | None], Row] = {}

    def problems(self, row: Row) -> Iterator[Problem]:
        key = (self._files[row.media].identity, row.start_s, row.end_s)
        first = self._first.setdefault(key, row)
        if first is not row:
            same = "the same utterance" if first.media == row.media else "the same content"
            detail = f"{same} as {first.where or shown(first.media)}"
            if first.media != row.media:
                detail += f": {shown(row.media)} and {shown(first.media)}"
            yield Problem(row.where, "duplicate", detail)


class _Crossings:
    """Speakers, or videos, that are in more than one split: told once for each further split."""

    def __init__(self, split_by: str) -> None:
        self._split_by = split_by
        self._first: dict[str, tuple[str, str]] = {}
        self._told: set[tuple[str, str]] = set()

    def problems(self, row: Row) -> Iterator[Problem]:
        for who in self._groups(row) if row.split else ():
            split, where = self._first.setdefault(who, (row.split, row.where))
            if split != row.split and (who, row.split) not in self._told:
                self._told.add((who, row.split))
                detail = f"{who} is in {row.split}, and in {split} ({where}); keep it in one split"
                yield Problem(row.where, "shared_speaker", detail)

    def _groups(self, row: Row) -> Iterator[str]:
        if self._split_by == "speaker":
            if row.speaker:
                yield f"speaker {quoted(row.speaker)}"
            return
        yield f"video {shown(row.media)}"
        if row.context and row.context != default_context(row.media):
            yield f"context {printable(row.context)}"
