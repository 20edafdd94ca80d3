"""Workers of the local engine that do what the name of their job says, instead of media.

The functions are found by name in the processes the engine starts, which know this folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from handmade import HOSTILE, MODEL, make_result

from avsent.batch.config import BatchConfig
from avsent.batch.engines.base import Answer, Done, Engine, Event, Failed, Job, Moved, Work
from avsent.batch.engines.worker import serve_with
from avsent.batch.events import FileFailed, News, Started
from avsent.batch.folders import SourceFile
from avsent.batch.journal import Ending, Entry, Journal, State, Stored, packed
from avsent.batch.outputs import Whole, whole_of, write_tables
from avsent.batch.plan import Plan
from avsent.batch.run import BatchOptions, Report, run_batch
from avsent.batch.scheduler import Course
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
    given["-c.mp4"] = dataclasses.replace(
        given["-c.mp4"], utterances=(small, *given["-c.mp4"].utterances[1:])
    )
    return given


def keep(journal: Journal, result: Result, config: BatchConfig = CONFIG, content: str = "") -> None:
    """Keep a result as a batch does."""
    ending = Ending(
        name=result.source,
        state=State.done,
        config_sha256=config.digest(),
        size=1,
        mtime_ns=2,
        seconds=0.5,
        duration_s=result.duration_s,
        content_sha256=content or f"content of {result.source!r}",
        utterances=len(result.utterances),
    )
    journal.succeed(ending, Stored(*packed(result)))


def keep_failure(journal: Journal, name: str, config: BatchConfig = CONFIG) -> None:
    """Keep that a file cannot be done."""
    error = f"{name}: no media file"
    ending = Ending(name, State.failed, config.digest(), 1, 2, 0.5, error=error, exit_code=3)
    journal.fail(ending)


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


def write(out: Path, journal: Journal, config: BatchConfig = CONFIG) -> tuple[bool, Whole]:
    """The tables as a batch writes them."""
    workshop = out / ".avsent" / "tmp"
    workshop.mkdir(parents=True, exist_ok=True)
    whole = whole_of(journal, config)
    return write_tables(out, workshop, journal, whole), whole


COURSE_CONFIG = "the configuration"


class Walked:
    """What a course went through, and what the journal says after it."""

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
        self.news: list[News] = []
        self.finished: dict[str, Stored] = {}
        self.removed: list[str] = []
        with Journal(self.out, write=True) as journal:
            journal.survey({name: name for name in self.files})

    def run(self, engine: Engine, *, time_limit_s: float | None = None) -> dict[str, Entry]:
        """Go through it; gives the entries of the journal, also where that raises."""
        with Journal(self.out, write=True) as journal, engine:
            course = Course(
                Plan(self.jobs, (), ()),
                self.files,
                journal,
                COURSE_CONFIG,
                listener=self.news.append,
                finished=self.finished.__setitem__,
                remove=self.removed.append,
                time_limit_s=time_limit_s,
            )
            course.run(engine)
        return self.entries()

    def entries(self) -> dict[str, Entry]:
        with Journal(self.out, write=False) as journal:
            return {entry.name: entry for entry in journal.entries()}

    def of(self, kind: Callable[..., News]) -> list[News]:
        return [news for news in self.news if isinstance(news, kind)]  # type: ignore[arg-type]

    @property
    def failed(self) -> list[str]:
        """Files of which it was said that they have no result."""
        return [news.name for news in self.of(FileFailed) if isinstance(news, FileFailed)]

    def started(self) -> list[str]:
        return [news.name for news in self.of(Started) if isinstance(news, Started)]


BIG = 3_000_000
"""Bytes of an answer that no pipe takes at once."""


class Scripted:
    """``kill-…`` kills its worker each time, ``kill1-…`` the first time; the marks of how often
    which job was tried, and where, lie beside the file."""

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
                return Done(job, Answer(job.known_sha256 or ""), 0.1)
            case "big":
                return Done(job, answer(job, os.urandom(BIG)), 0.1)
            case "move":
                send(Moved(job, 1.25))
        return Done(job, answer(job, job.name.encode("utf-8", "surrogateescape")), 0.25)


def answer(job: Job, result: bytes) -> Answer:
    """An answer for a file of three seconds with two utterances."""
    return Answer(f"content of {job.number}", 3.0, 2, result, '[["a row"]]')


def scripted(connection: Connection, work: Work) -> None:
    """A worker as the engine starts it; ``work.checkpoint`` tells how it loads its model."""

    def load() -> Scripted:
        if work.checkpoint == "stillborn":
            os._exit(3)
        if work.checkpoint == "unfit":
            raise CheckpointError("unknown checkpoint 'unfit'")
        if work.checkpoint == "broken":
            raise ImportError("no module named torch")
        if work.checkpoint.startswith("second:"):  # a file: who finds it stays, others end
            try:
                Path(work.checkpoint.partition(":")[2]).unlink()
            except FileNotFoundError:
                time.sleep(1.0)  # so that the first one is at work by then
                os._exit(3)
            return Scripted()
        if work.checkpoint != "default":  # a file: the first that comes to it ends
            try:
                Path(work.checkpoint).unlink()
            except FileNotFoundError:
                return Scripted()
            os._exit(3)
        return Scripted()

    serve_with(connection, load)


NAMES = ("a.mp4", "b.wav", "sub/c.mp4", "sub/d.mp4")


class AtOnce(Engine):
    """Answers from what a file holds: how many utterances, or ``bad``."""

    workers = 2  # type: ignore[assignment]

    def __init__(self, read: list[str]) -> None:
        self._jobs: list[Job] = []
        self._read = read

    def free(self) -> int:
        return self.workers - len(self._jobs)

    def start(self, job: Job) -> int:
        self._jobs.append(job)
        return len(self._jobs) - 1

    def wait(self, timeout_s: float) -> list[Event]:
        jobs, self._jobs = self._jobs, []
        return [self._outcome(job) for job in jobs]

    def _outcome(self, job: Job) -> Event:
        content = job.path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if digest == job.known_sha256:
            return Done(job, Answer(digest), 0.1)
        self._read.append(job.name)
        if content.startswith(b"bad"):
            return Failed(job, f"{job.name}: not media", 3, 0.1)
        result = make_result(int(content), job.name)
        stored, rows = packed(result)
        count = len(result.utterances)
        return Done(job, Answer(digest, result.duration_s, count, stored, rows), 0.1)

    def abandon(self, job: Job) -> None:
        raise AssertionError

    def close(self) -> None:
        self._jobs.clear()


class Batch:
    """The same command again and again."""

    def __init__(self, folder: Path) -> None:
        self.media, self.out = folder / "media", folder / "out"
        self.read: list[str] = []
        self.news: list[News] = []

    def put(self, name: str, content: str) -> None:
        path = self.media / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def run(
        self,
        *formats: Format,
        listener: Callable[[News], None] | None = None,
        retry_failed: bool = False,
    ) -> Report:
        self.read.clear()
        self.news.clear()
        options = BatchOptions(formats=formats or (Format.json,), retry_failed=retry_failed)
        return run_batch(self.media, self.out, self._engine, options, listener or self.news.append)

    def _engine(self, plan: Plan) -> Engine:
        return AtOnce(self.read)

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
