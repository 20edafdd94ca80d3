"""Splits a corpus into training, validation and test part; encodes labels and texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avsent.errors import DatasetError
from avsent.labels import MODALITIES, LabelSet, label_column, label_set
from avsent.model.networks.config import (
    AudioEncoderConfig,
    FaceEncoderConfig,
    TargetConfig,
    VectorSizes,
)
from avsent.training.data.corpus import SPLITS, Corpus, Sample
from avsent.training.data.text import TextItem, linear_predictions, make_text_encoder
from avsent.training.dataset import Videos, check_parts, make_videos
from avsent.training.settings import SplitSettings, TextSettings, TrainSettings

Vectors = dict[str, NDArray[np.float32]]
Split = dict[str, list[Sample]]
"""The samples of "train", "valid" and "test", in corpus order."""

DRAWS = 200  # random splits tried; the one whose parts have the most similar labels is used
FEW = 200
"""From fewer labelled utterances nothing is held back if training starts from a checkpoint."""
FOLDS = 5  # of training on so few
TEST_SEED = 0  # the test part is the same for all seeds; they differ in the validation part


def groups_of(samples: Sequence[Sample], by: str) -> list[str]:
    """The group of each sample: all samples of a group belong into the same part.

    By "video" it is the video. By "speaker" it is the speaker, if known, together with all speakers
    who share a video with that speaker, so that no conversation lies in two parts.
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
    samples: Sequence[Sample], classes: NDArray[np.float64], settings: SplitSettings, seed: int
) -> Split:
    """Split as the corpus' split column says; parts that it does not name are drawn by group.

    ``classes`` [N]: class or number of each sample, NaN for none; the drawn parts have similar
    distributions of them, and only groups with a label. The test part is always the same, the
    validation part depends on ``seed``. Raises DatasetError if a group is in two of the corpus'
    parts, or groups are too few.
    """
    groups = groups_of(samples, settings.by)
    _check_parts(samples, settings.by)
    part_of = {group: sample.split for group, sample in zip(groups, samples, strict=True)}
    if not any(part_of.values()):
        free = sorted(set(groups))
        test = _draw(free, groups, classes, settings.test, TEST_SEED)
        part_of = {group: "test" if group in test else "train" for group in free}
    # Samples without a part in a corpus that names parts were left out on purpose.
    if "train" not in part_of.values():
        raise DatasetError("no utterances to train on; fill the split column, or leave it out")
    if "valid" not in part_of.values():
        train = sorted(group for group, part in part_of.items() if part == "train")
        valid = _draw(train, groups, classes, settings.validation, seed)
        part_of.update(dict.fromkeys(valid, "valid"))
    split: Split = {part: [] for part in SPLITS}
    for sample, group in zip(samples, groups, strict=True):
        if part := part_of[group]:
            split[part].append(sample)
    if not split["valid"] and settings.validation:
        raise DatasetError("no utterances to validate on; hold some back")
    return split


def settings_for_start(task: Task, settings: SplitSettings) -> SplitSettings:
    """``settings`` that draw no parts if there are fewer than ``FEW`` labelled utterances to learn
    from. Raises DatasetError if these are of one speaker or video, so that they give no folds."""
    learnt = [sample for sample in task.corpus.samples if sample.split in ("", "train")]
    if (~np.isnan(task.known(learnt))).sum() >= FEW:
        return settings
    if len(set(groups_of(learnt, settings.by))) < 2:
        raise DatasetError("one speaker or video gives no folds; add more, or try --split-by video")
    return dataclasses.replace(settings, validation=0.0, test=0.0)


