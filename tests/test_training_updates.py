"""One step of HMTL: which loss moves what, how far, and that nothing unseen moves anything."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from one_step import (
    LABELS,
    PRESENT,
    SIZE,
    THERE,
    UNCLIPPED,
    WEIGHTS,
    made,
    parameters,
    random,
    taught,
    utterances,
)
from tiny import small_corpus
from torch import Tensor, nn

from avsent.networks.config import VectorSizes
from avsent.networks.target import TargetModel
from avsent.networks.transfer import Transfer
from avsent.training.updates import Taught
from avsent.training.videos import encoded, make_videos


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
    costs = [WEIGHTS[c] * -log[c] for c, log in zip(classes, logs, strict=True)]
    classification = torch.stack(costs).sum() / WEIGHTS[classes].sum()
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
