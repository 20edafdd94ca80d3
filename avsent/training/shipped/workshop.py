"""Members made in several processes, each kept in a file: what was made is not made again.

A member depends on its task alone (settings, actors, seed), not on the number of processes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from avsent.networks.config import ExpertsConfig
from avsent.networks.experts import AudioMember, FaceMember
from avsent.training.shipped.corpora import load_clips, load_stills, of_actors
from avsent.training.shipped.members import (
    AUDIO,
    FACE,
    MemberTraining,
    train_audio_member,
    train_face_member,
)

RECIPE = {"audio": 1, "face": 2}
"""To be raised when the same task begins to give another member."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where the corpora lie, where members are kept, and how many processes make them."""

    data: Path
    cache: Path
    jobs: int = 1
    say: Callable[[str], None] = lambda line: None


@dataclass(frozen=True, slots=True)
class Task:
    """One member: ``kind`` "audio" or "face", taught by the clips of ``actors``."""

    kind: str
    actors: tuple[int, ...]
    seed: int
    config: ExpertsConfig
    audio: MemberTraining = AUDIO
    face: MemberTraining = FACE

    def file(self, cache: Path) -> Path:
        """Where the member is kept; the name holds a digest of all that decides it."""
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


def members(tasks: Sequence[Task], shop: Workshop) -> list[nn.Module]:
    """The member of each of ``tasks``, made or taken from its file."""
    missing = [task for task in dict.fromkeys(tasks) if not task.file(shop.cache).is_file()]
    if missing:
        # Read once, so that the processes find the features ready.
        load_clips(shop.data, shop.cache)
        if any(task.kind == "face" for task in missing):
            load_stills(shop.data, shop.cache, "train")
    if shop.jobs == 1:
        for task in missing:
            _make(task, shop.data, shop.cache)
            shop.say(f"{task.file(shop.cache).name}: made")
    elif missing:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(shop.jobs, mp_context=context) as pool:
            waiting = {pool.submit(_make, task, shop.data, shop.cache): task for task in missing}
            for done in as_completed(waiting):
                done.result()
                shop.say(f"{waiting[done].file(shop.cache).name}: made")
    return [_taken(task, shop.cache) for task in tasks]


def _make(task: Task, data: Path, cache: Path) -> None:
    torch.set_num_threads(1)  # More add in another order, and give another member.
    clips = of_actors(load_clips(data, cache), task.actors)
    if task.kind == "audio":
        member: nn.Module = train_audio_member(task.config, clips, task.seed, task.audio)
    else:
        stills = load_stills(data, cache, "train")
        member = train_face_member(task.config, clips, stills, task.seed, task.face)
    file = task.file(cache)
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"unfinished-{file.name}")
    save_file({k: v.contiguous() for k, v in member.state_dict().items()}, unfinished)
    unfinished.replace(file)


def _taken(task: Task, cache: Path) -> nn.Module:
    member = AudioMember(task.config) if task.kind == "audio" else FaceMember(task.config)
    member.load_state_dict(load_file(task.file(cache)))
    return member.eval()
