"""Corpus and settings → videos to learn from: labels as numbers, parts, vectors of the texts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avsent.errors import DatasetError
from avsent.labels import MODALITIES, LabelSet, label_set
from avsent.model.networks.config import TargetConfig, VectorSizes
from avsent.training.data.corpus import SPLITS, Corpus, Sample
from avsent.training.data.text import TextEncoder, TextItem, make_text_encoder
from avsent.training.dataset import Videos, make_videos
from avsent.training.settings import SplitSettings, TrainSettings
from avsent.training.validation import check_parts

DRAWS = 200
"""Random divisions that are tried; the one whose parts are most alike in labels is taken."""
TEST_SEED = 0
"""The test part is drawn once; seeds differ in what they validate on."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """The samples of each part, in corpus order."""

    train: tuple[Sample, ...]
    valid: tuple[Sample, ...]
    test: tuple[Sample, ...]

    def part(self, name: str) -> tuple[Sample, ...]:
        """One of "train", "valid", "test"."""
        return {"train": self.train, "valid": self.valid, "test": self.test}[name]


def groups_of(samples: Sequence[Sample], by: str) -> list[str]:
    """For each sample, the group that may not be divided.

    By "video" its video. By "speaker" its speaker, where known, together with all whom a common
    video ties to that speaker: a conversation in two parts would be context across parts.
    """
    if by != "speaker":
        return [sample.video for sample in samples]
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        while (above := parent.setdefault(node, node)) != node:
            parent[node] = parent[above]
            node = above
        return node

    nodes = [("speaker", s.speaker) if s.speaker else ("video", s.video) for s in samples]
    for sample, node in zip(samples, nodes, strict=True):
        first, second = sorted((root(node), root(("video", sample.video))))
        parent[second] = first  # speakers sort first: a group is named by one of them
    return [root(node)[1] for node in nodes]


def split_samples(
    samples: Sequence[Sample],
    classes: NDArray[np.float64],
    settings: SplitSettings,
    seed: int,
) -> Split:
    """The corpus' own parts where it names them; what is missing is drawn by group.

    ``classes`` [N]: class or number of each sample, NaN for none; parts are drawn to be alike in
    them. A test part is always the same, the validation part depends on ``seed``.

    Raises:
        DatasetError: a group lies in two of the corpus' parts, or there are too few groups.
    """
    groups = groups_of(samples, settings.by)
    _check_given(samples, settings.by)
    part_of = {group: sample.split for group, sample in zip(groups, samples, strict=True)}
    # Samples without a part in a corpus that names parts were left out on purpose.
    named = bool(set(part_of.values()) - {""})
    free = [] if named else sorted(set(groups))
    if not named:
        test, free = _draw(free, groups, classes, settings.test, TEST_SEED)
        part_of.update(dict.fromkeys(test, "test"))
        part_of.update(dict.fromkeys(free, "train"))
    if "train" not in part_of.values():
        raise DatasetError("no utterances to train on; fill the split column, or leave it out")
    if "valid" not in part_of.values():
        train = sorted(group for group, part in part_of.items() if part == "train")
        valid, _ = _draw(train, groups, classes, settings.validation, seed)
        part_of.update(dict.fromkeys(valid, "valid"))
    parts: dict[str, list[Sample]] = defaultdict(list)
    for sample, group in zip(samples, groups, strict=True):
        parts[part_of[group]].append(sample)
    if not parts["valid"]:
        raise DatasetError("no utterances to validate on; hold some back")
    return Split(tuple(parts["train"]), tuple(parts["valid"]), tuple(parts["test"]))


def _check_given(samples: Sequence[Sample], by: str) -> None:
    """Raise DatasetError for a part of another name, and for whoever lies in two parts."""
    part_of: dict[tuple[str, str], str] = {}
    for sample in samples:
        if sample.split not in ("", *SPLITS):
            raise DatasetError(
                f"{sample.key}: the split {sample.split!r} is none of {', '.join(SPLITS)}; mend it"
            )
        kinds = [("video", sample.video)]
        if by == "speaker" and sample.speaker:
            kinds.insert(0, ("speaker", sample.speaker))
        for kind, name in kinds:
            before = part_of.setdefault((kind, name), sample.split)
            if before != sample.split:
                hint = ", or accept it with --split-by video" if kind == "speaker" else ""
                raise DatasetError(
                    f"{sample.key}: {kind} {name!r} is in {before or 'no part'} and in "
                    f"{sample.split or 'no part'}; put each {kind} into one part{hint}"
                )


def _draw(
    free: list[str],
    groups: Sequence[str],
    classes: NDArray[np.float64],
    share: float,
    seed: int,
) -> tuple[list[str], list[str]]:
    """``share`` of the ``free`` groups, and the others: as alike in labels as chance offers."""
    if share <= 0:
        return [], free
    wanted = max(1, round(share * len(free)))
    if wanted >= len(free):
        raise DatasetError(
            f"{len(free)} speakers or videos are too few to hold some back; add more, or name the "
            "parts in a split column"
        )
    counts = _counts(free, groups, classes)
    rng = np.random.default_rng(seed)
    best, best_value = None, np.inf
    for _ in range(DRAWS):
        order = rng.permutation(len(free))
        value = _difference(counts[order[:wanted]].sum(axis=0), counts[order[wanted:]].sum(axis=0))
        if value < best_value:
            best, best_value = order, value
    assert best is not None
    taken = sorted(free[index] for index in best[:wanted])
    return taken, sorted(set(free) - set(taken))


def _counts(
    free: list[str], groups: Sequence[str], classes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Utterances of each class (numbers: rounded) in each group [G, C]."""
    known = ~np.isnan(classes)
    rounded = np.where(known, np.round(classes), 0).astype(int)
    values = np.unique(rounded[known])
    row_of = {group: row for row, group in enumerate(free)}
    counts = np.zeros((len(free), max(1, len(values))))
    for group, label, there in zip(groups, rounded, known, strict=True):
        if there and group in row_of:
            counts[row_of[group], int(np.searchsorted(values, label))] += 1
    return counts


