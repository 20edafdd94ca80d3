"""Check of a corpus of raw media: finds all problems at once, before hours of extraction."""

import contextlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from avsent.errors import DatasetError, MediaError
from avsent.extraction.media.events import Damage
from avsent.extraction.media.reader import MediaReader
from avsent.files import file_sha256
from avsent.labels import (
    LABEL_COLUMNS,
    LabelScale,
    LabelSet,
    canonical,
    is_missing,
    label_column,
    label_set,
)
from avsent.progress import Progress, ProgressHook, ignore_progress
from avsent.text import counted, number, printable, quoted
from avsent.training.data.corpus import SPLITS, Row
from avsent.training.data.manifest import default_context

CHECK = "run 'avsent data check'"
MIN_DURATION_S = 0.2  # shorter than nearly any word: too short for features
SLACK_S = 0.1  # an utterance may end this much after its file: annotations and containers round
MAX_LABELS = 12  # counted in the summary
_MAX_THREADS = 4  # FFmpeg starts threads of its own

OnWarning: TypeAlias = Callable[[str], None]
Kind: TypeAlias = Literal[
    "missing",
    "unreadable",
    "too_short",
    "unlabelled",
    "bad_label",
    "duplicate",
    "out_of_file",
    "shared_speaker",
    "no_text",
    "label_scale",
]
EVERY_ROW = "all"
"""``where`` of a problem of the whole corpus."""


@dataclass(frozen=True, slots=True)
class Problem:
    """``where``: as ``Row.where``; ``detail``: what is wrong, in one line."""

    where: str
    kind: Kind
    detail: str

    @property
    def is_note(self) -> bool:
        """Whether it may be as it should: audio and face need no text, numbers may be sentiment."""
        return self.kind in ("no_text", "label_scale")


@dataclass(frozen=True, slots=True)
class FileFacts:
    """``duration_s``: where the last packet ends, None if unknown. ``problem``: why the file
    cannot be used ("": it can), ``missing`` if it does not exist. ``identity``: equal for files of
    equal content."""

    duration_s: float | None = None
    problem: str = ""
    missing: bool = False
    identity: str = ""


def probe_files(
    paths: Iterable[Path], on_progress: ProgressHook = ignore_progress
) -> dict[Path, FileFacts]:
    """Decode each file up to its first picture or sound, and find its end without decoding."""
    files = list(dict.fromkeys(paths))
    identities = _identities(files)
    facts: dict[Path, FileFacts] = {}
    workers = ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1))
    try:
        for path, (duration_s, problem) in zip(files, workers.map(_probe, files), strict=True):
            missing = bool(problem) and not os.path.exists(path)
            facts[path] = FileFacts(duration_s, problem, missing, identities[path])
            on_progress(Progress("checking", path.name, len(facts), len(files)))
    finally:
        workers.shutdown(cancel_futures=True)  # on Ctrl-C, wait for the running probes only
    return facts


def leave_out(
    rows: Sequence[Row], files: Mapping[Path, FileFacts], skip: bool, on_warning: OnWarning
) -> tuple[list[Row], list[str]]:
    """The rows of files that can be used, and a line for each of the others. Raises DatasetError if
    there are others and ``skip`` is false, or if no row is left."""
    # Only the first half of "what is wrong; what to do".
    problems = {path: facts.problem.partition("; ")[0] for path, facts in files.items()}
    kept = [row for row in rows if not problems[row.media]]
    first = {row.media: row.where for row in reversed(rows)}
    broken = [f"{first[path]}: {problem}" for path, problem in problems.items() if problem]
    if broken and not (skip and kept):
        more = f" (and {counted(len(broken) - 1, 'other file')})" if len(broken) > 1 else ""
        hint = "" if skip else ", or give --skip-broken"
        raise DatasetError(f"{broken[0]}{more}; {CHECK}{hint}")
    if broken:
        some = "; ".join(broken[:3]) + " … (avsent data check lists all)" * (len(broken) > 3)
        on_warning(f"{counted(len(broken), 'file')} left out: {some}")
    return kept, broken


def display_path(path: Path) -> str:
    """The path for messages: relative to the current folder if it is below it."""
    here = os.path.realpath(os.curdir)
    return printable(str(path.relative_to(here) if path.is_relative_to(here) else path))


def _probe(path: Path) -> tuple[float | None, str]:
    """Duration in seconds, and what is wrong with the file."""
    try:
        with MediaReader(path) as reader:
            next(event for event in reader if not isinstance(event, Damage))
        with MediaReader(path) as reader:
            return reader.length_s(), ""
    except MediaError as error:
        return None, str(error).replace(printable(path), display_path(path))


