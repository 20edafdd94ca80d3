"""avsent.media on small files written here: exact times, rotation, onset, cover art."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from making_media import tone, write_sound, write_video
from reading_media import damage_of, frames_of, read, sound_of

from avsent.media import SAMPLE_RATE_HZ, FrameSampler, MediaReader


@pytest.mark.parametrize("codec", ["mpeg4", "libx264", "libx265", "ffv1"])
def test_variable_rate_times_are_exact(codec: str, tmp_path: Path) -> None:
    times_ms = [0, 40, 80, 200, 210, 220, 500, 501, 777, 1400, 1433, 1466, 1500, 1600]
    path = write_video(tmp_path / "vfr.mkv", times_ms, codec)
    _, events = read(path, analysis_rate_hz=1000.0)
    assert [round(f.time_s * 1000) for f in frames_of(events)] == times_ms
    assert frames_of(events)[0].gray[4:12, 4:28].mean() > 200
    sampler = FrameSampler(10.0)
    kept = [t for t in times_ms if sampler.take(t / 1000)]
    _, events = read(path)
    assert [round(f.time_s * 1000) for f in frames_of(events)] == kept


@pytest.mark.parametrize(
    ("matrix", "bright"),
    [
        ((1, 0, 0, 1), (0, 0)),
        ((0, 1, -1, 0), (0, 1)),  # a quarter turn clockwise: top left goes to top right
        ((-1, 0, 0, -1), (1, 1)),
        ((0, -1, 1, 0), (1, 0)),
    ],
)
def test_rotation_tag_is_applied(
    matrix: tuple[int, int, int, int], bright: tuple[int, int], tmp_path: Path
) -> None:
    path = write_video(tmp_path / "turned.mp4", [0, 40, 80])
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (v * 65536 for v in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    _, events = read(path)
    gray = frames_of(events)[0].gray
    assert gray.shape == ((64, 32) if matrix[0] == 0 else (32, 64))
    rows, columns = gray.shape[0] // 2, gray.shape[1] // 2
    quarters = gray.reshape(2, rows, 2, columns).mean(axis=(1, 3))
    assert np.unravel_index(quarters.argmax(), (2, 2)) == bright


@pytest.mark.parametrize("layout", ["mono", "stereo"])
@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.m4a", "aac"), ("a.mp3", "libmp3lame")],
)
def test_onset_and_loudness_of_a_tone(name: str, codec: str, layout: str, tmp_path: Path) -> None:
    path = write_sound(tmp_path / name, tone(2.0, onset_s=1.0), codec, layout)
    reader, events = read(path)
    assert not reader.info.has_video
    start_s, samples = sound_of(events)
    assert start_s == pytest.approx(0.0, abs=0.03)
    onset_s = start_s + int(np.argmax(np.abs(samples) > 0.25)) / SAMPLE_RATE_HZ
    assert onset_s == pytest.approx(1.0, abs=0.005)
    assert len(samples) / SAMPLE_RATE_HZ == pytest.approx(2.0, abs=0.06)
    assert np.abs(samples[24_000:30_000]).max() == pytest.approx(0.5, abs=0.05)
    assert reader.end_s == pytest.approx(start_s + len(samples) / SAMPLE_RATE_HZ, abs=0.001)


def test_cover_art_is_no_video(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "song.mp3", tone(1.0), "libmp3lame")
    cover = cv2.imencode(".jpg", np.zeros((32, 32), np.uint8))[1].tobytes()
    body = b"\0image/jpeg\0\x03\0" + cover
    tag = b"APIC" + struct.pack(">IH", len(body), 0) + body
    size = bytes((len(tag) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\x03\0\0" + size + tag + path.read_bytes())
    with av.open(str(path)) as container:
        assert container.streams.video, "the test file should have cover art"
    reader, events = read(path)
    assert not reader.info.has_video
    assert reader.info.video_codec is None
    assert not frames_of(events)
    assert not damage_of(events)


def test_memory_of_one_pass_is_single_use(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", [0, 40])
    with MediaReader(path) as reader:
        list(reader)
        with pytest.raises(RuntimeError, match="once"):
            iter(reader)
    reader.close()
