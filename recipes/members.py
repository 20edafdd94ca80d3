"""Training of the face experts: emotion and polarity from the landmarks of clips and stills.

A member trains for a fixed number of epochs. Nothing is selected on held-out people, so its
posteriors on them are unbiased.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from avsent.files import atomic_path, prepare_folder
from avsent.labels import EMOTIONS, POLARITY_LABELS
from avsent.model.encoding import pad_faces
from avsent.model.networks.config import ExpertsConfig
from avsent.model.networks.experts import FaceMember
from avsent.training.augmentation import augmented_landmarks
from avsent.training.dataset import draw_frames
from avsent.training.losses import one_cycle
from recipes.ravdess import RavdessClip, emotions_of, load_clips, of_actors, polarities_of
from recipes.stills import CORPORA, Stills, joined, load_stills

STILLS_PER_CLIP = 4
TEMPO = 0.2
DROPPED_FRAMES = 0.1
OWN_CLIP, OWN_SPEECH = 0.3, 0.4
"""Shares of neutral faces in training that are medians of the clip, and of its speech."""


@dataclass(frozen=True, slots=True)
class MemberTraining:
    """Settings of a member's training (ours; the papers give none). ``polarity``: weight of its
    loss beside that of emotion."""

    epochs: int
    batch: int
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.05
    polarity: float = 0.5


FACE = MemberTraining(epochs=40, batch=48)


def train_face_member(
    config: ExpertsConfig,
    clips: Sequence[RavdessClip],
    stills: Stills,
    seed: int,
    settings: MemberTraining = FACE,
) -> FaceMember:
    """A member for still and moving faces, trained on ``clips`` and ``stills``; batches are
    balanced over corpus and class."""
    clips = [clip for clip in clips if clip.face is not None]
    stills = stills.only(stills.found & (stills.emotions.sum(axis=1) > 0))
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    member = FaceMember(config)
    emotion = emotions_of(clips)
    of_clip = _shares(emotion, len(EMOTIONS)), _shares(polarities_of(clips), len(POLARITY_LABELS))
    of_still = torch.from_numpy(stills.emotions), torch.from_numpy(stills.polarities)
    landmarks = torch.from_numpy(stills.landmarks)
    seen = stills.emotions.argmax(axis=1)
    steps = max(1, len(clips) // settings.batch)

    def losses() -> Iterator[Tensor]:
        of_stills = balanced(seen, steps, STILLS_PER_CLIP * settings.batch, rng)
        of_clips = balanced(emotion, steps, settings.batch, rng)
        for rows, still_rows in zip(of_clips, of_stills, strict=True):
            frames = np.stack([draw_frames(_landmarks(clips[row]), rng) for row in rows])
            moving = augmented_landmarks(torch.from_numpy(frames), generator)
            faces = augmented_landmarks(landmarks[still_rows][:, None], generator)
            votes = _still_votes(member, moving, faces)
            labels = of_clip[0][rows], of_clip[1][rows]
            total = loss(votes[: len(rows)], *labels, settings)
            wanted = of_still[0][still_rows], of_still[1][still_rows]
            total = total + loss(votes[len(rows) :], *wanted, settings)
            movement = _movement_votes(member, [clips[r] for r in rows], clips, rng, generator)
            yield total + loss(movement, *labels, settings)

    _descend(member, losses, steps, settings)
    return member.eval()


def _shares(classes: NDArray[np.int64], count: int) -> Tensor:
    """Class indices [N] (−1: none) → shares [N, ``count``], zeros for none."""
    known = torch.from_numpy(classes)
    shares = functional.one_hot(known.clamp_min(0), count).float()
    return shares * (known >= 0)[:, None]


def loss(
    votes: Tensor,
    emotion: Tensor,
    polarity: Tensor,
    settings: MemberTraining,
) -> Tensor:
    """Cross-entropy of ``emotion`` [N, E] and, weighted, of ``polarity`` [N, P], shares of the
    classes (all zeros: unknown); ``votes`` [N, E + P] are log probabilities."""
    total = votes.new_zeros(())
    parts = votes[:, : emotion.shape[1]], votes[:, emotion.shape[1] :]
    for weight, logs, shares in zip(
        (1.0, settings.polarity), parts, (emotion, polarity), strict=True
    ):
        known = shares.sum(dim=1) > 0
        if bool(known.any()):
            smoothed = torch.lerp(
                shares[known],
                torch.full_like(shares[known], 1 / shares.shape[1]),
                settings.label_smoothing,
            )
            total = total - weight * (smoothed * logs[known]).sum(dim=1).mean()
    return total


def balanced(
    labels: NDArray[np.int64], steps: int, batch: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Rows [batch] per step, every class equally likely."""
    rows_of = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    for _ in range(steps):
        draw_samples = rng.integers(len(rows_of), size=batch)
        yield np.array([rng.choice(rows_of[label]) for label in draw_samples])


