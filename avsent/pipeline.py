"""Features and a checkpoint → Result: the programming interface of avsent.

::

    import avsent
    result = avsent.predict("talk.mp4")
    for utterance in result.utterances:
        print(utterance.start_s, utterance.sentiment, utterance.score)
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch

from avsent.adapt import Adapt
from avsent.analysis import (
    MAX_GIVEN_S,
    Analysis,
    PredictOptions,
    assemble,
    each_of_file,
    extract_file,
)
from avsent.checkpoints import load_checkpoint
from avsent.decision import Decider
from avsent.encoding import EncodedUtterance
from avsent.errors import CheckpointError, UsageError
from avsent.faces.choice import FaceChoice
from avsent.networks.adaptation import MIN_UTTERANCES
from avsent.progress import ProgressHook, ignore_progress
from avsent.represented import adapted
from avsent.results import ModelInfo, Result
from avsent.speech import SpeechDetector, default_detector

__all__ = [
    "MAX_GIVEN_S",
    "Adapt",
    "Analysis",
    "FaceChoice",
    "PredictOptions",
    "Predictor",
    "load",
    "predict",
]

_TOO_FEW = {
    Adapt.speaker: f"no track has {MIN_UTTERANCES} utterances or more: not adapted",
    Adapt.corpus: f"neither voice nor face in {MIN_UTTERANCES} utterances or more: not adapted",
}


class Predictor:
    """A loaded checkpoint, ready for any number of files."""

    def __init__(self, decider: Decider, model: ModelInfo) -> None:
        self.decider = decider
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
        if options.adapt != Adapt.none:
            self.require_adaptable()
        utterances = extract_file(
            path, self.decider.features, options, on_progress, self._detector()
        )
        encoded: list[EncodedUtterance] = []
        # Encoded at once, so that features are not kept for the length of the video.
        facts = each_of_file(utterances, lambda one: encoded.append(self.decider.encode(one)))
        return assemble(self.decider, encoded, facts, options)

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
            utterances=tuple(
                self.decider.decide(represented, check=analysis.check, proxy=analysis.proxy)
            ),
            warnings=warnings,
        )

    def require_adaptable(self) -> None:
        """Raise UsageError where there is no mean that utterances could be measured from."""
        if not self.decider.adaptable:
            raise UsageError(
                f"--adapt needs a model with experts, such as default; {self.model.name} has none: "
                "leave --adapt out, or give another --checkpoint"
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
