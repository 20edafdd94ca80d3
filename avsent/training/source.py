"""The source model: pretrained, then frozen; its embeddings teach the target.

The embedding spaces of source and target, before and after transfer, are kept for their figure.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor

from avsent.errors import InputError
from avsent.files import write_bytes
from avsent.model.networks.config import TargetConfig, VectorSizes
from avsent.model.networks.target import TargetModel
from avsent.training.data.text import TextItem
from avsent.training.dataset import Videos, batches, check_parts, encoded
from avsent.training.evaluation import Predictions, held_out_predictions, predictions_of
from avsent.training.losses import SourceEmbeddings, Teacher, UnpairedTeacher
from avsent.training.settings import TrainSettings
from avsent.training.splits import SeedData, check_groups, grouped_folds, make_text_videos
from avsent.training.trainer import FitSetup, OnEpoch, SeedContext, fit, make_model

FOLD_SEED_STRIDE = 1_000_000_007  # gives the models of folds other initial weights than the source


@dataclass(frozen=True, slots=True, eq=False)
class PretrainedSource:
    """A pretrained source ``model``, what it teaches, and its own predictions by part: "valid",
    and "test" if it reads the same utterances as the target."""

    teacher: Teacher
    model: TargetModel
    predictions: dict[str, Predictions]


def pretrain_source(
    data: SeedData,
    settings: TrainSettings,
    seed: int,
    context: SeedContext,
    texts: Sequence[TextItem] | None = None,
) -> PretrainedSource:
    """Pretrain the source that ``settings`` name, on ``texts`` or the corpus' own utterances."""
    name = settings.transfer.source
    assert name is not None
    context.say(f"source model ({name})")
    # The source always has HMTL's own fusion: the head to be compared is the target's.
    plain = dataclasses.replace(settings.fusion, name="hmtl")
    config = data.config(dataclasses.replace(settings, fusion=plain), (name,))
    if texts is not None:
        train, valid = make_text_videos(texts, data.task.labels, settings.label, settings, seed)
        size = train.vectors["text"].shape[-1]
        config = dataclasses.replace(config, vectors=VectorSizes(text=size))
        model = train_source(config, context.setup("source", train, valid, settings, seed))
        return PretrainedSource(
            unpaired_teacher(model, train, data.train, context.device, seed),
            model,
            {"valid": predictions_of(model, valid, context.device)},
        )

    def on_fold(fold: int) -> OnEpoch:
        context.say(f"source model ({name}), fold {fold + 1}")
        return lambda measured: context.on_epoch(f"source-fold{fold + 1}", measured)

    setup = context.setup("source", data.train, data.valid, settings, seed)
    model = train_source(config, setup)
    teacher = paired_teacher(model, setup, data.groups, settings.transfer.cross_fit, on_fold)
    return PretrainedSource(teacher, model, held_out_predictions(model, data, context.device))


def train_source(config: TargetConfig, setup: FitSetup) -> TargetModel:
    """The source model, trained and frozen. Raises DatasetError if a part has no labels."""
    check_parts(setup.train, setup.valid, config.modalities)
    model = make_model(config, setup.train, setup.seed)
    fit(model, setup)
    return model.requires_grad_(False).eval()


def paired_teacher(
    model: TargetModel,
    setup: FitSetup,
    groups: Sequence[str],
    folds: int,
    on_fold: Callable[[int], OnEpoch] = lambda fold: lambda measured: None,
) -> SourceEmbeddings:
    """Embeddings of the training utterances by ``model``; with ``folds`` > 1 out-of-fold, by
    models that did not train on their video.

    ``setup``: that of ``model``'s training; ``groups``: speaker or video of each training video.

    A source is more certain about its training data than about any other, and a target that copies
    this certainty generalises badly. The model of each fold has its own initial weights, so its
    embeddings are rotated onto those of ``model``, by the orthogonal map that fits best on the
    common training data (Schönemann 1966). ``on_fold`` gives the hook for a fold's epochs. Raises
    DatasetError if there are no two groups to divide, or a fold has nothing to learn from.
    """
    if folds >= 2:
        check_groups(groups)
    (modality,) = model.config.modalities
    embeddings = embeddings_of(model, setup.train, setup.device)[modality]
    present = setup.train.present[modality]
    if folds < 2:
        return SourceEmbeddings(embeddings, present)
    out_of_fold = embeddings.clone()
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
        other = train_source(model.config, part)
        found = embeddings_of(other, setup.train, setup.device)[modality]
        common = torch.zeros_like(present)
        common[kept] = present[kept]
        out_of_fold[held_out] = found[held_out] @ rotation(found[common], embeddings[common])
    return SourceEmbeddings(out_of_fold * present[..., None], present)


def unpaired_teacher(
    model: TargetModel, theirs: Videos, ours: Videos, device: torch.device, seed: int
) -> UnpairedTeacher:
    """``model``'s embeddings of its own training utterances, to be drawn from by label."""
    (modality,) = model.config.modalities
    used = theirs.present[modality] & theirs.known()
    embeddings = embeddings_of(model, theirs, device)[modality][used]
    return UnpairedTeacher(embeddings, theirs.labels[used], ours.labels, seed)


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


class EmbeddingSpace(NamedTuple):
    """Embeddings [N, D] of the same N training utterances: of the target ``before`` and ``after``
    training, of the ``source``; and the class of each [N]."""

    before: NDArray[np.float32]
    after: NDArray[np.float32]
    source: NDArray[np.float32]
    classes: NDArray[np.int64]


@torch.no_grad()  # not inference_mode: its tensors could not take part in training
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
    model: TargetModel,
    videos: Videos,
    before: dict[str, Tensor],
    teacher: Teacher | None,
    device: torch.device,
) -> dict[str, EmbeddingSpace]:
    """The spaces by target modality; empty without a teacher."""
    if teacher is None:
        return {}
    source = teacher.for_epoch(0)
    after = embeddings_of(model, videos, device)
    spaces = {}
    for name in model.config.modalities:
        used = source.present & videos.present[name] & videos.known()
        if int(used.sum()) < 2:
            continue
        labels = videos.labels[used].numpy()
        if model.config.real:  # the three polarities
            labels = np.select([labels < 0, labels > 0], [0, 2], 1)
        spaces[name] = EmbeddingSpace(
            before=before[name][used].numpy(),
            after=after[name][used].numpy(),
            source=source.embeddings[used].numpy(),
            classes=np.asarray(labels, dtype=np.int64),
        )
    return spaces


def write_spaces(path: Path, spaces: Mapping[str, EmbeddingSpace]) -> None:
    """Write the spaces, to draw their figure again; no file without any. Raises OutputError."""
    if not spaces:
        return
    arrays = {
        f"{modality}/{name}": np.ascontiguousarray(values)
        for modality, space in spaces.items()
        for name, values in space._asdict().items()
    }
    write_bytes(path, save(arrays))


def read_spaces(path: Path) -> dict[str, EmbeddingSpace] | None:
    """What :func:`write_spaces` wrote; None without a file. Raises InputError if it is damaged."""
    if not path.is_file():
        return None
    try:
        arrays = load(path.read_bytes())
        names = sorted({key.partition("/")[0] for key in arrays})
        fields = EmbeddingSpace._fields
        spaces = {n: EmbeddingSpace(*(arrays[f"{n}/{field}"] for field in fields)) for n in names}
        for space in spaces.values():
            shapes = {space.before.shape, space.after.shape, space.source.shape}
            if len(shapes) != 1 or len(space.before) != len(space.classes):
                raise ValueError(f"embeddings of shapes {shapes}")
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path}: damaged; restore it, or train again") from error
    return spaces
