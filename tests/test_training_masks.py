"""What is not there moves nothing; what else a step of training is made of."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from one_step import LABELS, NAN, PRESENT, THERE, made, parameters, taught, utterances
from torch import Tensor

from avsent.networks.config import FusionConfig
from avsent.networks.target import Utterances
from avsent.training.settings import TransferSettings
from avsent.training.updates import (
    Taught,
    balanced_weights,
    classification_loss,
    one_cycle,
    thinned,
)

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
