"""Media reader on made files: times, order and sampling of pictures, continuous sound, prefetch."""

from __future__ import annotations

import itertools
import math
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_files import (
    MS,
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
from avsent.extraction.media.audio import SoundTrack
from avsent.extraction.media.events import SAMPLE_RATE_HZ, Frame, JoinedPieces
from avsent.extraction.media.reader import MediaReader, prefetch
from avsent.extraction.media.video import FrameSampler, PictureTrack


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
    assert reader.media.video is None
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
    assert reader.media.video is None
    assert not frames_of(events)
    assert not damage_of(events)


def test_a_reader_reads_once(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", [0, 40])
    with MediaReader(path) as reader:
        list(reader)
        with pytest.raises(RuntimeError, match="once"):
            iter(reader)
        with pytest.raises(RuntimeError, match="once"):
            reader.in_colour()
    reader.close()


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


# --- the order of the pictures ------------------------------------------------------------------


def pictures(times_ms: list[int | None]) -> list[av.VideoFrame]:
    frames = []
    for time_ms in times_ms:
        frame = av.VideoFrame(16, 16, "gray")
        frame.pts, frame.time_base = time_ms, MS
        frames.append(frame)
    return frames


def times_of(times_ms: list[int | None]) -> list[int]:
    track = PictureTrack(FakeStream(), "mov", 0.0, FrameSampler(1000.0))
    return [round(f.time_s * 1000) for f in frames_of(play(track, pictures(times_ms)))]


def test_frames_out_of_order_are_sorted_and_late_ones_dropped() -> None:
    assert times_of([0, 120, 40, 80, 160, 160, 200]) == [0, 40, 80, 120, 160, 200]
    assert times_of([0, 40, 80, 120, 160, 200, 240, 20, 280]) == list(range(0, 281, 40))


def test_frames_without_a_time_follow_at_the_mean_rate() -> None:
    assert times_of([0, None, None, 120]) == [0, 40, 80, 120]


def test_a_restarted_clock_of_the_picture_is_continued() -> None:
    times_ms: list[int | None] = [60_000, 60_040, 60_080, 0, 40, 80]
    track = PictureTrack(FakeStream(), "mov", 0.0, FrameSampler(1000.0))
    events = play(track, pictures(times_ms))
    assert [round(f.time_s * 1000) for f in frames_of(events)] == list(range(60_000, 60_240, 40))
    assert [d.reason for d in damage_of(events)] == ["the clock of the picture jumps"]


@pytest.mark.parametrize(
    ("name", "codec", "count"),
    # FFmpeg reads at most two pieces of Matroska.
    [("a.ogg", "libopus", 3), ("a.flac", "flac", 3), ("a.mka", "libopus", 2)],
)
def test_joined_pieces_of_sound_follow_each_other(
    name: str, codec: str, count: int, tmp_path: Path
) -> None:
    piece = write_sound(tmp_path / name, tone(2.0, 0.5), codec)
    path = tmp_path / f"joined{piece.suffix}"
    path.write_bytes(piece.read_bytes() * count)
    reader, events = read(path)
    _, samples = sound_of(events)
    assert reader.duration_s == pytest.approx(2 * count, abs=0.1)
    (rises,) = np.nonzero(
        np.diff(
            (np.abs(samples[: samples.size // 160 * 160].reshape(-1, 160)).max(axis=1) > 0.2) * 1
        )
        == 1
    )
    np.testing.assert_allclose(np.diff(rises) / 100, 2.0, atol=0.2)
    reasons = [damage.reason for damage in damage_of(events)]
    assert len(reasons) == len(rises) - 1 == count - 1
    assert all("starts again, as in joined files" in reason for reason in reasons)


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "mpeg4"), ("a.ts", "libx264")])
def test_joined_pieces_of_pictures_follow_each_other(name: str, codec: str, tmp_path: Path) -> None:
    piece = write_video(tmp_path / name, list(range(0, 2000, 40)), codec)
    path = tmp_path / f"joined{piece.suffix}"
    path.write_bytes(piece.read_bytes() * 2)
    reader, events = read(path)
    times_s = [frame.time_s for frame in frames_of(events)]
    assert len(times_s) == pytest.approx(40, abs=2)
    assert max(np.diff(times_s)) < 0.25
    assert reader.duration_s == pytest.approx(4.0, abs=0.15)
    with MediaReader(path) as again:
        assert again.length_s() == pytest.approx(4.0, abs=0.15)


def test_joined_pieces_that_ffmpeg_does_not_give_are_told_of(tmp_path: Path) -> None:
    piece = write_video(tmp_path / "a.mkv", list(range(0, 2000, 40)), "mpeg4")
    assert damage_of(read(piece)[1]) == []
    path = tmp_path / "joined.mkv"
    path.write_bytes(piece.read_bytes() * 4)
    _, events = read(path)
    last = damage_of(events)[-1].reason
    assert last == "the last 52% of the file is not read, as in joined files; join them with FFmpeg"


def test_late_packets_and_single_wrong_times_begin_no_piece() -> None:
    pieces, moved = JoinedPieces(), []
    for stream, time_ms in [
        *(("picture", 0), ("sound", 0), ("picture", 5000), ("sound", 5000), ("picture", 0)),
        *(("sound", 5500), ("sound", 40), ("picture", 1000), ("sound", 1000)),
    ]:
        packet = SimpleNamespace(
            stream=stream, dts=time_ms, pts=time_ms, time_base=MS, is_discard=False
        )
        begins = pieces.move(packet, 6.0)
        moved.append((packet.dts, packet.pts, begins))
    times_ms = [0, 0, 5000, 5000, 6000, 5500, 6040, 7000, 7000]
    assert moved == [(t, t, number == 4) for number, t in enumerate(times_ms)]
    pieces, moved = JoinedPieces(), []
    for time_ms in [4000, 4500, 200, 5000, 5500]:
        packet = SimpleNamespace(stream=0, dts=time_ms, pts=None, time_base=MS, is_discard=False)
        pieces.move(packet, 5.0)
        moved.append(packet.dts)
    assert moved == [4000, 4500, 5000, 5000, 5500]


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0xFFFFFFFF])
def test_a_wav_of_unstated_length_is_not_damaged(size: int, tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(1.0), "pcm_s16le")
    data = path.read_bytes()
    at = data.index(b"data") + 4
    path.write_bytes(data[:at] + struct.pack("<I", size) + data[at + 4 :])
    reader, events = read(path)
    assert not damage_of(events)
    assert reader.duration_s == pytest.approx(1.0, abs=0.01)
    path.write_bytes(data[:-20_000])
    _, events = read(path)
    assert [damage.reason for damage in damage_of(events)] == ["bytes of the sound are missing"]


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=30))
def test_any_times_come_out_increasing(times_ms: list[int]) -> None:
    out = times_of(list(times_ms))
    assert out == sorted(set(out))
    assert set(out) <= set(times_ms)


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


