"""Batches without media: files say what they hold, for the tests of how runs go on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from handmade import make_result

from avsent.batch.engine import Engine
from avsent.batch.jobs import Answer, Done, Event, Failed, Job
from avsent.batch.news import News
from avsent.batch.packing import packed
from avsent.batch.plan import Plan
from avsent.batch.run import BatchOptions, Report, run_batch
from avsent.writers import Format

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
