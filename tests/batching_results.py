"""A journal of results made by hand, for the tests of what is written from it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

from handmade import HOSTILE, MODEL, make_result

from avsent.batch.config import BatchConfig
from avsent.batch.entries import Ending, State, Stored
from avsent.batch.journal import Journal
from avsent.batch.packing import packed
from avsent.batch.tables import Whole, whole_of, write_tables
from avsent.results import Result

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
