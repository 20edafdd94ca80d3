"""``make bench-clips``: the shipped model on videos of corpora it never saw, clip by clip.

Also: how often voice and face together are surer than both alone, and whether attention is
faithful.
"""

import argparse
import contextlib
import csv
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Report, option_parser, progress, run
from numpy.typing import NDArray

from avsent.errors import AvsentError
from avsent.extraction.extractor import UtteranceFeatures, extract_file
from avsent.extraction.features.face import PICTURE_EVERY
from avsent.extraction.utterances.segmentation import default_detector
from avsent.labels import POLARITY_LABELS
from avsent.model.checkpoint import load_checkpoint
from avsent.model.encoding import EncodedUtterance
from avsent.model.networks.experts import AudioExperts
from avsent.options import PredictOptions
from avsent.predictor import Analysis, Predictor, assemble
from avsent.progress import ignore_progress
from avsent.result.record import Result, UtteranceResult

Shares = NDArray[np.float64]

SHARE = 0.2  # of the moments of an utterance, taken away
DRAWS = 5
FAR = 0.1
JOINED = "many_utterances.mp4"
"""Others of the clips, one after the other: it counts for context alone."""
NOTE = """Nothing of these clips is in training or in any selection. They are few: each is listed.
The tool finds the utterances; a clip's label holds for all of it."""
ATTENTION_NOTE = f"""All clips. How far the probabilities move (total variation, mean over
utterances) when what had the most attention is taken away, and when as much at random is: one of at
least two other utterances of a file (random: mean over all of them); {SHARE:.0%} of the moments of
an utterance that is judged alone and unchecked (random: mean of {DRAWS} draws; of the voice: steps
of Whisper's output, prosody stays)."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = option_parser(__doc__, clips="folder of the clips")
    parser.add_argument("--checkpoint", default="default")
    return run(parser, measure, arguments)


def measure(options: argparse.Namespace) -> Iterator[Report]:
    predictor = Predictor.load(options.checkpoint)
    labelled = labelled_clips(options.clips)
    results = [predictor.predict(options.clips / row["file"]) for row in labelled]
    grid = [predictor.predict(path) for path in grid_clips(options.clips)]
    model = f"{predictor.model.name}, sha256 {predictor.model.sha256[:16]}…"
    report = Report("clips", "The shipped model on videos of other corpora", NOTE, model=model)
    rows = [
        {
            "clip": row["file"],
            "label": f"{row['emotion']} ({row['sentiment'] or 'no polarity'})",
            "seconds": f"{utterance.start_s:.1f}–{utterance.end_s:.1f}",
            "decision": utterance.sentiment,
            **{label: utterance.probabilities[label] for label in POLARITY_LABELS},
            "weight of the voice": utterance.modalities["audio"].weight,
        }
        for row, result in zip(labelled, results, strict=True)
        for utterance in result.utterances
    ]
    report.section("Labelled clips", rows)
    note = "By the mean of a clip's probabilities, weighted by the utterances' length."
    report.section("Clips", clips_right(labelled, results), note)
    utterances = [u for result in grid for u in result.utterances]
    counts = Counter(utterance.sentiment for utterance in utterances)
    figures: dict[str, Any] = {label: counts[label] for label in POLARITY_LABELS}
    figures["scores"] = ", ".join(f"{s:+.2f}" for s in sorted(u.score for u in utterances))
    report.section("GRID: neutral talkers reading commands", figures)
    probe = Probe(predictor, options.checkpoint)
    for path in sorted([*options.clips.glob("*.*"), *grid_clips(options.clips)]):
        if path.suffix != ".csv":
            progress(path.name)
            probe.measure(path)
    report.section("Voice and face together", probe.surer())
    report.section("Attention", probe.rows(), ATTENTION_NOTE)
    yield report


def labelled_clips(clips: Path) -> list[dict[str, str]]:
    """Rows of ``clips.csv`` with an emotion."""
    with (clips / "clips.csv").open(encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["emotion"]]


def grid_clips(clips: Path) -> list[Path]:
    return sorted((clips / "grid").glob("*.mp*g*"))


def clips_right(labelled: Sequence[dict[str, str]], results: Sequence[Result]) -> dict[str, int]:
    """How many clips with a polarity get their label."""
    judged = [
        bool(result.utterances) and row["sentiment"] == _decision(result)
        for row, result in zip(labelled, results, strict=True)
        if row["sentiment"]
    ]
    return {"clips with a polarity": len(judged), "get their label": sum(judged)}


def _decision(result: Result) -> str:
    """The label with the largest mean probability, weighted by the utterances' length."""
    sums = {
        label: sum(u.probabilities[label] * (u.end_s - u.start_s) for u in result.utterances)
        for label in POLARITY_LABELS
    }
    return max(sums, key=lambda label: sums[label])


