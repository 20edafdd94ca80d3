"""HMTL: one training step (which loss trains which network), and the embeddings of the source."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import (
    CPU,
    HAS_SOURCE,
    LABELS,
    NAN,
    PRESENT,
    SENTENCES,
    SIZE,
    STEP_WEIGHTS,
    UNCLIPPED,
    changed,
    parameters,
    random,
    seed_data_of,
    small_corpus,
    small_settings,
    small_updates,
    source_embeddings,
    utterances,
)
from torch import Tensor, nn

from avsent.errors import DatasetError
from avsent.model.networks.config import FusionConfig, VectorSizes
from avsent.model.networks.target import TargetModel, Utterances
from avsent.model.networks.transfer import Transfer
from avsent.training.data.text import TextItem
from avsent.training.dataset import encoded, make_videos
from avsent.training.losses import (
    SourceEmbeddings,
    UnpairedTeacher,
    Updates,
    balanced_weights,
    classification_loss,
    drop_inputs,
    one_cycle,
)
from avsent.training.run import train_seed
from avsent.training.settings import TrainSettings, TransferSettings
from avsent.training.source import (
    grouped_folds,
    paired_teacher,
    pretrain_source,
    rotation,
    train_source,
    unpaired_teacher,
)
from avsent.training.splits import SeedData, make_task, make_text_videos
from avsent.training.trainer import FitSetup, SeedContext

pytestmark = pytest.mark.usefixtures("one_thread")


def group(name: str) -> str:
    first = name.split(".")[0]
    return "embedding" if first.endswith(("_embedding", "_encoder")) else first


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, set[bool]]:
    """For each group whether its parameters changed in any bit: {True} if all did."""
    found: dict[str, set[bool]] = {}
    for name, value in before.items():
        found.setdefault(group(name), set()).add(not torch.equal(value, after[name]))
    return found


# --- what trains what ---------------------------------------------------------------------------

EVERYTHING = {"embedding", "head", "decoders", "discriminators"}
TABLE = [
    ((1.0, 0.0, 0.0), {"embedding", "head"}),
    ((0.0, 1.0, 0.0), {"embedding", "decoders"}),
    ((0.0, 0.0, 1.0), {"embedding", "discriminators"}),
    ((0.0, 1.0, 1.0), {"embedding", "decoders", "discriminators"}),
    ((1.0, 1.0, 1.0), EVERYTHING),
    ((0.0, 0.0, 0.0), set()),
]


@pytest.mark.parametrize(("weights", "trained"), TABLE)
def test_which_loss_trains_which_network(
    weights: tuple[float, float, float], trained: set[str]
) -> None:
    updates = small_updates(*weights)
    source = source_embeddings()
    before, given = parameters(updates), source.embeddings.clone()
    updates.step(utterances(), LABELS, source)
    found = moved(before, parameters(updates))
    assert found == {name: {name in trained} for name in EVERYTHING}
    assert torch.equal(source.embeddings, given)


@pytest.mark.parametrize(("weights", "trained"), TABLE[:3])
def test_encoders_of_raw_sound_and_faces_belong_to_the_embedding(
    weights: tuple[float, float, float], trained: set[str]
) -> None:
    corpus = small_corpus(raw=True, speakers=2)
    videos = make_videos(corpus.samples, {s.key: 0.0 for s in corpus.samples}, {})
    updates = small_updates(*weights, vectors=VectorSizes())
    rng = np.random.default_rng(0)
    batch = encoded(updates.model, videos, [0, 1], torch.device("cpu"), rng)
    before = parameters(updates)
    shape = videos.labels.shape
    source = SourceEmbeddings(random(*shape, SIZE, seed=3).tanh(), videos.known())
    updates.step(batch, videos.labels, source)
    found = moved(before, parameters(updates))
    for name in EVERYTHING - {"embedding"}:
        assert found[name] == {name in trained}
    for part in ("audio_encoder", "face_encoder", "audio_embedding", "face_embedding"):
        names = [name for name in before if name.startswith(part)]
        assert any(not torch.equal(before[n], parameters(updates)[n]) for n in names), part


def test_the_source_never_moves_and_gets_no_gradient() -> None:
    updates = small_updates(1.0, 1.0, 1.0)
    embeddings = source_embeddings().embeddings.requires_grad_()
    updates.step(utterances(), LABELS, SourceEmbeddings(embeddings, HAS_SOURCE))
    assert embeddings.grad is None


# --- how far: gradients of one step beside a plain reference ------------------------------------


def objectives(
    model: TargetModel, transfer: Transfer, source: SourceEmbeddings
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """CE, L_dec, L_disc and L_adv, utterance by utterance and by their definitions."""
    output = model(utterances())
    used = [(b, u) for b, u in np.ndindex(2, 4) if not LABELS[b, u].isnan()]
    classes = [int(LABELS[place]) for place in used]
    logs = [output.logits[place].log_softmax(dim=-1) for place in used]
    costs = [STEP_WEIGHTS[c] * -log[c] for c, log in zip(classes, logs, strict=True)]
    classification = torch.stack(costs).sum() / STEP_WEIGHTS[classes].sum()
    decoding, judging, fooling = [], [], []
    for name in model.config.modalities:
        own = [place for place in np.ndindex(2, 4) if PRESENT[name][place]]
        theirs = [place for place in np.ndindex(2, 4) if HAS_SOURCE[place]]
        embedding = output.embeddings[name]
        both = [place for place in own if place in theirs]
        errors = [
            (transfer.decoders[name](embedding[p]) - source.embeddings[p]).square().mean()
            for p in both
        ]
        decoding.append(torch.stack(errors).mean())
        judge = transfer.discriminators[name]
        on_own = torch.stack([judge(embedding[place]).sigmoid() for place in own])
        detached = torch.stack([judge(embedding[place].detach()).sigmoid() for place in own])
        on_theirs = torch.stack([judge(source.embeddings[place]).sigmoid() for place in theirs])
        judging.append(-on_theirs.log().mean() - (1 - detached).log().mean())
        fooling.append(-on_own.log().mean())
    mean = [torch.stack(losses).mean() for losses in (decoding, judging, fooling)]
    return classification, mean[0], mean[1], mean[2]


def gradients(loss: Tensor, module: nn.Module) -> dict[str, Tensor]:
    named = dict(module.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), retain_graph=True, allow_unused=True)
    return {
        name: torch.zeros_like(named[name]) if gradient is None else gradient
        for name, gradient in zip(named, found, strict=True)
    }


def left_in(module: nn.Module) -> dict[str, Tensor]:
    return {
        name: torch.zeros_like(value) if value.grad is None else value.grad
        for name, value in module.named_parameters()
    }


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_gradients_are_those_of_the_weighted_objectives(share: float) -> None:
    """α·CE + share·(β·L_dec + γ·L_adv), against the decoder and discriminator that have just
    learnt; and these from the embeddings of before the target's step."""
    alpha, beta, gamma = 0.7, 1.5, 0.4
    updates = small_updates(alpha, beta, gamma)
    assert updates.transfer is not None
    model, transfer = copy.deepcopy(updates.model), copy.deepcopy(updates.transfer)
    losses = updates.step(utterances(), LABELS, source_embeddings(), share)

    classification, decoding, judging, _ = objectives(model, transfer, source_embeddings())
    expected = gradients(decoding + judging, transfer)
    for name, gradient in left_in(updates.transfer).items():
        torch.testing.assert_close(gradient, expected[name], msg=name)
    assert losses["classification"] == pytest.approx(classification.item(), rel=1e-5)
    assert losses["decoder"] == pytest.approx(decoding.item(), rel=1e-5)
    assert losses["discriminator"] == pytest.approx(judging.item(), rel=1e-5)

    taught_now = copy.deepcopy(updates.transfer).requires_grad_(True)
    classification, decoding, _, fooling = objectives(model, taught_now, source_embeddings())
    total = alpha * classification + share * (beta * decoding + gamma * fooling)
    expected = gradients(total, model)
    for name, gradient in left_in(updates.model).items():
        torch.testing.assert_close(gradient, expected[name], msg=name, rtol=1e-4, atol=1e-6)
    assert losses["adversarial"] == pytest.approx(fooling.item(), rel=1e-5)