def _difference(taken: NDArray[np.float64], left: NDArray[np.float64]) -> float:
    """How unlike two parts are in labels; large where a class is missing from what is left."""
    shares = [part / max(1.0, part.sum()) for part in (taken, left)]
    return float(np.abs(shares[0] - shares[1]).sum() + 10.0 * np.sum((left == 0) & (taken > 0)))


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A corpus, what is to be told apart in it, and each sample's label by key (None: none)."""

    corpus: Corpus
    labels: LabelSet
    encoded: dict[str, float | None]

    def known(self, samples: Sequence[Sample]) -> NDArray[np.float64]:
        """Labels [N] of ``samples``, NaN where there is none."""
        found = [self.encoded[sample.key] for sample in samples]
        return np.array([np.nan if label is None else label for label in found])


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """One seed's parts. ``vectors``: sizes of what comes ready-made, text included where the
    source reads it; ``groups``: speaker or video of each training video."""

    task: Task
    split: Split
    train: Videos
    valid: Videos
    test: Videos
    vectors: VectorSizes
    groups: tuple[str, ...]

    def config(self, settings: TrainSettings, modalities: tuple[str, ...]) -> TargetConfig:
        """Configuration of a network over ``modalities`` for this material."""
        return TargetConfig(
            labels=self.task.labels.names,
            modalities=modalities,
            real=self.task.labels.real,
            vectors=VectorSizes(
                **{name: self.vectors.of(name) for name in modalities if self.vectors.of(name)}
            ),
            context=settings.context,
            fusion=settings.fusion,
            votes=settings.votes,
        )


@dataclass(frozen=True, slots=True, eq=False)
class TextMaterial:
    """A text corpus' own parts, for a source that is taught by other people's words."""

    train: Videos
    valid: Videos
    size: int


def make_task(corpus: Corpus, label: str, labels: str) -> Task:
    """Read the column ``label`` as ``labels`` asks for (see ``avsent.labels.label_set``).

    Raises:
        DatasetError: there is no such column, or a label is outside the set.
    """
    texts = _label_texts(corpus, label)
    try:
        chosen = label_set(texts.values(), labels)
    except DatasetError as error:
        raise DatasetError(f"{corpus.name}: column {label!r}: {error}") from error
    return Task(corpus, chosen, encode_labels(corpus, label, chosen))


def encode_labels(corpus: Corpus, label: str, labels: LabelSet) -> dict[str, float | None]:
    """Class index or number of each sample by key, None where it has none.

    Raises:
        DatasetError: there is no such column, or a label is outside the set.
    """
    encoded = {}
    for key, text in _label_texts(corpus, label).items():
        try:
            encoded[key] = labels.encode(text)
        except DatasetError as error:
            raise DatasetError(f"{corpus.name}: {key}: {error}") from error
    return encoded


def _label_texts(corpus: Corpus, label: str) -> dict[str, str]:
    columns = sorted({name for sample in corpus.samples for name in sample.labels})
    if label not in columns:
        raise DatasetError(
            f"{corpus.name}: no column {label!r}; choose with --label from {', '.join(columns)}"
        )
    return {sample.key: sample.labels.get(label, "") for sample in corpus.samples}


