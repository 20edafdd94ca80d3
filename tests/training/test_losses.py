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
    AUDIO,
    CPU,
    FACE,
    HAS_SOURCE,
    LABELS,
    NAN,
    PRESENT,
    SENTENCES,
    SIZE,
    STEP_WEIGHTS,
    UNCLIPPED,
    changed,
    make_teacher,
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
from avsent.training.data.corpus import Corpus, Sample
from avsent.training.data.text import TextItem, linear_predictions
from avsent.training.dataset import encoded, make_videos
from avsent.training.evaluation import evaluate
from avsent.training.losses import (
    Teacher,
    Updates,
    balanced_weights,
    classification_loss,
    distillation_loss,
    drop_inputs,
    one_cycle,
)
from avsent.training.run import train_seed
from avsent.training.settings import TrainSettings, TransferSettings
from avsent.training.source import (
    alignment,
    cross_fitted,
    grouped_folds,
    pretrain_source,
    rotation,
    squared_mmd,
    teacher_of,
    train_source,
    with_pseudo_labels,
)
from avsent.training.splits import SeedData, make_seed_data, make_task
from avsent.training.start import start_as_linear
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
    source = make_teacher(random(*shape, SIZE, seed=3).tanh(), videos.known())
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
    updates.step(utterances(), LABELS, make_teacher(embeddings, HAS_SOURCE))
    assert embeddings.grad is None


# --- how far: gradients of one step beside a plain reference ------------------------------------


