"""The folder of a training run: its settings, its figures, the state to resume from.

::

    OUT/config.json                settings, seeds, data and its SHA-256, versions
    OUT/seed-0/metrics.jsonl       every epoch of source and target
    OUT/seed-0/source.safetensors, OUT/seed-0/target.safetensors
                                   state to resume from
    OUT/seed-0/spaces.safetensors  embeddings with and without transfer, if there was any
    OUT/seed-0/evaluation.json     figures of the finished seed
    OUT/seed-0/predictions.csv     on the test part (validation if there is none)
    OUT/seed-0/checkpoint/         its model
    OUT/summary.json               mean and deviation over the seeds
    OUT/checkpoint/                the seed that is best on validation, with its card
    OUT/plots/                     its loss curves, confusion, embedding spaces
"""

import contextlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from avsent.errors import CheckpointError, InputError, OutputError, UsageError
from avsent.files import TEMPORARY, atomic_text
from avsent.labels import LabelScale, LabelSet
from avsent.model.folders import RUN_FORMAT, checkpoint_folder
from avsent.schema import read_object
from avsent.text import counted
from avsent.training.data.corpus import SPLITS
from avsent.training.metrics import BALANCED_ACCURACY, MAE, TITLES, figure_text

SPACES_FILE = "spaces.safetensors"
"""Of a seed: its embedding spaces, to draw their figure again."""
PARTS_FILE = "parts.json"
"""Of a checkpoint: the utterances of each part, as an evaluation on the same data must leave out
the training part; and ``learnt``, the fingerprints of all that it and its --init learnt from."""
CARD_FILE = "CARD.md"
LEFT_OUT_FILE = "left-out.txt"  # what --skip-broken left out
PACKAGES = ("avsent", "torch", "numpy", "scikit-learn", "librosa", "dlib-bin")

EPOCHS, PATIENCE = "settings.optimiser.epochs", "settings.optimiser.patience"
LABEL_SCALE = "data.label_scale"
RESTORE = "restore it, or start again with --fresh"
OPTIONS = {
    "init": "--init",
    "init.name": "--init",
    "init.sha256": "--init",
    "init.pull": "--pull",
    "init.tune_epochs": "--tune-encoders",
    "settings.target": "--target",
    "settings.label": "--label",
    "settings.labels": "--labels",
    "settings.context.dropout": "--dropout",
    "settings.fusion.name": "--fusion",
    "settings.fusion.beta": "--fusion-beta",
    "settings.fusion.original": "--fusion-original",
    "settings.fusion.factors": "--fbp-factors",
    "settings.fusion.outputs": "--fbp-outputs",
    "settings.fusion.segments": "--segments",
    "settings.fusion.rank": "--rank",
    "settings.attention_scale": "--attention-scale",
    "settings.transfer.source": "--source",
    "settings.transfer.kind": "--transfer",
    "settings.transfer.scaled": "--scale-beta/--no-scale-beta",
    "settings.transfer.classification": "--alpha",
    "settings.transfer.decoder": "--beta",
    "settings.transfer.adversarial": "--gamma",
    "settings.transfer.schedule": "--schedule",
    "settings.transfer.cross_fit": "--cross-fit",
    EPOCHS: "--epochs",
    PATIENCE: "--patience",
    "settings.optimiser.batch_videos": "--batch",
    "settings.optimiser.learning_rate": "--learning-rate",
    "settings.optimiser.weight_decay": "--weight-decay",
    "settings.optimiser.label_smoothing": "--label-smoothing",
    "settings.optimiser.input_dropout": "--input-dropout",
    "settings.optimiser.modality_dropout": "--modality-dropout",
    "settings.optimiser.balance": "--balance/--no-balance",
    "settings.optimiser.augment": "--augment/--no-augment",
    "settings.optimiser.select": "--select",
    "settings.split.by": "--split-by",
    "settings.text.encoder": "--text-encoder",
    "settings.check": "--check/--no-check",
    "seeds": "--seeds",
    "baseline": "--baseline/--no-baseline",
    LABEL_SCALE: "--label-range",
    "data.text_corpus": "--text-corpus",
}
"""Entries of a run's ``config.json``, and the options of avsent train that decide them."""
CHANGES = {
    "init.sha256": "with another model of that name for --init",
    "data.name": "with the data {!r}, not {!r}",
    "data.rows_sha256": "with other utterances, speakers, labels, texts or parts in its data",
    "data.sha256": "with data of other content",
    "data.utterances": "with {} utterances, not {}",
    "data.texts": "with {} texts in --text-corpus, not {}",
    "data.texts_sha256": "with other texts in --text-corpus",
}
"""What a difference in these entries means."""

