"""The shipped models' recipe on RAVDESS's five published folds: ``make bench-folds``.

For each fold the recipe runs anew on the actors of the other four: members by cross-fitting,
fusion, temperature; the fold's own actors are judged once, at the end. One dated report.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from experiments import host_block, mean_sd, table

from avsent.labels import EMOTIONS, POLARITY_LABELS
from avsent.networks.adaptation import PRIOR
from avsent.networks.config import ExpertsConfig
from avsent.training.metrics import Scores, majority
from avsent.training.pixel_training import PixelTraining
from avsent.training.shipped.corpora import FOLDS, load_clips, load_stills, of_actors
from avsent.training.shipped.fusing import Fusing, Pool, by_speaker, fuse, split_pool
from avsent.training.shipped.measuring import adapted_scores, in_company, judge, without_stream
from avsent.training.shipped.pools import Known, know_clips, know_stills, know_strangers
from avsent.training.shipped.posteriors import cross_fitted, together
from avsent.training.shipped.recipe import PIXEL_SEEDS, STILLS_HELD, Timer
from avsent.training.shipped.workshop import Workshop, pixel_network

GROUPS_PER_FOLD = 4
SMALL = 0.17
"""The landmarks of a face 25 pixels between the eyes instead of 149."""
LABELS = {"polarity": POLARITY_LABELS, "8 emotions": EMOTIONS}
Figures = dict[str, float]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class FoldKnown:
    """What the experts of one fold say of strangers: to learn from, to validate, to test."""

    clips: Known
    validation: tuple[str, ...]
    stills: Known
    test: Known
    test_small: Known


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
    figures: dict[str, list[Figures]] = {}
    for fold in range(len(FOLDS)):
        known = meet(fold, shop)
        for name, labels in LABELS.items():
            for seed in given.seeds:
                for key, found in figures_of(known, labels, seed).items():
                    figures.setdefault(f"{name}, {key}", []).append(
                        {"fold": fold, "seed": seed} | found
                    )
            shop.say(f"fold {fold + 1}, {name}: measured")
    given.out.mkdir(parents=True, exist_ok=True)
    stem = given.out / f"{datetime.date.today().isoformat()}-folds"
    stem.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    stem.with_suffix(".md").write_text(report(figures, given.seeds), "utf-8")
    return 0


def groups_of(fold: int) -> list[tuple[int, ...]]:
    """The training actors of a fold in groups of about five, men and women in each."""
    actors = [a for a in range(1, 25) if a not in FOLDS[fold]]
    ordered = sorted(actors, key=lambda actor: (actor % 2, actor))
    return [tuple(sorted(ordered[k::GROUPS_PER_FOLD])) for k in range(GROUPS_PER_FOLD)]


def meet(fold: int, shop: Workshop) -> FoldKnown:
    """Train the experts of a fold and let them judge strangers."""
    pixels = pixel_network(PixelTraining(), PIXEL_SEEDS, shop)
    config = ExpertsConfig()
    config = dataclasses.replace(
        config, pixels=dataclasses.replace(config.pixels, members=len(PIXEL_SEEDS))
    )
    groups = groups_of(fold)
    experts = cross_fitted(config, groups, pixels, 1 + fold, shop)
    everyone, clips = together(experts), load_clips(shop.data, shop.cache)
    small = load_clips(shop.data, shop.cache, shrink=SMALL)
    return FoldKnown(
        clips=know_strangers(config, experts, groups, clips, seed=0),
        validation=tuple(f"actor {actor}" for actor in groups[-1]),
        stills=know_stills(config, everyone, load_stills(shop.data, shop.cache, "valid")),
        test=know_clips(config, everyone, of_actors(clips, FOLDS[fold])),
        test_small=know_clips(config, everyone, of_actors(small, FOLDS[fold])),
    )


def figures_of(known: FoldKnown, labels: tuple[str, ...], seed: int) -> dict[str, Figures]:
    """Every figure of one fold and seed, by name."""
    clips, stills = known.clips.pool(labels), known.stills.pool(labels)
    test, small = known.test.pool(labels), known.test_small.pool(labels)
    size = 11
    streams = {"without still": slice(0, size), "without movement": slice(size, 2 * size)}

    def learn(pool: Pool) -> tuple[torch.nn.Module, float]:
        found = fuse(
            by_speaker(pool, known.validation), split_pool(stills, STILLS_HELD, 0), Fusing(), seed
        )
        return found.model, found.calibration.temperature

    model, temperature = learn(clips)
    judged, shrunk = judge(model, test, temperature), judge(model, small, temperature)
    base = majority(clips.labels[clips.labels >= 0], test.labels[test.labels >= 0], len(labels))
    found = {
        "majority class": _figures(base),
        "voice and face": _figures(judged.both) | {"ece": judged.calibration_error},
        "face alone": _figures(judged.face),
        "voice alone": _figures(judged.audio),
        "voice and face, landmarks shrunk to 17%": _figures(shrunk.both),
        "face alone, landmarks shrunk to 17%": _figures(shrunk.face),
    }
    for kind, value in in_company(model, test, seed).items():
        found[f"company: {kind}"] = _figures(value)
    for count in (3, 5, 10):
        for title, prior in (("plain", None), ("adapted", PRIOR)):
            value = adapted_scores(model, test, count, prior, seed)
            found[f"{count} utterances of a speaker, {title}"] = _figures(value)
    for title, columns in streams.items():
        other, warmth = learn(without_stream(clips, columns))
        value = judge(other, without_stream(test, columns), warmth)
        found[f"ablation: {title}"] = _figures(value.both)
        found[f"ablation: {title}, face alone"] = _figures(value.face)
    return found


def _figures(scores: Scores) -> Figures:
    return {"accuracy": scores.accuracy, "balanced": scores.balanced_accuracy}


HEAD = """# The shipped models' recipe on RAVDESS's five folds

`make bench-folds` (`benchmarks/bench_folds.py`): speaker-independent, the folds of Luna-Jiménez et
al. 2022. Experts, fusion and temperature are made anew for every fold from the actors of the other
folds; four groups of these cross-fit the members, and one group validates the fusion. FER2013's
training part teaches the still face, its public test part the fusion. RAVDESS has no pictures
here: the pixel network has no say. Figures are means over the folds, ± the sd over them of the
means over seeds {seeds}.

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
