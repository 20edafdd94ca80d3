"""The annotated video: times, sound, sizes, damage, what is drawn where, and errors."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import SAMPLE, run_avsent
from processes import python
from written_views import analysed, onset_s, pictures, result_with, sound_packets, times, write_clip

from avsent.errors import InputError, MediaError, OutputError, UsageError
from avsent.extraction.faces.geometry import Sighting
from avsent.progress import Progress
from avsent.views.annotate.drawing import Style
from avsent.views.annotate.video import annotate

ENDINGS = (".mp4", ".mkv")


def face(track: int, box: tuple[int, int, int, int], until_s: float = 9.0) -> list[Sighting]:
    """A face that stays where it is."""
    edges = tuple(map(float, box))
    assert len(edges) == 4
    return [Sighting(track, n / 10, edges) for n in range(int(until_s * 10) + 1)]


ONE = result_with((0.2, 5.0, 1, "positive"))


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    "name", ["talk_vfr.mp4", "no_audio_face.mp4", "old_film_two_faces.mp4", "failing_audio.mp4"]
)
def test_every_picture_keeps_its_time(clips: Path, tmp_path: Path, name: str, ending: str) -> None:
    target = tmp_path / f"out{ending}"
    annotate(clips / name, target, ONE, face(1, (100, 60, 200, 180)))
    expected, found = times(clips / name), times(target)
    assert len(found) == len(expected) > 50
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) < 0.001
    assert os.listdir(tmp_path) == [target.name]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", ["talk_vfr.mp4", "talk_700.mp4", "face_leaves_hevc_vfr.mov"])
def test_the_sound_is_the_same(clips: Path, tmp_path: Path, name: str, ending: str) -> None:
    target = tmp_path / f"out{ending}"
    annotate(clips / name, target, ONE, [])
    before, after = sound_packets(clips / name), sound_packets(target)
    assert [data for _, data in after] == [data for _, data in before]
    shifts = [a - b for (a, _), (b, _) in zip(after, before, strict=True)]
    assert max(map(abs, shifts)) < 0.001


def test_damaged_sound_is_left_out(clips: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    annotate(clips / "failing_audio.mp4", target, ONE, [])
    whole = {data for _, data in sound_packets(clips / "failing_audio.mp4")}
    kept = [data for _, data in sound_packets(target)]
    assert len(kept) > 0.9 * len(whole)
    assert set(kept) <= whole


def test_no_sound_gives_none(clips: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    annotate(clips / "no_audio_cinepak.avi", target, ONE, [])
    with av.open(str(target)) as media:
        assert not media.streams.audio
        assert media.streams.video[0].codec_context.name == "h264"


@pytest.mark.parametrize("onset", [0.3, 1.1])
def test_sound_that_mp4_does_not_take_is_encoded_in_time(tmp_path: Path, onset: float) -> None:
    source = write_clip(tmp_path / "in.mkv", range(0, 2000, 40), sound="pcm_s16le", onset_s=onset)
    target = tmp_path / "out.mp4"
    annotate(source, target, ONE, [])
    with av.open(str(target)) as media:
        assert media.streams.audio[0].codec_context.name == "aac"
        assert media.streams.audio[0].codec_context.sample_rate == 48_000
    assert onset_s(source) == pytest.approx(onset, abs=0.002)
    assert onset_s(target) == pytest.approx(onset, abs=0.02)
    kept = tmp_path / "out.mkv"
    annotate(source, kept, ONE, [])
    assert b"".join(d for _, d in sound_packets(kept)) == b"".join(
        d for _, d in sound_packets(source)
    )


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("codec", ["flac", "ac3", "alac", "libmp3lame", "libopus", "mp2"])
def test_every_common_sound_codec_is_kept(tmp_path: Path, codec: str, ending: str) -> None:
    source = write_clip(tmp_path / "in.mkv", range(0, 1600, 40), sound=codec)
    target = tmp_path / f"out{ending}"
    annotate(source, target, ONE, [])
    assert onset_s(target) == pytest.approx(onset_s(source), abs=0.03)
    with av.open(str(source)) as before, av.open(str(target)) as after:
        names = [m.streams.audio[0].codec_context.name for m in (before, after)]
    expected = "aac" if ending == ".mp4" and codec == "mp2" else names[0]
    assert names[1] == expected


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_clock_that_begins_anywhere_is_set_to_zero(tmp_path: Path, ending: str) -> None:
    source = write_clip(
        tmp_path / "in.ts",
        range(0, 2000, 40),
        sound="aac",
        onset_s=0.7,
        picture="libx264",
        clock_s=5.0,
    )
    raw = times(source)
    assert raw[0] >= 5
    target = tmp_path / f"out{ending}"
    annotate(source, target, ONE, [])
    assert len(times(target)) == 50
    with av.open(str(source)) as media:
        assert media.start_time is not None
        start_s = media.start_time / 1e6
    shifts = [before - after for before, after in zip(raw, times(target), strict=True)]
    assert shifts == pytest.approx([start_s] * 50, abs=0.001)
    assert onset_s(target) == pytest.approx(onset_s(source) - start_s, abs=0.03)


STARTS_S = [
    *((90_000.0, 0.0), (0.0, 90_000.0), (90_000.0, 90_000.5), (90_000.5, 90_000.0)),
    *((-5.0, -5.0), (-5.0, 0.0), (0.0, -5.0), (-100_000.0, 0.0), (0.0, 3.2), (3.2, 0.0)),
]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("sound", ["aac", "mp2"])
@pytest.mark.parametrize(("picture_s", "sound_s"), STARTS_S)
def test_times_are_those_of_the_result_wherever_clocks_begin(
    tmp_path: Path, picture_s: float, sound_s: float, sound: str, ending: str
) -> None:
    source = write_clip(
        tmp_path / "in.ts",
        range(0, 1200, 40),
        sound=sound,
        picture="libx264",
        clock_s=picture_s,
        sound_clock_s=sound_s,
    )
    target = tmp_path / f"out{ending}"
    annotate(source, target, result_with((0.0, 9.0, None, "negative"), duration_s=9.0), [])
    expected, loud_s = analysed(source)
    assert len(expected) == 30
    assert times(target) == pytest.approx(expected, abs=0.001)
    assert onset_s(target) == pytest.approx(loud_s, abs=0.03)
    # The utterance of that time in the result is on the picture: here, the card.
    assert all((p < 70).all(axis=2).mean() > 0.05 for time_s, p in pictures(target) if time_s < 9)
    again, again_loud_s = analysed(target)
    assert again == pytest.approx(expected, abs=0.001)
    assert again_loud_s == pytest.approx(loud_s, abs=0.03)


@pytest.mark.parametrize("source_ending", [".mp4", ".mkv"])
@pytest.mark.parametrize(("picture_s", "sound_s"), STARTS_S[:4])
def test_a_stream_that_begins_at_an_impossible_time(
    tmp_path: Path, picture_s: float, sound_s: float, source_ending: str
) -> None:
    source = write_clip(
        tmp_path / f"in{source_ending}",
        range(0, 1200, 40),
        sound="aac",
        clock_s=picture_s,
        sound_clock_s=sound_s,
    )
    annotate(source, tmp_path / "out.mp4", ONE, [])
    expected, loud_s = analysed(source)
    assert expected[0] < 1
    assert times(tmp_path / "out.mp4") == pytest.approx(expected, abs=0.001)
    assert onset_s(tmp_path / "out.mp4") == pytest.approx(loud_s, abs=0.03)


@pytest.mark.parametrize(
    ("size", "red", "blue"), [((640, 360), 0.299, 0.114), ((1280, 720), 0.2126, 0.0722)]
)
def test_colours_are_those_of_the_standards(
    tmp_path: Path, size: tuple[int, int], red: float, blue: float
) -> None:
    """BT.601 in small videos that do not say so, BT.709 in large ones."""
    source = write_clip(tmp_path / "in.mkv", range(0, 200, 40), size=size)
    result = result_with((0.0, 0.2, 1, "negative"), duration_s=0.2)
    annotate(source, tmp_path / "out.mp4", result, face(1, (0, 0, *size), 0.2))
    r, g, b = Style(*size, result.model.labels).line_colour("negative")
    luma = red * r + (1 - red - blue) * g + blue * b
    expected = (
        16 + 219 * luma / 255,
        128 + 224 * (b - luma) / (2 * (1 - blue)) / 255,
        128 + 224 * (r - luma) / (2 * (1 - red)) / 255,
    )
    with av.open(str(tmp_path / "out.mp4")) as media:
        frame = next(media.decode(video=0))
    for number, plane in enumerate(frame.planes):
        values = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        found = np.median(values[plane.height // 3 : plane.height // 2, 0])  # the box's left side
        assert found == pytest.approx(expected[number], abs=5)


def test_pictures_far_apart_and_close_together(tmp_path: Path) -> None:
    stamps = [0, 3, 40, 41, 900, 5000, 5033, 9000]
    source = write_clip(tmp_path / "in.mkv", stamps)
    annotate(source, tmp_path / "out.mp4", ONE, [])
    assert times(tmp_path / "out.mp4") == pytest.approx([ms / 1000 for ms in stamps], abs=1e-5)


@pytest.mark.parametrize(
    ("name", "turn"), [("rotated_90_3frames.mov", True), ("rotated_180_vfr_noface.mp4", False)]
)
def test_turned_videos_are_put_upright(clips: Path, tmp_path: Path, name: str, turn: bool) -> None:
    target = tmp_path / "out.mp4"
    annotate(clips / name, target, result_with(), [])
    with av.open(str(clips / name)) as before, av.open(str(target)) as after:
        frame = next(before.decode(video=0))
        new = next(after.decode(video=0))
        assert frame.rotation != 0
        assert new.rotation == 0
        size = (frame.height, frame.width) if turn else (frame.width, frame.height)
        assert (new.width, new.height) == size
        upright = np.rot90(frame.to_ndarray(format="gray"), round(frame.rotation / 90))
    drawn = new.to_ndarray(format="gray")
    middle = np.s_[: new.height // 2]  # without the strip at the bottom
    difference = np.abs(drawn[middle].astype(int) - upright[middle])
    assert difference.mean() < 6
    assert np.abs(drawn[middle].astype(int) - upright[middle][::-1, ::-1]).mean() > 12


@pytest.mark.parametrize("size", [(321, 241), (97, 131), (64, 48), (1, 1), (1921, 17)])
def test_odd_sizes_are_made_even(tmp_path: Path, size: tuple[int, int]) -> None:
    source = write_clip(tmp_path / "in.mkv", range(0, 400, 40), size=size, picture="ffv1")
    target = tmp_path / "out.mp4"
    result = result_with((0.0, 0.2, 1, "negative"), (0.0, 0.4, None, "neutral"), duration_s=0.4)
    annotate(source, target, result, face(1, (0, 0, *size), 0.4))
    with av.open(str(target)) as media:
        context = media.streams.video[0].codec_context
        assert (context.width, context.height) == tuple(side + side % 2 for side in size)
    assert len(times(target)) == 10


def test_every_decodable_picture_is_written(clips: Path, tmp_path: Path) -> None:
    source, target = clips / "corrupted_midway.mp4", tmp_path / "out.mp4"
    annotate(source, target, ONE, [])
    found = times(target)
    assert len(found) >= 28
    assert set(np.round(found, 3)) <= set(np.round(times(source), 3))


def test_the_box_is_where_the_face_was(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mkv", range(0, 3000, 40), size=(640, 480))
    moving = [
        Sighting(1, n / 10, (100.0 + 100 * n / 10, 120.0, 260.0 + 100 * n / 10, 300.0))
        for n in range(21)
    ]
    result = result_with((1.0, 2.0, 1, "negative"), duration_s=3.0)
    annotate(source, tmp_path / "out.mp4", result, moving)
    shown = dict(pictures(tmp_path / "out.mp4"))

    def at(time_s: float) -> np.ndarray:
        return shown[min(shown, key=lambda t: abs(t - time_s))].astype(int)

    style = Style(640, 480, result.model.labels)
    negative = np.array(style.line_colour("negative"))
    # At 1.48 s, linearly between the sightings at 1.4 and 1.5.
    for x, y in ((248 + 1, 200), (408 - 2, 200), (300, 120 + 1), (300, 300 - 2)):
        near = at(1.48)[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3)
        assert np.abs(near - negative).max(axis=1).min() < 60, (x, y)
    assert np.abs(at(1.48)[200, 330] - 120).max() < 12  # the face itself is free
    before = at(0.48)[200, 148:152].reshape(-1, 3)  # no utterance yet: light, not coloured
    assert before.max() > 160
    assert (before.max(axis=1) - before.min(axis=1)).max() < 40
    assert np.abs(at(2.4)[100:310, :] - 120).max() < 12  # no face any more


def test_the_card_leaves_the_face_free(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mkv", range(0, 600, 40), size=(640, 360))
    for box, free in (((200, 30, 440, 170), np.s_[40:160]), ((200, 190, 440, 340), np.s_[200:300])):
        result = result_with((0.0, 0.6, 2, "positive"), duration_s=0.6)
        annotate(source, tmp_path / "out.mp4", result, face(2, box, 0.6))
        _, picture = pictures(tmp_path / "out.mp4")[8]
        assert np.abs(picture[free, 230:410].astype(int) - 120).max() < 60
        assert (picture < 70).all(axis=2).mean() > 0.05  # but there is one


def test_colours_of_the_picture_are_kept(clips: Path, tmp_path: Path) -> None:
    source, target = clips / "acted_happy_1080p.mp4", tmp_path / "out.mp4"
    annotate(source, target, result_with(duration_s=3.04), [])
    before, after = pictures(source)[10][1], pictures(target)[10][1]
    top = np.s_[:900]
    assert np.abs(before[top].astype(int) - after[top]).mean() < 2.5
    with av.open(str(source)) as one, av.open(str(target)) as other:
        contexts = [m.streams.video[0].codec_context for m in (one, other)]
        assert contexts[0].colorspace == contexts[1].colorspace


def test_many_at_once(clips: Path, tmp_path: Path) -> None:
    spans = [(0.0, 3.0, track, "neutral") for track in range(1, 10)]
    faces = [s for n in range(1, 10) for s in face(n, (60 * n, 50, 60 * n + 50, 110), 3.0)]
    annotate(clips / "many_faces_stage.mp4", tmp_path / "out.mp4", result_with(*spans), faces)
    assert len(times(tmp_path / "out.mp4")) == len(times(clips / "many_faces_stage.mp4"))


def test_progress_goes_from_start_to_end(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mkv", range(0, 4000, 40))
    seen: list[Progress] = []
    annotate(source, tmp_path / "out.mp4", result_with(duration_s=4.0), [], seen.append)
    done = [progress.completed for progress in seen]
    assert done == sorted(done)
    assert done[0] == 0
    assert done[-1] == 4.0
    assert len(done) > 5
    assert {progress.total for progress in seen} == {4.0}


def test_names_may_be_anything(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "-in %03d 我 #?.mkv", range(0, 200, 40))
    target = tmp_path / "-out %d: 'a' 好.mp4"
    annotate(source, target, result_with(), [])
    assert len(times(target)) == 5


def test_full_range_becomes_limited(tmp_path: Path) -> None:
    source = tmp_path / "in.avi"
    with av.open(str(source), "w") as out:
        stream = out.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuvj420p"
        for _ in range(5):
            white = av.VideoFrame.from_ndarray(np.full((96, 128, 3), 255, np.uint8))
            out.mux(stream.encode(white))
        out.mux(stream.encode(None))
    annotate(source, tmp_path / "out.mp4", result_with(), [])
    with av.open(str(tmp_path / "out.mp4")) as media:
        frame = next(media.decode(video=0))
        luma = np.frombuffer(frame.planes[0], np.uint8)[: 30 * frame.planes[0].line_size]
        assert frame.format.name == "yuv420p"
    assert abs(int(np.median(luma)) - 235) <= 1


# The command, and errors


def test_predict_writes_the_annotated_video(tmp_path: Path) -> None:
    target = tmp_path / "annotated.mp4"
    done = run_avsent("predict", SAMPLE, "--format", "json", "--annotate", target)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert os.listdir(tmp_path) == [target.name]
    before, after = pictures(SAMPLE), pictures(target)
    assert [t for t, _ in before] == [t for t, _ in after]
    assert [d for _, d in sound_packets(SAMPLE)] == [d for _, d in sound_packets(target)]

    # Every utterance that has a face shows its colour in the upper half, where the face is.
    height, width = after[0][1].shape[:2]
    style = Style(width, height, result["model"]["labels"])
    faces = [u for u in result["utterances"] if u["track"] is not None]
    assert faces
    for utterance in faces:
        middle_s = (utterance["start_s"] + utterance["end_s"]) / 2
        number = min(range(len(after)), key=lambda n: abs(after[n][0] - middle_s))
        plate = np.array(style.colour(utterance["sentiment"]))
        upper = np.s_[: height * 2 // 3]
        changed = np.abs(after[number][1][upper].astype(int) - before[number][1][upper])
        alike = np.abs(after[number][1][upper].astype(int) - plate).max(axis=2) < 30
        assert (alike & (changed.max(axis=2) > 25)).sum() > 100, utterance["index"]


def test_cli_refuses_a_file_without_picture(clips: Path, tmp_path: Path) -> None:
    target = tmp_path / "annotated.mp4"
    done = run_avsent("predict", clips / "speech_only.wav", "--quiet", "--annotate", target)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "no picture to draw on; leave --annotate out" in done.stderr
    assert os.listdir(tmp_path) == []


def test_cli_refuses_an_ending_other_than_video(tmp_path: Path) -> None:
    done = run_avsent("predict", SAMPLE, "--annotate", tmp_path / "x.gif")
    assert done.returncode == 2
    assert ".mp4 or .mkv" in done.stderr


def test_a_file_without_picture_is_refused(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no picture to draw on; leave --annotate out"):
        annotate(clips / "speech_only.wav", tmp_path / "out.mp4", ONE, [])
    with pytest.raises(MediaError, match="empty"):
        annotate(clips / "empty_file.webm", tmp_path / "out.mp4", ONE, [])
    assert os.listdir(tmp_path) == []


def test_a_build_without_an_encoder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avsent.views.annotate.video._ENCODERS", {"no-such-encoder": {}})
    source = write_clip(tmp_path / "a.mp4", [0, 40, 80])
    with pytest.raises(OutputError, match=r"no encoder for H\.264; reinstall av"):
        annotate(source, tmp_path / "out.mp4", ONE, [])
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_the_source_is_not_overwritten(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", [0, 40])
    (tmp_path / "same.mp4").symlink_to(source)
    before = source.read_bytes()
    for name in ("in.mp4", "same.mp4"):
        with pytest.raises(UsageError, match="is an input"):
            annotate(source, tmp_path / name, ONE, [])
    with pytest.raises(OutputError, match="there is no folder"):
        annotate(source, tmp_path / "none" / "out.mp4", ONE, [])
    assert source.read_bytes() == before


def test_an_interrupt_leaves_nothing_and_keeps_the_old(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", range(0, 4000, 40))
    target = tmp_path / "out.mp4"
    target.write_bytes(b"older")

    def interrupt(progress: Progress) -> None:
        if progress.completed > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        annotate(source, target, ONE, [], interrupt)
    assert sorted(os.listdir(tmp_path)) == ["in.mp4", "out.mp4"]
    assert target.read_bytes() == b"older"


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on the size of files")
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("limit", [2_000, 60_000])
def test_a_full_disk_is_an_error_of_one_line(tmp_path: Path, ending: str, limit: int) -> None:
    code = f"""
import resource
from pathlib import Path
from written_views import result_with
from avsent.views.annotate.video import annotate
from avsent.errors import OutputError
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    target = Path({str(tmp_path / "out")!r} + {ending!r})
    annotate(Path({str(SAMPLE)!r}), target, result_with(), [])
except OutputError as error:
    print(error)
"""
    done = python(code, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"cannot write {tmp_path}/out{ending}: File too large\n"
    assert done.stderr == ""
    assert os.listdir(tmp_path) == []
