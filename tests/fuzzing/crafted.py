"""Media files that lie on purpose: huge pictures in few bytes, impossible sound, absurd clocks."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import av
import numpy as np

HUGE_PX = 16_384
SIDES = (0, 1, 2, 17, 4096, 8192, 16_383, 16_384, 32_768, 65_535)
RATES_HZ = (0, 1, 7, 100, 999, 8000, 16_000, 192_000, 768_000, 2**31 - 1, 2**31, 2**32 - 1)
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
    channels, rate_hz = rng.choice(CHANNELS), rng.choice(RATES_HZ)
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
    coding, rate_hz = rng.choice((1, 2, 3, 5, 6, 7, 23, 27)), rng.choice(RATES_HZ)
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
