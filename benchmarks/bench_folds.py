"""``make bench-folds``: the shipped models' recipe on RAVDESS's five published folds.

For each fold the recipe runs anew on the actors of the other four: members by cross-fitting,
fusion, temperature; the fold's own actors are judged once, at the end.
"""

import argparse
import dataclasses
import functools
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Report, Spread, mean, option_parser, run

from avsent.labels import EMOTIONS, POLARITY_LABELS
from avsent.model.networks.adaptation import PRIOR
from avsent.model.networks.config import ExpertsConfig, FusionConfig
from avsent.model.networks.target import TargetModel
from recipes.card import adapted_scores, modality_scores, scores_in_context, summed
from recipes.corpora import FOLDS, load_clips, load_stills, of_actors
from recipes.default_models import STILLS_HELD, Timer
from recipes.fusion import (
    FusionTraining,
    LabelledPosteriors,
    Pool,
    Posteriors,
    by_speaker,
    clip_posteriors,
    cross_fitted,
    ensemble,
    fuse,
    out_of_fold_posteriors,
    split_pool,
    still_posteriors,
    vote_streams,
)
from recipes.members import Workspace
from recipes.pixels import pixel_network
from recipes.scores import Scores, majority

GROUPS_PER_FOLD = 4
SMALL = 0.17  # the landmarks of a face 25 pixels between the eyes instead of 149
LABELS = {"polarity": POLARITY_LABELS, "8 emotions": EMOTIONS}
ABLATION_SEEDS = 2
METRICS = ("accuracy", "balanced", "ece")
OWN = 11  # log probabilities of one stream: eight emotions, three polarities
STREAMS = {
    "without the spectrogram": ("audio", slice(0, OWN)),
    "without prosody": ("audio", slice(OWN, 2 * OWN)),
    "without the still face": ("face", slice(0, OWN)),
    "without movement": ("face", slice(OWN, 2 * OWN)),
}
SETTINGS = {
    "without votes: the network alone": FusionTraining(vote=False),
    "no modality ever missing in training": FusionTraining(missing=0.0),
    **{f"head: {n}": FusionTraining(fusion=FusionConfig(n)) for n in ("concat", "fbp", "tfn")},
}
NOTE = """Folds of Luna-Jiménez et al. 2022, speaker-independent. Experts, fusion, temperature are
made anew for every fold; four groups of training actors cross-fit the members, one validates the
fusion. FER2013's training part teaches the still face, its public test part the fusion. RAVDESS
has no pictures here: the pixel network has no vote. Means over folds ± sd over them of the means
over seeds. Ablation: one thing changed, the fusion trained anew, first two seeds."""

Figures = dict[str, float]
Line = tuple[str, Scores, Figures]  # name, scores, further figures


def main(arguments: Sequence[str] | None = None) -> int:
    parser = option_parser(__doc__, data="the shared folder data")
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2)
    return run(parser, measure, arguments)


def measure(options: argparse.Namespace) -> Iterator[Report]:
    """What the folds share is made first; then they are measured side by side."""
    torch.set_num_threads(1)
    workspace = Workspace(options.data, options.cache, options.jobs, Timer())
    load_clips(workspace.data, workspace.cache, shrink=SMALL)
    config = ExpertsConfig(pixels=pixel_network(workspace).config)
    for fold in range(len(FOLDS)):
        cross_fitted(config, groups_of(fold), pixel_network(workspace), 1 + fold, workspace)
    workspace.say("members")
    figures: dict[str, list[Figures]] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workspace.jobs, mp_context=context) as pool:
        waiting = [
            pool.submit(measure_fold, fold, options.data, options.cache, tuple(options.seeds))
            for fold in range(len(FOLDS))
        ]
        for done in as_completed(waiting):
            for key, values in done.result().items():
                figures.setdefault(key, []).extend(values)
    report = Report("folds", "The shipped models' recipe on RAVDESS's five folds", NOTE)
    report.facts["seeds"] = str(options.seeds)
    report.figures["runs"] = figures
    for labels in LABELS:
        rows = []
        for key, values in figures.items():
            if key.startswith(f"{labels}, "):
                row: dict[str, Any] = {"": key.removeprefix(f"{labels}, ")}
                folds = [[v for v in values if v["fold"] == fold] for fold in range(len(FOLDS))]
                for metric in [m for m in METRICS if m in values[0]]:
                    row[metric] = Spread(mean([one[metric] for one in fold]) for fold in folds)
                rows.append(row)
        report.section(labels, rows)
    yield report


def measure_fold(
    fold: int, data: Path, cache: Path, seeds: tuple[int, ...]
) -> dict[str, list[Figures]]:
    """All figures of a fold, by label set and name; a line for each seed."""
    torch.set_num_threads(1)
    workspace = Workspace(data, cache, 1, Timer())
    known = FoldKnown(fold, workspace)
    found: dict[str, list[Figures]] = {}
    for name, labels in LABELS.items():
        for place, seed in enumerate(seeds):
            lines = [*recipe_scores(known, labels, seed)]
            if place < ABLATION_SEEDS:
                lines += ablation_scores(known, labels, seed)
            for key, scores, more in lines:
                line = {"fold": fold, "seed": seed, "accuracy": scores.accuracy}
                line |= {"balanced": scores.balanced_accuracy, **more}
                found.setdefault(f"{name}, {key}", []).append(line)
            workspace.say(f"fold {fold + 1}, {name}, seed {seed}: measured")
    return found


