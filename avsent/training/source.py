"""The source model: pretrained, then frozen; what it makes of the training data teaches the target.

Also: how well the embedding spaces of source and target are aligned.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from avsent.errors import InputError
from avsent.files import write_bytes
from avsent.model.networks.config import TargetConfig
from avsent.model.networks.target import TargetModel
from avsent.training.dataset import Videos, batches, check_parts, encoded
from avsent.training.evaluation import Predictions, held_out_predictions
from avsent.training.losses import Teacher
from avsent.training.settings import TrainSettings
from avsent.training.splits import SeedData, check_groups, grouped_folds
from avsent.training.start import start_as_linear
from avsent.training.trainer import FitSetup, OnEpoch, SeedContext, fit, make_model

FOLD_SEED_STRIDE = 1_000_000_007  # gives the models of folds other initial weights than the source
LINEAR_SCALE = 1.0  # of logits in a source that starts as a linear classifier
LINEAR_PULL = 10.0  # of a source to this start
MOST_DISTANCES = 1000  # utterances of each space in the maximum mean discrepancy
ARRAYS = ("source", "taught", "alone", "classes")
"""Of a space, as its file holds them."""


@dataclass(frozen=True, slots=True, eq=False)
class PretrainedSource:
    """A pretrained source ``model``, what it teaches, and its own predictions on "valid" and "test"
    of the data, as far as it can read them."""

    teacher: Teacher
    model: TargetModel
    predictions: dict[str, Predictions]


def pretrain_source(
    data: SeedData, settings: TrainSettings, seed: int, context: SeedContext
) -> PretrainedSource:
    """Pretrain the source that ``settings`` name, on the utterances of ``data`` and on its text
    corpus, if any."""
    name = settings.transfer.source
    assert name is not None
    context.say(f"source model ({name})")
    # The source always has HMTL's own fusion: the head to be compared is the target's.
    plain = dataclasses.replace(settings.fusion, name="hmtl")
    config = data.config(dataclasses.replace(settings, fusion=plain), (name,))
    train, valid = data.texts or (data.train, data.valid)
    setup = context.setup("source", train, valid, settings, seed)
    model = train_source(config, setup, data.told)
    teacher = teacher_of(model, data.train, context.device)
    if settings.transfer.cross_fit > 1:

        def on_fold(fold: int) -> OnEpoch:
            context.say(f"source model ({name}), fold {fold + 1}")
            return lambda measured: context.on_epoch(f"source-fold{fold + 1}", measured)

        folds = settings.transfer.cross_fit
        teacher = cross_fitted(model, setup, data.groups, folds, data.told, on_fold)
    return PretrainedSource(teacher, model, held_out_predictions(model, data, context.device))


def train_source(config: TargetConfig, setup: FitSetup, told: int = 0) -> TargetModel:
    """The source model, trained and frozen. ``told``: see :class:`~splits.SeedData`; the network
    starts as the linear classifier and is pulled back to it, so that it is hardly ever worse.
    Raises DatasetError if a part has no labels."""
    check_parts(setup.train, setup.valid, config.modalities)
    model = make_model(config, setup.train, setup.seed)
    context = config.context
    units = min(context.first_gru, context.dense, context.second_gru, context.classifier // 2)
    if 0 < told <= units:
        (modality,) = config.modalities
        scale = model.scale(modality)
        weight = torch.zeros(told, config.input_size(modality))
        weight[range(told), range(told)] = scale.deviation[:told]
        start_as_linear(model, {modality: (weight, scale.mean[:told])}, LINEAR_SCALE)
        setup = dataclasses.replace(setup, pull=LINEAR_PULL)
    fit(model, setup)
    return model.requires_grad_(False).eval()


@torch.no_grad()  # not inference_mode: its tensors could not take part in training
def teacher_of(model: TargetModel, videos: Videos, device: torch.device) -> Teacher:
    """What the source ``model`` makes of ``videos``."""
    model.to(device).eval()
    (modality,) = model.config.modalities
    shape, present = videos.labels.shape, videos.present[modality]
    embeddings = torch.zeros(*shape, model.config.embedding_size)
    outputs = torch.zeros(*shape, model.config.outputs)
    for rows in batches(videos, 16, 4096, None):
        found = model(encoded(model, videos, rows, device))
        longest = found.logits.shape[1]
        embeddings[rows, :longest] = found.embeddings[modality].float().cpu()
        outputs[rows, :longest] = found.logits.float().cpu()
    there = present[..., None]
    return Teacher(embeddings * there, outputs * there, present)


def cross_fitted(
    model: TargetModel,
    setup: FitSetup,
    groups: Sequence[str],
    folds: int,
    told: int = 0,
    on_fold: Callable[[int], OnEpoch] = lambda fold: lambda measured: None,
) -> Teacher:
    """What ``model`` teaches, out-of-fold: by models that did not train on the utterance's video.

    ``setup``: that of ``model``'s training; ``groups``: speaker or video of each training video.

    A source is more certain about its training data than about any other, and a target that copies
    this certainty generalises badly. The model of each fold has its own initial weights, so its
    embeddings are rotated onto those of ``model``, by the orthogonal map that fits best on the
    common training data (Schönemann 1966). ``on_fold`` gives the hook for a fold's epochs. Raises
    DatasetError if there are no two groups to divide, or a fold has nothing to learn from.
    """
    check_groups(groups)
    whole = teacher_of(model, setup.train, setup.device)
    present = whole.present
    embeddings, outputs = whole.embeddings.clone(), whole.outputs.clone()
    for fold, held_out in enumerate(grouped_folds(groups, folds)):
        kept = sorted(set(range(len(setup.train.samples))) - set(held_out))
        state = setup.state
        part = dataclasses.replace(
            setup,
            train=videos_at(setup.train, kept),
            seed=setup.seed + FOLD_SEED_STRIDE * (fold + 1),
            state=state and state.with_name(f"{state.stem}-fold{fold}{state.suffix}"),
            on_epoch=on_fold(fold),
        )
        found = teacher_of(train_source(model.config, part, told), setup.train, setup.device)
        common = torch.zeros_like(present)
        common[kept] = present[kept]
        turn = rotation(found.embeddings[common], whole.embeddings[common])
        embeddings[held_out] = found.embeddings[held_out] @ turn
        outputs[held_out] = found.outputs[held_out]
    return Teacher(embeddings * present[..., None], outputs, present)


def with_pseudo_labels(videos: Videos, teacher: Teacher, *, real: bool) -> Videos:
    """``videos``; utterances without a label get the teacher's decision as their label."""
    decided = teacher.outputs[..., 0] if real else teacher.outputs.argmax(dim=-1)
    used = ~videos.known() & teacher.present
    labels = torch.where(used, decided.to(videos.labels.dtype), videos.labels)
    return dataclasses.replace(videos, labels=labels)