def test_overlapping_sound_is_cut() -> None:
    starts = [t if t < 0.5 else t - 0.2 for t in STEPS_S]
    _, samples = sound_of(play(SoundTrack(FakeStream(), 0.0), sound_frames(tone(1.0), starts)))
    assert len(samples) == pytest.approx(0.8 * SAMPLE_RATE_HZ, abs=3)


def test_jitter_of_timestamps_changes_nothing() -> None:
    starts = [t + (0.02 if i % 2 else 0.0) for i, t in enumerate(STEPS_S)]
    _, samples = sound_of(play(SoundTrack(FakeStream(), 0.0), sound_frames(tone(1.0), starts)))
    assert len(samples) == SAMPLE_RATE_HZ
    wanted = tone(1.0, rate_hz=SAMPLE_RATE_HZ)
    assert np.abs(samples - wanted)[100:-100].max() < 0.01


@pytest.mark.parametrize("jump_s", [5000.0, -40.0, 1e9])
def test_an_absurd_jump_of_the_sound_is_damage_and_is_removed(jump_s: float) -> None:
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


def test_nan_and_infinity_become_zero() -> None:
    bad = tone(1.0)
    bad[1000:1010], bad[2000:2010] = np.nan, np.inf
    _, samples = sound_of(play(SoundTrack(FakeStream(), 0.0), sound_frames(bad, STEPS_S)))
    assert np.isfinite(samples).all()


def test_failures_are_reported_once_per_run() -> None:
    good = sound_frames(tone(1.0), STEPS_S)
    events = play(SoundTrack(FakeStream(), 0.0), [*good[:3], None, None, None, *good[3:], None])
    assert [d.time_s for d in damage_of(events)] == pytest.approx([0.3, 1.0])
    many = sound_frames(tone(10.0), [i / 10 for i in range(100)])
    mixed = [item for frame in many for item in (frame, None)]
    events = play(SoundTrack(FakeStream(), 0.0), mixed)
    assert len(damage_of(events)) == 100


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


def test_prefetch_refuses_a_size_below_1() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        prefetch([1], 0)


def test_prefetch_over_a_reader(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", list(range(0, 2000, 40)))
    with MediaReader(path) as reader:
        times = [e.time_s for e in prefetch(reader) if isinstance(e, Frame)]
    assert len(times) == 20
    assert reader.position_s == pytest.approx(1.96)
    assert reader.end_s == pytest.approx(2.0)
