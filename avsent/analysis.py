"""One file in two halves: what needs no network, and what the networks make of it.

:func:`extract_file` decodes and looks for faces; it runs wherever there is a processor, also in a
process that has no model. :func:`assemble` puts together what was encoded of its utterances.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from avsent.adapt import Adapt
from avsent.boundaries import read_boundaries
from avsent.errors import BoundariesError
from avsent.extraction import Extraction, ExtractionOptions, UtteranceFeatures
from avsent.faces.choice import FaceChoice
from avsent.faces.types import Sighting
from avsent.features.config import FeatureConfig
from avsent.progress import ProgressHook, ignore_progress
from avsent.results import Track
from avsent.speech import SpeechDetector
from avsent.utterances import Segment

if TYPE_CHECKING:  # they bring torch, which extraction can do without
    from avsent.decision import Decider
    from avsent.encoding import EncodedUtterance
    from avsent.represented import Represented

MAX_GIVEN_S = 300.0
"""A longer utterance given by the user is refused: it would be kept in memory whole."""


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """How a file is analysed.

    ``utterances``: a .srt, .vtt or .csv file with the utterances, instead of finding them;
    ``face``: which of several; ``analysis_rate_hz``: pictures per second in which faces are
    looked for, by default as the model was trained; ``strict``: damage is an error;
    ``landmarks``: the user's own dlib model file; ``adapt``: to each track, or to all files;
    ``threads``: 1 to do all of it in one thread, None for as many as help; ``sightings``: keep
    where each face was; ``check``: whether damaged and doubtful modalities are left out; ``proxy``:
    whether proxies stand in for them, None for what the model was found best with.
    """

    utterances: Path | None = None
    face: FaceChoice = FaceChoice.speaking
    analysis_rate_hz: float | None = None
    strict: bool = False
    landmarks: Path | None = None
    adapt: Adapt = Adapt.none
    threads: int | None = None
    sightings: bool = False
    check: bool = True
    proxy: bool | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FileFacts:
    """What is known of a file at its end, besides its utterances; small, and without tensors.

    ``silent``: nothing was heard in it, so that provisional utterances count; ``neutrals``: the
    faces at rest [51, 2] of the tracks that an utterance has.
    """

    source: str
    duration_s: float
    tracks: tuple[Track, ...]
    silent: bool
    neutrals: dict[int, NDArray[np.float32]]
    warnings: tuple[str, ...]
    sightings: tuple[Sighting, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """One file, heard and seen to its end: all but the decisions, and small. ``check`` and
    ``proxy``: see :class:`PredictOptions`."""

    source: str
    duration_s: float
    tracks: tuple[Track, ...]
    represented: tuple[Represented, ...]
    adapt: Adapt
    warnings: tuple[str, ...]
    sightings: tuple[Sighting, ...] = ()
    check: bool = True
    proxy: bool | None = None


def extract_file(
    path: str | Path,
    features: FeatureConfig,
    options: PredictOptions | None = None,
    on_progress: ProgressHook = ignore_progress,
    detector: SpeechDetector | None = None,
) -> Generator[UtteranceFeatures, None, FileFacts]:
    """Features of each utterance as soon as its end is known; then the facts about the file.

    ``features``: as the model wants them; ``detector``: see :class:`Extraction`. To be closed
    where it is not read to its end: a thread of it reads ahead.

    Raises:
        MediaError: the file cannot be read. BoundariesError: the utterances cannot.
    """
    options = options or PredictOptions()
    extraction = Extraction(
        Path(path),
        features,
        ExtractionOptions(
            segments=_given(options.utterances),
            face=options.face,
            analysis_rate_hz=options.analysis_rate_hz or features.face.analysis_rate_hz,
            strict=options.strict,
            landmarks=options.landmarks,
            threads=options.threads,
            sightings=options.sightings,
            check=options.check,
        ),
        on_progress,
        detector,
    )
    shown: set[int] = set()
    for utterance in extraction:
        if utterance.track is not None:
            shown.add(utterance.track)
        yield utterance
    neutrals = {track: extraction.neutral(track) for track in sorted(shown)}
    return FileFacts(
        source=str(path),
        duration_s=extraction.duration_s,
        tracks=tuple(Track(t.track, t.start_s, t.end_s, t.frames) for t in extraction.tracks),
        silent=extraction.silent,
        neutrals={track: face for track, face in neutrals.items() if face is not None},
        warnings=tuple(extraction.warnings),
        sightings=tuple(extraction.sightings),
    )


def each_of_file(
    utterances: Generator[UtteranceFeatures, None, FileFacts],
    take: Callable[[UtteranceFeatures], object],
) -> FileFacts:
    """Hand every one of :func:`extract_file`'s ``utterances`` to ``take``; the facts at the end."""
    with closing(utterances):
        while True:
            try:
                features = next(utterances)
            except StopIteration as end:
                facts: FileFacts = end.value
                return facts
            take(features)


def assemble(
    decider: Decider,
    encoded: Sequence[EncodedUtterance],
    facts: FileFacts,
    options: PredictOptions | None = None,
) -> Analysis:
    """What was ``encoded`` of a file's utterances, in the order of their extraction, and the
    ``facts`` about it."""
    options = options or PredictOptions()
    # The user's utterances may overlap, and the one that ends first is done first.
    items = sorted(encoded, key=lambda item: (item.start_s, item.end_s))
    if not facts.silent:
        items = [item for item in items if not item.provisional]
    warnings = facts.warnings
    if options.utterances is not None:
        items, beyond = _within(items, facts.duration_s)
        if beyond:
            left_out = f"{beyond} given utterances lie beyond its end and are left out"
            warnings = (*warnings, left_out)
    return Analysis(
        source=facts.source,
        duration_s=facts.duration_s,
        tracks=facts.tracks,
        represented=decider.represent(
            items, lambda track: None if track is None else facts.neutrals.get(track)
        ),
        adapt=options.adapt,
        warnings=warnings,
        sightings=facts.sightings,
        check=options.check,
        proxy=options.proxy,
    )


def _given(path: Path | None) -> tuple[Segment, ...] | None:
    if path is None:
        return None
    segments = read_boundaries(path)
    for segment in segments:
        if segment.end_s - segment.start_s > MAX_GIVEN_S:
            raise BoundariesError(
                f"{path}: the utterance at {segment.start_s:.2f} s is longer than "
                f"{MAX_GIVEN_S:.0f} s; split it"
            )
    return tuple(segments)


def _within(
    encoded: list[EncodedUtterance], duration_s: float
) -> tuple[list[EncodedUtterance], int]:
    """The utterances that begin before ``duration_s``, cut off at it, and the number of others."""
    inside = []
    for item in encoded:
        if item.start_s < duration_s:
            inside.append(dataclasses.replace(item, end_s=min(item.end_s, duration_s)))
    return inside, len(encoded) - len(inside)
