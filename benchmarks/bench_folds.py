"""The shipped models' recipe on RAVDESS's five published folds: ``make bench-folds``.

For each fold the recipe runs anew on the actors of the other four: members by cross-fitting,
fusion, temperature; the fold's own actors are judged once, at the end. One dated report.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import torch
from experiments import host_block, mean_sd, table
from folds_figures import Figures, FoldKnown, ablation_figures, recipe_figures

from avsent.labels import EMOTIONS, POLARITY_LABELS
from avsent.model.networks.config import ExpertsConfig
from recipes.corpora import FOLDS, load_clips, load_stills, of_actors
from recipes.default_models import Timer
from recipes.fusion import cross_fitted, know_clips, know_stills, know_strangers, together
from recipes.members import Workshop
from recipes.pixels import pixel_network

GROUPS_PER_FOLD = 4
SMALL = 0.17
"""The landmarks of a face 25 pixels between the eyes instead of 149."""
LABELS = {"polarity": POLARITY_LABELS, "8 emotions": EMOTIONS}
ABLATION_SEEDS = 2
Found = dict[str, list[Figures]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(1)
    shop = Workshop(given.data, given.cache, given.jobs, Timer())
    # What the folds share is made before they are measured side by side.
    load_clips(shop.data, shop.cache, shrink=SMALL)
    config = ExpertsConfig(pixels=pixel_network(shop).config)
    for fold in range(len(FOLDS)):
        cross_fitted(config, groups_of(fold), pixel_network(shop), 1 + fold, shop)
    shop.say("members")
    figures: Found = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(shop.jobs, mp_context=context) as pool:
        waiting = [
            pool.submit(measured, fold, given.data, given.cache, tuple(given.seeds))
            for fold in range(len(FOLDS))
        ]
        for done in as_completed(waiting):
            for key, values in done.result().items():
                figures.setdefault(key, []).extend(values)
    given.out.mkdir(parents=True, exist_ok=True)
    stem = given.out / f"{datetime.date.today().isoformat()}-folds"
    stem.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    stem.with_suffix(".md").write_text(report(figures, given.seeds), "utf-8")
    return 0


def measured(fold: int, data: Path, cache: Path, seeds: tuple[int, ...]) -> Found:
    """All figures of a fold, by label set and name."""
    torch.set_num_threads(1)
    shop = Workshop(data, cache, 1, Timer())
    known = meet(fold, shop)
    shop.say(f"fold {fold + 1}: posteriors")
    figures: Found = {}
    for name, labels in LABELS.items():
        for place, seed in enumerate(seeds):
            found = dict(recipe_figures(known, labels, seed))
            if place < ABLATION_SEEDS:
                found |= ablation_figures(known, labels, seed)
            for key, value in found.items():
                line = {"fold": float(fold), "seed": float(seed)} | value
                figures.setdefault(f"{name}, {key}", []).append(line)
            shop.say(f"fold {fold + 1}, {name}, seed {seed}: measured")
    return figures


def groups_of(fold: int) -> list[tuple[int, ...]]:
    """The training actors of a fold in groups of about five, men and women in each."""
    actors = [a for a in range(1, 25) if a not in FOLDS[fold]]
    ordered = sorted(actors, key=lambda actor: (actor % 2, actor))
    return [tuple(sorted(ordered[k::GROUPS_PER_FOLD])) for k in range(GROUPS_PER_FOLD)]


def meet(fold: int, shop: Workshop) -> FoldKnown:
    """The experts of a fold judge strangers."""
    pixels = pixel_network(shop)
    config = ExpertsConfig(pixels=pixels.config)
    groups = groups_of(fold)
    experts = cross_fitted(config, groups, pixels, 1 + fold, shop)
    everyone, clips = together(experts), load_clips(shop.data, shop.cache)
    small = load_clips(shop.data, shop.cache, shrink=SMALL)
    test = of_actors(clips, FOLDS[fold])
    return FoldKnown(
        clips=know_strangers(config, experts, groups, clips, seed=0),
        validation=tuple(f"actor {actor}" for actor in groups[-1]),
        stills=know_stills(config, everyone, load_stills(shop.data, shop.cache, "valid")),
        test=know_clips(config, everyone, test),
        test_small=know_clips(config, everyone, of_actors(small, FOLDS[fold])),
        test_single=know_clips(config, experts[0], test),
    )


HEAD = """# The shipped models' recipe on RAVDESS's five folds

`make bench-folds` (`benchmarks/bench_folds.py`): speaker-independent, the folds of Luna-Jiménez et
al. 2022. Experts, fusion and temperature are made anew for every fold from the actors of the other
folds; four groups of these cross-fit the members, and one group validates the fusion. FER2013's
training part teaches the still face, its public test part the fusion. RAVDESS has no pictures
here: the pixel network has no say. Figures are means over the folds, ± the sd over them of the
means over seeds {seeds} (ablation: the first two). In the ablation one thing is changed, and the
fusion learns anew; "both" is voice and face.

{host}
"""


def report(figures: dict[str, list[Figures]], seeds: Sequence[int]) -> str:
    """The figures as Markdown."""
    parts = [HEAD.format(host=host_block(), seeds=", ".join(map(str, seeds)))]
    for name in LABELS:
        rows = []
        for key, values in figures.items():
            if key.startswith(f"{name}, "):
                cells = [_cell(values, metric) for metric in ("accuracy", "balanced", "ece")]
                rows.append((key.removeprefix(f"{name}, "), *cells))
        heads = ("", "accuracy", "balanced accuracy", "calibration error")
        parts.append(f"## {name}\n\n" + table(heads, rows))
    return "\n\n".join(parts) + "\n"


def _cell(values: Sequence[Figures], metric: str) -> str:
    by_fold: dict[float, list[float]] = {}
    for value in values:
        if metric in value:
            by_fold.setdefault(value["fold"], []).append(value[metric])
    if not by_fold:
        return ""
    mean, sd = mean_sd([float(np.mean(found)) for found in by_fold.values()])
    return f"{mean:.3f} ± {sd:.3f}"


if __name__ == "__main__":
    sys.exit(main())