def rotation(given: Tensor, wanted: Tensor) -> Tensor:
    """The orthogonal [D, D] that best maps ``given`` [N, D] onto ``wanted`` (Schönemann 1966)."""
    left, _, right = torch.linalg.svd(given.double().T @ wanted.double())
    turned: Tensor = (left @ right).float()
    return turned


def videos_at(videos: Videos, rows: list[int]) -> Videos:
    return dataclasses.replace(
        videos,
        samples=tuple(videos.samples[row] for row in rows),
        lengths=videos.lengths[rows],
        labels=videos.labels[rows],
        vectors={name: values[rows] for name, values in videos.vectors.items()},
        present={name: there[rows] for name, there in videos.present.items()},
    )


# --- Alignment ------------------------------------------------------------------------------------


class EmbeddingSpace(NamedTuple):
    """Embeddings [N, D] of the same N held-out utterances: of the ``source``, of the target
    ``taught`` by it, and of the same target trained ``alone`` (None: there is none); the class of
    each [N], and the :func:`alignment` of the targets with the source."""

    source: NDArray[np.float32]
    taught: NDArray[np.float32]
    alone: NDArray[np.float32] | None
    classes: NDArray[np.int64]
    alignment: dict[str, dict[str, float]]


@torch.no_grad()
def embeddings_of(model: TargetModel, videos: Videos, device: torch.device) -> dict[str, Tensor]:
    """Embeddings [V, U, D] of ``videos``, by modality."""
    model.to(device).eval()
    shape = *videos.labels.shape, model.config.embedding_size
    result = {name: torch.zeros(shape) for name in model.config.modalities}
    for rows in batches(videos, 16, 4096, None):
        embedded = model.embed(encoded(model, videos, rows, device))
        for name, value in embedded.values.items():
            result[name][rows, : value.shape[1]] = value.float().cpu()
    return result


