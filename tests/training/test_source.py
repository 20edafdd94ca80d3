"""Who teaches: frozen sources, pairs by label, folds that never saw what they represent."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import SENTENCES, changed, material_of, small_corpus, small_settings
from torch import Tensor

from avsent.errors import DatasetError
from avsent.model.networks.target import Utterances
from avsent.training.data.text import TextItem
from avsent.training.seed import Where, make_teaching, train_seed
from avsent.training.settings import TrainSettings
from avsent.training.source import (
    PairedTeacher,
    SourceCourse,
    UnpairedTeacher,
    folded,
    paired_teacher,
    rotation,
    train_source,
    unpaired_teacher,
)
from avsent.training.splits import Material, make_task, make_text_material
from avsent.training.trainer import Course

CPU = torch.device("cpu")
NAN = float("nan")


pytestmark = pytest.mark.usefixtures("one_thread")


def source_course(material: Material, told: TrainSettings) -> SourceCourse:
    course = Course(material.train, material.valid, told.optimiser, told.transfer, 0, CPU)
    return SourceCourse(material.config(told, ("text",)), course, material.groups)


# --- paired -------------------------------------------------------------------------------------


def test_a_paired_teacher_is_the_frozen_source_in_evaluation() -> None:
    told = small_settings(transfer={"source": "text"})
    material = material_of(small_corpus(gaps=True), told)
    source = source_course(material, told)
    model = train_source(source)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    teacher = paired_teacher(model, source, 0)
    taught = teacher.for_epoch(0)
    assert teacher.for_epoch(5) is taught
    assert teacher.size == taught.embeddings.shape[-1]
    train = material.train
    assert torch.equal(taught.there, train.present["text"])
    assert not taught.there.all()
    assert taught.embeddings[~taught.there].eq(0).all()
    for row, video in enumerate(train.samples):  # each by itself: padding changes nothing
        count = len(video)
        there = train.present["text"][row : row + 1, :count]
        values = model.encoder("text")(train.vectors["text"][row : row + 1, :count])
        alone = model.embed(Utterances({"text": values}, {"text": there}, torch.tensor([count])))
        torch.testing.assert_close(taught.embeddings[row, :count], alone.values["text"][0])


def test_the_source_does_not_move_while_the_target_learns() -> None:
    told = small_settings(transfer={"source": "text", "adversarial": 1.0})
    material = material_of(small_corpus(), told)
    teaching = make_teaching(material, told, 0, Where(CPU))
    before = {name: value.clone() for name, value in teaching.model.state_dict().items()}
    taught = teaching.teacher.for_epoch(0).embeddings.clone()
    trained = train_seed(material, told, 0, Where(CPU), teaching)
    assert all(torch.equal(value, before[n]) for n, value in teaching.model.state_dict().items())
    assert torch.equal(teaching.teacher.for_epoch(0).embeddings, taught)
    alone = train_seed(material, told, 0, Where(CPU))
    assert any(
        not torch.equal(value, alone.model.state_dict()[name])
        for name, value in trained.model.state_dict().items()
    )


def test_every_part_off_is_no_transfer_to_the_bit() -> None:
    told = small_settings(transfer={"source": "text", "decoder": 0.0, "adversarial": 0.0})
    material = material_of(small_corpus(), told)
    teaching = make_teaching(material, told, 0, Where(CPU))
    off = train_seed(material, told, 0, Where(CPU), teaching).model.state_dict()
    alone = small_settings()
    never = train_seed(material_of(small_corpus(), alone, words=False), alone, 0, Where(CPU))
    assert all(torch.equal(value, off[n]) for n, value in never.model.state_dict().items())


# --- unpaired -----------------------------------------------------------------------------------


labels = st.lists(st.sampled_from([0.0, 1.0, 2.0, NAN]), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(labels, labels, st.integers(0, 3), st.integers(0, 9))
def test_only_texts_of_the_same_label_teach(
    theirs: list[float], ours: list[float], seed: int, epoch: int
) -> None:
    # An embedding that names its own row.
    embeddings = torch.arange(len(theirs), dtype=torch.float32)[:, None]
    teacher = UnpairedTeacher(embeddings, torch.tensor(theirs), torch.tensor([ours]), seed)
    taught = teacher.for_epoch(epoch)
    assert taught.there[0].tolist() == [not np.isnan(label) and label in theirs for label in ours]
    for label, row, there in zip(
        ours, taught.embeddings[0, :, 0].long().tolist(), taught.there[0].tolist(), strict=True
    ):
        assert not there or theirs[row] == label
    again = teacher.for_epoch(epoch)
    assert torch.equal(taught.embeddings, again.embeddings)


def test_pairs_are_drawn_anew_in_each_epoch_and_by_seed() -> None:
    embeddings = torch.arange(50.0)[:, None]
    theirs, ours = torch.arange(50) % 2.0, torch.zeros(1, 40)

    def drawn(seed: int, epoch: int) -> list[float]:
        return (
            UnpairedTeacher(embeddings, theirs, ours, seed)
            .for_epoch(epoch)
            .embeddings[0, :, 0]
            .tolist()
        )

    draws = [drawn(0, 0), drawn(0, 1), drawn(1, 0)]
    assert len({tuple(draw) for draw in draws}) == 3
    assert len(set(draws[0])) > 10


def test_numbers_are_paired_by_the_nearest_whole_one() -> None:
    teacher = UnpairedTeacher(
        torch.tensor([[1.0], [2.0]]), torch.tensor([-1.8, 0.6]), torch.tensor([[-2.2, 1.4, 2.0]]), 0
    )
    taught = teacher.for_epoch(0)
    assert taught.there.tolist() == [[True, True, False]]
    assert taught.embeddings[0, :2, 0].tolist() == [1.0, 2.0]


def texts(count: int = 16) -> list[TextItem]:
    return [
        TextItem(f"{SENTENCES[2 * (n % 2)]} {n}", {"label": ("negative", "positive")[n % 2]})
        for n in range(count)
    ]


def test_an_unpaired_teacher_knows_training_texts_alone() -> None:
    told = small_settings(transfer={"source": "text"}, encoder="tfidf")
    material = material_of(small_corpus(), told, words=False)
    other = make_text_material(texts(), material.task.labels, "label", told, 0)
    assert other.train.utterances() + other.valid.utterances() == 16
    course = Course(other.train, other.valid, told.optimiser, told.transfer, 0, CPU)
    vectors = dataclasses.replace(material.vectors, text=other.size)
    config = dataclasses.replace(material, vectors=vectors).config(told, ("text",))
    model = train_source(SourceCourse(config, course))
    teacher = unpaired_teacher(model, other.train, material.train, CPU, 0)
    assert len(teacher.embeddings) == other.train.utterances()
    assert teacher.for_epoch(0).there.tolist() == material.train.known().tolist()


def test_texts_that_tell_more_or_less_apart() -> None:
    told = small_settings(encoder="tfidf")
    names = make_task(small_corpus(), "label", "3").labels
    items = [
        *texts(8),
        TextItem("a film", {"label": "tired", "emotion": "joy"}),
        TextItem("a film", {"sentiment": "-2"}),
        TextItem("a film", {"label": "tired"}),
        TextItem("a film", {"label": "surprise"}),
    ]
    made = make_text_material(items, names, "label", told, 0)
    found = {
        sample.key: float(label)
        for videos in (made.train, made.valid)
        for video, row in zip(videos.samples, videos.labels, strict=True)
        for sample, label in zip(video, row, strict=False)
    }
    assert (found["text 8"], found["text 9"]) == (2.0, 0.0)
    assert np.isnan([found["text 10"], found["text 11"]]).all()
    with pytest.raises(DatasetError, match="no text has one of the labels negative, neutral"):
        make_text_material(items[10:], names, "label", told, 0)


# --- cross-fit ----------------------------------------------------------------------------------


@given(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=30), st.integers(2, 8))
def test_folds_hold_whole_groups(groups: list[str], folds: int) -> None:
    parts = folded(groups, folds)
    assert sorted(row for part in parts for row in part) == list(range(len(groups)))
    assert len(parts) == min(folds, len(set(groups)))
    assert all(parts)
    for group in set(groups):
        assert sum(any(groups[row] == group for row in part) for part in parts) == 1


def angles(teacher: PairedTeacher, row: int) -> Tensor:
    """Inner products of a video's embeddings: the same however the space is turned."""
    embeddings = teacher.for_epoch(0).embeddings[row]
    return embeddings @ embeddings.T


