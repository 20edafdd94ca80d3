"""``avsent report OUT``: a page about a whole batch, which may still be running.

The page holds compact columns of integers (milliseconds, ten-thousandths of a score, thousandths
of a probability), and each name and warning once: 20,000 utterances without text take half a
megabyte.
"""

import dataclasses
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avsent.batch.journal import (
    Entry,
    FileState,
    Journal,
    Stored,
    damaged,
    is_held,
    rows_of,
    unzipped,
)
from avsent.batch.pages import Pages
from avsent.batch.run import corpus_digest
from avsent.errors import OutputError
from avsent.files import atomic_text
from avsent.progress import Progress, ProgressHook, ignore_progress
from avsent.result.colours import colour_of_score, colours_of
from avsent.result.record import FIRST_COLUMNS, LAST_COLUMNS, Cell, ModelInfo
from avsent.result.writers import Format, make_writer
from avsent.text import one_line, score_text
from avsent.views.report.page import json_block, link, page

FILE_NAME = "index.html"
STATES = (FileState.done, FileState.failed, FileState.running, FileState.pending)
"""The page has indices into this."""
_SHADES = 10
"""Colours of scores on each side of 0."""
_NAMED_MODELS = 3
_FORMATS = (Format.json, Format.jsonl, *(f for f in Format if f not in ("json", "jsonl")))
"""The page links to a result in the first format that exists."""
_JSON = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Utterance:
    """``probability``: of its sentiment, None if unknown."""

    start_s: float
    end_s: float
    sentiment: str
    score: float
    probability: float | None
    text: str
    warnings: str


@dataclass(frozen=True, slots=True)
class File:
    """One file of the batch, with its utterances if done."""

    entry: Entry
    model: ModelInfo | None = None
    warnings: tuple[str, ...] = ()
    utterances: tuple[Utterance, ...] = ()


def write_overview(
    out: Path,
    target: Path | None = None,
    *,
    pages: bool = True,
    pictures: bool = False,
    on_progress: ProgressHook = ignore_progress,
) -> Path:
    """Write the overview of the batch in ``out`` and return its path.

    Parameters
    ----------
    target
        By default ``index.html`` in ``out``.
    pages
        Write a page for each finished file, too, unless ``out`` is read-only or the final results
        of ``--adapt corpus`` are missing.
    pictures
        Pages show faces and spectrograms, which needs another pass over each video.
    on_progress
        Called with the number of pages.

    Raises
    ------
    OutputError
        There is no batch in ``out``, its journal is damaged, or a page cannot be written.
    """
    target = out / FILE_NAME if target is None else target
    at_work = is_held(out)
    with Journal(out, write=False) as journal:
        files = [_file(journal, entry) for entry in journal.entries() if entry.present]
        done = [file.entry for file in files if file.entry.state == FileState.done]
        options = journal.fact("options") or {}
        preliminary = options.get("adapt") == "corpus" and (
            journal.fact("corpus") != corpus_digest(done)
        )
        kept = journal.fact("folder")
        folder = Path(kept) if isinstance(kept, str) and os.path.isdir(kept) else None
        made = Pages(out, folder, pictures=pictures, reserved=[target, out / FILE_NAME])
        # A read-only batch can still have its overview elsewhere.
        if pages and not preliminary and os.access(out, os.W_OK):
            _write_pages(made, journal, done, on_progress)
        written = journal.outputs()
        links = [_links(out, target, file.entry, made, written) for file in files]
    models = list(dict.fromkeys(file.model for file in files if file.model is not None))
    title = one_line(os.path.basename(os.path.realpath(out))) or "batch"
    head = {
        "title": title,
        "facts": [one_line(fact) for fact in _facts(models, options)],
        "tiles": _tiles(files),
        "notes": _notes(files, at_work, preliminary),
    }
    labels = list(dict.fromkeys(label for model in models for label in model.labels))
    blocks = [json_block("head", head), json_block("data", _columns(files, labels, links))]
    with atomic_text(target) as stream:
        stream.writelines(page("overview", title=f"{title}: sentiment of a batch", blocks=blocks))
    return target