def _check_parts(samples: Sequence[Sample], by: str) -> None:
    """Raise DatasetError for unknown parts, and for videos or speakers in two parts."""
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
    free: list[str], groups: Sequence[str], classes: NDArray[np.float64], share: float, seed: int
) -> list[str]:
    """A random ``share`` of the groups of ``free`` that have labels, and most similar ones to those
    of the others. Groups without a label remain: they can teach, but not measure anything."""
    if share <= 0:
        return []
    counts = _counts(free, groups, classes)
    labelled = np.flatnonzero(counts.sum(axis=1))
    if len(labelled):
        free, counts = [free[row] for row in labelled], counts[labelled]
    wanted = max(1, round(share * len(free)))
    if wanted >= len(free):
        raise DatasetError(
            f"too few speakers or videos with a label ({len(free)}) to hold some back; add more, "
            "or name the parts in a split column"
        )
    rng = np.random.default_rng(seed)

    def difference(order: NDArray[np.int64]) -> float:
        taken, left = (counts[rows].sum(axis=0) for rows in np.split(order, [wanted]))
        shares = [part / max(1.0, part.sum()) for part in (taken, left)]
        # Penalise a class that occurs in the drawn groups only.
        missing = np.sum((left == 0) & (taken > 0))
        return float(np.abs(shares[0] - shares[1]).sum() + 10.0 * missing)

    best = min((rng.permutation(len(free)) for _ in range(DRAWS)), key=difference)
    return sorted(free[index] for index in best[:wanted])