def test_no_video_is_represented_by_a_source_that_saw_its_group() -> None:
    """Its own labels, turned round, change nothing in how it is represented."""
    told = small_settings(epochs=6, learning_rate=0.02)
    corpus = small_corpus(speakers=16)
    corpus = changed(corpus, {"v1": {"speaker": "s0"}})  # one group of two videos
    turned = {"negative": "positive", "positive": "negative"}
    other = dataclasses.replace(
        corpus,
        samples=tuple(
            dataclasses.replace(one, labels={"label": turned[one.labels["label"]]})
            if one.speaker == "s0"
            else one
            for one in corpus.samples
        ),
    )
    found: dict[int, list[PairedTeacher]] = {}
    for folds in (0, 4):
        for data in (corpus, other):
            material = material_of(data, told)
            assert material.groups[:3] == ("s0", "s0", "s2")
            source = source_course(material, told)
            found.setdefault(folds, []).append(paired_teacher(train_source(source), source, folds))
    for row in (0, 1):
        torch.testing.assert_close(angles(found[4][0], row), angles(found[4][1], row))
        assert (angles(found[0][0], row) - angles(found[0][1], row)).abs().max() > 1e-3
    # The other folds' sources did see those labels.
    assert (angles(found[4][0], 4) - angles(found[4][1], 4)).abs().max() > 1e-3


