"""``avsent train``: a model of your own, taught by text while it is trained (HMTL)."""

from __future__ import annotations

from pathlib import Path

import typer

from avsent.cli import data_options
from avsent.cli import train_options as given
from avsent.cli.options import DebugOption, DeviceOption, QuietOption
from avsent.cli.outcome import say
from avsent.errors import UsageError


def train(
    context: typer.Context,
    output: given.OutputOption,
    data: given.DataArgument = Path(),
    label: data_options.LabelOption = "label",
    labels: data_options.LabelsOption = "auto",
    target: given.TargetOption = "audio,face",
    source_text: given.SourceTextOption = False,
    text_corpus: given.TextCorpusOption = None,
    text_encoder: given.TextEncoderOption = "auto",
    source: given.SourceOption = None,
    alpha: given.AlphaOption = 1.0,
    beta: given.BetaOption = 1.0,
    gamma: given.GammaOption = 0.03,
    schedule: given.ScheduleOption = given.Schedule.constant,
    cross_fit: given.CrossFitOption = 0,
    baseline: given.BaselineOption = False,
    fusion: given.FusionOption = given.Fusion.hmtl,
    fusion_beta: given.FusionBetaOption = 1.0,
    fusion_original: given.FusionOriginalOption = False,
    epochs: given.EpochsOption = 30,
    patience: given.PatienceOption = None,
    batch: given.BatchOption = 16,
    learning_rate: given.RateOption = 1e-3,
    weight_decay: given.DecayOption = 0.0,
    dropout: given.DropoutOption = 0.4,
    input_dropout: given.InputDropoutOption = 0.0,
    modality_dropout: given.ModalityDropoutOption = 0.0,
    label_smoothing: given.SmoothingOption = 0.0,
    balance: given.BalanceOption = True,
    augment: given.AugmentOption = True,
    select: given.SelectOption = given.Select.auto,
    check: given.CheckOption = True,
    split_by: data_options.SplitByOption = data_options.SplitBy.speaker,
    seeds: given.SeedsOption = 1,
    seed: given.SeedOption = 0,
    cache: data_options.CacheOption = None,
    device: DeviceOption = "auto",
    fresh: given.FreshOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Train a model on your own labelled videos.

    With --source-text a text model is trained first, and then teaches the voice-and-face model;
    prediction needs no text. Parts of the data never share a speaker; the epoch and the seed are
    chosen on the validation part. OUT gets the checkpoint with its card, figures of every epoch,
    and pictures. Ctrl-C keeps the last whole epoch.
    """
    if text_corpus is not None and source not in (None, given.Source.text):
        raise UsageError("--text-corpus teaches with text; leave --source away")
    teacher = "text" if source_text or text_corpus is not None else source
    if source_text and source not in (None, given.Source.text):
        raise UsageError("--source-text and --source name two sources; give one")
    if teacher is None:
        for name in ("beta", "gamma", "schedule", "cross_fit", "text_encoder"):
            given_by = context.get_parameter_source(name)
            if given_by is not None and given_by.name != "DEFAULT":
                option = name.replace("_", "-")
                raise UsageError(f"--{option} is about a teacher; give --source-text or --source")

    # Here, so that mistakes above are told at once: torch takes its time.
    from avsent.cli.training import open_data, print_summary, training_view
    from avsent.data.text_corpus import read_text_corpus
    from avsent.networks.config import ContextConfig, FusionConfig
    from avsent.pipeline import torch_device
    from avsent.training import settings as told
    from avsent.training.run_folder import RunFolder
    from avsent.training.runs import Request, check_settings, run

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
