"""The shipped model, rebuilt: ``python -m avsent.training.default_model --data FOLDER``.

Encoders first (each taught by its own modality), then the networks over a video's utterances on
frozen encoders, then one temperature. For every seed; the seed that is best on the validation
actors ships, whatever it scores on the held-out ones.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from avsent.checkpoints import Calibration, load_checkpoint, save_checkpoint
from avsent.errors import AvsentError
from avsent.features.config import FeatureConfig
from avsent.networks.config import TargetConfig
from avsent.networks.target import TargetModel
from avsent.training.calibrating import fit_temperature, softmax
from avsent.training.card import Figures, Report, write_card
from avsent.training.context import (
    encode_clips,
    encode_faces_of,
    evaluate_videos,
    single_logits,
    train_context,
    video_logits,
)
from avsent.training.corpora import NO_LABEL, Corpora, load_corpora, polarity_of, with_polarity
from avsent.training.encoders import CLASSES, train_audio_encoder, train_face_encoder
from avsent.training.metrics import Scores, expected_calibration_error, majority, scores

LICENCE = "CC BY-NC-SA 4.0"
EVALUATION_SEED = 2026
CLIP_COPIES, STILLS_COPIES = 10, 1


@dataclass(frozen=True, slots=True)
class Trained:
    """One seed's model: value on validation, temperature, and figures on the held-out actors."""

    seed: int
    validation: float
    model: TargetModel
    temperature: float
    figures: Figures


def train_seed(corpora: Corpora, seed: int, say: Callable[[str], None]) -> Trained:
    """Train one model from nothing with ``seed``."""
    torch.manual_seed(seed)
    model = TargetModel(TargetConfig())
    say(f"seed {seed}: audio encoder")
    train_audio_encoder(model, corpora.train, corpora.validation, seed, on_epoch=say)
    say(f"seed {seed}: face encoder")
    train_face_encoder(
        model,
        corpora.train,
        corpora.stills_train,
        corpora.validation,
        corpora.stills_validation,
        seed,
        on_epoch=say,
    )
    for encoder in (model.encoder("audio"), model.encoder("face")):
        encoder.requires_grad_(False)
    say(f"seed {seed}: representations")
    train = encode_clips(model, corpora.train, CLIP_COPIES, seed)
    stills = encode_faces_of(model, corpora.stills_train, STILLS_COPIES, seed)
    validation = encode_clips(model, corpora.validation, 0, seed)
    validation_stills = encode_faces_of(model, corpora.stills_validation, 0, seed)
    value = train_context(model, train, stills, validation, validation_stills, seed, on_check=say)
    temperature = fit_temperature(*video_logits(model, validation, EVALUATION_SEED))
    figures = measure(model, corpora, temperature)
    say(f"seed {seed}: validation {value:.3f}, held out {figures.both.balanced_accuracy:.3f}")
    return Trained(seed, value, model, temperature, figures)


def measure(model: TargetModel, corpora: Corpora, temperature: float) -> Figures:
    """Figures on the held-out actors and the FER2013 test faces."""
    test = encode_clips(model, corpora.test, 0, 0)
    stills = encode_faces_of(model, corpora.stills_test, 0, 0)

    def single(items_without: str | None) -> Scores:
        decided = single_logits(model, test, without=items_without).argmax(axis=1)
        return scores(test.polarity, decided, CLASSES)

    single_probabilities = softmax(single_logits(model, test) / temperature)
    train_polarity = polarity_of(with_polarity(corpora.train))
    return Figures(
        majority=majority(train_polarity, test.polarity, CLASSES),
        both=single(None),
        face=single("audio"),
        audio=single("face"),
        videos=evaluate_videos(model, test, EVALUATION_SEED),
        stills=scores(stills.polarity, single_logits(model, stills).argmax(axis=1), CLASSES),
        stills_majority=majority(
            corpora.stills_train.polarity[corpora.stills_train.polarity != NO_LABEL],
            stills.polarity,
            CLASSES,
        ),
        calibration_error=expected_calibration_error(single_probabilities, test.polarity),
    )


class Timer:
    """Prints lines with the seconds since the start, on stderr."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, line: str) -> None:
        print(f"[{time.monotonic() - self._start:6.0f} s] {line}", file=sys.stderr, flush=True)


def rebuild(data: Path, cache: Path, out: Path, seeds: list[int]) -> None:
    """Train every seed, ship the one best on validation with a card of all of them."""
    say = Timer()
    corpora = load_corpora(data, cache, say)
    trained = [train_seed(corpora, seed, say) for seed in seeds]
    best = max(trained, key=lambda one: one.validation)
    save_checkpoint(
        out,
        best.model,
        name=out.name,
        licence=LICENCE,
        features=FeatureConfig(),
        calibration=Calibration(temperature=best.temperature),
    )
    # What ships is measured as loaded from its files.
    shipped = measure(load_checkpoint(out).model, corpora, best.temperature)
    write_card(
        out,
        Report(
            shipped_seed=best.seed,
            seeds=tuple(one.seed for one in trained),
            figures=tuple(one.figures for one in trained),
            validation=tuple(one.validation for one in trained),
            shipped=shipped,
            temperature=best.temperature,
            model=best.model,
        ),
    )
    say(f"wrote {out}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Rebuild the shipped model.")
    parser.add_argument("--data", type=Path, required=True, help="holds ravdess/ and fer2013/")
    parser.add_argument("--cache", type=Path, default=Path("cache"), help="keeps features")
    parser.add_argument("--out", type=Path, default=Path("models/default"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    # More threads add in another order, and give another model.
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    try:
        rebuild(given.data, given.cache, given.out, given.seeds)
    except AvsentError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