def test_folds_keep_the_space_of_the_source() -> None:
    """Turned onto it, fold embeddings lie nearer to the source's own than unturned ones."""
    told = small_settings(epochs=6, learning_rate=0.02)
    material = material_of(small_corpus(speakers=16), told)
    source = source_course(material, told)
    model = train_source(source)
    whole = paired_teacher(model, source, 0).for_epoch(0)
    epochs: dict[int, list[dict[str, float]]] = {}
    hook = lambda fold: epochs.setdefault(fold, []).append  # noqa: E731
    fitted = paired_teacher(model, source, 4, hook).for_epoch(0)
    assert list(epochs) == [0, 1, 2, 3]
    assert all(len(measured) >= 1 for measured in epochs.values())
    assert torch.equal(fitted.there, whole.there)
    assert fitted.embeddings[~fitted.there].eq(0).all()
    assert not torch.equal(fitted.embeddings, whole.embeddings)
    along = torch.cosine_similarity(fitted.embeddings, whole.embeddings, dim=-1)[whole.there]
    assert along.mean() > 0.5


def test_one_group_cannot_be_divided() -> None:
    told = small_settings()
    material = material_of(small_corpus(), told)
    one = dataclasses.replace(material, groups=("s0",) * len(material.groups))
    source = source_course(one, told)
    with pytest.raises(DatasetError, match="leave --cross-fit away"):
        paired_teacher(train_source(source), source, 3)


@given(st.integers(2, 8), st.integers(0, 10**6))
def test_a_rotation_is_found_again(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    turn = torch.from_numpy(np.linalg.qr(rng.normal(size=(size, size)))[0]).float()
    given = torch.from_numpy(rng.normal(size=(5 * size, size))).float()
    found = rotation(given, given @ turn)
    torch.testing.assert_close(found, turn, rtol=0, atol=1e-4)
    noisy = rotation(given, torch.from_numpy(rng.normal(size=(5 * size, size))).float())
    torch.testing.assert_close(noisy @ noisy.T, torch.eye(size), rtol=0, atol=1e-4)
