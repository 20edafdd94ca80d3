"""``make bench-folds``: the shipped models' recipe on RAVDESS's five published folds.

For each fold the recipe runs anew: members by cross-fitting on the actors of the other four folds
and on all foreign corpora and stills, fusion. The fold's own actors are judged once,
at the end. Results of folds are kept in ``--cache``.
"""

import argparse
import contextlib
import copy
import dataclasses
import functools
import itertools
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from harness import Cache, Report, Spread, changed, mean, option_parser, positive, progress, run
from torch import Tensor

from avsent.labels import EMOTIONS, POLARITY_LABELS
from avsent.model.networks.adaptation import PRIOR
from avsent.model.networks.config import ExpertsConfig, FusionConfig
from avsent.model.networks.fusion import Embedded, HmtlHead
from recipes import default_models as recipe
from recipes.card import ModalityScores, adapted_scores, modality_scores, scores_in_context, summed
from recipes.fusion import FusionTraining, Pool, Pools, fuse
from recipes.members import FACE, Workspace
from recipes.posteriors import Experts, Material, Stream, cross_fitted, ensemble, streams_of
from recipes.ravdess import FOLDS
from recipes.scores import Scores, majority
from recipes.stills import CORPORA, load_stills
from recipes.voice_members import VoiceTraining
from recipes.voices import FOREIGN

VERSION = 4  # raise it when the same options give other figures
LABELS = {"polarity": POLARITY_LABELS, "8 emotions": EMOTIONS}
ALONE = {"face alone": "face", "voice alone": "audio"}
METRICS = ("accuracy", "balanced", *ALONE)
SEEN = ("whisper", "prosody", "still", "movement")  # streams that RAVDESS has: no pictures
ATTENTION = {"without self-attention": (2, 3), "without bi-modal attention": (4, 5)}
"""Which sixths of the vector that HMTL's classifier sees."""
NOTE = """Folds of Luna-Jiménez et al. 2022, speaker-independent. Experts and fusion are made anew
for every fold: groups of its training actors cross-fit the members, each also without one foreign
corpus; the last group validates the fusion. RAVDESS has no pictures here: the pixel network has no
say in these figures. Alone: balanced accuracy. Means over folds ± sd over them of the means over
seeds. Ablation: the fusion trained anew with one thing changed, without a modality check, first
seeds only; concat that starts from the experts is HMTL without both attentions."""

Figures = dict[str, Any]
Line = tuple[str, Scores, Figures]  # name, scores, further figures


def main(arguments: Sequence[str] | None = None) -> int:
    parser = option_parser(__doc__, data="the shared folder data")
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ablation-seeds", type=int, default=1, help="the first so many")
    parser.add_argument("--ablation-folds", type=int, nargs="*", help="default: --folds")
    parser.add_argument("--ablation-labels", nargs="+", default=[*LABELS], choices=LABELS)
    numbers = range(1, len(FOLDS) + 1)
    parser.add_argument("--folds", type=int, nargs="+", default=[*numbers], choices=numbers)
    parser.add_argument("--groups", type=positive, default=6, help="members of each expert")
    parser.add_argument("--videos", type=positive, default=6000, help="that teach a fusion")
    parser.add_argument("--jobs", type=positive, default=2, help="folds side by side")
    parser.add_argument("--quick", action="store_true", help="only print, write no report")
    return run(parser, measure, arguments)


def measure(options: argparse.Namespace) -> Iterator[Report]:
    """What the folds share is made first; then they are measured side by side."""
    torch.set_num_threads(1)
    workspace = Workspace(options.data, options.cache, 1, recipe.Timer())
    pixels = recipe.pixel_network(workspace)
    if options.jobs > 1:
        recipe.load_material(ExpertsConfig(pixels=pixels.config), workspace)  # fills the cache
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
        results = [*pool.map(measure_fold, options.folds, itertools.repeat(options))]
    figures: dict[str, list[Figures]] = {}
    for result in results:
        for key, values in result.items():
            figures.setdefault(key, []).extend(values)
    report = Report("folds", "The shipped models' recipe on RAVDESS's five folds", NOTE)
    for name in ("folds", "seeds", "ablation_folds", "ablation_labels", "groups", "videos"):
        report.facts[name] = str(getattr(options, name))
    report.figures["runs"] = figures
    for labels in LABELS:
        rows = []
        for key, values in figures.items():
            if key.startswith(f"{labels}, "):
                row: dict[str, Any] = {"": key.removeprefix(f"{labels}, ")}
                known = sorted({value["fold"] for value in values})
                folds = [[v for v in values if v["fold"] == fold] for fold in known]
                for metric in [m for m in METRICS if m in values[0]]:
                    row[metric] = Spread(mean([one[metric] for one in fold]) for fold in folds)
                rows.append(row)
        report.section(labels, rows)
    yield report


