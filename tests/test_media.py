"""avsent.media: one pass over a container gives true times, exact sound and honest damage."""

from __future__ import annotations

import itertools
import math
import os
import shutil
import struct
import threading
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avsent import _media_open
from avsent._media_frames import PictureTrack
from avsent._media_sound import SoundTrack
from avsent._media_types import MAX_DAMAGE_EVENTS
from avsent.errors import MediaError
from avsent.media import (
    SAMPLE_RATE_HZ,
    Damage,
    Frame,
    FrameSampler,
    MediaReader,
    Sound,
    prefetch,
)

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "clips"
needs_clips = pytest.mark.skipif(not CLIPS.is_dir(), reason=f"the sample clips are not at {CLIPS}")
BROKEN = {"empty_file.webm"}
CLIP_NAMES = sorted(
    p.name for p in CLIPS.glob("*.*") if p.suffix != ".csv" and p.name not in BROKEN
)
# Decoding these twice takes long, and the others show the same.
LONG = {"many_utterances.mp4", "acted_disgusted2_1080p.mp4", "acted_disgusted_1080p.mp4"}
LONG |= {"face_20s.mp4", "no_audio_face.mp4", "small_faces_sad_zh.mp4", "talk_happy_zh.mp4"}


def read(path: Path, **options: Any) -> tuple[MediaReader, list[Frame | Sound | Damage]]:
    with MediaReader(path, **options) as reader:
        return reader, list(reader)


def frames_of(events: list[Any]) -> list[Frame]:
    return [e for e in events if isinstance(e, Frame)]


def damage_of(events: list[Any]) -> list[Damage]:
    return [e for e in events if isinstance(e, Damage)]


def sound_of(events: list[Any]) -> tuple[float, np.ndarray]:
    """Start and samples of the joined sound, after checking that the chunks join exactly."""
    chunks = [e for e in events if isinstance(e, Sound)]
    for one, two in itertools.pairwise(chunks):
        assert two.start_s == pytest.approx(
            one.start_s + len(one.samples) / SAMPLE_RATE_HZ, abs=1e-6
        )
    for chunk in chunks:
        assert chunk.samples.dtype == np.float32
        assert chunk.samples.ndim == 1
        assert 0 < len(chunk.samples) <= SAMPLE_RATE_HZ
    return chunks[0].start_s, np.concatenate([c.samples for c in chunks])


# --- writing small files ------------------------------------------------------------------------

MS = Fraction(1, 1000)
RATE_HZ = 48_000