def objectives(
    model: TargetModel, transfer: Transfer, source: Teacher
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


def state_after(batch: Utterances, labels: Tensor, source: Teacher) -> dict[str, Tensor]:
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
    nothing = make_teacher(source_embeddings().embeddings, torch.zeros_like(HAS_SOURCE))
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


def test_the_teacher_is_the_frozen_source_in_evaluation() -> None:
    chosen = small_settings(transfer={"source": "text"})
    data = seed_data_of(small_corpus(gaps=True), chosen)
    model, _ = text_source(data, chosen)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    embedded = teacher_of(model, data.train, CPU)
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
    embedded = source.teacher.embeddings.clone()
    trained = train_seed(data, chosen, 0, SeedContext(CPU), source)
    assert all(torch.equal(value, before[n]) for n, value in source.model.state_dict().items())
    assert torch.equal(source.teacher.embeddings, embedded)
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


# --- other ways to teach --------------------------------------------------------------------------


@pytest.mark.parametrize("real", [False, True])
def test_distillation_by_hand(real: bool) -> None:
    updates = small_updates(0.0, 2.0, kind="distil", real=real)
    output = updates.model(utterances())
    teacher = make_teacher(random(2, 4, SIZE, seed=3), HAS_SOURCE, 1 if real else 3)
    expected, count = 0.0, 0
    for video, utterance in itertools.product(range(2), range(4)):
        there = any(bool(PRESENT[name][video, utterance]) for name in PRESENT)
        if not (there and HAS_SOURCE[video, utterance]):
            continue
        count += 1
        ours = [float(x) for x in output.logits[video, utterance].detach()]
        theirs = [float(x) for x in teacher.outputs[video, utterance]]
        if real:
            apart = abs(ours[0] - theirs[0])
            expected += apart - 0.5 if apart >= 1 else apart**2 / 2
            continue
        p, q = (
            [math.exp(x / 2) / sum(math.exp(y / 2) for y in one) for x in one]
            for one in (theirs, ours)
        )
        expected += 4 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert count == 5
    found = distillation_loss(output, teacher, real=real)
    assert found.item() == pytest.approx(expected / count, rel=1e-5)


def test_distillation_trains_embedding_and_head_without_labels() -> None:
    updates = small_updates(1.0, 1.0, kind="distil")
    assert updates.transfer is None
    before = parameters(updates)
    losses = updates.step(utterances(), torch.full_like(LABELS, NAN), source_embeddings())
    assert losses["classification"] == 0
    assert losses["distillation"] > 0
    found = moved(before, parameters(updates))
    assert {name: True in changes for name, changes in found.items()} == {
        "embedding": True,
        "head": True,
    }


def test_pseudo_labels_are_the_decisions_where_there_is_no_label() -> None:
    data = seed_data_of(small_corpus(gaps=True), small_settings(transfer={"source": "text"}))
    present = data.train.present["text"]
    teacher = make_teacher(torch.zeros(*present.shape, SIZE), present, 2)
    found = with_pseudo_labels(data.train, teacher, real=False).labels
    known = data.train.known()
    filled = 0
    for video, utterance in itertools.product(*map(range, present.shape)):
        label = found[video, utterance].item()
        if known[video, utterance]:
            assert label == data.train.labels[video, utterance]
        elif present[video, utterance]:
            assert label == float(teacher.outputs[video, utterance].argmax())
            filled += 1
        else:
            assert math.isnan(label)
    assert filled > 0
    numbers = with_pseudo_labels(data.train, teacher, real=True).labels
    there = ~known & present
    assert torch.equal(numbers[there], teacher.outputs[..., 0][there].double())


@pytest.mark.parametrize("kind", ["distil", "pseudo"])
def test_a_source_teaches_utterances_without_a_label(kind: str) -> None:
    """Half the labels are hidden; what the source says of these utterances changes the model."""
    chosen = small_settings(target=("audio",), transfer={"source": "text", "kind": kind})
    data = seed_data_of(half_labelled(small_corpus(speakers=16)), chosen)
    source = pretrain_source(data, chosen, 0, SeedContext(CPU))
    trained = train_seed(data, chosen, 0, SeedContext(CPU), source)
    hidden = ~data.train.known()
    turned = source.teacher.outputs.clone()
    turned[hidden] = turned[hidden].flip(-1)
    other = dataclasses.replace(source, teacher=dataclasses.replace(source.teacher, outputs=turned))
    again = train_seed(data, chosen, 0, SeedContext(CPU), other)
    weights = trained.model.state_dict()
    assert any(not torch.equal(v, weights[n]) for n, v in again.model.state_dict().items())


def half_labelled(corpus: Corpus) -> Corpus:
    """The training speakers with an even number lose their labels."""
    return corpus.subset(
        dataclasses.replace(one, labels=dict.fromkeys(one.labels, ""))
        if one.split == "train" and int(one.speaker[1:]) % 2 == 0
        else one
        for one in corpus.samples
    )


def texts(count: int = 16) -> list[TextItem]:
    return [
        TextItem(f"{SENTENCES[2 * (n % 2)]} {n}", {"label": ("negative", "positive")[n % 2]})
        for n in range(count)
    ]


def test_a_text_corpus_teaches_the_transcripts_of_the_videos() -> None:
    """Its sentences train the source beside the videos' own; it teaches each transcript, with a
    label or without."""
    chosen = small_settings(target=("audio",), transfer={"source": "text"}, encoder="tfidf")
    corpus = half_labelled(small_corpus(gaps=True))
    task = make_task(corpus, "label", "auto")
    data = make_seed_data(task, chosen, 0, words=True, texts=texts())
    assert data.texts is not None
    for part, own in zip(data.texts, (data.train, data.valid), strict=True):
        assert part.samples[: len(own.samples)] == own.samples
        assert len(part.samples) > len(own.samples)
        added = part.labels[len(own.samples) :]
        assert (~added.isnan()).sum() == len(part.samples) - len(own.samples)
    assert (
        sum(len(p.samples) for p in data.texts)
        == len(data.train.samples) + len(data.valid.samples) + 16
    )
    source = pretrain_source(data, chosen, 0, SeedContext(CPU))
    assert torch.equal(source.teacher.present, data.train.present["text"])
    assert (source.teacher.present & ~data.train.known()).any()
    alone = make_seed_data(task, chosen, 0, words=True)
    assert alone.texts is None
    other = pretrain_source(alone, chosen, 0, SeedContext(CPU))
    assert other.teacher.embeddings.shape == source.teacher.embeddings.shape
    assert set(source.predictions) == {"valid", "test"}


def test_texts_with_other_labels() -> None:
    chosen = small_settings(transfer={"source": "text"}, encoder="tfidf", labels="3")
    task = make_task(small_corpus(), "label", "3")
    items = [
        *texts(8),
        TextItem("a film", {"label": "tired", "emotion": "joy"}),
        TextItem("a film", {"sentiment": "-2"}),
        TextItem("a film", {"label": "tired"}),
        TextItem("a film", {"label": "surprise"}),
    ]
    parts = make_seed_data(task, chosen, 0, words=True, texts=items).texts
    assert parts is not None
    found = {
        sample.key: float(label)
        for videos in parts
        for video, row in zip(videos.samples, videos.labels, strict=True)
        for sample, label in zip(video, row, strict=False)
    }
    assert (found["text\0" + "8"], found["text\0" + "9"]) == (2.0, 0.0)
    assert np.isnan([found["text\0" + "10"], found["text\0" + "11"]]).all()
    with pytest.raises(DatasetError, match="no text has one of the labels negative, neutral"):
        make_seed_data(task, chosen, 0, words=True, texts=items[10:])


# --- a source that starts as a linear classifier --------------------------------------------------


def test_linear_predictions_are_out_of_fold() -> None:
    """A text's own label changes nothing in what is said of it or of its group."""
    rng = np.random.default_rng(0)
    classes = np.arange(40) % 2
    features = rng.normal(size=(40, 3)) + 2 * classes[:, None]
    groups = [f"v{row // 4}" for row in range(40)]
    labels = classes.astype(float)
    labels[36:] = NAN
    told = {"classes": 3, "strength": 1.0}
    found = linear_predictions(features, labels, groups, **told)
    assert found is not None
    assert found.shape == (40, 3)
    assert (found[:, :2].argmax(axis=1) == classes).mean() > 0.8
    assert np.allclose(found[:, 2], np.log(1e-3))  # no text has it
    turned = labels.copy()
    turned[:4] = 1 - turned[:4]
    other = linear_predictions(features, turned, groups, **told)
    assert other is not None
    assert np.array_equal(other[:4], found[:4])
    assert not np.allclose(other[4:], found[4:])
    numbers = linear_predictions(features, 3 * labels, groups, classes=1, strength=1.0)
    assert numbers is not None
    assert np.corrcoef(numbers[:36, 0], labels[:36])[0, 1] > 0.7
    assert linear_predictions(features, labels, ["v"] * 40, **told) is None
    assert linear_predictions(features, 0 * labels, groups, **told) is None


@pytest.mark.parametrize("real", [False, True])
def test_a_network_starts_as_a_linear_map(real: bool) -> None:
    names = ("audio", "face")
    model = small_updates(real=real).model.eval()
    outputs = model.config.outputs
    maps = {
        name: (0.1 * random(outputs, size, seed=place), 0.1 * random(outputs, seed=9))
        for place, (name, size) in enumerate(zip(names, (AUDIO, FACE), strict=True))
    }
    start_as_linear(model, maps, 0.05)
    batch = utterances()
    expected = torch.zeros(2, 4, outputs)
    for name, (weight, bias) in maps.items():
        there = batch.present[name][..., None]
        values = model.encoder(name)(batch.values[name])
        expected += there * (values @ weight.T + bias)
    with torch.no_grad():
        torch.testing.assert_close(model(batch).logits, expected, atol=0.01, rtol=0.02)


def test_the_source_of_texts_is_no_worse_than_a_linear_classifier() -> None:
    """Sentences in which only words tell: a network alone learns little of them."""
    rng = np.random.default_rng(0)
    words = [[f"good{n}" for n in range(12)], [f"bad{n}" for n in range(12)]]
    other = [f"word{n}" for n in range(60)]
    samples = []
    for number in range(96):
        label, video = number % 2, number // 4
        text = " ".join([*rng.choice(other, 8), rng.choice(words[label])])
        samples.append(
            Sample(
                key=f"{number}",
                video=f"v{video}",
                speaker=f"s{video}",
                text=text,
                audio=rng.normal(size=AUDIO).astype(np.float32),
                split=("train", "valid", "test")[video % 3],
                labels={"label": ("negative", "positive")[label]},
            )
        )
    corpus = Corpus("words", tuple(samples), {"audio": AUDIO}, None, "made up")
    chosen = small_settings(
        target=("audio",), transfer={"source": "text"}, encoder="tfidf", epochs=8
    )
    data = seed_data_of(corpus, chosen)
    assert data.told == 2
    source = pretrain_source(data, chosen, 0, SeedContext(CPU))
    said = data.test.vectors["text"][..., :2].numpy()
    truth = data.test.labels.numpy()
    linear = (said.argmax(axis=-1) == truth).mean()
    network = evaluate(source.predictions["test"], draws=1).metrics["accuracy"]
    assert linear > 0.6
    assert network is not None
    assert network >= linear - 0.05


# --- alignment ------------------------------------------------------------------------------------


def test_spaces_that_are_one_cannot_be_told_apart() -> None:
    rng = np.random.default_rng(0)
    one, two = (rng.normal(size=(4, 400, 6)).astype(np.float32) for _ in range(2))
    same = alignment(one[:2], two[:2])
    assert same["domain_accuracy"] == pytest.approx(0.5, abs=0.06)
    assert same["mmd"] == pytest.approx(0.0, abs=0.01)
    apart = alignment(one[:2], two[:2] + 3)
    assert apart["domain_accuracy"] == 1.0
    assert apart["mmd"] > 0.5


def test_the_discrepancy_of_two_spaces_written_out() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(5, 3)), rng.normal(1, 2, size=(4, 3))
    points = [*first, *second]
    pairs = list(itertools.combinations(points, 2))
    width = float(torch.tensor([float(((a - b) ** 2).sum()) for a, b in pairs]).double().median())
    kernel = lambda a, b: math.exp(-float(((a - b) ** 2).sum()) / width)  # noqa: E731
    within = [
        sum(kernel(a, b) for a, b in itertools.permutations(one, 2)) / (len(one) * (len(one) - 1))
        for one in (first, second)
    ]
    across = sum(kernel(a, b) for a in first for b in second) / 20
    assert squared_mmd(first, second) == pytest.approx(sum(within) - 2 * across, rel=1e-5)


