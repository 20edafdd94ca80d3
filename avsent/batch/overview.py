"""``avsent report OUT``: a page about a whole batch, which may still be running, and a page for
each of its finished files.

The overview holds compact columns of integers (milliseconds, ten-thousandths of a score,
thousandths of a probability), and each name and warning once: 20,000 utterances without text take
half a megabyte.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files as files_of
from pathlib import Path
from typing import Any

from avsent import __version__
from avsent.batch import journal as journals
from avsent.batch.journal import FileState, Journal, JournalEntry, Stored
from avsent.batch.outputs import concerns_all, size_of
from avsent.batch.run import corpus_digest
from avsent.errors import MediaError, OutputError
from avsent.files import atomic_text, prepare_folder
from avsent.progress import Progress, ProgressHook, ignore_progress
from avsent.result.colours import colour_of_score, colours_of
from avsent.result.record import Cell, ModelInfo, column_names
from avsent.result.writers import Format, make_writer
from avsent.text import one_line, score_text
from avsent.views.report.page import json_block, link, page, write_report

FILE_NAME = "index.html"
PAGES_NAME = "pages.json"
STATES = (FileState.done, FileState.failed, FileState.running, FileState.pending)
"""The page has indices into this."""
_SHADES = 10  # colours of scores on each side of 0
_NAMED_MODELS = 3
_FORMATS = (Format.json, Format.jsonl, *(f for f in Format if f not in ("json", "jsonl")))
"""The page links to a result in the first format that exists."""


@dataclasses.dataclass(frozen=True, slots=True)
class UtteranceRow:
    """``probability``: of its sentiment, None if unknown."""

    start_s: float
    end_s: float
    sentiment: str
    score: float
    probability: float | None
    text: str
    warnings: str
    unsure: str


@dataclasses.dataclass(frozen=True, slots=True)
class FileRow:
    """One file of the batch, with its utterances if done."""

    entry: JournalEntry
    model: ModelInfo | None = None
    warnings: tuple[str, ...] = ()
    utterances: tuple[UtteranceRow, ...] = ()


def write_overview(
    out: Path,
    target: Path | None = None,
    *,
    pages: bool = True,
    pictures: bool = False,
    on_progress: ProgressHook = ignore_progress,
) -> Path:
    """Write the overview of the batch in ``out`` and return its path.

    ``target``: by default ``index.html`` in ``out``. ``pages``: write a page for each finished
    file, too, unless ``out`` is read-only or the final results of ``--adapt corpus`` are missing.
    ``pictures``: pages show faces and spectrograms, which needs another pass over each video.
    ``on_progress``: called with the number of pages. Raises OutputError if there is no batch in
    ``out``, its journal is damaged, or a page cannot be written.
    """
    target = out / FILE_NAME if target is None else target
    at_work = journals.is_held(out)
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
    made: Pages, journal: Journal, done: Sequence[JournalEntry], on_progress: ProgressHook
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
    out: Path,
    target: Path,
    entry: JournalEntry,
    made: Pages,
    written: Mapping[tuple[str, str], int],
) -> tuple[str | None, str | None]:
    """URLs of the result and the page of a file, relative to the overview."""
    if entry.state != FileState.done:
        return None, None

    def url(path: Path | None) -> str | None:
        return None if path is None else link(path.parent.resolve() / path.name, target.resolve())

    formats = (make_writer(f) for f in _FORMATS if (entry.name, f.value) in written)
    results = (out / f"{entry.stem}.{writer.extension}" for writer in formats)
    result = next((path for path in results if path.is_file()), None)
    return url(result), url(made.path(entry.stem) if made.has(entry.stem) else None)


# --- What the journal holds ----------------------------------------------------------------------


def _file(journal: Journal, entry: JournalEntry) -> FileRow:
    """Raises OutputError if the journal is damaged."""
    if entry.state != FileState.done:
        return FileRow(entry)
    stored = _stored_if_done(journal, entry)
    if stored is None:
        return FileRow(
            dataclasses.replace(entry, state=FileState.pending, utterances=None, error=None)
        )
    model, warnings = stored.model_and_warnings()
    with journals.damage_reported():
        utterances = (_utterance(row, model.labels) for row in stored.table_rows())
        return FileRow(entry, model, warnings, tuple(utterances))


def _stored_if_done(journal: Journal, entry: JournalEntry) -> Stored | None:
    """The result of a finished file; None if a running batch has just withdrawn it. Raises
    OutputError for a damaged journal."""
    try:
        return journal.stored(entry.name)
    except OutputError:
        now = {other.name: other for other in journal.entries()}[entry.name]
        if now.state == FileState.done:
            raise
        return None


def _utterance(row: list[Cell], labels: Sequence[str]) -> UtteranceRow:
    cells = dict(zip(column_names(labels), row, strict=True))
    sentiment = str(cells["sentiment"])
    probability = cells.get(f"p_{one_line(sentiment)}")
    return UtteranceRow(
        start_s=float(cells["start_s"] or 0.0),
        end_s=float(cells["end_s"] or 0.0),
        sentiment=sentiment,
        score=float(cells["score"] or 0.0),
        probability=None if probability is None else float(probability),
        text="" if cells["text"] is None else str(cells["text"]),
        warnings=str(cells["warnings"] or ""),
        unsure=str(cells["unsure"] or ""),
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


def _tiles(files: Sequence[FileRow]) -> list[tuple[str, str, str, str]]:
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
    if unsure := sum(bool(one.unsure) for file in done for one in file.utterances):
        each += f", {unsure:,} unsure"

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


def _notes(files: Sequence[FileRow], at_work: bool, preliminary: bool) -> list[str]:
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
    files: Sequence[FileRow], labels: Sequence[str], links: Sequence[tuple[str | None, str | None]]
) -> dict[str, Any]:
    """JSON-ready columns of all files and of all utterances, file by file."""
    remarks: dict[str, int] = {}  # number of each text

    def remark(text: str) -> int:
        return remarks.setdefault(one_line(text), len(remarks))

    def scaled(value: float | None, unit: int) -> int | None:
        return None if value is None else round(value * unit)

    def mean_score(file: FileRow) -> float | None:
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
                n: [remark(w) for w in f.warnings] for n, f in enumerate(files) if f.warnings
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
            "remarks": {n: remark(u.warnings) for n, u in enumerate(utterances) if u.warnings},
            "unsure": {n: remark(u.unsure) for n, u in enumerate(utterances) if u.unsure},
        },
        "remarks": list(remarks),
    }


# --- The pages of the files ----------------------------------------------------------------------


class Pages:
    """The pages of one batch: one for each finished file, beside its result.

    ``OUT/.avsent/pages.json`` has a digest of the input of each page; pages whose input has not
    changed are not written again. Without that file, all pages are.

    ``folder``: of the media of the batch; None if unknown: pages have no media. ``pictures``:
    pages show faces and spectrograms, which needs another pass over the media; a page that has
    them keeps them while its result is the same. ``reserved``: files that no page may replace.
    """

    def __init__(
        self, out: Path, folder: Path | None, *, pictures: bool, reserved: Iterable[Path] = ()
    ) -> None:
        self._out = out
        self._folder = folder
        self._pictures = pictures
        self._reserved = {os.path.realpath(path) for path in reserved}
        self._known = _read(out / journals.FOLDER_NAME / PAGES_NAME)
        self._version = _version()

    def path(self, stem: str) -> Path:
        """Path of the page of a file."""
        return self._out / f"{stem}.html"

    def has(self, stem: str) -> bool:
        """Whether the page is there and complete."""
        known = self._known.get(stem)
        return known is not None and known["size"] == size_of(self.path(stem))

    def write(self, entry: JournalEntry, stored: Stored) -> None:
        """Write the page of a file unless it is up to date, or cannot be written under its name.
        Raises OutputError if no page can be written, or the result is damaged."""
        media = None if self._folder is None else self._folder / entry.name
        if media is not None and not media.is_file():
            media = None
        facts = json.dumps([self._version, None if media is None else str(media)])
        digest = hashlib.sha256(facts.encode("ascii") + stored.result).hexdigest()
        known = self._known.get(entry.stem, {"digest": None})
        target = self.path(entry.stem)
        same = self.has(entry.stem) and known["digest"] == digest
        if same and (known["pictures"] or not self._pictures):
            return
        if os.path.realpath(target) in self._reserved:
            return
        self._known.pop(entry.stem, None)
        pictures = self._pictures and media is not None
        try:
            try:
                _write_page(target, stored, media, pictures)
            except MediaError:  # the file has changed since its analysis
                pictures = False
                _write_page(target, stored, media, pictures)
        except OutputError as error:
            if concerns_all(error):
                raise
            return
        self._known[entry.stem] = {"digest": digest, "size": size_of(target), "pictures": pictures}

    def remove_others(self, stems: Iterable[str]) -> None:
        """Remove all other pages: they have no result any more."""
        for stem in self._known.keys() - set(stems):
            if self.has(stem):  # unchanged since it was written
                with contextlib.suppress(OSError):
                    self.path(stem).unlink()
            del self._known[stem]

    def save(self) -> None:
        """Write ``pages.json``. Raises OutputError."""
        prepare_folder(self._out / journals.FOLDER_NAME)
        with atomic_text(self._out / journals.FOLDER_NAME / PAGES_NAME) as file:
            json.dump(self._known, file)


def _write_page(target: Path, stored: Stored, media: Path | None, pictures: bool) -> None:
    prepare_folder(target.parent)
    write_report(target, journals.result_of(stored.result), media=media, pictures=pictures)


def _version() -> str:
    """Digest of version and assets: if it changes, all pages are written again."""
    digest = hashlib.sha256(__version__.encode("ascii"))
    assets = (files_of("avsent.views.report") / "assets").iterdir()
    for asset in sorted(assets, key=lambda asset: asset.name):
        if asset.is_file():
            digest.update(asset.read_bytes())
    return digest.hexdigest()


def _read(path: Path) -> dict[str, dict[str, Any]]:
    kinds = {"digest": str, "size": int, "pictures": bool}
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(stem): {key: kind(page[key]) for key, kind in kinds.items()}
            for stem, page in plain.items()
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}  # all pages are written anew
