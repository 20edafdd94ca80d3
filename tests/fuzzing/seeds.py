"""Small valid files to spoil: the beginnings of real clips, and one of each common format."""

from __future__ import annotations

import contextlib
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

WHOLE_BYTES = 60_000
"""Smaller clips are taken whole; of others the first moments."""
SECONDS = 1.2
RATE_HZ = 16_000
RATES_HZ = {"libopus": 48_000, "mp2": 32_000, "ac3": 32_000, "pcm_u8": 11_025}
"""Of codecs that do not know 16 kHz."""

FORMATS = (
    *(("mp4", "libx264", "aac"), ("mov", "mpeg4", "pcm_s16le"), ("mkv", "libx265", "flac")),
    *(("webm", "libvpx", "libopus"), ("webm", "libvpx-vp9", None)),
    *(("avi", "mpeg4", "mp3"), ("avi", "mjpeg", "pcm_u8"), ("flv", "flv", "pcm_u8")),
    *(("ts", "mpeg2video", "mp2"), ("mpg", "mpeg1video", "mp2"), ("asf", "msmpeg4", "wmav1")),
    *(("wmv", "wmv2", "wmav2"), ("nut", "ffv1", "pcm_f32le"), ("3gp", "h263", "aac")),
    *(("gif", "gif", None), ("y4m", "rawvideo", None), ("mkv", "prores_ks", "ac3")),
    *(("wav", None, "pcm_s16le"), ("flac", None, "flac"), ("mp3", None, "mp3")),
    *(("m4a", None, "alac"), ("ogg", None, "libopus"), ("aiff", None, "pcm_s16be")),
    *(("au", None, "pcm_mulaw"), ("caf", None, "pcm_s24be"), ("w64", None, "adpcm_ms")),
)
"""Ending, codec of the picture, codec of the sound."""


def media_seeds(clips: Path | None, sample: Path, folder: Path) -> list[Path]:
    """Files of at most a few hundred kilobytes, made in ``folder``: of every clip, and of every
    format that this FFmpeg can write."""
    folder.mkdir(parents=True, exist_ok=True)
    found = [shortened(sample, folder / sample.name, 2.5)]
    known = sorted(clips.rglob("*")) if clips is not None and clips.is_dir() else []
    for number, clip in enumerate(known):
        if clip.suffix in {".csv", ".align", ".md", ".txt"} or not clip.is_file():
            continue
        target = folder / f"{number:02d}-{clip.name}"
        if clip.stat().st_size <= WHOLE_BYTES:
            shutil.copyfile(clip, target)
        else:
            shortened(clip, target, SECONDS)
        if target.stat().st_size:
            found.append(target)
    for number, (ending, picture, sound) in enumerate(FORMATS):
        target = folder / f"made-{number:02d}-{picture or 'no'}-{sound or 'no'}.{ending}"
        with contextlib.suppress(av.FFmpegError, ValueError):
            found.append(made(target, picture, sound))
    return found


def shortened(source: Path, target: Path, seconds: float) -> Path:
    """The packets of the first moments of ``source``, or its first bytes where they cannot be
    written again."""
    try:
        with av.open(str(source)) as before, av.open(str(target), "w") as after:
            streams: list[Any] = [s for s in before.streams if s.type in ("video", "audio")]
            copies = {stream.index: after.add_stream_from_template(stream) for stream in streams}
            first: dict[int, Fraction] = {}
            for packet in before.demux(streams):
                if packet.dts is None or packet.time_base is None:
                    continue
                time = packet.dts * packet.time_base
                if time - first.setdefault(packet.stream.index, time) > seconds:
                    break
                packet.stream = copies[packet.stream.index]
                after.mux(packet)
    except (av.FFmpegError, ValueError, OSError):
        target.write_bytes(source.read_bytes()[: 2 * WHOLE_BYTES])
    return target


def made(target: Path, picture: str | None, sound: str | None) -> Path:
    """Half a second of a moving square and a tone."""
    with av.open(str(target), "w") as out:
        video: Any = None
        audio: Any = None
        if picture is not None:
            video = out.add_stream(picture, rate=25)
            size = (176, 144) if picture == "h263" else (64, 48)
            video.width, video.height = size
            known = {form.name for form in video.codec.video_formats or ()}
            usual = "yuvj420p" if picture == "mjpeg" else "yuv420p"
            video.pix_fmt = usual if not known or usual in known else min(known)
            if picture == "libx265":
                video.options = {"x265-params": "log-level=none"}
        if sound is not None:
            rate_hz = RATES_HZ.get(sound, RATE_HZ)
            audio = out.add_stream(sound, rate=rate_hz, layout="mono")
            audio.bit_rate = 64_000
            audio.format = audio.codec.audio_formats[0]
        for number in range(12 if picture is not None else 0):
            shown = np.full((video.height, video.width, 3), 30, np.uint8)
            shown[8:24, 2 * number : 2 * number + 16] = 220
            frame = av.VideoFrame.from_ndarray(shown, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(video.encode(frame))
        if sound is not None:
            wave = 0.4 * np.sin(np.arange(rate_hz // 2) * 2 * np.pi * 300 / rate_hz)
            resampler = av.AudioResampler(audio.format, "mono", rate_hz)
            for part in np.array_split(wave.astype(np.float32), 8):
                whole = av.AudioFrame.from_ndarray(part[None], format="fltp", layout="mono")
                whole.sample_rate, whole.time_base = rate_hz, Fraction(1, rate_hz)
                whole.pts = None
                for ready in resampler.resample(whole):
                    out.mux(audio.encode(ready))
        for stream in (video, audio):
            if stream is not None:
                out.mux(stream.encode(None))
    return target