def _write_pages(
    made: Pages, journal: Journal, done: Sequence[Entry], on_progress: ProgressHook
) -> None:
    # A file that was removed from the folder keeps its result, and so its page.
    removed = [e for e in journal.entries() if not e.present and e.state == FileState.done]
    made.remove_others(entry.stem for entry in [*done, *removed])
    try:
        for number, entry in enumerate(done):
            on_progress(Progress("pages", entry.name, number, len(done)))
            stored = _stored_if_done(journal, entry)
            if stored is not None:
                made.write(entry, stored)
        on_progress(Progress("pages", "", len(done), len(done)))
    finally:
        made.save()


def _links(
    out: Path, target: Path, entry: Entry, made: Pages, written: Mapping[tuple[str, str], int]
) -> tuple[str | None, str | None]:
    """URLs of the result and the page of a file, relative to the overview."""
    if entry.state != FileState.done:
        return None, None

    def url(path: Path) -> str:
        return link(path.parent.resolve() / path.name, target.resolve())

    results = (
        out / f"{entry.stem}.{make_writer(format).extension}"
        for format in _FORMATS
        if (entry.name, format.value) in written
    )
    result = next((path for path in results if path.is_file()), None)
    return (
        None if result is None else url(result),
        url(made.path(entry.stem)) if made.has(entry.stem) else None,
    )


# --- What the journal holds ----------------------------------------------------------------------


def _file(journal: Journal, entry: Entry) -> File:
    """Raises OutputError if the journal is damaged."""
    if entry.state != FileState.done:
        return File(entry)
    stored = _stored_if_done(journal, entry)
    if stored is None:
        pending = dataclasses.replace(entry, state=FileState.pending, utterances=None, error=None)
        return File(pending)
    model, warnings = _model_and_warnings(stored.result)
    rows = rows_of(stored.rows)
    try:
        return File(entry, model, warnings, tuple(_utterance(row, model.labels) for row in rows))
    except (ValueError, TypeError) as error:
        raise damaged() from error


def _stored_if_done(journal: Journal, entry: Entry) -> Stored | None:
    """The result of a finished file; None if a running batch has just withdrawn it. Raises
    OutputError for a damaged journal."""
    try:
        return journal.stored(entry.name)
    except OutputError:
        now = {other.name: other for other in journal.entries()}[entry.name]
        if now.state == FileState.done:
            raise
        return None


def _model_and_warnings(result: bytes) -> tuple[ModelInfo, tuple[str, ...]]:
    """Model and warnings of a stored result, without parsing the attention between them, which is
    100 times as long. Texts cannot contain these keys, as their quotation marks are escaped."""
    try:
        text = unzipped(result).decode("ascii")
        key, last = '"model": ', '"warnings": '
        model, _ = _JSON.raw_decode(text, text.index(key) + len(key))
        warnings, end = _JSON.raw_decode(text, text.rindex(last) + len(last))
        if text[end:] != "}":
            raise ValueError("warnings are not the last key")
        info = ModelInfo(str(model["name"]), str(model["sha256"]), tuple(map(str, model["labels"])))
        return info, tuple(map(str, warnings))
    except (zlib.error, ValueError, LookupError, TypeError, RecursionError) as error:
        raise damaged() from error


def _utterance(row: list[Cell], labels: Sequence[str]) -> Utterance:
    first = dict(zip(FIRST_COLUMNS, row, strict=False))
    last = dict(zip(LAST_COLUMNS, row[-len(LAST_COLUMNS) :], strict=True))
    shares = dict(zip(labels, row[len(FIRST_COLUMNS) : -len(LAST_COLUMNS)], strict=True))
    sentiment = str(first["sentiment"])
    probability = shares.get(sentiment)
    return Utterance(
        start_s=float(first["start_s"] or 0.0),
        end_s=float(first["end_s"] or 0.0),
        sentiment=sentiment,
        score=float(first["score"] or 0.0),
        probability=None if probability is None else float(probability),
        text="" if last["text"] is None else str(last["text"]),
        warnings=str(last["warnings"] or ""),
    )


# --- The head ------------------------------------------------------------------------------------


def _facts(models: Sequence[ModelInfo], options: Mapping[str, Any]) -> Iterator[str]:
    names = [f"{model.name} ({model.sha256[:8]})" for model in models]
    if len(names) > _NAMED_MODELS:
        names[_NAMED_MODELS:] = [f"{len(names) - _NAMED_MODELS} more"]
    if names:
        yield f"model {', '.join(names)}"
    for key, value in options.items():
        if value not in (None, False):
            yield key if value is True else f"{key} {value}"