def write_video(path: Path, times_ms: list[int], codec: str = "mpeg4") -> Path:
    """Pictures of 64x32 pixels: the top left quarter white, the rest dark."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        stream.codec_context.time_base = MS
        for number, time_ms in enumerate(times_ms):
            picture = np.full((32, 64, 3), 20 + 3 * (number % 9), np.uint8)
            picture[:16, :32] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time_ms, MS
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def tone(seconds: float, onset_s: float = 0.0, rate_hz: int = RATE_HZ) -> np.ndarray:
    """A sine of 440 Hz and amplitude 0.5, silent before ``onset_s``: float32 [n]."""
    time = np.arange(int(seconds * rate_hz)) / rate_hz
    return np.where(time >= onset_s, 0.5 * np.sin(2 * np.pi * 440 * time), 0).astype(np.float32)


def sound_frames(
    samples: np.ndarray, starts_s: list[float], rate_hz: int = RATE_HZ, layout: str = "mono"
) -> list[av.AudioFrame]:
    """``samples`` [n] cut evenly into frames that begin at the given times."""
    channels = 1 if layout == "mono" else 2
    frames = []
    for part, start_s in zip(np.array_split(samples, len(starts_s)), starts_s, strict=True):
        both = np.repeat(part[None], channels, axis=0)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(both, dtype=np.float32), format="fltp", layout=layout
        )
        frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
        frame.pts = round(start_s * rate_hz)
        frames.append(frame)
    return frames


def write_sound(path: Path, samples: np.ndarray, codec: str, layout: str = "mono") -> Path:
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=RATE_HZ, layout=layout)
        stream.format = stream.codec.audio_formats[0]
        resampler = av.AudioResampler(stream.format, layout, RATE_HZ)
        starts_s = [i * len(samples) / RATE_HZ / 10 for i in range(10)]
        for frame in sound_frames(samples, starts_s, layout=layout):
            for ready in resampler.resample(frame):
                out.mux(stream.encode(ready))
        out.mux(stream.encode(None))
    return path


class FakeStream:
    """A stream whose packets hold decoded frames, or an error to raise."""

    codec_context = SimpleNamespace(name="fake", skip_frame="DEFAULT")
    average_rate = 25
    time_base = MS

    def decode(self, packet: Any) -> list[Any]:
        if packet is None:
            return []
        if packet.frame is None:
            raise av.InvalidDataError(1, "made up")
        return [packet.frame]


def packet_of(frame: Any) -> Any:
    return SimpleNamespace(
        frame=frame, is_corrupt=False, is_discard=False, pts=None, dts=None, time_base=MS
    )


def play(track: Any, frames: list[Any], other_s: float | None = None) -> list[Any]:
    events = [e for frame in frames for e in track.feed(packet_of(frame), other_s)]
    return events + list(track.finish())


# --- which frames are kept ----------------------------------------------------------------------


def test_sampler_takes_every_third_of_30_fps() -> None:
    sampler = FrameSampler(10.0)
    assert [n for n in range(300) if sampler.take(n / 30)] == list(range(0, 300, 3))


def test_sampler_takes_10_hz_from_25_fps_and_all_of_a_slow_source() -> None:
    sampler = FrameSampler(10.0)
    assert sum(sampler.take(n / 25) for n in range(2500)) == 1000
    slow = FrameSampler(10.0)
    assert all(slow.take(n / 9) for n in range(500))


@pytest.mark.parametrize("rate_hz", [0.0, -1.0, math.nan, math.inf])
def test_sampler_refuses_a_rate_that_is_not_positive(rate_hz: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        FrameSampler(rate_hz)


steps = st.lists(st.floats(0.001, 2.0), min_size=1, max_size=200)


@given(steps, st.floats(0.5, 60.0), st.floats(0.0, 1e5))
def test_sampler_spacing_and_rate(gaps: list[float], rate_hz: float, start_s: float) -> None:
    times = [start_s + t for t in itertools.accumulate(gaps)]
    sampler = FrameSampler(rate_hz)
    kept = [t for t in times if sampler.take(t)]
    period_s = 1 / rate_hz
    assert kept[0] == times[0]
    assert all(b - a >= period_s / 2 - 0.0006 for a, b in itertools.pairwise(kept))
    assert len(kept) <= (times[-1] - times[0]) * rate_hz + 2
    # No frame is left out when nothing was kept for a whole period before it.
    for time_s in set(times) - set(kept):
        assert any(time_s - period_s < k < time_s for k in kept)


@given(st.integers(20, 120), st.floats(1.0, 10.0), st.floats(0.0, 100.0))
def test_sampler_mean_rate_of_a_fast_source(fps: int, rate_hz: float, start_s: float) -> None:
    sampler = FrameSampler(rate_hz)
    kept = sum(sampler.take(start_s + n / fps) for n in range(fps * 10))
    assert abs(kept - 10 * rate_hz) <= 2


@given(steps, st.floats(1.0, 30.0))
def test_sampler_never_takes_a_time_twice_or_an_earlier_one(
    gaps: list[float], rate_hz: float
) -> None:
    sampler = FrameSampler(rate_hz)
    last = -math.inf
    for time_s in itertools.accumulate(gaps):
        if sampler.take(time_s):
            last = time_s
        assert not sampler.take(last)
        assert not sampler.take(last - 1)


# --- the clips ----------------------------------------------------------------------------------


@needs_clips
@pytest.mark.parametrize("name", [n for n in CLIP_NAMES if n not in LONG])
def test_clip_frames_equal_those_of_full_decoding(name: str) -> None:
    """Times are the stream's own, and sparing the decoder work changes no pixel."""
    reader, events = read(CLIPS / name)
    expected = []
    with av.open(str(CLIPS / name)) as container:
        if container.streams.video:
            sampler = FrameSampler(10.0)
            for frame in plain_frames(container):
                if sampler.take(frame.time):
                    gray = np.rot90(frame.to_ndarray(format="gray"), round(frame.rotation / 90))
                    expected.append((round(frame.time, 6), zlib.crc32(gray.tobytes())))
    got = [(round(f.time_s, 6), zlib.crc32(f.gray.tobytes())) for f in frames_of(events)]
    if name == "corrupted_midway.mp4":  # what an error spoils depends on the decoder's threads
        expected, got = [e[:1] for e in expected], [g[:1] for g in got]
        expected = [e for e in expected if e in got]
    assert got == expected
    assert reader.info.has_video == bool(expected)
    for frame in frames_of(events):
        assert frame.gray.shape == (reader.info.height, reader.info.width)
        assert frame.gray.flags.c_contiguous
        assert frame.gray.dtype == np.uint8


