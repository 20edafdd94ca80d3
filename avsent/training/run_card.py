"""The card of a checkpoint that a user trained: written from what the run measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avsent.labels import LabelSet
from avsent.training.metrics import TITLES
from avsent.writers.files import atomic_text

CARD_FILE = "CARD.md"
_ROWS = (("target", "this model"), ("no-transfer", "without transfer"), ("source", "source"))


def write_run_card(
    folder: Path, config: Mapping[str, Any], summary: Mapping[str, Any], labels: LabelSet
) -> None:
    """Write ``CARD.md`` into the checkpoint's ``folder``."""
    with atomic_text(folder / CARD_FILE) as file:
        file.write(card_text(folder.resolve().parent.name, config, summary, labels))


def card_text(
    name: str, config: Mapping[str, Any], summary: Mapping[str, Any], labels: LabelSet
) -> str:
    """The card as Markdown."""
    settings, data = config["settings"], config["data"]
    told = "numbers (−3 … 3)" if labels.real else ", ".join(labels.names)
    versions = ", ".join(f"{package} {number}" for package, number in config["versions"].items())
    return f"""# {name}: {" and ".join(settings["target"])}, {told}

Trained by `avsent train` (HMTL target model, fusion {settings["fusion"]["name"]}).

## Data and licence
- {data["name"]}: {data["utterances"]} utterances, SHA-256 {data["sha256"][:16]}…, licence:
  {data["licence"] or "not stated; whoever passes this model on must look it up"}.
{_teacher(settings, data)}
- No part shares a {settings["split"]["by"]} with another: {_parts(summary["parts"])}.

## Measured
Seeds {_seeds(summary["seeds"])}; here is seed {summary["best_seed"]}. Epoch and seed were chosen
on the validation part alone. Mean ± sample deviation over the seeds; majority: always deciding for
the training part's commonest class{" (numbers: its mean)" if labels.real else ""}.

{_tables(summary)}
{_chosen(summary)}
## Settings
{_settings(settings)}

Versions: {versions}.

## What it is not
It tells how an utterance comes across in voice and face, not what a person feels, and must not be
used to judge people. On other people, rooms, cameras and languages than those it learnt from,
expect less than the tables say.
"""


def _teacher(settings: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    transfer = settings["transfer"]
    if transfer["source"] is None:
        return "- No other modality taught it."
    whose = (
        f"the {data['texts']} texts of {data['text_corpus']}, paired anew by label in each epoch"
        if data["texts"]
        else "that of the same utterances"
    )
    return (
        f"- While it was trained {transfer['source']} taught it ({whose}); prediction does not "
        "need it."
    )


def _parts(parts: Mapping[str, Mapping[str, int]]) -> str:
    return "; ".join(
        f"{name} {sizes['utterances']} utterances in {sizes['videos']} videos"
        + (f" by {sizes['speakers']} speakers" if sizes["speakers"] else "")
        for name, sizes in parts.items()
    )


def _seeds(seeds: list[int]) -> str:
    return ", ".join(str(seed) for seed in seeds)


def _tables(summary: Mapping[str, Any]) -> str:
    tables = []
    for part, title in (("test", "Test part"), ("valid", "Validation part (chosen on it)")):
        rows = [(name, summary[m][part]) for m, name in _ROWS if part in summary.get(m, {})]
        if not rows:
            continue
        head = f"| {title} | " + " | ".join(name for name, _ in rows) + " | majority |"
        lines = [head, "|---" * (len(rows) + 2) + "|"]
        for metric, first in rows[0][1].items():
            cells = [_cell(found.get(metric)) for _, found in rows]
            majority = first["majority"] if first is not None else None
            cells.append("–" if majority is None else f"{majority:.3f}")
            lines.append(f"| {TITLES[metric]} | " + " | ".join(cells) + " |")
        tables.append("\n".join(lines))
    compared = "" if "no-transfer" in summary else _UNCOMPARED
    return "\n\n".join(tables) + "\n" + compared


_UNCOMPARED = "\nNot trained without transfer for comparison (`--baseline` does).\n"


def _cell(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "–"
    spread = "" if figure["sd"] is None else f" ± {figure['sd']:.3f}"
    return f"{figure['mean']:.3f}{spread}"


def _chosen(summary: Mapping[str, Any]) -> str:
    """Confusion of the seed that is here."""
    part = "test" if "test" in summary["chosen"] else "valid"
    found = summary["chosen"][part]
    if not found["confusion"]:
        return ""
    labels = found["labels"]
    head = f"| {part}: truth \\ decision | " + " | ".join(labels) + " |"
    rows = [
        f"| {label} | " + " | ".join(map(str, counts)) + " |"
        for label, counts in zip(labels, found["confusion"], strict=True)
    ]
    return "\n".join([head, "|---" * (len(labels) + 1) + "|", *rows]) + "\n"


def _settings(settings: Mapping[str, Any], prefix: str = "") -> str:
    lines = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            lines.append(_settings(value, f"{prefix}{name}."))
        else:
            lines.append(f"- {prefix}{name}: {value}")
    return "\n".join(lines)