def _descend(
    member: nn.Module,
    losses: Callable[[], Iterator[Tensor]],
    steps: int,
    settings: MemberTraining,
) -> None:
    optimiser = torch.optim.AdamW(
        member.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    member.train()
    for epoch in range(settings.epochs):
        for step, value in enumerate(losses()):
            progress = (epoch + step / steps) / settings.epochs
            for group in optimiser.param_groups:
                group["lr"] = one_cycle(progress, settings.learning_rate)
            optimiser.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(member.parameters(), 5.0)
            optimiser.step()


def _still_votes(member: FaceMember, clips: Tensor, faces: Tensor) -> Tensor:
    """Votes on ``clips`` [N, T, P, 2] and ``faces`` [M, 1, P, 2] in one pass, so that the batch
    statistics cover both corpora."""
    mask = torch.zeros(len(clips) + len(faces), clips.shape[1], dtype=torch.bool)
    mask[: len(clips)], mask[len(clips) :, 0] = True, True
    padded = clips.new_zeros(len(mask), *clips.shape[1:])
    padded[: len(clips)], padded[len(clips) :, :1] = clips, faces
    return member.still_posteriors(padded, mask)[0]


def _movement_votes(
    member: FaceMember,
    clips: Sequence[RavdessClip],
    others: Sequence[RavdessClip],
    rng: np.random.Generator,
    generator: torch.Generator,
) -> Tensor:
    """Votes on the movement of ``clips`` at other tempos, with dropped frames."""
    padded, mask = pad_faces([_other_tempo(_landmarks(clip), rng) for clip in clips])
    neutral = torch.from_numpy(np.stack([_some_neutral(clip, others, rng) for clip in clips]))
    # The same augmentation for the frames and the neutral face.
    changed = augmented_landmarks(torch.cat([padded, neutral[:, None]], dim=1), generator)
    return member.movement_posteriors(changed[:, :-1], mask, changed[:, -1])


def _landmarks(clip: RavdessClip) -> NDArray[np.float32]:
    assert clip.face is not None
    return clip.face.landmarks


def _some_neutral(
    clip: RavdessClip, others: Sequence[RavdessClip], rng: np.random.Generator
) -> NDArray[np.float32]:
    """A neutral face as of a track: of the clip with its silence, of its speech alone, or of
    several clips of the actor (a long track)."""
    kind = rng.random()
    if kind < OWN_CLIP:
        assert clip.face is not None
        assert clip.face.neutral is not None
        return clip.face.neutral
    if kind < OWN_CLIP + OWN_SPEECH:
        return np.asarray(np.median(_landmarks(clip), axis=0), dtype=np.float32)
    same = [other for other in others if other.actor == clip.actor]
    draw_samples = [same[int(row)] for row in rng.integers(len(same), size=int(rng.integers(1, 5)))]
    frames = np.concatenate([_landmarks(one) for one in (clip, *draw_samples)])
    return np.asarray(np.median(frames, axis=0), dtype=np.float32)


def _other_tempo(frames: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """``frames`` [T, P, 2] at another tempo [T', P, 2], some of them dropped."""
    count = max(2, round(len(frames) * math.exp(rng.uniform(-TEMPO, TEMPO))))
    at = np.clip(np.linspace(0, len(frames) - 1, count) + rng.normal(0, 0.2, count), 0, None)
    at = np.minimum(at, len(frames) - 1)
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, len(frames) - 1)
    share = (at - low).astype(np.float32)[:, None, None]
    between = frames[low] * (1 - share) + frames[high] * share
    kept = rng.random(count) >= DROPPED_FRAMES
    kept[int(rng.integers(count))] = True
    return between[kept]


RECIPE = 3
"""To be raised when the same task gives another member."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """Folders of the corpora and of the intermediate results, and the number of processes."""

    data: Path
    cache: Path
    jobs: int = 1
    say: Callable[[str], None] = lambda line: None


@dataclass(frozen=True, slots=True)
class Task:
    """One member, trained on the clips of ``actors`` and on all stills."""

    actors: tuple[int, ...]
    seed: int
    config: ExpertsConfig
    training: MemberTraining = FACE

    def file(self, cache: Path) -> Path:
        """The member's file; its name holds a digest of all that decides the member."""
        networks = dataclasses.asdict(self.config.still), dataclasses.asdict(self.config.movement)
        settings = dataclasses.asdict(self.training)
        words = json.dumps(
            [RECIPE, sorted(self.actors), self.seed, *networks, settings], sort_keys=True
        )
        digest = hashlib.sha256(words.encode()).hexdigest()[:12]
        return cache / "members" / f"face-{self.seed}-{digest}.safetensors"


def face_members(tasks: Sequence[Task], workspace: Workspace) -> list[FaceMember]:
    """The members of ``tasks``, trained or read from their files."""
    missing = [task for task in dict.fromkeys(tasks) if not task.file(workspace.cache).is_file()]
    if missing:
        # Fills the cache before the processes start.
        load_clips(workspace.data, workspace.cache)
        training_stills(workspace)
    if workspace.jobs == 1:
        for task in missing:
            _make(task, workspace)
    elif missing:
        context = multiprocessing.get_context("spawn")
        quiet = dataclasses.replace(workspace, say=print)
        with ProcessPoolExecutor(workspace.jobs, mp_context=context) as pool:
            waiting = {pool.submit(_make, task, quiet): task for task in missing}
            for done in as_completed(waiting):
                done.result()
                workspace.say(f"{waiting[done].file(workspace.cache).name}: made")
    return [_read(task, workspace.cache) for task in tasks]


def training_stills(workspace: Workspace) -> Stills:
    """The pictures that teach: training parts of FER+ and of strangers."""
    return joined(
        [load_stills(workspace.data, workspace.cache, corpus, "train") for corpus in CORPORA]
    )


def _make(task: Task, workspace: Workspace) -> None:
    torch.set_num_threads(1)  # More threads sum in another order, which gives another member.
    clips = of_actors(load_clips(workspace.data, workspace.cache), task.actors)
    stills = training_stills(workspace)
    member = train_face_member(task.config, clips, stills, task.seed, task.training)
    keep(member, task.file(workspace.cache))


def keep(member: nn.Module, file: Path) -> None:
    """Save the weights of ``member`` in ``file``."""
    prepare_folder(file.parent)
    with atomic_path(file) as new:
        save_file({k: v.contiguous() for k, v in member.state_dict().items()}, new)


def _read(task: Task, cache: Path) -> FaceMember:
    member = FaceMember(task.config)
    member.load_state_dict(load_file(task.file(cache)))
    return member.eval()
