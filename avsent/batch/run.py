"""A batch from beginning to end: look, plan, do, bring together."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avsent.batch.config import BatchConfig, config_of
from avsent.batch.engines.base import Engine, Work
from avsent.batch.events import Ended, FileFailed, Listener, Planned, Tables, ignore_news
from avsent.batch.folders import Found, assign_stems, find_media
from avsent.batch.journal import Ending, Entry, Journal, State, Stored, result_of
from avsent.batch.lock import exclusive, is_held
from avsent.batch.outputs import Outputs, check_out, concerns_all, whole_of, write_tables
from avsent.batch.plan import Plan, make_plan
from avsent.batch.scheduler import Course
from avsent.errors import InputError, OutputError, UsageError
from avsent.result.writers import Format
from avsent.text import valid_utf8


@dataclass(frozen=True, slots=True)
class Status:
    """Counts of the files in the folder by state, and what was done so far.

    ``gone``: files of earlier runs that are no longer in the folder. ``work_s``: seconds of wall
    time that the files done took, in all workers together; ``media_s``: their duration.
    """

    files: int
    states: dict[State, int]
    gone: int
    at_work: bool
    media_s: float
    work_s: float
    utterances: int
    running: tuple[str, ...]
    failures: tuple[Entry, ...]

    @property
    def speed(self) -> float | None:
        """Times real time of one worker."""
        return self.media_s / self.work_s if self.work_s > 0 else None


def status_of(out: Path) -> Status:
    """The status of the batch in ``out``.

    Raises:
        OutputError: there is none, or its journal cannot be read.
    """
    at_work = is_held(out)
    with Journal(out, write=False) as journal:
        entries = journal.entries()
    here = [entry for entry in entries if entry.present]
    counts = Counter(entry.state for entry in here)
    done = [entry for entry in here if entry.state == State.done]
    return Status(
        files=len(here),
        states={state: counts[state] for state in State},
        gone=len(entries) - len(here),
        at_work=at_work,
        media_s=sum(entry.duration_s or 0.0 for entry in done),
        work_s=sum(entry.seconds or 0.0 for entry in done),
        utterances=sum(entry.utterances or 0 for entry in done),
        running=tuple(e.name for e in here if e.state == State.running) if at_work else (),
        failures=tuple(entry for entry in here if entry.state == State.failed),
    )


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What to do with a folder, besides the engine's own options.

    ``adapt``: none, speaker or corpus; ``time_limit_s``: for each file, None for a generous
    default, 0 for none.
    """

    work: Work = field(default_factory=Work)
    adapt: str = "none"
    formats: tuple[Format, ...] = (Format.json,)
    globs: tuple[str, ...] = ()
    retry_failed: bool = False
    time_limit_s: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """How a batch ended.

    ``did``: files done in this run; ``failures``: all that have no result, also from earlier runs;
    ``gone``: files of earlier runs that are no longer in the folder.
    """

    found: Found
    did: int
    kept: int
    failures: tuple[Entry, ...]
    gone: int
    utterances: int
    duration_s: float


def run_batch(
    folder: Path,
    out: Path,
    make_engine: Callable[[Plan], Engine],
    options: BatchOptions | None = None,
    listener: Listener = ignore_news,
    prepare: Callable[[], None] = lambda: None,
) -> Report:
    """Do what is left to do of ``folder``, and write everything to ``out``.

    ``make_engine`` is called only if there is something to do, and ``prepare`` a while before it.

    Raises:
        InputError: there are no media files. OutputError: ``out`` cannot be written, or another
        batch is at work on it. CheckpointError, UsageError: the model or an option is wrong.
    """
    options = options or BatchOptions()
    config = config_of(options.work, options.adapt)
    found = find_media(folder, out, options.globs)
    if not found.files:
        left_out = f" ({found.others} other files)" if found.others else ""
        raise InputError(f"{folder}: no media files in it{left_out}; see --glob")
    check_out(out)
    if os.path.realpath(out) == os.path.realpath(folder):
        raise UsageError(f"{out} holds the videos: give -o a folder of its own")
    with exclusive(out), Journal(out, write=True) as journal:
        return _Batch(folder, out, options, config, found, journal, listener).run(
            make_engine, prepare
        )


_TOGETHER_KEY = "corpus"
_FOLDER_KEY = "folder"


def together_digest(done: Sequence[Entry]) -> str:
    """A number for these files together: any other one, and each must be judged anew."""
    facts = json.dumps([(e.name, e.content_sha256, e.config_sha256) for e in done])
    return hashlib.sha256(facts.encode("ascii")).hexdigest()


