"""Training of the experts' members: emotion and polarity from one stream of clips and stills.

A member trains for a fixed number of epochs. Nothing is selected on held-out people, so its
posteriors on them are unbiased.
"""

from __future__ import annotations

import contextlib
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

from avsent.errors import DatasetError
from avsent.extraction.features.voice import SIZE, prosody
from avsent.extraction.media.events import SAMPLE_RATE_HZ
from avsent.files import atomic_path, prepare_folder
from avsent.model.encoding import pad_faces, pad_log_mels
from avsent.model.networks.config import ExpertsConfig
from avsent.model.networks.experts import AudioMember, FaceMember, ProsodyMember
from avsent.training.augmentation import augmented_landmarks, augmented_log_mel
from avsent.training.data.arrays import load_arrays, save_arrays
from avsent.training.dataset import draw_frames
from avsent.training.losses import balanced_weights, one_cycle
from recipes.corpora import (
    NO_LABEL,
    Stills,
    another_microphone,
    emotions_of,
    load_clips,
    load_stills,
    of_actors,
    polarities_of,
)
from recipes.ravdess import RavdessClip

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


AUDIO = MemberTraining(epochs=40, batch=32)
FACE = MemberTraining(epochs=40, batch=48)


def train_audio_member(
    config: ExpertsConfig,
    clips: Sequence[RavdessClip],
    seed: int,
    settings: MemberTraining = AUDIO,
) -> AudioMember:
    """A member for the spectrogram, trained on ``clips``."""
    clips = [clip for clip in clips if clip.mel_power is not None]
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    member = AudioMember(config)
    member.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    emotion, polarity = emotions_of(clips), polarities_of(clips)
    steps = max(1, len(clips) // settings.batch)

    def losses() -> Iterator[Tensor]:
        for rows in balanced(emotion, steps, settings.batch, rng):
            powers = [clips[row].mel_power for row in rows]
            log_mels = [augmented_log_mel(power, rng) for power in powers if power is not None]
            # Twice as fast on CPUs with bfloat16; the weights stay float32.
            with torch.autocast("cpu", torch.bfloat16):
                votes, _ = member(*pad_log_mels(log_mels))
            yield loss(votes.float(), emotion[rows], polarity[rows], settings)

    _descend(member, losses, steps, settings)
    return member.eval()


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
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    member = FaceMember(config)
    emotion, polarity = emotions_of(clips), polarities_of(clips)
    steps = max(1, len(clips) // settings.batch)

    def losses() -> Iterator[Tensor]:
        of_stills = balanced(stills.emotion, steps, STILLS_PER_CLIP * settings.batch, rng)
        of_clips = balanced(emotion, steps, settings.batch, rng)
        for rows, still_rows in zip(of_clips, of_stills, strict=True):
            frames = np.stack([draw_frames(_landmarks(clips[row]), rng) for row in rows])
            moving = augmented_landmarks(torch.from_numpy(frames), generator)
            faces = augmented_landmarks(stills.landmarks[still_rows][:, None], generator)
            votes = _still_votes(member, moving, faces)
            labels = emotion[rows], polarity[rows]
            total = loss(votes[: len(rows)], *labels, settings)
            wanted = stills.emotion[still_rows], stills.polarity[still_rows]
            total = total + loss(votes[len(rows) :], *wanted, settings)
            movement = _movement_votes(member, [clips[r] for r in rows], clips, rng, generator)
            yield total + loss(movement, *labels, settings)

    _descend(member, losses, steps, settings)
    return member.eval()


def loss(
    votes: Tensor,
    emotion: NDArray[np.int64],
    polarity: NDArray[np.int64],
    settings: MemberTraining,
) -> Tensor:
    """Cross-entropy of emotion and, weighted, of polarity (surprise left out); ``votes`` [N, E + P]
    are log probabilities."""
    emotions = votes.shape[1] - 3
    total = functional.cross_entropy(
        votes[:, :emotions],
        torch.from_numpy(emotion),
        label_smoothing=settings.label_smoothing,
    )
    if not (polarity != NO_LABEL).any():
        return total
    of_polarity = functional.cross_entropy(
        votes[:, emotions:],
        torch.from_numpy(polarity),
        ignore_index=NO_LABEL,
        label_smoothing=settings.label_smoothing,
    )
    return total + settings.polarity * of_polarity


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


RECIPE = {"audio": 1, "face": 2}
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
    """One member: ``kind`` "audio" or "face", trained on the clips of ``actors``."""

    kind: str
    actors: tuple[int, ...]
    seed: int
    config: ExpertsConfig
    audio: MemberTraining = AUDIO
    face: MemberTraining = FACE

    def file(self, cache: Path) -> Path:
        """The member's file; its name holds a digest of all that decides the member."""
        way = self.audio if self.kind == "audio" else self.face
        used = dataclasses.asdict(self.config)
        for name in ("audio_members", "face_members", "prosody", "pixels", "pixel_polarity"):
            del used[name]
        settings = [used, dataclasses.asdict(way)]
        words = json.dumps(
            [RECIPE[self.kind], self.kind, sorted(self.actors), self.seed, *settings],
            sort_keys=True,
        )
        digest = hashlib.sha256(words.encode()).hexdigest()[:12]
        return cache / "members" / f"{self.kind}-{self.seed}-{digest}.safetensors"


def members(tasks: Sequence[Task], workspace: Workspace) -> list[nn.Module]:
    """The members of ``tasks``, trained or read from their files."""
    missing = [task for task in dict.fromkeys(tasks) if not task.file(workspace.cache).is_file()]
    if missing:
        # Fills the cache before the processes start.
        load_clips(workspace.data, workspace.cache)
        if any(task.kind == "face" for task in missing):
            load_stills(workspace.data, workspace.cache, "train")
    if workspace.jobs == 1:
        for task in missing:
            _make(task, workspace.data, workspace.cache)
            workspace.say(f"{task.file(workspace.cache).name}: made")
    elif missing:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workspace.jobs, mp_context=context) as pool:
            waiting = {
                pool.submit(_make, task, workspace.data, workspace.cache): task for task in missing
            }
            for done in as_completed(waiting):
                done.result()
                workspace.say(f"{waiting[done].file(workspace.cache).name}: made")
    return [_read(task, workspace.cache) for task in tasks]


def _make(task: Task, data: Path, cache: Path) -> None:
    torch.set_num_threads(1)  # More threads sum in another order, which gives another member.
    clips = of_actors(load_clips(data, cache), task.actors)
    if task.kind == "audio":
        member: nn.Module = train_audio_member(task.config, clips, task.seed, task.audio)
    else:
        stills = load_stills(data, cache, "train")
        member = train_face_member(task.config, clips, stills, task.seed, task.face)
    file = task.file(cache)
    prepare_folder(file.parent)
    with atomic_path(file) as new:
        save_file({k: v.contiguous() for k, v in member.state_dict().items()}, new)


def _read(task: Task, cache: Path) -> nn.Module:
    member = AudioMember(task.config) if task.kind == "audio" else FaceMember(task.config)
    member.load_state_dict(load_file(task.file(cache)))
    return member.eval()


COPIES = 3
"""Versions of each clip as by another microphone."""
MICROPHONES = 2
"""To be raised when ``another_microphone`` changes."""
DECAY = 5e-3
"""Weight of the squared weights in the loss."""
STEPS = 100


def prosody_versions(clips: Sequence[RavdessClip], seed: int = 0) -> NDArray[np.float32]:
    """Prosody [1 + ``COPIES``, N, 24] of ``clips``, unchanged first; NaN for silence."""
    found = np.full((1 + COPIES, len(clips), SIZE), np.nan, dtype=np.float32)
    for row, clip in enumerate(clips):
        sound = clip.sound
        if clip.prosody is None or sound is None:
            continue
        found[0, row] = clip.prosody
        # Seeded by the clip's name, so that its copies do not depend on the other clips.
        digest = hashlib.sha256(f"{seed} {clip.clip_id}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        for version in range(1, 1 + COPIES):
            heard = prosody(another_microphone(sound, SAMPLE_RATE_HZ, rng))
            if heard is not None:
                found[version, row] = heard
    return found


def cached_prosody(clips: Sequence[RavdessClip], cache: Path) -> NDArray[np.float32]:
    """:func:`prosody_versions`, kept in the folder ``cache``.

    Raises:
        OutputError: the cache cannot be written.
    """
    digest = hashlib.sha256(repr((MICROPHONES, COPIES)).encode())
    for clip in clips:
        digest.update(clip.clip_id.encode())
        digest.update(b"" if clip.prosody is None else clip.prosody.tobytes())
    kept = cache / f"prosody-{digest.hexdigest()[:12]}.npz"
    with contextlib.suppress(DatasetError):  # missing or damaged: made again
        return np.asarray(load_arrays(kept, ("versions",))["versions"], dtype=np.float32)
    found = prosody_versions(clips)
    save_arrays(kept, {"versions": found})
    return found


def train_prosody_member(
    config: ExpertsConfig, clips: Sequence[RavdessClip], versions: NDArray[np.float32]
) -> ProsodyMember:
    """A member trained on ``versions`` [V, N, 24] of the prosody of ``clips`` [N]: logistic
    regression with balanced class weights."""
    torch.manual_seed(0)
    emotion = np.tile(emotions_of(clips), len(versions))
    polarity = np.tile(polarities_of(clips), len(versions))
    flat = versions.reshape(-1, versions.shape[-1])
    heard = ~np.isnan(flat).any(axis=1)
    member = ProsodyMember(config)
    statistics = torch.from_numpy(flat[heard])
    member.scale.fit(statistics)
    scaled = member.scale(statistics)
    targets = [
        (member.votes.emotion, torch.from_numpy(emotion[heard]), config.emotions),
        (member.votes.polarity, torch.from_numpy(polarity[heard]), config.polarities),
    ]
    weights = [
        balanced_weights(torch.where(labels == NO_LABEL, torch.nan, labels.double()), classes)
        for _, labels, classes in targets
    ]
    optimiser = torch.optim.LBFGS(
        member.votes.parameters(), max_iter=STEPS, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        total = torch.zeros(())
        for (linear, labels, _), weight in zip(targets, weights, strict=True):
            total = total + DECAY * linear.weight.square().sum()
            total = total + functional.cross_entropy(
                linear(scaled), labels, weight=weight, ignore_index=NO_LABEL
            )
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return member.eval()
