"""``avsent evaluate``: how good a checkpoint is on a labelled corpus."""

from __future__ import annotations

import functools
import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from avsent import files, machine
from avsent.cli import options, outcome
from avsent.cli.data import open_data
from avsent.cli.options import option
from avsent.text import counted

if TYPE_CHECKING:
    from avsent.training import evaluation

Part = StrEnum("Part", ["auto", "train", "valid", "test", "all"])


def evaluate(
    checkpoint: str = options.argument(
        "CHECKPOINT", "A checkpoint folder, or the name of an included model."
    ),
    data: Path = options.DATA,
    label: str = options.LABEL,
    label_range: tuple[float, float] | None = options.LABEL_RANGE,
    label_map: Path | None = options.LABEL_MAP,
    split: Part = option(
        "--split",
        "The split to evaluate on; auto: test if the data names splits, else all.",
        Part.auto,
    ),
    format: options.ReportFormat = options.REPORT_FORMAT,
    output: Path | None = option("--output -o FILE.json", "Also write all metrics to a JSON file."),
    confusion: Path | None = option(
        "--confusion FILE", "Draw the confusion matrix (.png or .svg)."
    ),
    draws: int = option("--draws", "Bootstrap samples over videos.", 1000, min=100, max=100_000),
    skip_broken: bool = options.SKIP_BROKEN,
    cache: Path | None = options.CACHE,
    device: str = options.DEVICE,
    quiet: bool = options.QUIET,
    debug: bool = options.DEBUG,
) -> None:
    """Evaluate a checkpoint on labelled data.

    Prints accuracy, balanced accuracy, F1 and AUC, for regression also error, correlation and
    MMSA's accuracies (with --label-range -1 1 also those for CH-SIMS); per class and per speaker;
    with 95% intervals (bootstrap over videos), and the result of always predicting the most common
    class. If decisions are unsure: the accuracy of these and of the others.
    """
    options.check_ending("-o", output, (".json",))
    options.check_ending("--confusion", confusion, (".png", ".svg"))
    targets = [target for target in (output, confusion) if target is not None]
    for target in targets:
        files.check_target(target, [data])

    # Imported here, so that mistakes above are reported at once.
    from avsent.model.checkpoint import load_config
    from avsent.training import evaluation, plots
    from avsent.training.data.feature_files import CorpusOptions

    where = machine.torch_device(device)
    config = load_config(checkpoint)
    scale = options.label_scale(label_range, label_map)
    reading = CorpusOptions(config.features, cache=cache, scale=scale, skip_broken=skip_broken)
    accept = functools.partial(evaluation.check_corpus, checkpoint, config, label, split)
    corpus = open_data(data, reading, accept=accept, quiet=quiet)
    evaluated = evaluation.evaluate_checkpoint(
        checkpoint, corpus, label=label, part=split, draws=draws, device=where, path=data
    )
    metrics = {
        "checkpoint": checkpoint,
        "data": corpus.name,
        "part": evaluated.part,
        "left_out": evaluated.left_out,
        "baseline_from": evaluated.baseline_from,
        "learnt_from": evaluated.learnt_from,
        **evaluated.evaluation.to_dict(),
    }
    text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if evaluated.learnt_from and not quiet:
        learnt = f"{config.name} learnt from {evaluated.learnt_from}"
        outcome.warn(f"{learnt}; its figures here say nothing about new people")
    if evaluated.left_out and not quiet:
        outcome.warn(
            f"{counted(evaluated.left_out, 'utterance')} left out: no label, or no voice and face"
        )
    if output is not None:
        with files.atomic_text(output) as file:
            file.write(text)
    if confusion is not None:
        counts, labels = evaluated.evaluation.confusion, evaluated.evaluation.labels
        plots.save_confusion(confusion, counts, labels, f"{corpus.name}, {evaluated.part}")
    with outcome.printing():
        if format is options.ReportFormat.json:
            print(text, end="")
        else:
            _print_evaluation(evaluated)
    for target in targets:
        outcome.say_wrote(target, quiet=quiet)


def _print_evaluation(evaluated: evaluation.CheckpointEvaluation) -> None:
    """Metrics with intervals and baseline, per class, confusion, per certainty, per speaker."""
    from avsent.training.metrics import ACCURACY, TITLES, figure_text

    found = evaluated.evaluation
    level = f"{100 * found.level:.0f}% interval"
    whose = "mean" if found.baseline_value is not None else "commonest"
    outcome.print_table(
        found.table_rows(),
        ["figure", "value", level, f"always the {whose} of {evaluated.baseline_from}"],
        title=f"{found.count} utterances of {found.videos} videos, part {evaluated.part}",
        figures=True,
    )
    if found.per_class:
        rows = [
            [c.label, *map(figure_text, (c.precision, c.recall, c.f1)), str(c.support)]
            for c in found.per_class
        ]
        head = ["class", "precision", "recall", "F1", "utterances"]
        outcome.print_table(rows, head, title="per class", figures=True)
    if found.confusion:
        counts = zip(found.labels, found.confusion, strict=True)
        rows = [[label, *map(str, row)] for label, row in counts]
        head = ["truth \\ decision", *found.labels]
        outcome.print_table(rows, head, title="confusion", figures=True)
    if found.certainty:
        rows = [
            [name, str(one["count"]), figure_text(one[ACCURACY])]
            for name, one in found.certainty.items()
        ]
        head = ["decision", "utterances", TITLES[ACCURACY]]
        outcome.print_table(rows, head, title="marked as unsure, and not", figures=True)
    if len(found.per_speaker) > 1:
        names = list(found.per_speaker[0].metrics)
        rows = [
            [s.speaker, str(s.count), *(figure_text(s.metrics[name]) for name in names)]
            for s in found.per_speaker
        ]
        head = ["speaker", "utterances", *(TITLES[name] for name in names)]
        outcome.print_table(rows, head, title="per speaker", figures=True)
