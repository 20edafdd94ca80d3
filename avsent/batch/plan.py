"""Which files are to be done, and in what order."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from avsent.batch.engines.base import Job
from avsent.batch.events import Listener, Looking
from avsent.batch.folders import SourceFile
from avsent.batch.journal import Entry, Journal, State
from avsent.errors import MediaError

PROBES = 4
"""Files opened at once: most of it is waiting for the disk."""
_TELL_EVERY = 50


@dataclass(frozen=True, slots=True)
class Plan:
    """``jobs``: longest first; ``done`` and ``failed``: names of files that are left alone."""

    jobs: tuple[Job, ...]
    done: tuple[str, ...]
    failed: tuple[str, ...]

    @property
    def to_do_s(self) -> float:
        """Seconds of media in the jobs, as far as they are known."""
        return sum(job.duration_s or 0.0 for job in self.jobs)


def make_plan(
    files: Sequence[SourceFile],
    journal: Journal,
    config_sha256: str,
    *,
    retry_failed: bool,
    listener: Listener,
    prepare: Callable[[], None] = lambda: None,
) -> Plan:
    """Compare the folder with the journal, and find out how long the files are.

    ``prepare`` is called as soon as it is known that there is something to do.

    A file whose size and time of change are those of the journal counts as unchanged without
    being read; one that was only touched is read, and not done again if its content is the same.
    """
    known = {entry.name: entry for entry in journal.entries()}
    to_do, done, failed = [], [], []
    for file in files:
        entry = known[file.name]
        valid = entry.config_sha256 == config_sha256 and _looks_the_same(file, entry)
        if valid and entry.state == State.done:
            done.append(file.name)
        elif valid and entry.state == State.failed and not retry_failed:
            failed.append(file.name)
        else:
            to_do.append(file)
    if to_do:
        prepare()
    durations_s = _durations(to_do, known, journal, listener)
    jobs = [
        Job(
            number,
            file.name,
            file.path,
            durations_s.get(file.name),
            _known_content(known[file.name], config_sha256),
        )
        for number, file in enumerate(_longest_first(to_do, durations_s))
    ]
    return Plan(tuple(jobs), tuple(done), tuple(failed))


def _looks_the_same(file: SourceFile, entry: Entry) -> bool:
    return (file.size, file.mtime_ns) == (entry.size, entry.mtime_ns)


def _known_content(entry: Entry, config_sha256: str) -> str | None:
    """The content for which there is a valid result."""
    valid = entry.state == State.done and entry.config_sha256 == config_sha256
    return entry.content_sha256 if valid else None


def _durations(
    files: Sequence[SourceFile],
    known: Mapping[str, Entry],
    journal: Journal,
    listener: Listener,
) -> dict[str, float]:
    """Seconds of each file that states them, from the journal where the file looks the same."""
    found: dict[str, float] = {}
    unknown = []
    for file in files:
        entry = known[file.name]
        if entry.duration_s is not None and _looks_the_same(file, entry):
            found[file.name] = entry.duration_s
        else:
            unknown.append(file)
    if not unknown:
        return found
    # FFmpeg is loaded only if a file is to be opened: a batch that is done must end at once.
    from avsent.extraction.media.reader import MediaReader

    def probe(file: SourceFile) -> float | None:
        try:
            with MediaReader(file.path) as reader:
                return reader.info.duration_s
        except MediaError:
            return None  # the worker will say what is wrong with it

    fresh: dict[SourceFile, float] = {}
    with ThreadPoolExecutor(PROBES) as pool:
        for number, duration_s in enumerate(pool.map(probe, unknown)):
            if number % _TELL_EVERY == 0:
                listener(Looking(number, len(unknown)))
            if duration_s is not None:
                fresh[unknown[number]] = duration_s
    journal.measured((f.name, f.size, f.mtime_ns, seconds) for f, seconds in fresh.items())
    return found | {file.name: seconds for file, seconds in fresh.items()}


def _longest_first(
    files: Iterable[SourceFile], durations_s: Mapping[str, float]
) -> list[SourceFile]:
    """So that no long file is left over to be done at the end by one worker alone.

    A file of unknown duration is as long as its size makes others.
    """
    files = list(files)
    rates = [
        file.size / durations_s[file.name] for file in files if durations_s.get(file.name, 0.0) > 0
    ]
    bytes_per_s = statistics.median(rates) if rates else 1.0

    def expected_s(file: SourceFile) -> float:
        return durations_s.get(file.name) or file.size / max(bytes_per_s, 1.0)

    return sorted(files, key=lambda file: (-expected_s(file), file.name))
