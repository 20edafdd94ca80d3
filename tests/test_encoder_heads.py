"""Classifiers of raw modalities' encoders: there while training, and only for raw ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from one_step import LABELS, SIZE, WEIGHTS, made, random, utterances
from tiny import small_corpus
from torch.nn import functional

from avsent.networks.config import VectorSizes
from avsent.networks.target import Utterances
from avsent.training.updates import ENCODER_SHARE, Taught, Updates
from avsent.training.videos import Videos, encoded, make_videos

CPU = torch.device("cpu")


def raw_batch(updates: Updates) -> tuple[Videos, Utterances]:
    corpus = small_corpus(raw=True, speakers=2, gaps=True)
    labels = {s.key: float(n % 3) if n != 1 else None for n, s in enumerate(corpus.samples)}
    videos = make_videos(corpus.samples, labels, {})
    torch.manual_seed(7)  # the encoders have dropout
    return videos, encoded(updates.model, videos, [0, 1], CPU, np.random.default_rng(0))


def test_vectors_need_none() -> None:
    updates = made(1.0)
    assert not list(updates.encoder_heads.parameters())
    assert set(updates.step(utterances(), LABELS)) == {"classification"}


def test_the_loss_by_each_alone_against_a_loop() -> None:
    updates = made(1.0, vectors=VectorSizes())
    videos, batch = raw_batch(updates)
    heads = updates.encoder_heads
    expected = 0.0
    for name, linear in heads.linear.items():
        total = weight = 0.0
        for v, u in np.ndindex(*videos.labels.shape):
            label = float(videos.labels[v, u])
            if np.isnan(label) or not videos.present[name][v, u]:
                continue
            logs = functional.log_softmax(linear(batch.values[name][v, u]), dim=0)
            total -= (WEIGHTS[int(label)] * logs[int(label)]).item()
            weight += float(WEIGHTS[int(label)])
        expected += total / weight
    found = heads.loss(updates.model, batch, videos.labels, WEIGHTS, 0.0)
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("alpha", "learns"), [(1.0, True), (0.0, False)])
def test_they_learn_from_classification_alone(alpha: float, learns: bool) -> None:
    updates = made(alpha, 1.0, 1.0, vectors=VectorSizes())
    videos, batch = raw_batch(updates)
    before = {n: p.detach().clone() for n, p in updates.encoder_heads.named_parameters()}
    assert len(before) == 4  # weight and bias for sound and face
    source = Taught(random(*videos.labels.shape, SIZE, seed=3).tanh(), videos.known())
    updates.step(batch, videos.labels, source)
    for name, parameter in updates.encoder_heads.named_parameters():
        assert torch.equal(parameter, before[name]) is not learns


def test_they_add_their_share_to_the_encoders_gradient() -> None:
    updates = made(1.0, vectors=VectorSizes())
    videos, batch = raw_batch(updates)
    encoder = updates.model.encoder("audio")
    weight = encoder.out.weight
    updates.model.zero_grad()
    alone = updates.encoder_heads.loss(updates.model, batch, videos.labels, WEIGHTS, 0.0)
    (by_heads,) = torch.autograd.grad(alone, weight, retain_graph=True)
    assert by_heads.abs().sum() > 0
    plain = made(1.0, vectors=VectorSizes())
    plain.encoder_heads.linear = torch.nn.ModuleDict()
    gradients = []
    for one in (plain, made(1.0, vectors=VectorSizes())):
        videos, batch = raw_batch(one)
        one.optimisers["target"].step = lambda: None  # type: ignore[method-assign]
        one.step(batch, videos.labels)
        gradients.append(one.model.encoder("audio").out.weight.grad)
    torch.testing.assert_close(gradients[1], gradients[0] + ENCODER_SHARE * by_heads)


def test_the_model_that_is_saved_knows_nothing_of_them() -> None:
    updates = made(1.0, vectors=VectorSizes())
    assert not [name for name in updates.model.state_dict() if "encoder_heads" in name]
