"""A batch from beginning to end: find the files, plan, process, write the tables."""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avsent.batch.engines.base import Engine, Work
from avsent.batch.events import Ended, FileFailed, Listener, Planned, Tables, ignore_event
from avsent.batch.folders import Found, assign_stems, find_media
from avsent.batch.journal import FileState, Journal, JournalEntry, exclusive, is_held, result_of
from avsent.batch.outputs import Outputs, batch_results, check_out, concerns_all, write_tables
from avsent.batch.plan import BatchConfig, Plan, config_of, json_sha256, make_plan
from avsent.batch.scheduler import Scheduler
from avsent.errors import InputError, OutputError, UsageError
from avsent.options import Adapt
from avsent.result.writers import Format
from avsent.text import valid_utf8

_CORPUS_KEY = "corpus"
_FOLDER_KEY = "folder"


@dataclass(frozen=True, slots=True)
class Status:
    """Counts of the files in the folder by state, and what was done so far.

    ``gone``: files of earlier runs that are no longer in the folder. ``work_s``: wall time that
    the files done took, in all workers together; ``media_s``: their duration.
    """

    files: int
    states: dict[FileState, int]
    gone: int
    at_work: bool
    media_s: float
    work_s: float
    utterances: int
    running: tuple[str, ...]
    failures: tuple[JournalEntry, ...]

    @property
    def speed(self) -> float | None:
        """Speed of one worker, as a multiple of real time."""
        return self.media_s / self.work_s if self.work_s > 0 else None


def status_of(out: Path) -> Status:
    """The status of the batch in ``out``. Raises OutputError if there is none, or its journal
    cannot be read."""
    at_work = is_held(out)
    with Journal(out, write=False) as journal:
        entries = journal.entries()
    here = [entry for entry in entries if entry.present]
    counts = Counter(entry.state for entry in here)
    done = [entry for entry in here if entry.state == FileState.done]
    return Status(
        files=len(here),
        states={state: counts[state] for state in FileState},
        gone=len(entries) - len(here),
        at_work=at_work,
        media_s=sum(entry.duration_s or 0.0 for entry in done),
        work_s=sum(entry.seconds or 0.0 for entry in done),
        utterances=sum(entry.utterances or 0 for entry in done),
        running=tuple(e.name for e in here if e.state == FileState.running) if at_work else (),
        failures=tuple(entry for entry in here if entry.state == FileState.failed),
    )


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """Options of a batch besides those of its engine.

    ``time_limit_s``: for each file, None for a generous default, 0 for none.
    """

    work: Work = field(default_factory=Work)
    formats: tuple[Format, ...] = (Format.json,)
    globs: tuple[str, ...] = ()
    follow_links: bool = False
    retry_failed: bool = False
    time_limit_s: float | None = None


def run_batch(
    folder: Path,
    out: Path,
    make_engine: Callable[[Plan], Engine],
    options: BatchOptions | None = None,
    listener: Listener = ignore_event,
    prepare: Callable[[], None] = lambda: None,
) -> Ended:
    """Process the files of ``folder`` that are new, changed or unfinished, and write everything to
    ``out``.

    ``make_engine`` is called only if there is something to do, and ``prepare`` a while before it.
    Raises InputError if there are no media files, OutputError if ``out`` cannot be written, or
    another batch is at work on it, CheckpointError or UsageError for a wrong model or option.
    """
    options = options or BatchOptions()
    config = config_of(options.work)
    found = find_media(folder, out, options.globs, follow_links=options.follow_links)
    if not found.files:
        reasons = found.left_out.warnings() + found.left_out.other_kinds() or ["see --glob"]
        raise InputError(f"{folder}: no media files in it; {'; '.join(reasons)}")
    check_out(out)
    if os.path.realpath(out) == os.path.realpath(folder):
        raise UsageError(f"{out} holds the videos: give -o a folder of its own")
    with exclusive(out), Journal(out, write=True) as journal:
        batch = _Batch(out, options, config, found, journal, listener)
        batch.refuse_other_folder(folder)
        return batch.run(make_engine, prepare)


def corpus_digest(done: Sequence[JournalEntry]) -> str:
    """The digest of the files of a corpus; if it changes, every file is decided on again."""
    return json_sha256([(e.name, e.content_sha256, e.config_sha256) for e in done])


