"""Media files that lie on purpose: huge pictures in few bytes, impossible sound, absurd clocks."""

from __future__ import annotations

import contextlib
import re
import shutil
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from random import Random
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


HUGE_PX = 16_384
SIDES = (0, 1, 2, 17, 4096, 8192, 16_383, 16_384, 32_768, 65_535)
RATES_HZ_CRAFTED = (0, 1, 7, 100, 999, 8000, 16_000, 192_000, 768_000, 2**31 - 1, 2**31, 2**32 - 1)
CHANNELS = (0, 1, 2, 3, 8, 63, 64, 65, 255, 1024, 32_768, 65_535)

Maker = Callable[[Path, Random, dict[str, Path]], None]


def bomb_png(side: int = HUGE_PX) -> bytes:
    """A black grey-scale PNG of ``side`` x ``side``: 260 kB for 16k x 16k."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    packer, row = zlib.compressobj(9), bytes(side + 1)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", packed), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def bomb_video(bomb: bytes, folder: Path, frames: int = 30) -> Path:
    """A QuickTime file whose header tells of 64 x 64, and whose frames are ``bomb``."""
    small, target = folder / "small.png", folder / "bomb.mov"
    small.write_bytes(bomb_png(64))
    with av.open(str(small)) as before, av.open(str(target), "w") as after:
        copied = after.add_stream_from_template(before.streams.video[0])
        for number in range(frames):
            packet = av.Packet(bomb)
            packet.stream, packet.time_base = copied, Fraction(1, 10)
            packet.pts = packet.dts = number
            packet.is_keyframe = True
            after.mux(packet)
    return target


def wave(path: Path, rng: Random, base: dict[str, Path]) -> None:
    """A WAV file whose numbers do not fit each other."""
    form = rng.choice((1, 1, 1, 3, 6, 7, 2, 17, 0xFFFE, 0x55))
    channels, rate_hz = rng.choice(CHANNELS), rng.choice(RATES_HZ_CRAFTED)
    bits = rng.choice((0, 1, 8, 8, 16, 16, 24, 32, 64, 65_535))
    block = rng.choice((0, 1, 2, 4, channels * bits // 8 % 65_536, 65_535))
    about = struct.pack("<HHIIHH", form, channels, rate_hz, rate_hz * block % 2**32, block, bits)
    data = rng.randbytes(rng.choice((0, 1000, 100_000)))
    stated = rng.choice((len(data), 0, 0xFFFFFFFF))
    body = b"WAVEfmt " + struct.pack("<I", len(about)) + about
    body += b"data" + struct.pack("<I", stated) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


def sun(path: Path, rng: Random, base: dict[str, Path]) -> None:
    """An AU file: rate and channels of 32 bits."""
    coding, rate_hz = rng.choice((1, 2, 3, 5, 6, 7, 23, 27)), rng.choice(RATES_HZ_CRAFTED)
    header = struct.pack(">4sIIIII", b".snd", 24, 2**32 - 1, coding, rate_hz, rng.choice(CHANNELS))
    path.write_bytes(header + rng.randbytes(40_000))


def raw(path: Path, rng: Random, base: dict[str, Path]) -> None:
    """YUV4MPEG: its header is text, and says how large pictures are and when."""
    width, height = rng.choice(SIDES), rng.choice(SIDES)
    rate = rng.choice(("25:1", "1:1000000", "1000000:1", "0:0", "-5:1", "2147483647:1", "1:600"))
    kind = rng.choice(("420jpeg", "mono", "444", "420p16", "mono12", ""))
    frame = b"FRAME\n" + bytes(min(width * height * 3, 20_000))
    path.write_bytes(f"YUV4MPEG2 W{width} H{height} F{rate} Ip A1:1 C{kind}\n".encode() + frame * 9)


def picture(path: Path, rng: Random, base: dict[str, Path]) -> None:
    """The bomb itself, under the name of a video or its own."""
    path.write_bytes(base["png"].read_bytes())


def bomb(path: Path, rng: Random, base: dict[str, Path]) -> None:
    """A video of 16k x 16k, whose container may say that it is small."""
    data = bytearray(base["bomb"].read_bytes())
    if rng.random() < 0.7:
        at = bytes(data).index(b"png \0\0\0\0") + 28
        data[at : at + 4] = struct.pack(">HH", rng.choice(SIDES), rng.choice(SIDES))
    path.write_bytes(data)


def resized(path: Path, rng: Random, base: dict[str, Path]) -> None:
    """Sizes exchanged in the headers of the pictures themselves."""
    source = base[rng.choice(("made-05", "made-06", "made-03", "made-09", "made-14", "made-00"))]
    data = bytearray(source.read_bytes())
    marks = (
        rb"\xff\xc0\x00\x11\x08",
        rb"\x9d\x01\x2a",
        rb"\x00\x00\x01\xb3",
        rb"GIF8[79]a",
        rb"avc1",
    )
    skipped = (0, 0, 0, 0, 24)
    for mark, skip in zip(marks, skipped, strict=True):
        for match in list(re.finditer(mark, bytes(data), re.DOTALL))[: rng.choice((1, 100))]:
            at, order = match.end() + skip, rng.choice("<>")
            data[at : at + 4] = struct.pack(f"{order}HH", rng.choice(SIDES), rng.choice(SIDES))
    path.write_bytes(data)


def turned(path: Path, rng: Random, base: dict[str, Path]) -> None:
    """A rotation matrix of anything."""
    data = bytearray(base["demo"].read_bytes())
    for match in list(re.finditer(rb"tkhd", bytes(data))):
        at = match.end() + 40
        numbers = [rng.choice((0, 1, 65_536, -65_536, 2**31 - 1, -(2**31), 9999)) for _ in range(9)]
        data[at : at + 36] = struct.pack(">9i", *numbers)
    path.write_bytes(data)


def retimed(path: Path, rng: Random, base: dict[str, Path]) -> None:
    """Real packets at absurd times: far away, far apart, backwards, both streams or one."""
    source = base[rng.choice(("demo", "made-00", "made-03"))]
    how = rng.choice(("start", "gaps", "leap", "back", "stretch"))
    far_s = rng.choice((700, 599, 10**5, 10**7, 10**9, 9 * 10**12))
    which = rng.choice((("video", "audio"), ("audio",), ("video",)))
    with av.open(str(source)) as before, av.open(str(path), "w") as after:
        streams: list[Any] = [s for s in before.streams if s.type in ("video", "audio")]
        copies = {stream.index: after.add_stream_from_template(stream) for stream in streams}
        seen = 0
        for packet in before.demux(streams):
            if packet.dts is None or packet.pts is None:
                continue
            seen += 1
            ahead_s = {"start": far_s, "gaps": seen // 4 * 599, "leap": far_s * (seen > 30)}
            ahead_s |= {
                "back": -far_s * (seen > 30),
                "stretch": packet.pts * packet.time_base * far_s,
            }
            if packet.stream.type in which:
                moved = int(ahead_s[how] / packet.time_base)
                packet.pts, packet.dts = packet.pts + moved, packet.dts + moved
            packet.stream = copies[packet.stream.index]
            try:
                after.mux(packet)
            except (av.FFmpegError, ValueError, OverflowError):
                break


def crowded(path: Path, rng: Random, base: dict[str, Path]) -> None:
    """Very many streams of sound."""
    with av.open(str(path), "w") as out:
        streams: list[Any] = []
        for _ in range(rng.choice((20, 100))):
            stream: Any = out.add_stream("pcm_s16le", rate=rng.choice((8000, 96_000)))
            stream.layout = rng.choice(("mono", "7.1", "22.2"))
            streams.append(stream)
        for stream in streams[:5]:
            planes = np.zeros((1, 800 * stream.layout.nb_channels), np.int16)
            frame = av.AudioFrame.from_ndarray(planes, format="s16", layout=stream.layout.name)
            frame.sample_rate = stream.rate
            out.mux(stream.encode(frame))


def silent(path: Path, rng: Random, base: dict[str, Path]) -> None:
    """Ten minutes of silence in a few kilobytes."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("flac", rate=8000, layout="mono")
        for _ in range(150):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 32_000), np.int16), "s16", "mono")
            frame.sample_rate = 8000
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


MAKERS: tuple[tuple[Maker, tuple[str, ...]], ...] = (
    (wave, ("wav", "mp4")),
    (wave, ("wav",)),
    (sun, ("au", "wav")),
    (raw, ("y4m",)),
    (raw, ("y4m", "mp4")),
    (picture, ("png", "mp4", "jpg")),
    (bomb, ("mov", "mp4")),
    (resized, ("mp4", "avi", "webm", "gif")),
    (resized, ("mp4", "avi")),
    (turned, ("mp4",)),
    (retimed, ("mkv", "nut")),
    (retimed, ("mkv", "nut", "ts", "mp4")),
    (retimed, ("mkv", "mov")),
    (crowded, ("mkv", "nut")),
    (silent, ("flac",)),
)