def _counts(
    free: list[str], groups: Sequence[str], classes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Utterances of each class (numbers: rounded) in each group [G, C]."""
    known = ~np.isnan(classes)
    values, columns = np.unique(np.round(classes[known]), return_inverse=True)
    row_of = {group: row for row, group in enumerate(free)}
    counts = np.zeros((len(free), max(1, len(values))))
    for group, column in zip(np.asarray(groups)[known].tolist(), columns, strict=True):
        if group in row_of:
            counts[row_of[group], column] += 1
    return counts


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A corpus, the labels to predict, and each sample's label by key (None: none)."""

    corpus: Corpus
    labels: LabelSet
    encoded: dict[str, float | None]

    def known(self, samples: Sequence[Sample]) -> NDArray[np.float64]:
        """Labels [N] of ``samples``, NaN for None."""
        return np.array([self.encoded[sample.key] for sample in samples], dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class SeedData:
    """The training, validation and test part of one seed. ``vectors``: sizes of ready-made vectors,
    including text if the source reads it; ``groups``: speaker or video of each training video.
    ``told``: how many columns of a text vector, the first, are what a linear classifier says.
    ``texts``: training and validation part of a source that also learns from a text corpus, both
    begin with the videos' own transcripts.
    ``folds``: where no part is held back, the same data divided, each with other groups as "test".
    """

    task: Task
    split: Split
    train: Videos
    valid: Videos
    test: Videos
    vectors: VectorSizes
    groups: tuple[str, ...]
    told: int = 0
    texts: tuple[Videos, Videos] | None = None
    folds: tuple[SeedData, ...] = ()

    def config(self, settings: TrainSettings, modalities: tuple[str, ...]) -> TargetConfig:
        """Configuration of a network over ``modalities`` of these data."""
        sizes = {name: self.vectors.of(name) for name in modalities if self.vectors.of(name)}
        return TargetConfig(
            labels=self.task.labels.names,
            modalities=modalities,
            real=self.task.labels.real,
            vectors=VectorSizes(**sizes),
            audio=AudioEncoderConfig(scale=settings.attention_scale),
            face=FaceEncoderConfig(scale=settings.attention_scale),
            context=settings.context,
            fusion=settings.fusion,
        )


def make_task(corpus: Corpus, label: str, labels: str) -> Task:
    """Read the column ``label`` ("": the only one) as ``labels`` says (see ``label_set``). Raises
    DatasetError if there is no such column, or a label is outside the set."""
    label = label_column(corpus.label_columns(), label)
    texts = _label_texts(corpus, label)
    try:
        chosen = label_set(texts.values(), labels)
    except DatasetError as error:
        raise DatasetError(f"{corpus.name}: column {label!r}: {error}") from error
    return Task(corpus, chosen, encode_labels(corpus, label, chosen))


def encode_labels(
    corpus: Corpus,
    label: str,
    labels: LabelSet,
    on_warning: Callable[[str], None] = lambda warning: None,
) -> dict[str, float | None]:
    """Class index or number of each sample by key, None if it has none; warns of numbers that are
    hardly sentiment. Raises DatasetError if there is no such column, or a label not in the set."""
    label = label_column(corpus.label_columns(), label)
    encoded, texts = {}, _label_texts(corpus, label)
    if corpus.scale is None and (doubt := labels.doubt(texts.values())):
        on_warning(f"{corpus.name}: column {label!r}: {doubt}")
    for key, text in texts.items():
        try:
            encoded[key] = labels.encode(text)
        except DatasetError as error:
            raise DatasetError(f"{corpus.name}: {key}: {error}") from error
    return encoded


def _label_texts(corpus: Corpus, label: str) -> dict[str, str]:
    columns = sorted(corpus.label_columns())
    if label not in columns:
        raise DatasetError(
            f"{corpus.name}: no column {label!r}; choose with --label from {', '.join(columns)}"
        )
    texts = {sample.key: sample.labels.get(label, "") for sample in corpus.samples}
    if corpus.scale is None:
        return texts
    return {key: corpus.scale.read(text, f"{corpus.name}: {key}: ") for key, text in texts.items()}


def make_seed_data(
    task: Task,
    settings: TrainSettings,
    seed: int,
    *,
    words: bool,
    texts: Sequence[TextItem] = (),
    started: bool = False,
) -> SeedData:
    """Split the corpus for one ``seed``; with ``words`` each transcript becomes a vector, by an
    encoder fitted on those of the training part and on ``texts``, the sentences of a text corpus.
    ``started``: training starts from a checkpoint. Raises DatasetError if a part would be empty, a
    speaker is in two parts, or there are no transcripts."""
    sentences = _text_samples(texts, task.labels, settings.label, seed) if texts else None
    whole, *folds = (
        _data_of(task, settings, split, sentences, words=words, started=started)
        for split in _seed_splits(task, settings.split, seed, started=started)
    )
    return dataclasses.replace(whole, folds=tuple(folds))


def _seed_splits(task: Task, by: SplitSettings, seed: int, *, started: bool) -> list[Split]:
    """The parts of one ``seed``; where none is held back, also those of each fold, with other
    groups as "test"."""
    samples = task.corpus.samples
    if started:
        by = settings_for_start(task, by)
    split = split_samples(samples, task.known(samples), by, seed)
    train, splits = split["train"], [split]
    for rows in () if split["valid"] else grouped_folds(groups_of(train, by.by), FOLDS):
        held_out = [train[row] for row in rows]
        kept = [sample for row, sample in enumerate(train) if row not in rows]
        splits.append({"train": kept, "valid": [], "test": held_out})
    return splits


def check_rows(
    task: Task,
    settings: TrainSettings,
    seed: int,
    *,
    words: bool,
    texts: Sequence[TextItem] = (),
    started: bool = False,
) -> None:
    """Raise what :func:`make_seed_data`, and training with ``cross_fit``, would raise for labels,
    texts and parts; features may be missing. Raises UsageError if a text encoder cannot be used."""
    by, folds = settings.split.by, settings.transfer.cross_fit
    sentences = _text_samples(texts, task.labels, settings.label, seed) if texts else None
    ready = _has_ready_words(task.corpus, settings.text) and sentences is None
    encoded = {**task.encoded, **(sentences.encoded if sentences else {})}

    def check(part: str, samples: Sequence[Sample]) -> None:
        name = {"train": "training", "valid": "validation"}[part]
        labelled = [s for s in samples if encoded[s.key] is not None]
        if not labelled:
            what = "a label and text" if words and sentences is None else "a label"
            raise DatasetError(f"no {name} utterance has {what}; add some")
        labelled += (
            [s for s in sentences.split[part] if encoded[s.key] is not None] if sentences else []
        )
        if words and not any(s.words is not None if ready else s.text.strip() for s in labelled):
            raise DatasetError(f"no {name} utterance has a label and text; add some")

    for split in _seed_splits(task, settings.split, seed, started=started):
        if words and not ready:
            own = [s.text for s in _spoken(task.corpus, split["train"])]
            theirs = [s.text for s in sentences.split["train"]] if sentences else []
            _check_encoder(settings.text, [*own, *theirs])
        check("train", split["train"])
        if split["valid"]:
            check("valid", split["valid"])
        if folds >= 2:
            videos = _video_groups(split["train"], by)
            check_groups(list(videos.values()))
            names = list(videos)
            for rows in grouped_folds(list(videos.values()), folds):
                held_out = {names[row] for row in rows}
                check("train", [s for s in split["train"] if s.video not in held_out])


def check_groups(groups: Sequence[str]) -> None:
    """Raise DatasetError if the training videos are of one group, which gives no folds."""
    if len(set(groups)) < 2:
        raise DatasetError(
            "the training part is of one speaker or video, which cannot be divided; leave "
            "--cross-fit away"
        )


def _video_groups(samples: Sequence[Sample], by: str) -> dict[str, str]:
    """The group of each video, in the order in which they first occur."""
    groups = groups_of(samples, by)
    return {sample.video: group for sample, group in zip(samples, groups, strict=True)}


def grouped_folds(groups: Sequence[str], folds: int) -> list[list[int]]:
    """Rows of each fold; all rows of a group are in one, folds are of about equal size."""
    rows_of: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        rows_of.setdefault(group, []).append(row)
    parts: list[list[int]] = [[] for _ in range(min(folds, len(rows_of)))]
    for group in sorted(rows_of, key=lambda name: (-len(rows_of[name]), name)):
        min(parts, key=len).extend(rows_of[group])
    return [sorted(part) for part in parts]


@dataclass(frozen=True, slots=True)
class _Sentences:
    """Of a text corpus: its parts, and the label of each sample by key."""

    split: Split
    encoded: dict[str, float | None]


def _data_of(
    task: Task,
    settings: TrainSettings,
    split: Split,
    sentences: _Sentences | None,
    *,
    words: bool,
    started: bool,
) -> SeedData:
    corpus = task.corpus
    vectors: Vectors = {}
    told = 0
    sizes = {**corpus.vectors, "text": 0}
    if words:
        vectors, told = _text_vectors(task, split, sentences, settings)
        sizes["text"] = len(next(iter(vectors.values())))
    # A checkpoint knows modalities that these data lack.
    for modality in () if started else settings.target:
        if not any(getattr(sample, modality) is not None for sample in split["train"]):
            raise DatasetError(
                f"{corpus.name}: no {modality} in the training part; choose another --target"
            )
    train, valid, test = (
        make_videos(part, task.encoded, sizes, vectors, corpus.features) for part in split.values()
    )
    check_parts(train, valid, settings.target)
    source, texts = settings.transfer.source, None
    if sentences is not None:
        known, size = {**task.encoded, **sentences.encoded}, {"text": sizes["text"]}
        both = ([*split[part], *sentences.split[part]] for part in ("train", "valid"))
        first, second = (make_videos(one, known, size, vectors) for one in both)
        texts = first, second
    if source in MODALITIES or words:
        check_parts(*(texts or (train, valid)), (source or "text",))
    groups = tuple(_video_groups(split["train"], settings.split.by).values())
    return SeedData(task, split, train, valid, test, VectorSizes(**sizes), groups, told, texts)


def _text_samples(
    items: Sequence[TextItem], labels: LabelSet, column: str, seed: int
) -> _Sentences:
    """The sentences of a text corpus as samples in two parts; those of one context are one "video".

    The label is the column ``column`` if the corpus has it; else its emotion or its sentiment,
    whichever the label set knows. Raises DatasetError if no text has one of the labels.
    """
    # No file has a NUL in its name: they cannot be taken for the user's own videos.
    samples = [
        Sample(key=f"text\0{i}", video=f"text\0{item.context or i}", text=item.text)
        for i, item in enumerate(items)
    ]
    found = [_label_of(item, labels, column) for item in items]
    classes = np.array(found, dtype=np.float64)  # NaN for None
    if np.isnan(classes).all():
        raise DatasetError(f"no text has one of the labels {', '.join(labels.names)}")
    by_video = SplitSettings(by="video", validation=0.15, test=0.0)
    split = split_samples(samples, classes, by_video, seed)
    keys = (sample.key for sample in samples)
    return _Sentences(split, dict(zip(keys, found, strict=True)))


def _label_of(item: TextItem, labels: LabelSet, column: str) -> float | None:
    for name in dict.fromkeys((column, "emotion", "sentiment", "label")):
        try:
            found = labels.encode(item.labels.get(name, ""))
        except DatasetError:  # the corpus has classes that this model lacks
            continue
        if found is not None:
            return found
    return None


def _has_ready_words(corpus: Corpus, settings: TextSettings) -> bool:
    """Whether the vectors of the texts come with ``corpus``."""
    return settings.encoder == "auto" and bool(corpus.vectors.get("text"))


def _spoken(corpus: Corpus, train: Sequence[Sample]) -> list[Sample]:
    """Samples of the training part with a text. Raises DatasetError if there are none."""
    spoken = [sample for sample in train if sample.text.strip()]
    if not spoken:
        raise DatasetError(f"{corpus.name}: no transcript to teach with; fill the text column")
    return spoken


def _check_encoder(settings: TextSettings, train: Sequence[str]) -> None:
    """Raise DatasetError if the texts ``train`` hold no words, UsageError if the text model cannot
    be loaded."""
    make_text_encoder(_encoder_name(settings), settings.size).check(train)


def _encoder_name(settings: TextSettings) -> str:
    return "tfidf" if settings.encoder == "auto" else settings.encoder


def _text_vectors(
    task: Task, split: Split, sentences: _Sentences | None, settings: TrainSettings
) -> tuple[Vectors, int]:
    """Vector of each text by the key of its sample; how many of its columns, the first, are what a
    linear classifier of the training part says."""
    corpus, by = task.corpus, settings.split.by
    if _has_ready_words(corpus, settings.text) and sentences is None:
        return {s.key: s.words for s in corpus.samples if s.words is not None}, 0
    train = _spoken(corpus, split["train"])
    samples, encoded = list(corpus.samples), dict(task.encoded)
    groups = dict(zip((s.key for s in samples), groups_of(samples, by), strict=True))
    if sentences is not None:
        train += [sample for sample in sentences.split["train"] if sample.text.strip()]
        added = [sample for part in sentences.split.values() for sample in part]
        samples += added
        encoded |= sentences.encoded
        groups |= {sample.key: sample.video for sample in added}
    encoder = make_text_encoder(_encoder_name(settings.text), settings.text.size)
    encoder.fit([sample.text for sample in train])
    spoken = [sample for sample in samples if sample.text.strip()]
    texts, learnt = [sample.text for sample in spoken], {sample.key for sample in train}
    known = [encoded[sample.key] if sample.key in learnt else None for sample in spoken]
    vectors = encoder.encode(texts)
    said = linear_predictions(
        encoder.features(texts),
        np.array(known, dtype=np.float64),
        [groups[sample.key] for sample in spoken],
        classes=1 if task.labels.real else len(task.labels.names),
        strength=encoder.strength,
    )
    told = 0 if said is None else said.shape[1]
    if said is not None:
        vectors = np.concatenate([said, vectors], axis=1)
    return {s.key: vector for s, vector in zip(spoken, vectors, strict=True)}, told