def groups_of(fold: int) -> list[tuple[int, ...]]:
    """The training actors of a fold in groups of about five, men and women in each."""
    actors = [a for a in range(1, 25) if a not in FOLDS[fold]]
    ordered = sorted(actors, key=lambda actor: (actor % 2, actor))
    return [tuple(sorted(ordered[k::GROUPS_PER_FOLD])) for k in range(GROUPS_PER_FOLD)]


class FoldKnown:
    """Posteriors of the experts of one fold for people they were not trained on: to learn from,
    to validate, to test; the test clips also with a small face, and by a single member."""

    def __init__(self, fold: int, workspace: Workspace) -> None:
        pixels = pixel_network(workspace)
        config = ExpertsConfig(pixels=pixels.config)
        groups = groups_of(fold)
        experts = cross_fitted(config, groups, pixels, 1 + fold, workspace)
        everyone, clips = ensemble(experts), load_clips(workspace.data, workspace.cache)
        small = load_clips(workspace.data, workspace.cache, shrink=SMALL)
        test = of_actors(clips, FOLDS[fold])
        self.clips: LabelledPosteriors = out_of_fold_posteriors(
            config, experts, groups, clips, seed=0
        )
        self.validation = tuple(f"actor {actor}" for actor in groups[-1])
        self.stills = still_posteriors(
            config, everyone, load_stills(workspace.data, workspace.cache, "valid")
        )
        self.test = clip_posteriors(config, everyone, test)
        self.test_small = clip_posteriors(config, everyone, of_actors(small, FOLDS[fold]))
        self.test_single = clip_posteriors(config, experts[0], test)


def recipe_scores(known: FoldKnown, labels: tuple[str, ...], seed: int) -> Iterator[Line]:
    """What ships."""
    clips, test = known.clips.pool(labels), known.test.pool(labels)
    truth = (pool.labels[pool.labels >= 0] for pool in (clips, test))
    yield "majority class", majority(*truth, len(labels)), {}
    model, temperature = _train(known, labels, FusionTraining(), seed)
    judged = modality_scores(model, test, temperature)
    yield "voice and face", judged.both, {"ece": judged.calibration_error}
    yield "face alone", judged.face, {}
    yield "voice alone", judged.audio, {}
    shrunk = modality_scores(model, known.test_small.pool(labels), temperature)
    yield "voice and face, landmarks shrunk to 17%", shrunk.both, {}
    yield "face alone, landmarks shrunk to 17%", shrunk.face, {}
    for kind, value in scores_in_context(model, test, seed).items():
        yield f"company: {kind}", value, {}
    for count in (3, 5, 10):
        for title, prior in (("plain", None), ("adapted", PRIOR)):
            value = adapted_scores(model, test, count, prior, seed)
            yield f"{count} utterances of a speaker, {title}", value, {}
    single = modality_scores(model, known.test_single.pool(labels), temperature)
    for kind in ("both", "face", "audio"):
        yield f"ablation: one member of each expert, {kind}", getattr(single, kind), {}


def ablation_scores(known: FoldKnown, labels: tuple[str, ...], seed: int) -> Iterator[Line]:
    """The recipe with one thing changed."""
    test = known.test.pool(labels)
    for key, value in summed(test, vote_streams(labels)).items():
        yield f"ablation: nothing learnt, log probabilities summed, {key}", value, {}
    changes: dict[str, Callable[[Pool], Pool]] = {
        name: functools.partial(_without, modality=modality, columns=columns)
        for name, (modality, columns) in STREAMS.items()
    }
    for name in (*STREAMS, *SETTINGS):
        change = changes.get(name, lambda pool: pool)
        model, temperature = _train(
            known, labels, SETTINGS.get(name, FusionTraining()), seed, change
        )
        judged = modality_scores(model, change(test), temperature)
        for kind in ("both", "face", "audio"):
            yield f"ablation: {name}, {kind}", getattr(judged, kind), {}


def _without(pool: Pool, modality: str, columns: slice) -> Pool:
    """``pool`` as if a stream of experts (its ``columns`` in ``modality``) did not exist."""
    versions = []
    for said in pool.versions:
        vectors = {"audio": said.audio.copy(), "face": said.face.copy()}
        vectors[modality][:, columns] = np.nan
        versions.append(Posteriors(**vectors))
    return dataclasses.replace(pool, versions=tuple(versions))


def _train(
    known: FoldKnown,
    labels: tuple[str, ...],
    settings: FusionTraining,
    seed: int,
    changed: Callable[[Pool], Pool] = lambda pool: pool,
) -> tuple[TargetModel, float]:
    clips = changed(known.clips.pool(labels))
    stills = split_pool(changed(known.stills.pool(labels)), STILLS_HELD, 0)
    found = fuse(by_speaker(clips, known.validation), stills, settings, seed)
    return found.model, found.calibration.temperature


if __name__ == "__main__":
    sys.exit(main())