def _identities(files: Iterable[Path]) -> dict[Path, str]:
    """The real path of each file, or the SHA-256 of its content if several have its size."""
    real = {path: os.path.realpath(path) for path in files}
    same_size: dict[int, set[str]] = defaultdict(set)
    for name in set(real.values()):
        if os.path.isfile(name):
            same_size[os.path.getsize(name)].add(name)
    digests: dict[str, str] = {}
    for size, names in same_size.items():
        for name in names if size and len(names) > 1 else ():
            with contextlib.suppress(OSError):  # reported as unreadable anyway
                digests[name] = file_sha256(Path(name))
    return {path: digests.get(name, name) for path, name in real.items()}


class LabelCheck:
    """Checks one column of labels; ``labels`` as for ``label_set``; ``scale``: how to read them.

    With "auto" the majority decides whether labels are names or numbers, so that a single mistake
    does not turn a column of numbers into names.
    """

    def __init__(
        self, rows: Sequence[Row], column: str, labels: str, scale: LabelScale | None = None
    ) -> None:
        found = {name for row in rows for name in row.labels}
        self._column, self._scale = label_column(found, column), scale
        self._columns = [name for name in LABEL_COLUMNS if name in found]
        self.texts: list[str] = []
        """The labels that are there and have a place on the scale."""
        for row in rows:
            with contextlib.suppress(DatasetError):
                self.texts += [text] if not is_missing(text := self._read(row)) else []
        self._auto = labels.strip().casefold() == "auto"
        self.label_set: LabelSet | None = None
        """None if there are no labels, or if they make no set."""
        self._refused = self._doubt = ""
        try:
            if self.texts:
                names = [text for text in self.texts if number(text) is None]
                if self._auto and 2 * len(names) < len(self.texts):
                    labels = "real"
                self.label_set = label_set(names if self._auto else self.texts, labels)
                self._doubt = self.label_set.doubt(self.texts) if scale is None else ""
        except DatasetError as error:
            self._refused = str(error)

    def overall(self) -> Iterator[Problem]:
        """Problems of the column as a whole."""
        if self._column not in self._columns:
            others = " and ".join(self._columns)
            hint = f"; there is {others}: give --label" if others else ""
            yield Problem(EVERY_ROW, "unlabelled", f"no column {self._column}{hint}")
        elif self._refused:
            yield Problem(EVERY_ROW, "bad_label", f"{self._column}: {self._refused}")
        elif self._doubt:
            yield Problem(EVERY_ROW, "label_scale", f"{self._column}: {self._doubt}")

    def problems(self, row: Row) -> Iterator[Problem]:
        """Problems of the label of one row."""
        if self._column not in self._columns:
            return
        text = row.labels.get(self._column, "").strip()
        if is_missing(text):
            detail = f"{self._column} is {quoted(text) if text else 'empty'}"
            yield Problem(row.where, "unlabelled", detail)
        elif mistake := self._mistake(row):
            yield Problem(row.where, "bad_label", f"{self._column}: {mistake}")

    def _mistake(self, row: Row) -> str:
        labels = self.label_set
        try:
            if is_missing(text := self._read(row)) or labels is None:
                return ""
            if self._auto and labels.real != (number(text) is not None):
                kinds = ("not a number", "are") if labels.real else ("a number", "are not")
                return f"{quoted(text)} is {kinds[0]}, the other labels {kinds[1]}; mend it"
            labels.encode(text)
        except DatasetError as error:
            return str(error)
        return ""

    def _read(self, row: Row) -> str:
        text = row.labels.get(self._column, "").strip()
        return text if self._scale is None else self._scale.read(text)


def find_problems(
    rows: Sequence[Row], files: Mapping[Path, FileFacts], label_check: LabelCheck, split_by: str
) -> list[Problem]:
    """All problems of ``rows``, in their order.

    ``files``: from :func:`probe_files`; ``split_by``: "speaker" or "video", each of which may be in
    one split only.
    """
    any_text = any(row.text.strip() for row in rows)
    seen: dict[tuple[str, float | None, float | None], Row] = {}
    split_of: dict[str, dict[str, str]] = defaultdict(dict)
    problems = list(label_check.overall())
    for row in rows:
        facts = files[row.media]
        problems += _file_problems(row, facts)
        problems += label_check.problems(row)
        problems += _duplicates(row, seen.setdefault((facts.identity, row.start_s, row.end_s), row))
        problems += _split_crossings(row, split_by, split_of)
        if any_text and not row.text.strip():
            problems.append(Problem(row.where, "no_text", "text is empty"))
    if not any_text:
        problems.append(Problem(EVERY_ROW, "no_text", "no utterance has a text"))
    return problems


