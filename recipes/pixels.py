"""Training of the pixel network on FER+ and strangers' faces: augmentation, and one network."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from avsent.extraction.features.face import standardised
from avsent.files import atomic_path, prepare_folder
from avsent.model.networks.config import PixelConfig
from avsent.model.networks.encoders import PixelNetwork
from recipes.stills import FERPLUS, Stills

ROTATION_RAD = math.radians(15)
SCALE = 0.15
SHIFT = 0.1
CONTRAST = 0.35
"""Standard deviation of the log exponent of the brightness."""
NOISE = 0.15
SIDE_LIGHT = 0.15
BLURRED = 0.3
"""Share of pictures as from a greater distance."""
LEAST_DETAIL = 0.35
ERASED = 0.4
ERASED_SIDE = 0.4


def augmented_pictures(
    grey: Tensor, size: int, generator: torch.Generator, strength: float = 1.0
) -> Tensor:
    """Augmented copies [N, size, size] of pictures ``grey`` [N, H, W] in 0 … 255, standardised; all
    changes but the mirror are scaled by ``strength``."""
    pictures = _framed(grey, size, generator, strength)
    pictures = _lit(pictures, generator, strength)
    pictures = _coarser(pictures, generator, strength)
    mean = pictures.mean(dim=(1, 2), keepdim=True)
    pictures = (pictures - mean) / pictures.std(dim=(1, 2), keepdim=True).clamp_min(1e-2)
    noise = strength * NOISE * torch.rand(len(pictures), 1, 1, generator=generator)
    pictures = pictures + noise * torch.randn(pictures.shape, generator=generator)
    return _erased(pictures, generator, strength)


def _framed(grey: Tensor, size: int, generator: torch.Generator, strength: float) -> Tensor:
    """Mirrored, rotated, scaled, shifted, and sampled at ``size``."""
    n = len(grey)

    def uniform(limit: float) -> Tensor:
        return strength * limit * (2 * torch.rand(n, generator=generator) - 1)

    angle, zoom = uniform(ROTATION_RAD), torch.exp(uniform(SCALE))
    mirror = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    # grid_sample measures in half pictures.
    first = torch.stack([cos * mirror, -sin, uniform(2 * SHIFT)], dim=1)
    second = torch.stack([sin * mirror, cos, uniform(2 * SHIFT)], dim=1)
    grid = functional.affine_grid(
        torch.stack([first, second], dim=1), [n, 1, size, size], align_corners=False
    )
    return functional.grid_sample(
        grey[:, None], grid, mode="bilinear", padding_mode="border", align_corners=False
    )[:, 0]


def _lit(pictures: Tensor, generator: torch.Generator, strength: float) -> Tensor:
    """Another exposure: brightness to a power, and a light from one side."""
    n = len(pictures)
    power = torch.exp(strength * CONTRAST * torch.randn(n, 1, 1, generator=generator))
    lit = (pictures / 255.0).clamp(1e-3, 1.0) ** power
    ramp = torch.linspace(-1.0, 1.0, pictures.shape[1])
    side = strength * SIDE_LIGHT * torch.randn(n, 2, generator=generator)
    return lit * (1 + side[:, :1, None] * ramp[None, :, None] + side[:, 1:, None] * ramp)


def _coarser(pictures: Tensor, generator: torch.Generator, strength: float) -> Tensor:
    """Some of them as from a greater distance; one size for a batch."""
    low = torch.rand(1, generator=generator).item() * (0.9 - LEAST_DETAIL) + LEAST_DETAIL
    chosen = torch.rand(len(pictures), generator=generator) < strength * BLURRED
    if not bool(chosen.any()):
        return pictures
    size = pictures.shape[1]
    small = functional.interpolate(pictures[chosen][:, None], size=round(low * size), mode="area")
    large = functional.interpolate(small, size=size, mode="bilinear", align_corners=False)
    changed = pictures.clone()
    changed[chosen] = large[:, 0]
    return changed


def _erased(pictures: Tensor, generator: torch.Generator, strength: float) -> Tensor:
    """Some of them with a rectangle covered: hands, hair, microphones."""
    n, size = len(pictures), pictures.shape[1]
    here = torch.arange(size)[None]

    def stretch() -> Tensor:
        width = strength * size * ERASED_SIDE * torch.rand(n, 1, generator=generator)
        start = (size - width) * torch.rand(n, 1, generator=generator)
        return (here >= start) & (here < start + width)

    covered = stretch()[:, :, None] & stretch()[:, None, :]
    covered &= (torch.rand(n, generator=generator) < strength * ERASED)[:, None, None]
    return pictures.masked_fill(covered, 0.0)


CHUNK = 256


@dataclass(frozen=True, slots=True)
class PixelTraining:
    """Settings (ours). The first ``small_epochs`` use pictures of ``small_px``: early learning
    needs no detail, and costs half. The first ``strong_epochs`` use full augmentation and mixup,
    the others ``light`` times the augmentation and no mixup: with strong changes to the end the
    network does not even fit its training part. ``aligned``: share of the faces that are aligned
    as in prediction; ``smoothing``: of strangers' labels, which one person gave."""

    network: PixelConfig = field(default_factory=PixelConfig)
    epochs: int = 40
    small_epochs: int = 16
    small_px: int = 36
    strong_epochs: int = 26
    light: float = 0.5
    batch: int = 128
    learning_rate: float = 0.1
    warm_up: float = 0.06
    momentum: float = 0.9
    weight_decay: float = 5e-4
    mixed: float = 0.5
    mix_beta: float = 0.3
    aligned: float = 0.5
    smoothing: float = 0.15


