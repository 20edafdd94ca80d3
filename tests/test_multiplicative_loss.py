"""Multiplicative fusion's losses: by hand, against cross-entropy, and what the gradient sees."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from avsent.networks.fusion.multiplicative import (
    class_losses,
    decision_logits,
    multiplicative_loss,
)

BOTH = {"audio": torch.tensor([[True]]), "face": torch.tensor([[True]])}


def votes_of(*probabilities: list[float]) -> dict[str, Tensor]:
    """Votes [1, 1, C] whose softmax is as given."""
    rows = [torch.tensor(p, dtype=torch.float64).log()[None, None] for p in probabilities]
    return dict(zip(("audio", "face", "text"), rows, strict=False))


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_losses_by_hand() -> None:
    votes = votes_of([0.5, 0.25, 0.25], [0.8, 0.1, 0.1])
    c = class_losses(votes, BOTH, beta=1.0, original=True)[0, 0].tolist()
    assert c[0] == pytest.approx(-(0.2 * math.log(0.5) + 0.5 * math.log(0.8)))
    assert c[1] == pytest.approx(-(0.9 * math.log(0.25) + 0.75 * math.log(0.1)))
    c = class_losses(votes, BOTH, beta=1.0, original=False)[0, 0].tolist()
    assert c[0] == pytest.approx(-(0.5 * math.log(0.5) + 0.8 * math.log(0.8)))
    c = class_losses(votes, BOTH, beta=2.0, original=False)[0, 0].tolist()
    assert c[0] == pytest.approx(-(0.25 * math.log(0.5) + 0.64 * math.log(0.8)))
    # β = 0: every weight is 1, the sum of both cross-entropies.
    for original in (False, True):
        c = class_losses(votes, BOTH, beta=0.0, original=original)[0, 0].tolist()
        assert c[0] == pytest.approx(-math.log(0.5 * 0.8))


def test_three_modalities_by_hand() -> None:
    """β/(M−1) with M = 3 is a square root at β = 1, the product runs over the two others."""
    votes = votes_of([0.5, 0.5], [0.8, 0.2], [0.9, 0.1])
    present = {name: torch.tensor([[True]]) for name in votes}
    original = class_losses(votes, present, 1.0, original=True)[0, 0, 0]
    weights = [math.sqrt(w) for w in (0.2 * 0.1, 0.5 * 0.1, 0.5 * 0.2)]
    by_hand = -sum(w * math.log(p) for w, p in zip(weights, (0.5, 0.8, 0.9), strict=True))
    assert float(original) == pytest.approx(by_hand)
    present["text"] = torch.tensor([[False]])  # M = 2
    two = class_losses(votes, present, 1.0, original=True)[0, 0, 0]
    assert float(two) == pytest.approx(-(0.2 * math.log(0.5) + 0.5 * math.log(0.8)))


@pytest.mark.parametrize("original", [False, True])
def test_one_modality_is_its_own_softmax_and_none_is_undecided(original: bool) -> None:
    votes = {"audio": random(1, 3, 4), "face": random(1, 3, 4, seed=1)}
    present = {
        "audio": torch.tensor([[True, False, False]]),
        "face": torch.tensor([[False, True, False]]),
    }
    logits = decision_logits(votes, present, 1.5, original)[0]
    torch.testing.assert_close(logits, -class_losses(votes, present, 1.5, original)[0])
    torch.testing.assert_close(logits[0].softmax(-1), votes["audio"][0, 0].softmax(-1))
    torch.testing.assert_close(logits[1].softmax(-1), votes["face"][0, 1].softmax(-1))
    assert logits[2].eq(0).all()


def test_why_the_smallest_loss_of_m3er_is_not_the_decision() -> None:
    votes = votes_of([0.9, 0.099, 0.001], [0.9, 0.099, 0.001])
    assert class_losses(votes, BOTH, 1.0, original=False)[0, 0].argmin().item() == 2
    assert class_losses(votes, BOTH, 1.0, original=True)[0, 0].argmin().item() == 0
    found = decision_logits(votes, BOTH, 1.0, original=False)[0, 0].tolist()
    assert found == pytest.approx([1.8 * math.log(p) for p in (0.9, 0.099, 0.001)])


chances = st.lists(st.floats(0.001, 1), min_size=4, max_size=4)


@settings(max_examples=60, deadline=None)
@given(chances, chances, st.sampled_from([0.0, 0.5, 1.0, 3.0]), st.booleans())
def test_what_both_prefer_is_decided(
    first: list[float], second: list[float], beta: float, original: bool
) -> None:
    rows = [[x / sum(row) for x in (*row, 1.1)] for row in (first, second)]
    votes = votes_of(*rows)
    assert decision_logits(votes, BOTH, beta, original)[0, 0].argmax().item() == 4


def test_the_surer_modality_wins() -> None:
    votes = votes_of([0.6, 0.3, 0.1], [0.02, 0.96, 0.02])
    for original in (False, True):
        decided = decision_logits(votes, BOTH, 1.0, original)[0, 0].argmax().item()
        assert decided == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.5, 1.0, 3.0]), st.booleans(), st.booleans())
def test_order_of_modalities_and_classes_does_not_matter(
    seed: int, beta: float, original: bool, missing: bool
) -> None:
    votes = {"audio": random(2, 3, 4, seed=seed), "face": random(2, 3, 4, seed=seed + 1)}
    there = torch.ones(2, 3, dtype=torch.bool)
    present = {"audio": there, "face": there & (not missing)}
    c = class_losses(votes, present, beta, original)
    turned = class_losses(dict(reversed(votes.items())), present, beta, original)
    torch.testing.assert_close(c, turned, atol=1e-12, rtol=0)
    order = [2, 0, 3, 1]
    moved = class_losses({m: v[..., order] for m, v in votes.items()}, present, beta, original)
    torch.testing.assert_close(moved, c[..., order], atol=1e-12, rtol=0)
    assert c.ge(0).all()


@pytest.mark.parametrize("original", [False, True])
@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_the_gradient_holds_the_weight_constant(beta: float, original: bool) -> None:
    votes = {"audio": random(1, 1, 3), "face": random(1, 1, 3, seed=1)}
    truth, step = torch.tensor([[2]]), 1e-6
    leaf = votes["audio"].clone().requires_grad_()
    loss = multiplicative_loss({**votes, "audio": leaf}, BOTH, truth, beta=beta, original=original)
    loss.backward()
    assert leaf.grad is not None
    probabilities = {m: float(v.softmax(-1)[0, 0, 2]) for m, v in votes.items()}
    base = 1 - probabilities["face"] if original else probabilities["audio"]
    for index in range(3):
        moved = votes["audio"].clone()
        moved[0, 0, index] += step
        change = moved.log_softmax(-1)[0, 0, 2] - votes["audio"].log_softmax(-1)[0, 0, 2]
        held = float(-(base**beta) * change / step)
        assert float(leaf.grad[0, 0, index]) == pytest.approx(held, abs=1e-5)
    # A rising chance of the true class lowers the loss, however small the chance is.
    assert leaf.grad[0, 0, 2] < 0


@pytest.mark.parametrize("original", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, [1.0, 0.2, 3.0]])
def test_one_modality_is_cross_entropy(
    original: bool, smoothing: float, weights: list[float] | None
) -> None:
    votes = {"audio": random(2, 4, 3), "face": random(2, 4, 3, seed=1)}
    there = torch.tensor([[True] * 4, [True, True, True, False]])
    present = {"audio": there, "face": torch.zeros_like(there)}
    truth = torch.tensor([[0, 1, 2, -1], [2, 2, 1, 0]])
    by_class = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    found = multiplicative_loss(
        votes,
        present,
        truth,
        beta=1.0,
        original=original,
        class_weights=by_class,
        label_smoothing=smoothing,
    )
    used = there & (truth >= 0)
    expected = functional.cross_entropy(
        votes["audio"][used], truth[used], weight=by_class, label_smoothing=smoothing
    )
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("original", [False, True])
def test_mean_over_what_is_labelled_and_there(original: bool) -> None:
    votes = {"audio": random(1, 4, 3), "face": random(1, 4, 3, seed=1)}
    present = {
        "audio": torch.tensor([[True, True, False, False]]),
        "face": torch.tensor([[True, False, True, False]]),
    }
    truth = torch.tensor([[1, -1, 0, 2]])
    c = class_losses(votes, present, 1.0, original)
    found = multiplicative_loss(votes, present, truth, beta=1.0, original=original)
    torch.testing.assert_close(found, (c[0, 0, 1] + c[0, 2, 0]) / 2)


@pytest.mark.parametrize("original", [False, True])
def test_nothing_to_learn_from_and_votes_of_any_size(original: bool) -> None:
    leaf = random(1, 2, 3).requires_grad_()
    votes, there = {"audio": leaf, "face": leaf * 2}, torch.tensor([[True, True]])
    nothing = multiplicative_loss(
        votes, {"audio": there, "face": there}, torch.full((1, 2), -1), beta=1.0, original=original
    )
    nothing.backward()
    assert nothing.item() == 0
    assert leaf.grad is not None
    assert leaf.grad.eq(0).all()
    sure = torch.tensor([[[800.0, 0.0, -800.0], [0.0, -800.0, 800.0]]], requires_grad=True)
    for beta in (0.0, 0.5, 1.0):
        loss = multiplicative_loss(
            {"audio": sure, "face": sure.flip(-1)},
            {"audio": there, "face": there},
            torch.tensor([[0, 1]]),
            beta=beta,
            original=original,
        )
        (gradient,) = torch.autograd.grad(loss, sure)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()
