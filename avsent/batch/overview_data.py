"""What the overview of a batch shows, read from its journal: also while the batch is at work."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from avsent.batch.journal import Entry, Journal, State, Stored, damaged, rows_of, unzipped
from avsent.batch.run import together_digest
from avsent.errors import OutputError
from avsent.result.columns import FIRST_COLUMNS, LAST_COLUMNS, Cell
from avsent.result.utterance import ModelInfo

Row: TypeAlias = list[Cell]
"""Of the table of all utterances: see ``avsent.result.writers.csv``."""

_START = FIRST_COLUMNS.index("start_s")
_END = FIRST_COLUMNS.index("end_s")
_SENTIMENT = FIRST_COLUMNS.index("sentiment")
_SCORE = FIRST_COLUMNS.index("score")
_TEXT = LAST_COLUMNS.index("text") - len(LAST_COLUMNS)
_WARNINGS = LAST_COLUMNS.index("warnings") - len(LAST_COLUMNS)
_JSON = json.JSONDecoder()
_MODEL, _WARNED = '"model": ', '"warnings": '
_AT_WORK = State.running, State.pending


@dataclass(frozen=True, slots=True)
class Said:
    """One utterance, as far as the overview shows it; ``certainty``: the probability of its
    sentiment, None where the model gives none."""

    start_s: float
    end_s: float
    sentiment: str
    score: float
    certainty: float | None
    text: str
    warnings: str


@dataclass(frozen=True, slots=True)
class FileView:
    """One file of the batch, with its utterances if it is done."""

    entry: Entry
    model: ModelInfo | None = None
    warnings: tuple[str, ...] = ()
    said: tuple[Said, ...] = ()

    @property
    def mean_score(self) -> float | None:
        """None without utterances."""
        return sum(one.score for one in self.said) / len(self.said) if self.said else None


@dataclass(frozen=True, slots=True)
class Overview:
    """A batch as its journal has it.

    ``labels``: of all models that results are of, in their order; ``options``: of the last run;
    ``mixed``: results are of more than one model or choice of options; ``preliminary``: they will
    change when all files are done (``--adapt corpus``).
    """

    files: tuple[FileView, ...]
    labels: tuple[str, ...]
    models: tuple[ModelInfo, ...]
    options: Mapping[str, Any]
    at_work: bool
    mixed: bool
    preliminary: bool

    def of_state(self, *states: State) -> tuple[FileView, ...]:
        """The files that are in one of these states."""
        return tuple(view for view in self.files if view.entry.state in states)

    @property
    def left(self) -> int:
        """How many files are neither done nor have failed."""
        return len(self.of_state(*_AT_WORK))


def read_overview(journal: Journal, *, at_work: bool) -> Overview:
    """All files that were in the folder when the batch last looked.

    Raises:
        OutputError: the journal is damaged.
    """
    entries = [entry for entry in journal.entries() if entry.present]
    files = tuple(_view(journal, entry) for entry in entries)
    done = [view.entry for view in files if view.entry.state == State.done]
    models = tuple(dict.fromkeys(view.model for view in files if view.model is not None))
    options = journal.fact("options") or {}
    together = options.get("adapt") == "corpus"
    return Overview(
        files=files,
        labels=tuple(dict.fromkeys(label for model in models for label in model.labels)),
        models=models,
        options=options,
        at_work=at_work,
        mixed=len({entry.config_sha256 for entry in done}) > 1,
        preliminary=together and journal.fact("corpus") != together_digest(done),
    )


def _view(journal: Journal, entry: Entry) -> FileView:
    if entry.state != State.done:
        return FileView(entry)
    stored = stored_if_done(journal, entry)
    if stored is None:  # just now taken back by a batch at work
        return FileView(_as_pending(entry))
    model, warnings = _facts(stored.result)
    rows = rows_of(stored.rows)
    try:
        said = tuple(_said(row, model.labels) for row in rows)
    except (ValueError, TypeError) as error:
        raise damaged() from error
    return FileView(entry, model, warnings, said)


def stored_if_done(journal: Journal, entry: Entry) -> Stored | None:
    """The result of a file that was done a moment ago; None where a batch at work has taken it
    back since. Raises OutputError where the journal is damaged."""
    try:
        return journal.stored(entry.name)
    except OutputError:
        now = {other.name: other for other in journal.entries()}[entry.name]
        if now.state == State.done:
            raise
        return None


def _as_pending(entry: Entry) -> Entry:
    return dataclasses.replace(entry, state=State.pending, utterances=None, error=None)


def _facts(result: bytes) -> tuple[ModelInfo, tuple[str, ...]]:
    """Model and warnings of a stored result.

    All the attention between them is skipped unread: it is a hundred times as long. The keys
    cannot be found within a text, where each quotation mark is escaped.
    """
    try:
        text = unzipped(result).decode("ascii")
        model, _ = _JSON.raw_decode(text, text.index(_MODEL) + len(_MODEL))
        warnings, end = _JSON.raw_decode(text, text.rindex(_WARNED) + len(_WARNED))
        if text[end:] != "}":
            raise ValueError("warnings are not the last key")
        info = ModelInfo(str(model["name"]), str(model["sha256"]), tuple(map(str, model["labels"])))
        return info, tuple(map(str, warnings))
    except (zlib.error, ValueError, LookupError, TypeError, RecursionError) as error:
        raise damaged() from error


def _said(row: Row, labels: Sequence[str]) -> Said:
    sentiment = str(row[_SENTIMENT])
    shares = dict(zip(labels, row[len(FIRST_COLUMNS) : -len(LAST_COLUMNS)], strict=True))
    certainty = shares.get(sentiment)
    return Said(
        start_s=float(row[_START] or 0.0),
        end_s=float(row[_END] or 0.0),
        sentiment=sentiment,
        score=float(row[_SCORE] or 0.0),
        certainty=None if certainty is None else float(certainty),
        text="" if row[_TEXT] is None else str(row[_TEXT]),
        warnings=str(row[_WARNINGS] or ""),
    )
