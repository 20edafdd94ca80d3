"""Labelled utterances of raw media → a corpus; the features of each file are cached.

:class:`avsent.extraction.extractor.Extraction` makes them, as for prediction.
"""

import os
import re
from collections.abc import Iterable, Sequence
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
from avsent.training.data.corpus import Corpus, Row, Sample
from avsent.training.data.feature_cache import PARTS, FeatureCache, MediaFeatures, Settings
from avsent.training.data.manifest import MANIFEST_NAME, default_context

CHECK = "run 'avsent data check'"
_DAMAGE = re.compile("(picture|sound|file)( at|:)")
"""Start of a damage warning. Other warnings (no face, no sound) are counted instead."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """A corpus, and warnings for its user."""

    corpus: Corpus
    warnings: tuple[str, ...] = ()


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
    settings: Settings,
    cache: Path,
    on_progress: ProgressHook = ignore_progress,
) -> Extracted:
    """Features of ``rows``, which were read from ``data``; kept in the folder ``cache``.

    Rows without voice and face are left out, with a warning. If files cannot be read, the others
    are analysed (and kept) before the error is raised.

    Raises:
        DatasetError: files cannot be read, or an utterance is longer than ``MAX_GIVEN_S``.
        UsageError: every face of an utterance is asked for.
        OutputError: the cache cannot be written.
    """
    if settings.face is FaceChoice.all:
        raise UsageError("--face all is for prediction; for training give speaking or largest")
    kept = FeatureCache(cache, settings)
    files = _files(data, rows)
    features: dict[Path, MediaFeatures] = {}
    failures: list[str] = []
    for number, file in enumerate(files, 1):
        step = f"[{number}/{len(files)}] {file.media.name}"
        where = file.rows[0].where or data
        try:
            features[file.media] = _features(file, settings, kept, step, on_progress)
        except (MediaError, DatasetError) as error:
            # Only the first half of "what is wrong; what to do": the advice is given once for all.
            failures.append(f"{where}: {str(error).partition('; ')[0]}")
        except OSError as error:
            reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
            failures.append(f"{where}: {file.media}: {reason}")
    if failures:
        more = len(failures) - 1
        others = f" (and {more} other file{'s' if more > 1 else ''})" if more else ""
        raise DatasetError(f"{failures[0]}{others}; {CHECK}")
    return _assembled(data, rows, files, features, settings)


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
    file: _File, settings: Settings, kept: FeatureCache, step: str, on_progress: ProgressHook
) -> MediaFeatures:
    _check_lengths(file, None)
    place = kept.place(file.media, file.segments)
    found = kept.load(place, len(file.segments))
    if found is None:
        kept.prepare()
        found = _analysed(file, settings, step, on_progress)
        kept.save(place, found)
    _check_lengths(file, found.duration_s)
    return found


def _analysed(
    file: _File, settings: Settings, step: str, on_progress: ProgressHook
) -> MediaFeatures:
    with MediaReader(file.media) as reader:
        _check_lengths(file, reader.info.duration_s)  # early, if the container states it

    def report(progress: Progress) -> None:
        on_progress(Progress(step, progress.source, progress.completed, progress.total))

    extraction = Extraction(
        file.media,
        settings.features,
        PredictOptions(face=settings.face, landmarks=settings.landmarks, check=settings.check),
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


def _assembled(
    data: Path,
    rows: Sequence[Row],
    files: Sequence[_File],
    features: dict[Path, MediaFeatures],
    settings: Settings,
) -> Extracted:
    """The samples in the order of their rows."""
    by_media = {file.media: file for file in files}
    counted: dict[Path, int] = {}
    samples, empty = [], []
    for row in rows:
        file, found = by_media[row.media], features[row.media]
        index = counted[row.media] = counted.get(row.media, -1) + 1
        place = file.segments.index(_segment(row))
        if found.audio[place] is None and found.face[place] is None:
            empty.append(row.where or f"{file.name}#{index}")
            continue
        samples.append(
            Sample(
                key=f"{file.name}#{index}",
                video=_context(row, file.name),
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
    warnings = (
        *_counted(empty, "without a voice or a face, left out"),
        *_counted(voiceless, "without a voice"),
        *_counted(faceless, "without a face"),
        *(
            f"{file.name}: {warning}"
            for file in files
            for warning in features[file.media].warnings
            if _DAMAGE.match(warning)
        ),
    )
    return Extracted(Corpus(_name(data), tuple(samples), features=settings.features), warnings)


def _context(row: Row, name: str) -> str:
    """The row's own context; else its file, relative to the corpus, which may be moved."""
    return name if row.context in ("", default_context(row.media)) else row.context


def _name(data: Path) -> str:
    real = data.resolve()
    if data.is_dir():
        return real.name
    return real.parent.name if real.name == MANIFEST_NAME else real.stem


def _counted(which: Sequence[str], what: str) -> Iterable[str]:
    if which:
        plural = "s" if len(which) > 1 else ""
        yield f"{len(which)} utterance{plural} {what}: {which[0]}{' …' if plural else ''}"