def train_pixels(
    ferplus: Stills,
    strangers: Stills,
    seed: int,
    settings: PixelTraining,
    state: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> PixelNetwork:
    """The network trained from scratch; the weights of the last epoch.

    ``state``: the file that an interrupted training resumes from.

    Raises:
        ValueError: fewer pictures than a batch.
    """
    count = len(ferplus) + len(strangers)
    if count < settings.batch:
        raise ValueError(f"{count} pictures are less than a batch")
    torch.manual_seed(seed)
    network = PixelNetwork(settings.network)
    decaying = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    optimiser = torch.optim.SGD(
        [
            {"params": decaying, "weight_decay": settings.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=True,
    )
    smoothed = (1 - settings.smoothing) * strangers.votes + settings.smoothing / len(FERPLUS)
    material = _Material(
        grey=torch.from_numpy(np.concatenate([ferplus.grey, strangers.grey])),
        aligned=torch.from_numpy(np.concatenate([ferplus.aligned, strangers.aligned])),
        found=torch.from_numpy(np.concatenate([ferplus.found, strangers.found])),
        targets=torch.from_numpy(np.concatenate([ferplus.votes, smoothed])),
    )
    digest = _digest(settings, material, seed)
    first = _load(state, network, optimiser, digest)
    for epoch in range(first, settings.epochs):
        loss = _one_epoch(network, optimiser, material, settings, seed * 1000 + epoch, epoch)
        _save(state, network, optimiser, digest, epoch + 1)
        say(f"pixels, seed {seed}, epoch {epoch + 1} of {settings.epochs}: loss {loss:.3f}")
    return network.eval()


@torch.inference_mode()
def judge_pictures(network: PixelNetwork, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Log probabilities [N, classes] of ``pictures`` [N, 48, 48]."""
    network.eval()
    parts = [
        network(torch.from_numpy(standardised(pictures[first : first + CHUNK])))
        for first in range(0, len(pictures), CHUNK)
    ]
    return np.asarray(torch.cat(parts).numpy())


@dataclass(frozen=True, slots=True, eq=False)
class _Material:
    """Pictures [N, H, W] as they are and ``aligned`` (where ``found`` [N]), ``targets`` [N, C]."""

    grey: Tensor
    aligned: Tensor
    found: Tensor
    targets: Tensor

    def drawn(self, rows: Tensor, share: float, generator: torch.Generator) -> Tensor:
        """Pictures of ``rows``, a ``share`` of those with a found face aligned."""
        chosen = torch.rand(len(rows), generator=generator) < share
        chosen &= self.found[rows]
        return torch.where(chosen[:, None, None], self.aligned[rows], self.grey[rows]).float()


def _one_epoch(
    network: PixelNetwork,
    optimiser: torch.optim.Optimizer,
    material: _Material,
    settings: PixelTraining,
    seed: int,
    epoch: int,
) -> float:
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    network.train()
    size = settings.small_px if epoch < settings.small_epochs else material.grey.shape[1]
    strong = epoch < settings.strong_epochs
    order = torch.randperm(len(material.grey), generator=generator)
    steps = len(order) // settings.batch
    total = 0.0
    for step in range(steps):
        rows = order[step * settings.batch : (step + 1) * settings.batch]
        progress = (epoch + step / steps) / settings.epochs
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * _rate(progress, settings.warm_up)
        drawn = material.drawn(rows, settings.aligned, generator)
        pictures = augmented_pictures(drawn, size, generator, 1.0 if strong else settings.light)
        mixed = settings.mixed if strong else 0.0
        loss = _loss(network, pictures, material.targets[rows], mixed, settings, generator)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        total += loss.item()
    return total / steps


def _loss(
    network: PixelNetwork,
    pictures: Tensor,
    targets: Tensor,
    mixed: float,
    settings: PixelTraining,
    generator: torch.Generator,
) -> Tensor:
    """Cross-entropy with the shares ``targets`` [N, C]; a share ``mixed`` of the batches is blended
    (mixup)."""
    if torch.rand(1, generator=generator).item() < mixed:
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        share = float(rng.beta(settings.mix_beta, settings.mix_beta))
        other = torch.randperm(len(targets), generator=generator)
        pictures = share * pictures + (1 - share) * pictures[other]
        targets = share * targets + (1 - share) * targets[other]
    # Twice as fast on CPUs with bfloat16; the weights stay float32.
    with torch.autocast("cpu", torch.bfloat16):
        logs = network(pictures)
    found: Tensor = -(targets * logs.float()).sum(dim=1).mean()
    return found


def _rate(progress: float, warm_up: float) -> float:
    if progress < warm_up:
        return max(progress / warm_up, 0.02)
    return max(0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up))), 1e-3)


def _digest(settings: PixelTraining, material: _Material, seed: int) -> str:
    """Digest of all that decides the weights."""
    words = json.dumps([dataclasses.asdict(settings), seed], sort_keys=True)
    digest = hashlib.sha256(words.encode())
    for part in (material.grey, material.aligned, material.targets):
        digest.update(part.numpy().tobytes())
    return digest.hexdigest()[:16]


def _save(
    state: Path | None,
    network: PixelNetwork,
    optimiser: torch.optim.Optimizer,
    digest: str,
    epoch: int,
) -> None:
    if state is None:
        return
    tensors = {f"network.{k}": v.contiguous() for k, v in network.state_dict().items()}
    for index, parameter in enumerate(network.parameters()):
        momentum = optimiser.state[parameter].get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum.{index}"] = momentum.contiguous()
    prepare_folder(state.parent)
    with atomic_path(state) as new:
        save_file(tensors, new, metadata={"digest": digest, "epoch": str(epoch)})


def _load(
    state: Path | None, network: PixelNetwork, optimiser: torch.optim.Optimizer, digest: str
) -> int:
    """Load ``state``; returns the number of epochs done, 0 if it is missing or does not fit."""
    if state is None or not state.is_file():
        return 0
    try:
        with safe_open(state, framework="pt") as file:
            about = cast(dict[str, str], file.metadata() or {})
            if about.get("digest") != digest:
                return 0
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError:
        return 0
    named = {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
    network.load_state_dict(named)
    for index, parameter in enumerate(network.parameters()):
        if f"momentum.{index}" in tensors:
            optimiser.state[parameter]["momentum_buffer"] = tensors[f"momentum.{index}"]
    return int(about["epoch"])
