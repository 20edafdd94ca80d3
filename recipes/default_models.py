"""``make train-default``: builds ``models/default`` and ``models/emotion`` from the corpora.

1. Two teachers and the pixel network, their pupil, are trained on FER2013's training part.
2. Members are trained on actors 1–20, each without one group of four, for which it gives
   out-of-fold posteriors. FER2013's training faces train the still face along with the clips.
3. For each set of labels, HMTL's fusion is trained on these posteriors and on FER2013's public test
   part; actors 17–20 and a part of those stills are for validation: they choose the epoch, the
   seed, whether text teaches, and the temperature.
4. Actors 21–24 and FER2013's private test part measure the shipped models.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path

import torch

from avsent.errors import AvsentError
from avsent.extraction.extractor import FeatureConfig
from avsent.labels import EMOTIONS, POLARITY_LABELS
from avsent.model.checkpoint import load_checkpoint, save_checkpoint
from avsent.model.index import write_index
from avsent.model.networks.config import ExpertsConfig
from avsent.training.data.text import TextItem, read_text_corpus
from avsent.training.run import Trained
from avsent.training.settings import TransferSettings
from recipes.card import Report, write_card
from recipes.corpora import TEST_ACTORS, load_clips, load_stills, of_actors, read_fer2013_images
from recipes.fusion import (
    Experts,
    FusionTraining,
    HeldOut,
    assembled,
    by_speaker,
    clip_posteriors,
    cross_fitted,
    ensemble,
    fuse,
    out_of_fold_posteriors,
    split_pool,
    still_posteriors,
)
from recipes.members import Workspace
from recipes.pixels import judge_pictures, pixel_network
from recipes.scores import scores

LICENCE = "CC BY-NC-SA 4.0"
GROUPS = ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (17, 18, 19, 20))
VALIDATION = ("actor 17", "actor 18", "actor 19", "actor 20")
STILLS_HELD = 0.4
TEXTS = ("text", "mosi/mosi_utterance.npz")
MODELS = {"default": POLARITY_LABELS, "emotion": EMOTIONS}


def main() -> int:
    parser = argparse.ArgumentParser(description="Rebuild the shipped models.")
    parser.add_argument("--data", type=Path, required=True, help="holds ravdess/, fer2013/, text/")
    parser.add_argument(
        "--cache", type=Path, default=Path("cache"), help="keeps all intermediate results"
    )
    parser.add_argument("--out", type=Path, default=Path("models"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="processes that train members")
    given = parser.parse_args()
    # More threads sum in another order, which gives another model.
    torch.set_num_threads(1)
    try:
        rebuild(Workspace(given.data, given.cache, given.jobs, Timer()), given.out, given.seeds)
    except AvsentError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


class Timer:
    """Prints lines with the seconds since the start, on stderr."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, line: str) -> None:
        print(f"[{time.monotonic() - self._start:6.0f} s] {line}", file=sys.stderr, flush=True)


def rebuild(workspace: Workspace, out: Path, seeds: list[int]) -> None:
    """Train and write both models, their cards and the index."""
    pixels = pixel_network(workspace)
    config = ExpertsConfig(pixels=pixels.config)
    experts = cross_fitted(config, GROUPS, pixels, 0, workspace)
    workspace.say("posteriors")
    held_out = held_out_posteriors(config, experts, workspace)
    texts = [item for name in TEXTS for item in read_text_corpus(workspace.data / name)]
    for name, labels in MODELS.items():
        trained = {
            kind: [train(held_out, labels, seed, kind_texts, workspace) for seed in seeds]
            for kind, kind_texts in (("none", None), ("text", texts))
        }
        report = Report.of(name, labels, trained, held_out)
        best = report.best
        model = assembled(config, ensemble(experts), best.model)
        save_checkpoint(
            out / name,
            model,
            name=name,
            licence=LICENCE,
            features=FeatureConfig(),
            calibration=best.calibration,
        )
        load_checkpoint(out / name)
        write_card(out / name, report, model)
        workspace.say(f"wrote {out / name}")
    write_index(out)


def held_out_posteriors(
    config: ExpertsConfig, experts: list[Experts], workspace: Workspace
) -> HeldOut:
    """All posteriors of people held out from the experts, and of FER2013's images."""
    clips = load_clips(workspace.data, workspace.cache)
    everyone = ensemble(experts)
    images = read_fer2013_images(workspace.data / "fer2013", "test")
    _, votes = judge_pictures(everyone.pixels, images.images)
    return HeldOut(
        clips=out_of_fold_posteriors(config, experts, GROUPS, clips, seed=0),
        stills=still_posteriors(
            config, everyone, load_stills(workspace.data, workspace.cache, "valid")
        ),
        test_clips=clip_posteriors(config, everyone, of_actors(clips, TEST_ACTORS)),
        test_stills=still_posteriors(
            config, everyone, load_stills(workspace.data, workspace.cache, "test")
        ),
        pictures=scores(images.labels, votes.argmax(axis=1), len(images.classes)),
    )


def train(
    held_out: HeldOut,
    labels: tuple[str, ...],
    seed: int,
    texts: list[TextItem] | None,
    workspace: Workspace,
) -> Trained:
    """One fusion, taught by ``texts`` if there are any."""
    settings = FusionTraining()
    if texts is not None:
        settings = dataclasses.replace(settings, transfer=TransferSettings(source="text"))
    trained = fuse(
        by_speaker(held_out.clips.pool(labels), VALIDATION),
        split_pool(held_out.stills.pool(labels), STILLS_HELD, seed=0),
        settings,
        seed,
        texts,
    )
    kind = "without text" if texts is None else "taught by text"
    workspace.say(
        f"{len(labels)} labels, seed {seed}, {kind}: validation {trained.progress.best_value:.4f}"
    )
    return trained


if __name__ == "__main__":
    sys.exit(main())
