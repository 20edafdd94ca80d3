"""Media files that lie: refused in one line, or read without the lie; see also ``make fuzz``."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from fuzzing.crafted import bomb_png, bomb_video
from making_media import FakeStream, play, sound_frames, write_video
from reading_media import read

from avsent import media
from avsent._media_frames import PictureTrack
from avsent._media_sound import SoundTrack
from avsent._media_types import (
    MAX_FRAME_PIXELS,
    MAX_SILENCE_S,
    SAMPLE_RATE_HZ,
    Damage,
    Frame,
    Sound,
)
from avsent.errors import MediaError
from avsent.media import MediaReader, prefetch


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


def test_a_bomb_that_tells_its_size(bomb: Path, tmp_path: Path) -> None:
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


def test_a_clock_that_begins_in_another_century() -> None:
    frames = sound_frames(np.ones(4800, np.float32) / 2, [1e9, 1e9 + 0.05])
    sound = [e for e in play(SoundTrack(FakeStream(), 0.0), frames) if isinstance(e, Sound)]
    assert (sound[0].start_s, sum(e.samples.size for e in sound)) == (0.0, 1600)
    pictures = []
    for number in range(12):
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32), np.uint8), format="gray")
        picture.pts, picture.time_base = 10**15 + 100 * number, Fraction(1, 1000)
        pictures.append(picture)
    events = play(PictureTrack(FakeStream(), "fake", 0.0, 10.0), pictures)
    assert [e.time_s for e in events if isinstance(e, Frame)] == pytest.approx(
        [n / 10 for n in range(12)],
        abs=1e-3,
    )
    assert any(isinstance(e, Damage) and "impossible time" in e.reason for e in events)


def test_no_more_silence_than_can_be_believed() -> None:
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
        assert reader.info.duration_s is None or reader.info.duration_s < 3600


def test_pictures_that_wait_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = Frame(0.0, np.zeros((100, 100), np.uint8))
    monkeypatch.setattr(media, "_MAX_WAITING_BYTES", 3 * frame.gray.nbytes)
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
