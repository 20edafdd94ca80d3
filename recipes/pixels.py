"""Training of the pixel network on FER2013: augmentation, two teachers, and their pupil."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
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

from avsent.errors import DatasetError
from avsent.extraction.features.face import standardised
from avsent.files import atomic_path, prepare_folder
from avsent.model.networks.config import PixelConfig
from avsent.model.networks.encoders import PixelMember, PixelNetwork
from avsent.training.data.arrays import load_arrays, save_arrays
from recipes.corpora import FerImages, read_fer2013_images
from recipes.members import Workspace

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
    network did not even fit its training part (61%). ``taught``: share of the teachers'
    probabilities in a target, if there are teachers, as FER2013 has many wrong labels."""

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
    """One network, trained from scratch; the weights of the last epoch.

    ``state``: the file that an interrupted training resumes from. ``teachers``: probabilities
    [N, classes] of ``images``, see :func:`teacher_probabilities` (distillation: Hinton et al. 2015;
    pupils better than teachers of their own size: Furlanello et al. 2018).

    Raises:
        ValueError: fewer pictures than a batch.
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
    first = _load(state, member, optimiser, digest)
    grey = torch.from_numpy(images.images).float()
    targets = torch.from_numpy(images.labels)
    if teachers is not None:
        labels = functional.one_hot(targets, settings.network.classes)
        targets = torch.lerp(labels.float(), torch.from_numpy(teachers), settings.taught)
    for epoch in range(first, settings.epochs):
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


def teacher_probabilities(
    teachers: Sequence[PixelMember], config: PixelConfig, images: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Probabilities [N, classes] of ``images``: the teachers' log probabilities averaged over each
    picture and its mirror image, so that a pupil needs no mirror image."""
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
    """Cross-entropy; a share ``mixed`` of the batches is blended (mixup). ``targets``: classes [N],
    or probabilities [N, classes]."""
    share = 1.0
    if torch.rand(1, generator=generator).item() < mixed:
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        share = float(rng.beta(settings.mix_beta, settings.mix_beta))
    other = torch.randperm(len(targets), generator=generator)
    blended = share * pictures + (1 - share) * pictures[other]
    # Twice as fast on CPUs with bfloat16; the weights stay float32.
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
    """Digest of all that decides the weights."""
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
    prepare_folder(state.parent)
    with atomic_path(state) as new:
        save_file(tensors, new, metadata={"digest": digest, "epoch": str(epoch)})


def _load(
    state: Path | None, member: PixelMember, optimiser: torch.optim.Optimizer, digest: str
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
    member.load_state_dict(named)
    for index, parameter in enumerate(member.parameters()):
        if f"momentum.{index}" in tensors:
            optimiser.state[parameter]["momentum_buffer"] = tensors[f"momentum.{index}"]
    return int(about["epoch"])


TEACHERS = (
    (0, PixelTraining(strong_epochs=50)),
    (1, PixelTraining()),
)
"""Seed and settings of each."""
PUPIL = (2, PixelTraining(epochs=60, small_epochs=24, strong_epochs=30, light=0.5))


def pixel_network(workspace: Workspace) -> PixelNetwork:
    """The pupil, trained on all of FER2013's training part.

    Raises:
        DatasetError: FER2013 is missing or unreadable.
    """
    if workspace.jobs > 1:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workspace.jobs, mp_context=context) as pool:
            for done in [
                pool.submit(_teacher, seed, training, workspace.data, workspace.cache)
                for seed, training in TEACHERS
            ]:
                done.result()
    images = read_fer2013_images(workspace.data / "fer2013", "train")
    teachers = [
        _teacher(seed, training, workspace.data, workspace.cache) for seed, training in TEACHERS
    ]
    seed, training = PUPIL
    targets = _cached_probabilities(teachers, images, workspace.cache)
    state = _file(workspace.cache, seed)
    pupil = train_member(images, seed, training, state, workspace.say, targets)
    return make_network([pupil], dataclasses.replace(training.network, members=1))


def _cached_probabilities(
    teachers: list[PixelMember], images: FerImages, cache: Path
) -> NDArray[np.float32]:
    """:func:`teacher_probabilities`, which take minutes, kept in ``cache``."""
    digest = hashlib.sha256(images.images.tobytes())
    for teacher in teachers:
        for tensor in teacher.state_dict().values():
            digest.update(tensor.contiguous().numpy().tobytes())
    kept = cache / f"pixel-teachers-{digest.hexdigest()[:12]}.npz"
    with contextlib.suppress(DatasetError):  # missing or damaged: made again
        return np.asarray(load_arrays(kept, ("said",))["said"], dtype=np.float32)
    found = teacher_probabilities(teachers, TEACHERS[0][1].network, images.images)
    save_arrays(kept, {"said": found})
    return found


def _teacher(seed: int, training: PixelTraining, data: Path, cache: Path) -> PixelMember:
    torch.set_num_threads(1)
    images = read_fer2013_images(data / "fer2013", "train")
    return train_member(images, seed, training, _file(cache, seed))


def _file(cache: Path, seed: int) -> Path:
    return cache / f"pixels-{seed}.safetensors"
