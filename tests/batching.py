"""Helpers for tests of batches: journals, results, engines and workers without a model.

The worker is found by name in the processes that the local engine starts, which know this folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from handmade import HOSTILE, MODEL, make_result

from avsent.batch.engines.base import Done, Engine, Failed, FileResult, Job, Outcome, Work
from avsent.batch.events import Ended, Event, FileFailed, Started
from avsent.batch.folders import SourceFile
from avsent.batch.journal import Journal, JournalEntry, packed
from avsent.batch.outputs import BatchResults, batch_results, write_tables
from avsent.batch.plan import BatchConfig, Plan
from avsent.batch.run import BatchOptions, run_batch, status_of
from avsent.batch.scheduler import Scheduler
from avsent.errors import CheckpointError
from avsent.result.record import Result
from avsent.result.writers import Format

NO_UTF8 = os.fsdecode(b"sub/caf\xe9.mp4")
CONFIG = BatchConfig("1.0", MODEL, "cd" * 32, "speaking", "none", None, False, None)
OTHER = dataclasses.replace(CONFIG, strict=True)


def results() -> dict[str, Result]:
    """Of five files; one has no utterances."""
    given = {
        "a.mp4": make_result(3, "a.mp4", text='He said "no",\nthen; left'),
        "b.wav": make_result(0, "b.wav"),
        NO_UTF8: make_result(1, NO_UTF8, text=HOSTILE),
        "z/我.mp4": make_result(2, "z/我.mp4", text=""),
        "-c.mp4": make_result(4, "-c.mp4"),
    }
    # A number that is easily written otherwise, and no track where there is a face.
    first = given["-c.mp4"].utterances[0]
    small = dataclasses.replace(first, score=-1e-06, track=None, warnings=("quiet", "dark; grainy"))
    small = dataclasses.replace(small, unsure="nearly even")
    given["-c.mp4"] = dataclasses.replace(
        given["-c.mp4"], utterances=(small, *given["-c.mp4"].utterances[1:])
    )
    return given


def keep(journal: Journal, result: Result, config: BatchConfig = CONFIG, content: str = "") -> None:
    """Keep a result as a batch does."""
    content = content or f"content of {result.source!r}"
    kept = FileResult(content, result.duration_s, len(result.utterances), *packed(result))
    journal.succeed(source_file(result.source), config.digest(), kept, 0.5)


def keep_failure(journal: Journal, name: str, config: BatchConfig = CONFIG) -> None:
    """Keep that a file cannot be processed."""
    journal.fail(source_file(name), config.digest(), f"{name}: no media file", 3, 0.5)


def source_file(name: str, size: int = 1, mtime_ns: int = 2) -> SourceFile:
    return SourceFile(name, Path(name), size, mtime_ns)


def journal_of(out: Path, given: Iterable[Result], *failed: str) -> Journal:
    """An open journal in which these are done, and those failed."""
    journal = Journal(out, write=True)
    given = list(given)
    journal.survey({name: name for name in [*(r.source for r in given), *failed]})
    for result in given:
        keep(journal, result)
    for name in failed:
        keep_failure(journal, name)
    return journal


def write(out: Path, journal: Journal, config: BatchConfig = CONFIG) -> tuple[bool, BatchResults]:
    """The tables as a batch writes them."""
    workshop = out / ".avsent" / "tmp"
    workshop.mkdir(parents=True, exist_ok=True)
    results = batch_results(journal, config)
    return write_tables(out, workshop, journal, results), results


SCHEDULER_CONFIG = "the configuration"


class SchedulerRun:
    """Runs of a scheduler: its events, and the journal after it."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        media = folder / "media"
        media.mkdir(exist_ok=True)
        self.files = {}
        for number, name in enumerate(names):
            (media / name).write_bytes(b"x" * (number + 1))
            self.files[name] = SourceFile(name, media / name, number + 1, 1000 + number)
        self.jobs = tuple(
            Job(number, file.name, file.path) for number, file in enumerate(self.files.values())
        )
        self.out = folder / "out"
        self.events: list[Event] = []
        self.written: dict[str, bytes] = {}
        self.removed: list[str] = []
        with Journal(self.out, write=True) as journal:
            journal.survey({name: name for name in self.files})

    def run(self, engine: Engine, *, time_limit_s: float | None = None) -> dict[str, JournalEntry]:
        """Run it; returns the entries of the journal."""
        with Journal(self.out, write=True) as journal, engine:
            scheduler = Scheduler(
                Plan(self.jobs, (), ()),
                self.files,
                journal,
                SCHEDULER_CONFIG,
                listener=self.events.append,
                write=self.written.__setitem__,
                remove=self.removed.append,
                time_limit_s=time_limit_s,
            )
            scheduler.run(engine)
        return self.entries()

    def entries(self) -> dict[str, JournalEntry]:
        with Journal(self.out, write=False) as journal:
            return {entry.name: entry for entry in journal.entries()}

    def events_of(self, kind: Callable[..., Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]  # type: ignore[arg-type]

    @property
    def failed(self) -> list[str]:
        """Files reported as failed."""
        return [event.name for event in self.events if isinstance(event, FileFailed)]

    def started(self) -> list[str]:
        return [event.name for event in self.events if isinstance(event, Started)]


BIG = 3_000_000
"""Bytes of a result that no pipe takes at once."""


class ScriptedWorker:
    """Does what the name of the job says: ``kill-…`` kills its worker each time, ``kill1-…`` the
    first time. A file ``….try1`` beside the media file holds the process of the first try.

    ``work.checkpoint`` says how loading ends.
    """

    def __init__(self, work: Work) -> None:
        match work.checkpoint:
            case "default":
                return
            case "stillborn":
                os._exit(3)
            case "unfit":
                raise CheckpointError("unknown checkpoint 'unfit'")
            case "broken":
                raise ImportError("no module named torch")
        kind, _, path = work.checkpoint.rpartition(":")
        first = True
        try:
            Path(path).unlink()
        except FileNotFoundError:
            first = False
        if kind == "first only" and not first:
            time.sleep(1.0)  # so that the first one is at work by then
            os._exit(3)
        if kind == "all but first" and first:
            os._exit(3)

    def outcome(self, job: Job, send: Callable[[object], None]) -> object:
        tries = len(list(job.path.parent.glob(f"{job.path.name}.try*")))
        mark = job.path.with_name(f"{job.path.name}.try{tries + 1}")
        mark.write_text(str(os.getpid()))
        match job.name.split("-")[0]:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "kill1" if not tries:
                os.kill(os.getpid(), signal.SIGKILL)
            case "crash":
                os.kill(os.getpid(), signal.SIGTERM)
            case "exit":
                os._exit(7)
            case "wait":
                time.sleep(3)
            case "sleep":
                time.sleep(3600)
            case "fail":
                return Failed(job, f"{job.name}: not media", 3, 0.5)
            case "unfit":
                raise CheckpointError("the model is damaged; restore it")
            case "same":
                return Done(job, None, 0.1)
            case "big":
                return Done(job, file_result(job, os.urandom(BIG)), 0.1)
            case "move":
                send(1.25)
        return Done(job, file_result(job, job.name.encode("utf-8", "surrogateescape")), 0.25)


def file_result(job: Job, result: bytes) -> FileResult:
    """The result of a file of three seconds with two utterances."""
    return FileResult(f"content of {job.number}", 3.0, 2, result, '[["a row"]]')


NAMES = ("a.mp4", "b.wav", "sub/c.mp4", "sub/d.mp4")


class InstantEngine(Engine):
    """Makes results from the content of a file: the number of its utterances, or ``bad``."""

    workers = 2  # type: ignore[assignment]

    def __init__(self, read: list[str]) -> None:
        self._jobs: list[Job] = []
        self._read = read

    def free(self) -> int:
        return self.workers - len(self._jobs)

    def start(self, job: Job) -> int:
        self._jobs.append(job)
        return len(self._jobs) - 1

    def wait(self, timeout_s: float) -> list[Outcome]:
        jobs, self._jobs = self._jobs, []
        return [self._outcome(job) for job in jobs]

    def _outcome(self, job: Job) -> Outcome:
        content = job.path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if digest == job.known_sha256:
            return Done(job, None, 0.1)
        self._read.append(job.name)
        if content.startswith(b"bad"):
            return Failed(job, f"{job.name}: not media", 3, 0.1)
        result = make_result(int(content), job.name)
        count = len(result.utterances)
        return Done(job, FileResult(digest, result.duration_s, count, *packed(result)), 0.1)

    def abandon(self, job: Job) -> None:
        raise AssertionError

    def close(self) -> None:
        self._jobs.clear()


class Batch:
    """The same command again and again."""

    def __init__(self, folder: Path) -> None:
        self.media, self.out = folder / "media", folder / "out"
        self.read: list[str] = []
        self.events: list[Event] = []

    def put(self, name: str, content: str) -> None:
        path = self.media / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def run(
        self,
        *formats: Format,
        listener: Callable[[Event], None] | None = None,
        retry_failed: bool = False,
    ) -> Ended:
        self.read.clear()
        self.events.clear()
        options = BatchOptions(formats=formats or (Format.json,), retry_failed=retry_failed)
        return run_batch(
            self.media, self.out, self._engine, options, listener or self.events.append
        )

    def _engine(self, plan: Plan) -> Engine:
        return InstantEngine(self.read)

    def failed(self) -> list[str]:
        return [entry.name for entry in status_of(self.out).failures]

    def tree(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.out)): path.read_bytes()
            for path in self.out.rglob("*")
            if path.is_file() and ".avsent" not in path.parts
        }


def filled(folder: Path) -> Batch:
    batch = Batch(folder)
    for number, name in enumerate(NAMES):
        batch.put(name, "bad" if name == "b.wav" else str(number))
    return batch
