"""Real clips with their sound taken away, replaced by silence, or kept alone."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def with_sound_of(source: Path, target: Path, *, silence: bool) -> None:
    """Copy the pictures of ``source``; sound is left out, or is digital silence as long."""
    with av.open(str(source)) as before, av.open(str(target), "w") as after:
        pictures = before.streams.video[0]
        copied = after.add_stream_from_template(pictures)
        sound = after.add_stream("aac", rate=16000, layout="mono") if silence else None
        for packet in before.demux(pictures):
            if packet.dts is None:
                continue
            packet.stream = copied
            after.mux(packet)
        if sound is not None:
            seconds = before.duration / av.time_base
            for index in range(int(seconds * 16000) // 1024):
                zeros = np.zeros((1, 1024), dtype=np.float32)
                frame = av.AudioFrame.from_ndarray(zeros, format="fltp", layout="mono")
                frame.rate, frame.pts = 16000, index * 1024
                after.mux(sound.encode(frame))
            after.mux(sound.encode(None))


def in_the_dark(source: Path, target: Path) -> None:
    """Copy the sound of ``source``; its pictures turn black, at the same times."""
    with av.open(str(source)) as before, av.open(str(target), "w") as after:
        pictures, sound = before.streams.video[0], before.streams.audio[0]
        black = after.add_stream("libx264", rate=25)
        black.width, black.height, black.pix_fmt = pictures.width, pictures.height, "yuv420p"
        black.time_base = pictures.time_base
        copied = after.add_stream_from_template(sound)
        for packet in before.demux(pictures, sound):
            if packet.stream is sound and packet.dts is not None:
                packet.stream = copied
                after.mux(packet)
            elif packet.stream is pictures:
                for shown in packet.decode():
                    dark = np.zeros((pictures.height, pictures.width, 3), dtype=np.uint8)
                    frame = av.VideoFrame.from_ndarray(dark, format="rgb24")
                    frame.pts, frame.time_base = shown.pts, shown.time_base
                    after.mux(black.encode(frame))
        after.mux(black.encode(None))


def with_late_sound(source: Path, target: Path, quiet_s: float) -> None:
    """Copy the pictures of ``source``; its sound is digital silence before ``quiet_s``."""
    with av.open(str(source)) as before, av.open(str(target), "w") as after:
        pictures, heard = before.streams.video[0], before.streams.audio[0]
        copied = after.add_stream_from_template(pictures)
        sound = after.add_stream("aac", rate=heard.rate, layout="mono")
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=heard.rate)
        for packet in before.demux(pictures, heard):
            if packet.stream is pictures and packet.dts is not None:
                packet.stream = copied
                after.mux(packet)
            elif packet.stream is heard:
                for frame in [f for whole in packet.decode() for f in resampler.resample(whole)]:
                    samples = frame.to_ndarray()
                    if frame.pts / heard.rate < quiet_s:
                        samples[:] = 0.0
                    changed = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
                    changed.rate, changed.pts = heard.rate, frame.pts
                    after.mux(sound.encode(changed))
        after.mux(sound.encode(None))
