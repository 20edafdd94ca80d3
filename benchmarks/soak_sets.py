"""Two hours of video out of clips at hand: as one file, and as many."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import av
from batch_sets import PLAIN, talkers
from looping import loop_video
from measure import BenchmarkError

SHORT = "face_20s.mp4"
CUTS_S = ((0.0, 17.28), (17.28, 34.8), (34.8, 52.36))
"""Parts of the long clip, from one key picture to another; with the short one 18 s on average."""


def long_video(folder: Path, clips: Path, minutes: float) -> tuple[Path, int, float]:
    """The long clip again and again; its path, how often, and the seconds of one turn."""
    source = _there(clips / PLAIN)
    turn_s = _duration_s(source)
    times = max(1, round(minutes * 60 / turn_s))
    target = folder / f"{minutes:g}min.mp4"
    loop_video(source, target, times)
    return target, times, turn_s


def pieces(folder: Path, clips: Path) -> list[Path]:
    """The distinct clips at 640×360 that :func:`many_files` is made of."""
    made = [_there(clips / SHORT)]
    for number, (start_s, end_s) in enumerate(CUTS_S, 1):
        made.append(folder / f"part{number}.mp4")
        cut_video(_there(clips / PLAIN), made[-1], start_s, end_s)
    return made


def varied(clips: Path) -> list[Path]:
    """Talking heads of all sizes, the smallest and 1920×1080 among them."""
    return talkers(clips)


def many_files(folder: Path, sources: Sequence[Path], count: int) -> list[Path]:
    """``count`` files in ``folder``: ``sources`` in turn, each time under a new name."""
    folder.mkdir()
    files = []
    for number, source in enumerate(islice(cycle(sources), count)):
        files.append(folder / f"{number:04}_{source.name}")
        files[-1].write_bytes(source.read_bytes())
    return files


def cut_video(source: Path, target: Path, start_s: float, end_s: float) -> None:
    """The packets of ``source`` from ``start_s``, a key picture, to ``end_s``, from time 0 on."""
    with av.open(str(source)) as media, av.open(str(target), "w", format="mp4") as out:
        streams = [*media.streams.video[:1], *media.streams.audio[:1]]
        copies: dict[int, Any] = {s.index: out.add_stream_from_template(s) for s in streams}
        for packet in media.demux(streams):
            if packet.dts is None or packet.pts is None:
                continue
            if not start_s <= float(packet.pts * packet.time_base) < end_s:
                continue
            earlier = round(start_s / packet.time_base)
            packet.pts -= earlier
            packet.dts -= earlier
            packet.stream = copies[packet.stream.index]
            out.mux(packet)


def size_of(folder: Path) -> int:
    """Bytes of all files in ``folder`` and below it."""
    return sum(
        os.path.getsize(os.path.join(place, name))
        for place, _, names in os.walk(folder)
        for name in names
    )


def _there(path: Path) -> Path:
    if not path.is_file():
        raise BenchmarkError(f"missing in the folder of --clips: {path.name}")
    return path


def _duration_s(path: Path) -> float:
    with av.open(str(path)) as media:
        return (media.duration or 0) / av.time_base
