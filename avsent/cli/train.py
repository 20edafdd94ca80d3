"""``avsent train``: a model of the user's own labelled videos."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from avsent.cli import options
from avsent.cli.data import open_data
from avsent.cli.options import option
from avsent.cli.outcome import print_table, printing, say
from avsent.cli.progress import ProgressBar
from avsent.errors import UsageError
from avsent.progress import Progress
from avsent.training.settings import ALPHA, BETA, CONTEXT, GAMMA

if TYPE_CHECKING:
    from avsent.training.run import Hooks

TARGETS = ("audio,face", "audio", "face")
Fusion = StrEnum("Fusion", ["hmtl", "concat", "tfn", "fbp", "multiplicative", "avef"])
Source = StrEnum("Source", ["text", "audio", "face"])
Schedule = StrEnum("Schedule", ["constant", "decay", "ramp"])
Select = StrEnum("Select", ["auto", "balanced_accuracy", "auc", "loss"])


def _check_target(text: str) -> str:
    name = ",".join(sorted(part.strip() for part in text.split(",")))
    if name not in TARGETS:
        raise typer.BadParameter(f"{text!r} is none of {' '.join(TARGETS)}")
    return name


def train(
    context: typer.Context,
    output: Path = option(
        "--output -o OUT", "The run's folder. The same command resumes an interrupted run.", ...
    ),
    data: Path = typer.Argument(Path(), metavar="DATA", help=options.DATA_HELP),
    label: str = options.LABEL,
    labels: str = options.LABELS,
    target: str = option(
        "--target",
        "The modalities that the model predicts from.",
        "audio,face",
        choices=TARGETS,
        callback=_check_target,
    ),
    source_text: bool = option(
        "--source-text",
        "Transfer knowledge from a model of the texts, those of the data or of --text-corpus. "
        "Prediction needs no text.",
        False,
    ),
    text_corpus: Path | None = option(
        "--text-corpus FILE",
        "Labelled texts without sound or video (CSV, .npz, MELD's folder). In each epoch every "
        "utterance is paired with another text of the same label.",
    ),
    text_encoder: str = option(
        "--text-encoder auto|tfidf|MODEL",
        "Turns texts into vectors: tfidf (offline, fitted on the training split), or a "
        "sentence-transformers model by name or folder; auto uses the vectors in the data, or "
        "else tfidf.",
        "auto",
    ),
    source: Source | None = option(
        "--source",
        "The modality to transfer knowledge from; --source text equals --source-text.",
        choices=Source,
    ),
    alpha: float = option(
        "--alpha X", "Weight of the classification loss (paper: α).", ALPHA, min=0.0
    ),
    beta: float = option(
        "--beta X", "Weight of the HM-Decoder's loss; 0 switches it off.", BETA, min=0.0
    ),
    gamma: float = option(
        "--gamma X",
        "Weight of the adversarial loss; 0 switches it and the HM-Discriminator off.",
        GAMMA,
        min=0.0,
    ),
    schedule: Schedule = option(
        "--schedule",
        "Beta and gamma over the epochs: constant, falling to 0, or rising at first.",
        Schedule.constant,
    ),
    cross_fit: int = option(
        "--cross-fit FOLDS",
        "Number of folds: the source's representation of each utterance is out-of-fold, from a "
        "source not trained on its video. 0: one source trained on all.",
        0,
        min=0,
        max=20,
    ),
    baseline: bool = option(
        "--baseline", "Also train each seed without transfer, to compare.", False
    ),
    fusion: Fusion = option("--fusion", "How voice and face are combined.", Fusion.hmtl),
    fusion_beta: float = option("--fusion-beta X", "β of the multiplicative fusion.", 1.0, min=0.0),
    fusion_original: bool = option(
        "--fusion-original", "Multiplicative fusion of Liu et al. 2018 instead of M3ER's.", False
    ),
    epochs: int = option("--epochs N", "Passes over the data.", 30, min=1),
    patience: int | None = option(
        "--patience N", "Stop after this many epochs without improvement. Default: never.", min=1
    ),
    batch: int = option("--batch N", "Videos per step.", 16, min=1),
    learning_rate: float = option("--learning-rate X", "Step size of Adam.", 1e-3, min=1e-7),
    weight_decay: float = option("--weight-decay X", "Weight decay of AdamW.", 0.0, min=0.0),
    dropout: float = option(
        "--dropout X", "Dropout in embedding networks and classifiers.", 0.4, max=0.95, min=0.0
    ),
    input_dropout: float = option(
        "--input-dropout X", "Dropout of the networks' input.", 0.0, max=0.95, min=0.0
    ),
    modality_dropout: float = option(
        "--modality-dropout X",
        "Share of training utterances that lose their voice or their face.",
        0.0,
        max=0.95,
        min=0.0,
    ),
    label_smoothing: float = option(
        "--label-smoothing X", "Label smoothing of the cross-entropy.", 0.0, max=0.9, min=0.0
    ),
    balance: bool = option(
        "--balance/--no-balance", "Weigh rare classes as much as common ones.", True
    ),
    augment: bool = option(
        "--augment/--no-augment", "Augment raw sound and faces at random.", True
    ),
    select: Select = option(
        "--select",
        "The validation metric that selects the epoch; auto: balanced accuracy, or mean absolute "
        "error in regression.",
        Select.auto,
    ),
    check: bool = option(
        "--check/--no-check",
        "Leave out damaged voices and faces, and fit a check of each modality against the other "
        "(M3ER), with thresholds chosen on the validation split.",
        True,
    ),
    split_by: options.SplitBy = options.SPLIT_BY,
    seeds: int = option("--seeds N", "Number of runs.", 1, min=1, max=100),
    seed: int = option("--seed N", "The first seed.", 0, min=0),
    cache: Path | None = options.CACHE,
    device: str = options.DEVICE,
    fresh: bool = option("--fresh", "Delete the run in OUT and start again.", False),
    quiet: bool = options.QUIET,
    debug: bool = options.DEBUG,
) -> None:
    """Train a model on your own labelled videos.

    With --source-text a text model is trained first, and its knowledge is transferred to the
    voice-and-face model; prediction needs no text. No two splits share a speaker; epoch and seed
    are selected on the validation split. OUT gets the checkpoint with its model card, the metrics
    of every epoch, and plots. Ctrl-C keeps the last complete epoch.
    """
    if text_corpus is not None and source not in (None, Source.text):
        raise UsageError("--text-corpus transfers from text; leave --source out")
    teacher = "text" if source_text or text_corpus is not None else source
    if source_text and source not in (None, Source.text):
        raise UsageError("--source-text and --source name two sources; give one")
    if teacher is None:
        for name in ("beta", "gamma", "schedule", "cross_fit", "text_encoder"):
            given_by = context.get_parameter_source(name)
            if given_by is not None and given_by.name != "DEFAULT":
                option = name.replace("_", "-")
                raise UsageError(f"--{option} needs a source; give --source-text or --source")

    # Imported here, so that mistakes above are reported at once.
    from avsent.machine import torch_device
    from avsent.model.networks.config import FusionConfig
    from avsent.training import settings
    from avsent.training.data.feature_files import CorpusOptions
    from avsent.training.data.text import read_text_corpus
    from avsent.training.run import Request, check_settings, run
    from avsent.training.run_folder import RunFolder

    chosen = settings.TrainSettings(
        target=tuple(target.split(",")),
        label=label,
        labels=labels,
        context=dataclasses.replace(CONTEXT, dropout=dropout),
        fusion=FusionConfig(name=fusion, beta=fusion_beta, original=fusion_original),
        transfer=settings.TransferSettings(
            source=teacher,
            classification=alpha,
            decoder=beta,
            adversarial=gamma,
            schedule=schedule,
            cross_fit=cross_fit,
        ),
        optimiser=settings.OptimiserSettings(
            epochs=epochs,
            patience=patience or epochs,
            batch_videos=batch,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            label_smoothing=label_smoothing,
            input_dropout=input_dropout,
            modality_dropout=modality_dropout,
            balance=balance,
            augment=augment,
            select=select,
        ),
        split=settings.SplitSettings(by=split_by),
        text=settings.TextSettings(encoder=text_encoder),
        check=check,
    )
    where = torch_device(device)
    folder = RunFolder(output)
    check_settings(chosen, texts=text_corpus is not None, baseline=baseline)
    folder.check()  # before hours of feature extraction
    texts = None if text_corpus is None else tuple(read_text_corpus(text_corpus))
    request = Request(
        corpus=open_data(data, CorpusOptions(cache=cache, check=check), quiet=quiet),
        settings=chosen,
        seeds=tuple(range(seed, seed + seeds)),
        folder=folder,
        device=where,
        texts=texts,
        texts_name="" if text_corpus is None else text_corpus.name,
        baseline=baseline,
        fresh=fresh,
    )
    try:
        with training_view(epochs, quiet=quiet) as hooks:
            summary = run(request, hooks)
    except KeyboardInterrupt:
        say("", f"{output} keeps the last complete epoch; the same command resumes the run")
        raise
    print_summary(summary)
    if not quiet:
        say("", f"wrote {request.folder.checkpoint}")


@contextlib.contextmanager
def training_view(epochs: int, *, quiet: bool) -> Iterator[Hooks]:
    """The hooks of a run: a bar of ``epochs`` on a terminal, else a line per stage."""
    from avsent.training.metrics import TITLES
    from avsent.training.run import Hooks

    if quiet:
        yield Hooks()
        return
    if not sys.stderr.isatty():
        yield Hooks(say=lambda line: say("", line))
        return
    line = "starting"

    def begin(text: str) -> None:
        nonlocal line
        line = text
        bar(Progress(line, "", 0, epochs))

    def show(seed: int, stage: str, measured: Mapping[str, float]) -> None:
        metrics = ("balanced_accuracy", "mae", "loss")
        name = next((name for name in metrics if f"valid_{name}" in measured), None)
        note = "" if name is None else f"{TITLES.get(name, name)} {measured[f'valid_{name}']:.3f}"
        bar(Progress(line, "", measured["epoch"], epochs), note)

    with ProgressBar(quiet=quiet, counts=True) as bar:
        yield Hooks(say=begin, on_epoch=show)


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print the metrics of the test split, or of validation where there is none."""
    from avsent.training.metrics import TITLES

    models = (("target", "model"), ("no-transfer", "without transfer"), ("source", "source"))
    part = "test" if "test" in summary["target"] else "valid"
    columns = [(name, summary[m][part]) for m, name in models if part in summary.get(m, {})]
    rows = []
    for metric, figure in columns[0][1].items():
        cells = [_cell(found.get(metric)) for _, found in columns]
        majority = None if figure is None else figure["majority"]
        rows.append([TITLES[metric], *cells, "–" if majority is None else f"{majority:.3f}"])
    with printing():
        head = [f"{part} part", *(name for name, _ in columns), "majority"]
        print_table(rows, head, figures=True)


def _cell(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "–"
    spread = "" if figure["sd"] is None else f" ± {figure['sd']:.3f}"
    return f"{figure['mean']:.3f}{spread}"
