"""Which track is read, and how long a file is."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from media_files import RATE_HZ, LevelDetector, damage_of, frames_of, read, sound_of, tone

from avsent.errors import MediaError
from avsent.extraction.extractor import Extraction, FeatureConfig
from avsent.extraction.media.events import SAMPLE_RATE_HZ
from avsent.extraction.media.reader import MediaReader
from avsent.options import PredictOptions

SPEECH, QUIET = 0.9, 0.05  # for LevelDetector


def write_tracks(
    path: Path,
    levels: Sequence[float],
    *,
    about: Sequence[dict[str, str]] = (),
    default: int | None = None,
    bit_rates: Sequence[int] = (),
    pictures: int = 0,
    seconds: float = 3.0,
    shift_s: float = 0.0,
    options: dict[str, str] | None = None,
) -> Path:
    """Sound tracks of these levels; ``default``: the only one that is flagged so, from 1 on."""
    with av.open(str(path), "w", options=options or {}) as out:
        videos: list[Any] = [out.add_stream("mpeg4", rate=25) for _ in range(pictures)]
        sounds: list[Any] = [out.add_stream("aac", rate=RATE_HZ, layout="mono") for _ in levels]
        for number, video in enumerate(videos, 1):
            video.width, video.height, video.pix_fmt = 32 * number, 32, "yuv420p"
            video.gop_size = 12
        for number, stream in enumerate(sounds, 1):
            stream.disposition = Disposition.default if default in (None, number) else 0
            stream.metadata.update(dict(zip(range(1, 9), about, strict=False)).get(number, {}))
            stream.bit_rate = bit_rates[number - 1] if bit_rates else 64_000
        for part in range(round(seconds * 25)):
            for video in videos:
                picture = np.full((32, video.width, 3), 40 + part % 9, np.uint8)
                frame: Any = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = part + round(shift_s * 25), Fraction(1, 25)
                out.mux(video.encode(frame))
            for level, stream in zip(levels, sounds, strict=True):
                samples = 2 * level * tone(1.0)[part % 25 * 1920 :][:1920]
                frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
                frame.rate, frame.pts = RATE_HZ, part * 1920 + round(shift_s * RATE_HZ)
                out.mux(stream.encode(frame))
        for stream in [*videos, *sounds]:
            out.mux(stream.encode(None))
    return path


class NamedDetector(LevelDetector):
    name = "silero"  # so that there is no warning


def extracted(path: Path, **options: Any) -> tuple[int, Extraction]:
    """Number of utterances, and the extraction that found them."""
    extraction = Extraction(
        path, FeatureConfig(), PredictOptions(**options), detector=NamedDetector()
    )
    return len(list(extraction)), extraction


def level(path: Path, **asked: list[int]) -> float:
    _, events = read(path, asked=asked)
    return float(np.sqrt(2 * np.square(sound_of(events)[1]).mean()))


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.ts", "a.m4a"])
def test_the_first_default_track_and_not_the_highest_bit_rate(name: str, tmp_path: Path) -> None:
    path = write_tracks(tmp_path / name, [SPEECH, QUIET], bit_rates=[48_000, 256_000])
    count, extraction = extracted(path)
    assert (count, extraction.media_tracks) == (1, {"audio": (1,)})
    assert extraction.warnings == [
        *(["no face found: judged by the voice alone"] if extraction.tracks else []),
        "2 sound tracks: judged by 1, not by 2; choose with --audio-track",
    ]


def test_another_track_if_only_that_has_speech(tmp_path: Path) -> None:
    about = [
        {"title": "System", "language": "eng"},
        {"title": "Desk\nmic"},
        {"language": "deu"},
    ]
    path = write_tracks(tmp_path / "a.mkv", [QUIET, QUIET, SPEECH], about=about, default=2)
    count, extraction = extracted(path)
    assert (count, extraction.media_tracks) == (1, {"audio": (3,)})
    assert extraction.warnings == [
        "no speech in sound track 2 (“Desk\\nmic”): judged by 3 (“deu”), not by "
        "1 (“System”, “eng”), 2 (“Desk\\nmic”); choose with --audio-track"
    ]
    given, extraction = extracted(path, audio_track=1)
    assert (given, extraction.media_tracks) == (0, {"audio": (1,)})
    assert extraction.warnings == ["neither a face nor speech found: no utterances"]


def test_given_utterances_and_training_read_the_same_track(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.mp4", [QUIET, SPEECH])
    (tmp_path / "u.csv").write_text("start_s,end_s\n0.5,2\n")
    _, extraction = extracted(path, utterances=tmp_path / "u.csv")
    assert extraction.media_tracks == {"audio": (2,)}
    silent = write_tracks(tmp_path / "b.mp4", [QUIET, QUIET / 2])
    assert extracted(silent)[1].media_tracks == {"audio": (1,)}


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_all_tracks_are_mixed(name: str, tmp_path: Path) -> None:
    path = write_tracks(tmp_path / name, [0.2, 0.1, 0.4])
    assert level(path) == pytest.approx(0.2, abs=0.02)
    assert level(path, audio=[3]) == pytest.approx(0.4, abs=0.03)
    assert level(path, audio=[1, 3]) == pytest.approx(0.6 / 2, abs=0.02)
    assert level(path, audio=[]) == pytest.approx(0.7 / 3, abs=0.02)
    opposite = write_tracks(tmp_path / f"opposite{path.suffix}", [0.3, -0.3])
    assert level(opposite, audio=[]) == pytest.approx(0.3, abs=0.03)
    _, extraction = extracted(path, audio_track="all")
    assert extraction.media_tracks == {"audio": (1, 2, 3)}
    with MediaReader(path, asked={"audio": []}) as reader:
        start_s, samples = sound_of(list(reader))
        assert (start_s, samples.size / SAMPLE_RATE_HZ) == pytest.approx((0.0, 3.0), abs=0.05)
        assert reader.duration_s == pytest.approx(3.0, abs=0.05)


def test_picture_tracks_and_numbers_that_do_not_exist(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.mkv", [SPEECH], pictures=2)
    assert frames_of(read(path)[1])[0].gray.shape == (32, 32)
    assert frames_of(read(path, asked={"video": [2]})[1])[0].gray.shape == (32, 64)
    _, extraction = extracted(path)
    assert "2 picture tracks: judged by 1, not by 2; choose with --video-track" in (
        extraction.warnings
    )
    with pytest.raises(MediaError, match="has 1 sound track: there is no sound track 2; choose"):
        MediaReader(path, asked={"audio": [2]})
    alone = write_tracks(tmp_path / "a.m4a", [SPEECH])
    with pytest.raises(MediaError, match="has no picture track: there is no picture track"):
        MediaReader(alone, asked={"video": [1]})
    assert extracted(alone)[1].media_tracks == {}


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mp3"])
def test_cover_art_is_no_picture_track(name: str, tmp_path: Path) -> None:
    cover = cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
    with av.open(str(tmp_path / name), "w") as out:
        sound: Any = out.add_stream("mp3" if name == "a.mp3" else "aac", rate=RATE_HZ)
        art: Any = None
        if name == "a.mkv":
            out.add_attachment("cover.png", "image/png", cover)
        else:
            art = out.add_stream("png", rate=1)
            art.width, art.height, art.pix_fmt = 64, 64, "rgb24"
            art.disposition = Disposition.attached_pic
            packet = av.Packet(cover)
            packet.stream, packet.pts, packet.dts = art, 0, 0
            out.mux(packet)
        samples = np.repeat(tone(2.0)[None], 2, axis=0)
        for begin in range(0, samples.shape[1] - 1152, 1152):
            part = np.ascontiguousarray(samples[:, begin : begin + 1152])
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
            frame.rate, frame.pts = RATE_HZ, begin
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    with av.open(str(tmp_path / name)) as made:
        assert [s.disposition & Disposition.attached_pic for s in made.streams.video]
    reader, events = read(tmp_path / name)
    assert reader.media.video is None
    assert not frames_of(events)


# --- Length --------------------------------------------------------------------------------------


def lengths(path: Path) -> tuple[float, float | None, list[str]]:
    """Length as read, as found without decoding, and the damage."""
    reader, events = read(path, analysis_rate_hz=2.0)
    with MediaReader(path) as again:
        return reader.duration_s, again.length_s(), [d.reason for d in damage_of(events)]


def quiet_then_loud(path: Path, codec: str, *, quiet_first: bool, **options: str) -> Path:
    """Sound whose bit rate changes: 4 s of silence and 4 s of noise."""
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 4 * RATE_HZ).astype(np.float32)
    parts = [np.zeros_like(noise), noise]
    with av.open(str(path), "w", options=options) as out:
        stream: Any = out.add_stream(codec, rate=RATE_HZ, layout="mono")
        if codec == "mp3":
            stream.codec_context.qscale, stream.codec_context.global_quality = True, 118 * 2
        for begin, part in enumerate(
            np.split(np.concatenate(parts[:: 1 if quiet_first else -1]), 250)
        ):
            frame = av.AudioFrame.from_ndarray(part[None], format="fltp", layout="mono")
            frame.rate, frame.pts = RATE_HZ, begin * part.size
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("quiet_first", [True, False])
@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.aac", "aac", {}),
        ("a.mp3", "mp3", {"write_xing": "0"}),
        ("cut.mp3", "mp3", {}),
        ("a.mka", "mp3", {"live": "1"}),
    ],
)
def test_a_guessed_duration_is_not_believed(
    name: str, codec: str, options: dict[str, str], quiet_first: bool, tmp_path: Path
) -> None:
    path = quiet_then_loud(tmp_path / name, codec, quiet_first=quiet_first, **options)
    if name == "cut.mp3":  # without its header
        path.write_bytes(path.read_bytes()[1000:])
    with MediaReader(path) as reader:
        assert reader.media.duration_s is None
    read_s, length_s, damage = lengths(path)
    assert (read_s, length_s) == pytest.approx((8.0, 8.0), abs=0.25)
    assert not [reason for reason in damage if "breaks off" in reason]


def test_the_header_of_an_mp3_is_believed(tmp_path: Path) -> None:
    path = quiet_then_loud(tmp_path / "a.mp3", "mp3", quiet_first=True)
    with MediaReader(path) as reader:
        assert reader.media.duration_s == pytest.approx(8.0, abs=0.1)


@pytest.mark.parametrize("factor", [0.3, 10.0])
@pytest.mark.parametrize("name", ["a.mkv", "a.flv", "a.mp4"])
def test_a_wrong_header_does_not_count(name: str, factor: float, tmp_path: Path) -> None:
    path = write_tracks(tmp_path / name, [SPEECH], pictures=name != "a.flv")
    data = bytearray(path.read_bytes())
    if name == "a.mp4":
        places = [(data.find(box) + at, ">I") for box, at in ((b"mvhd", 20), (b"mdhd", 20))]
        places.append((data.rfind(b"mdhd") + 20, ">I"))
    else:
        key = b"\x44\x89\x88" if name == "a.mkv" else b"duration\0"
        places = [(data.find(key) + len(key), ">d")]
    for place, form in places:
        (stated,) = struct.unpack_from(form, data, place)
        struct.pack_into(form, data, place, type(stated)(stated * factor))
    path.write_bytes(data)
    read_s, length_s, _ = lengths(path)
    assert (read_s, length_s) == pytest.approx((3.0, 3.0), abs=0.1)


def boxes(data: bytes) -> list[tuple[bytes, int]]:
    found, at = [], 0
    while at < len(data):
        found.append((data[at + 4 : at + 8], at))
        at += struct.unpack_from(">I", data, at)[0]
    return found


@pytest.mark.parametrize("flags", ["empty_moov+default_base_moof", "cmaf", "dash+delay_moov"])
def test_fragments_count_from_their_first_picture(flags: str, tmp_path: Path) -> None:
    options = {"movflags": f"frag_keyframe+{flags}"}
    path = write_tracks(tmp_path / "a.mp4", [SPEECH], pictures=1, options=options)
    data = path.read_bytes()
    moofs = [at for name, at in boxes(data) if name == b"moof"]
    end = next((at for name, at in boxes(data) if name == b"mfra"), len(data))
    middle = moofs[len(moofs) * 2 // 3]
    path.write_bytes(data[: moofs[0]] + data[middle:end])
    with av.open(str(path)) as piece:
        starts_s = [float(s.start_time * s.time_base) for s in piece.streams]
    assert min(starts_s) > 0.5
    left_s = 3.0 - min(starts_s)
    read_s, length_s, damage = lengths(path)
    assert (read_s, length_s) == pytest.approx((left_s, left_s), abs=0.1)
    assert not damage
    late = write_tracks(
        tmp_path / "late.mp4",
        [SPEECH],
        pictures=1,
        shift_s=1000,
        options={"movflags": "dash+frag_keyframe+delay_moov"},
    )
    reader, events = read(late)
    assert frames_of(events)[0].time_s == pytest.approx(0.0, abs=0.1)
    assert reader.duration_s == pytest.approx(3.0, abs=0.1)
    assert not damage_of(events)  # the end is not counted twice


@pytest.mark.parametrize("name", ["a.ts", "a.mkv", "a.flv"])
def test_a_piece_of_a_live_stream_counts_from_its_start(name: str, tmp_path: Path) -> None:
    pictures = int(name != "a.flv")
    path = write_tracks(tmp_path / name, [SPEECH], pictures=pictures, shift_s=90)
    length = 3.0
    if name == "a.ts":
        data = path.read_bytes()
        path.write_bytes(data[len(data) // 3 + 50 : len(data) * 9 // 10])
        length = 1.7
    read_s, length_s, damage = lengths(path)
    assert (read_s, length_s) == pytest.approx((length, length), abs=0.3)
    assert not [reason for reason in damage if "breaks off" in reason]


def test_an_edit_that_starts_late_keeps_its_time(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "a.mov", [SPEECH], pictures=1, shift_s=9)
    assert frames_of(read(path)[1])[0].time_s == pytest.approx(9.0, abs=0.1)
    read_s, length_s, _ = lengths(path)
    assert (read_s, length_s) == pytest.approx((12.0, 12.0), abs=0.1)


def test_a_cut_file_ends_where_it_breaks_off(tmp_path: Path) -> None:
    path = write_tracks(
        tmp_path / "a.mp4", [SPEECH], pictures=1, seconds=6.0, options={"movflags": "faststart"}
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    read_s, _, damage = lengths(path)
    assert 2.0 < read_s < 4.0
    assert [reason for reason in damage if "breaks off" in reason]


def test_options_as_the_command_line_gives_them() -> None:
    assert PredictOptions().asked_tracks == {}
    asked = PredictOptions(audio_track="all", video_track=2).asked_tracks
    assert asked == {"audio": [], "video": [2]}
    assert PredictOptions(audio_track="3").asked_tracks == {"audio": [3]}