def _file_problems(row: Row, facts: FileFacts) -> Iterator[Problem]:
    if facts.missing:
        yield Problem(row.where, "missing", f"no such file: {display_path(row.media)}")
        return
    if facts.problem:
        yield Problem(row.where, "unreadable", facts.problem)
    length_s = length_of(row, facts)
    if length_s is not None and length_s < MIN_DURATION_S:
        detail = f"{display_path(row.media)}: {length_s:.3g} s, less than {MIN_DURATION_S:g} s"
        yield Problem(row.where, "too_short", detail)
    end_s = facts.duration_s
    if row.end_s is not None and end_s is not None and row.end_s > end_s + SLACK_S:
        detail = f"ends at {row.end_s:g} s, {display_path(row.media)} at {end_s:.2f} s"
        yield Problem(row.where, "out_of_file", detail)


def length_of(row: Row, facts: FileFacts) -> float | None:
    """Seconds that the utterance lasts; None for a whole file of unknown duration."""
    if row.start_s is None or row.end_s is None:
        return facts.duration_s
    return row.end_s - row.start_s


def _duplicates(row: Row, first: Row) -> Iterator[Problem]:
    """``first``: the first row with the same part of the same content."""
    if first is row:
        return
    same = "the same utterance" if first.media == row.media else "the same content"
    detail = f"{same} as {first.where or display_path(first.media)}"
    if first.media != row.media:
        detail += f": {display_path(row.media)} and {display_path(first.media)}"
    yield Problem(row.where, "duplicate", detail)


def _split_crossings(
    row: Row, split_by: str, found: dict[str, dict[str, str]]
) -> Iterator[Problem]:
    """Speakers or videos in several splits, once for each further split.

    ``found``: by speaker or video, the splits so far and the first row in each.
    """
    for who in _split_groups(row, split_by) if row.split else ():
        splits = found[who]
        if splits and row.split not in splits:
            split, where = next(iter(splits.items()))
            detail = f"{who} is in {row.split}, and in {split} ({where}); keep it in one split"
            yield Problem(row.where, "shared_speaker", detail)
        splits.setdefault(row.split, row.where)


def _split_groups(row: Row, split_by: str) -> Iterator[str]:
    if split_by == "speaker":
        if row.speaker:
            yield f"speaker {quoted(row.speaker)}"
        return
    yield f"video {display_path(row.media)}"
    if row.context and row.context != default_context(row.media):
        yield f"context {printable(row.context)}"


def summary(rows: Sequence[Row], files: Mapping[Path, FileFacts], label_check: LabelCheck) -> str:
    """Utterances, files, speakers, hours as far as known, and numbers by split and label."""
    speakers = len({row.speaker for row in rows if row.speaker})
    size = [
        f"{counted(len(rows), 'utterance')} in {counted(len(files), 'file')}",
        counted(speakers, "speaker") if speakers else "speakers unknown",
        _time(rows, files),
    ]
    splits = Counter(row.split for row in rows)
    parts = [", ".join(size)]
    if set(splits) != {""}:
        names = [(split, splits[split]) for split in SPLITS if splits[split]]
        names += [("no split", splits[""])] if splits[""] else []
        parts.append(", ".join(f"{name} {count}" for name, count in names))
    parts.append(_labels(label_check.texts, label_check.label_set))
    return "; ".join(filter(None, parts))


def _time(rows: Sequence[Row], files: Mapping[Path, FileFacts]) -> str:
    known = [length for row in rows if (length := length_of(row, files[row.media])) is not None]
    if not known:
        return "duration unknown"
    minutes = sum(known) / 60
    text = f"{minutes:.1f} minutes" if minutes < 60 else f"{minutes / 60:.1f} hours"
    return text if len(known) == len(rows) else f"at least {text}"


def _labels(given: Sequence[str], labels: LabelSet | None) -> str:
    if labels is not None and labels.real:
        values = [value for text in given if (value := number(text)) is not None]
        return f"labels from {min(values):g} to {max(values):g}" if values else ""
    counts = Counter(map(canonical, given)).most_common()
    named = [f"{printable(name)} {count}" for name, count in counts[:MAX_LABELS]]
    return ", ".join(named + ["…"] * (len(counts) > MAX_LABELS))
