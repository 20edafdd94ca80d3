"""The folders that the batches work on: clips at hand, repeated under new names."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import av
from measure import BenchmarkError

TALKERS = (
    "acted_disgusted_1080p.mp4",
    "acted_disgusted2_1080p.mp4",
    "acted_happy_1080p.mp4",
    "face_20s.mp4",
    "lrs3_closeup.mp4",
    "old_film_two_faces.mp4",
    "small_faces_sad_zh.mp4",
    "speech_closeup_512.mp4",
    "talk_700.mp4",
    "talk_angry_zh.mp4",
    "talk_happy_zh.mp4",
    "talk_neutral_zh.mp4",
    "talk_surprise_zh.mp4",
    "talk_vfr.mp4",
)
"""Talking heads of 2 s and more; not those that are damaged, joined, or made to be odd."""
GRID = "grid/*.mpg"
PLAIN = "many_utterances.mp4"
"""The long one at 640×360."""
TINY = ("unordered_pts.mov", "rotated_90_3frames.mov")
REAL_AMONG_TINY = 50


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip at hand, and how often it is in a set."""

    path: Path
    width: int
    height: int
    duration_s: float
    times: int


@dataclass(frozen=True, slots=True)
class ClipSet:
    """A folder made of clips at hand; ``files``: what lies in it, in order of name."""

    folder: Path
    files: tuple[Path, ...]
    clips: tuple[Clip, ...]

    @property
    def media_s(self) -> float:
        """Seconds of media as the containers state them."""
        return sum(clip.duration_s * clip.times for clip in self.clips)


def talkers(clips: Path) -> list[Path]:
    """The talking heads at hand. Raises BenchmarkError where one is missing."""
    found = [*(clips / name for name in TALKERS), *sorted(clips.glob(GRID))]
    _check([*found, clips / PLAIN, *(clips / name for name in TINY)])
    return found


def make_set(folder: Path, sources: Sequence[Path], count: int) -> ClipSet:
    """``count`` files in ``folder``: ``sources`` in turn, each time under a new name."""
    folder.mkdir()
    chosen = list(islice(cycle(sources), count))
    files = []
    for number, source in enumerate(chosen):
        files.append(folder / f"{number:04}_{source.name}")
        shutil.copyfile(source, files[-1])
    clips = tuple(_clip(source, chosen.count(source)) for source in dict.fromkeys(chosen))
    return ClipSet(folder, tuple(files), clips)


def many_small(folder: Path, clips: Path, count: int) -> ClipSet:
    """``count`` files for a batch that is soon done: tiny ones, and a twentieth real ones."""
    real = count * REAL_AMONG_TINY // 1000
    grid = list(islice(cycle(sorted(clips.glob(GRID))), real))
    tiny = list(islice(cycle([clips / name for name in TINY]), count - real))
    return make_set(folder, [*grid, *tiny], count)


def _check(paths: Sequence[Path]) -> None:
    missing = sorted(path.name for path in paths if not path.is_file())
    if missing:
        raise BenchmarkError(f"missing in the folder of --clips: {', '.join(missing)}")


def _clip(path: Path, times: int) -> Clip:
    with av.open(str(path)) as media:
        video = media.streams.video[0]
        return Clip(path, video.width, video.height, (media.duration or 0) / av.time_base, times)
