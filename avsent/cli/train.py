"""``avsent train``: a model of the user's own labelled videos."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from avsent import machine
from avsent.cli import options, outcome, progress
from avsent.cli.data import open_data
from avsent.cli.options import option
from avsent.errors import UsageError
from avsent.labels import label_column
from avsent.model.networks.config import SEGMENTS, FusionConfig
from avsent.progress import Progress
from avsent.training import settings

if TYPE_CHECKING:
    from avsent.training import run

TARGETS = ("audio,face", "audio", "face")
Fusion = StrEnum(
    "Fusion",
    ["hmtl", "concat", "tfn", "lmf", "fbp", "multiplicative", "avef", "cnn-lstm", "mult"],
)
HEAD = FusionConfig()
USED_BY = {
    "fusion_beta": ("multiplicative",),
    "fusion_original": ("multiplicative",),
    "fbp_factors": ("fbp",),
    "fbp_outputs": ("fbp",),
    "rank": ("lmf",),
    "segments": tuple(SEGMENTS),
}
"""The fusions that use an option; with others it is refused."""
_SEGMENTS = ", ".join(f"{number} for {name}" for name, number in SEGMENTS.items())
Source = StrEnum("Source", ["text", "audio", "face"])
Method = StrEnum("Method", ["hmtl", "distil", "pseudo", "none"])
Schedule = StrEnum("Schedule", ["constant", "decay", "ramp"])
Select = StrEnum("Select", ["auto", "balanced_accuracy", "auc", "loss"])
share = functools.partial(option, default=0.0, min=0.0, max=0.95)
"""An option for a share of what is trained on."""


def _check_target(text: str) -> str:
    name = ",".join(sorted(part.strip() for part in text.split(",")))
    if name not in TARGETS:
        raise typer.BadParameter(f"{text!r} is none of {' '.join(TARGETS)}")
    return name


def train(
    context: typer.Context,
    output: Path | None = option(
        "--output -o OUT",
        "The run's folder; with the same OUT an interrupted run is resumed. Default: a new folder "
        "in runs/.",
    ),
    data: Path = options.argument("DATA", options.DATA_HELP, Path()),
    label: str = options.LABEL,
    labels: str = options.LABELS,
    label_range: tuple[float, float] | None = options.LABEL_RANGE,
    label_map: Path | None = options.LABEL_MAP,
    target: str = option(
        "--target",
        "The modalities that the model predicts from.",
        "audio,face",
        choices=TARGETS,
        callback=_check_target,
    ),
    init: str | None = option(
        "--init NAME|PATH",
        "Start from this model, such as default: its encoders stay as they are, and its other "
        "networks start with its weights. With fewer than 200 labelled utterances none is held "
        "back; the figures are out-of-fold.",
    ),
    pull: float = option(
        "--pull X",
        "Strength of the pull to the weights of --init, per labelled utterance; 0: none.",
        settings.PULL,
        min=0.0,
    ),
    tune_encoders: int = option(
        "--tune-encoders EPOCHS",
        "Afterwards also train the encoders of --init, at a tenth of the learning rate, for this "
        "many epochs; kept if better on held-out data.",
        0,
        min=0,
    ),
    source_text: bool = option(
        "--source-text",
        "Transfer knowledge from a model of the transcripts. Some utterances with a transcript "
        "must have no label. Prediction needs no text.",
        False,
    ),
    text_corpus: Path | None = option(
        "--text-corpus FILE",
        "Labelled texts without sound or video (CSV, .npz, MELD's folder): the model of the "
        "transcripts learns from these, too.",
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
    transfer: Method = option(
        "--transfer",
        "How the source teaches: HM-Decoder and HM-Discriminator; its class distribution; its "
        "decisions as labels of utterances without one; not at all.",
        Method.hmtl,
    ),
    alpha: float = option(
        "--alpha X", "Weight of the classification loss (paper: α).", settings.ALPHA, min=0.0
    ),
    beta: float = option(
        "--beta X",
        "Weight of the HM-Decoder's loss, or of the distillation; 0 switches it off.",
        settings.BETA,
        min=0.0,
    ),
    scale_beta: bool = option(
        "--scale-beta/--no-scale-beta",
        "Multiply --beta by the number of utterances without a label for each one with a label, 0 "
        "if all have one. --no-scale-beta: do not, as in the paper.",
        True,
    ),
    gamma: float = option(
        "--gamma X",
        "Weight of the adversarial loss, which costs accuracy; 0 leaves the HM-Discriminator out.",
        settings.GAMMA,
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
        "--baseline/--no-baseline",
        "With transfer, also train each seed without it, to compare.",
        True,
    ),
    fusion: Fusion = option("--fusion", "How voice and face are combined.", Fusion.hmtl),
    fusion_beta: float = option("--fusion-beta X", "β of the multiplicative fusion.", 1.0, min=0.0),
    fusion_original: bool = option(
        "--fusion-original", "Multiplicative fusion of Liu et al. 2018 instead of M3ER's.", False
    ),
    fbp_factors: int = option(
        "--fbp-factors N", "Factors (k) of fbp.", HEAD.factors, min=1, max=64
    ),
    fbp_outputs: int = option(
        "--fbp-outputs N", "Outputs (o) of fbp.", HEAD.outputs, min=1, max=1024
    ),
    rank: int = option("--rank N", "Rank of lmf.", HEAD.rank, min=1, max=64),
    segments: int | None = option(
        "--segments N",
        f"Segments that an utterance is cut into. Default: {_SEGMENTS}.",
        min=1,
        max=32,
    ),
    attention_scale: float = option(
        "--attention-scale X",
        "Scale λ of the attention over the moments of raw sound and faces; 0: their mean, 1: "
        "plain softmax.",
        settings.ATTENTION_SCALE,
        min=0.0,
        max=1.0,
    ),
    epochs: int = option(
        "--epochs N",
        "Passes over the data. With more than before, the run in OUT goes on.",
        30,
        min=1,
    ),
    patience: int | None = option(
        "--patience N", "Stop after this many epochs without improvement. Default: never.", min=1
    ),
    batch: int = option("--batch N", "Videos per step.", 16, min=1),
    learning_rate: float = option(
        "--learning-rate X", "Step size of Adam; with --init .003.", 1e-3, min=1e-7
    ),
    weight_decay: float = option("--weight-decay X", "Weight decay of AdamW.", 0.0, min=0.0),
    dropout: float = share(
        "--dropout X", "Dropout in embedding networks and fusion heads.", default=0.4
    ),
    input_dropout: float = share("--input-dropout X", "Dropout of the networks' input."),
    modality_dropout: float = share(
        "--modality-dropout X", "Share of training utterances that lose their voice or their face."
    ),
    label_smoothing: float = share(
        "--label-smoothing X", "Label smoothing of the cross-entropy.", max=0.9
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
    skip_broken: bool = options.SKIP_BROKEN,
    cache: Path | None = options.CACHE,
    device: str = options.DEVICE,
    fresh: bool = option("--fresh", "Delete the run in OUT and start again.", False),
    quiet: bool = options.QUIET,
    debug: bool = options.DEBUG,
) -> None:
    """Train a model on your own labelled videos.

    With --source-text a model of the transcripts is trained first. It teaches the voice-and-face
    model, the more the more utterances have no label; prediction needs no text. No two splits share
    a speaker; epoch and seed are selected on the validation split. OUT gets the checkpoint with its
    model card, the metrics of every epoch, and plots. Ctrl-C keeps the last complete epoch.
    """
    if text_corpus is not None and source not in (None, Source.text):
        raise UsageError("--text-corpus transfers from text; leave --source out")
    teacher = "text" if source_text or text_corpus is not None else source
    if source_text and source not in (None, Source.text):
        raise UsageError("--source-text and --source name two sources; give one")

    def given(*names: str) -> str | None:
        """The first of these options that the user gives."""
        for name in names:
            by = context.get_parameter_source(name)
            if by is not None and by.name != "DEFAULT":
                return f"--{name.replace('_', '-')}"
        return None

    if teacher is None and (
        option := given(
            *("transfer", "beta", "scale_beta", "gamma", "schedule", "cross_fit", "text_encoder")
        )
    ):
        raise UsageError(f"{option} needs a source; give --source-text or --source")
    if transfer != Method.hmtl and (option := given("gamma")):
        raise UsageError(f"{option} is HMTL's; leave it out, or --transfer {transfer}")
    if transfer == Method.pseudo and (option := given("beta", "scale_beta")):
        raise UsageError(f"{option} has no use with pseudo-labels; leave it out")
    if init is None and (option := given("pull", "tune_encoders")):
        raise UsageError(f"{option} needs a model to start from; give --init")
    if init is not None and not given("learning_rate"):
        learning_rate = settings.START_RATE
    networks = "fusion", *USED_BY, "attention_scale", "dropout", "augment"
    if init is not None and (option := given(*networks)):
        raise UsageError(f"--init {init} brings its own networks; leave {option} out")
    for name, heads in USED_BY.items():
        if fusion not in heads and (option := given(name)):
            raise UsageError(f"{option} needs --fusion {' or '.join(heads)}")

    # Imported here, so that mistakes above are reported at once.
    from avsent.training import run, run_folder, splits
    from avsent.training import start as starts
    from avsent.training.data import corpus, feature_files, text

    chosen = settings.TrainSettings(
        target=tuple(target.split(",")),
        label=label,
        labels=labels,
        context=dataclasses.replace(settings.CONTEXT, dropout=dropout),
        fusion=FusionConfig(
            name=fusion,
            factors=fbp_factors,
            outputs=fbp_outputs,
            beta=fusion_beta,
            original=fusion_original,
            segments=segments or SEGMENTS.get(fusion, HEAD.segments),
            rank=rank,
        ),
        attention_scale=attention_scale,
        transfer=settings.TransferSettings(
            source=None if transfer == Method.none else teacher,
            kind="hmtl" if transfer == Method.none else transfer,
            scaled=scale_beta,
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
    where = machine.torch_device(device)
    start, features = None, feature_files.CorpusOptions().features
    if init is not None:
        start = starts.open_start(init, pull, tune_encoders)
        asked, features = chosen.target, start.config.features
        chosen = start.settings(chosen)
        if given("target") and asked != chosen.target:
            own = ",".join(chosen.target)
            raise UsageError(f"--init {init} predicts from {own}; leave --target out")
    folder = run_folder.RunFolder(output or run_folder.default_folder(data))
    run.check_settings(chosen, texts=text_corpus is not None)
    folder.check()  # before hours of feature extraction
    texts = () if text_corpus is None else tuple(text.read_text_corpus(text_corpus))

    def request_of(found: corpus.Corpus) -> run.Request:
        return run.Request(
            corpus=found,
            settings=dataclasses.replace(chosen, label=label_column(found.label_columns(), label)),
            seeds=tuple(range(seed, seed + seeds)),
            folder=folder,
            device=where,
            texts=texts,
            texts_name="" if text_corpus is None else text_corpus.name,
            baseline=baseline,
            fresh=fresh,
            start=start,
        )

    def accept(found: corpus.Corpus, warn: Callable[[str], None]) -> None:
        """Refuse before hours of feature extraction."""
        task = run.check(request_of(found))
        splits.encode_labels(found, label, task.labels, warn)
        if chosen.transfer.active and not run.can_teach(task, chosen.transfer):
            warn(
                f"{found.name}: every utterance with {teacher} has a label, so the source teaches "
                "nothing: add some without, or give --no-scale-beta"
            )
        words = (text for item in texts for text in item.labels.values())
        if doubt := task.labels.doubt(words):
            warn(f"{text_corpus}: {doubt}")

    scale = options.label_scale(label_range, label_map)
    corpus_options = feature_files.CorpusOptions(
        features=features, check=check, cache=cache, scale=scale, skip_broken=skip_broken
    )
    request = request_of(open_data(data, corpus_options, accept=accept, quiet=quiet))
    try:
        with training_view(epochs, quiet=quiet) as hooks:
            summary = run.run(request, hooks)
    except KeyboardInterrupt:
        resumes = "the same command" if output else f"the same command with -o {folder.path}"
        outcome.say("", f"{folder.path} keeps the last complete epoch; {resumes} resumes the run")
        raise
    part = "test" if "test" in summary["target"] else "valid"
    models, rows = run_folder.figure_rows(summary, part)
    names = ["model" if model == "target" else run_folder.MODELS[model] for model in models]
    with outcome.printing():
        head = "out-of-fold" if part == "valid" and "folds" in summary else f"{part} part"
        outcome.print_table(rows, [head, *names, "majority"], figures=True)
    lines, doubts = run_folder.closing_lines(summary)
    for line in () if quiet else lines:
        outcome.say("", line)
    for doubt in doubts:
        outcome.warn(doubt, quiet=quiet)
    if collapsed := run_folder.collapse_text(summary):
        remedies = ["a smaller --learning-rate"]
        if not summary["collapse"]["embeddings"]:
            remedies = ["more --epochs", "another --learning-rate"]
        if weight_decay:
            remedies.append("a smaller --weight-decay")
        if chosen.transfer.active and chosen.transfer.adversarial:
            remedies.append("a smaller --gamma")
        outcome.warn(f"{collapsed}; try {' or '.join(remedies)}", quiet=quiet)
    if not quiet:
        outcome.say("", f"wrote {folder.checkpoint}")
        outcome.say("", f"next: avsent predict VIDEO --checkpoint {folder.path}")


@contextlib.contextmanager
def training_view(epochs: int, *, quiet: bool) -> Iterator[run.Hooks]:
    """The hooks of a run: a bar of ``epochs`` on a terminal, else a line per stage."""
    from avsent.training import metrics, run

    if quiet or not sys.stderr.isatty():
        say = functools.partial(outcome.say, "")
        yield run.Hooks() if quiet else run.Hooks(say=say, warn=outcome.warn)
        return
    line = "starting"

    def begin(text: str) -> None:
        nonlocal line
        line = text
        bar(Progress(line, "", 0, epochs))

    def show(seed: int, stage: str, measured: Mapping[str, float]) -> None:
        names = ("balanced_accuracy", "mae", "loss")
        name = next((name for name in names if f"valid_{name}" in measured), "loss")
        title = metrics.TITLES.get(name, name)
        note = f"{title} {measured[f'valid_{name}']:.3f}" if f"valid_{name}" in measured else ""
        bar(Progress(line, "", measured["epoch"], epochs), note)

    with progress.progress_bar(quiet=quiet, counts=True) as bar:
        yield run.Hooks(say=begin, warn=outcome.warn, on_epoch=show)
