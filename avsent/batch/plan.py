"""The plan of a run: which files to process, and in what order; and the configuration that results
depend on: if any of it changes, every file is done again."""

import dataclasses
import hashlib
import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from avsent import __version__
from avsent.batch.engines.base import Job, Work
from avsent.batch.events import Listener, Looking
from avsent.batch.folders import SourceFile
from avsent.batch.journal import FileState, Journal, JournalEntry
from avsent.errors import CheckpointError, InputError, MediaError
from avsent.files import file_sha256
from avsent.model.folders import CONFIG_FILE, checkpoint_folder
from avsent.result.record import ModelInfo


@dataclasses.dataclass(frozen=True, slots=True)
class BatchConfig:
    """What a result depends on besides its file; not the device, the engine or the formats.

    ``checkpoint_sha256``: of the checkpoint's configuration, which holds the hash of the weights.
    """

    avsent: str
    model: ModelInfo
    checkpoint_sha256: str
    face: str
    adapt: str
    analysis_rate_hz: float | None
    strict: bool
    landmarks_sha256: str | None
    check: bool = True
    proxy: bool | None = None
    tracks: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    utterances_sha256: str | None = None
    tier: str | None = None

    def digest(self) -> str:
        """The SHA-256 of the configuration, as hex."""
        return json_sha256(dataclasses.asdict(self))

    def options(self) -> dict[str, Any]:
        """The options by their names, for people."""
        return {
            "avsent": self.avsent,
            "face": self.face,
            "adapt": self.adapt,
            "rate": self.analysis_rate_hz,
            "strict": self.strict,
            "check": self.check,
            "proxy": self.proxy,
            **{f"{kind}_track": n[0] if n else "all" for kind, n in self.tracks.items()},
        }


def config_of(work: Work) -> BatchConfig:
    """The configuration of a batch. Raises CheckpointError if there is no such checkpoint,
    InputError if a file that an option names cannot be read."""
    path, options = checkpoint_folder(work.checkpoint) / CONFIG_FILE, work.options
    try:
        checkpoint_sha256 = file_sha256(path)
        # The rest is checked with torch by those who load it; a batch in which everything is done
        # must not wait for that.
        config = json.loads(path.read_text(encoding="utf-8"))
        labels = tuple(map(str, config["model"]["labels"]))
        model = ModelInfo(str(config["name"]), str(config["weights_sha256"]), labels)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror}); restore the checkpoint"
        ) from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged; restore the checkpoint") from error
    return BatchConfig(
        avsent=__version__,
        model=model,
        checkpoint_sha256=checkpoint_sha256,
        face=options.face.value,
        adapt=options.adapt.value,
        analysis_rate_hz=options.analysis_rate_hz,
        strict=options.strict,
        landmarks_sha256=_sha256_of("landmarks", options.landmarks),
        check=options.check,
        proxy=options.proxy,
        tracks=options.asked_tracks,
        utterances_sha256=_sha256_of("utterances", options.utterances),
        tier=options.tier,
    )


def _sha256_of(option: str, path: Path | None) -> str | None:
    try:
        return None if path is None else file_sha256(path)
    except OSError as error:
        raise InputError(
            f"--{option}: cannot read {path}: {error.strerror}; check the name"
        ) from error


def json_sha256(value: Any) -> str:
    """SHA-256 of a JSON-ready value, as hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode("ascii")).hexdigest()


PROBES = 4  # files opened at once: most of the time goes into waiting for the disk
_LOOKING_EVERY = 50


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """``jobs``: longest first; ``done`` and ``failed``: names of files that are left alone."""

    jobs: tuple[Job, ...]
    done: tuple[str, ...]
    failed: tuple[str, ...]

    @property
    def to_do_s(self) -> float:
        """Total duration of the jobs; files of unknown duration count as 0."""
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
    """Compare the folder with the journal, and read the durations of the files to process.

    A file whose size and modification time equal those in the journal counts as unchanged and is
    not read. If only the time differs, a worker hashes it, and skips it if the content is the same.
    ``prepare`` is called as soon as it is known that there is something to do.
    """
    known = {entry.name: entry for entry in journal.entries()}
    to_do, done, failed = [], [], []
    known_sha256 = {}
    for file in files:
        entry = known[file.name]
        same_config = entry.config_sha256 == config_sha256
        unchanged = same_config and _looks_the_same(file, entry)
        if same_config and entry.state == FileState.done:
            known_sha256[file.name] = entry.content_sha256
        if unchanged and entry.state == FileState.done:
            done.append(file.name)
        elif unchanged and entry.state == FileState.failed and not retry_failed:
            failed.append(file.name)
        else:
            to_do.append(file)
    if to_do:
        prepare()
    durations_s = _durations(to_do, known, journal, listener)
    jobs = [
        Job(n, f.name, f.path, durations_s.get(f.name), known_sha256.get(f.name))
        for n, f in enumerate(_longest_first(to_do, durations_s))
    ]
    return Plan(tuple(jobs), tuple(done), tuple(failed))


def _looks_the_same(file: SourceFile, entry: JournalEntry) -> bool:
    return (file.size, file.mtime_ns) == (entry.size, entry.mtime_ns)


def _durations(
    files: Iterable[SourceFile],
    known: Mapping[str, JournalEntry],
    journal: Journal,
    listener: Listener,
) -> dict[str, float]:
    """Seconds of each file that states them, from the journal where the file looks the same."""
    found, unknown = {}, []
    for file in files:
        entry = known[file.name]
        if entry.duration_s is not None and _looks_the_same(file, entry):
            found[file.name] = entry.duration_s
        else:
            unknown.append(file)
    if not unknown:
        return found
    # FFmpeg is loaded only if a file must be opened: a batch that is done must end at once.
    from avsent.extraction.media.reader import MediaReader

    def probe(file: SourceFile) -> float | None:
        try:
            with MediaReader(file.path) as reader:
                return reader.media.duration_s
        except MediaError:
            return None  # the worker will report what is wrong with it

    measured = []
    with ThreadPoolExecutor(PROBES) as pool:
        for number, duration_s in enumerate(pool.map(probe, unknown)):
            if number % _LOOKING_EVERY == 0:
                listener(Looking(number, len(unknown)))
            if duration_s is not None:
                measured.append((unknown[number], duration_s))
    journal.measured(measured)
    return found | {file.name: duration_s for file, duration_s in measured}


def _longest_first(
    files: Sequence[SourceFile], durations_s: Mapping[str, float]
) -> list[SourceFile]:
    """The files by duration, longest first, so that no long file is left for one worker at the end.
    Unknown durations are estimated from the size and the median bytes per second of the others."""
    rates = [f.size / durations_s[f.name] for f in files if durations_s.get(f.name, 0.0) > 0]
    bytes_per_s = max(statistics.median(rates), 1.0) if rates else 1.0

    def expected_s(file: SourceFile) -> float:
        return durations_s.get(file.name) or file.size / bytes_per_s

    return sorted(files, key=lambda file: (-expected_s(file), file.name))
