"""HM-Decoder and HM-Discriminator: losses by hand, and which loss trains what."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avsent.labels import MODALITIES
from avsent.model.networks.config import TransferConfig
from avsent.model.networks.transfer import (
    HMDecoder,
    HMDiscriminator,
    Transfer,
    adversarial_loss,
    decoder_loss,
    discriminator_loss,
)

SIZE = 4
THERE = {
    "audio": torch.tensor([[True, True, False], [True, False, False]]),
    "face": torch.tensor([[False, True, True], [False, False, False]]),
}
HAS_SOURCE = torch.tensor([[True, False, True], [True, False, False]])


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def transfer() -> Transfer:
    torch.manual_seed(2)
    return Transfer(MODALITIES, SIZE, SIZE, TransferConfig(6, 5)).double()


def embeddings() -> dict[str, Tensor]:
    return {m: random(2, 3, SIZE, seed=n).requires_grad_() for n, m in enumerate(MODALITIES)}


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_decoder_is_dense_relu_then_dense_tanh() -> None:
    torch.manual_seed(1)
    decoder = HMDecoder(3, 5, 2).double()
    found = decoder(30 * random(2, 7, 3))
    weights = [p.detach() for p in decoder.parameters()]
    hidden = (30 * random(2, 7, 3) @ weights[0].T + weights[1]).clamp_min(0)
    torch.testing.assert_close(found, (hidden @ weights[2].T + weights[3]).tanh())
    assert found.shape == (2, 7, 2)
    assert found.abs().max() <= 1


def test_discriminator_gives_one_logit() -> None:
    torch.manual_seed(1)
    judge = HMDiscriminator(3, 5, dropout=0.5).double().eval()
    items = random(2, 7, 3)
    weights = [p.detach() for p in judge.parameters()]
    hidden = (items @ weights[0].T + weights[1]).clamp_min(0)
    torch.testing.assert_close(judge(items), (hidden @ weights[2].T + weights[3])[..., 0])
    assert judge(items).shape == (2, 7)
    judge.train()
    assert not torch.equal(judge(items), judge(items))


def test_decoder_loss_by_hand() -> None:
    found = torch.tensor([[[1.0, 2.0], [0.5, 0.5], [9.0, 9.0]]])
    source = torch.tensor([[[0.0, 0.0], [0.5, 1.5], [0.0, 0.0]]])
    mask = torch.tensor([[True, True, False]])
    assert float(decoder_loss(found, source, mask)) == pytest.approx((1 + 4 + 0 + 1) / 4)


logits = st.lists(st.tuples(st.floats(-20, 20), st.booleans()), min_size=1, max_size=6)


@settings(max_examples=50, deadline=None)
@given(logits, logits)
def test_discriminator_losses_by_hand(
    source: list[tuple[float, bool]], target: list[tuple[float, bool]]
) -> None:
    (on_source, source_mask), (on_target, target_mask) = (
        (
            torch.tensor([[x for x, _ in rows]], dtype=torch.float64),
            torch.tensor([[m for _, m in rows]]),
        )
        for rows in (source, target)
    )
    seen = [math.log(sigmoid(x)) for x, there in source if there]
    fooled = [math.log(sigmoid(x)) for x, there in target if there]
    caught = [math.log(1 - sigmoid(x)) for x, there in target if there]
    expected = -sum(seen) / max(len(seen), 1) - sum(caught) / max(len(caught), 1)
    found = discriminator_loss(on_source, on_target, source_mask, target_mask)
    assert float(found) == pytest.approx(expected, abs=1e-6)
    against = adversarial_loss(on_target, target_mask)
    assert float(against) == pytest.approx(-sum(fooled) / max(len(fooled), 1), abs=1e-6)


def test_losses_are_finite_for_any_logit_and_empty_masks_train_nothing() -> None:
    sure = torch.tensor([[1000.0, -1000.0]], requires_grad=True)
    everywhere, nowhere = torch.tensor([[True, True]]), torch.tensor([[False, False]])
    assert torch.isfinite(discriminator_loss(sure, sure, everywhere, everywhere))
    assert adversarial_loss(sure, everywhere).item() == pytest.approx(500)
    vectors = random(1, 2, SIZE).requires_grad_()
    for loss, leaf in (
        (discriminator_loss(sure, sure, nowhere, nowhere), sure),
        (adversarial_loss(sure, nowhere), sure),
        (decoder_loss(vectors, torch.full_like(vectors, math.nan), nowhere), vectors),
    ):
        (gradient,) = torch.autograd.grad(loss, leaf)
        assert loss.item() == 0
        assert gradient.eq(0).all()


def test_transfer_is_the_mean_over_modalities_on_its_masks() -> None:
    module, given_, source = transfer(), embeddings(), random(2, 3, SIZE, seed=9)
    decoded, told, fooled = [], [], []
    for m in MODALITIES:
        reconstructed = module.decoders[m](given_[m])
        mask = THERE[m] & HAS_SOURCE
        decoded.append((reconstructed - source)[mask].square().mean().item())
        on_source = module.discriminators[m](source)[HAS_SOURCE]
        on_target = module.discriminators[m](given_[m])[THERE[m]]
        seen, caught = on_source.sigmoid().log().mean(), (-on_target).sigmoid().log().mean()
        told.append(-(seen + caught).item())
        fooled.append(-on_target.sigmoid().log().mean().item())
    found = (
        module.decoder_losses(given_, THERE, source, HAS_SOURCE),
        module.discriminator_losses(given_, THERE, source, HAS_SOURCE),
        module.adversarial_losses(given_, THERE),
    )
    expected = [sum(values) / 2 for values in (decoded, told, fooled)]
    assert [loss.item() for loss in found] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("loss", "trained"),
    [
        ("decoder", {"decoders", "embeddings"}),
        ("discriminator", {"discriminators"}),
        ("adversarial", {"embeddings"}),
    ],
)
def test_each_loss_trains_what_the_paper_says(loss: str, trained: set[str]) -> None:
    module, given_ = transfer(), embeddings()
    source = random(2, 3, SIZE, seed=9).requires_grad_()
    rest = () if loss == "adversarial" else (source, HAS_SOURCE)
    getattr(module, f"{loss}_losses")(given_, THERE, *rest).backward()
    parts = {
        "decoders": list(module.decoders.parameters()),
        "discriminators": list(module.discriminators.parameters()),
        "embeddings": list(given_.values()),
        "source": [source],
    }
    moved = {n for n, ps in parts.items() if any(p.grad is not None for p in ps)}
    assert moved == trained
    for name in trained:
        assert all(p.grad.abs().sum() > 0 for p in parts[name]), name
    if "embeddings" in trained:
        for m in MODALITIES:
            mask = THERE[m] & HAS_SOURCE if loss == "decoder" else THERE[m]
            assert given_[m].grad[~mask].eq(0).all()


def test_masked_values_change_no_loss() -> None:
    module, given_, source = transfer(), embeddings(), random(2, 3, SIZE, seed=9)
    other = {m: v.detach().masked_fill(~THERE[m][..., None], 7.0) for m, v in given_.items()}
    elsewhere = source.masked_fill(~HAS_SOURCE[..., None], -7.0)
    for loss in (module.decoder_losses, module.discriminator_losses):
        first, second = (
            loss(e, THERE, s, HAS_SOURCE) for e, s in ((given_, source), (other, elsewhere))
        )
        assert first.item() == pytest.approx(second.item(), abs=1e-12)
    first, second = (module.adversarial_losses(e, THERE) for e in (given_, other))
    assert first.item() == pytest.approx(second.item(), abs=1e-12)


def test_discriminator_and_embedding_are_adversaries() -> None:
    """Trained alone it tells the two apart; then embeddings that follow L_adv pass for sources."""
    torch.manual_seed(0)
    module = Transfer(("audio",), SIZE, SIZE, TransferConfig(8, 8))
    there = torch.ones(4, 8, dtype=torch.bool)
    source = random(4, 8, SIZE, seed=1).float() + 1
    leaf = {"audio": (random(4, 8, SIZE, seed=2).float() - 1).requires_grad_()}
    judge = torch.optim.Adam(module.discriminators.parameters(), lr=0.05)
    for _ in range(60):
        judge.zero_grad()
        module.discriminator_losses(leaf, {"audio": there}, source, there).backward()
        judge.step()
    network = module.discriminators["audio"]
    assert network(source).gt(0).float().mean() > 0.9
    assert network(leaf["audio"]).lt(0).float().mean() > 0.9
    embedding = torch.optim.Adam(leaf.values(), lr=0.1)
    for _ in range(60):
        embedding.zero_grad()
        module.adversarial_losses(leaf, {"audio": there}).backward()
        embedding.step()
    assert network(leaf["audio"]).gt(0).float().mean() > 0.9


def test_different_embedding_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="source have size 8, of the target 4"):
        Transfer(MODALITIES, 8, 4, TransferConfig())
    with pytest.raises(ValueError, match="at least one modality"):
        Transfer((), 4, 4, TransferConfig())
