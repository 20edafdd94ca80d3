"""The shipped model on videos of corpora it never saw: ``make bench-clips``.

Nothing of these clips is in training or selection. They are few: each is listed.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from experiments import host_block, table

import avsent
from avsent.labels import POLARITY_LABELS
from avsent.result.record import Result
from avsent.result.utterance import UtteranceResult

HEAD = """# The shipped model on videos of other corpora

`make bench-clips` (`benchmarks/bench_clips.py`), model `{name}`, weights {sha256}.

Nothing of these clips is in training or in any selection. {count} labelled clips prove little; they
are listed one by one. An utterance is found by the tool itself; a clip's label holds for all of it.

{host}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--checkpoint", default="default")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    given = parser.parse_args()
    predictor = avsent.load(given.checkpoint)
    with (given.clips / "clips.csv").open(encoding="utf-8") as file:
        labelled = [row for row in csv.DictReader(file) if row["emotion"]]
    results = [predictor.predict(given.clips / row["file"]) for row in labelled]
    grid = [predictor.predict(path) for path in sorted((given.clips / "grid").glob("*.mp*g*"))]
    parts = [
        HEAD.format(
            name=predictor.model.name,
            sha256=predictor.model.sha256[:12],
            count=len(labelled),
            host=host_block(),
        ),
        "## Labelled clips\n\n" + _clips(labelled, results),
        _shares(labelled, results),
        "## GRID: neutral talkers reading commands\n\n" + _grid(grid),
    ]
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / f"{datetime.date.today().isoformat()}-clips.md"
    path.write_text("\n\n".join(part.strip() for part in parts) + "\n", "utf-8")
    print(path)
    return 0


def _clips(labelled: Sequence[dict[str, str]], results: Sequence[Result]) -> str:
    rows = []
    for row, result in zip(labelled, results, strict=True):
        for utterance in result.utterances:
            rows.append(
                (
                    row["file"],
                    f"{row['emotion']} ({row['sentiment'] or 'no polarity'})",
                    f"{utterance.start_s:.1f}–{utterance.end_s:.1f}",
                    utterance.sentiment,
                    *_numbers(utterance),
                )
            )
    heads = ("clip", "label", "seconds", "decision", *POLARITY_LABELS, "share of the voice")
    return table(heads, rows)


def _numbers(utterance: UtteranceResult) -> list[str]:
    numbers = [f"{utterance.probabilities[label]:.2f}" for label in POLARITY_LABELS]
    return [*numbers, f"{utterance.modalities['audio'].weight:.2f}"]


def _shares(labelled: Sequence[dict[str, str]], results: Sequence[Result]) -> str:
    """Clips whose mean probabilities are largest for their label."""
    right = judged = 0
    for row, result in zip(labelled, results, strict=True):
        if row["sentiment"] and result.utterances:
            lengths = [u.end_s - u.start_s for u in result.utterances]
            sums = {
                label: sum(
                    u.probabilities[label] * length
                    for u, length in zip(result.utterances, lengths, strict=True)
                )
                for label in POLARITY_LABELS
            }
            judged += 1
            right += max(sums, key=lambda label: sums[label]) == row["sentiment"]
    return (
        "By the mean of its utterances' probabilities, weighed by their length, "
        f"{right} of {judged} clips with a polarity get their label."
    )


def _grid(results: Sequence[Result]) -> str:
    utterances = [u for result in results for u in result.utterances]
    counts = Counter(utterance.sentiment for utterance in utterances)
    rows = [(label, str(counts[label])) for label in POLARITY_LABELS]
    scores = sorted(utterance.score for utterance in utterances)
    listed = ", ".join(f"{score:+.2f}" for score in scores)
    return table(("decision", "utterances"), rows) + f"\n\nScores: {listed}."


if __name__ == "__main__":
    sys.exit(main())
