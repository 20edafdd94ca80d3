"""``make bench-clips``: the shipped model on videos of corpora it never saw, clip by clip."""

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from harness import Report, option_parser, run

import avsent
from avsent.labels import POLARITY_LABELS
from avsent.result.record import Result

NOTE = """Nothing of these clips is in training or in any selection. They are few: each is listed.
The tool finds the utterances; a clip's label holds for all of it."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = option_parser(__doc__, clips="folder of the clips")
    parser.add_argument("--checkpoint", default="default")
    return run(parser, measure, arguments)


def measure(options: argparse.Namespace) -> Iterator[Report]:
    predictor = avsent.load(options.checkpoint)
    with (options.clips / "clips.csv").open(encoding="utf-8") as file:
        labelled = [row for row in csv.DictReader(file) if row["emotion"]]
    results = [predictor.predict(options.clips / row["file"]) for row in labelled]
    grid = [predictor.predict(path) for path in sorted((options.clips / "grid").glob("*.mp*g*"))]
    model = f"{predictor.model.name}, sha256 {predictor.model.sha256[:16]}…"
    report = Report("clips", "The shipped model on videos of other corpora", NOTE, model=model)
    rows = [
        {
            "clip": row["file"],
            "label": f"{row['emotion']} ({row['sentiment'] or 'no polarity'})",
            "seconds": f"{utterance.start_s:.1f}–{utterance.end_s:.1f}",
            "decision": utterance.sentiment,
            **{label: utterance.probabilities[label] for label in POLARITY_LABELS},
            "weight of the voice": utterance.modalities["audio"].weight,
        }
        for row, result in zip(labelled, results, strict=True)
        for utterance in result.utterances
    ]
    report.section("Labelled clips", rows)
    judged = [
        row["sentiment"] == _decision(result)
        for row, result in zip(labelled, results, strict=True)
        if row["sentiment"] and result.utterances
    ]
    note = "By the mean of a clip's probabilities, weighted by the utterances' length."
    figures = {"clips with a polarity": len(judged), "get their label": sum(judged)}
    report.section("Clips", figures, note)
    utterances = [u for result in grid for u in result.utterances]
    counts = Counter(utterance.sentiment for utterance in utterances)
    figures = {label: counts[label] for label in POLARITY_LABELS}
    figures["scores"] = ", ".join(f"{s:+.2f}" for s in sorted(u.score for u in utterances))
    report.section("GRID: neutral talkers reading commands", figures)
    yield report


def _decision(result: Result) -> str:
    """The label with the largest mean probability, weighted by the utterances' length."""
    sums = {
        label: sum(u.probabilities[label] * (u.end_s - u.start_s) for u in result.utterances)
        for label in POLARITY_LABELS
    }
    return max(sums, key=lambda label: sums[label])


if __name__ == "__main__":
    sys.exit(main())
