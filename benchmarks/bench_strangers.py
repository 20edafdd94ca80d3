"""``make bench-strangers``: the shipped models' recipe on people and corpora that it never saw.

Voices: each of six corpora is left out in turn, of the experts and of the fusion. Faces: the
strangers' and FER+'s test parts. Then the models as they ship, on real clips.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_clips import clips_right, grid_clips, labelled_clips
from harness import Report, Spread, mean, option_parser, run

from avsent.labels import POLARITY_LABELS
from avsent.model.networks.adaptation import PRIOR
from avsent.model.networks.config import ExpertsConfig
from avsent.predictor import Predictor
from avsent.training.evaluation import softmax
from avsent.training.metrics import expected_calibration_error
from avsent.training.run import Trained
from recipes.card import logits_of
from recipes.default_models import (
    CORPORA_OF_VOICES,
    GROUPS,
    HELD,
    VALIDATION,
    HeldOut,
    Judged,
    Timer,
    faces_of,
    left_out,
    load_material,
    pixel_network,
    strangers_temperature,
)
from recipes.fusion import FusionTraining, Pool, fuse
from recipes.members import Workspace
from recipes.posteriors import cross_fitted, streams_of
from recipes.scores import Scores, scores
from recipes.voices import FOREIGN

Run = tuple[Trained, Judged]
UNSURE_MARGIN = 0.1
NOTE = """A corpus is judged by the member of each voice expert that learnt without it (the
shipped models have six members), and by a fusion that learnt without it; the temperature is
that of the other corpora and of stills. Sentiment, balanced accuracy over negative, neutral and
positive; means ± sd over seeds of the fusion. Every utterance is judged alone; with `--adapt
corpus` the mean of all voices of the corpus is taken off first."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = option_parser(__doc__, data="the shared folder data", clips="the shared folder clips")
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2)
    return run(parser, measure, arguments)


def measure(options: argparse.Namespace) -> Iterator[Report]:
    """One report: voices, faces, calibration, clips."""
    torch.set_num_threads(1)
    workspace = Workspace(options.data, options.cache, options.jobs, Timer())
    pixels = pixel_network(workspace)
    config = ExpertsConfig(pixels=pixels.config)
    material = load_material(config, workspace)
    experts = cross_fitted(config, GROUPS, CORPORA_OF_VOICES, material, pixels, workspace)
    held_out = HeldOut.of(config, experts, material, POLARITY_LABELS, workspace)
    report = Report("strangers", "The shipped models' recipe on people it never saw", NOTE)
    report.facts["seeds"] = str(options.seeds)
    rows, confusions, sure = [], [], []
    runs: dict[str, list[Run]] = {}
    for corpus in FOREIGN:
        runs[corpus] = [left_out(held_out.pools, corpus, seed) for seed in options.seeds]
        workspace.say(f"{corpus}: judged")
    places = range(len(options.seeds))
    everything = [[own[place][1] for own in runs.values()] for place in places]
    for corpus in FOREIGN:
        others = [own for name, own in runs.items() if name != corpus]
        known = [[own[place][1] for own in others] for place in places]
        row, confusion, marked = figures_of(held_out, corpus, runs[corpus], known)
        rows.append(row)
        confusions += confusion
        sure.append(marked)
    names = [name for name in rows[0] if name != "corpus"]
    rows.append({"corpus": "mean", **{n: mean([mean(row[n]) for row in rows]) for n in names}})
    report.section("Voices: one corpus left out at a time", rows)
    report.section("Confusion by corpus, first seed", confusions)
    report.section("Nearly even decisions on the left-out corpora, first seed", sure)
    report.section("Faces", faces(held_out, options.seeds, everything))
    report.section("The models as they ship, on real clips", shipped_on_clips(options.clips))
    yield report


