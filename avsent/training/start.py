"""Training that starts from a checkpoint (``avsent train --init``).

Its encoders stay frozen, so each utterance is encoded once in a run. Embedding networks and head
start with its weights and are pulled back to them, so that few clips do not destroy what it knows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from avsent.errors import UsageError
from avsent.labels import LabelSet
from avsent.model.checkpoint import CheckpointConfig, load_checkpoint
from avsent.model.networks.attention import EmbeddingNetwork
from avsent.model.networks.target import TargetModel
from avsent.training.data.corpus import Corpus, Sample
from avsent.training.dataset import representations_of
from avsent.training.run_folder import read_parts
from avsent.training.settings import PULL, TUNE_RATE, TrainSettings
from avsent.training.splits import SeedData

TUNE_VIDEOS = 4  # videos per step while encoders are trained: the gradients take much memory


SHUT = -6.0
"""Bias of an update gate that lets nothing of the other utterances in."""


@torch.no_grad()
def start_as_linear(
    model: TargetModel, maps: Mapping[str, tuple[Tensor, Tensor]], scale: float
) -> None:
    """Set the weights of an HMTL ``model`` so that its logits are nearly the sum over its
    modalities of ``W x + b``, of the encoded utterance x; ``maps``: W [C, R] and b [C] by modality.

    A part of each layer stays as it was, with no say in the logits: what the network makes of
    context and of both modalities together it learns there. ``scale``: of the logits inside the
    network; there tanh must be nearly linear. A GRU unit whose update gate is shut and whose input
    is small gives tanh(W x) ≈ W x.
    """
    classes = model.config.outputs
    for modality, (weight, bias) in maps.items():
        network = model.embedding(modality)
        assert isinstance(network, EmbeddingNetwork)
        first, dense, second = network.first, network.dense, network.second
        _pass_through(first, scale * weight, scale * bias)
        half = first.hidden_size
        dense.weight[:classes] = 0
        dense.bias[:classes] = 0
        for unit in range(classes):
            dense.weight[unit, [unit, half + unit]] = 0.5
        _pass_through(second, torch.eye(classes, dense.out_features), torch.zeros(classes))
    classifier = model.head.get_submodule("classifier")
    assert isinstance(classifier, nn.Sequential)
    adding, last = classifier[0], classifier[-1]
    assert isinstance(adding, nn.Linear)
    assert isinstance(last, nn.Linear)
    size = model.config.embedding_size
    last.weight.zero_()
    last.bias.zero_()
    adding.weight[: 2 * classes] = 0
    adding.bias[: 2 * classes] = 0
    for unit in range(classes):
        for sign, place in ((1.0, 2 * unit), (-1.0, 2 * unit + 1)):  # ReLU: one for each sign
            for number in range(len(maps)):
                start = number * size
                adding.weight[place, [start + unit, start + size // 2 + unit]] = sign / 2
            last.weight[unit, place] = sign / scale


def _pass_through(gru: nn.GRU, weight: Tensor, bias: Tensor) -> None:
    """Make the first C units of both directions of ``gru`` give tanh(``weight`` [C, R] x +
    ``bias``), whatever the neighbours are."""
    units, size = len(weight), gru.hidden_size
    for way in ("", "_reverse"):
        into, across = (getattr(gru, f"weight_{kind}_l0{way}") for kind in ("ih", "hh"))
        own, other = (getattr(gru, f"bias_{kind}_l0{way}") for kind in ("ih", "hh"))
        for gate in range(3):  # reset, update, new
            rows = slice(gate * size, gate * size + units)
            into[rows], across[rows], own[rows], other[rows] = 0, 0, 0, 0
        own[size : size + units] = SHUT
        into[2 * size : 2 * size + units] = weight
        own[2 * size : 2 * size + units] = bias


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """The checkpoint that training starts from.

    ``pull``: see :class:`~avsent.training.losses.Updates`; ``tune_epochs``: epochs in which its
    encoders are trained afterwards. ``learnt``: fingerprints of the utterances that it learnt from,
    as far as known. ``known``: representations [R] by modality and utterance.
    """

    config: CheckpointConfig
    model: TargetModel
    pull: float = PULL
    tune_epochs: int = 0
    learnt: tuple[str, ...] = ()
    known: dict[tuple[str, Sample], Tensor] = field(default_factory=dict)

    def about(self) -> dict[str, Any]:
        """What decides the result of a run, as in the run's ``config.json``."""
        config = self.config
        about = {"name": config.name, "sha256": config.weights_sha256, "licence": config.licence}
        return {**about, "pull": self.pull, "tune_epochs": self.tune_epochs}

    def settings(self, settings: TrainSettings, *, tuning: bool = False) -> TrainSettings:
        """``settings`` with the checkpoint's networks; ``tuning``: those that train its encoders.
        Nothing is augmented: each utterance is encoded once."""
        own, optimiser = self.config.model, replace(settings.optimiser, augment=False)
        if tuning:
            optimiser = replace(
                optimiser,
                epochs=self.tune_epochs,
                batch_videos=TUNE_VIDEOS,
                learning_rate=TUNE_RATE * optimiser.learning_rate,
            )
        return replace(
            settings,
            target=own.modalities,
            context=own.context,
            fusion=own.fusion,
            attention_scale=own.audio.scale,
            optimiser=optimiser,
        )

    def check(self, corpus: Corpus) -> None:
        """Raise UsageError if the features of ``corpus`` are not those of the checkpoint."""
        fault = ""
        if any(corpus.vectors.get(modality) for modality in self.config.model.modalities):
            fault = "ready-made vectors"
        elif corpus.features != self.config.features:
            fault = "features made in another way"
        if fault:
            raise UsageError(
                f"{corpus.name} has {fault}, unlike --init {self.config.name}; give the videos"
            )

    def make_model(self, labels: LabelSet, *, check: bool) -> TargetModel:
        """A new model with the weights of the checkpoint, its encoders frozen.

        For other ``labels`` the last layer of each classifier is zero: all are equally likely.
        ``check``: keep the modality check, if it has one.
        """
        config, weights = self.model.config, self.model.state_dict()
        same = (config.labels, config.real) == (labels.names, labels.real)
        if not same:
            config = replace(config, labels=labels.names, real=labels.real)
        model = TargetModel(config)
        own = model.state_dict()
        fitting = {n: v for n, v in weights.items() if n in own and v.shape == own[n].shape}
        model.load_state_dict(fitting, strict=same)
        for part in () if same else model.head.modules():
            if isinstance(part, nn.Sequential):  # a classifier
                part[-1].load_state_dict({n: 0 * v for n, v in part[-1].state_dict().items()})
        if not check:
            model.set_modality_check(None)
        for modality in config.modalities:
            model.encoder(modality).requires_grad_(False)
        return model

    def unfreeze(self, model: TargetModel) -> None:
        """Let those weights of the encoders be trained that are trained in the checkpoint."""
        for modality in model.config.modalities:
            own = self.model.encoder(modality).parameters()
            for parameter, given in zip(model.encoder(modality).parameters(), own, strict=True):
                parameter.requires_grad_(given.requires_grad)

    def encoded(self, data: SeedData, device: torch.device) -> SeedData:
        """``data`` with the representations of its utterances; each is encoded once."""
        done = {sample for _, sample in self.known}
        new = [s for part in data.split.values() for s in part if s not in done]
        floor_db = self.config.features.audio.floor_db
        self.known.update(representations_of(self.model, new, floor_db, device))
        videos = data.train, data.valid, data.test
        train, valid, test = (replace(part, representations=self.known) for part in videos)
        return replace(data, train=train, valid=valid, test=test)


def open_start(checkpoint: str | Path, pull: float = PULL, tune_epochs: int = 0) -> Start:
    """The checkpoint to start from, by name or path. Raises UsageError if it reads ready-made
    vectors, CheckpointError if it is unknown or damaged."""
    loaded = load_checkpoint(checkpoint)
    if any(map(loaded.config.model.vectors.of, loaded.config.model.modalities)):
        raise UsageError(f"--init {checkpoint}: reads ready-made vectors; give a model of videos")
    learnt = tuple(read_parts(checkpoint).get("learnt", []))
    return Start(loaded.config, loaded.model, pull, tune_epochs, learnt)