def test_transfer_does_not_train_the_classifier() -> None:
    """With all losses at once its gradient is that without transfer."""
    plain, full = small_updates(0.7), small_updates(0.7, 1.5, 0.4)
    plain.step(utterances(), LABELS, source_embeddings())
    full.step(utterances(), LABELS, source_embeddings())
    alone = left_in(plain.model.get_submodule("head"))
    for name, gradient in left_in(full.model.get_submodule("head")).items():
        assert torch.equal(gradient, alone[name]), name


def test_gradients_are_clipped() -> None:
    updates = small_updates(1000.0, optimiser=dataclasses.replace(UNCLIPPED, clip=0.5))
    updates.step(utterances(), LABELS)
    norm = sum(float(g.square().sum()) for g in left_in(updates.model).values()) ** 0.5
    assert norm == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("pull", [None, 0.0, 2.0])
def test_weights_are_pulled_to_where_they_started(pull: float | None) -> None:
    """Gradient of ``pull · |w − start|²``: 2 · pull · 0.5 for weights moved by 0.5."""
    made = small_updates(0.0)
    updates = Updates(made.model, None, UNCLIPPED, TransferSettings(classification=0.0), pull=pull)
    weight = made.model.get_submodule("head").classifier[0].weight
    start = weight.detach().clone()
    with torch.no_grad():
        weight[0] += 0.5
    updates.step(utterances(), LABELS)
    step = start - weight.detach()
    # Adam's first step is as long as its learning rate, in the direction of the gradient.
    assert step[0] == pytest.approx(-0.5 + (0.01 if pull else 0.0), abs=1e-5)
    assert torch.equal(step[1:], torch.zeros_like(step[1:]))
    gradient = left_in(made.model)["head.classifier.0.weight"] if pull else None
    assert gradient is None or gradient[0] == pytest.approx(2.0, rel=1e-5)