# --- cross-fit ----------------------------------------------------------------------------------


@given(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=30), st.integers(2, 8))
def test_folds_hold_whole_groups(groups: list[str], folds: int) -> None:
    parts = grouped_folds(groups, folds)
    assert sorted(row for part in parts for row in part) == list(range(len(groups)))
    assert len(parts) == min(folds, len(set(groups)))
    assert all(parts)
    for group in set(groups):
        assert sum(any(groups[row] == group for row in part) for part in parts) == 1


def angles(teacher: Teacher, row: int) -> Tensor:
    """Inner products of a video's embeddings: the same however the space is turned."""
    embeddings = teacher.embeddings[row]
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
    found: dict[int, list[Teacher]] = {}
    for labelled in (corpus, other):
        data = seed_data_of(labelled, chosen)
        assert data.groups[:3] == ("s0", "s0", "s2")
        model, setup = text_source(data, chosen)
        found.setdefault(0, []).append(teacher_of(model, data.train, CPU))
        found.setdefault(4, []).append(cross_fitted(model, setup, data.groups, 4))
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
    whole = teacher_of(model, data.train, CPU)
    epochs: dict[int, list[dict[str, float]]] = {}
    hook = lambda fold: epochs.setdefault(fold, []).append  # noqa: E731
    fitted = cross_fitted(model, setup, data.groups, 4, on_fold=hook)
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
        cross_fitted(model, setup, ("s0",) * len(data.groups), 3)


@given(st.integers(2, 8), st.integers(0, 10**6))
def test_a_rotation_is_found_again(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    turn = torch.from_numpy(np.linalg.qr(rng.normal(size=(size, size)))[0]).float()
    given = torch.from_numpy(rng.normal(size=(5 * size, size))).float()
    found = rotation(given, given @ turn)
    torch.testing.assert_close(found, turn, rtol=0, atol=1e-4)
    noisy = rotation(given, torch.from_numpy(rng.normal(size=(5 * size, size))).float())
    torch.testing.assert_close(noisy @ noisy.T, torch.eye(size), rtol=0, atol=1e-4)
