"""Videos for the benchmarks, made from clips: repeated, cut, and whole folders."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import av
from processes import BenchmarkError

TALKERS = (
    *("acted_disgusted_1080p.mp4", "acted_disgusted2_1080p.mp4", "acted_happy_1080p.mp4"),
    *("face_20s.mp4", "lrs3_closeup.mp4", "old_film_two_faces.mp4", "small_faces_sad_zh.mp4"),
    *("speech_closeup_512.mp4", "talk_700.mp4", "talk_angry_zh.mp4", "talk_happy_zh.mp4"),
    *("talk_neutral_zh.mp4", "talk_surprise_zh.mp4", "talk_vfr.mp4"),
)
"""Talking heads of at least 2 s, neither damaged nor joined."""
GRID = "grid/*.mpg"
LONG = "many_utterances.mp4"  # one minute at 640×360
SHORT = "face_20s.mp4"
TINY = ("unordered_pts.mov", "rotated_90_3frames.mov")
CUTS_S = ((0.0, 17.28), (17.28, 34.8), (34.8, 52.36))
"""Parts of LONG between key frames; with SHORT 18 s on average."""


@dataclass(frozen=True, slots=True)
class ClipSet:
    """A folder of copied clips. ``clips``: name, size, seconds and copies of each source."""

    folder: Path
    files: tuple[Path, ...]
    clips: tuple[dict[str, Any], ...]

    @property
    def media_s(self) -> float:
        """Seconds of media as stated by the containers."""
        return sum(clip["duration_s"] * clip["copies"] for clip in self.clips)


def require(folder: Path, names: Sequence[str]) -> list[Path]:
    """The files of those names. Raises BenchmarkError where one is missing."""
    missing = sorted({name for name in names if not (folder / name).is_file()})
    if missing:
        raise BenchmarkError(f"missing in the folder of --clips: {', '.join(missing)}")
    return [folder / name for name in names]


def talkers(clips: Path) -> list[Path]:
    """All talking heads, 224×224 to 1920×1080."""
    return [*require(clips, TALKERS), *sorted(clips.glob(GRID))]


def make_set(folder: Path, sources: Sequence[Path], count: int) -> ClipSet:
    """``count`` files in ``folder``: ``sources`` in turn, each copy under a new name."""
    folder.mkdir()
    chosen = list(islice(cycle(sources), count))
    files = [folder / f"{number:04}_{source.name}" for number, source in enumerate(chosen)]
    for source, file in zip(chosen, files, strict=True):
        shutil.copyfile(source, file)
    clips = [{**facts(s), "copies": chosen.count(s)} for s in dict.fromkeys(chosen)]
    return ClipSet(folder, tuple(files), tuple(clips))


def many_small(folder: Path, clips: Path, count: int) -> ClipSet:
    """``count`` short files: tiny ones, and one in twenty from GRID."""
    real = count // 20
    grid = islice(cycle(sorted(clips.glob(GRID))), real)
    tiny = islice(cycle(require(clips, TINY)), count - real)
    return make_set(folder, [*grid, *tiny], count)


def pieces(folder: Path, clips: Path) -> list[Path]:
    """Four different clips at 640×360: SHORT, and three parts of LONG."""
    source, short = require(clips, (LONG, SHORT))
    parts = [folder / f"part{number}.mp4" for number in range(1, len(CUTS_S) + 1)]
    for part, (start_s, end_s) in zip(parts, CUTS_S, strict=True):
        copy_packets(source, part, start_s=start_s, end_s=end_s)
    return [short, *parts]


def long_video(folder: Path, clips: Path, minutes: float) -> tuple[Path, int, float]:
    """LONG repeated to about ``minutes``; its path, the number of turns, seconds of one turn."""
    (source,) = require(clips, (LONG,))
    turn_s = facts(source)["duration_s"]
    turns = max(1, round(minutes * 60 / turn_s))
    target = folder / f"{minutes:g}min.mp4"
    copy_packets(source, target, turns=turns)
    if abs((length_s := facts(target)["duration_s"]) - turns * turn_s) > 1:
        raise BenchmarkError(f"looping gave {length_s:.1f} s, not {turns} times the clip")
    return target, turns, turn_s


def copy_packets(
    source: Path, target: Path, *, turns: int = 1, start_s: float = 0.0, end_s: float = 1e9
) -> None:
    """Write the packets of ``source`` from ``start_s`` (a key frame) to ``end_s``, ``turns`` times
    in a row, to ``target`` (mp4), without re-encoding."""
    with av.open(str(target), "w", format="mp4") as out:
        copies: dict[int, Any] = {}
        for turn in range(turns):
            with av.open(str(source)) as media:
                streams = [*media.streams.video[:1], *media.streams.audio[:1]]
                length_s = (media.duration or 0) / av.time_base
                for stream in streams:
                    if stream.index not in copies:
                        copies[stream.index] = out.add_stream_from_template(stream)
                for packet in media.demux(streams):
                    if packet.dts is None or packet.pts is None:  # the empty packet at the end
                        continue
                    if not start_s <= float(packet.pts * packet.time_base) < end_s:
                        continue
                    later = round((turn * length_s - start_s) / packet.time_base)
                    packet.pts += later
                    packet.dts += later
                    packet.stream = copies[packet.stream.index]
                    out.mux(packet)


def facts(path: Path) -> dict[str, Any]:
    """Name, size, frame rate and duration as stated by the container."""
    with av.open(str(path)) as media:
        video = media.streams.video[0]
        return {
            "name": path.name,
            "width": video.width,
            "height": video.height,
            "fps": float(video.average_rate or 0),
            "duration_s": (media.duration or 0) / av.time_base,
        }


def decode_all(path: Path) -> None:
    """Bare decoding: all pictures and all sound, nothing done with them."""
    with av.open(str(path)) as media:
        streams = [*media.streams.video[:1], *media.streams.audio[:1]]
        for stream in streams:
            stream.thread_type = "AUTO"
        for packet in media.demux(streams):
            packet.decode()
