"""The pixel network, taught on the stills of FER2013: ``PixelTraining`` says how."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from avsent.data.fer2013 import FerImages
from avsent.features.pixels import standardised
from avsent.networks.config import PixelConfig
from avsent.networks.pixel_network import PixelMember, PixelNetwork
from avsent.training.pixel_augment import augmented_pictures

CHUNK = 256


@dataclass(frozen=True, slots=True)
class PixelTraining:
    """Settings (ours). ``small_epochs`` of the ``epochs`` see pictures of ``small_px``: what is
    learnt early needs no detail, and costs half. The first ``strong_epochs`` see pictures that are
    changed much, and blended; the others see them changed by ``light`` of it, and not blended:
    with strong changes to the end the network did not even fit what it was taught (61%).
    ``taught``: the share of a target that is what teachers say of the picture, where there are any;
    FER2013's labels are wrong too often to be believed alone."""

    network: PixelConfig = field(default_factory=PixelConfig)
    epochs: int = 50
    small_epochs: int = 22
    small_px: int = 36
    strong_epochs: int = 24
    light: float = 0.4
    batch: int = 128
    learning_rate: float = 0.1
    warm_up: float = 0.06
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    mixed: float = 0.5
    mix_beta: float = 0.3
    taught: float = 0.6


def train_member(
    images: FerImages,
    seed: int,
    settings: PixelTraining,
    state: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
    teachers: NDArray[np.float32] | None = None,
) -> PixelMember:
    """One network, trained from nothing; the weights of the last epoch.

    ``state``: a file that keeps how far it is, so that a training that was cut off goes on.
    ``teachers``: probabilities [N, classes] of ``images``, see :func:`what_teachers_say`
    (distillation: Hinton et al. 2015; pupils better than teachers of their own size: Furlanello et
    al. 2018).

    Raises:
        ValueError: less pictures than a batch.
    """
    if len(images.images) < settings.batch:
        raise ValueError(f"{len(images.images)} pictures are less than a batch")
    torch.manual_seed(seed)
    member = PixelMember(settings.network)
    decaying = [p for p in member.parameters() if p.ndim > 1]
    plain = [p for p in member.parameters() if p.ndim <= 1]
    optimiser = torch.optim.SGD(
        [
            {"params": decaying, "weight_decay": settings.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=True,
    )
    digest = _digest(settings, images, seed, teachers)
    begun = _load(state, member, optimiser, digest)
    grey = torch.from_numpy(images.images).float()
    targets = torch.from_numpy(images.labels)
    if teachers is not None:
        told = functional.one_hot(targets, settings.network.classes)
        targets = torch.lerp(told.float(), torch.from_numpy(teachers), settings.taught)
    for epoch in range(begun, settings.epochs):
        loss = _one_epoch(member, optimiser, grey, targets, settings, seed * 1000 + epoch, epoch)
        _save(state, member, optimiser, digest, epoch + 1)
        say(f"pixels, seed {seed}, epoch {epoch + 1} of {settings.epochs}: loss {loss:.3f}")
    return member.eval()


def make_network(members: list[PixelMember], config: PixelConfig) -> PixelNetwork:
    """The members in one network."""
    network = PixelNetwork(config)
    for own, member in zip(network.members, members, strict=True):
        own.load_state_dict(member.state_dict())
    return network.eval()


def what_teachers_say(
    teachers: Sequence[PixelMember], config: PixelConfig, images: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Probabilities [N, classes] of ``images``: the teachers' log probabilities of each picture and
    of its mirror image, averaged. A pupil thus learns to do without the mirror."""
    members = list(teachers)
    network = make_network(members, dataclasses.replace(config, members=len(members)))
    mirrored = np.ascontiguousarray(images[:, :, ::-1])
    votes = judge_pictures(network, images)[1] + judge_pictures(network, mirrored)[1]
    found: NDArray[np.float32] = torch.softmax(torch.from_numpy(votes) / 2, dim=-1).numpy()
    return found


@torch.inference_mode()
def judge_pictures(
    network: PixelNetwork, images: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features [N, F] and log probabilities [N, classes] of ``images`` [N, 48, 48]."""
    network.eval()
    seen = [
        network(torch.from_numpy(standardised(images[first : first + CHUNK])))
        for first in range(0, len(images), CHUNK)
    ]
    features = torch.cat([features for features, _ in seen])
    return features.numpy(), torch.cat([votes for _, votes in seen]).numpy()


def _one_epoch(
    member: PixelMember,
    optimiser: torch.optim.Optimizer,
    grey: Tensor,
    targets: Tensor,
    settings: PixelTraining,
    seed: int,
    epoch: int,
) -> float:
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    member.train()
    size = settings.small_px if epoch < settings.small_epochs else grey.shape[1]
    strong = epoch < settings.strong_epochs
    order = torch.randperm(len(grey), generator=generator)
    steps = len(order) // settings.batch
    total = 0.0
    for step in range(steps):
        rows = order[step * settings.batch : (step + 1) * settings.batch]
        progress = (epoch + step / steps) / settings.epochs
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * _rate(progress, settings.warm_up)
        pictures = augmented_pictures(
            grey[rows], size, generator, 1.0 if strong else settings.light
        )
        mixed = settings.mixed if strong else 0.0
        loss = _loss(member, pictures, targets[rows], mixed, settings, generator)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(member.parameters(), 5.0)
        optimiser.step()
        total += loss.item()
    return total / steps


def _loss(
    member: PixelMember,
    pictures: Tensor,
    targets: Tensor,
    mixed: float,
    settings: PixelTraining,
    generator: torch.Generator,
) -> Tensor:
    """Cross-entropy; a share ``mixed`` of the batches is blended with itself (mixup). ``targets``:
    classes [N], or probabilities [N, classes]."""
    share = 1.0
    if torch.rand(1, generator=generator).item() < mixed:
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        share = float(rng.beta(settings.mix_beta, settings.mix_beta))
    other = torch.randperm(len(targets), generator=generator)
    blended = share * pictures + (1 - share) * pictures[other]
    # Twice as fast where the processor has bfloat16; the weights stay float32.
    with torch.autocast("cpu", torch.bfloat16):
        _, logits = member(blended)
    logits = logits.float()
    smoothing = settings.label_smoothing
    first = functional.cross_entropy(logits, targets, label_smoothing=smoothing)
    second = functional.cross_entropy(logits, targets[other], label_smoothing=smoothing)
    return share * first + (1 - share) * second


def _rate(progress: float, warm_up: float) -> float:
    if progress < warm_up:
        return max(progress / warm_up, 0.02)
    return max(0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up))), 1e-3)