@dataclass
class _Batch:
    out: Path
    options: BatchOptions
    config: BatchConfig
    found: Found
    journal: Journal
    listener: Listener

    def __post_init__(self) -> None:
        # With --adapt corpus no result is known before all files are analysed.
        self.by_corpus = self.options.work.options.adapt is Adapt.corpus
        self.files = {file.name: file for file in self.found.files}
        self.known = {entry.name: entry.stem for entry in self.journal.entries()}
        self.stems = assign_stems(self.files, self.known)
        self.outputs = Outputs(self.out, self.options.formats, self.journal)

    def refuse_other_folder(self, folder: Path) -> None:
        """The folder may have moved, but then it still has most of its files."""
        place = valid_utf8(os.path.realpath(folder))
        moved = self.journal.fact(_FOLDER_KEY) != place
        kept = self.known.keys() & self.files.keys()
        if self.known and moved and len(kept) < len(self.known) / 2:
            raise UsageError(f"{self.out} holds the results of another folder; give another -o")
        self.journal.keep_fact(_FOLDER_KEY, place)

    def run(self, make_engine: Callable[[Plan], Engine], prepare: Callable[[], None]) -> Ended:
        self.outputs.prepare()
        self.journal.survey({name: self.stems[name] for name in self.files})
        self.journal.keep_fact("options", self.config.options())
        plan = make_plan(
            self.found.files,
            self.journal,
            self.config.digest(),
            retry_failed=self.options.retry_failed,
            listener=self.listener,
            prepare=prepare,
        )
        if not self.by_corpus:
            self._write_missing(plan.done)
        self._process(plan, make_engine)
        self.listener(Tables())
        if self.by_corpus:
            self._adapt_to_corpus()
        results = batch_results(self.journal, self.config)
        write_tables(self.out, self.outputs.workshop, self.journal, results)
        kept = len({entry.name for entry in results.done} & set(plan.done))
        ended = Ended(
            did=len(results.done) - kept,
            kept=kept,
            failed=len(results.failed),
            gone=sum(not entry.present for entry in self.journal.entries()),
            utterances=sum(entry.utterances or 0 for entry in results.done),
            duration_s=sum(entry.duration_s or 0.0 for entry in results.done),
            left_out=self.found.left_out,
        )
        self.listener(ended)
        return ended

    def _process(self, plan: Plan, make_engine: Callable[[Plan], Engine]) -> None:
        scheduler = Scheduler(
            plan,
            self.files,
            self.journal,
            self.config.digest(),
            listener=self.listener,
            write=(lambda name, result: None) if self.by_corpus else self._write,
            remove=lambda name: self.outputs.remove(name, self.stems[name]),
            time_limit_s=self.options.time_limit_s,
        )
        with make_engine(plan) if plan.jobs else contextlib.nullcontext() as engine:
            self.listener(
                Planned(
                    files=len(self.files),
                    to_do=len(plan.jobs),
                    done=len(plan.done),
                    failed=len(plan.failed),
                    to_do_s=plan.to_do_s,
                    workers=engine.workers if engine else 0,
                )
            )
            if engine:
                scheduler.run(engine)

    def _adapt_to_corpus(self) -> None:
        """Decide again on all files, unless they are those of the last time."""
        done = batch_results(self.journal, self.config).done
        digest = corpus_digest(done)
        if self.journal.fact(_CORPUS_KEY) == digest:
            self._write_missing(entry.name for entry in done)
            return
        # Here, because it imports torch.
        from avsent.batch.adapt_corpus import conclude_all

        for name in conclude_all(self.journal, done, self.options.work):
            self._write_or_fail(name)
        self.journal.keep_fact(_CORPUS_KEY, digest)

    def _write_missing(self, names: Iterable[str]) -> None:
        """Write outputs of files that were done earlier: of a new format, deleted, or not yet
        written when the batch was killed."""
        for name in list(self.outputs.missing({name: self.stems[name] for name in names})):
            self._write_or_fail(name)

    def _write_or_fail(self, name: str) -> None:
        error = self._write(name, self.journal.stored(name).result)
        if error is not None:
            self.outputs.remove(name, self.stems[name])
            file, text = self.files[name], str(error)
            self.journal.fail(file, self.config.digest(), text, error.exit_code, 0.0)
            self.listener(FileFailed(name, 0, text, error.exit_code))

    def _write(self, name: str, result: bytes) -> OutputError | None:
        """Write the outputs of a file; returns the error if other files can still be written."""
        try:
            self.outputs.write(name, self.stems[name], result_of(result))
        except OutputError as error:
            if concerns_all(error):
                raise
            return error
        return None