# --- masks --------------------------------------------------------------------------------------


def state_after(batch: Utterances, labels: Tensor, source: SourceEmbeddings) -> dict[str, Tensor]:
    updates = small_updates(1.0, 1.0, 1.0)
    for _ in range(2):
        updates.step(batch, labels, source)
    return parameters(updates)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_absent_inputs_contribute_nothing() -> None:
    plain = state_after(utterances(), LABELS, source_embeddings())
    batch, source = utterances(), source_embeddings()
    for name, values in batch.values.items():  # missing modalities, and padding
        values[~PRESENT[name]] = 77.0
    source.embeddings[~HAS_SOURCE] = -55.0  # utterances without a text
    assert same(plain, state_after(batch, LABELS, source))


@pytest.mark.parametrize("what", ["value", "label", "text"])
def test_present_inputs_count(what: str) -> None:
    """The test above can fail."""
    plain = state_after(utterances(), LABELS, source_embeddings())
    batch, labels, source = utterances(), LABELS.clone(), source_embeddings()
    if what == "value":
        batch.values["face"][0, 3] += 1
    elif what == "label":
        labels[0, 0] = 2
    else:
        source.embeddings[0, 0] += 1
    assert not same(plain, state_after(batch, labels, source))


def test_a_batch_without_labels_and_texts_moves_no_classifier_and_no_decoder() -> None:
    updates = small_updates(1.0, 1.0, 0.0)
    before = parameters(updates)
    nothing = SourceEmbeddings(source_embeddings().embeddings, torch.zeros_like(HAS_SOURCE))
    updates.step(utterances(), torch.full_like(LABELS, NAN), nothing)
    assert same(before, parameters(updates))


def test_a_labelled_utterance_without_any_modality_has_no_loss() -> None:
    updates = small_updates()
    batch = utterances()
    batch.present["face"] = PRESENT["audio"]
    labels = torch.full_like(LABELS, NAN)
    labels[1, 1] = 1.0
    output = updates.model(batch)
    assert classification_loss(updates.model, output, labels).item() == 0


def test_numbers_are_learnt_by_smooth_l1() -> None:
    updates = small_updates(real=True)
    output = updates.model(utterances())
    known = [place for place in np.ndindex(2, 4) if not LABELS[place].isnan()]
    expected = []
    for place in known:
        error = abs(output.logits[place][0].item() - LABELS[place].item())
        expected.append(error - 0.5 if error >= 1 else error**2 / 2)
    found = classification_loss(updates.model, output, LABELS)
    assert found.item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_a_multiplicative_head_learns_by_its_own_loss() -> None:
    updates = small_updates(fusion=FusionConfig("multiplicative"))
    output = updates.model(utterances())
    found = classification_loss(updates.model, output, LABELS)
    plain = torch.nn.functional.cross_entropy(
        output.logits[~LABELS.isnan()], LABELS[~LABELS.isnan()].long()
    )
    assert found.item() != pytest.approx(plain.item(), rel=1e-3)
    # An utterance with one modality: that modality's own cross-entropy.
    labels = torch.full_like(LABELS, NAN)
    labels[0, 1] = 2.0
    expected = -output.votes["audio"][0, 1].log_softmax(dim=-1)[2]
    assert classification_loss(updates.model, output, labels).item() == pytest.approx(
        float(expected.detach()), rel=1e-5
    )


