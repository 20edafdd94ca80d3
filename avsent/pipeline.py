"""Features and a checkpoint → Result: the programming interface of avsent.

::

    import avsent
    result = avsent.predict("talk.mp4")
    for utterance in result.utterances:
        print(utterance.start_s, utterance.sentiment, utterance.score)
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from avsent.adapt import Adapt
from avsent.boundaries import read_boundaries
from avsent.checkpoints import load_checkpoint
from avsent.decision import Decider, EncodedUtterance
from avsent.errors import BoundariesError, CheckpointError, UsageError
from avsent.extraction import Extraction, ExtractionOptions
from avsent.faces.choice import FaceChoice
from avsent.networks.adaptation import MIN_UTTERANCES
from avsent.progress import ProgressHook, ignore_progress
from avsent.represented import Represented, adapted
from avsent.results import ModelInfo, Result, Track
from avsent.utterances import Segment, SpeechDetector, default_detector

__all__ = ["Adapt", "Analysis", "FaceChoice", "PredictOptions", "Predictor", "load", "predict"]

MAX_GIVEN_S = 300.0
"""A longer utterance given by the user is refused: it would be kept in memory whole."""
_TOO_FEW = {
    Adapt.speaker: f"no track has {MIN_UTTERANCES} utterances or more: not adapted",
    Adapt.corpus: f"neither voice nor face in {MIN_UTTERANCES} utterances or more: not adapted",
}


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """How a file is analysed.

    ``utterances``: a .srt, .vtt or .csv file with the utterances, instead of finding them;
    ``face``: which of several; ``analysis_rate_hz``: pictures per second in which faces are
    looked for, by default as the model was trained; ``strict``: damage is an error;
    ``landmarks``: the user's own dlib model file; ``adapt``: to each track, or to all files.
    """

    utterances: Path | None = None
    face: FaceChoice = FaceChoice.speaking
    analysis_rate_hz: float | None = None
    strict: bool = False
    landmarks: Path | None = None
    adapt: Adapt = Adapt.none


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """One file, heard and seen to its end: all but the decisions, and small."""

    source: str
    duration_s: float
    tracks: tuple[Track, ...]
    represented: tuple[Represented, ...]
    adapt: Adapt
    warnings: tuple[str, ...]


class Predictor:
    """A loaded checkpoint, ready for any number of files."""

    def __init__(self, decider: Decider, model: ModelInfo) -> None:
        self._decider = decider
        self._kept = threading.local()
        self.model = model

    @classmethod
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
        if options.adapt != Adapt.none and not self._decider.adaptable:
            raise UsageError(
                f"--adapt needs a model with experts, such as default; {self.model.name} has none: "
                "leave --adapt out, or give another --checkpoint"
            )
        extraction = Extraction(
            Path(path),
            self._decider.features,
            ExtractionOptions(
                segments=_given(options.utterances),
                face=options.face,
                analysis_rate_hz=options.analysis_rate_hz
                or self._decider.features.face.analysis_rate_hz,
                strict=options.strict,
                landmarks=options.landmarks,
            ),
            on_progress,
            self._detector(),
        )
        encoded: list[EncodedUtterance] = []
        for features in extraction:
            # Encoded at once, so that features are not kept for the length of the video.
            encoded.append(self._decider.encode(features))
        # The user's utterances may overlap, and the one that ends first is done first.
        encoded.sort(key=lambda item: (item.start_s, item.end_s))
        if not extraction.silent:
            encoded = [item for item in encoded if not item.provisional]
        warnings = list(extraction.warnings)
        if options.utterances is not None:
            encoded, beyond = _within(encoded, extraction.duration_s)
            if beyond:
                warnings.append(f"{beyond} given utterances lie beyond its end and are left out")
        return Analysis(
            source=str(path),
            duration_s=extraction.duration_s,
            tracks=tuple(Track(t.track, t.start_s, t.end_s, t.frames) for t in extraction.tracks),
            represented=self._decider.represent(encoded, extraction.neutral),
            adapt=options.adapt,
            warnings=tuple(warnings),
        )

    def conclude(self, analysis: Analysis, others: Sequence[Analysis] = ()) -> Result:
        """The decisions on one file; ``others``: the rest of its corpus, for ``Adapt.corpus``."""
        represented, warnings = analysis.represented, analysis.warnings
        if represented and analysis.adapt != Adapt.none:
            company = [one for other in others for one in other.represented]
            moved = adapted(represented, analysis.adapt, company)
            if moved is None:
                warnings = (*warnings, f"--adapt {analysis.adapt}: {_TOO_FEW[analysis.adapt]}")
            else:
                represented = moved
        return Result(
            source=analysis.source,
            duration_s=analysis.duration_s,
            model=self.model,
            tracks=analysis.tracks,
            utterances=tuple(self._decider.decide(represented)),
            warnings=warnings,
        )

    def _detector(self) -> SpeechDetector:
        """This thread's speech detector: loading it takes longer than a short clip."""
        if not hasattr(self._kept, "detector"):
            self._kept.detector = default_detector()
        detector: SpeechDetector = self._kept.detector
        return detector

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
        if options is None or options.adapt != Adapt.corpus:
            yield from map(self.conclude, analyses)
            return
        together = tuple(analyses)
        for place, analysis in enumerate(together):
            yield self.conclude(analysis, (*together[:place], *together[place + 1 :]))


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


def torch_device(device: str) -> torch.device:
    """``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UsageError: it is none of these, or not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = device.partition(":")
    if kind == "cpu" and not number:
        return torch.device("cpu")
    if kind != "cuda" or (":" in device and not number.isdecimal()):
        raise UsageError(f"unknown device {device!r}; choose auto, cpu, cuda or cuda:N")
    if int(number or 0) >= torch.cuda.device_count():
        raise UsageError(f"there is no device {device!r} here; use --device cpu")
    return torch.device(device)


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
