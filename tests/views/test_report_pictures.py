"""What a report takes from a video: faces at the right moments, spectrograms of the right sound."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from conftest import SAMPLE
from handmade import make_result
from media_files import MS, tone, write_sound, write_video

from avsent.errors import MediaError
from avsent.extraction.faces.geometry import Sighting
from avsent.extraction.media.events import Frame
from avsent.extraction.media.reader import MediaReader
from avsent.extraction.media.video import DecodedFrame, displayed
from avsent.result.record import Attention, Result, TimeWeight
from avsent.views.report.page import context_rows
from avsent.views.report.pictures import (
    Picture,
    analysis_rate_of,
    face_crop,
    find_sightings,
    gather,
    sizes_for,
    spectrogram_levels,
    spectrogram_of,
    strongest,
)


def result_of(times_s: list[float], *, track: int | None = 1, end_s: float = 2.0) -> Result:
    """One utterance whose face was seen at these times, each weightier than the one before."""
    total = sum(range(1, len(times_s) + 1))
    frames = tuple(TimeWeight(t, (n + 1) / total) for n, t in enumerate(times_s))
    plain = make_result(1)
    one = dataclasses.replace(
        plain.utterances[0],
        start_s=0.0,
        end_s=end_s,
        track=track,
        attention=Attention({}, frames, ()),
    )
    return dataclasses.replace(plain, utterances=(one,), duration_s=end_s)


def pictures_at(path: Path, times_s: list[float]) -> dict[float, Picture]:
    """The pictures of a file at these times, as displayed, in BGR."""
    reformatter = VideoReformatter()
    with MediaReader(path) as reader:
        events = [e for e in reader.in_colour(times_s) if isinstance(e, DecodedFrame)]
        return {e.time_s: displayed(e, "bgr24", reformatter) for e in events}


# --- pictures at wanted times --------------------------------------------------------------------


def grey_of(number: int) -> int:
    return 30 + 16 * number


def numbered_video(path: Path, times_ms: list[int], codec: str) -> Path:
    """Even pictures whose grey tells their number."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        stream.codec_context.time_base = MS
        for number, time_ms in enumerate(times_ms):
            picture = np.full((32, 64, 3), grey_of(number), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time_ms, MS
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


IRREGULAR_MS = [0, 40, 90, 100, 260, 300, 310, 470, 800, 840, 1300, 1333]


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_pictures_are_those_of_their_presentation_times(tmp_path: Path, codec: str) -> None:
    path = numbered_video(tmp_path / "vfr.mp4", IRREGULAR_MS, codec)
    wanted = [0.09, 0.3, 0.31, 0.8, 1.333]
    seen = pictures_at(path, wanted)
    assert sorted(seen) == pytest.approx(wanted, abs=5e-4)
    for time_s, picture in seen.items():
        number = IRREGULAR_MS.index(round(1000 * time_s))
        assert picture.shape == (32, 64, 3)
        assert float(picture.mean()) == pytest.approx(grey_of(number), abs=6)


def test_no_other_picture_is_taken_for_one_that_is_not_there(tmp_path: Path) -> None:
    path = write_video(tmp_path / "vfr.mp4", IRREGULAR_MS)
    assert pictures_at(path, [0.05, 0.2, 5.0]) == {}


def test_pictures_of_the_sample_have_the_times_of_the_analysis() -> None:
    with MediaReader(SAMPLE) as reader:
        grey = {event.time_s: event.gray for event in reader if isinstance(event, Frame)}
    wanted = sorted(grey)[3::20]
    seen = pictures_at(SAMPLE, wanted)
    assert sorted(seen) == wanted
    for time_s, picture in seen.items():
        # The same picture, not its neighbour: the sample moves.
        luma = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(float)
        own = np.abs(luma - grey[time_s]).mean()
        others = [np.abs(luma - grey[t]).mean() for t in grey if abs(t - time_s) > 0.25]
        assert own < min(others)


def test_rotated_pictures_stand_upright(clips: Path) -> None:
    path = clips / "rotated_90_3frames.mov"
    with MediaReader(path) as reader:
        grey = {event.time_s: event.gray for event in reader if isinstance(event, Frame)}
    seen = pictures_at(path, list(grey))
    assert sorted(seen) == sorted(grey)
    for time_s, picture in seen.items():
        assert picture.shape[:2] == grey[time_s].shape
        luma = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(float)
        right = np.abs(luma - grey[time_s]).mean()
        assert right < np.abs(luma[::-1, ::-1] - grey[time_s]).mean()


# --- faces ---------------------------------------------------------------------------------------


def test_crops_are_cut_where_the_track_was(tmp_path: Path) -> None:
    # The top left quarter is white, the rest dark: the crop tells which box it is of.
    path = write_video(tmp_path / "a.mp4", [0, 100, 200, 300, 400])
    white, dark = (4.0, 2.0, 12.0, 10.0), (44.0, 20.0, 52.0, 28.0)
    sightings = [Sighting(1, t / 10, white if t % 2 else dark) for t in range(5)]
    sightings += [Sighting(2, t / 10, (30.0, 10.0, 34.0, 14.0)) for t in range(5)]
    gathered = gather(path, result_of([0.0, 0.1, 0.2, 0.3, 0.4]), sightings)
    assert gathered.kind == "video"
    (pictures,) = gathered.pictures
    assert [face.time_s for face in pictures.faces] == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.0])
    assert [face.weight for face in pictures.faces] == pytest.approx(
        [n / 15 for n in (5, 4, 3, 2, 1)]
    )
    for face in pictures.faces:
        image = cv2.imdecode(np.frombuffer(face.webp, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        assert image.shape == (13, 13, 3)  # 8 pixels and the margins, not enlarged
        bright = image.mean() > 150
        assert bright == (round(10 * face.time_s) % 2 == 1)
    assert pictures.spectrogram is None


@pytest.mark.parametrize("track", [None, 7])
def test_no_crops_of_a_track_that_was_not_seen(tmp_path: Path, track: int | None) -> None:
    path = write_video(tmp_path / "a.mp4", [0, 100])
    sightings = [Sighting(1, 0.0, (1, 1, 9, 9))]
    gathered = gather(path, result_of([0.0], track=track), sightings)
    assert gathered.pictures[0].faces == []


def test_faces_are_found_again_as_they_were() -> None:
    from avsent.extraction.extractor import Extraction, FeatureConfig
    from avsent.options import PredictOptions

    extraction = Extraction(SAMPLE, FeatureConfig(), PredictOptions(sightings=True))
    assert len(list(extraction)) == 4
    assert len(extraction.sightings) > 50
    assert find_sightings(SAMPLE, make_result(1)) == extraction.sightings


@pytest.mark.parametrize(
    ("box", "side", "corner"),
    [
        ((10, 10, 20, 20), 16, False),
        ((-5, -5, 10, 10), 24, True),  # moved inside
        ((90, 50, 120, 80), 48, False),
        ((-100, -100, 160, 160), 60, True),  # no larger than the picture
    ],
)
def test_face_crop_stays_inside(box: tuple[int, int, int, int], side: int, corner: bool) -> None:
    picture = np.zeros((60, 100, 3), np.uint8)
    picture[0, 0] = 255
    crop = face_crop(picture, box, 200)
    assert crop is not None
    assert crop.shape == (side, side, 3)
    assert (crop.max() == 255) == corner


def test_face_crop_is_made_smaller_but_never_larger() -> None:
    picture = np.zeros((400, 400, 3), np.uint8)
    large = face_crop(picture, (100, 100, 300, 300), 160)
    assert large is not None
    assert large.shape == (160, 160, 3)
    assert face_crop(picture, (-50, -50, -10, -10), 160) is None


# --- spectrograms --------------------------------------------------------------------------------


def test_spectrogram_shows_tones_at_their_height_and_time() -> None:
    rate = 16_000
    time = np.arange(2 * rate) / rate
    sound = np.where(time < 1, np.sin(2 * np.pi * 300 * time), np.sin(2 * np.pi * 3000 * time))
    levels = spectrogram_levels(0.3 * sound.astype(np.float32))
    assert levels is not None
    assert levels.shape == (64, 201)  # bands, a frame each 10 ms
    assert (levels.min(), levels.max()) == (0, 255)
    low, high = levels[:, 50].argmax(), levels[:, 150].argmax()
    assert low < 16 < 40 < high
    # In the picture low tones lie below.
    drawn = spectrogram_of(0.3 * sound.astype(np.float32), 5.0, 1000, 90)
    assert drawn is not None
    image = cv2.imdecode(np.frombuffer(drawn.webp, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    assert image.shape == (64, 201)
    assert image[:, 50].argmax() > image[:, 150].argmax()
    assert (drawn.start_s, drawn.end_s) == pytest.approx((4.995, 7.005))


def test_spectrogram_of_something_long_is_no_wider() -> None:
    rng = np.random.default_rng(0)
    drawn = spectrogram_of(rng.normal(0, 0.1, 160_000).astype(np.float32), 0.0, 300, 70)
    assert drawn is not None
    image = cv2.imdecode(np.frombuffer(drawn.webp, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    assert image.shape == (64, 300)
    assert drawn.end_s - drawn.start_s == pytest.approx(10.01)


@pytest.mark.parametrize("samples", [0, 100, 16_000])
def test_silence_has_no_spectrogram(samples: int) -> None:
    assert spectrogram_of(np.zeros(samples, np.float32), 0.0, 300, 70) is None


def test_each_utterance_gets_its_own_sound(tmp_path: Path) -> None:
    # Silence, then a tone from 1 s to 3 s. Utterances overlap, and the last is longer than all.
    path = write_sound(tmp_path / "a.wav", tone(3.0, onset_s=1.0), "pcm_s16le")
    one = make_result(1).utterances[0]
    spans = [(0.0, 0.8), (0.5, 1.5), (1.2, 2.9), (2.0, 9.0)]
    result = dataclasses.replace(
        make_result(0),
        utterances=tuple(
            dataclasses.replace(one, index=n, start_s=a, end_s=b) for n, (a, b) in enumerate(spans)
        ),
    )
    gathered = gather(path, result, None)  # no picture: no faces are looked for
    assert gathered.kind == "audio"
    assert gathered.end_s == pytest.approx(3.0, abs=0.01)
    drawn = [pictures.spectrogram for pictures in gathered.pictures]
    assert drawn[0] is None
    for spectrogram, (start_s, end_s) in zip(drawn[1:], spans[1:], strict=True):
        assert spectrogram is not None
        assert spectrogram.start_s == pytest.approx(start_s, abs=0.011)
        assert spectrogram.end_s == pytest.approx(min(end_s, 3.0), abs=0.016)


def test_a_file_that_is_no_media_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no")
    with pytest.raises(MediaError, match="not a media file"):
        gather(tmp_path / "a.mp4", result_of([0.0]), [])


# --- which moments -------------------------------------------------------------------------------


def test_strongest_moments_are_not_neighbours() -> None:
    frames = [TimeWeight(n / 10, w) for n, w in enumerate([1, 9, 8, 7, 1, 1, 6, 1, 1, 1, 5, 4, 1])]
    assert [(f.time_s, f.weight) for f in strongest(frames, 3)] == [(0.1, 9), (0.3, 7), (0.6, 6)]
    assert len(strongest(frames, 100)) == len(frames)
    assert strongest([], 5) == []
    assert strongest(frames[:1], 5) == frames[:1]


@pytest.mark.parametrize("rate", [5.0, 10.0, 12.5, 25.0])
def test_analysis_rate_is_estimated_from_times(rate: float) -> None:
    result = result_of([n / rate for n in range(40)])
    told = analysis_rate_of(result)
    assert told == (round(rate) if abs(rate - 10) > 1 else 10.0)
    # Looking a little more often than before finds the same pictures of a slower source.
    assert told >= min(rate, 10.0) * 0.95


def test_rate_of_few_frames_is_the_usual_one() -> None:
    assert analysis_rate_of(result_of([0.0, 0.3])) == 10.0
    assert analysis_rate_of(make_result(0)) == 10.0


def test_many_utterances_get_smaller_pictures() -> None:
    sizes = [sizes_for(count) for count in (1, 300, 3000)]
    assert sizes[0].faces > sizes[1].faces > sizes[2].faces
    assert context_rows(1) is context_rows(300) is None
    assert context_rows(3000) is not None