def plain_frames(container: Any) -> Iterator[Any]:
    for packet in container.demux(video=0):
        try:
            yield from packet.decode()
        except av.InvalidDataError:
            continue


@needs_clips
@pytest.mark.parametrize("name", [n for n in CLIP_NAMES if n not in LONG])
def test_clip_ends_when_it_says(name: str) -> None:
    reader, events = read(CLIPS / name, analysis_rate_hz=1.0)
    if reader.info.duration_s is not None:
        assert reader.end_s == pytest.approx(reader.info.duration_s, abs=0.1)
    else:
        assert name == "no_duration.webm"
        assert reader.end_s == pytest.approx(4.9, abs=0.1)
    assert bool(damage_of(events)) == (name == "corrupted_midway.mp4")
    with av.open(str(CLIPS / name)) as container:
        assert reader.info.has_audio == bool(container.streams.audio)
        if reader.info.has_audio:
            start_s, samples = sound_of(events)
            stamps = [f.time + f.samples / f.sample_rate for f in container.decode(audio=0)]
            assert start_s + len(samples) / SAMPLE_RATE_HZ == pytest.approx(stamps[-1], abs=0.041)


@needs_clips
def test_sound_that_begins_late_keeps_its_time() -> None:
    _, events = read(CLIPS / "face_leaves_hevc_vfr.mov", analysis_rate_hz=1.0)
    start_s, _ = sound_of(events)
    assert start_s == pytest.approx(107164 / 44100, abs=1e-6)
    assert frames_of(events)[0].time_s == 0.0


@needs_clips
def test_damage_is_reported_once_with_its_time(capfd: pytest.CaptureFixture[str]) -> None:
    _, events = read(CLIPS / "corrupted_midway.mp4")
    damage = damage_of(events)
    assert 1 <= len(damage) <= 3
    assert damage[0].stream == "video"
    assert damage[0].time_s == pytest.approx(2.9, abs=0.3)
    assert len(frames_of(events)) >= 45
    assert capfd.readouterr() == ("", "")


@needs_clips
def test_unordered_times_come_in_order() -> None:
    _, events = read(CLIPS / "unordered_pts.mov", analysis_rate_hz=1000.0)
    assert [f.time_s for f in frames_of(events)] == [0.0, 0.03125, 0.0625, 0.09375]


@needs_clips
@pytest.mark.parametrize(
    ("name", "size"), [("rotated_90_3frames.mov", (320, 568)), ("talk_700.mp4", (700, 700))]
)
def test_size_is_as_displayed(name: str, size: tuple[int, int]) -> None:
    with MediaReader(CLIPS / name) as reader:
        assert (reader.info.width, reader.info.height) == size