BASELINE = "no-transfer"
MODELS = {"target": "this model", BASELINE: "without transfer", "source": "source"}
"""Entries of a seed's ``evaluation.json`` that hold figures, and their names in the card."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """A run that is resumed: how many ``epochs`` it was begun with; ``inexact``: what of those done
    followed that number, where it is another one now, so that the model differs from that of an
    uninterrupted run. Else ""."""

    epochs: int
    inexact: str = ""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run's folder; made when the run begins."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        """The model to use."""
        return self.path / "checkpoint"

    @property
    def plots(self) -> Path:
        """Figures of the chosen seed."""
        return self.path / "plots"

    def seed(self, seed: int) -> Path:
        """Everything of one seed."""
        return self.path / f"seed-{seed}"

    def evaluation(self, seed: int) -> dict[str, Any] | None:
        """Figures of a finished seed; None for an unfinished one."""
        path = self.seed(seed) / "evaluation.json"
        return read_run_file(path) if path.is_file() else None

    def finished(self) -> list[int]:
        """The finished seeds, sorted."""
        found = self.path.glob("seed-*/evaluation.json")
        seeds = (path.parent.name.removeprefix("seed-") for path in found)
        return sorted(int(seed) for seed in seeds if seed.isdecimal())

    def best(self) -> int:
        """The finished seed that is best on validation. Raises InputError without one or a run."""
        config = self.path / "config.json"
        if not config.is_file() or read_run_file(config).get("format") != RUN_FORMAT:
            raise InputError(f"{self.path}: is no training run; give the -o OUT of avsent train")
        values = {seed: self.evaluation(seed) for seed in self.finished()}
        if not values:
            raise InputError(f"{self.path}: no seed is finished yet; run avsent train to its end")
        return _best({seed: one or {} for seed, one in values.items()})

    def begin(
        self,
        config: Mapping[str, Any],
        *,
        fresh: bool,
        by_epochs: Mapping[str, Sequence[str]],
    ) -> Resumed | None:
        """Make the folder, or resume the run in it, which may get another number of epochs; None
        for a new run.

        ``by_epochs``: by stage, what follows the number of epochs. Raises as :meth:`same_run`, and
        OutputError if the folder cannot be written or holds something else.
        """
        file, config = self.path / "config.json", {"format": RUN_FORMAT, **config}
        before = None if fresh else self.same_run(config)
        if before is not None:
            for half_written in self.path.rglob(f"{TEMPORARY}*.tmp"):  # by a killed run
                with contextlib.suppress(OSError):
                    half_written.unlink()
            was, inexact = _entry(before, EPOCHS), list[str]()
            if was != _entry(config, EPOCHS):
                for stage, following in by_epochs.items():
                    if any(self.path.glob(f"seed-*/**/{stage}*.safetensors")):
                        inexact += following
                earlier = [*before.get("earlier_epochs", []), *([was] if inexact else [])]
                kept = {"versions": before["versions"], "earlier_epochs": earlier}
                self._unfinish()
                write_json(
                    file, {**config, **{name: value for name, value in kept.items() if value}}
                )
            return Resumed(was, " and ".join(dict.fromkeys(inexact)))
        self.check()
        try:
            names = ("summary.json", LEFT_OUT_FILE, "checkpoint", "plots")
            old = (self.path / name for name in names)
            for path in (*old, *self.path.glob("seed-*")):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror})") from error
        write_json(file, {**config, "versions": versions()})
        return None

    def same_run(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
        """The configuration of the run in the folder, if there is one. Raises UsageError if it is
        another run than ``config``, or has done more epochs; InputError if it cannot be read.

        Entries that ``config`` lacks are not compared. The number of epochs may differ.
        """
        file = self.path / "config.json"
        if not file.is_file():
            return None
        before, now = read_run_file(file), json.loads(json.dumps(config))
        if before.get("format") != RUN_FORMAT:  # a checkpoint, which :meth:`check` refuses
            return None
        for name in ("settings", "seeds", "data", "versions"):
            if not before.get(name):
                raise InputError(f"{file}: damaged, it lacks {name}; {RESTORE}")
        remedy = "give another -o, or --fresh to start again"
        for name, old, new in _differences(before, now):
            if name == PATIENCE:
                # Without --patience it is the number of epochs.
                old, new = (
                    None if value == _entry(one, EPOCHS) else value
                    for value, one in ((old, before), (new, now))
                )
            if name != EPOCHS and old != new:
                raise UsageError(f"{self.path} holds a run {_difference(name, old, new)}; {remedy}")
        done, epochs = self._epochs_done(), _entry(now, EPOCHS)
        if done > epochs:
            raise UsageError(
                f"{self.path} holds a run of {done} epochs, more than --epochs {epochs}; {remedy}"
            )
        return before

    def _epochs_done(self) -> int:
        """Those of the stage that has done most; tuning encoders has a number of its own."""
        done = 0
        for path in self.path.glob("seed-*/**/*.safetensors"):
            if path.stem.startswith(("source", "target")):
                # Damage is reported by who resumes from it.
                damage = (OSError, SafetensorError, ValueError, KeyError, TypeError)
                with contextlib.suppress(*damage), safe_open(path, framework="numpy") as state:
                    done = max(done, int(json.loads(state.metadata()["progress"])["epoch"]))
        return done

    def _unfinish(self) -> None:
        """Let the seeds go on; the checkpoint stays until there is another. Raises OutputError."""
        try:
            for path in (self.path / "summary.json", *self.path.glob("seed-*/evaluation.json")):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror})") from error

    def check(self) -> None:
        """Raise OutputError if no run can be kept here: other files, or no permission to write."""
        if self.path.exists() and not self._may_be_emptied():
            raise OutputError(f"{self.path}: holds other files; give a new folder with -o")
        parent = self.path.absolute()
        while not parent.exists():
            parent = parent.parent
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            raise OutputError(f"{self.path}: cannot be written; give another folder with -o")

    def _may_be_emptied(self) -> bool:
        """Whether it is empty or holds a run; checkpoints have a ``config.json``, too."""
        config = self.path / "config.json"
        if not config.is_file():
            return self.path.is_dir() and not any(self.path.iterdir())
        try:
            return read_run_file(config).get("format") == RUN_FORMAT
        except InputError:  # damaged
            return any(self.path.glob("seed-*"))


def versions() -> dict[str, str]:
    """Of Python and of the packages that can change a result."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def default_folder(data: Path) -> Path:
    """Where a run is kept by default: ``runs/``, with the data's name and the time."""
    name = (data.parent if data.name == "manifest.csv" else data).resolve().stem or "data"
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def _differences(
    before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Name, old and new value of every entry of ``now`` that differs in ``before``; digests that
    earlier versions did not keep do not differ."""
    for key, new in now.items():
        name, old = f"{prefix}{key}", before.get(key)
        if isinstance(new, dict) and isinstance(old, dict) and name != LABEL_SCALE:
            yield from _differences(old, new, f"{name}.")
        elif old != new and (key in before or not key.endswith("sha256")):
            yield name, old, new


def _entry(config: Mapping[str, Any], name: str) -> Any:
    """The entry of that dotted name; None without."""
    for key in name.split("."):
        config = config.get(key) or {}
    return config or None


def _difference(name: str, old: Any, new: Any) -> str:
    """What another run has been begun with, such as "with --epochs 6, not 8"."""
    if name in CHANGES:
        return CHANGES[name].format(old, new)
    option = OPTIONS.get(name, name)
    if name == "seeds":
        first = old[0] != new[0]
        option, old, new = ("--seed", old[0], new[0]) if first else (option, len(old), len(new))
    if name == LABEL_SCALE:
        option = str(LabelScale(**(old or new))).split()[0]
    on, _, off = option.partition("/")

    def told(value: Any) -> str:
        if value is None or value == "" or value is False:
            return f"with {off}" if off else f"without {on}"
        if value is True:
            return f"with {on}"
        if name == LABEL_SCALE:
            return f"with {LabelScale(**value)}"
        text = value.get("name") if isinstance(value, dict) else value
        return f"with {on} {','.join(text) if isinstance(text, list) else text}"

    was, now = told(old), told(new)
    if was == now:
        return f"{was} of other content"
    if was.startswith(f"with {on} "):
        now = now.removeprefix(f"with {on} ")
    return f"{was}, not {now}"


def write_json(path: Path, data: Any) -> None:
    """Write ``data`` atomically. Raises OutputError."""
    with atomic_text(path) as file:
        json.dump(data, file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")


def read_run_file(path: Path) -> dict[str, Any]:
    """Read an object that :func:`write_json` wrote. Raises InputError."""
    return read_object(path, InputError, RESTORE)


def read_parts(checkpoint: str | Path) -> dict[str, Any]:
    """The parts file of a checkpoint; empty if it has none. Raises CheckpointError."""
    path, remedy = checkpoint_folder(checkpoint) / PARTS_FILE, "restore it, or delete it"
    parts = read_object(path, CheckpointError, remedy) if path.is_file() else {}
    for name in (*SPLITS, "learnt"):
        keys = parts.get(name, [])
        if not (isinstance(keys, list) and all(isinstance(key, str) for key in keys)):
            raise CheckpointError(f"{path}: damaged, {name} is no list of names; {remedy}")
    return parts


@contextmanager
def tensorboard(folder: Path) -> Iterator[Callable[[str, dict[str, float]], None]]:
    """A function that logs the figures of a stage's epoch, where TensorBoard is installed."""
    if find_spec("tensorboard") is None:
        yield lambda stage, measured: None
        return
    from torch.utils.tensorboard import SummaryWriter

    for old in folder.glob("events.*"):  # a resumed run logs its earlier epochs again
        old.unlink(missing_ok=True)
    with SummaryWriter(str(folder)) as writer:

        def board(stage: str, measured: dict[str, float]) -> None:
            for name, value in measured.items():
                if name != "epoch":
                    writer.add_scalar(f"{stage}/{name}", value, int(measured["epoch"]))

        yield board


def summarise(evaluations: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and sample deviation over seeds of every figure, by model and part; the best seed.

    The best seed is chosen on validation alone. The deviation is None for a single seed.
    """
    seeds = sorted(evaluations)
    best = _best(evaluations)
    summary: dict[str, Any] = {
        "seeds": seeds,
        "best_seed": best,
        "best_epochs": [int(evaluations[seed]["best_epoch"]) for seed in seeds],
        "parts": evaluations[best]["parts"],
        "classes": evaluations[best]["classes"],
    }
    if "folds" in evaluations[best]:
        summary["folds"] = evaluations[best]["folds"]
    if collapse := {s: one["collapse"] for s, one in evaluations.items() if "collapse" in one}:
        summary["collapse"] = {
            "seeds": sorted(collapse),
            "embeddings": sorted({name for one in collapse.values() for name in one["embeddings"]}),
            "decisions": sorted({one["decision"] for one in collapse.values()} - {None}),
            "part": collapse[min(collapse)]["part"],
        }
    for model in MODELS:
        if all(model in evaluations[seed] for seed in seeds):
            summary[model] = {
                part: _over_seeds([evaluations[seed][model][part] for seed in seeds])
                for part in ("valid", "test")
                if all(part in evaluations[seed][model] for seed in seeds)
            }
    summary["chosen"] = evaluations[best]["target"]
    for name in ("gain", "alignment"):
        if all(name in evaluations[seed] for seed in seeds):
            summary[name] = evaluations[best][name]
    return summary


def _best(evaluations: Mapping[int, Mapping[str, Any]]) -> int:
    """The seed with the best validation value; of equal ones the lowest."""
    values = {seed: float(one["validation_value"]) for seed, one in evaluations.items()}
    return max(values, key=lambda seed: (values[seed], -seed))


def _over_seeds(found: list[Mapping[str, Any]]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name in found[0]["metrics"]:
        values = [one["metrics"][name] for one in found]
        if any(value is None for value in values):
            figures[name] = None
            continue
        baselines = [one["baseline"].get(name) for one in found]
        known = [value for value in baselines if value is not None]
        figures[name] = {
            "mean": float(np.mean(values)),
            "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
            "values": values,
            "majority": float(np.mean(known)) if known else None,
        }
    return figures


def write_run_card(
    folder: Path, config: Mapping[str, Any], summary: Mapping[str, Any], labels: LabelSet
) -> None:
    """Write ``CARD.md`` into the checkpoint's ``folder``."""
    name = folder.resolve().parent.name
    settings, data = config["settings"], config["data"]
    classes = "numbers (−3 … 3)" if labels.real else ", ".join(labels.names)
    seeds = ", ".join(map(str, summary["seeds"]))
    versions = ", ".join(f"{package} {number}" for package, number in config["versions"].items())
    parts = "; ".join(
        _part_size(part, sizes)
        for part, sizes in summary["parts"].items()
        if sizes["utterances"] or part == "test"
    )
    by, folds = settings["split"]["by"], summary.get("folds")
    chosen = "Epoch and seed were chosen on the validation part alone."
    if folds:
        parts += f". Out-of-fold figures: {folds} models that did not learn from that {by}"
        chosen = "No epoch was chosen; the seed was, by the out-of-fold figures."
    stated = data["label_scale"]
    scale = f"\n- Labels were read by {LabelScale(**stated)}." if stated else ""
    card = f"""# {name}: {" and ".join(settings["target"])}, {classes}

Trained by `avsent train` (HMTL target model, fusion {settings["fusion"]["name"]}).

## Data and licence
- {data["name"]}: {data["utterances"]} utterances, SHA-256 {data["sha256"][:16]}…, licence:
  {data["licence"] or "not stated; whoever passes this model on must look it up"}.
{_start(config.get("init"))}{_teacher(settings["transfer"], data)}{_earlier(config)}
- No part shares a {by} with another: {parts}.{scale}

## Measured
Seeds {seeds}; here is seed {summary["best_seed"]}. {chosen}
Mean ± sample deviation over the seeds; majority: always deciding for
the training part's commonest class{" (numbers: its mean)" if labels.real else ""}.

{_tables(summary)}{_collapse(summary)}
{_confusion(summary)}
## Settings
{_settings(settings)}

Versions: {versions}.

## What it is not
It tells how an utterance comes across in voice and face, not what a person feels, and must not be
used to judge people. On other people, rooms, cameras and languages than those it learnt from,
expect less than the tables say.
"""
    with atomic_text(folder / CARD_FILE) as file:
        file.write(card)


def collapse_text(summary: Mapping[str, Any]) -> str:
    """Says in how far the models do not tell utterances apart; "" if they do."""
    if not (found := summary.get("collapse")):
        return ""
    told, part = [], f"utterances of the {found['part']} part"
    if names := found["embeddings"]:
        told.append(f"the embeddings of {' and '.join(names)} are the same for all {part}")
    if names := found["decisions"]:
        told.append(f"the model decides for {' or '.join(names)} in all {part}")
    seeds = ", ".join(map(str, found["seeds"]))
    return " and ".join(told) + (f" (seed {seeds})" if len(summary["seeds"]) > 1 else "")


def _start(start: Mapping[str, Any] | None) -> str:
    if start is None:
        return ""
    return (
        f"- Training started from {start['name']}, SHA-256 {start['sha256'][:16]}…, whose licence "
        f"also holds for this model: {start['licence'] or 'not stated'}.\n"
    )


def _teacher(transfer: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    if transfer["source"] is None:
        return "- No other modality taught it."
    how = transfer["kind"]
    if data["texts"]:
        how += f", a model that also learnt from the {data['texts']} texts of {data['text_corpus']}"
    return (
        f"- While it was trained {transfer['source']} of the same utterances taught it ({how}); "
        "prediction does not need it."
    )


def _collapse(summary: Mapping[str, Any]) -> str:
    text = collapse_text(summary)
    return f"\n**Not to be used as it is**: {text}.\n" if text else ""


def _earlier(config: Mapping[str, Any]) -> str:
    """Says that learning rate or transfer followed another number of epochs at first."""
    if not (earlier := config.get("earlier_epochs")):
        return ""
    return (
        f"\n- Begun with {' and then '.join(map(str, earlier))} epochs, which learning rate or "
        "transfer followed: training it anew may give another model."
    )


FEW_TESTED, FEW_SPEAKERS, FEW_OF_CLASS = 50, 5, 10
"""Fewer utterances or speakers (without known ones: videos) say little about others, and fewer
training utterances of a class teach little: the end of a run warns."""


def closing_lines(summary: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """What the end of a run says, and what it warns of: how large each part was, which epoch was
    kept, how the model stands against the majority and against no transfer."""
    parts, best = summary["parts"], summary["seeds"].index(summary["best_seed"])
    sizes = "; ".join(_part_size(*item) for item in parts.items() if item[1]["utterances"])
    epoch = f"epoch {summary['best_epochs'][best]} was kept"
    if len(summary["seeds"]) > 1:
        epoch = f"seed {summary['best_seed']} is best on validation; its {epoch}"
    part = "test" if "test" in summary["chosen"] else "valid"
    metric = next(name for name in (MAE, BALANCED_ACCURACY) if name in summary["target"][part])
    figure = summary["target"][part][metric]
    lines, doubts = [f"{sizes}; {epoch}", *transfer_lines(summary)], []
    if figure and figure["majority"] is not None:
        ahead = figure["mean"] - figure["majority"]
        if (ahead if metric == BALANCED_ACCURACY else -ahead) <= 0:
            always = "the commonest class" if metric == BALANCED_ACCURACY else "the mean"
            doubts.append(
                f"the model is no better than always {always}: do not use it; add labelled "
                "utterances, or start from the included model with --init default"
            )
    tested = parts[part if parts[part]["utterances"] else "train"]
    whose = "speaker" if tested["speakers"] else "video"
    if tested["labelled"] < FEW_TESTED or tested[f"{whose}s"] < FEW_SPEAKERS:
        doubts.append(
            f"the figures are of {counted(tested['labelled'], 'labelled utterance')} of "
            f"{counted(tested[f'{whose}s'], whose)}: too few to tell how the model does on others"
        )
    rare = [name for name, count in summary["classes"].items() if count < FEW_OF_CLASS]
    if rare:
        doubts.append(
            f"fewer than {FEW_OF_CLASS} labelled training utterances of {', '.join(rare)}: add some"
        )
    return lines, doubts


def _part_size(part: str, sizes: Mapping[str, int]) -> str:
    labelled = f" ({sizes['labelled']} labelled)" if sizes["labelled"] < sizes["utterances"] else ""
    speakers = f" by {counted(sizes['speakers'], 'speaker')}" if sizes["speakers"] else ""
    videos = counted(sizes["videos"], "video")
    return f"{part} {counted(sizes['utterances'], 'utterance')}{labelled} in {videos}{speakers}"


def _tables(summary: Mapping[str, Any]) -> str:
    tables = []
    for part in ("test", "valid"):
        title = part_title(summary, part)
        models, rows = figure_rows(summary, part)
        if models:
            head = [title, *(MODELS[model] for model in models), "majority"]
            tables.append(markdown_table(head, rows))
    lines = [f"Seed {summary['best_seed']}: {line}." for line in transfer_lines(summary)]
    if "source" in summary and BASELINE not in summary:
        lines.append("Not trained without transfer for comparison (`--no-baseline`).")
    return "\n\n".join([*tables, *lines]) + "\n"


def transfer_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """What transfer gave in the chosen seed, and how well it aligned the spaces."""
    part = "test" if "test" in summary["chosen"] else "valid"
    if found := summary.get("gain", {}).get(part):
        title = TITLES[found["metric"]]
        low, high = found["low"], found["high"]
        interval = "" if low is None else f" (95% interval {low:+.3f} to {high:+.3f})"
        gain = round(found["value"], 3)
        than = (
            f"{abs(gain):.3f} {'better' if gain > 0 else 'worse'} than" if gain else "the same as"
        )
        yield f"{title} is {than} without transfer{interval}"
    for modality, kinds in summary.get("alignment", {}).items():
        told = ", ".join(
            f"{one['domain_accuracy']:.3f} {'with' if kind == 'taught' else 'without'} transfer"
            f" (squared MMD {one['mmd']:.3f})"
            for kind, one in kinds.items()
        )
        yield (
            "A linear classifier tells embeddings of source and "
            f"{modality} apart with an accuracy of {told}; .5 is chance"
        )


def part_title(summary: Mapping[str, Any], part: str) -> str:
    """What a table of the figures on "valid" or "test" is headed with."""
    if part == "test":
        return "Test part"
    return "Out-of-fold" if "folds" in summary else "Validation part (chosen on it)"


def figure_rows(summary: Mapping[str, Any], part: str) -> tuple[list[str], list[list[str]]]:
    """The models measured on a part; for each metric its title, their figures, the majority's."""
    models = [model for model in MODELS if part in summary.get(model, {})]
    rows = []
    for metric, first in summary[models[0]][part].items() if models else ():
        cells = [_cell(summary[model][part].get(metric)) for model in models]
        majority = None if first is None else first["majority"]
        rows.append([TITLES[metric], *cells, figure_text(majority)])
    return models, rows


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, without a line break at its end."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def _cell(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "–"
    deviation = "" if figure["sd"] is None else f" ± {figure['sd']:.3f}"
    return f"{figure['mean']:.3f}{deviation}"


def _confusion(summary: Mapping[str, Any]) -> str:
    part = "test" if "test" in summary["chosen"] else "valid"
    found = summary["chosen"][part]
    if not found["confusion"]:
        return ""
    rows = [
        [label, *map(str, counts)]
        for label, counts in zip(found["labels"], found["confusion"], strict=True)
    ]
    return markdown_table([f"{part}: truth \\ decision", *found["labels"]], rows) + "\n"


def _settings(settings: Mapping[str, Any], prefix: str = "") -> str:
    return "\n".join(
        _settings(value, f"{prefix}{name}.")
        if isinstance(value, Mapping)
        else f"- {prefix}{name}: {value}"
        for name, value in settings.items()
    )
