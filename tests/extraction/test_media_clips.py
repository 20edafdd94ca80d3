"""Media reader on real, damaged and hostile files: exact times and sound, damage, errors."""

from __future__ import annotations

import math
import os
import shutil
import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from conftest import SHARED
from fuzzing.media import bomb_png, bomb_video
from media_files import (
    FakeStream,
    damage_of,
    frames_of,
    play,
    read,
    sound_frames,
    sound_of,
    tone,
    write_sound,
    write_video,
)

from avsent.errors import MediaError
from avsent.extraction.media import reader
from avsent.extraction.media.audio import SoundTrack
from avsent.extraction.media.events import (
    MAX_FRAME_PIXELS,
    MAX_SILENCE_S,
    SAMPLE_RATE_HZ,
    Damage,
    Frame,
    Sound,
)
from avsent.extraction.media.reader import MediaReader, prefetch
from avsent.extraction.media.video import FrameSampler, PictureTrack
from avsent.text import printable

BROKEN = {"empty_file.webm"}
CLIP_NAMES = sorted(
    p.name for p in (SHARED / "clips").glob("*.*") if p.suffix != ".csv" and p.name not in BROKEN
) or ["any.mp4"]  # so that without the clips the skipped tests say why
# Left out: slow to decode twice, and covered by the others
LONG = {"many_utterances.mp4", "acted_disgusted2_1080p.mp4", "acted_disgusted_1080p.mp4"}
LONG |= {"face_20s.mp4", "no_audio_face.mp4", "small_faces_sad_zh.mp4", "talk_happy_zh.mp4"}