def measure_fold(fold: int, options: argparse.Namespace) -> dict[str, list[Figures]]:
    """All figures of a fold, counted from 1, by label set and name; a line for each seed."""
    torch.set_num_threads(1)
    kept = Cache(options.cache / "bench" / "folds.jsonl")
    material = cache(functools.partial(_material, fold, options))
    ablated = fold in (options.folds if options.ablation_folds is None else options.ablation_folds)
    runs = [("recipe", seed) for seed in options.seeds]
    runs += [("ablation", seed) for seed in options.seeds[: options.ablation_seeds * ablated]]
    found: dict[str, list[Figures]] = {}
    for name, (part, seed) in itertools.product(LABELS, runs):
        if part == "ablation" and name not in options.ablation_labels:
            continue
        key = {"version": VERSION, "fold": fold, "labels": name, "part": part, "seed": seed}
        key |= {"groups": options.groups, "videos": options.videos}
        key["recipe"] = repr((VoiceTraining(), FACE, FusionTraining()))
        compute = functools.partial(_measured, material, name, part, options.videos, seed)
        for title, figures in kept.get_or_run(key, compute)["lines"]:
            line = {"fold": fold, "seed": seed, **figures}
            found.setdefault(f"{name}, {title}", []).append(line)
        progress(f"fold {fold}, {name}, {part}, seed {seed}")
    return found


def _material(fold: int, options: argparse.Namespace, name: str) -> tuple[dict[str, Pools], Pool]:
    """The parts that train and validate a fusion, and the fold's own actors."""
    known, labels = _fold(fold, options.groups, options.data, options.cache), LABELS[name]
    parts = known.pools(labels).split(known.validation, recipe.HELD, seed=0)
    return parts, known.test(labels)


def _measured(
    material: Callable[[str], Any], name: str, part: str, videos: int, seed: int
) -> Figures:
    lines = []
    for title, scores, more in PARTS[part](*material(name), videos, seed):
        figures = {"accuracy": scores.accuracy, "balanced": scores.balanced_accuracy, **more}
        lines.append((title, figures))
    return {"lines": lines}


@cache
def _fold(fold: int, groups: int, data: Path, folder: Path) -> "Fold":
    return Fold(fold, groups, Workspace(data, folder, 1, recipe.Timer()))


class Fold:
    """The experts of a fold, and what they say of people that they were not trained on."""

    def __init__(self, fold: int, groups: int, workspace: Workspace) -> None:
        pixels = recipe.pixel_network(workspace)
        self._workspace, self._actors = workspace, FOLDS[fold - 1]
        self._config = ExpertsConfig(pixels=pixels.config)
        self._material: Material = recipe.load_material(self._config, workspace)
        others = [actor for actor in range(1, 25) if actor not in self._actors]
        ordered = sorted(others, key=lambda actor: (actor % 2, actor))  # women, then men
        self._groups = [tuple(sorted(ordered[k::groups])) for k in range(groups)]
        self._experts: list[Experts] = cross_fitted(
            self._config,
            self._groups,
            recipe.CORPORA_OF_VOICES,
            self._material,
            pixels,
            workspace,
            fold,
        )
        self._everyone = ensemble(self._experts)
        self.validation = tuple(f"actor {actor}" for actor in self._groups[-1])

    def pools(self, labels: tuple[str, ...]) -> Pools:
        """What the fusion learns from, as for the shipped models."""
        config, material = self._config, self._material
        pairs = enumerate(zip(self._experts, self._groups, strict=True))
        clips = recipe.merged(
            [recipe.clip_pool(config, one, material, group, labels, k) for k, (one, group) in pairs]
        )
        foreign = [
            recipe.voice_pool(config, one, material, corpus, labels)
            for one, corpus in zip(self._experts, FOREIGN, strict=False)
        ]
        data, cache = self._workspace.data, self._workspace.cache
        valid = {corpus: load_stills(data, cache, corpus, "valid") for corpus in CORPORA}
        stills = [recipe.still_pool(config, self._everyone, v, c, labels) for c, v in valid.items()]
        voices = recipe.merged([dataclasses.replace(clips, face=(), noisy={}), *foreign])
        return Pools(clips, voices, recipe.merged(stills))

    def test(self, labels: tuple[str, ...]) -> Pool:
        """The fold's own actors."""
        return recipe.clip_pool(
            self._config, self._everyone, self._material, self._actors, labels, 99, copies=0
        )


