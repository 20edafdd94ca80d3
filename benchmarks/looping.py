"""A long video out of a short one: its packets again and again, with later timestamps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av


def loop_video(source: Path, target: Path, times: int) -> None:
    """Write ``source`` ``times`` times in a row to ``target`` (mp4), without re-encoding."""
    with av.open(str(target), "w", format="mp4") as out:
        copies: dict[int, Any] = {}
        for turn in range(times):
            with av.open(str(source)) as media:
                streams = [*media.streams.video[:1], *media.streams.audio[:1]]
                length_s = (media.duration or 0) / av.time_base
                for stream in streams:
                    if stream.index not in copies:
                        copies[stream.index] = out.add_stream_from_template(stream)
                for packet in media.demux(streams):
                    if packet.dts is None:  # the empty packet that ends a stream
                        continue
                    later = round(turn * length_s / packet.time_base)
                    packet.pts = None if packet.pts is None else packet.pts + later
                    packet.dts += later
                    packet.stream = copies[packet.stream.index]
                    out.mux(packet)


def duration_s(path: Path) -> float:
    """The duration that the container states."""
    with av.open(str(path)) as media:
        return (media.duration or 0) / av.time_base