class _Batch:
    def __init__(
        self,
        folder: Path,
        out: Path,
        options: BatchOptions,
        config: BatchConfig,
        found: Found,
        journal: Journal,
        listener: Listener,
    ) -> None:
        self._out = out
        self._options = options
        self._config = config
        self._found = found
        self._journal = journal
        self._listener = listener
        self._files = {file.name: file for file in found.files}
        known = {entry.name: entry.stem for entry in journal.entries()}
        self._refuse_other_folder(folder, known)
        self._stems = assign_stems(self._files, known)
        self._outputs = Outputs(out, options.formats, journal)

    def _refuse_other_folder(self, folder: Path, known: Mapping[str, str]) -> None:
        """A folder may have moved; but in that case most of what was in it still is."""
        place = valid_utf8(os.path.realpath(folder))
        moved = self._journal.fact(_FOLDER_KEY) != place
        if known and moved and len(known.keys() & self._files.keys()) < len(known) / 2:
            raise UsageError(f"{self._out} holds the results of another folder; give another -o")
        self._journal.keep_fact(_FOLDER_KEY, place)

    def run(self, make_engine: Callable[[Plan], Engine], prepare: Callable[[], None]) -> Report:
        self._outputs.prepare()
        self._journal.survey({name: self._stems[name] for name in self._files})
        self._journal.keep_fact("options", self._config.shown())
        plan = make_plan(
            self._found.files,
            self._journal,
            self._config.digest(),
            retry_failed=self._options.retry_failed,
            listener=self._listener,
            prepare=prepare,
        )
        if not self._together:
            self._write_missing(plan.done)
        if plan.jobs:
            self._work(plan, make_engine)
        else:
            self._announce(plan, 0)
        self._listener(Tables())
        whole = whole_of(self._journal, self._config)
        if self._together:
            self._conclude(whole.done)
            whole = whole_of(self._journal, self._config)
        write_tables(self._out, self._outputs.workshop, self._journal, whole)
        report = Report(
            found=self._found,
            did=len(plan.jobs) - (len(whole.failed) - len(plan.failed)),
            kept=len(plan.done),
            failures=whole.failed,
            gone=sum(not entry.present for entry in self._journal.entries()),
            utterances=sum(entry.utterances or 0 for entry in whole.done),
            duration_s=sum(entry.duration_s or 0.0 for entry in whole.done),
        )
        self._listener(
            Ended(
                did=report.did,
                kept=report.kept,
                failed=len(report.failures),
                gone=report.gone,
                utterances=report.utterances,
                duration_s=report.duration_s,
                others=self._found.others,
                links_out=self._found.links_out,
                unread=self._found.unread,
            )
        )
        return report

    def _work(self, plan: Plan, make_engine: Callable[[Plan], Engine]) -> None:
        course = Course(
            plan,
            self._files,
            self._journal,
            self._config.digest(),
            listener=self._listener,
            finished=self._finished,
            remove=lambda name: self._outputs.remove(name, self._stems[name]),
            time_limit_s=self._options.time_limit_s,
        )
        with make_engine(plan) as engine:
            self._announce(plan, engine.workers)
            course.run(engine)

    def _announce(self, plan: Plan, workers: int) -> None:
        self._listener(
            Planned(
                files=len(self._files),
                to_do=len(plan.jobs),
                done=len(plan.done),
                failed=len(plan.failed),
                to_do_s=plan.to_do_s,
                workers=workers,
            )
        )

    @property
    def _together(self) -> bool:
        """Whether no file's result is known before all are done."""
        return self._options.adapt == "corpus"

    def _conclude(self, done: Sequence[Entry]) -> None:
        digest = together_digest(done)
        if self._journal.fact(_TOGETHER_KEY) != digest:
            # Imported here, because it loads torch.
            from avsent.batch.adapt_corpus import conclude_all

            for name in conclude_all(self._journal, done, self._options.work):
                self._write_or_fail(name, self._journal.stored(name))
            self._journal.keep_fact(_TOGETHER_KEY, digest)
        self._write_missing([entry.name for entry in done])

    def _finished(self, name: str, stored: Stored) -> OutputError | None:
        return None if self._together else self._write(name, stored)

    def _write(self, name: str, stored: Stored) -> OutputError | None:
        """Write the outputs of a file; the error where others can be written all the same."""
        try:
            self._outputs.write(name, self._stems[name], result_of(stored.result))
        except OutputError as error:
            if concerns_all(error):
                raise
            return error
        return None

    def _write_or_fail(self, name: str, stored: Stored) -> None:
        """The same outside of a course."""
        error = self._write(name, stored)
        if error is not None:
            file = self._files[name]
            ending = Ending(
                name=name,
                state=State.failed,
                config_sha256=self._config.digest(),
                size=file.size,
                mtime_ns=file.mtime_ns,
                seconds=0.0,
                error=str(error),
                exit_code=error.exit_code,
            )
            self._outputs.remove(name, self._stems[name])
            self._journal.fail(ending)
            self._listener(FileFailed(name, 0, str(error), error.exit_code))

    def _write_missing(self, done: Sequence[str]) -> None:
        """Outputs of files done earlier: of a new format, deleted, or not yet written when the
        batch was killed."""
        for name in list(self._outputs.missing({name: self._stems[name] for name in done})):
            self._write_or_fail(name, self._journal.stored(name))
