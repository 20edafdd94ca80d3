"""Features and a checkpoint → Result: the programming interface of avsent.

::

    import avsent
    result = avsent.predict("talk.mp4")
    for utterance in result.utterances:
        print(utterance.start_s, utterance.sentiment, utterance.score)
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avsent.errors import CheckpointError, UsageError
from avsent.extraction.extractor import FileFacts, UtteranceFeatures, extract_file
from avsent.extraction.faces.geometry import Sighting
from avsent.extraction.utterances.segmentation import SpeechDetector, default_detector
from avsent.machine import one_torch_thread, torch_device
from avsent.model.checkpoint import load_checkpoint
from avsent.model.decision import Decider, adapted
from avsent.model.encoding import EncodedUtterance
from avsent.model.networks.adaptation import MIN_UTTERANCES
from avsent.options import Adapt, PredictOptions
from avsent.progress import ProgressHook, ignore_progress
from avsent.result.record import ModelInfo, Result, Track
from avsent.text import counted

_TOO_FEW = {
    Adapt.speaker: f"no track has {MIN_UTTERANCES} utterances or more: not adapted",
    Adapt.corpus: f"neither voice nor face in {MIN_UTTERANCES} utterances or more: not adapted",
}
_THREAD = threading.local()


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """One file with its utterances encoded: all but the decisions, and small."""

    source: str
    duration_s: float
    media_tracks: dict[str, tuple[int, ...]]
    tracks: tuple[Track, ...]
    utterances: tuple[EncodedUtterance, ...]
    options: PredictOptions
    warnings: tuple[str, ...]
    sightings: tuple[Sighting, ...] = ()


def assemble(
    decider: Decider,
    encoded: Sequence[EncodedUtterance],
    facts: FileFacts,
    options: PredictOptions | None = None,
) -> Analysis:
    """The ``encoded`` utterances of a file in the order of time, and the ``facts`` about it."""
    options = options or PredictOptions()
    # The user's utterances may overlap, and the one that ends first is encoded first.
    items = sorted(encoded, key=lambda item: (item.segment.start_s, item.segment.end_s))
    if not facts.silent:
        spoken = any(not item.features.provisional for item in items)
        items = [
            i for i in items if not (i.features.provisional and (spoken or not i.features.speaks))
        ]
    warnings = facts.warnings
    if options.utterances is not None:
        end_s, count = facts.duration_s, len(items)
        items = [_cut(item, end_s) for item in items if item.segment.start_s < end_s]
        if beyond := count - len(items):
            left_out = f"{counted(beyond, 'given utterance')} beyond its end left out"
            warnings = (*warnings, left_out)
    return Analysis(
        source=facts.source,
        duration_s=facts.duration_s,
        media_tracks=facts.media_tracks,
        tracks=tuple(Track(t.track, t.start_s, t.end_s, t.frames) for t in facts.tracks),
        utterances=decider.encode_faces(items, facts.neutrals),
        options=options,
        warnings=warnings,
        sightings=facts.sightings,
    )


def _cut(item: EncodedUtterance, end_s: float) -> EncodedUtterance:
    segment = replace(item.segment, end_s=min(item.segment.end_s, end_s))
    return replace(item, features=replace(item.features, segment=segment))


def adapt_together(analyses: Sequence[Analysis], adapt: Adapt) -> list[Analysis]:
    """The files with their utterances measured from the mean of each track (one file) or of all
    together, and a warning in each file in which that moved none."""
    everything = [item for analysis in analyses for item in analysis.utterances]
    moved = zip(*adapted(everything, adapt), strict=True)
    done = []
    for analysis in analyses:
        own = list(itertools.islice(moved, len(analysis.utterances)))
        warnings = analysis.warnings
        if own and not any(reached for _, reached in own):
            warnings = (*warnings, f"--adapt {adapt}: {_TOO_FEW[adapt]}")
        utterances = tuple(item for item, _ in own)
        done.append(replace(analysis, utterances=utterances, warnings=warnings))
    return done


class Predictor:
    """A loaded checkpoint, ready for any number of files."""

    def __init__(self, decider: Decider, model: ModelInfo) -> None:
        self.decider = decider
        self.model = model

    @classmethod
    @one_torch_thread()
    def load(cls, checkpoint: str | Path = "default", *, device: str = "auto") -> Predictor:
        """Load a shipped checkpoint by name, or any by the path of its folder.

        Raises:
            CheckpointError: it is unknown, damaged or made for another version.
            UsageError: there is no such device.
        """
        where = torch_device(device)
        loaded = load_checkpoint(checkpoint)
        config = loaded.config
        ready = [name for name in config.model.modalities if config.model.vectors.of(name)]
        if ready:
            raise CheckpointError(
                f"{checkpoint}: was trained on ready-made vectors ({', '.join(ready)}), which no "
                "video has; use 'avsent evaluate', or train on raw videos"
            )
        info = ModelInfo(config.name, config.weights_sha256, config.model.labels)
        return cls(Decider(loaded, where), info)

    def predict(
        self,
        path: str | Path,
        *,
        options: PredictOptions | None = None,
        on_progress: ProgressHook = ignore_progress,
    ) -> Result:
        """The sentiment of every utterance of one media file.

        Raises:
            MediaError: the file cannot be read. BoundariesError: the utterances cannot.
            UsageError: the model cannot be adapted.
        """
        return self.conclude(self.analyse(path, options=options, on_progress=on_progress))

    def analyse(
        self,
        path: str | Path,
        *,
        options: PredictOptions | None = None,
        on_progress: ProgressHook = ignore_progress,
    ) -> Analysis:
        """All of :meth:`predict` up to the decisions; raises what it raises."""
        options = options or PredictOptions()
        if options.adapt != Adapt.none:
            self.require_adaptable()
        encoded: list[EncodedUtterance] = []

        def take(features: UtteranceFeatures) -> None:
            # Encoded at once, so that features are not kept for the length of the video.
            encoded.extend(self.decider.encode([features]))

        facts = extract_file(path, self.decider.features, take, options, on_progress, _detector())
        return assemble(self.decider, encoded, facts, options)

    def conclude(self, analysis: Analysis, others: Sequence[Analysis] = ()) -> Result:
        """The decisions on one file; ``others``: the rest of its corpus, for ``Adapt.corpus``."""
        adapt = analysis.options.adapt
        if adapt != Adapt.none:
            corpus = others if adapt == Adapt.corpus else ()
            analysis = adapt_together([analysis, *corpus], adapt)[0]
        return self.decide(analysis)

    def decide(self, analysis: Analysis) -> Result:
        """The decisions on one file, whose utterances are adapted where they are to be."""
        check, proxy = analysis.options.check, analysis.options.proxy
        return Result(
            source=analysis.source,
            duration_s=analysis.duration_s,
            media_tracks=analysis.media_tracks,
            model=self.model,
            tracks=analysis.tracks,
            utterances=tuple(self.decider.decide(analysis.utterances, check=check, proxy=proxy)),
            warnings=analysis.warnings,
        )

    def require_adaptable(self) -> None:
        """Raise UsageError where there is no mean that utterances could be measured from."""
        if not self.decider.adaptable:
            raise UsageError(
                f"--adapt needs a model with experts, such as default; {self.model.name} has none: "
                "leave --adapt out, or give another --checkpoint"
            )

    def predict_many(
        self,
        paths: Iterable[str | Path],
        *,
        options: PredictOptions | None = None,
        on_progress: ProgressHook = ignore_progress,
    ) -> Iterator[Result]:
        """The result of each of ``paths``, one after the other; raises at the first bad file.

        With ``Adapt.corpus`` all of them are analysed before the first result.
        """
        analyses = (self.analyse(path, options=options, on_progress=on_progress) for path in paths)
        if options is not None and options.adapt == Adapt.corpus:
            yield from map(self.decide, adapt_together(list(analyses), Adapt.corpus))
        else:
            yield from map(self.conclude, analyses)


def _detector() -> SpeechDetector:
    """This thread's speech detector: loading it takes longer than a short clip."""
    if not hasattr(_THREAD, "detector"):
        _THREAD.detector = default_detector()
    detector: SpeechDetector = _THREAD.detector
    return detector


def load(name: str | Path = "default", *, device: str = "auto") -> Predictor:
    """See :meth:`Predictor.load`."""
    return Predictor.load(name, device=device)


def predict(
    path: str | Path,
    *,
    checkpoint: str | Path = "default",
    device: str = "auto",
    options: PredictOptions | None = None,
    on_progress: ProgressHook = ignore_progress,
) -> Result:
    """Load ``checkpoint`` and predict one file; see :meth:`Predictor.predict`."""
    predictor = Predictor.load(checkpoint, device=device)
    return predictor.predict(path, options=options, on_progress=on_progress)
