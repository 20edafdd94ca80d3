"""The dated report of the five published folds of RAVDESS: voice, face, both; with and without
texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments import PAIRED_HEADERS, host_block, mean_sd, spread, table
from ravdess_face_report import NONE, against, network_line, record, settings_lines, verdict
from ravdess_plan import Figures, by_fold, by_seed
from ravdess_runs import FOLDS, Trial
from ravdess_tuning import Tried

from avsent.training.plots import Compared, save_comparison

Table = Mapping[tuple[str, str], Figures]
"""By target and kind."""

HEAD = """# RAVDESS: five published folds, without and with unpaired texts

`make bench-ravdess` (or `python benchmarks/bench_ravdess.py --data DATA --only folds`).

RAVDESS, 1,440 clips of 24 actors, 8 emotions (Livingstone and Russo 2018, CC BY-NC-SA 4.0). Its
two sentences say nothing of feelings; the texts that teach are MELD's (train and dev transcripts,
Poria et al. 2019), each clip paired anew in every epoch with one of the same emotion. MELD has no
"calm": those clips are not taught.

{host}

## Protocol

- Test: the five published folds of actors (Luna-Jiménez et al. 2022). Of the other actors 4
  validate, drawn by the seed; 3 seeds. Each clip is a video of its own. A seed's figure is over
  the 1,440 clips, each predicted by the fold that did not know its actor.
- Ready-made vectors, fitted to no labels: 126 statistics of the voice, 306 of 51 landmarks.
- Epochs, settings and weights are chosen on validation actors, with seeds of their own; settings
  are shared by all folds. β and γ were chosen for voice and face together and used for all.
- Text source: TF-IDF and SVD (100 dimensions) fitted on MELD's training dialogues; balanced
  accuracy on held-out MELD dialogues {text}.
"""

PUBLISHED = (
    ("both, published: Luna-Jiménez et al. 2022, these folds", "0.867"),
    ("both, published: Chumachenko et al. 2022", "0.816"),
    ("face, published: Chumachenko et al. 2022", "0.749"),
)

DIFFERENCES = """What differs from the published figures: they come from large pretrained networks
that were fine-tuned (Luna-Jiménez et al.: xlsr-Wav2Vec2, and action units of the face). Here sound
and face are summed up by a few hundred statistics without any pretraining, landmarks are all there
is of the face, level and duration of the voice are left out on purpose, and 4 actors of each
training part are held back for validation. These figures compare kinds of transfer; they are not
the best that RAVDESS allows."""


def write_folds_report(
    stem: Path,
    chosen: Mapping[str, Trial],
    tried: Sequence[Tried],
    tables: Mapping[str, Table],
    base: float,
) -> None:
    """``stem``.md and ``stem``.svg; ``tables``: of the corpora "plain" and "adapted"."""
    plain, adaptive = tables["plain"], tables["adapted"]
    title = "RAVDESS, 8 emotions, speaker-independent"
    rows = [
        Compared(kind, *mean_sd(list(by_seed(found).values())), group=target)
        for (target, kind), found in plain.items()
    ]
    save_comparison(stem.with_suffix(".svg"), rows, majority=base, metric="accuracy", title=title)
    taught = next(found for (_, kind), found in plain.items() if kind != NONE)
    text = mean_sd([r["source"]["valid"]["balanced_accuracy"] for r in taught.values()])[0]
    parts = [
        HEAD.format(host=host_block(), text=f"{text:.3f}"),
        "## Speaker-independent",
        _figures(plain, base, published=True),
        DIFFERENCES,
        f"![{title}]({stem.name}.svg)",
        "Mean accuracy of each fold over the seeds:",
        _folds(plain),
        "Against no transfer, accuracy in points. By seed: pairs are seeds, over all clips; by "
        "fold: pairs are folds, mean of the seeds. Seeds share test actors: the second is the "
        "strict one.",
        _tests(plain),
        "## Speaker-adaptive: never to be mixed with the table above",
        "Every vector is standardised by the unlabelled mean and deviation of **all clips of the "
        "same speaker**, test speakers too. This needs other recordings of the person, with the "
        "same share of each emotion, before the first prediction; the published figures above do "
        "not have it, so none stands beside.",
        _figures(adaptive, base, published=False),
        _tests(adaptive),
        "## Conclusions",
        "\n".join(
            f"- {name}, {target}, texts, {kind}: {verdict(against(found, given[target, NONE]))}"
            for name, given in (("speaker-independent", plain), ("speaker-adaptive", adaptive))
            for (target, kind), found in given.items()
            if kind != NONE
        ),
        "## Settings chosen",
        "For voice, face and both alike, chosen for the voice. " + network_line(chosen[NONE]),
        settings_lines(chosen),
        "## What was tried",
        "Balanced accuracy on validation actors, mean ± sd over tuning seeds × folds; each stage "
        "starts from the choice of the one before.",
        record(tried),
    ]
    stem.with_suffix(".md").write_text("\n\n".join(p.strip() for p in parts) + "\n", "utf-8")


def _figures(given: Table, base: float, *, published: bool) -> str:
    rows = [("majority", f"{base:.3f}", f"{1 / 8:.3f}")]
    for (target, kind), found in given.items():
        first, second = (
            spread(list(by_seed(found, name).values()))
            for name in ("accuracy", "balanced_accuracy")
        )
        rows.append((f"{target}, {_named(kind)}", first, second))
    if published:
        rows += [(name, value, "–") for name, value in PUBLISHED]
    return table(("model", "accuracy", "balanced accuracy"), rows)


def _folds(given: Table) -> str:
    return table(
        ("model", *(", ".join(map(str, actors)) for actors in FOLDS)),
        [
            (f"{target}, {_named(kind)}", *(f"{v:.3f}" for v in by_fold(found).values()))
            for (target, kind), found in given.items()
        ],
    )


def _tests(given: Table) -> str:
    rows = []
    for (target, kind), found in given.items():
        if kind != NONE:
            for unit, test in against(found, given[target, NONE]).items():
                if unit != "fold × seed":
                    rows.append((f"{target}, {_named(kind)}, by {unit}", *test.cells(2)))
    return table(("model, unit of pairing", *PAIRED_HEADERS), rows)


def _named(kind: str) -> str:
    return kind if kind == NONE else f"texts, {kind}"