def recipe_scores(parts: dict[str, Pools], test: Pool, videos: int, seed: int) -> Iterator[Line]:
    """What ships."""
    known, truth = parts["train"].clips.labelled().labels, test.labelled().labels
    yield "majority class", majority(known, truth, len(test.names)), {}
    trained = fuse(parts, FusionTraining(videos=videos), seed)
    judged = modality_scores(trained.model, test, trained.calibration.temperature)
    yield _line("voice and face", judged)
    yield "face alone", judged.face, {}
    yield "voice alone", judged.audio, {}
    for kind, value in scores_in_context(trained.model, test, seed).items():
        yield f"company: {kind}", value, {}
    for count in (3, 5, 10):
        for title, prior in (("plain", None), ("adapted", PRIOR)):
            value = adapted_scores(trained.model, test, count, prior, seed)
            yield f"{count} utterances of a speaker, {title}", value, {}


def ablation_scores(parts: dict[str, Pools], test: Pool, videos: int, seed: int) -> Iterator[Line]:
    """The recipe with one thing changed."""
    alone = {name: summed(test, (m,)).balanced_accuracy for name, m in ALONE.items()}
    yield "ablation: log probabilities summed, no training", summed(test), alone
    plain = FusionTraining(videos=videos, check=False)
    new = changed(plain, start=False)
    settings = {
        "nothing changed": plain,
        "only the start, no training": changed(
            plain, optimiser={"learning_rate": 0.0, "epochs": 1}
        ),
        "not started from the experts": new,
        "no modality ever missing in training": changed(plain, missing=0.0),
        "head: concat": changed(plain, fusion=FusionConfig("concat")),
        **{
            f"head: {name}, not started from the experts": changed(new, fusion=FusionConfig(name))
            for name in ("concat", "fbp", "tfn")
        },
    }
    streams = streams_of(test.names)
    without = {f"without the stream {name}": streams[name] for name in SEEN}
    for name in (*settings, *ATTENTION, *without):
        own, judged = parts, test
        if name in without:
            own = copy.deepcopy(parts)
            for pools in own.values():
                for pool in (pools.clips, pools.voices, pools.stills):
                    _remove(pool, without[name])
            judged = copy.deepcopy(test)
            _remove(judged, without[name])
        with _zeros(ATTENTION.get(name, ())):
            trained = fuse(own, settings.get(name, plain), seed)
            found = modality_scores(trained.model, judged, trained.calibration.temperature)
        yield _line(f"ablation: {name}", found)


PARTS = {"recipe": recipe_scores, "ablation": ablation_scores}


def _line(name: str, judged: ModalityScores) -> Line:
    alone = {title: getattr(judged, m).balanced_accuracy for title, m in ALONE.items()}
    return name, judged.both, alone


@contextlib.contextmanager
def _zeros(parts: Sequence[int]) -> Iterator[None]:
    """HMTL's classifier sees zeros in these sixths of its input: two embeddings, two results of
    self-attention, two of bi-modal attention."""
    fuse_all = HmtlHead.fuse

    def fuse_some(head: HmtlHead, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        fused, context = fuse_all(head, embedded)
        sixths = fused.chunk(6, dim=-1)
        kept = [one * (place not in parts) for place, one in enumerate(sixths)]
        return torch.cat(kept, dim=-1), context

    with mock.patch.object(HmtlHead, "fuse", fuse_some):
        yield


def _remove(pool: Pool, stream: Stream) -> None:
    """Make ``pool`` as if an expert did not exist."""
    for version in pool.audio if stream.modality == "audio" else pool.face:
        version[:, stream.own] = np.nan


if __name__ == "__main__":
    sys.exit(main())
