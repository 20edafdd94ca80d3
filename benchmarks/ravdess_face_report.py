"""The dated report of the fair test: face teaches voice on RAVDESS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments import PAIRED_HEADERS, Paired, host_block, mean_sd, paired, spread, table
from ravdess_plan import Figures, by_fold, by_seed
from ravdess_runs import FOLDS, Trial
from ravdess_tuning import Tried

from avsent.training.plots import Compared, save_comparison

NONE = "no transfer"
SPEED = "fewer steps, taken for speed"

HEAD = """# RAVDESS: face teaches voice

`make bench-ravdess` (or `python benchmarks/bench_ravdess.py --data DATA --only face`).

The question: does HMTL's transfer (decoder, discriminator) make a voice model better that never
sees a face when it predicts? RAVDESS, 1,440 clips of 24 actors, 8 emotions (Livingstone and Russo
2018, CC BY-NC-SA 4.0). No feature was fitted to labels, so nothing leaks from the source.

{host}

## Protocol

- Test: the five published folds of actors. Of the 19 (20) other actors 4 validate, drawn by the
  seed, and 15 (16) train. Each clip is a video of its own: no other clip of a speaker is context.
- Voice (target): 126 statistics of cepstrum, energy, spectral shape and pitch; no level, no
  duration. **Speaker-independent**: nothing of a test speaker's other clips is used.
- Face (source): 306 statistics of 51 landmarks (mean place, log spread, log movement),
  standardised by the unlabelled mean and deviation of the same training actor. That is allowed
  here: the source is used in training only, on training actors. It is never part of a figure of
  the target.
- 10 seeds × 5 folds of each kind; the epoch is chosen on the validation actors. A seed's figure
  is its accuracy over the 1,440 clips, each predicted by the fold that did not know its actor.
- Settings are chosen on validation actors with seeds of their own ({tuning}), the network
  without transfer first; the record is below. They are shared by all folds, so an actor who is
  tested in one fold has validated settings in another: a weak link that favours no kind.
- To make 200 runs and their sources affordable, a network with fewer steps was taken although a
  wider and slower one was better on validation (the record says by how much). All kinds of
  transfer are built on the same one.
- Seen before: the first look at these vectors (a support vector machine, before any network) was
  taken on the test folds. It shaped which statistics of the voice there are and that the source is
  standardised by actor; cross-validation inside the training actors of the first fold agreed. It
  concerns all kinds of transfer alike.
- Tuning was greedy and its grid is the record below: other decoders, other sizes of embeddings and
  the "ramp" schedule were not tried.

