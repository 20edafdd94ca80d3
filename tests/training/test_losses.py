"""One step of HMTL: which loss moves what, how far, and that nothing unseen moves anything."""

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
    LABELS,
    NAN,
    PRESENT,
    SIZE,
    STEP_WEIGHTS,
    THERE,
    UNCLIPPED,
    made,
    parameters,
    random,
    small_corpus,
    taught,
    utterances,
)
from torch import Tensor, nn

from avsent.model.networks.config import FusionConfig, VectorSizes
from avsent.model.networks.target import TargetModel, Utterances
from avsent.model.networks.transfer import Transfer
from avsent.training.dataset import encoded, make_videos
from avsent.training.losses import Taught, balanced_weights, classification_loss, one_cycle, thinned
from avsent.training.settings import TransferSettings


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
def test_what_trains_what(weights: tuple[float, float, float], trained: set[str]) -> None:
    updates = made(*weights)
    source = taught()
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
    updates = made(*weights, vectors=VectorSizes())
    rng = np.random.default_rng(0)
    batch = encoded(updates.model, videos, [0, 1], torch.device("cpu"), rng)
    before = parameters(updates)
    shape = videos.labels.shape
    source = Taught(random(*shape, SIZE, seed=3).tanh(), videos.known())
    updates.step(batch, videos.labels, source)
    found = moved(before, parameters(updates))
    for name in EVERYTHING - {"embedding"}:
        assert found[name] == {name in trained}
    for part in ("audio_encoder", "face_encoder", "audio_embedding", "face_embedding"):
        names = [name for name in before if name.startswith(part)]
        assert any(not torch.equal(before[n], parameters(updates)[n]) for n in names), part


def test_the_source_never_moves_and_gets_no_gradient() -> None:
    updates = made(1.0, 1.0, 1.0)
    embeddings = taught().embeddings.requires_grad_()
    updates.step(utterances(), LABELS, Taught(embeddings, THERE))
    assert embeddings.grad is None


# --- how far: gradients of one step beside a plain reference ------------------------------------


def objectives(
    model: TargetModel, transfer: Transfer, source: Taught
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
        theirs = [place for place in np.ndindex(2, 4) if THERE[place]]
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
    updates = made(alpha, beta, gamma)
    assert updates.transfer is not None
    model, transfer = copy.deepcopy(updates.model), copy.deepcopy(updates.transfer)
    losses = updates.step(utterances(), LABELS, taught(), share)

    classification, decoding, judging, _ = objectives(model, transfer, taught())
    expected = gradients(decoding + judging, transfer)
    for name, gradient in left_in(updates.transfer).items():
        torch.testing.assert_close(gradient, expected[name], msg=name)
    assert losses["classification"] == pytest.approx(classification.item(), rel=1e-5)
    assert losses["decoder"] == pytest.approx(decoding.item(), rel=1e-5)
    assert losses["discriminator"] == pytest.approx(judging.item(), rel=1e-5)

    taught_now = copy.deepcopy(updates.transfer).requires_grad_(True)
    classification, decoding, _, fooling = objectives(model, taught_now, taught())
    total = alpha * classification + share * (beta * decoding + gamma * fooling)
    expected = gradients(total, model)
    for name, gradient in left_in(updates.model).items():
        torch.testing.assert_close(gradient, expected[name], msg=name, rtol=1e-4, atol=1e-6)
    assert losses["adversarial"] == pytest.approx(fooling.item(), rel=1e-5)


def test_the_classifier_hears_of_classification_alone() -> None:
    """With all losses at once its gradient is that without transfer."""
    plain, full = made(0.7), made(0.7, 1.5, 0.4)
    plain.step(utterances(), LABELS, taught())
    full.step(utterances(), LABELS, taught())
    alone = left_in(plain.model.get_submodule("head"))
    for name, gradient in left_in(full.model.get_submodule("head")).items():
        assert torch.equal(gradient, alone[name]), name


def test_gradients_are_clipped() -> None:
    updates = made(1000.0, optimiser=dataclasses.replace(UNCLIPPED, clip=0.5))
    updates.step(utterances(), LABELS)
    norm = sum(float(g.square().sum()) for g in left_in(updates.model).values()) ** 0.5
    assert norm == pytest.approx(0.5, rel=1e-4)


# --- masks --------------------------------------------------------------------------------------


def state_after(batch: Utterances, labels: Tensor, source: Taught) -> dict[str, Tensor]:
    updates = made(1.0, 1.0, 1.0)
    for _ in range(2):
        updates.step(batch, labels, source)
    return parameters(updates)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_what_is_not_there_contributes_nothing() -> None:
    plain = state_after(utterances(), LABELS, taught())
    batch, source = utterances(), taught()
    for name, values in batch.values.items():  # missing modalities, and padding
        values[~PRESENT[name]] = 77.0
    source.embeddings[~THERE] = -55.0  # utterances without a text
    assert same(plain, state_after(batch, LABELS, source))


@pytest.mark.parametrize("what", ["value", "label", "text"])
def test_what_is_there_counts(what: str) -> None:
    """The test above can fail."""
    plain = state_after(utterances(), LABELS, taught())
    batch, labels, source = utterances(), LABELS.clone(), taught()
    if what == "value":
        batch.values["face"][0, 3] += 1
    elif what == "label":
        labels[0, 0] = 2
    else:
        source.embeddings[0, 0] += 1
    assert not same(plain, state_after(batch, labels, source))


def test_a_batch_without_labels_and_texts_moves_no_classifier_and_no_decoder() -> None:
    updates = made(1.0, 1.0, 0.0)
    before = parameters(updates)
    nothing = Taught(taught().embeddings, torch.zeros_like(THERE))
    updates.step(utterances(), torch.full_like(LABELS, NAN), nothing)
    assert same(before, parameters(updates))


def test_a_labelled_utterance_without_any_modality_is_not_judged() -> None:
    updates = made()
    batch = utterances()
    batch.present["face"] = PRESENT["audio"]
    labels = torch.full_like(LABELS, NAN)
    labels[1, 1] = 1.0
    output = updates.model(batch)
    assert classification_loss(updates.model, output, labels).item() == 0


def test_numbers_are_learnt_by_smooth_l1() -> None:
    updates = made(real=True)
    output = updates.model(utterances())
    known = [place for place in np.ndindex(2, 4) if not LABELS[place].isnan()]
    expected = []
    for place in known:
        error = abs(output.logits[place][0].item() - LABELS[place].item())
        expected.append(error - 0.5 if error >= 1 else error**2 / 2)
    found = classification_loss(updates.model, output, LABELS)
    assert found.item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_a_multiplicative_head_learns_by_its_own_loss() -> None:
    updates = made(fusion=FusionConfig("multiplicative"))
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
    updates = made(1.0, 1.0, 1.0)
    before = parameters(updates)
    updates.set_rate(0.0)
    updates.step(utterances(), LABELS, taught())
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
    thin = thinned(Utterances(values, present, torch.full((40,), 50)), 0.5, 0.4)
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
    assert torch.equal(thinned(one, 0.0, 0.9).present["audio"], there)


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