@pytest.mark.parametrize("name", [n for n in CLIP_NAMES if n not in LONG])
def test_clip_frames_equal_those_of_full_decoding(clips: Path, name: str) -> None:
    """Times are the stream's own, and skipping pictures changes no pixel."""
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
    assert (reader.media.video is not None) == bool(expected)
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
    if reader.media.duration_s is not None:
        assert reader.end_s == pytest.approx(reader.media.duration_s, abs=0.1)
    else:
        assert name == "no_duration.webm"
        assert reader.end_s == pytest.approx(4.9, abs=0.1)
    assert bool(damage_of(events)) == (name == "corrupted_midway.mp4")
    with av.open(str(clips / name)) as container:
        assert (reader.media.audio is not None) == bool(container.streams.audio)
        if reader.media.audio is not None:
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
def test_any_file_name_opens(
    clips: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copyfile(clips / "-leading-dash-1x1.mp4", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    _, events = read(Path(name))
    assert len(frames_of(events)) == 5


def test_a_truncated_file_yields_what_is_left(clips: Path, tmp_path: Path) -> None:
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


def refusal(path: Path) -> str:
    with pytest.raises(MediaError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert printable(path) in message
    assert "Errno" not in message
    assert caught.value.exit_code == 3
    return message


def test_missing_file_folder_and_empty_file(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "no\nsuch.mp4")
    assert "folder" in refusal(tmp_path)
    (tmp_path / "e.webm").touch()
    assert "empty" in refusal(tmp_path / "e.webm")
    assert "cannot be opened" in refusal(tmp_path / ("x" * 300))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_unreadable(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", [0])
    path.chmod(0)
    assert "permissions" in refusal(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.mp4", b"\0" * 4000),
        ("a.txt", b"only words\n" * 100),
        ("a.csv", b"video,start_s\nx.mp4,1\n" * 20),
        ("a.nfo", b"x" * 900),
        ("a.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nv.mp4\n#EXT-X-ENDLIST\n"),
        ("a.ffconcat", b"ffconcat version 1.0\nfile v.mp4\n"),
        ("b.mp4", b"ffconcat version 1.0\nfile v.mp4\n"),
        ("a.sdp", b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=audio 5004 RTP/AVP 0\n"),
    ],
)
def test_not_media_or_a_playlist(name: str, content: bytes, tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", [0, 40])
    (tmp_path / name).write_bytes(content)
    assert "not a media file" in refusal(tmp_path / name)


def test_only_subtitles(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nhello\n")
    assert "neither picture nor sound" in refusal(tmp_path / "a.srt")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.webp", "a.tiff", "img%03d.png"])
def test_still_pictures(name: str, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / name), np.zeros((32, 32), np.uint8))
    assert "still picture" in refusal(tmp_path / name)


def test_a_header_without_data(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(0.5), "pcm_s16le")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"data") + 8])
    assert "decoded" in refusal(path)


def test_huge_pictures_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "v.mp4", [0, 40])
    monkeypatch.setattr(reader, "MAX_FRAME_PIXELS", 64 * 32 - 1)
    assert "too large" in refusal(path)


@pytest.mark.parametrize("rate_hz", [0.0, -3.0, math.nan])
def test_analysis_rate_must_be_positive(rate_hz: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rate"):
        MediaReader(tmp_path / "any.mp4", analysis_rate_hz=rate_hz)


@pytest.fixture(scope="module")
def bomb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few hundred kilobytes: pictures of 16k x 16k, the header says 64 x 64."""
    return bomb_video(bomb_png(), tmp_path_factory.mktemp("bomb"), frames=2)


def test_8k_is_allowed() -> None:
    assert MAX_FRAME_PIXELS >= 8192 * 4320


def test_a_bomb_is_refused_in_one_line(bomb: Path) -> None:
    with pytest.raises(MediaError, match="at most 8192x4608 pixels") as caught:
        read(bomb)
    assert "\n" not in str(caught.value)


def test_a_bomb_that_states_its_size(bomb: Path, tmp_path: Path) -> None:
    data = bytearray(bomb.read_bytes())
    at = bytes(data).index(b"png \0\0\0\0") + 28
    data[at : at + 4] = struct.pack(">HH", 16_384, 16_384)
    (tmp_path / "b.mov").write_bytes(data)
    with pytest.raises(MediaError, match="16384x16384 pixels, too large"):
        read(tmp_path / "b.mov")


def wave(path: Path, *, rate_hz: int, channels: int) -> Path:
    about = struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz, channels, 8)
    body = b"WAVEfmt " + struct.pack("<I", 16) + about + b"data" + struct.pack("<I", 60_000)
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body) + 60_000) + body + bytes(60_000))
    return path


@pytest.mark.parametrize(("rate_hz", "channels"), [(1, 1), (999, 1), (2**31 - 1, 1), (8000, 255)])
def test_impossible_sound(rate_hz: int, channels: int, tmp_path: Path) -> None:
    with pytest.raises(MediaError) as caught:
        read(wave(tmp_path / "a.wav", rate_hz=rate_hz, channels=channels))
    assert "\n" not in str(caught.value)


def test_impossible_sound_leaves_the_picture(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.nut", [0, 40, 80])
    with av.open(str(path)) as before, av.open(str(tmp_path / "both.nut"), "w") as after:
        copied = after.add_stream_from_template(before.streams.video[0])
        sound = after.add_stream("pcm_s16le", rate=100, layout="mono")
        for packet in before.demux(video=0):
            if packet.size:
                packet.stream = copied
                after.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 100), np.int16), "s16", "mono")
        frame.sample_rate = 100
        after.mux(sound.encode(frame))
    events = list(MediaReader(tmp_path / "both.nut"))
    assert any(isinstance(event, Frame) for event in events)
    assert not any(isinstance(event, Sound) for event in events)
    assert "sound of 100 samples" in next(e.reason for e in events if isinstance(e, Damage))


def test_an_absurd_start_of_the_clock_becomes_zero() -> None:
    frames = sound_frames(np.ones(4800, np.float32) / 2, [1e9, 1e9 + 0.05])
    sound = [e for e in play(SoundTrack(FakeStream(), 0.0), frames) if isinstance(e, Sound)]
    assert (sound[0].start_s, sum(e.samples.size for e in sound)) == (0.0, 1600)
    pictures = []
    for number in range(12):
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32), np.uint8), format="gray")
        picture.pts, picture.time_base = 10**15 + 100 * number, Fraction(1, 1000)
        pictures.append(picture)
    events = play(PictureTrack(FakeStream(), "fake", 0.0, FrameSampler(10.0)), pictures)
    assert [e.time_s for e in events if isinstance(e, Frame)] == pytest.approx(
        [n / 10 for n in range(12)],
        abs=1e-3,
    )
    assert any(isinstance(e, Damage) and "impossible time" in e.reason for e in events)


def test_silence_in_holes_is_limited() -> None:
    """A hole of 599 s before each of 12 chunks would make 2 hours out of half a second."""
    starts_s = [n * 599.0 for n in range(12)]
    frames = sound_frames(np.ones(12 * 2400, np.float32) / 2, starts_s)
    heard = 0
    reasons = set()
    track = SoundTrack(FakeStream(), 0.0)
    for event in play(track, frames):
        if isinstance(event, Sound):
            heard += event.samples.size
        else:
            reasons.add(event.reason)
    assert heard / SAMPLE_RATE_HZ <= MAX_SILENCE_S + 60
    assert "more sound is missing than can be believed" in reasons


def test_a_duration_of_centuries_is_unknown(tmp_path: Path) -> None:
    data = bytearray(write_video(tmp_path / "v.mp4", [0, 40, 80]).read_bytes())
    for box, version_and_times in ((b"mvhd", 12), (b"mdhd", 12), (b"tkhd", 16)):
        at = bytes(data).index(box) + 4 + version_and_times
        data[at : at + 8] = struct.pack(">II", 1, 2**32 - 2) if box != b"tkhd" else bytes(8)
    (tmp_path / "long.mp4").write_bytes(data)
    with MediaReader(tmp_path / "long.mp4") as reader:
        assert reader.media.duration_s is None or reader.media.duration_s < 3600


def test_prefetched_pictures_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = Frame(0.0, np.zeros((100, 100), np.uint8))
    monkeypatch.setattr(reader, "_MAX_WAITING_BYTES", 3 * frame.gray.nbytes)
    made = []

    def frames():
        for _ in range(20):
            made.append(1)
            yield frame

    ahead = prefetch(frames(), size=20)
    next(ahead)
    assert sum(1 for _ in ahead) == 19
    waiting = prefetch(frames(), size=20)
    next(waiting)
    waiting.close()  # the thread that waits for room ends
    assert len(made) < 40
