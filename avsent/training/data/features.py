"""Labelled utterances of raw media → a corpus: each file is analysed once, its features are kept.

The features come from :class:`avsent.extraction.extractor.Extraction`, as for prediction.
"""

from __future__ import annotations

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
"""Begins a warning of damage. Other warnings (no face, no sound) are counted instead."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """A corpus, and warnings for its user."""

    corpus: Corpus
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _File:
    """A media file, its rows, and the segments of the file that they name."""

    media: Path
    name: str
    rows: tuple[Row, ...]
    segments: tuple[Segment, ...]

    def segment_of(self, row: Row) -> int:
        return self.segments.index(_segment(row))


def extract_rows(
    data: Path,
    rows: Sequence[Row],
    settings: Settings,
    cache: Path,
    on_progress: ProgressHook = ignore_progress,
) -> Extracted:
    """Features of ``rows``, which were read from ``data``; kept in the folder ``cache``.

    Rows in which there is neither a voice nor a face are left out, with a warning. Where files
    cannot be read, the others are analysed (and kept) before the error.

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
        try:
            features[file.media] = _features(file, settings, kept, step, on_progress)
        except (MediaError, DatasetError) as error:
            failures.append(f"{file.rows[0].where or data}: {_without_advice(str(error))}")
        except OSError as error:
            reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
            failures.append(f"{file.rows[0].where or data}: {file.media}: {reason}")
    if failures:
        more = len(failures) - 1
        others = f" (and {more} other file{'s' if more > 1 else ''})" if more else ""
        raise DatasetError(f"{failures[0]}{others}; {CHECK}")
    return _assembled(data, rows, files, features, settings)


def _files(data: Path, rows: Sequence[Row]) -> list[_File]:
    """The media files of ``rows`` in the order in which they are first named."""
    root = Path(os.path.realpath(data if data.is_dir() else data.parent))
    of: dict[Path, list[Row]] = {}
    for row in rows:
        of.setdefault(row.media, []).append(row)
    return [
        _File(
            media,
            _relative(media, root),
            tuple(own),
            # Sorted, so that the order of the rows does not matter to the cache.
            tuple(sorted({_segment(row) for row in own}, key=lambda s: (s.start_s, s.end_s))),
        )
        for media, own in of.items()
    ]


def _segment(row: Row) -> Segment:
    """The place of ``row``; without an end it goes on to that of the file, which the length
    allowed bounds."""
    start_s = row.start_s or 0.0
    return Segment(start_s, start_s + MAX_GIVEN_S if row.end_s is None else row.end_s)


def _features(
    file: _File, settings: Settings, kept: FeatureCache, step: str, on_progress: ProgressHook
) -> MediaFeatures:
    for row in file.rows:
        _check_length(row, None)
    place = kept.place(file.media, file.segments)
    found = kept.load(place, len(file.segments))
    if found is None:
        kept.prepare()
        found = _analysed(file, settings, step, on_progress)
        kept.save(place, found)
    for row in file.rows:
        _check_length(row, found.duration_s)
    return found


def _analysed(
    file: _File, settings: Settings, step: str, on_progress: ProgressHook
) -> MediaFeatures:
    with MediaReader(file.media) as reader:
        for row in file.rows:  # before the work, where the container states its duration
            _check_length(row, reader.info.duration_s)

    def report(progress: Progress) -> None:
        on_progress(Progress(step, progress.source, progress.completed, progress.total))

    extraction = Extraction(
        file.media,
        settings.features,
        PredictOptions(face=settings.face, landmarks=settings.landmarks, check=settings.check),
        report,
        segments=file.segments,
    )
    # In the order of their ends; one for each segment, as one face is chosen.
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
    # A track's neutral is known when the whole file was seen.
    for segment, features in found.items():
        features["neutral"] = extraction.neutral(track_of[segment])
    return MediaFeatures(
        **{part: tuple(found[segment][part] for segment in file.segments) for part in PARTS},
        duration_s=extraction.duration_s,
        warnings=tuple(extraction.warnings),
    )


def _check_length(row: Row, duration_s: float | None) -> None:
    start_s = row.start_s or 0.0
    end_s = duration_s if row.end_s is None else row.end_s
    if end_s is not None and end_s - start_s > MAX_GIVEN_S:
        raise DatasetError(
            f"the utterance is {end_s - start_s:.0f} s long, more than {MAX_GIVEN_S:.0f}; give "
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
        place = file.segment_of(row)
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
    """The row's own context; else its file, by a name that survives moving the whole corpus."""
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


def _without_advice(message: str) -> str:
    """Only the first half of "what is wrong; what to do": other advice is given once for all."""
    return message.partition("; ")[0]


def _relative(media: Path, root: Path) -> str:
    try:
        return Path(os.path.relpath(media, root)).as_posix()
    except ValueError:  # on another drive
        return media.as_posix()