class Probe:
    """What moves the decisions of a model."""

    def __init__(self, predictor: Predictor, checkpoint: str) -> None:
        self._decider, self._model = predictor.decider, load_checkpoint(checkpoint).model.eval()
        self._rng = np.random.default_rng(0)
        self._moved: dict[str, list[tuple[float, float]]] = {}
        self._surer: list[bool] = []

    def measure(self, path: Path) -> None:
        """Add the utterances of a clip; one that cannot be read adds none."""
        found: list[UtteranceFeatures] = []
        settings, none = self._decider.features, PredictOptions()
        with contextlib.suppress(AvsentError):
            facts = extract_file(
                path, settings, found.append, none, ignore_progress, default_detector()
            )
            analysis = assemble(self._decider, self._decider.encode(found), facts)
            self._others(analysis)
            features = {one.segment: one for one in found}
            for item in analysis.utterances if path.name != JOINED else ():
                self._inside(item, features[item.segment], facts.neutrals)

    def rows(self) -> list[dict[str, Any]]:
        """What taking away moves."""
        names = "most attended", "random"
        return [
            {"taken away": name, "utterances": len(moved)}
            | dict(zip(names, np.mean(moved, axis=0).tolist(), strict=True))
            for name, moved in self._moved.items()
        ]

    def surer(self) -> dict[str, int]:
        """In how many utterances a class is likelier by both than by voice and by face alone."""
        name = f"a class likelier than by voice and by face alone by over {FAR}"
        return {"utterances": len(self._surer), name: sum(self._surer)}

    def _others(self, analysis: Analysis) -> None:
        items = analysis.utterances
        without = [
            [*self._decider.decide([item for item in items if item is not other])]
            for other in items
            if len(items) > 2
        ]
        for place, result in enumerate(self._decider.decide(items) if without else ()):
            context = [row for row in result.attention.context.values() if row]
            if not context:
                continue
            others = [number for number in range(len(items)) if number != place]
            moved = {
                other: _distance(_shares(result), _shares(without[other][place - (other < place)]))
                for other in others
            }
            most = max(others, key=np.sum(context, axis=0).__getitem__)
            pair = moved[most], float(np.mean([*moved.values()]))
            self._moved.setdefault("an utterance", []).append(pair)

    def _inside(self, item: EncodedUtterance, features: UtteranceFeatures, neutrals: Any) -> None:
        whole = self._alone(item)
        if item.audio is not None and item.face is not None:
            by_one = self._alone(replace(item, face=None)), self._alone(replace(item, audio=None))
            self._surer.append(bool((whole - np.maximum(*by_one) > FAR).any()))
        for name, weights, without in (
            ("moments of the voice", item.audio_frames, self._without_steps),
            ("moments of the face", item.face_frames, self._without_frames),
        ):
            order = np.argsort([-one.weight for one in weights])
            if not order.size:
                continue
            count = round(SHARE * len(order))
            moved = []
            for some in (order, *(self._rng.permutation(order) for _ in range(DRAWS))):
                now = self._alone(without(item, features, some[:count], neutrals))
                moved.append(_distance(whole, now))
            self._moved.setdefault(name, []).append((moved[0], float(np.mean(moved[1:]))))

    def _alone(self, item: EncodedUtterance) -> Shares:
        return _shares(next(self._decider.decide([item], check=False)))

    @torch.inference_mode()
    def _without_steps(
        self, item: EncodedUtterance, features: UtteranceFeatures, steps: Any, _: Any
    ) -> EncodedUtterance:
        """No attention to these ``steps`` of Whisper's encoder."""
        voice, encoder = features.audio, self._model.encoder("audio")
        assert voice is not None
        assert isinstance(encoder, AudioExperts)
        found = encoder.whisper(torch.from_numpy(voice.power))[None]
        mask = torch.ones(found.shape[:2], dtype=torch.bool)
        mask[0, torch.from_numpy(steps.copy())] = False
        prosody = None if voice.prosody is None else torch.from_numpy(voice.prosody)[None]
        return replace(item, audio=encoder.scale(encoder.posteriors(found, mask, prosody)[0])[0])

    def _without_frames(
        self, item: EncodedUtterance, features: UtteranceFeatures, frames: Any, neutrals: Any
    ) -> EncodedUtterance:
        """The face without ``frames``; pictures are the nearest to those that stay."""
        face = features.face
        assert face is not None
        kept = np.setdiff1d(np.arange(len(face.times_s)), frames)
        seen = face.pictures
        if seen is not None:
            seen = seen[kept[::PICTURE_EVERY] // PICTURE_EVERY]
        face = replace(
            face, times_s=face.times_s[kept], landmarks=face.landmarks[kept], pictures=seen
        )
        encoded = self._decider.encode([replace(features, audio=None, face=face)])
        return replace(item, face=self._decider.encode_faces(encoded, neutrals)[0].face)


def _shares(result: UtteranceResult) -> Shares:
    return np.array([*result.probabilities.values()])


def _distance(one: Shares, other: Shares) -> float:
    return float(np.abs(one - other).sum() / 2)


if __name__ == "__main__":
    sys.exit(main())
