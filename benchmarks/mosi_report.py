"""The report on the MOSI features in Markdown; every figure comes out of the runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from experiments import PAIRED_HEADERS, mean_sd, paired, spread, table
from mosi_choice import Choice
from mosi_lead_report import lead_sections
from mosi_plain import FUSIONS, SEEDS, Row
from mosi_runs import METRICS, TARGETS, TRANSFERS
from mosi_speed import Speed
from mosi_systems import Ensemble
from mosi_words import conclusions

from avsent.training.metrics import ACCURACY, AUC, BALANCED_ACCURACY

FINDINGS = {
    "source": ("78.4", "76.7", ".855"),
    "A, none": ("54.6", "54.8", ".572"),
    "A, full": ("53.8", "55.0", ".571"),
    "V, none": ("53.6", "53.2", ".535"),
    "V, decoder": ("54.6", "54.2", ".542"),
    "V, full": ("54.3", "53.7", ".537"),
    "A+V, none": ("53.3", "52.9", ".538"),
    "A+V, decoder": ("55.4", "54.4", ".547"),
    "A+V, full": ("54.0", "53.7", ".542"),
    "strong, none": ("58.3", "58.4", ".615"),
    "strong, full": ("57.4", "56.9", ".581"),
    "strong, decoder, TF-IDF cross-fitted": ("58.5 (5 seeds)", "58.7", ".607"),
}
"""../shared/FINDINGS.md, "HMTL on the MOSI features": accuracy, balanced accuracy, AUC."""
STRONG = (
    "strong, none",
    "strong, decoder",
    "strong, full",
    "strong, decoder, TF-IDF cross-fitted",
)
Majority = dict[str, dict[str, float]]
"""Figures of two constant answers, by the part that they are taken from."""
FIGURES = ("accuracy %", "balanced %", "AUC")


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything the report tells."""

    date: str
    rerun: str
    figure: str
    host: str
    data_sha256: str
    seconds: float
    rows: dict[str, Row]
    sources: dict[str, Row]
    majority: Majority
    choice: Choice
    systems: dict[str, Ensemble]
    speeds: tuple[Speed, ...]


def report(measured: Measured) -> str:
    """The whole report."""
    rows, sources = measured.rows, measured.sources
    parts = [
        f"# HMTL on the MOSI features, {measured.date}",
        f"Made by `make bench-mosi`; once more:\n\n```sh\n{measured.rerun}\n```",
        f"All runs together took {measured.seconds / 60:.0f} minutes of one core that other work "
        "shared; results are kept under `cache/bench/`, so a rerun computes only what is missing. "
        "The table below is of the machine that wrote this report.",
        measured.host,
        "## In short",
        conclusions(
            rows, sources, measured.majority, measured.choice, measured.systems, measured.speeds
        ),
        f"![AUC of every setting]({measured.figure})",
        "## Data and protocol",
        _protocol(measured),
        "## Targets and transfer",
        _targets(rows, sources, measured.majority),
        "Each kind of transfer against none, on the same seeds (the unit of pairing is the seed):",
        _paired_targets(rows),
        "## Fusion heads, A+V",
        "With ready-made vectors `avef` has one segment: it is `concat` with one dense layer more.",
        _fusions(rows, measured.majority),
        "Full transfer against none, and each head against `hmtl`, both on the same seeds:",
        _paired_fusions(rows),
        "## Strong regularisation",
        "A+V, dropout .7, weight decay 1e-3, input dropout .3, the epoch by validation, which here "
        "sees vectors that were fitted to its own labels. TF-IDF: first five seeds.",
        _table_of({name: rows[name] for name in STRONG}, FINDINGS),
        _paired_with(rows, [(name, "strong, none") for name in STRONG[1:]]),
        *lead_sections(measured.choice, measured.systems, rows),
        "## Speed",
        _speed(measured.speeds),
    ]
    return "\n\n".join(parts) + "\n"


def _protocol(measured: Measured) -> str:
    return "\n".join(
        (
            "- Data: `mosi_utterance.npz` (CMU-MOSI, 2,199 utterances of 93 videos, made by "
            "others; research only, the data folder names no licence of the file), SHA-256 "
            f"`{measured.data_sha256}`. Label: the file's binary one (sentiment ≥ 0 is positive).",
            "- Parts: `bclstm_split`, 62 / 31 videos. Of the 62, 12 are drawn anew for each seed "
            f"as validation part, alike in labels; seeds {SEEDS[0]}–{SEEDS[-1]}. Best epoch by "
            "balanced accuracy there.",
            "- Sizes: BiGRU 48 → dense 50 → BiGRU 24, classifier 50, dropout .4; AdamW 1e-3, 16 "
            "videos a batch, 30 epochs, gradients clipped at 5, classes weighed by the inverse of "
            "how common they are; inputs standardised on the training part, cut at ±3. Decoder "
            "weight 5, adversarial 0.3; source: text, paired, frozen, always with plain "
            "regularisation (with that of the strong rows a TF-IDF source stays at chance).",
            "- **What these features can show.** Text and video vectors were learnt by others with "
            "the labels of all 62 training videos, so validation videos are known to them. All "
            "seeds share one test part of 31 videos: the tests below say whether a difference "
            "would be seen again with other seeds, not with other videos.",
            "- ± is the standard deviation over seeds; p is two-sided, Student's t of paired "
            "differences, not corrected for how many there are.",
        )
    )