def figures_of(
    held_out: HeldOut, corpus: str, runs: Sequence[Run], others: Sequence[Sequence[Judged]]
) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """Figures of a ``corpus`` that neither experts nor fusion know; ``others``: by seed, what is
    said of the other corpora, which gives the temperature."""
    test = held_out.pools.voices.only(held_out.pools.voices.corpora == corpus).labelled()
    # Those that chose the epoch: stills that taught the fusion are none of them.
    parts = held_out.pools.without(corpus).split(VALIDATION, HELD, seed=0)
    all_shares = []
    found: dict[str, list[float]] = {}
    for (trained, judged), known in zip(runs, others, strict=True):
        shares = softmax(judged.logits / strangers_temperature(known, faces_of(parts, trained)))
        all_shares.append(shares)
        adapted = logits_of(trained.model, test, adapt=PRIOR, together=True)
        for name, value in (
            ("HMTL", _scores(test, judged.logits).balanced_accuracy),
            ("with --adapt corpus", _scores(test, adapted).balanced_accuracy),
            ("calibration error", expected_calibration_error(shares, test.labels)),
        ):
            found.setdefault(name, []).append(value)
    logits = runs[0][1].logits
    confusion = [
        {"corpus": corpus, "truth": label, **dict(zip(POLARITY_LABELS, counts, strict=True))}
        for label, counts in zip(POLARITY_LABELS, _scores(test, logits).confusion, strict=True)
    ]
    two = np.sort(all_shares[0], axis=1)[:, -2:]
    even, right = two[:, 1] - two[:, 0] < UNSURE_MARGIN, logits.argmax(1) == test.labels
    marked = {
        "corpus": corpus,
        "share marked": float(even.mean()),
        "accuracy of marked": float(right[even].mean()),
        "accuracy of others": float(right[~even].mean()),
    }
    row: dict[str, Any] = {"corpus": corpus, "majority": [1 / 3]}
    for name, stream in streams_of(POLARITY_LABELS).items():
        if stream.modality == "audio":
            alone = np.nan_to_num(test.audio[0][:, list(stream.columns)])
            row[f"{name} alone"] = [_scores(test, alone).balanced_accuracy]
    return {**row, **{n: Spread(v) for n, v in found.items()}}, confusion, marked


def faces(
    held_out: HeldOut, seeds: Sequence[int], voices: Sequence[Sequence[Judged]]
) -> list[dict[str, Any]]:
    """Figures of the stills' test parts, faces that dlib finds, without a voice; ``voices``: by
    seed, what is said of the corpora, which gives the temperature."""
    parts = held_out.pools.split(VALIDATION, HELD, seed=0)
    trained = [fuse(parts, FusionTraining(), seed) for seed in seeds]
    temperatures = [
        strangers_temperature(known, faces_of(parts, one))
        for known, one in zip(voices, trained, strict=True)
    ]
    rows = []
    for corpus in ("strangers", "ferplus"):
        test = held_out.tests[corpus].labelled()
        logits = [logits_of(one.model, test) for one in trained]
        judged = [_scores(test, values) for values in logits]
        recalls = np.array([_recalls(one) for one in judged])
        row: dict[str, Any] = {"faces": corpus, "number": len(test)}
        row["balanced"] = Spread(one.balanced_accuracy for one in judged)
        row |= {f"{label} recall": Spread(recalls[:, k]) for k, label in enumerate(POLARITY_LABELS)}
        row["calibration error"] = Spread(
            expected_calibration_error(softmax(z / temperature), test.labels)
            for temperature, z in zip(temperatures, logits, strict=True)
        )
        rows.append(row)
    return rows


def shipped_on_clips(clips: Path) -> dict[str, str]:
    """Decisions of ``models/default`` on GRID's calm talkers and on clips with a polarity."""
    predictor = Predictor.load()
    calm = [predictor.predict(path).utterances for path in grid_clips(clips)]
    negative = sum(any(one.sentiment == "negative" for one in found) for found in calm)
    labelled = labelled_clips(clips)
    found = clips_right(labelled, [predictor.predict(clips / row["file"]) for row in labelled])
    shown = {"GRID's calm talkers called negative": f"{negative} of {len(calm)}"}
    return shown | {"clips with a polarity, right": " of ".join(map(str, [*found.values()][::-1]))}


def _scores(pool: Pool, logits: Any) -> Scores:
    return scores(pool.labels, logits.argmax(axis=1), len(POLARITY_LABELS))


def _recalls(judged: Scores) -> list[float]:
    return [row[k] / max(1, sum(row)) for k, row in enumerate(judged.confusion)]


if __name__ == "__main__":
    sys.exit(main())
