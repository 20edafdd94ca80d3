"""Training data in any form as a :class:`~avsent.training.data.corpus.Corpus`.

:class:`avsent.extraction.extractor.Extraction` makes the features of raw media, as for prediction;
those of each file are cached.
"""

import dataclasses
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avsent.errors import DatasetError, MediaError, UsageError
from avsent.extraction.extractor import Extraction
from avsent.extraction.utterances.boundaries import MAX_GIVEN_S
from avsent.extraction.utterances.segmentation import Segment
from avsent.options import FaceChoice, PredictOptions
from avsent.progress import Progress, ProgressHook, ignore_progress
from avsent.text import counted
from avsent.training.data import check, feature_files
from avsent.training.data.check import OnWarning
from avsent.training.data.corpus import Corpus, Row, Sample
from avsent.training.data.feature_files import PARTS, CorpusOptions, FeatureCache, MediaFeatures
from avsent.training.data.manifest import MANIFEST_NAME, default_context, read_rows

_OF_FILE = re.compile(
    "(picture|sound|file)( at|:|,)|[0-9]+ (sound|picture) tracks|no speech in|the file"
)
"""Start of a warning of damage or of a choice. Others (no face, no sound) are counted instead."""


def open_corpus(
    data: Path,
    options: CorpusOptions | None = None,
    on_progress: ProgressHook = ignore_progress,
    on_warning: OnWarning = lambda warning: None,
    accept: Callable[[Corpus, OnWarning], object] = lambda *_: None,
) -> Corpus:
    """The corpus in ``data``: a feature file (.npz), a manifest or a known layout of raw media.

    ``on_warning`` takes lines for the user, such as the number of utterances left out. ``accept``
    gets the corpus without features and ``on_warning``, before the analysis; it may raise. Raises
    DatasetError if there is nothing of the kind, or it cannot be read; OutputError if the cache
    cannot be written; UsageError if the options make no sense.
    """
    options = options or CorpusOptions()
    if data.suffix.lower() == ".npz" and not data.is_dir():
        corpus = feature_files.read_features(data)
        corpus = dataclasses.replace(corpus, scale=options.scale or corpus.scale)
        accept(corpus, on_warning)
        return corpus
    if not data.exists():
        raise DatasetError(f"{data}: no such file or folder; check the name")
    rows = read_rows(data, on_warning)
    return extract_rows(data, rows, options, on_progress, on_warning, accept)


@dataclass(frozen=True, slots=True)
class _File:
    """A media file, its rows, and the segments that they name."""

    media: Path
    name: str
    rows: tuple[Row, ...]
    segments: tuple[Segment, ...]


def extract_rows(
    data: Path,
    rows: Sequence[Row],
    settings: CorpusOptions,
    on_progress: ProgressHook = ignore_progress,
    on_warning: OnWarning = lambda warning: None,
    accept: Callable[[Corpus, OnWarning], object] = lambda *_: None,
) -> Corpus:
    """Features of ``rows``, which were read from ``data``; kept in the cache.

    ``accept``: as for :func:`open_corpus`. Rows without voice and face are left out, with a
    warning, as are files that cannot be read if the settings say so. Raises DatasetError before the
    analysis for such files and for an utterance longer than ``MAX_GIVEN_S``, UsageError if every
    face of an utterance is asked for, OutputError if the cache cannot be written.
    """
    if settings.face is FaceChoice.all:
        raise UsageError("--face all is for prediction; for training give speaking or largest")
    cache = FeatureCache(settings)
    facts = check.probe_files((row.media for row in rows), on_progress)
    rows, broken = check.leave_out(rows, facts, settings.skip_broken, on_warning)
    files = _files(data, rows)
    for row in rows:
        end_s = facts[row.media].duration_s if row.end_s is None else row.end_s
        length_s = 0.0 if end_s is None else end_s - (row.start_s or 0.0)
        if length_s > MAX_GIVEN_S:
            long = f"the utterance is {length_s:.0f} s long, more than {MAX_GIVEN_S:.0f}"
            raise DatasetError(f"{row.where}: {long}; give start_s and end_s")
    named = data.resolve()
    if not data.is_dir():
        named = named.parent if named.name == MANIFEST_NAME else named.with_suffix("")
    bare = tuple(_samples(rows, files, {}))
    corpus = Corpus(named.name, bare, features=settings.features, scale=settings.scale)
    corpus = dataclasses.replace(corpus, rows_sha256=corpus.rows_digest())
    accept(corpus, on_warning)
    features: dict[Path, MediaFeatures] = {}
    for number, file in enumerate(files, 1):
        step = f"[{number}/{len(files)}] {file.media.name}"
        try:
            place = cache.place(file.media, file.segments)
            found = cache.load(place, len(file.segments))
            if found is None:
                cache.prepare()
                found = _analysed(file, cache.options, step, on_progress)
                cache.save(place, found)
            features[file.media] = found
        except (MediaError, OSError) as error:
            # Only the first half of "what is wrong; what to do".
            broken.append(f"{file.rows[0].where}: {str(error).partition('; ')[0]}")
            if not settings.skip_broken:
                raise DatasetError(f"{broken[0]}; give --skip-broken to leave it out") from error
            on_warning(f"left out: {broken[-1]}")
    samples, empty = [], []
    for row, sample in zip(rows, _samples(rows, files, features), strict=True):
        if sample.audio is not None or sample.face is not None:
            samples.append(sample)
        elif row.media in features:
            empty.append(row.where or sample.key)
    if not samples:
        raise DatasetError(f"{data}: no utterance has a voice or a face; {check.CHECK}")
    voiceless = [sample.key for sample in samples if sample.audio is None]
    faceless = [sample.key for sample in samples if sample.face is None]
    for which, what in (
        (empty, "without a voice or a face, left out"),
        (voiceless, "without a voice"),
        (faceless, "without a face"),
    ):
        if which:
            more = " …" if len(which) > 1 else ""
            on_warning(f"{counted(len(which), 'utterance')} {what}: {which[0]}{more}")
    said: dict[str, list[str]] = defaultdict(list)
    for file in files:
        warnings = features[file.media].warnings if file.media in features else ()
        for warning in filter(_OF_FILE.match, warnings):
            said[warning.partition("; choose with")[0]].append(file.name)
    for warning, (name, *others) in said.items():
        more = f" and {counted(len(others), 'other file')}" if others else ""
        on_warning(f"{name}{more}: {warning}")
    return dataclasses.replace(corpus, samples=tuple(samples), left_out=tuple(broken))