def _tiles(files: Sequence[File]) -> list[tuple[str, str, str, str]]:
    """Name, figure, addition and kind of each."""
    done = [file for file in files if file.entry.state == FileState.done]
    scores = [one.score for file in done for one in file.utterances]
    failed = sum(file.entry.state == FileState.failed for file in files)
    warned = sum(any([*file.warnings, *(one.warnings for one in file.utterances)]) for file in done)
    minutes, seconds = divmod(round(sum(file.entry.duration_s or 0.0 for file in done)), 60)
    lasts = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    if minutes >= 60:
        lasts = f"{minutes // 60:,} h {minutes % 60} min"
    mean = score_text(sum(scores) / len(scores)) if scores else "–"
    each = f"{len(scores) / len(done):.1f} per file" if done else ""

    def share(part: int, whole: int) -> str:
        return f"{100 * part / whole:.1f} %" if whole else ""

    return [
        ("Files", f"{len(files):,}", f"{len(done):,} done", ""),
        ("Failed", f"{failed:,}", share(failed, len(files)), "bad" if failed else ""),
        ("Duration", lasts, "of finished files", ""),
        ("Utterances", f"{len(scores):,}", each, ""),
        ("Mean score", mean.replace("-", "−"), "from −1 to 1", ""),
        ("Files with warnings", f"{warned:,}", share(warned, len(done)), ""),
    ]


def _notes(files: Sequence[File], at_work: bool, preliminary: bool) -> list[str]:
    notes = []
    left = sum(file.entry.state in (FileState.running, FileState.pending) for file in files)
    if left:
        when = "was running when this page was made" if at_work else "was not finished"
        notes.append(f"The batch {when}: {left:,} of {len(files):,} files are missing here.")
    configs = {file.entry.config_sha256 for file in files if file.entry.state == FileState.done}
    if len(configs) > 1:
        notes.append(
            "This page mixes results of more than one model or set of options: the batch was "
            "being repeated."
        )
    if preliminary:
        notes.append("All results will change when the last file is done (--adapt corpus).")
    return notes


# --- The columns ---------------------------------------------------------------------------------


def _columns(
    files: Sequence[File], labels: Sequence[str], links: Sequence[tuple[str | None, str | None]]
) -> dict[str, Any]:
    """JSON-ready columns of all files and of all utterances, file by file."""
    remarks: dict[str, int] = {}  # number of each text

    def remark(text: str) -> int:
        return remarks.setdefault(one_line(text), len(remarks))

    def scaled(value: float | None, unit: int) -> int | None:
        return None if value is None else round(value * unit)

    def mean_score(file: File) -> float | None:
        count = len(file.utterances)
        return sum(one.score for one in file.utterances) / count if count else None

    utterances = [one for file in files for one in file.utterances]
    # A sentiment that no model has means a damaged journal; it is shown as none.
    numbers = {label: number for number, label in enumerate(labels)}
    texts = any(one.text for one in utterances)
    return {
        "labels": [one_line(label) for label in labels],
        "labelColours": colours_of(labels),
        "scoreColours": [colour_of_score(n / _SHADES) for n in range(-_SHADES, _SHADES + 1)],
        "states": [state.value for state in STATES],
        "files": {
            "name": [one_line(file.entry.name) for file in files],
            "state": [STATES.index(file.entry.state) for file in files],
            "duration": [scaled(file.entry.duration_s, 1000) for file in files],
            "count": [len(file.utterances) for file in files],
            "mean": [scaled(mean_score(file), 10_000) for file in files],
            "remarks": {
                number: [remark(text) for text in file.warnings]
                for number, file in enumerate(files)
                if file.warnings
            },
            "error": {
                number: one_line(file.entry.error)
                for number, file in enumerate(files)
                if file.entry.state == FileState.failed and file.entry.error
            },
            "result": [result for result, _ in links],
            "page": [own for _, own in links],
        },
        "utterances": {
            "start": [round(one.start_s * 1000) for one in utterances],
            "length": [round((one.end_s - one.start_s) * 1000) for one in utterances],
            "label": [numbers.get(one.sentiment, -1) for one in utterances],
            "score": [scaled(one.score, 10_000) for one in utterances],
            "probability": [scaled(one.probability, 1000) for one in utterances],
            "text": [one_line(one.text) for one in utterances] if texts else None,
            "remarks": {
                number: remark(one.warnings)
                for number, one in enumerate(utterances)
                if one.warnings
            },
        },
        "remarks": list(remarks),
    }
