"""A step in bfloat16, as on a GPU: every loss is finite and stays near that of full precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avsent.data.corpus import Sample
from avsent.networks.config import FusionConfig, TargetConfig
from avsent.networks.target import TargetModel
from avsent.networks.transfer import Transfer
from avsent.training.settings import OptimiserSettings, TransferSettings
from avsent.training.updates import Taught, Updates
from avsent.training.videos import encoded, make_videos


def raw_samples(count: int) -> list[Sample]:
    rng = np.random.default_rng(0)
    return [
        Sample(
            key=f"{index}",
            video=f"video {index % 3}",
            audio=rng.gamma(1.0, 1.0, (64, 40)).astype(np.float32) if index % 4 else None,
            face=rng.normal(0, 0.3, (5, 51, 2)).astype(np.float32),
        )
        for index in range(count)
    ]


@pytest.mark.parametrize("fusion", ["hmtl", "tfn", "fbp", "multiplicative", "avef"])
def test_a_step_in_mixed_precision(fusion: str) -> None:
    samples = raw_samples(12)
    videos = make_videos(samples, {s.key: float(i % 3) for i, s in enumerate(samples)}, {})
    source = torch.tanh(torch.randn(3, 4, 64, generator=torch.Generator().manual_seed(1)))
    taught = Taught(source, torch.ones(3, 4, dtype=torch.bool))
    config = TargetConfig(fusion=FusionConfig(name=fusion))
    cpu = torch.device("cpu")
    losses, moved = {}, {}
    for precision in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        model = TargetModel(config)
        weights = TransferSettings(source="text")
        transfer = Transfer(config.modalities, 64, 64, weights.networks)
        updates = Updates(model, transfer, OptimiserSettings(), weights)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        model.train()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision != torch.float32):
            utterances = encoded(model, videos, [0, 1, 2], cpu)
            losses[precision] = updates.step(utterances, videos.labels, taught)
        moved[precision] = {
            name for name, p in model.named_parameters() if not torch.equal(p, before[name])
        }
        assert all(torch.isfinite(p).all() for p in model.parameters())
    exact, rough = losses[torch.float32], losses[torch.bfloat16]
    assert exact.keys() == rough.keys()
    assert exact.keys() == {"classification", "decoder", "discriminator", "adversarial"}
    for name, value in exact.items():
        assert np.isfinite(rough[name])
        assert rough[name] == pytest.approx(value, rel=0.25)  # dropout draws differ
    assert moved[torch.bfloat16] == moved[torch.float32]