def _files(data: Path, rows: Sequence[Row]) -> list[_File]:
    """The media files of ``rows``, in the order in which they first occur."""
    root = Path(os.path.realpath(data if data.is_dir() else data.parent))
    rows_of: dict[Path, list[Row]] = {}
    for row in rows:
        rows_of.setdefault(row.media, []).append(row)
    files = []
    for media, own in rows_of.items():
        try:
            name = Path(os.path.relpath(media, root)).as_posix()
        except ValueError:  # on another drive
            name = media.as_posix()
        # Sorted, so that the cache does not depend on the order of the rows.
        segments = sorted({_segment(row) for row in own}, key=lambda s: (s.start_s, s.end_s))
        files.append(_File(media, name, tuple(own), tuple(segments)))
    return files


def _segment(row: Row) -> Segment:
    """Times of ``row``; without an end up to that of the file, which the longest allowed utterance
    covers."""
    start_s = row.start_s or 0.0
    return Segment(start_s, start_s + MAX_GIVEN_S if row.end_s is None else row.end_s)


def _analysed(
    file: _File, options: CorpusOptions, step: str, on_progress: ProgressHook
) -> MediaFeatures:
    def report(progress: Progress) -> None:
        on_progress(Progress(step, progress.source, progress.completed, progress.total))

    extraction = Extraction(
        file.media,
        options.features,
        PredictOptions(face=options.face, landmarks=options.landmarks, check=options.check),
        report,
        segments=file.segments,
    )
    # One utterance for each segment, as one face is chosen.
    found: dict[Segment, dict[str, NDArray[np.float32] | None]] = {}
    track_of: dict[Segment, int | None] = {}
    for utterance in extraction:
        audio, face = utterance.audio, utterance.face
        pictures = None if face is None else face.pictures
        found[utterance.segment] = {
            "audio": None if audio is None else audio.power,
            "face": None if face is None else face.landmarks,
            "pictures": None if pictures is None else pictures.astype(np.float32),
            "prosody": None if audio is None else audio.prosody,
        }
        track_of[utterance.segment] = utterance.track
    # A track's neutral face is known at the end of the file.
    for segment, features in found.items():
        features["neutral"] = extraction.neutral(track_of[segment])
    return MediaFeatures(
        **{part: tuple(found[segment][part] for segment in file.segments) for part in PARTS},
        duration_s=extraction.duration_s,
        warnings=tuple(extraction.warnings),
    )


def _samples(
    rows: Sequence[Row], files: Sequence[_File], features: Mapping[Path, MediaFeatures]
) -> Iterator[Sample]:
    """One for each row, with those features that are there."""
    by_media = {file.media: file for file in files}
    count = Counter[Path]()
    for row in rows:
        file, found = by_media[row.media], features.get(row.media)
        place = file.segments.index(_segment(row))
        own_context = row.context not in ("", default_context(row.media))
        yield Sample(
            key=f"{file.name}#{count[row.media]}",
            # By default the file, relative to the corpus, which may be moved.
            video=row.context if own_context else file.name,
            speaker=row.speaker,
            split=row.split,
            labels=dict(row.labels),
            text=row.text,
            **({} if found is None else {part: getattr(found, part)[place] for part in PARTS}),
        )
        count[row.media] += 1
