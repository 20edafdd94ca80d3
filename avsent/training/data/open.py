"""Training data in any form as a :class:`~avsent.training.data.corpus.Corpus`.

:class:`avsent.extraction.extractor.Extraction` makes the features of raw media, as for prediction;
those of each file are cached.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avsent.errors import DatasetError, MediaError, UsageError
from avsent.extraction.extractor import Extraction
from avsent.extraction.media.reader import MediaReader
from avsent.extraction.utterances.boundaries import MAX_GIVEN_S
from avsent.extraction.utterances.segmentation import Segment
from avsent.options import FaceChoice, PredictOptions
from avsent.progress import Progress, ProgressHook, ignore_progress
from avsent.text import counted
from avsent.training.data import feature_files
from avsent.training.data.corpus import Corpus, Row, Sample
from avsent.training.data.feature_files import PARTS, CorpusOptions, FeatureCache, MediaFeatures
from avsent.training.data.manifest import MANIFEST_NAME, default_context, read_rows

OnWarning = Callable[[str], None]

CHECK = "run 'avsent data check'"
_OF_FILE = re.compile(
    "(picture|sound|file)( at|:|,)|[0-9]+ (sound|picture) tracks|no speech in|the file"
)
"""Start of a warning of damage or of a choice. Others (no face, no sound) are counted instead."""


def open_corpus(
    data: Path,
    *,
    options: CorpusOptions | None = None,
    on_progress: ProgressHook = ignore_progress,
    on_warning: OnWarning = lambda warning: None,
) -> Corpus:
    """The corpus in ``data``: a feature file (.npz), a manifest or a known layout of raw media.

    ``on_warning`` takes lines for the user, such as the number of utterances left out. Raises
    DatasetError if there is nothing of the kind, or it cannot be read; OutputError if the cache
    cannot be written; UsageError if the options make no sense.
    """
    options = options or CorpusOptions()
    if data.suffix.lower() == ".npz" and not data.is_dir():
        return feature_files.read_features(data)
    if not data.exists():
        raise DatasetError(f"{data}: no such file or folder; check the name")
    return extract_rows(data, read_rows(data), options, on_progress, on_warning)


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
) -> Corpus:
    """Features of ``rows``, which were read from ``data``; kept in the cache.

    Rows without voice and face are left out, with a warning. If files cannot be read, the others
    are analysed (and kept) before the error is raised. Raises DatasetError for such files and for
    an utterance longer than ``MAX_GIVEN_S``, UsageError if every face of an utterance is asked for,
    OutputError if the cache cannot be written.
    """
    if settings.face is FaceChoice.all:
        raise UsageError("--face all is for prediction; for training give speaking or largest")
    cache = FeatureCache(settings)
    files = _files(data, rows)
    features: dict[Path, MediaFeatures] = {}
    failures: list[str] = []
    for number, file in enumerate(files, 1):
        step = f"[{number}/{len(files)}] {file.media.name}"
        where = file.rows[0].where or data
        try:
            features[file.media] = _features(file, cache, step, on_progress)
        except (MediaError, DatasetError) as error:
            # Only the first half of "what is wrong; what to do": the advice is given once for all.
            failures.append(f"{where}: {str(error).partition('; ')[0]}")
        except OSError as error:
            reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
            failures.append(f"{where}: {file.media}: {reason}")
    if failures:
        more = len(failures) - 1
        others = f" (and {counted(more, 'other file')})" if more else ""
        raise DatasetError(f"{failures[0]}{others}; {CHECK}")
    samples = _samples(data, rows, files, features, on_warning)
    for file in files:
        for warning in filter(_OF_FILE.match, features[file.media].warnings):
            on_warning(f"{file.name}: {warning}")
    named = data.resolve()
    if not data.is_dir():
        named = named.parent if named.name == MANIFEST_NAME else named.with_suffix("")
    return Corpus(named.name, samples, features=settings.features)


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


def _features(
    file: _File, cache: FeatureCache, step: str, on_progress: ProgressHook
) -> MediaFeatures:
    _check_lengths(file, None)
    place = cache.place(file.media, file.segments)
    found = cache.load(place, len(file.segments))
    if found is None:
        cache.prepare()
        found = _analysed(file, cache.options, step, on_progress)
        cache.save(place, found)
    _check_lengths(file, found.duration_s)
    return found


def _analysed(
    file: _File, options: CorpusOptions, step: str, on_progress: ProgressHook
) -> MediaFeatures:
    with MediaReader(file.media) as reader:
        if any(row.end_s is None for row in file.rows):
            _check_lengths(file, reader.length_s())  # before the analysis

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


def _check_lengths(file: _File, duration_s: float | None) -> None:
    for row in file.rows:
        end_s = duration_s if row.end_s is None else row.end_s
        length_s = 0.0 if end_s is None else end_s - (row.start_s or 0.0)
        if length_s > MAX_GIVEN_S:
            raise DatasetError(
                f"the utterance is {length_s:.0f} s long, more than {MAX_GIVEN_S:.0f}; give "
                "start_s and end_s"
            )


def _samples(
    data: Path,
    rows: Sequence[Row],
    files: Sequence[_File],
    features: dict[Path, MediaFeatures],
    on_warning: OnWarning,
) -> tuple[Sample, ...]:
    """One for each row with a voice or a face; ``on_warning`` gets the number of the others."""
    by_media = {file.media: file for file in files}
    last: dict[Path, int] = {}
    samples, empty = [], []
    for row in rows:
        file, found = by_media[row.media], features[row.media]
        index = last[row.media] = last.get(row.media, -1) + 1
        place = file.segments.index(_segment(row))
        if found.audio[place] is None and found.face[place] is None:
            empty.append(row.where or f"{file.name}#{index}")
            continue
        own_context = row.context not in ("", default_context(row.media))
        samples.append(
            Sample(
                key=f"{file.name}#{index}",
                # By default the file, relative to the corpus, which may be moved.
                video=row.context if own_context else file.name,
                speaker=row.speaker,
                split=row.split,
                labels=dict(row.labels),
                text=row.text,
                **{part: getattr(found, part)[place] for part in PARTS},
            )
        )
    if not samples:
        raise DatasetError(f"{data}: no utterance has a voice or a face; {CHECK}")
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
    return tuple(samples)