def test_a_step_takes_the_rate_that_is_set() -> None:
    updates = small_updates(1.0, 1.0, 1.0)
    before = parameters(updates)
    updates.set_rate(0.0)
    updates.step(utterances(), LABELS, source_embeddings())
    assert same(before, parameters(updates))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, NAN]), min_size=1, max_size=30))
def test_rare_classes_weigh_as_much_as_common_ones(labels: list[float]) -> None:
    known = [int(label) for label in labels if not math.isnan(label)]
    weights = balanced_weights(torch.tensor(labels), 4).tolist()
    sums = {c: weights[c] * known.count(c) for c in range(4)}
    assert all(sums[c] == 0 for c in range(4) if c not in known)
    assert all(sums[c] == pytest.approx(len(known) / len(set(known))) for c in set(known))


def test_a_modality_is_dropped_from_a_share_of_utterances_and_never_both() -> None:
    torch.manual_seed(0)
    there = torch.ones(40, 50, dtype=torch.bool)
    there[:, 40:] = False
    present = {"audio": there, "face": there.clone()}
    present["face"][:, :10] = False
    values = {name: torch.ones(40, 50, 3) for name in present}
    thin = drop_inputs(Utterances(values, present, torch.full((40,), 50)), 0.5, 0.4)
    both = present["audio"] & present["face"]
    lost = {name: present[name] & ~thin.present[name] for name in present}
    assert not bool((lost["audio"] & lost["face"]).any())
    assert not bool(((lost["audio"] | lost["face"]) & ~both).any())
    for name in present:
        assert float(lost[name].sum() / both.sum()) == pytest.approx(0.2, abs=0.05)
        assert float((thin.values[name] == 0).float().mean()) == pytest.approx(0.5, abs=0.05)
        assert thin.values[name].max() == 2


def test_one_modality_is_never_dropped() -> None:
    there = torch.ones(1, 9, dtype=torch.bool)
    one = Utterances({"audio": torch.ones(1, 9, 3)}, {"audio": there}, torch.tensor([9]))
    assert torch.equal(drop_inputs(one, 0.0, 0.9).present["audio"], there)


