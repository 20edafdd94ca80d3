"""Pictures as players show them: pixel shape, display matrix, HDR; faces that do not stand upright,
and small ones."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from conftest import SAMPLE
from media_files import MS, frames_of, read
from written_views import result_with

from avsent.extraction.extractor import Extraction, FeatureConfig
from avsent.extraction.faces.geometry import Box, Gray, Sighting, box_side, overlap
from avsent.extraction.faces.tracking import FaceTracker
from avsent.extraction.media.reader import MediaReader
from avsent.extraction.media.video import PQ, DecodedFrame, displayed
from avsent.options import PredictOptions
from avsent.views.annotate.drawing import Style
from avsent.views.annotate.video import annotate

QUARTERS = np.array([[250, 180], [100, 30]])
ONE = 1 << 16


def write(
    path: Path,
    *,
    size: tuple[int, int] = (64, 48),
    aspect: Fraction | None = None,
    turned: tuple[int, bool, bool] = (0, False, False),
    matrix: tuple[int, ...] | None = None,
    codec: str = "libx264",
    first_ms: int = 0,
) -> Path:
    """Five pictures whose quarters have the grey levels of ``QUARTERS``; ``turned``: degrees
    counter-clockwise, then mirrored horizontally, vertically."""
    picture = np.kron(QUARTERS, np.ones((size[1] // 2, size[0] // 2))).astype(np.uint8)
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25) if codec == "mpeg2video" else MS
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if any(turned):
            stream.set_display_rotation(turned[0], hflip=turned[1], vflip=turned[2])
        if matrix is not None:
            stream.set_display_matrix(matrix)
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(np.dstack([picture] * 3), format="rgb24")
            frame.pts, frame.time_base = first_ms + 40 * number, MS
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def quarters(gray: Gray) -> list[list[int]]:
    """The nearest levels of ``QUARTERS`` in the quarters of a picture."""
    rows, columns = (gray.shape[0] // 4, 3 * gray.shape[0] // 4), (gray.shape[1] // 4,)
    seen = gray[np.ix_(rows, (*columns, 3 * gray.shape[1] // 4))].astype(int)
    return [[min(QUARTERS.ravel().tolist(), key=lambda q: abs(q - v)) for v in r] for r in seen]


def shown(path: Path) -> list[Gray]:
    return [frame.gray for frame in frames_of(read(path)[1])]


@pytest.mark.parametrize("vertical", [False, True])
@pytest.mark.parametrize("horizontal", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("ending", [".mp4", ".mov"])
def test_every_display_matrix(
    tmp_path: Path, ending: str, degrees: int, horizontal: bool, vertical: bool
) -> None:
    path = write(tmp_path / f"a{ending}", turned=(degrees, horizontal, vertical))
    right = np.rot90(QUARTERS, degrees // 90)
    right = right[:, ::-1] if horizontal else right
    right = right[::-1] if vertical else right
    (gray, *_) = shown(path)
    assert gray.shape == ((64, 48) if degrees in (90, 270) else (48, 64))
    assert quarters(gray) == right.tolist()


@pytest.mark.parametrize(
    ("matrix", "right"),
    [
        # As phones write them into tkhd: the picture is moved back into view.
        ((-ONE, 0, 0, 0, ONE, 0, 64 * ONE, 0, 1 << 30), QUARTERS[:, ::-1]),
        ((ONE, 0, 0, 0, -ONE, 0, 0, 48 * ONE, 1 << 30), QUARTERS[::-1]),
        ((0, ONE, 0, ONE, 0, 0, 0, 0, 1 << 30), QUARTERS.T),
        ((0, ONE, 0, -ONE, 0, 0, 48 * ONE, 0, 1 << 30), np.rot90(QUARTERS, -1)),
        ((0, 0, 0, 0, 0, 0, 0, 0, 1 << 30), QUARTERS),  # nonsense
    ],
)
def test_matrices_as_stored(tmp_path: Path, matrix: tuple[int, ...], right: np.ndarray) -> None:
    (gray, *_) = shown(write(tmp_path / "a.mp4", matrix=matrix))
    assert quarters(gray) == right.tolist()


def test_matroska_turns_too(tmp_path: Path) -> None:
    (gray, *_) = shown(write(tmp_path / "a.mkv", turned=(90, False, False)))
    assert quarters(gray) == np.rot90(QUARTERS).tolist()


@pytest.mark.parametrize(("degrees", "turns"), [(20, 0), (70, 1), (200, 2), (-30, 0)])
def test_other_angles_go_to_the_nearest_quarter_with_one_warning(
    tmp_path: Path, degrees: int, turns: int
) -> None:
    path = write(tmp_path / "a.mp4", turned=(degrees, False, False))
    assert quarters(shown(path)[0]) == np.rot90(QUARTERS, turns).tolist()
    extraction = Extraction(path, FeatureConfig())
    list(extraction)
    (warning,) = (one for one in extraction.warnings if "turns its picture" in one)
    assert f"{abs(degrees - 90 * turns)}°" in warning


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv", ".ts"])
@pytest.mark.parametrize(
    ("aspect", "shape"),
    [
        ("4/3", (48, 85)),
        ("64/45", (48, 91)),
        ("3/4", (64, 64)),
        ("8/9", (54, 64)),
        ("1/1", (48, 64)),
        ("359/360", (48, 64)),
        ("1/100", (48, 64)),
    ],
)
def test_pixels_are_square(
    tmp_path: Path, ending: str, aspect: str, shape: tuple[int, int]
) -> None:
    pictures = shown(write(tmp_path / f"a{ending}", aspect=Fraction(aspect)))
    assert {gray.shape for gray in pictures} == {shape}
    assert quarters(pictures[0]) == QUARTERS.tolist()


def test_pixels_are_made_square_before_the_picture_is_turned(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mov", aspect=Fraction(4, 3), turned=(90, True, False))
    (gray, *_) = shown(path)
    assert gray.shape == (85, 48)
    assert quarters(gray) == np.rot90(QUARTERS)[:, ::-1].tolist()


@pytest.mark.parametrize("aspect", [None, Fraction(1), Fraction(359, 360)])
def test_square_pictures_stay_the_same_to_the_bit(tmp_path: Path, aspect: Fraction | None) -> None:
    path = write(tmp_path / "a.mp4", aspect=aspect)
    with av.open(str(path)) as media:
        (first, *_) = media.decode(video=0)
        expected = VideoReformatter().reformat(first, format="gray").to_ndarray()
    assert np.array_equal(shown(path)[0], expected)


def test_the_pixel_shape_may_change_in_mid_stream(tmp_path: Path) -> None:
    """As in a broadcast: 4:3, then 16:9, in the bitstream."""
    one = write(tmp_path / "a.ts", aspect=Fraction(16, 15), codec="mpeg2video", size=(720, 576))
    two = write(
        tmp_path / "b.ts",
        aspect=Fraction(64, 45),
        codec="mpeg2video",
        size=(720, 576),
        first_ms=200,
    )
    both = tmp_path / "both.ts"
    both.write_bytes(one.read_bytes() + two.read_bytes())
    shapes = [gray.shape for gray in shown(both)]
    assert shapes[0] == (576, 768)
    assert shapes[-1] == (576, 1024)
    annotate(both, tmp_path / "out.mp4", result_with(), [])
    with av.open(str(tmp_path / "out.mp4")) as media:
        first, *_, last = media.decode(video=0)
        assert (last.width, last.height) == (768, 576)
        # As wide as before, and less high: what is below repeats the edge.
        assert quarters(first.to_ndarray(format="gray")[:288])[0] == [250, 250 - 70]
        levels = last.to_ndarray(format="gray")[: int(576 * 0.7), 50].astype(int)
        assert abs(int(np.argmax(levels < 170)) - 576 * 0.75 / 2) < 6


@pytest.mark.parametrize(("aspect", "turned"), [("4/3", 0), ("3/4", 0), ("4/3", 90)])
def test_annotated_video_has_square_pixels_and_boxes_fit(
    tmp_path: Path, aspect: str, turned: int
) -> None:
    path = write(
        tmp_path / "in.mp4", size=(480, 360), aspect=Fraction(aspect), turned=(turned, False, False)
    )
    height, width = shown(path)[0].shape
    box = (width / 2 - 40, 20.0, width / 2 + 40, 100.0)
    sightings = [Sighting(1, 0.04 * n, box) for n in range(5)]
    annotate(path, tmp_path / "out.mp4", result_with((0.0, 0.2, 1, "positive")), sightings)
    with av.open(str(tmp_path / "out.mp4")) as media:
        stream = media.streams.video[0]
        assert stream.sample_aspect_ratio in (None, 1)
        frame = next(media.decode(stream))
        assert (frame.width, frame.height) == (width + width % 2, height + height % 2)
        assert frame.rotation == 0
        picture = frame.to_ndarray(format="rgb24").astype(int)
    line = np.array(Style(width, height, result_with().model.labels).line_colour("positive"))
    for x in (round(box[0]) + 1, round(box[2]) - 2):  # the sides of the box
        near = picture[50:70, x - 1 : x + 2].reshape(-1, 3)
        assert np.abs(near - line).max(axis=1).min() < 60, x


# --- HDR -----------------------------------------------------------------------------------------


def pq_of(nits: float) -> float:
    """SMPTE ST 2084: the level, 0 to 1, of a luminance."""
    light = (nits / 10_000) ** (2610 / 16384)
    return float(((3424 / 4096 + 2413 / 128 * light) / (1 + 2392 / 128 * light)) ** (2523 / 32))


@pytest.mark.parametrize(("nits", "level"), [(0, 0), (203 * 0.2140, 127), (203, 255), (1000, 255)])
@pytest.mark.parametrize("format", ["gray", "bgr24", "rgba"])
def test_hdr_gets_ordinary_brightness(nits: float, level: int, format: str) -> None:
    stored = np.full((16, 16), round(1023 * pq_of(nits)), np.uint16)
    frame = av.VideoFrame.from_ndarray(stored, format="gray10le")
    reformatter = VideoReformatter()
    pixels = displayed(DecodedFrame(0.0, frame, 1.0, PQ), format, reformatter)
    assert np.abs(pixels[..., :3].astype(int) - level).max() <= 2
    untouched = displayed(DecodedFrame(0.0, frame, 1.0, 18), format, reformatter)
    assert np.abs(untouched[..., :3].astype(int) - 255 * pq_of(nits)).max() <= 2


def test_hdr_files_are_read_by_their_transfer(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "hdr.mkv"), "w") as out:
        stream: Any = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p10le"
        stream.codec_context.color_trc, stream.codec_context.time_base = PQ, MS
        level = round(64 + 876 * pq_of(203 * 0.2140))  # 10 bits, limited range
        luma = np.full((32, 32), level, np.uint16)
        frame = av.VideoFrame.from_ndarray(
            np.vstack([luma, np.full((16, 32), 512, np.uint16)]), format="yuv420p10le"
        )
        frame.pts, frame.time_base = 0, MS
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert np.abs(shown(tmp_path / "hdr.mkv")[0].astype(int) - 127).max() <= 2
    annotate(tmp_path / "hdr.mkv", tmp_path / "out.mp4", result_with(), [])
    with av.open(str(tmp_path / "out.mp4")) as media:
        frame = next(media.decode(video=0))
        assert frame.color_trc == 1
        assert abs(int(frame.to_ndarray(format="gray")[2, 2]) - 127) < 8


# --- faces ---------------------------------------------------------------------------------------


def sample_frames(count: int, size: tuple[int, int] | None = None) -> list[tuple[float, Gray]]:
    with MediaReader(SAMPLE) as reader:
        frames = (event for event in reader if hasattr(event, "gray"))
        found = [(frame.time_s, frame.gray) for _, frame in zip(range(count), frames, strict=False)]
    return [(t, g if size is None else np.asarray(cv2.resize(g, size))) for t, g in found]


def last_box(tracker: FaceTracker, frames: list[tuple[float, Gray]]) -> Box | None:
    seen = [found[0].box for time_s, gray in frames if (found := tracker.push(time_s, gray))]
    return seen[-1] if seen else None


@pytest.mark.parametrize(("turns", "how"), [(2, "upside down"), (1, "sideways"), (3, "sideways")])
def test_faces_that_do_not_stand_upright_are_judged_turned(turns: int, how: str) -> None:
    frames = sample_frames(22)
    upright = FaceTracker()
    expected = last_box(upright, frames)
    assert expected is not None
    assert not upright.warning
    tracker = FaceTracker()
    turned = [(time_s, np.ascontiguousarray(np.rot90(gray, turns))) for time_s, gray in frames]
    found = last_box(tracker, turned)
    assert found is not None
    assert how in tracker.warning
    # Boxes are in displayed pixels: where the face is seen in the turned picture.
    mask = np.zeros(frames[0][1].shape, np.uint8)
    left, top, right, bottom = map(round, expected)
    mask[top:bottom, left:right] = 1
    rows, columns = np.nonzero(np.rot90(mask, turns))
    assert overlap(found, (columns.min(), rows.min(), columns.max(), rows.max())) > 0.7


def test_a_small_face_in_a_large_picture_is_found() -> None:
    """The tile of a video call: 384×216 of 1920×1080."""
    large = []
    for time_s, gray in sample_frames(30, (256, 144)):
        picture = np.full((1080, 1920), 90, np.uint8)
        picture[900:1044, 64:320] = gray
        large.append((time_s, picture))
    found = last_box(FaceTracker(), large)
    assert found is not None
    assert found[2] < 384
    assert found[1] > 864
    assert box_side(found) < 110


def test_the_message_says_which_faces_are_not_looked_for(tmp_path: Path) -> None:
    extraction = Extraction(
        write(tmp_path / "a.mp4", size=(640, 360)), FeatureConfig(), PredictOptions(), segments=()
    )
    list(extraction)
    (warning,) = (one for one in extraction.warnings if "no face found" in one)
    assert "under 37 pixels" in warning