## Result
"""


def write_face_report(
    stem: Path,
    chosen: Mapping[str, Trial],
    tried: Sequence[Tried],
    runs: Mapping[str, Figures],
    few: Mapping[tuple[int, str], Figures],
    base: float,
) -> None:
    """``stem``.md and ``stem``.svg; ``base``: accuracy of the commonest class."""
    from ravdess_runs import TUNING_SEEDS

    title = "RAVDESS, 8 emotions: voice, taught by face"
    rows = [Compared(name, *mean_sd(list(by_seed(found).values()))) for name, found in runs.items()]
    save_comparison(stem.with_suffix(".svg"), rows, majority=base, metric="accuracy", title=title)
    parts = [
        HEAD.format(
            host=host_block(),
            tuning=", ".join(map(str, TUNING_SEEDS)),
        ),
        _results(runs, base),
        f"![{title}]({stem.name}.svg)",
        "## Against no transfer\n\nThe same seeds and folds, accuracy in points. Runs of one fold "
        "share test actors, so its 10 seeds are not independent: the test over folds is the "
        "strict one, with five pairs only.",
        _tests(runs),
        "Mean accuracy of each fold over the seeds:",
        _folds(runs),
        _few(few) if few else "",
        "## Conclusions\n\n" + _conclusions(runs, few, tried),
        "## Settings chosen\n\n" + _settings(chosen),
        "## What was tried\n\nBalanced accuracy on validation actors, mean ± sd over tuning seeds "
        "× folds; each stage starts from the choice of the one before.",
        record(tried),
    ]
    stem.with_suffix(".md").write_text("\n\n".join(p.strip() for p in parts if p) + "\n", "utf-8")


def record(tried: Sequence[Tried]) -> str:
    """Everything that was compared, as a table."""
    return table(
        ("stage", "variant", "validation", "chosen"),
        [
            (t.stage, t.variant, f"{t.mean:.3f} ± {t.sd:.3f}", "yes" if t.chosen else "")
            for t in tried
        ],
    )


def settings_lines(chosen: Mapping[str, Trial]) -> str:
    """Weights and schedule of each kind."""
    return table(
        ("kind", "β", "γ", "schedule", "cross-fitted"),
        [
            (
                name,
                f"{trial.settings.transfer.decoder:g}",
                f"{trial.settings.transfer.adversarial:g}",
                trial.settings.transfer.schedule if trial.settings.transfer.active else "–",
                f"{trial.settings.transfer.cross_fit} folds"
                if trial.settings.transfer.cross_fit
                else "no",
            )
            for name, trial in chosen.items()
        ],
    )


def network_line(trial: Trial) -> str:
    """The network without transfer, in a sentence."""
    net, way = trial.settings.context, trial.settings.optimiser
    return (
        f"Network: BiGRU {net.first_gru} → dense {net.dense} → BiGRU {net.second_gru}, dropout "
        f"{net.dropout:g}, classifier {net.classifier}; AdamW {way.learning_rate:g} "
        f"({way.rate_schedule} rate), weight decay {way.weight_decay:g}, {way.batch_videos} clips "
        f"a batch, at most {way.epochs} epochs (ends after {way.patience} without gain), label "
        f"smoothing {way.label_smoothing:g}, input dropout {way.input_dropout:g}."
    )


def against(runs: Figures, none: Figures) -> dict[str, Paired]:
    """Paired tests by unit of pairing, in points of accuracy."""
    both = sorted(runs)
    return {
        "fold × seed": paired(
            [100 * runs[key]["test"]["accuracy"] for key in both],
            [100 * none[key]["test"]["accuracy"] for key in both],
        ),
        "seed": _paired(by_seed(runs), by_seed(none)),
        "fold": _paired(by_fold(runs), by_fold(none)),
    }


def _paired(runs: Mapping[int, float], none: Mapping[int, float]) -> Paired:
    keys = sorted(runs)
    return paired([100 * runs[key] for key in keys], [100 * none[key] for key in keys])


def _results(runs: Mapping[str, Figures], base: float) -> str:
    rows = [("majority", f"{base:.3f}", f"{1 / 8:.3f}")]
    source = next(found for name, found in runs.items() if name != NONE)
    for title, part in (("face alone (the source), same test clips", source),):
        values = {key: {"test": result["source"]["test"]} for key, result in part.items()}
        rows.append((title, *_spreads(values)))
    rows += [(f"voice, {name}", *_spreads(found)) for name, found in runs.items()]
    note = (
        "\n\nThe source's row is speaker-adaptive (its vectors are standardised by speaker, test "
        "speakers too): it says how rich the teacher is, and is not to be compared with the "
        "others."
    )
    return table(("model", "accuracy", "balanced accuracy"), rows) + note


def _spreads(found: Figures) -> tuple[str, str]:
    first, second = (
        spread(list(by_seed(found, name).values())) for name in ("accuracy", "balanced_accuracy")
    )
    return first, second


def _tests(runs: Mapping[str, Figures]) -> str:
    rows = []
    for name, found in runs.items():
        if name != NONE:
            for unit, test in against(found, runs[NONE]).items():
                rows.append((f"{name}, by {unit}", *test.cells(2)))
    return table(("kind, unit of pairing", *PAIRED_HEADERS), rows)


def _folds(runs: Mapping[str, Figures]) -> str:
    return table(
        ("kind", *(", ".join(map(str, actors)) for actors in FOLDS)),
        [(name, *(f"{v:.3f}" for v in by_fold(found).values())) for name, found in runs.items()],
    )


def _few(few: Mapping[tuple[int, str], Figures]) -> str:
    head = (
        "## Few labels (a supplement, not the test above)\n\nThe target knows the labels of 3 or 6 "
        "training actors; the source, trained with the labels of all, teaches on the clips of "
        "all. Whoever has these labels could train the voice on them, which is the table above: "
        "so this shows whether the way from face to voice carries anything, and is no gain in "
        "practice. The settings are those above, not tuned for this; 3 seeds.\n\n"
    )
    rows = []
    for (actors, name), found in few.items():
        cells = ["", "", "", ""]
        if name != NONE:
            cells = against(found, few[actors, NONE])["fold"].cells(2)
        rows.append((f"{actors} actors, {name}", spread(list(by_seed(found).values())), *cells))
    return head + table(
        (
            "target's labels, kind",
            "accuracy",
            *(f"{h}, by fold" if h == "difference" else h for h in PAIRED_HEADERS),
        ),
        rows,
    )


def _conclusions(
    runs: Mapping[str, Figures], few: Mapping[tuple[int, str], Figures], tried: Sequence[Tried]
) -> str:
    lines = []
    for name, found in runs.items():
        if name != NONE:
            lines.append(f"- {name}: {verdict(against(found, runs[NONE]))}")
    for (actors, name), found in few.items():
        if name != NONE:
            lines.append(
                f"- labels of {actors} actors, {name}: {verdict(against(found, few[actors, NONE]))}"
            )
    start = next(t.mean for t in tried if t.stage == SPEED and t.chosen)
    of_transfer = tried[[t.stage for t in tried].index(SPEED) :]
    rows = [t for t in of_transfer if t.stage != SPEED]
    above = sum(t.mean > start for t in {(t.mean, t.sd): t for t in rows}.values())
    best = max(rows, key=lambda t: t.mean)
    worst = min(rows, key=lambda t: t.mean)
    lines.append(
        f"- On the validation actors {above} different variants of transfer were above the same "
        f"network without it ({start:.3f}), the best by {100 * (best.mean - start):+.1f} points "
        f'("{best.stage}: {best.variant}") and the worst by {100 * (worst.mean - start):+.1f} '
        f'("{worst.stage}: {worst.variant}"). The best of several is flattered: what is left of '
        "it on test actors is above."
    )
    return "\n".join(lines)


def verdict(tests: Mapping[str, Paired]) -> str:
    """In plain words; "clearly" where both the test by seeds and the one by folds say so."""
    seeds, folds = tests["seed"], tests["fold"]
    figures = f"{seeds.mean:+.2f} points (p {seeds.p:.3f} by seed, {folds.p:.3f} by fold)."
    which = "helps" if seeds.mean > 0 else "harms"
    if seeds.p < 0.05 and folds.p < 0.05:
        return f"clearly {which}, {figures}"
    if seeds.p < 0.05:
        return f"{which} on these actors; whether it would on others is open, {figures}"
    return f"makes no difference that can be told from chance, {figures}"


def _settings(chosen: Mapping[str, Trial]) -> str:
    return network_line(chosen[NONE]) + "\n\n" + settings_lines(chosen)
