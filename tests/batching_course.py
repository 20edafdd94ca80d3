"""A course through jobs that need no media, with a real journal, for the tests of batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from avsent.batch.course import Course
from avsent.batch.engine import Engine
from avsent.batch.entries import Entry, Stored
from avsent.batch.jobs import Job
from avsent.batch.journal import Journal
from avsent.batch.news import FileFailed, News, Started
from avsent.batch.plan import Plan
from avsent.batch.tree import SourceFile

CONFIG = "the configuration"


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
                CONFIG,
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