def _cells(row: Row) -> list[str]:
    percent = [
        spread([100 * v for v in row.of(metric)], 1) for metric in (ACCURACY, BALANCED_ACCURACY)
    ]
    valid = mean_sd(row.of(AUC, "valid"))[0]
    return [*percent, spread(row.of(AUC)), f"{valid:.3f}"]


def _majority(majority: Majority) -> list[list[str]]:
    return [
        [
            f"always the commonest class of the {part} part",
            f"{100 * found[ACCURACY]:.1f}",
            f"{100 * found[BALANCED_ACCURACY]:.1f}",
            f"{found[AUC]:.3f}",
            "–",
        ]
        for part, found in majority.items()
    ]


def _epoch(row: Row) -> str:
    return f"{mean_sd([float(result['best_epoch']) for result in row.results])[0]:.0f}"


def _table_of(rows: dict[str, Row], findings: dict[str, tuple[str, ...]]) -> str:
    headers = ("setting", *FIGURES, "AUC on validation", "best epoch", "FINDINGS: acc, bal, AUC")
    return table(
        headers,
        [
            [name, *_cells(row), _epoch(row), " / ".join(findings.get(name, ("–",)))]
            for name, row in rows.items()
        ],
    )


def _targets(rows: dict[str, Row], sources: dict[str, Row], majority: Majority) -> str:
    lines = [[*cells, "–", "–"] for cells in _majority(majority)]
    lines[-1][-1] = "62.1 / 50.0 / .500"
    for name, row in sources.items():
        known = " / ".join(FINDINGS["source"]) if name == "text vectors of the file" else "–"
        lines.append([f"source: {name}", *_cells(row), "–", known])
    for target in TARGETS:
        for transfer in TRANSFERS:
            name = f"{target}, {transfer}"
            row = rows[name]
            known = " / ".join(FINDINGS.get(name, ("–",)))
            lines.append([name, *_cells(row), _epoch(row), known])
    headers = ("setting", *FIGURES, "AUC on validation", "best epoch", "FINDINGS: acc, bal, AUC")
    return table(headers, lines)


def _paired_with(rows: dict[str, Row], pairs: Iterable[tuple[str, str]]) -> str:
    lines = []
    for name, other in pairs:
        cells = [f"{name} − {other}"]
        for metric in METRICS[1:]:
            ours, theirs = rows[name].of(metric), rows[other].of(metric)
            cells += paired(ours, theirs[: len(ours)]).cells()
        lines.append(cells)
    short = {BALANCED_ACCURACY: "balanced", AUC: "AUC"}
    headers = [f"{short[m]}: {h}" for m in METRICS[1:] for h in PAIRED_HEADERS]
    return table(("pair", *headers), lines)


def _paired_targets(rows: dict[str, Row]) -> str:
    taught = list(TRANSFERS)[1:]
    return _paired_with(rows, [(f"{t}, {name}", f"{t}, none") for t in TARGETS for name in taught])


def _fusions(rows: dict[str, Row], majority: Majority) -> str:
    lines = _majority(majority)
    for name in FUSIONS:
        lines += [[n, *_cells(rows[n])] for n in (f"{name}, none", f"{name}, full")]
    return table(("head, transfer", *FIGURES, "AUC on validation"), lines)


def _paired_fusions(rows: dict[str, Row]) -> str:
    pairs = [(f"{name}, full", f"{name}, none") for name in FUSIONS]
    pairs += [(f"{name}, none", "hmtl, none") for name in FUSIONS if name != "hmtl"]
    return _paired_with(rows, pairs)


def _speed(speeds: Sequence[Speed]) -> str:
    lines = [
        [
            str(speed.threads),
            f"{1000 * speed.median('none'):.0f} ms",
            f"{1000 * speed.median('full'):.0f} ms",
            f"{speed.rate('none'):.0f}",
            f"{speed.rate('full'):.0f}",
            f"{speed.ratio:.2f}",
        ]
        for speed in speeds
    ]
    count, utterances = len(speeds[0].seconds["none"]), speeds[0].utterances
    headers = ("threads", "epoch, none", "epoch, full", "utt/s, none", "utt/s, full", "ratio")
    return (
        f"A+V, {utterances} training utterances of seed 0, CPU. Two models train side by side in "
        "one process, an epoch of one, then an epoch of the other, so that other load meets both "
        "alike; the training part alone, without validation. One thread: CPU seconds, which other "
        "work on the machine does not lengthen; two threads: wall seconds, measured only where the "
        f"machine is free. Median of {count} epochs each; ratio "
        "(aim: at most 3): median of full / none of neighbouring epochs. The source's own "
        "pretraining, which runs once before, is not in it.\n\n" + table(headers, lines)
    )
