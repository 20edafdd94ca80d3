"""Options of ``avsent train``, by what they are about."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


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
