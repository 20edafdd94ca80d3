"""Options of ``avsent train``, by what they are about."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as RichProgress,
)
from rich.table import Table

from avsent.cli import options
from avsent.cli.options import DebugOption, DeviceOption, QuietOption
from avsent.cli.outcome import printing, say, warn
from avsent.cli.progress import counting_bar
from avsent.errors import UsageError
from avsent.training.data.corpus import Corpus
from avsent.training.data.open import CorpusOptions, open_corpus
from avsent.training.metrics import TITLES
from avsent.training.run import Hooks

if TYPE_CHECKING:
    from avsent.extraction.features.config import FeatureConfig


class Fusion(StrEnum):
    """Heads that bring the modalities together; the networks know them by the same names."""

    hmtl = "hmtl"
    concat = "concat"
    tfn = "tfn"
    fbp = "fbp"
    multiplicative = "multiplicative"
    avef = "avef"


class Source(StrEnum):
    """Who teaches."""

    text = "text"
    audio = "audio"
    face = "face"


class Schedule(StrEnum):
    """How the weights of transfer go over the epochs."""

    constant = "constant"
    decay = "decay"
    ramp = "ramp"


class Select(StrEnum):
    """The validation figure an epoch is chosen by."""

    auto = "auto"
    balanced_accuracy = "balanced_accuracy"
    auc = "auc"
    loss = "loss"


DataArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="A manifest, a feature file (.npz), or a folder: with manifest.csv, in the layout of "
        "MMSA or MELD, or with RAVDESS's files. By default the current folder.",
        show_default=False,
    ),
]
TARGETS = ("audio,face", "audio", "face")


def _target(text: str) -> str:
    name = ",".join(sorted(part.strip() for part in text.split(",")))
    if name not in TARGETS:
        raise typer.BadParameter(f"{text!r} is none of {' '.join(TARGETS)}")
    return name


TargetOption = Annotated[
    str,
    typer.Option(
        "--target",
        metavar="|".join(TARGETS),
        help="What the model judges by.",
        callback=_target,
    ),
]
SourceTextOption = Annotated[
    bool,
    typer.Option(
        "--source-text",
        help="Text teaches: that of the data, or of --text-corpus. Not needed for prediction.",
    ),
]
SourceOption = Annotated[
    Source | None,
    typer.Option(
        "--source",
        metavar="|".join(Source),
        help="The modality that teaches; --source text equals --source-text.",
        show_default=False,
    ),
]
TextCorpusOption = Annotated[
    Path | None,
    typer.Option(
        "--text-corpus",
        metavar="FILE",
        help="Labelled texts without sound or picture (CSV, .npz, MELD's folder): each utterance "
        "is paired anew in every epoch with one of the same label.",
        show_default=False,
    ),
]
TextEncoderOption = Annotated[
    str,
    typer.Option(
        "--text-encoder",
        metavar="auto|tfidf|MODEL",
        help="Texts to vectors: tfidf (offline, fitted on the training part), or a "
        "sentence-transformers model by name or folder; auto takes the data's own vectors if it "
        "has any, else tfidf.",
    ),
]
AlphaOption = Annotated[
    float,
    typer.Option("--alpha", metavar="X", min=0.0, help="Weight of classification (paper: α)."),
]
BetaOption = Annotated[
    float,
    typer.Option(
        "--beta", metavar="X", min=0.0, help="Weight of the HM-Decoder; 0 switches it off."
    ),
]
GammaOption = Annotated[
    float,
    typer.Option(
        "--gamma", metavar="X", min=0.0, help="Weight of the HM-Discriminator; 0 switches it off."
    ),
]
ScheduleOption = Annotated[
    Schedule,
    typer.Option(
        "--schedule",
        metavar="|".join(Schedule),
        help="Beta and gamma over the epochs: constant, falling to 0, or growing at first.",
    ),
]
CrossFitOption = Annotated[
    int,
    typer.Option(
        "--cross-fit",
        metavar="FOLDS",
        min=0,
        max=20,
        help="Each utterance is taught by a source that never saw its video, in so many folds; 0: "
        "by one source that saw all.",
    ),
]
BaselineOption = Annotated[
    bool,
    typer.Option("--baseline", help="Train each seed without transfer as well, and report both."),
]
FusionOption = Annotated[
    Fusion,
    typer.Option("--fusion", metavar="|".join(Fusion), help="How voice and face come together."),
]
FusionBetaOption = Annotated[
    float,
    typer.Option("--fusion-beta", metavar="X", min=0.0, help="The multiplicative fusion's β."),
]
FusionOriginalOption = Annotated[
    bool,
    typer.Option(
        "--fusion-original", help="Multiplicative fusion as Liu et al. 2018, not as M3ER."
    ),
]
EpochsOption = Annotated[
    int, typer.Option("--epochs", metavar="N", min=1, help="Passes over the data.")
]
PatienceOption = Annotated[
    int | None,
    typer.Option(
        "--patience",
        metavar="N",
        min=1,
        help="End early after so many epochs without a better one; by default never.",
        show_default=False,
    ),
]
BatchOption = Annotated[
    int, typer.Option("--batch", metavar="N", min=1, help="Videos in one step.")
]
RateOption = Annotated[
    float, typer.Option("--learning-rate", metavar="X", min=1e-7, help="Adam's step size.")
]
DecayOption = Annotated[
    float, typer.Option("--weight-decay", metavar="X", min=0.0, help="AdamW's decay.")
]
DropoutOption = Annotated[
    float,
    typer.Option(
        "--dropout", metavar="X", min=0.0, max=0.95, help="In embedding networks and classifiers."
    ),
]
InputDropoutOption = Annotated[
    float,
    typer.Option(
        "--input-dropout", metavar="X", min=0.0, max=0.95, help="Of what enters the networks."
    ),
]
ModalityDropoutOption = Annotated[
    float,
    typer.Option(
        "--modality-dropout",
        metavar="X",
        min=0.0,
        max=0.95,
        help="Share of training utterances that lose their voice or their face.",
    ),
]
SmoothingOption = Annotated[
    float,
    typer.Option("--label-smoothing", metavar="X", min=0.0, max=0.9, help="Of the cross-entropy."),
]
BalanceOption = Annotated[
    bool,
    typer.Option("--balance/--no-balance", help="Rare classes weigh as much as common ones."),
]
AugmentOption = Annotated[
    bool,
    typer.Option("--augment/--no-augment", help="Change raw sound and faces at random."),
]
SelectOption = Annotated[
    Select,
    typer.Option(
        "--select",
        metavar="|".join(Select),
        help="The validation figure that chooses the epoch; auto is balanced accuracy, for "
        "numbers the mean absolute error.",
    ),
]
CheckOption = Annotated[
    bool,
    typer.Option(
        "--check/--no-check",
        help="Leave out damaged voices and faces, and give the model a check of one against the "
        "other (M3ER), with thresholds chosen on the validation part.",
    ),
]
SeedsOption = Annotated[
    int, typer.Option("--seeds", metavar="N", min=1, max=100, help="How many runs.")
]
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="The first seed.")]
OutputOption = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help="The run's folder. The same command goes on where it was broken off.",
        show_default=False,
    ),
]
FreshOption = Annotated[
    bool, typer.Option("--fresh", help="Delete the run in OUT and start again.")
]


_COLUMNS = (("target", "model"), ("no-transfer", "without transfer"), ("source", "source"))
_SHOWN = ("valid_balanced_accuracy", "valid_mae", "valid_loss")


def open_data(
    data: Path,
    *,
    cache: Path | None,
    quiet: bool,
    features: FeatureConfig | None = None,
    check: bool = True,
) -> Corpus:
    """The corpus in ``data``, with a bar while features are made and warnings after it;
    ``check``: without damaged modalities."""
    warnings: list[str] = []
    options = CorpusOptions(cache=cache, check=check)
    if features is not None:
        options = dataclasses.replace(options, features=features)
    with counting_bar(quiet=quiet) as hook:
        corpus = open_corpus(data, options=options, on_progress=hook, on_warning=warnings.append)
    if not quiet:
        for warning in warnings:
            warn(warning)
    return corpus


@contextlib.contextmanager
def training_view(epochs: int, *, quiet: bool) -> Iterator[Hooks]:
    """What a run calls: a bar of ``epochs`` where standard error is a terminal, else a line per
    stage."""
    if quiet:
        yield Hooks()
        return
    if not sys.stderr.isatty():
        yield Hooks(say=lambda line: say("", line))
        return
    with RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}", markup=False),
        TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False),
        transient=True,
        expand=True,
    ) as bar:
        task = bar.add_task("starting", total=None, state="")

        def begin(line: str) -> None:
            bar.reset(task, description=line, total=epochs, state="")

        def show(seed: int, stage: str, measured: Mapping[str, float]) -> None:
            bar.update(task, completed=int(measured["epoch"]), state=_state(measured))

        yield Hooks(say=begin, on_epoch=show)


def _state(measured: Mapping[str, float]) -> str:
    """The validation figure of an epoch."""
    name = next((name for name in _SHOWN if name in measured), None)
    if name is None:
        return ""
    return f"{TITLES.get(name.removeprefix('valid_'), 'loss')} {measured[name]:.3f}"


def print_summary(summary: Mapping[str, Any]) -> None:
    """Figures of the test part (validation where there is none): a table on a terminal, else
    lines with tabs between the columns."""
    part = "test" if "test" in summary["target"] else "valid"
    columns = [(name, summary[m][part]) for m, name in _COLUMNS if part in summary.get(m, {})]
    head = [f"{part} part", *(name for name, _ in columns), "majority"]
    rows = []
    for metric, figure in columns[0][1].items():
        cells = [_cell(found.get(metric)) for _, found in columns]
        majority = None if figure is None else figure["majority"]
        rows.append([TITLES[metric], *cells, "–" if majority is None else f"{majority:.3f}"])
    with printing():
        if sys.stdout.isatty():
            table = Table(*head)
            for row in rows:
                table.add_row(*row)
            Console().print(table)
        else:
            for row in [head, *rows]:
                print("\t".join(row))


def _cell(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "–"
    spread = "" if figure["sd"] is None else f" ± {figure['sd']:.3f}"
    return f"{figure['mean']:.3f}{spread}"


def train(
    context: typer.Context,
    output: OutputOption,
    data: DataArgument = Path(),
    label: options.LabelOption = "label",
    labels: options.LabelsOption = "auto",
    target: TargetOption = "audio,face",
    source_text: SourceTextOption = False,
    text_corpus: TextCorpusOption = None,
    text_encoder: TextEncoderOption = "auto",
    source: SourceOption = None,
    alpha: AlphaOption = 1.0,
    beta: BetaOption = 1.0,
    gamma: GammaOption = 0.03,
    schedule: ScheduleOption = Schedule.constant,
    cross_fit: CrossFitOption = 0,
    baseline: BaselineOption = False,
    fusion: FusionOption = Fusion.hmtl,
    fusion_beta: FusionBetaOption = 1.0,
    fusion_original: FusionOriginalOption = False,
    epochs: EpochsOption = 30,
    patience: PatienceOption = None,
    batch: BatchOption = 16,
    learning_rate: RateOption = 1e-3,
    weight_decay: DecayOption = 0.0,
    dropout: DropoutOption = 0.4,
    input_dropout: InputDropoutOption = 0.0,
    modality_dropout: ModalityDropoutOption = 0.0,
    label_smoothing: SmoothingOption = 0.0,
    balance: BalanceOption = True,
    augment: AugmentOption = True,
    select: SelectOption = Select.auto,
    check: CheckOption = True,
    split_by: options.SplitByOption = options.SplitBy.speaker,
    seeds: SeedsOption = 1,
    seed: SeedOption = 0,
    cache: options.CacheOption = None,
    device: DeviceOption = "auto",
    fresh: FreshOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Train a model on your own labelled videos.

    With --source-text a text model is trained first, and then teaches the voice-and-face model;
    prediction needs no text. Parts of the data never share a speaker; the epoch and the seed are
    chosen on the validation part. OUT gets the checkpoint with its card, figures of every epoch,
    and pictures. Ctrl-C keeps the last whole epoch.
    """
    if text_corpus is not None and source not in (None, Source.text):
        raise UsageError("--text-corpus teaches with text; leave --source away")
    teacher = "text" if source_text or text_corpus is not None else source
    if source_text and source not in (None, Source.text):
        raise UsageError("--source-text and --source name two sources; give one")
    if teacher is None:
        for name in ("beta", "gamma", "schedule", "cross_fit", "text_encoder"):
            given_by = context.get_parameter_source(name)
            if given_by is not None and given_by.name != "DEFAULT":
                option = name.replace("_", "-")
                raise UsageError(f"--{option} is about a teacher; give --source-text or --source")

    # Here, so that mistakes above are told at once: torch takes its time.
    from avsent.machine import torch_device
    from avsent.model.networks.config import ContextConfig, FusionConfig
    from avsent.training import settings as told
    from avsent.training.data.text import read_text_corpus
    from avsent.training.run import Request, check_settings, run
    from avsent.training.run_folder import RunFolder

    settings = told.TrainSettings(
        target=tuple(target.split(",")),
        label=label,
        labels=labels,
        context=ContextConfig(
            first_gru=48, dense=50, second_gru=24, classifier=50, dropout=dropout
        ),
        fusion=FusionConfig(name=fusion, beta=fusion_beta, original=fusion_original),
        transfer=told.TransferSettings(
            source=teacher,
            classification=alpha,
            decoder=beta,
            adversarial=gamma,
            schedule=schedule,
            cross_fit=cross_fit,
        ),
        optimiser=told.OptimiserSettings(
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
        split=told.SplitSettings(by=split_by),
        text=told.TextSettings(encoder=text_encoder),
        check=check,
    )
    where = torch_device(device)
    folder = RunFolder(output)
    check_settings(settings, texts=text_corpus is not None, baseline=baseline)
    folder.check()  # before hours of feature extraction
    texts = None if text_corpus is None else tuple(read_text_corpus(text_corpus))
    request = Request(
        corpus=open_data(data, cache=cache, quiet=quiet, check=check),
        settings=settings,
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
        say("", f"{output} keeps the last whole epoch; the same command goes on from there")
        raise
    print_summary(summary)
    if not quiet:
        say("", f"wrote {request.folder.checkpoint}")
