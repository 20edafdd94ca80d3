"""Every figure of one of RAVDESS's folds: the recipe's own, and those of its ablation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from avsent.model.networks.adaptation import PRIOR
from avsent.model.networks.config import FusionConfig
from avsent.model.networks.target import TargetModel
from avsent.training.metrics import Scores, majority
from recipes.card import Judged, adapted_scores, in_company, judge, summed, without_stream
from recipes.default_models import STILLS_HELD
from recipes.fusion import Fusing, Known, Pool, by_speaker, fuse, split_pool, vote_streams

Figures = dict[str, float]
OWN = 11
"""Log probabilities of one stream: eight emotions, three polarities."""
STREAMS = {
    "without the spectrogram": ("audio", slice(0, OWN)),
    "without prosody": ("audio", slice(OWN, 2 * OWN)),
    "without the still face": ("face", slice(0, OWN)),
    "without movement": ("face", slice(OWN, 2 * OWN)),
}
SETTINGS = {
    "without votes: the network alone": Fusing(vote=False),
    "no modality ever missing in training": Fusing(missing=0.0),
    "head: concat": Fusing(fusion=FusionConfig("concat")),
    "head: fbp": Fusing(fusion=FusionConfig("fbp")),
    "head: tfn": Fusing(fusion=FusionConfig("tfn")),
}


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class FoldKnown:
    """What the experts of one fold say of strangers: to learn from, to validate, to test; the test
    clips also with landmarks of a small face, and as a single member judges them."""

    clips: Known
    validation: tuple[str, ...]
    stills: Known
    test: Known
    test_small: Known
    test_single: Known


def recipe_figures(known: FoldKnown, labels: tuple[str, ...], seed: int) -> Iterator[
    tuple[str, Figures]
]:  # fmt: skip
    """Name and figures of what ships."""
    clips, test = known.clips.pool(labels), known.test.pool(labels)
    base = majority(clips.labels[clips.labels >= 0], test.labels[test.labels >= 0], len(labels))
    yield "majority class", figures(base)
    model, temperature = _learn(known, labels, Fusing(), seed)
    judged = judge(model, test, temperature)
    yield "voice and face", figures(judged.both) | {"ece": judged.calibration_error}
    yield "face alone", figures(judged.face)
    yield "voice alone", figures(judged.audio)
    shrunk = judge(model, known.test_small.pool(labels), temperature)
    yield "voice and face, landmarks shrunk to 17%", figures(shrunk.both)
    yield "face alone, landmarks shrunk to 17%", figures(shrunk.face)
    for kind, value in in_company(model, test, seed).items():
        yield f"company: {kind}", figures(value)
    for count in (3, 5, 10):
        for title, prior in (("plain", None), ("adapted", PRIOR)):
            value = adapted_scores(model, test, count, prior, seed)
            yield f"{count} utterances of a speaker, {title}", figures(value)
    single = judge(model, known.test_single.pool(labels), temperature)
    yield from _ablated("one member of each expert", single)


def ablation_figures(known: FoldKnown, labels: tuple[str, ...], seed: int) -> Iterator[
    tuple[str, Figures]
]:  # fmt: skip
    """Name and figures of the recipe with one thing changed."""
    test = known.test.pool(labels)
    for key, value in summed(test, vote_streams(labels)).items():
        yield f"ablation: nothing learnt, log probabilities summed, {key}", figures(value)
    for name, (modality, columns) in STREAMS.items():

        def lacking(pool: Pool, modality: str = modality, columns: slice = columns) -> Pool:
            return without_stream(pool, modality, columns)

        model, temperature = _learn(known, labels, Fusing(), seed, lacking)
        yield from _ablated(name, judge(model, lacking(test), temperature))
    for name, settings in SETTINGS.items():
        model, temperature = _learn(known, labels, settings, seed)
        yield from _ablated(name, judge(model, test, temperature))


def figures(scores: Scores) -> Figures:
    """The two that are reported."""
    return {"accuracy": scores.accuracy, "balanced": scores.balanced_accuracy}


def _ablated(name: str, judged: Judged) -> Iterator[tuple[str, Figures]]:
    for kind in ("both", "face", "audio"):
        yield f"ablation: {name}, {kind}", figures(getattr(judged, kind))


def _learn(
    known: FoldKnown,
    labels: tuple[str, ...],
    settings: Fusing,
    seed: int,
    changed: Callable[[Pool], Pool] = lambda pool: pool,
) -> tuple[TargetModel, float]:
    clips = changed(known.clips.pool(labels))
    stills = split_pool(changed(known.stills.pool(labels)), STILLS_HELD, 0)
    found = fuse(by_speaker(clips, known.validation), stills, settings, seed)
    return found.model, found.calibration.temperature
