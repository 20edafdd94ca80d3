"""A look into media files without decoding them: do they open, how long are they, are two alike."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from avsent.errors import MediaError
from avsent.extraction.media.events import Damage
from avsent.extraction.media.reader import MediaReader
from avsent.progress import Progress, ProgressHook, ignore_progress
from avsent.text import printable

_MAX_THREADS = 4  # FFmpeg starts threads of its own


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known of one file.

    ``duration_s``: as the container states it, None where it states none. ``problem``: why the
    file cannot be used ("" where it can), ``missing`` where that is because it is not there.
    ``identity``: the same for files of the same content.
    """

    duration_s: float | None = None
    problem: str = ""
    missing: bool = False
    identity: str = ""


def probe_files(
    paths: Iterable[Path], on_progress: ProgressHook = ignore_progress
) -> dict[Path, FileFacts]:
    """Open each of the files once, up to its first picture or sound that decodes."""
    files = list(dict.fromkeys(paths))
    identities = _identities(files)
    facts: dict[Path, FileFacts] = {}
    workers = ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1))
    try:
        for path, found in zip(files, workers.map(_look, files), strict=True):
            duration_s, problem = found
            missing = bool(problem) and not os.path.exists(path)
            facts[path] = FileFacts(duration_s, problem, missing, identities[path])
            on_progress(Progress("checking", path.name, len(facts), len(files)))
    finally:
        workers.shutdown(cancel_futures=True)  # Ctrl-C waits for no more than is under way
    return facts


def shown(path: Path) -> str:
    """The path for messages: from the current folder where it is below it."""
    here = os.path.realpath(os.curdir)
    return printable(str(path.relative_to(here) if path.is_relative_to(here) else path))


def _look(path: Path) -> tuple[float | None, str]:
    """Duration in seconds, and what is wrong with the file."""
    try:
        with MediaReader(path) as reader:
            next(event for event in reader if not isinstance(event, Damage))
            return reader.info.duration_s, ""
    except MediaError as error:
        return None, str(error).replace(printable(str(path)), shown(path))


def _identities(files: Iterable[Path]) -> dict[Path, str]:
    """The real path of each file, or the digest of its content where several have its size."""
    real = {path: os.path.realpath(path) for path in files}
    same_size: dict[int, set[str]] = defaultdict(set)
    for name in set(real.values()):
        if os.path.isfile(name):
            same_size[os.path.getsize(name)].add(name)
    digests = {
        name: digest
        for size, names in same_size.items()
        if size and len(names) > 1
        for name in names
        if (digest := _digest(name))
    }
    return {path: digests.get(name, name) for path, name in real.items()}


def _digest(name: str) -> str:
    try:
        with open(name, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:  # named as unreadable anyway
        return ""
