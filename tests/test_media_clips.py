"""avsent.media on real clips: true times, exact sound and honest damage."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from conftest import SHARED
from reading_media import damage_of, frames_of, read, sound_of

from avsent.media import SAMPLE_RATE_HZ, FrameSampler

BROKEN = {"empty_file.webm"}
CLIP_NAMES = sorted(
    p.name for p in (SHARED / "clips").glob("*.*") if p.suffix != ".csv" and p.name not in BROKEN
) or ["any.mp4"]  # so that without the clips the skipped tests say why
# Decoding these twice takes long, and the others show the same.
LONG = {"many_utterances.mp4", "acted_disgusted2_1080p.mp4", "acted_disgusted_1080p.mp4"}
LONG |= {"face_20s.mp4", "no_audio_face.mp4", "small_faces_sad_zh.mp4", "talk_happy_zh.mp4"}


@pytest.mark.parametrize("name", [n for n in CLIP_NAMES if n not in LONG])
def test_clip_frames_equal_those_of_full_decoding(clips: Path, name: str) -> None:
    """Times are the stream's own, and sparing the decoder work changes no pixel."""
    reader, events = read(clips / name)
    expected = []
    with av.open(str(clips / name)) as container:
        if container.streams.video:
            sampler = FrameSampler(10.0)
            for frame in plain_frames(container):
                if sampler.take(frame.time):
                    gray = np.rot90(frame.to_ndarray(format="gray"), round(frame.rotation / 90))
                    expected.append((round(frame.time, 6), gray.shape, zlib.crc32(gray.tobytes())))
    got = [
        (round(f.time_s, 6), f.gray.shape, zlib.crc32(f.gray.tobytes())) for f in frames_of(events)
    ]
    if name == "corrupted_midway.mp4":  # what an error spoils depends on the decoder's threads
        expected, got = [e[:1] for e in expected], [g[:1] for g in got]
        expected = [e for e in expected if e in got]
    assert got == expected
    assert reader.info.has_video == bool(expected)
    for frame in frames_of(events):
        assert frame.gray.flags.c_contiguous
        assert frame.gray.dtype == np.uint8


def plain_frames(container: Any) -> Iterator[Any]:
    for packet in container.demux(video=0):
        try:
            yield from packet.decode()
        except av.InvalidDataError:
            continue


@pytest.mark.parametrize("name", [n for n in CLIP_NAMES if n not in LONG])
def test_clip_ends_when_it_says(clips: Path, name: str) -> None:
    reader, events = read(clips / name, analysis_rate_hz=1.0)
    if reader.info.duration_s is not None:
        assert reader.end_s == pytest.approx(reader.info.duration_s, abs=0.1)
    else:
        assert name == "no_duration.webm"
        assert reader.end_s == pytest.approx(4.9, abs=0.1)
    assert bool(damage_of(events)) == (name == "corrupted_midway.mp4")
    with av.open(str(clips / name)) as container:
        assert reader.info.has_audio == bool(container.streams.audio)
        if reader.info.has_audio:
            start_s, samples = sound_of(events)
            stamps = [f.time + f.samples / f.sample_rate for f in container.decode(audio=0)]
            assert start_s + len(samples) / SAMPLE_RATE_HZ == pytest.approx(stamps[-1], abs=0.041)


def test_sound_that_begins_late_keeps_its_time(clips: Path) -> None:
    _, events = read(clips / "face_leaves_hevc_vfr.mov", analysis_rate_hz=1.0)
    start_s, _ = sound_of(events)
    assert start_s == pytest.approx(107164 / 44100, abs=1e-6)
    assert frames_of(events)[0].time_s == 0.0


def test_damage_is_reported_once_with_its_time(
    clips: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _, events = read(clips / "corrupted_midway.mp4")
    damage = damage_of(events)
    assert 1 <= len(damage) <= 3
    assert damage[0].stream == "video"
    assert damage[0].time_s == pytest.approx(2.9, abs=0.3)
    assert len(frames_of(events)) >= 45
    assert capfd.readouterr() == ("", "")


def test_unordered_times_come_in_order(clips: Path) -> None:
    _, events = read(clips / "unordered_pts.mov", analysis_rate_hz=1000.0)
    assert [f.time_s for f in frames_of(events)] == [0.0, 0.03125, 0.0625, 0.09375]


@pytest.mark.parametrize(
    ("name", "size"), [("rotated_90_3frames.mov", (320, 568)), ("talk_700.mp4", (700, 700))]
)
def test_size_is_as_displayed(clips: Path, name: str, size: tuple[int, int]) -> None:
    _, events = read(clips / name)
    assert {frame.gray.shape for frame in frames_of(events)} == {size[::-1]}


@pytest.mark.parametrize(
    "name",
    ["-dash.mp4", "a b.mp4", "视频.mp4", "new\nline.mp4", "img%03d.mp4", "http:x", "c,d|e.mov"],
)
def test_any_name_opens(
    clips: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copyfile(clips / "-leading-dash-1x1.mp4", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    _, events = read(Path(name))
    assert len(frames_of(events)) == 5


def test_a_cut_off_file_gives_what_is_left(clips: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mkv"
    remux(clips / "talk_700.mp4", cut)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 6 // 10])
    reader, events = read(cut)
    (damage,) = damage_of(events)
    assert damage.stream == "container"
    assert "breaks off" in damage.reason
    assert damage.time_s == pytest.approx(reader.end_s)
    assert 3.0 < reader.end_s < 4.5
    assert frames_of(events)[-1].time_s > 3.0


def test_mpegts_counts_from_its_start(clips: Path, tmp_path: Path) -> None:
    path = tmp_path / "late.ts"
    remux(clips / "talk_700.mp4", path, shift_s=5000)
    with av.open(str(path)) as container:
        assert container.start_time > 4.9e9
    reader, events = read(path)
    assert min(frames_of(events)[0].time_s, sound_of(events)[0]) == pytest.approx(0, abs=0.001)
    assert reader.end_s == pytest.approx(6.63, abs=0.1)
    assert not damage_of(events)


def remux(source: Path, target: Path, shift_s: int = 0) -> None:
    with av.open(str(source)) as inp, av.open(str(target), "w") as out:
        streams = {s.index: out.add_stream_from_template(s) for s in inp.streams}
        for packet in inp.demux():
            if packet.dts is None or packet.pts is None:
                continue
            packet.pts += int(shift_s / packet.time_base)
            packet.dts += int(shift_s / packet.time_base)
            packet.stream = streams[packet.stream.index]
            out.mux(packet)