def test_the_rate_goes_up_and_down_again() -> None:
    rates = [one_cycle(progress, 1.0) for progress in np.linspace(0, 1, 101)]
    assert rates[0] == pytest.approx(1 / 25)
    assert rates.index(max(rates)) == 30
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(1e-4)
    assert all(a < b for a, b in itertools.pairwise(rates[:31]))
    assert all(a > b for a, b in itertools.pairwise(rates[30:]))


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ("constant", [1.0] * 6),
        ("decay", [1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
        ("ramp", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_shares_of_transfer_over_the_epochs(schedule: str, shares: list[float]) -> None:
    told = TransferSettings("text", schedule=schedule)
    assert [told.share(epoch, 6) for epoch in range(6)] == pytest.approx(shares)


# --- the source -----------------------------------------------------------------------------------


def text_source(data: SeedData, chosen: TrainSettings) -> tuple[TargetModel, FitSetup]:
    setup = FitSetup(data.train, data.valid, chosen.optimiser, chosen.transfer, 0, CPU)
    return train_source(data.config(chosen, ("text",)), setup), setup


# --- paired -------------------------------------------------------------------------------------


def test_a_paired_teacher_is_the_frozen_source_in_evaluation() -> None:
    chosen = small_settings(transfer={"source": "text"})
    data = seed_data_of(small_corpus(gaps=True), chosen)
    model, setup = text_source(data, chosen)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    teacher = paired_teacher(model, setup, data.groups, 0)
    embedded = teacher.for_epoch(0)
    assert teacher.for_epoch(5) is embedded
    train = data.train
    assert torch.equal(embedded.present, train.present["text"])
    assert not embedded.present.all()
    assert embedded.embeddings[~embedded.present].eq(0).all()
    for row, video in enumerate(train.samples):  # each by itself: padding changes nothing
        count = len(video)
        there = train.present["text"][row : row + 1, :count]
        values = model.encoder("text")(train.vectors["text"][row : row + 1, :count])
        alone = model.embed(Utterances({"text": values}, {"text": there}, torch.tensor([count])))
        torch.testing.assert_close(embedded.embeddings[row, :count], alone.values["text"][0])


def test_the_source_does_not_move_while_the_target_learns() -> None:
    chosen = small_settings(transfer={"source": "text", "adversarial": 1.0})
    data = seed_data_of(small_corpus(), chosen)
    source = pretrain_source(data, chosen, 0, SeedContext(CPU))
    before = {name: value.clone() for name, value in source.model.state_dict().items()}
    embedded = source.teacher.for_epoch(0).embeddings.clone()
    trained = train_seed(data, chosen, 0, SeedContext(CPU), source)
    assert all(torch.equal(value, before[n]) for n, value in source.model.state_dict().items())
    assert torch.equal(source.teacher.for_epoch(0).embeddings, embedded)
    alone = train_seed(data, chosen, 0, SeedContext(CPU))
    assert any(
        not torch.equal(value, alone.model.state_dict()[name])
        for name, value in trained.model.state_dict().items()
    )


def test_transfer_with_all_weights_0_equals_no_transfer() -> None:
    chosen = small_settings(transfer={"source": "text", "decoder": 0.0, "adversarial": 0.0})
    data = seed_data_of(small_corpus(), chosen)
    source = pretrain_source(data, chosen, 0, SeedContext(CPU))
    off = train_seed(data, chosen, 0, SeedContext(CPU), source).model.state_dict()
    alone = small_settings()
    never = train_seed(seed_data_of(small_corpus(), alone, words=False), alone, 0, SeedContext(CPU))
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
    embedded = teacher.for_epoch(epoch)
    assert embedded.present[0].tolist() == [
        not np.isnan(label) and label in theirs for label in ours
    ]
    for label, row, there in zip(
        ours,
        embedded.embeddings[0, :, 0].long().tolist(),
        embedded.present[0].tolist(),
        strict=True,
    ):
        assert not there or theirs[row] == label
    again = teacher.for_epoch(epoch)
    assert torch.equal(embedded.embeddings, again.embeddings)


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
    embedded = teacher.for_epoch(0)
    assert embedded.present.tolist() == [[True, True, False]]
    assert embedded.embeddings[0, :2, 0].tolist() == [1.0, 2.0]


def texts(count: int = 16) -> list[TextItem]:
    return [
        TextItem(f"{SENTENCES[2 * (n % 2)]} {n}", {"label": ("negative", "positive")[n % 2]})
        for n in range(count)
    ]


def test_an_unpaired_teacher_knows_training_texts_alone() -> None:
    chosen = small_settings(transfer={"source": "text"}, encoder="tfidf")
    data = seed_data_of(small_corpus(), chosen, words=False)
    train, valid = make_text_videos(texts(), data.task.labels, "label", chosen, 0)
    assert int(train.lengths.sum()) + int(valid.lengths.sum()) == 16
    setup = FitSetup(train, valid, chosen.optimiser, chosen.transfer, 0, CPU)
    vectors = dataclasses.replace(data.vectors, text=train.vectors["text"].shape[-1])
    config = dataclasses.replace(data, vectors=vectors).config(chosen, ("text",))
    model = train_source(config, setup)
    teacher = unpaired_teacher(model, train, data.train, CPU, 0)
    assert len(teacher.embeddings) == int(train.lengths.sum())
    assert teacher.for_epoch(0).present.tolist() == data.train.known().tolist()


def test_texts_with_other_labels() -> None:
    chosen = small_settings(encoder="tfidf")
    names = make_task(small_corpus(), "label", "3").labels
    items = [
        *texts(8),
        TextItem("a film", {"label": "tired", "emotion": "joy"}),
        TextItem("a film", {"sentiment": "-2"}),
        TextItem("a film", {"label": "tired"}),
        TextItem("a film", {"label": "surprise"}),
    ]
    parts = make_text_videos(items, names, "label", chosen, 0)
    found = {
        sample.key: float(label)
        for videos in parts
        for video, row in zip(videos.samples, videos.labels, strict=True)
        for sample, label in zip(video, row, strict=False)
    }
    assert (found["text 8"], found["text 9"]) == (2.0, 0.0)
    assert np.isnan([found["text 10"], found["text 11"]]).all()
    with pytest.raises(DatasetError, match="no text has one of the labels negative, neutral"):
        make_text_videos(items[10:], names, "label", chosen, 0)


# --- cross-fit ----------------------------------------------------------------------------------


@given(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=30), st.integers(2, 8))
def test_folds_hold_whole_groups(groups: list[str], folds: int) -> None:
    parts = grouped_folds(groups, folds)
    assert sorted(row for part in parts for row in part) == list(range(len(groups)))
    assert len(parts) == min(folds, len(set(groups)))
    assert all(parts)
    for group in set(groups):
        assert sum(any(groups[row] == group for row in part) for part in parts) == 1


def angles(teacher: SourceEmbeddings, row: int) -> Tensor:
    """Inner products of a video's embeddings: the same however the space is turned."""
    embeddings = teacher.for_epoch(0).embeddings[row]
    return embeddings @ embeddings.T


def test_no_video_is_represented_by_a_source_that_saw_its_group() -> None:
    """Its own labels, turned round, change nothing in how it is represented."""
    chosen = small_settings(epochs=6, learning_rate=0.02)
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
    found: dict[int, list[SourceEmbeddings]] = {}
    for folds in (0, 4):
        for labelled in (corpus, other):
            data = seed_data_of(labelled, chosen)
            assert data.groups[:3] == ("s0", "s0", "s2")
            model, setup = text_source(data, chosen)
            teacher = paired_teacher(model, setup, data.groups, folds)
            found.setdefault(folds, []).append(teacher)
    for row in (0, 1):
        torch.testing.assert_close(angles(found[4][0], row), angles(found[4][1], row))
        assert (angles(found[0][0], row) - angles(found[0][1], row)).abs().max() > 1e-3
    # The other folds' sources did see those labels.
    assert (angles(found[4][0], 4) - angles(found[4][1], 4)).abs().max() > 1e-3


def test_folds_keep_the_space_of_the_source() -> None:
    """Turned onto it, fold embeddings lie nearer to the source's own than unturned ones."""
    chosen = small_settings(epochs=6, learning_rate=0.02)
    data = seed_data_of(small_corpus(speakers=16), chosen)
    model, setup = text_source(data, chosen)
    whole = paired_teacher(model, setup, data.groups, 0).for_epoch(0)
    epochs: dict[int, list[dict[str, float]]] = {}
    hook = lambda fold: epochs.setdefault(fold, []).append  # noqa: E731
    fitted = paired_teacher(model, setup, data.groups, 4, hook).for_epoch(0)
    assert list(epochs) == [0, 1, 2, 3]
    assert all(len(measured) >= 1 for measured in epochs.values())
    assert torch.equal(fitted.present, whole.present)
    assert fitted.embeddings[~fitted.present].eq(0).all()
    assert not torch.equal(fitted.embeddings, whole.embeddings)
    along = torch.cosine_similarity(fitted.embeddings, whole.embeddings, dim=-1)[whole.present]
    assert along.mean() > 0.5


def test_one_group_cannot_be_divided() -> None:
    chosen = small_settings()
    data = seed_data_of(small_corpus(), chosen)
    model, setup = text_source(data, chosen)
    with pytest.raises(DatasetError, match="leave --cross-fit away"):
        paired_teacher(model, setup, ("s0",) * len(data.groups), 3)


@given(st.integers(2, 8), st.integers(0, 10**6))
def test_a_rotation_is_found_again(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    turn = torch.from_numpy(np.linalg.qr(rng.normal(size=(size, size)))[0]).float()
    given = torch.from_numpy(rng.normal(size=(5 * size, size))).float()
    found = rotation(given, given @ turn)
    torch.testing.assert_close(found, turn, rtol=0, atol=1e-4)
    noisy = rotation(given, torch.from_numpy(rng.normal(size=(5 * size, size))).float())
    torch.testing.assert_close(noisy @ noisy.T, torch.eye(size), rtol=0, atol=1e-4)
