"""Settings chosen on validation actors only, stage by stage; the record of what was tried.

Each stage compares variants of what the stage before it chose, by mean balanced accuracy on the
validation actors over the five folds and ``TUNING_SEEDS``. The baseline without transfer is tuned
first, with more variants than any transfer gets; transfer changes nothing of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from experiments import mean_sd, progress
from ravdess_runs import BASE, FOLDS, TUNING_SEEDS, Laboratory, Trial

from avsent.training.settings import TrainSettings

SOURCE = dataclasses.replace(
    BASE.optimiser, epochs=16, patience=6, learning_rate=4e-3, weight_decay=1e-2
)
"""How every source model is trained."""

Change = Callable[[Trial], Trial]


@dataclass(frozen=True, slots=True)
class Tried:
    """A row of the record."""

    stage: str
    variant: str
    mean: float
    sd: float
    chosen: bool


@dataclass
class Tuning:
    """The choice so far (its fold and seed mean nothing) and everything that was compared."""

    laboratory: Laboratory
    best: Trial
    seeds: tuple[int, ...] = TUNING_SEEDS
    record: list[Tried] = field(default_factory=list)

    def stage(self, name: str, variants: Mapping[str, Change], *, keep: str = "as before") -> None:
        """Compare ``variants`` of the choice so far, and take the best of them and itself;
        ``keep``: what itself is called, "" where it is no candidate."""
        candidates = {keep: self.best} if keep else {}
        candidates |= {title: change(self.best) for title, change in variants.items()}
        values = {title: self.validation(trial) for title, trial in candidates.items()}
        winner = max(values, key=lambda title: mean_sd(values[title])[0])
        for title, found in values.items():
            self.record.append(Tried(name, title, *mean_sd(found), chosen=title == winner))
        self.best = candidates[winner]

    def take(self, name: str, variants: Mapping[str, Change]) -> None:
        """Compare ``variants`` with the choice so far and take the best of them without it: what
        is cheaper than it and costs little. The record shows both."""
        before = self.best
        self.stage(name, variants, keep="")
        self.record.append(Tried(name, "as before", *mean_sd(self.validation(before)), False))

    def validation(self, trial: Trial) -> list[float]:
        """Validation balanced accuracy of each tuning seed and fold."""
        found = []
        for seed in self.seeds:
            for fold in range(len(FOLDS)):
                placed = dataclasses.replace(trial, fold=fold, seed=seed)
                result = self.laboratory.measure(placed, test=False)
                found.append(float(result["valid"]["balanced_accuracy"]))
        progress(f"{mean_sd(found)[0]:.4f}  {_differences(trial)}")
        return found


def optimiser(**changes: Any) -> Change:
    """Another optimiser setting."""
    return lambda trial: _with(
        trial, optimiser=dataclasses.replace(trial.settings.optimiser, **changes)
    )


def context(**changes: Any) -> Change:
    """Another size of the embedding networks."""
    return lambda trial: _with(
        trial, context=dataclasses.replace(trial.settings.context, **changes)
    )


def transfer(**changes: Any) -> Change:
    """Another way of teaching."""
    return lambda trial: _with(
        trial, transfer=dataclasses.replace(trial.settings.transfer, **changes)
    )


def source(**changes: Any) -> Change:
    """Another optimiser setting of the source model."""
    return lambda trial: dataclasses.replace(
        trial,
        source=dataclasses.replace(trial.source or trial.settings.optimiser, **changes),
    )


_GAMMAS = {f"{weight:g}": transfer(adversarial=weight) for weight in (0.03, 0.3)}


def baseline(laboratory: Laboratory, target: tuple[str, ...], corpus: str) -> Tuning:
    """The best network without transfer."""
    start = Trial(dataclasses.replace(BASE, target=target), 0, 0, corpus)
    tuning = Tuning(laboratory, start)
    tuning.stage(
        "input dropout",
        {f"{share}": optimiser(input_dropout=share) for share in (0.0, 0.4)},
    )
    tuning.stage("dropout", {f"{share}": context(dropout=share) for share in (0.2, 0.6)})
    tuning.stage(
        "learning rate",
        {
            "1e-3": optimiser(learning_rate=1e-3),
            "4e-3": optimiser(learning_rate=4e-3),
            "4e-3 in one cycle": optimiser(learning_rate=4e-3, rate_schedule="onecycle"),
        },
    )
    tuning.stage(
        "weight decay",
        {f"{decay}": optimiser(weight_decay=decay) for decay in (0.0, 0.1)},
    )
    tuning.stage(
        "label smoothing",
        {f"{share}": optimiser(label_smoothing=share) for share in (0.0, 0.2)},
    )
    tuning.stage(
        "size",
        {
            "96–100–24": context(first_gru=96, dense=100),
            "96–100–48": context(first_gru=96, dense=100, second_gru=48, classifier=100),
            "24–24–12": context(first_gru=24, dense=24, second_gru=12, classifier=24),
        },
    )
    tuning.stage("first layer", {"192": context(first_gru=192)})
    # 1,000 runs must fit in an hour: a third of the steps.
    fewer = optimiser(epochs=25, patience=8, batch_videos=128, learning_rate=4e-3)
    cycle = optimiser(rate_schedule="onecycle")
    narrow = context(first_gru=96)
    tuning.take(
        "fewer steps, taken for speed",
        {
            "192, constant rate": fewer,
            "96, constant rate": lambda trial: narrow(fewer(trial)),
            "96, one cycle": lambda trial: narrow(cycle(fewer(trial))),
        },
    )
    return tuning


def face_teaches_voice(
    laboratory: Laboratory, plain: Trial
) -> tuple[dict[str, Trial], list[Tried]]:
    """Weights and schedule of each kind of transfer, on top of the network ``plain``."""
    start = dataclasses.replace(
        transfer(source="face", decoder=1.0)(plain), corpus="adapted face", source=SOURCE
    )
    decoder = Tuning(laboratory, start)
    decoder.stage(
        "decoder β",
        {f"{weight:g}": transfer(decoder=weight) for weight in (5.0, 20.0)},
        keep="1",
    )
    decoder.stage(
        "cross-fitted source",
        {
            f"5 folds, β {weight:g}": transfer(cross_fit=5, decoder=weight)
            for weight in (1.0, 5.0, 20.0)
        },
        keep="no",
    )
    decoder.stage("schedule", {"decay": transfer(schedule="decay")}, keep="constant")
    full = Tuning(laboratory, decoder.best)
    full.stage("full: γ beside the decoder", _GAMMAS, keep="")
    alone = Tuning(laboratory, transfer(decoder=0.0)(decoder.best))
    alone.stage("discriminator alone: γ", _GAMMAS, keep="")
    chosen = {
        "no transfer": plain,
        "decoder only": decoder.best,
        "discriminator only": alone.best,
        "full HMTL": full.best,
    }
    return chosen, decoder.record + full.record + alone.record


def text_teaches(laboratory: Laboratory, plain: Trial) -> tuple[dict[str, Trial], list[Tried]]:
    """Weights of transfer from unpaired texts to voice and face, on the network ``plain``."""
    both = _with(plain, target=("audio", "face"))
    start = dataclasses.replace(
        transfer(source="text", decoder=1.0)(both), source=SOURCE, texts=True
    )
    decoder = Tuning(laboratory, start, TUNING_SEEDS[:1])
    decoder.stage(
        "text: decoder β",
        {"5": transfer(decoder=5.0)},
        keep="1",
    )
    full = Tuning(laboratory, decoder.best, TUNING_SEEDS[:1])
    full.stage("text: γ beside the decoder", _GAMMAS, keep="")
    chosen = {"no transfer": both, "decoder only": decoder.best, "full HMTL": full.best}
    return chosen, decoder.record + full.record


def retargeted(trial: Trial, target: tuple[str, ...]) -> Trial:
    """The same for another ``target``."""
    return _with(trial, target=target)


def _with(trial: Trial, **changes: Any) -> Trial:
    return dataclasses.replace(trial, settings=dataclasses.replace(trial.settings, **changes))


def _differences(trial: Trial) -> str:
    """What a trial changes of ``BASE``, for the log."""
    changed = [
        f"{name}={getattr(part, name)}"
        for part, base in _parts(trial.settings, BASE)
        for name in part.__dataclass_fields__
        if getattr(part, name) != getattr(base, name)
    ]
    if trial.source is not None:
        changed.append("source=" + repr(trial.source))
    return f"{'+'.join(trial.settings.target)} {trial.corpus}: {', '.join(changed)}"


def _parts(settings: TrainSettings, base: TrainSettings) -> list[tuple[Any, Any]]:
    return [
        (settings.context, base.context),
        (settings.optimiser, base.optimiser),
        (settings.transfer, base.transfer),
    ]