def embedding_spaces(
    source: TargetModel,
    targets: Mapping[str, TargetModel],
    data: SeedData,
    device: torch.device,
) -> dict[str, EmbeddingSpace]:
    """The spaces of each target modality on the test part, or the validation part; empty where the
    source cannot read it. ``targets``: "taught", and "alone" if there is one."""
    (theirs,) = source.config.modalities
    held = next((v for v in (data.test, data.valid) if v.present[theirs].any()), None)
    if held is None:
        return {}
    parts = {"train": data.train, "held": held}
    taught = {name: teacher_of(source, part, device).embeddings for name, part in parts.items()}
    found = {
        (kind, name): embeddings_of(model, part, device)
        for kind, model in targets.items()
        for name, part in parts.items()
    }
    spaces = {}
    for modality in targets["taught"].config.modalities:
        both = {n: p.present[theirs] & p.present[modality] for n, p in parts.items()}
        drawn = both["held"] & held.known()
        if int(drawn.sum()) < 2 or int(both["train"].sum()) < 2:
            continue
        labels = held.labels[drawn].numpy()
        if source.config.real:  # the three polarities
            labels = np.select([labels < 0, labels > 0], [0, 2], 1)
        own = {kind: found[kind, "held"][modality][drawn].numpy() for kind in targets}
        spaces[modality] = EmbeddingSpace(
            source=taught["held"][drawn].numpy(),
            taught=own["taught"],
            alone=own.get("alone"),
            classes=np.asarray(labels, dtype=np.int64),
            alignment={
                kind: alignment(
                    [taught[name][both[name]].numpy() for name in parts],
                    [found[kind, name][modality][both[name]].numpy() for name in parts],
                )
                for kind in targets
            },
        )
    return spaces


def alignment(
    source: Sequence[NDArray[np.float32]], target: Sequence[NDArray[np.float32]]
) -> dict[str, float]:
    """How far two spaces differ; both are given as embeddings [N, D] of training utterances, and of
    held-out ones.

    ``domain_accuracy``: of a logistic regression that tells source from target, fitted on the
    first and measured on the second; .5: it cannot. ``mmd``: squared maximum mean discrepancy of
    the second, with a Gaussian kernel as wide as the median distance (Gretton et al. 2012); 0: one
    distribution.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    inputs = [np.concatenate(pair) for pair in zip(source, target, strict=True)]
    domains = [np.repeat([0, 1], [len(a), len(b)]) for a, b in zip(source, target, strict=True)]
    judge = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    judge.fit(inputs[0], domains[0])
    told = judge.score(inputs[1], domains[1])
    return {"domain_accuracy": float(told), "mmd": squared_mmd(source[1], target[1])}


def squared_mmd(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy of ``first`` [N, D] and ``second``
    [M, D], N and M ≥ 2; at most ``MOST_DISTANCES`` of each are used."""
    parts = [
        part[np.linspace(0, len(part) - 1, min(len(part), MOST_DISTANCES)).astype(int)]
        for part in (first, second)
    ]
    count = len(parts[0])
    points = torch.from_numpy(np.concatenate(parts)).double()
    distances = torch.cdist(points, points).square()
    apart = distances[~torch.eye(len(points), dtype=torch.bool)]
    width = apart.median().clamp_min(1e-12)
    kernel = torch.exp(-distances / width)
    kernel.fill_diagonal_(0.0)
    own, other = kernel[:count, :count], kernel[count:, count:]
    within = [block.sum() / (len(block) * (len(block) - 1)) for block in (own, other)]
    return float(sum(within) - 2 * kernel[:count, count:].mean())


def write_spaces(path: Path, spaces: Mapping[str, EmbeddingSpace]) -> None:
    """Write the spaces, to draw their figure again; no file without any. Raises OutputError."""
    if not spaces:
        return
    arrays = {
        f"{modality}/{name}": np.ascontiguousarray(getattr(space, name))
        for modality, space in spaces.items()
        for name in ARRAYS
        if getattr(space, name) is not None
    }
    found = {modality: space.alignment for modality, space in spaces.items()}
    write_bytes(path, save(arrays, metadata={"alignment": json.dumps(found)}))


def read_spaces(path: Path) -> dict[str, EmbeddingSpace] | None:
    """What :func:`write_spaces` wrote; None without a file, or with one of an earlier version.
    Raises InputError if it is damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="np") as file:
            about = file.metadata()
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if about is None:
            return None
        spaces = {}
        for modality, found in json.loads(about["alignment"]).items():
            source, taught, alone, classes = (arrays.get(f"{modality}/{name}") for name in ARRAYS)
            space = EmbeddingSpace(source, taught, alone, classes, found)  # type: ignore[arg-type]
            known = [space.source, space.taught, *([] if space.alone is None else [space.alone])]
            if len({one.shape for one in known}) != 1 or len(known[0]) != len(space.classes):
                raise ValueError(f"embeddings of shapes {[one.shape for one in known]}")
            spaces[modality] = space
    except (OSError, SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged; restore it, or train again") from error
    return spaces