def _digest(
    settings: PixelTraining, images: FerImages, seed: int, teachers: NDArray[np.float32] | None
) -> str:
    """What decides the outcome, as a tensor's name can hold it."""
    words = json.dumps([dataclasses.asdict(settings), seed], sort_keys=True)
    digest = hashlib.sha256(words.encode())
    for part in (images.images, images.labels, teachers):
        digest.update(b"" if part is None else np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:16]


def _save(
    state: Path | None,
    member: PixelMember,
    optimiser: torch.optim.Optimizer,
    digest: str,
    epoch: int,
) -> None:
    if state is None:
        return
    tensors = {f"network.{k}": v.contiguous() for k, v in member.state_dict().items()}
    for index, parameter in enumerate(member.parameters()):
        momentum = optimiser.state[parameter].get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum.{index}"] = momentum.contiguous()
    state.parent.mkdir(parents=True, exist_ok=True)
    unfinished = state.with_name(f"unfinished-{state.name}")
    save_file(tensors, unfinished, metadata={"digest": digest, "epoch": str(epoch)})
    unfinished.replace(state)


def _load(
    state: Path | None, member: PixelMember, optimiser: torch.optim.Optimizer, digest: str
) -> int:
    """Take up what ``state`` holds; the epochs it stands for, 0 where it does not fit."""
    if state is None or not state.is_file():
        return 0
    from safetensors import safe_open

    try:
        with safe_open(state, framework="pt") as file:
            about = cast(dict[str, str], file.metadata() or {})
        if about.get("digest") != digest:
            return 0
        tensors = load_file(state)
    except SafetensorError:
        return 0
    named = {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
    member.load_state_dict(named)
    for index, parameter in enumerate(member.parameters()):
        if f"momentum.{index}" in tensors:
            optimiser.state[parameter]["momentum_buffer"] = tensors[f"momentum.{index}"]
    return int(about["epoch"])