def make_material(task: Task, settings: TrainSettings, seed: int, *, words: bool) -> Material:
    """Divide the corpus for one ``seed``; with ``words`` each text becomes a vector, by an
    encoder fitted on the training part only.

    Raises:
        DatasetError: a part would be empty, people lie in two parts, or there are no texts.
    """
    samples = task.corpus.samples
    split = split_samples(samples, task.known(samples), settings.split, seed)
    texts, size = _text_vectors(task.corpus, split, settings) if words else ({}, 0)
    sizes = {name: n for name, n in task.corpus.vectors.items() if name != "text"}
    vectors = VectorSizes(**sizes, text=size)
    for modality in settings.target:
        if not any(_has(sample, modality) for sample in split.train):
            raise DatasetError(
                f"{task.corpus.name}: no {modality} in the training part; choose another --target"
            )
    parts = [
        make_videos(part, task.encoded, {**sizes, "text": size}, texts, task.corpus.features)
        for part in (split.train, split.valid, split.test)
    ]
    check_parts(parts[0], parts[1], settings.target)
    source = settings.transfer.source
    if source in MODALITIES or words:
        check_parts(parts[0], parts[1], (source or "text",))
    found = groups_of(split.train, settings.split.by)
    group_of = {sample.video: group for sample, group in zip(split.train, found, strict=True)}
    groups = tuple(group_of[video[0].video] for video in parts[0].samples)
    return Material(task, split, parts[0], parts[1], parts[2], vectors, groups)


def make_text_material(
    items: Sequence[TextItem], labels: LabelSet, column: str, settings: TrainSettings, seed: int
) -> TextMaterial:
    """Parts of a text corpus, and its vectors; texts of one context are one "video".

    The label is the column ``column`` where the corpus has it; else its emotions or its
    sentiment, whichever the label set knows.

    Raises:
        DatasetError: no text has one of the labels.
    """
    samples = [
        Sample(key=f"text {index}", video=item.context or f"text {index}", text=item.text)
        for index, item in enumerate(items)
    ]
    encoded = {
        sample.key: _label_of(item, labels, column)
        for sample, item in zip(samples, items, strict=True)
    }
    classes = np.array([np.nan if v is None else v for v in encoded.values()], dtype=np.float64)
    if np.isnan(classes).all():
        raise DatasetError(f"no text has one of the labels {', '.join(labels.names)}")
    parts = split_samples(
        samples, classes, SplitSettings(by="video", validation=0.15, test=0.0), seed
    )
    encoder = make_text_encoder(_encoder_name(settings), settings.text.size)
    encoder.fit([sample.text for sample in parts.train])
    vectors = _encoded_texts(encoder, samples)
    train, valid = (
        make_videos(part, encoded, {"text": encoder.size}, vectors)
        for part in (parts.train, parts.valid)
    )
    check_parts(train, valid, ("text",))
    return TextMaterial(train, valid, encoder.size)


def _label_of(item: TextItem, labels: LabelSet, column: str) -> float | None:
    for name in dict.fromkeys((column, "emotion", "sentiment", "label")):
        text = item.labels.get(name, "")
        try:
            found = labels.encode(text)
        except DatasetError:  # the corpus tells more apart than this model does
            continue
        if found is not None:
            return found
    return None


def _text_vectors(
    corpus: Corpus, split: Split, settings: TrainSettings
) -> tuple[dict[str, NDArray[np.float32]], int]:
    """Vector of each sample's text by key, and its size."""
    if settings.text.encoder == "auto" and corpus.vectors.get("text"):
        ready = {s.key: s.words for s in corpus.samples if s.words is not None}
        return ready, corpus.vectors["text"]
    train = [sample.text for sample in split.train if sample.text.strip()]
    if not train:
        raise DatasetError(
            f"{corpus.name}: no text to teach with; fill the text column, or give --text-corpus"
        )
    encoder = make_text_encoder(_encoder_name(settings), settings.text.size)
    encoder.fit(train)
    return _encoded_texts(encoder, corpus.samples), encoder.size


def _encoded_texts(
    encoder: TextEncoder, samples: Sequence[Sample]
) -> dict[str, NDArray[np.float32]]:
    spoken = [sample for sample in samples if sample.text.strip()]
    vectors = encoder.encode([sample.text for sample in spoken])
    return {sample.key: vector for sample, vector in zip(spoken, vectors, strict=True)}


def _encoder_name(settings: TrainSettings) -> str:
    return "tfidf" if settings.text.encoder == "auto" else settings.text.encoder


def _has(sample: Sample, modality: str) -> bool:
    return (sample.audio if modality == "audio" else sample.face) is not None