@needs_clips
@pytest.mark.parametrize(
    "name",
    ["-dash.mp4", "a b.mp4", "视频.mp4", "new\nline.mp4", "img%03d.mp4", "http:x", "c,d|e.mov"],
)
def test_any_name_opens(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copyfile(CLIPS / "-leading-dash-1x1.mp4", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    _, events = read(Path(name))
    assert len(frames_of(events)) == 5


@needs_clips
def test_a_cut_off_file_gives_what_is_left(tmp_path: Path) -> None:
    cut = tmp_path / "cut.mkv"
    remux(CLIPS / "talk_700.mp4", cut)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 6 // 10])
    reader, events = read(cut)
    (damage,) = damage_of(events)
    assert damage.stream == "container"
    assert "breaks off" in damage.reason
    assert damage.time_s == pytest.approx(reader.end_s)
    assert 3.0 < reader.end_s < 4.5
    assert frames_of(events)[-1].time_s > 3.0


@needs_clips
def test_mpegts_counts_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "late.ts"
    remux(CLIPS / "talk_700.mp4", path, shift_s=5000)
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


# --- generated files ----------------------------------------------------------------------------


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
    reader, events = read(path)
    gray = frames_of(events)[0].gray
    assert gray.shape == (reader.info.height, reader.info.width)
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


# --- the clock of the sound ---------------------------------------------------------------------

STEPS_S = [i / 10 for i in range(10)]


def test_a_hole_in_the_sound_is_filled_with_zeros() -> None:
    starts = [t if t < 0.5 else t + 3.0 for t in STEPS_S]
    events = play(SoundTrack(FakeStream(), 0.0), sound_frames(tone(1.0), starts))
    start_s, samples = sound_of(events)
    assert start_s == 0
    assert len(samples) == pytest.approx(4 * SAMPLE_RATE_HZ, abs=3)
    assert not samples[8_100:55_900].any()
    assert np.abs(samples[56_100:57_000]).max() > 0.4
    assert not damage_of(events)


def test_sound_told_twice_is_cut() -> None:
    starts = [t if t < 0.5 else t - 0.2 for t in STEPS_S]
    _, samples = sound_of(play(SoundTrack(FakeStream(), 0.0), sound_frames(tone(1.0), starts)))
    assert len(samples) == pytest.approx(0.8 * SAMPLE_RATE_HZ, abs=3)


def test_jitter_of_timestamps_is_no_hole() -> None:
    starts = [t + (0.02 if i % 2 else 0.0) for i, t in enumerate(STEPS_S)]
    _, samples = sound_of(play(SoundTrack(FakeStream(), 0.0), sound_frames(tone(1.0), starts)))
    assert len(samples) == SAMPLE_RATE_HZ
    wanted = tone(1.0, rate_hz=SAMPLE_RATE_HZ)
    assert np.abs(samples - wanted)[100:-100].max() < 0.01


@pytest.mark.parametrize("jump_s", [5000.0, -40.0, 1e9])
def test_an_absurd_jump_is_damage_and_sound_goes_on(jump_s: float) -> None:
    starts = [100 + t if t < 0.5 else 100 + t + jump_s for t in STEPS_S]
    events = play(SoundTrack(FakeStream(), 0.0), sound_frames(tone(1.0), starts), other_s=100.0)
    start_s, samples = sound_of(events)
    assert start_s == pytest.approx(100)
    assert len(samples) == SAMPLE_RATE_HZ
    (damage,) = damage_of(events)
    assert damage.time_s == pytest.approx(100.5, abs=0.001)


def test_a_long_hole_is_kept_where_the_picture_went_on() -> None:
    starts = [t if t < 0.5 else t + 700 for t in STEPS_S]
    track = SoundTrack(FakeStream(), 0.0)
    events = play(track, sound_frames(tone(1.0), starts), other_s=701.0)
    assert track.position_s == pytest.approx(701.0)
    assert not damage_of(events)
    assert sum(len(e.samples) for e in events) == pytest.approx(701 * SAMPLE_RATE_HZ, abs=3)


def test_sound_before_zero_is_not_presented() -> None:
    starts = [t - 0.05 for t in STEPS_S]
    start_s, samples = sound_of(
        play(SoundTrack(FakeStream(), 0.0), sound_frames(tone(1.0), starts))
    )
    assert start_s == 0.0
    assert len(samples) == pytest.approx(0.95 * SAMPLE_RATE_HZ, abs=3)


def test_the_format_of_the_sound_may_change() -> None:
    first = sound_frames(tone(1.0), STEPS_S)
    second = sound_frames(
        tone(1.0, rate_hz=44_100), [1 + t for t in STEPS_S], rate_hz=44_100, layout="stereo"
    )
    events = play(SoundTrack(FakeStream(), 0.0), first + second)
    _, samples = sound_of(events)
    assert len(samples) == pytest.approx(2 * SAMPLE_RATE_HZ, abs=40)
    assert not damage_of(events)


def test_no_sample_is_infinite() -> None:
    bad = tone(1.0)
    bad[1000:1010], bad[2000:2010] = np.nan, np.inf
    _, samples = sound_of(play(SoundTrack(FakeStream(), 0.0), sound_frames(bad, STEPS_S)))
    assert np.isfinite(samples).all()


def test_failures_are_reported_once_for_each_run_and_not_for_ever() -> None:
    good = sound_frames(tone(1.0), STEPS_S)
    events = play(SoundTrack(FakeStream(), 0.0), [*good[:3], None, None, None, *good[3:], None])
    assert [d.time_s for d in damage_of(events)] == pytest.approx([0.3, 1.0])
    many = sound_frames(tone(10.0), [i / 10 for i in range(100)])
    mixed = [item for frame in many for item in (frame, None)]
    events = play(SoundTrack(FakeStream(), 0.0), mixed)
    assert len(damage_of(events)) == MAX_DAMAGE_EVENTS


# --- the order of the pictures ------------------------------------------------------------------


def pictures(times_ms: list[int | None]) -> list[av.VideoFrame]:
    frames = []
    for time_ms in times_ms:
        frame = av.VideoFrame(16, 16, "gray")
        frame.pts, frame.time_base = time_ms, MS
        frames.append(frame)
    return frames


def times_of(times_ms: list[int | None]) -> list[int]:
    track = PictureTrack(FakeStream(), "mov", 0.0, 1000.0)
    return [round(f.time_s * 1000) for f in frames_of(play(track, pictures(times_ms)))]


def test_frames_out_of_order_are_sorted_and_late_ones_dropped() -> None:
    assert times_of([0, 120, 40, 80, 160, 160, 200]) == [0, 40, 80, 120, 160, 200]
    assert times_of([0, 40, 80, 120, 160, 200, 240, 20, 280]) == [
        0,
        40,
        80,
        120,
        160,
        200,
        240,
        280,
    ]


def test_frames_without_a_time_follow_at_the_mean_rate() -> None:
    assert times_of([0, None, None, 120]) == [0, 40, 80, 120]


def test_a_restarted_clock_of_the_picture_goes_on() -> None:
    times_ms: list[int | None] = [60_000, 60_040, 60_080, 0, 40, 80]
    track = PictureTrack(FakeStream(), "mov", 0.0, 1000.0)
    events = play(track, pictures(times_ms))
    assert [round(f.time_s * 1000) for f in frames_of(events)] == list(range(60_000, 60_240, 40))
    assert [d.reason for d in damage_of(events)] == ["the clock of the picture jumps"]


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=30))
def test_any_times_come_out_increasing(times_ms: list[int]) -> None:
    out = times_of(list(times_ms))
    assert out == sorted(set(out))
    assert set(out) <= set(times_ms)


