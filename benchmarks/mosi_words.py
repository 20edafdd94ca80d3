"""What the figures say, in words that follow from them by simple rules."""

from __future__ import annotations

from collections.abc import Sequence

from experiments import Paired, mean_sd, paired, spread
from mosi_choice import Choice
from mosi_lead_report import BAR
from mosi_plain import FUSIONS, Row
from mosi_runs import TARGETS, TRANSFERS
from mosi_speed import Speed
from mosi_systems import FIRST, SECOND, Ensemble

from avsent.training.metrics import ACCURACY, AUC, BALANCED_ACCURACY

LEVEL = 0.05
SLOWER_AIM = 3.0


def conclusions(
    rows: dict[str, Row],
    sources: dict[str, Row],
    majority: dict[str, dict[str, float]],
    choice: Choice,
    systems: dict[str, Ensemble],
    speeds: Sequence[Speed],
) -> str:
    """A list of sentences."""
    return "\n".join(
        f"- {sentence}"
        for sentence in (
            _baseline(rows, majority),
            _source(sources),
            _transfer(rows),
            _regularised(rows),
            _fusions(rows),
            _trap(rows),
            _declared(choice, systems),
            _speed(speeds),
        )
    )


def verdict(found: Paired) -> str:
    """Helps, harms, or neither can be told."""
    if found.p < LEVEL:
        return "helps" if found.mean > 0 else "harms"
    return "no difference to be told"


def _baseline(rows: dict[str, Row], majority: dict[str, dict[str, float]]) -> str:
    names = [f"{target}, {transfer}" for target in TARGETS for transfer in TRANSFERS]
    best = max(names, key=lambda name: mean_sd(rows[name].of(ACCURACY))[0])
    value = mean_sd(rows[best].of(ACCURACY))[0]
    train, test = majority["train"][ACCURACY], majority["test"][ACCURACY]
    below = "below" if value < test else "above"
    return (
        f"A constant answer: accuracy {100 * train:.1f}% with the commonest class of the training "
        f"part, {100 * test:.1f}% with that of the test part, which nobody can know beforehand. "
        f"The best plain setting ({best}) reaches {100 * value:.1f}%, {below} the latter: classes "
        "weigh alike in training, so read balanced accuracy and AUC."
    )


def _source(sources: dict[str, Row]) -> str:
    told = [f"{name}: AUC {spread(row.of(AUC))}" for name, row in sources.items()]
    return f"The source alone. {'; '.join(told)}."


def _transfer(rows: dict[str, Row]) -> str:
    told = []
    for target in TARGETS:
        parts = []
        for transfer in list(TRANSFERS)[1:]:
            pair = rows[f"{target}, {transfer}"], rows[f"{target}, none"]
            auc = paired(pair[0].of(AUC), pair[1].of(AUC))
            balanced = paired(pair[0].of(BALANCED_ACCURACY), pair[1].of(BALANCED_ACCURACY))
            parts.append(
                f"{transfer} {verdict(auc)} (AUC {auc.mean:+.3f}, p {auc.p:.2g}; balanced "
                f"{100 * balanced.mean:+.1f} points, p {balanced.p:.2g})"
            )
        told.append(f"{target}: {', '.join(parts)}")
    return "Transfer against none, plain nets, judged by AUC. " + ". ".join(told) + "."


def _regularised(rows: dict[str, Row]) -> str:
    base = rows["strong, none"].of(AUC)
    told = []
    for name in rows:
        if name.startswith("strong, ") and name != "strong, none":
            ours = rows[name].of(AUC)
            found = paired(ours, base[: len(ours)])
            what = name.removeprefix("strong, ")
            told.append(f"{what} {verdict(found)} ({found.mean:+.3f}, p {found.p:.2g})")
    return (
        f"Strongly regularised A+V without transfer: AUC {spread(base)}, epoch chosen on "
        f"validation. Transfer there: {'; '.join(told)}."
    )


def _fusions(rows: dict[str, Row]) -> str:
    means = {name: mean_sd(rows[f"{name}, none"].of(AUC))[0] for name in FUSIONS}
    best = max(means, key=lambda name: means[name])
    told = [f"{name} {value:.3f}" for name, value in means.items()]
    gains = [
        name
        for name in FUSIONS
        if verdict(paired(rows[f"{name}, full"].of(AUC), rows[f"{name}, none"].of(AUC))) == "helps"
    ]
    helped = f"full transfer helps {', '.join(gains)}" if gains else "full transfer helps none"
    return f"Fusion heads without transfer, AUC: {', '.join(told)}; {best} leads; {helped}."


def _trap(rows: dict[str, Row]) -> str:
    row = rows["A+V, none"]
    valid, test = mean_sd(row.of(AUC, "valid"))[0], mean_sd(row.of(AUC))[0]
    return (
        f"The trap is real: A+V validates at AUC {valid:.3f} and tests at {test:.3f}, because the "
        "video vectors know the labels of every training video. These features cannot show "
        "whether the transfer works; face teaching voice on RAVDESS can."
    )


def _declared(choice: Choice, systems: dict[str, Ensemble]) -> str:
    head = choice.heads[choice.head]
    how = {
        FIRST: f"{choice.candidate}; {choice.transfer}; {choice.epochs} epochs",
        SECOND: f"{choice.head}; {head.epochs} epochs",
    }
    told = []
    for name, what in how.items():
        system = systems[name]
        values = system.of(AUC)
        reached = "beats" if mean_sd(values)[0] > BAR else "does not beat"
        above = sum(value > BAR for value in values)
        ends = system.interval
        told.append(
            f"the {name} ({what}) reaches AUC {spread(values)} and **{reached} {BAR}** ({above} of "
            f"{len(values)} seeds above; its single members average {system.members:.3f}"
            + (f"; 95% over test videos {ends.low:.3f}–{ends.high:.3f})" if ends else ")")
        )
    return (
        "Systems chosen on clean evidence, each the mean of five models on A+V: "
        + "; ".join(told)
        + f". The bar of {BAR} is one of single models, the systems are ensembles. The second "
        "rule was written after the fusion heads had been read on the test part."
    )


def _speed(speeds: Sequence[Speed]) -> str:
    told = [
        f"{speed.ratio:.2f}× on {speed.threads} thread{'s' if speed.threads > 1 else ''}"
        for speed in speeds
    ]
    kept = "kept" if all(speed.ratio <= SLOWER_AIM for speed in speeds) else "missed"
    return f"A full HMTL epoch costs {', '.join(told)} of one without (aim: at most 3×, {kept})."
