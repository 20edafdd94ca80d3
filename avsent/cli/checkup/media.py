"""Whether media can be read and written: PyAV, FFmpeg's codecs, and a round trip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from avsent.cli.checkup.check import Check, State

DECODERS: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in ("h264", "hevc", "vp8", "vp9")},
    "av1": ("libdav1d", "libaom-av1"),  # FFmpeg's own "av1" needs a GPU
    **{name: (name,) for name in ("mpeg4", "mpeg2video", "aac")},
    "mp3": ("mp3float", "mp3"),
    "opus": ("opus", "libopus"),
    "vorbis": ("vorbis", "libvorbis"),
    **{name: (name,) for name in ("flac", "pcm_s16le")},
}
"""What videos and sound files are mostly made of, and the decoders any one of which reads it."""
ENCODERS: dict[str, tuple[str, ...]] = {"h264": ("libx264",), "aac": ("aac",)}
"""What ``--annotate`` writes."""

RATE_HZ = 16_000
FRAMES_PER_S = 25
_REINSTALL = "pip install --force-reinstall av"


def look_at_pyav() -> Iterator[Check]:
    """Versions of PyAV and of the FFmpeg inside it."""
    import av

    from avsent.cli.checkup.libraries import judge

    ffmpeg = getattr(av, "ffmpeg_version_info", None) or _version_of_codecs(av)
    yield judge("av", str(av.__version__), [], f", FFmpeg {ffmpeg}")


def _version_of_codecs(av: Any) -> str:
    return "libavcodec " + ".".join(map(str, av.library_versions["libavcodec"]))


def look_at_codecs() -> Iterator[Check]:
    """Which of the common codecs there are."""
    lacking = [name for name, ways in DECODERS.items() if not _any_codec(ways, "r")]
    have = ", ".join(name for name in DECODERS if name not in lacking)
    if lacking:
        told = f"cannot read {', '.join(lacking)}; can read {have or 'nothing'}"
        advice = f"convert such files, or {_REINSTALL}"
        yield Check("decoders", State.warning, told, advice)
    else:
        yield Check("decoders", State.ok, have)
    lacking = [name for name, ways in ENCODERS.items() if not _any_codec(ways, "w")]
    if lacking:
        told = f"cannot write {', '.join(lacking)}"
        yield Check("encoders", State.warning, told, f"--annotate needs them: {_REINSTALL}")
    else:
        yield Check("encoders", State.ok, ", ".join(ENCODERS))


def _any_codec(names: Sequence[str], mode: Any) -> bool:
    import av

    for name in names:
        try:
            av.Codec(name, mode)
        except ValueError:  # UnknownCodecError is one
            continue
        return True
    return False


def look_at_round_trip() -> Iterator[Check]:
    """One second of picture and sound, encoded and decoded in memory."""
    import av

    memory = BytesIO()
    write_clip(memory, 1)
    memory.seek(0)
    frames = samples = 0
    with av.open(memory, "r") as container:
        for frame in container.decode():
            if isinstance(frame, av.VideoFrame):
                frames += 1
            elif isinstance(frame, av.AudioFrame):
                samples += frame.samples
    if frames != FRAMES_PER_S or samples < RATE_HZ:
        raise RuntimeError(f"of one second came back {frames} pictures and {samples} samples")
    yield Check("round trip", State.ok, f"{frames} pictures and {samples:,} samples came back")


def write_clip(target: BytesIO | Path, seconds: int) -> None:
    """An MP4 of a grey picture and a hum in syllables, with encoders that every FFmpeg has."""
    import av
    import numpy as np

    times_s = np.arange(seconds * RATE_HZ) / RATE_HZ
    pitch_hz = 150 + 20 * np.sin(2 * np.pi * 3 * times_s)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    hum = sum(np.sin(number * phase) / number for number in range(1, 12))
    syllables = np.clip(np.sin(2 * np.pi * 4 * times_s), 0.01, 1)
    sound = (0.3 * hum * syllables).astype(np.float32)
    file: Any = target if isinstance(target, BytesIO) else str(target)
    with av.open(file, "w", format="mp4") as container:
        picture = container.add_stream("mpeg4", rate=FRAMES_PER_S)
        picture.width, picture.height, picture.pix_fmt = 320, 240, "yuv420p"
        voice = container.add_stream("aac", rate=RATE_HZ, layout="mono")
        grey = np.full((240, 320, 3), 128, dtype=np.uint8)
        for _ in range(seconds * FRAMES_PER_S):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(picture.encode(None))
        for start in range(0, sound.size, 1024):
            chunk = av.AudioFrame.from_ndarray(sound[None, start : start + 1024], "fltp", "mono")
            chunk.sample_rate, chunk.pts = RATE_HZ, start
            container.mux(voice.encode(chunk))
        container.mux(voice.encode(None))