# --- refusals -----------------------------------------------------------------------------------


def refusal(path: Path) -> str:
    with pytest.raises(MediaError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert _media_open.shown(path) in message
    assert "Errno" not in message
    assert caught.value.exit_code == 3
    return message


def test_missing_folder_and_empty(tmp_path: Path) -> None:
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
    monkeypatch.setattr(_media_open, "MAX_FRAME_PIXELS", 64 * 32 - 1)
    assert "too large" in refusal(path)


@pytest.mark.parametrize("rate_hz", [0.0, -3.0, math.nan])
def test_analysis_rate_must_be_positive(rate_hz: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rate"):
        MediaReader(tmp_path / "any.mp4", analysis_rate_hz=rate_hz)


# --- reading ahead ------------------------------------------------------------------------------


def helper_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "avsent-prefetch"]


@given(st.lists(st.integers(), max_size=100), st.integers(1, 30))
def test_prefetch_changes_nothing(items: list[int], size: int) -> None:
    assert list(prefetch(items, size)) == items
    assert not helper_threads()


def test_prefetch_raises_what_the_source_raised_after_its_events() -> None:
    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise MediaError("broken")

    events = prefetch(source())
    got = [next(events), next(events)]
    with pytest.raises(MediaError, match="broken"):
        next(events)
    assert got == [1, 2]
    assert not helper_threads()


def test_prefetch_stops_with_its_consumer_and_closes_the_source() -> None:
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            closed.set()

    events = prefetch(source(), 3)
    assert next(events) == 0
    assert helper_threads()
    events.close()
    assert closed.is_set()
    assert not helper_threads()

    def interrupted() -> None:
        for _ in prefetch(source(), 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not helper_threads()


def test_prefetch_is_bounded() -> None:
    produced = []

    def source() -> Iterator[int]:
        for number in range(1000):
            produced.append(number)
            yield number

    events = prefetch(source(), 4)
    for expected in range(20):
        assert next(events) == expected
        assert len(produced) <= expected + 7
    events.close()


def test_prefetch_needs_room() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        prefetch([1], 0)


def test_prefetch_over_a_reader(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", list(range(0, 2000, 40)))
    with MediaReader(path) as reader:
        times = [e.time_s for e in prefetch(reader) if isinstance(e, Frame)]
    assert len(times) == 20
    assert reader.position_s == pytest.approx(1.96)
    assert reader.end_s == pytest.approx(2.0)
